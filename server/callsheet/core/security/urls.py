"""Which URLs and internet addresses the program may name, fetch or connect to: public ones only, in any spelling.

One strict reading of a URL instead of a tolerant one: where two URL parsers could disagree about the host, the URL is
refused. Nothing is resolved or fetched here, so a name that passes may still point at a private address; the code that
connects checks the addresses too. A problem never repeats the userinfo, path or query of the URL, because those can
hold secrets. Any module may call it.

A gateway names the link of a finished clip, so the link may be hostile: it must not lead into the machine, the local
network or a cloud's metadata service. The table is our own, because what the standard library calls private changes
between patch releases. Addresses that carry another address inside (6to4, NAT64, Teredo, ISATAP, IPv4-mapped) are
judged by what they carry as well.

Sources: IANA special-purpose registries for IPv4 and IPv6 (read 2026-11), and the metadata addresses that the large
clouds document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

MAX_URL_LENGTH = 2048

SPECIAL_SUFFIXES = (
    *("localhost", "localdomain", "local", "internal", "home.arpa", "arpa", "lan", "intranet", "corp", "home"),
    *("test", "invalid", "example", "onion", "alt", "svc", "cluster.local"),
)
"""Names that never lead to a public server: RFC 6761 and 6762, cluster names, common private suffixes."""

POINTER_SUFFIXES = ("nip.io", "sslip.io", "xip.io", "localtest.me", "lvh.me", "metadata.goog")
"""Public names that exist to point at private addresses. Not complete: only resolving a name is certain."""

_HTTPS = "https://"
_ALLOWED = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]*")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENDPOINT = re.compile(r"(https?)://([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?((?:/[A-Za-z0-9_~.-]+)*)")
_API_ROOT = re.compile(r"v[0-9]+[a-z0-9]*")
_LOOPBACK = re.compile(r"https?://(127\.0\.0\.1|localhost|\[::1\])(?::([0-9]{1,5}))?(?:/[^?]*)?")
_SHOWN_HOST = re.compile(r"https?://([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{0,5})?(?=[/?#]|\Z)", re.I)


@dataclass(frozen=True, slots=True)
class UrlVerdict:
    """Either the host of a URL that may be used, or one sentence saying which rule it breaks."""

    host: str | None
    problem: str | None


def check_url(value: object, *, max_length: int = MAX_URL_LENGTH) -> UrlVerdict:
    """Judge a URL that an agent or a gateway supplied: public https only, by host name, on port 443.

    `max_length` counts characters, the query included.
    """
    if not isinstance(value, str):
        return _refused("The URL is not a string.")
    problem = _text_problem(value, max_length) or _form_problem(value)
    if problem:
        return _refused(problem)
    host = _authority(value).partition(":")[0]
    problem = _host_problem(host) or _disagreement(value, host)
    return _refused(problem) if problem else UrlVerdict(host=host, problem=None)


def check_base_url(value: object) -> UrlVerdict:
    """Judge the base URL that a person set instead of a gateway's own.

    Public https as in `check_url` with a path but no query, or http or https on `127.0.0.1`,
    `localhost` or `[::1]` with any port, for a proxy or a test double on the same computer.
    """
    if not isinstance(value, str):
        return _refused("The URL is not a string.")
    problem = _text_problem(value, MAX_URL_LENGTH)
    if problem:
        return _refused(problem)
    if "?" in value:
        return _refused("A base URL has no query.")
    loopback = _LOOPBACK.fullmatch(value)
    if loopback is None:
        return check_url(value)
    if loopback[2] is not None and not 1 <= int(loopback[2]) <= 65535:
        return _refused("The port is not between 1 and 65535.")
    return UrlVerdict(host=loopback[1].strip("[]"), problem=None)


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this computer, by a name or an address that means nothing else."""
    return _LOOPBACK.fullmatch(url) is not None


def check_endpoint_url(value: str, *, address: str) -> UrlVerdict:
    """Judge the base URL of a server that a person declares, with the address that is pinned for it, if any.

    Its last part is the API's root, like `/v1`. A host that is no public name needs `address`, and may be one itself.
    """
    match = _ENDPOINT.fullmatch(value)
    if match is None or len(value) > MAX_URL_LENGTH:
        return _refused("It must be like https://gpu-box.lan:8443/v1, in lower case, without query, user or password.")
    host, port, parts = match[2].strip("[]"), match[3], match[4].split("/")
    if port is not None and not 1 <= int(port) <= 65535:
        return _refused("The port is not between 1 and 65535.")
    if not _API_ROOT.fullmatch(parts[-1]) or {".", ".."} & set(parts):
        return _refused("It must end in the root of the API, like /v1.")
    named = _as_address(host)
    problem = None if named or is_loopback(value) else _name_problem(host)
    if problem is None and address:
        problem = pinned_problem(address, loopback=is_loopback(value))
        if problem is None and named and str(named) != address:
            problem = "`address` must be the same as the address in `base_url`."
    elif problem is None and not is_loopback(value) and (named or _host_problem(host)):
        problem = "Its host is not a public name, so `address` must say where it is, like 10.20.0.7."
    return _refused(problem) if problem else UrlVerdict(host=host, problem=None)


def pinned_problem(address: str, *, loopback: bool) -> str | None:
    """Why that address may not be pinned for a host; only private networks may, loopback only for loopback hosts."""
    found = _as_address(address)
    if found is None or str(found) != address:
        return "`address` must be one IP address in its usual form, like 10.20.0.7."
    if loopback:
        return None if found.is_loopback else "A loopback host has a loopback `address`."
    if any(found in block for block in _METADATA):
        return "`address` is one at which clouds answer with secrets of the computer."
    if not any(found in block for block in _PINNABLE):
        return "`address` must be in 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 or fc00::/7."
    return None


