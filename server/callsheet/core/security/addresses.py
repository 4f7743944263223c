"""Which internet addresses a download may connect to: public ones only, however they are written.

A gateway names the link of a finished clip, so the link may be hostile: it must not lead into the
machine, the local network or a cloud's metadata service. The table is our own, because what the
standard library calls private changes between patch releases. Addresses that carry another address
inside (6to4, NAT64, Teredo, ISATAP, IPv4-mapped) are judged by what they carry as well.

Sources: IANA special-purpose registries for IPv4 and IPv6 (read 2026-11), and the metadata addresses
that the large clouds document.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_DENIED_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        # Azure's platform address answers on every virtual machine there.
        "168.63.129.16/32",
    )
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