def _as_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        # A zone may hold any text.
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def is_proxy(value: str) -> bool:
    """Whether a person may name that as their proxy: scheme, host and port alone."""
    match = _ENDPOINT.fullmatch(value)
    if match is None or match[4] or match[3] is None or not 1 <= int(match[3]) <= 65535:
        return False
    host = match[2].strip("[]")
    return _as_address(host) is not None or _name_problem(host) is None


def is_public_link(value: str, *, loopback: str | None) -> bool:
    """Whether a link may be put into a request: public, or at the one loopback origin (the sandbox, a test double)."""
    home = urlsplit(loopback or "")
    if loopback is not None and value.startswith(f"{home.scheme}://{home.netloc}/"):
        return _text_problem(value, MAX_URL_LENGTH) is None
    return check_url(value).problem is None


def url_host(value: object) -> str | None:
    """The lower-case host of an http(s) URL for showing and logging, None where it is unclear.

    This is not a check: a host that is shown may still be refused.
    """
    match = _SHOWN_HOST.match(value) if isinstance(value, str) else None
    return match[1].strip("[]").lower() if match else None


def _refused(problem: str) -> UrlVerdict:
    return UrlVerdict(host=None, problem=problem)


def _text_problem(url: str, max_length: int) -> str | None:
    if len(url) > max_length:
        return f"The URL has {len(url)} characters; at most {max_length} are allowed."
    if "#" in url:
        return "The URL has a fragment (#), which no server ever receives."
    if not _ALLOWED.fullmatch(url):
        return "The URL has a character that is not allowed in a URL (RFC 3986 ASCII only, the rest percent-encoded)."
    if _BROKEN_ESCAPE.search(url):
        return "The URL has a percent sign that is not followed by two hexadecimal digits."
    return None


def _form_problem(url: str) -> str | None:
    if not url.startswith(_HTTPS):
        return "The URL does not begin with https:// in lower case."
    authority = _authority(url)
    # Some readers end the authority only at the slash, so that `https://a.com?@127.0.0.1/` names another host.
    if "@" in url.removeprefix(_HTTPS).partition("/")[0]:
        return "The URL has a user name or password before its host."
    if any(mark in authority for mark in "%[]"):
        return "The host of the URL is not a plain name (no IP address, no percent-encoding)."
    if authority.partition(":")[2] not in ("", "443"):
        return "The URL names a port other than 443."
    return None


def _authority(url: str) -> str:
    return re.split(r"[/?]", url.removeprefix(_HTTPS), maxsplit=1)[0]


def _name_problem(host: str) -> str | None:
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        return "The host of the URL is not a lower-case name of letters, digits, hyphens and dots."
    return None


def _host_problem(host: str) -> str | None:
    labels = host.split(".")
    if problem := _name_problem(host):
        return problem
    if len(labels) < 2:
        return "The host of the URL is a single word; a public name has at least two."
    if not labels[-1][0].isalpha():
        return "The host of the URL does not end in a top-level domain (IP addresses are refused in every notation)."
    if suffix := _suffix_of(host, SPECIAL_SUFFIXES):
        return f"The host of the URL ends in .{suffix}, which is reserved for private or special use."
    if suffix := _suffix_of(host, POINTER_SUFFIXES):
        return f"The host of the URL belongs to {suffix}, whose names point at private addresses."
    if not all(_decodes(label) for label in labels if label.startswith("xn--")):
        return "The host of the URL has an xn-- label that is not valid internationalised text."
    return None


def _suffix_of(host: str, suffixes: tuple[str, ...]) -> str | None:
    return next((suffix for suffix in suffixes if f".{host}".endswith(f".{suffix}")), None)


def _decodes(label: str) -> bool:
    import idna  # its tables are only worth loading for the rare label that needs them

    try:
        return bool(idna.decode(label))
    except ValueError:
        return False


def _disagreement(url: str, host: str) -> str | None:
    """A second, independent reading of the host: what it reads must be what was judged."""
    return None if urlsplit(url).hostname == host else "The host of the URL can be read in two ways."


_DENIED_V4 = tuple(
    IPv4Network(block)
    for block in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        # Azure's platform address answers on every virtual machine there.
        "168.63.129.16/32",
    )
)
_PINNABLE = tuple(
    ip_network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
# Inside those: Alibaba Cloud; Amazon, Google and Oracle by IPv6.
_METADATA = tuple(
    ip_network(block) for block in ("100.100.100.200/32", "fd00:ec2::/32", "fd20:ce::254/128", "fd00:c1::/32")
)
_ALLOWED_V6 = IPv6Network("2000::/3")
_DENIED_V6 = tuple(
    IPv6Network(block)
    for block in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20")
)
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_ISATAP_MARKS = (0x00005EFE, 0x02005EFE)


def is_public(address: str) -> bool:
    """Whether a connection to this address leads to the public internet and nowhere else."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _public_v4(parsed)
    return _public_v6(parsed)


def _public_v4(address: IPv4Address) -> bool:
    return not any(address in block for block in _DENIED_V4)


def _public_v6(address: IPv6Address) -> bool:
    """Only global unicast. NAT64's well-known prefix reaches an IPv4 address, so that one decides."""
    value = int(address)
    carried = IPv4Address(value & 0xFFFFFFFF)
    if address in _NAT64[0]:
        return _public_v4(carried)
    if address not in _ALLOWED_V6 or any(address in block for block in (*_DENIED_V6, _NAT64[1])):
        return False
    if (value >> 32) & 0xFFFFFFFF in _ISATAP_MARKS:
        return _public_v4(carried)
    return True
