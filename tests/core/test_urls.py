"""Only a plain public https URL passes, every parser reads the same host in it, and no verdict repeats a secret."""

from __future__ import annotations

import string
from time import process_time
from urllib.parse import urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from callsheet.core.security.urls import (
    POINTER_SUFFIXES,
    SPECIAL_SUFFIXES,
    UrlVerdict,
    _disagreement,
    check_base_url,
    check_url,
    url_host,
)
from cases import cases

BENIGN = {
    "https://example.com": "example.com",
    "https://example.com:443/a.png": "example.com",
    "https://example.com:/a.png": "example.com",
    "https://cdn-1.example.co.uk/a/b%20c.png?w=1&h=2": "cdn-1.example.co.uk",
    "https://bucket.s3.eu-west-1.amazonaws.com/k/v.mp4?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0a1b"
    "&X-Amz-Credential=AK%2F20261121%2Feu-west-1%2Fs3%2Faws4_request": "bucket.s3.eu-west-1.amazonaws.com",
    "https://storage.googleapis.com/b/o.mp4?GoogleAccessId=x%40y.com&Signature=a%2B%3D": "storage.googleapis.com",
    "https://d111111abcdef8.cloudfront.net/v.mp4?Policy=eyJ_~-&Key-Pair-Id=K2": "d111111abcdef8.cloudfront.net",
    "https://acct.blob.core.windows.net/c/v.mp4?sv=2024-01-01&sig=a%2Fb%3D": "acct.blob.core.windows.net",
    "https://r3---sn-4g5e6nsz.gvt1.com/video?id=[1]": "r3---sn-4g5e6nsz.gvt1.com",
    "https://xn--bcher-kva.example.org/a": "xn--bcher-kva.example.org",
    "https://files.xn--p1ai/a": "files.xn--p1ai",
    "https://example.com?x=https://127.0.0.1/": "example.com",
    "https://example.com/@user:1/[x]": "example.com",
}

PRIVATE_HOSTS = (
    "127.0.0.1 127.1 127.0.1 127.127.127.127 0.0.0.0 0 00 0177.0.0.1 0177.1 017700000001 0x7f.0.0.1 0x7f.1 0x7f000001 "
    "0x7F000001 2130706433 3232235521 00000127.0.0.1 127.0.0.1. 127.0.0.0x1 1.1 10.0.0.1 172.16.0.1 192.168.1.1 "
    "100.64.0.1 169.254.169.254 169.254.43518 2852039166 0xA9FEA9FE 0251.0376.0251.0376 100.100.100.200 192.0.0.192 "
    "168.63.129.16 [::1] [::] [::ffff:127.0.0.1] [0:0:0:0:0:ffff:7f00:1] [::ffff:a9fe:a9fe] [fd00:ec2::254] "
    "[fe80::1%25eth0] [64:ff9b::7f00:1] [::127.0.0.1] [2002:7f00:1::] ::1 0:0:0:0:0:0:0:1 localhost LOCALHOST "
    "localhost. foo.localhost ip6-localhost \u2460\u2461\u2466.\u24ea.\u24ea.\u2460 \uff11\uff12\uff17.0.0.1 "
    "127\u30020\u30020\u30021 127\uff0e0\uff0e0\uff0e1 127%2e0%2e0%2e1 %31%32%37.0.0.1 loc%61lhost "
    "metadata.google.internal metadata metadata.goog instance-data kubernetes.default.svc "
    "api.default.svc.cluster.local printer.local router.lan nas.home host.docker.internal 1.0.0.127.in-addr.arpa "
    "x.home.arpa a.test a.invalid a.example abc.onion 127.0.0.1.nip.io 10-0-0-1.sslip.io app.lvh.me www.localtest.me "
    "intranet mail.corp portal.intranet x.alt "
)

TRICKS = [
    "",
    " ",
    "https://",
    "https:///a",
    "https://?x",
    "https:example.com",
    "https:/example.com",
    "//example.com/a",
    "http://example.com/a",
    "HTTPS://example.com/a",
    "hTtps://example.com/a",
    "ftp://example.com/a",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript:alert(1)",
    "data:text/plain,x",
    " https://example.com/",
    "https://example.com/ ",
    "https://example.com/\n",
    "https://example.com/\r\nHost: evil.com",
    "https://exam\tple.com/",
    "https://example.com\x00.evil.com/",
    "https://user@example.com/",
    "https://user:pw@example.com/",
    "https://@example.com/",
    "https://example.com:443@evil.com/",
    "https://evil.com\\@example.com/",
    "https://evil.com\\.example.com/",
    "https:\\\\example.com/",
    "https://example.com/a\\b",
    "https://example.com#@evil.com/",
    "https://example.com/a#fragment",
    "https://example.com:80/",
    "https://example.com:8443/",
    "https://example.com:0443/",
    "https://example.com:443:80/",
    "https://example.com:+443/",
    "https://example.com:\uff14\uff14\uff13/",
    "https://Example.com/",
    "https://example.com./",
    "https://.example.com/",
    "https://example..com/",
    "https://-a.example.com/",
    "https://a-.example.com/",
    "https://a_b.example.com/",
    "https://exa!mple.com/",
    "https://a,b.com/",
    "https://bücher.example.com/",
    "https://example\u3002com/",
    "https://example.com/ü",
    "https://example.com/a b",
    'https://example.com/"',
    "https://example.com/<a>",
    "https://example.com/{a}",
    "https://example.com/a|b",
    "https://example.com/a^b",
    "https://example.com/`",
    "https://example.com/%",
    "https://example.com/%2",
    "https://example.com/%zz",
    "https://example.com/%u0041",
    "https://example.com/\u202e",
    "https://example.com/\ud800",
    "https://xn--a.com/",
    "https://xn--.com/",
    "https://xn--zzzzzzzzzzzzzzzzzzzzzzz.com/",
    f"https://{'a' * 64}.com/",
    f"https://{'a.' * 127}com/",
    f"https://example.com/{'a' * 2048}",
]


@cases("url", BENIGN)
def test_public_https_urls_pass_with_their_host(url: str) -> None:
    """Signed links of the usual stores, percent escapes, brackets in a query and international names are fine."""
    assert check_url(url) == UrlVerdict(host=BENIGN[url], problem=None)


@cases("host", PRIVATE_HOSTS.split())
@cases("form", ["https://{}", "https://{}/a", "https://{}:443/a?b"])
def test_no_private_host_passes_in_any_notation(host: str, form: str) -> None:
    """Addresses in every spelling, metadata services, and names reserved for private use are refused."""
    verdict = check_url(form.format(host))
    assert verdict.host is None
    assert verdict.problem


@cases("url", TRICKS)
def test_urls_that_parsers_read_differently_do_not_pass(url: str) -> None:
    """Other schemes, userinfo, backslashes, controls, foreign digits, ports and broken escapes are refused."""
    verdict = check_url(url)
    assert verdict.host is None
    assert verdict.problem
    assert verdict.problem.endswith(".")


@cases("suffix", [*SPECIAL_SUFFIXES, *POINTER_SUFFIXES])
def test_special_suffixes_are_refused_by_whole_labels_only(suffix: str) -> None:
    """`a.local` is special, `a.notlocal` is not; and `example.com` is an ordinary name."""
    assert check_url(f"https://a.{suffix}/").host is None
    assert check_url(f"https://a.not{suffix.replace('.', '-')}/").problem is None


@cases("value", [None, 1, b"https://example.com/", ["https://example.com/"], object()])
def test_what_is_not_text_is_refused(value: object) -> None:
    """Any value may be judged; only text can pass."""
    for check in (check_url, check_base_url):
        assert check(value) == UrlVerdict(host=None, problem="The URL is not a string.")
    assert url_host(value) is None


def test_length_limits_are_kept_exactly() -> None:
    """The longest allowed URL passes, whatever of it is query; one character more does not."""
    start = "https://example.com/?"
    assert check_url(start + "a" * (2048 - len(start))).problem is None
    assert "2049 characters" in str(check_url(start + "a" * (2049 - len(start))).problem)
    assert check_url("https://example.com/abc", max_length=22).host is None


def test_problems_never_repeat_userinfo_path_or_query() -> None:
    """A refused URL with secrets in every part leaves none of them in the sentence."""
    secret = "Zq9-hidden-7Xw"
    for url in (
        f"https://{secret}@example.com/{secret}?{secret}",
        f"http://example.com/{secret}?k={secret}#{secret}",
        f"https://127.0.0.1/{secret}?k={secret}",
        f"https://a.local/{secret}?k={secret}",
        f"https://example.com:81/{secret}?k={secret} ",
        f"https://xn--a.com/?{secret}%",
    ):
        for verdict in (check_url(url), check_base_url(url)):
            assert secret not in str(verdict)


def test_a_second_reader_that_sees_another_host_is_a_problem() -> None:
    """The cross-check refuses where the standard library reads a different host."""
    assert _disagreement("https://example.com/", "example.com") is None
    assert _disagreement("https://example.com/", "example.org") == "The host of the URL can be read in two ways."


urlish = st.lists(
    st.sampled_from(
        ["https://", "example.com", "127.0.0.1", "a.b", "xn--", "@", ":", "443", "/", "\\", "?", "#", "%", "."]
    )
    | st.text(alphabet=string.ascii_lowercase + string.digits + "-._~%[]@:/?=&;\u3002\u2488\x00\n ", max_size=4),
    max_size=8,
).map("".join)


@given(urlish | urlish.map("https://".__add__) | st.text())
@example("https://a.b:443")
def test_whatever_passes_is_read_alike_by_the_standard_library(url: str) -> None:
    """For any text the check answers with a verdict, and a passing one agrees on scheme, host, port and text."""
    verdict = check_url(url)
    assert (verdict.host is None) != (verdict.problem is None)
    if verdict.host is not None:
        parts = urlsplit(url)
        assert (parts.scheme, parts.hostname, parts.port or 443) == ("https", verdict.host, 443)
        assert parts.username is None
        assert parts.password is None
        assert parts.geturl().rstrip("?") == url.rstrip("?")
        assert url_host(url) == verdict.host


@given(st.text(alphabet=string.ascii_lowercase + string.digits + "-", max_size=58))
def test_any_punycode_label_gets_a_verdict(text: str) -> None:
    """However broken the encoded text, the decoder's own errors never come out."""
    verdict = check_url(f"https://xn--{text}.com/")
    assert (verdict.host is None) != (verdict.problem is None)


@given(st.text() | st.binary() | st.integers() | st.none())
def test_the_other_checks_answer_anything_too(value: object) -> None:
    """Base URLs and hosts for showing take any value without raising."""
    verdict = check_base_url(value)
    assert (verdict.host is None) != (verdict.problem is None)
    url_host(value)


@cases(
    ("url", "host"),
    [
        ("https://proxy.example.com", "proxy.example.com"),
        ("https://proxy.example.com/poyo/v1", "proxy.example.com"),
        ("http://127.0.0.1:8080", "127.0.0.1"),
        ("http://127.0.0.1", "127.0.0.1"),
        ("https://localhost:65535/base", "localhost"),
        ("http://[::1]:1/", "::1"),
    ],
)
def test_a_person_may_put_a_proxy_or_a_local_double_in_place(url: str, host: str) -> None:
    """Public https with a path, and the three names of this computer with any port."""
    assert check_base_url(url) == UrlVerdict(host=host, problem=None)


@cases(
    "url",
    [
        "http://proxy.example.com",
        "https://proxy.example.com:8443",
        "https://proxy.example.com/?a=b",
        "https://proxy.example.com?",
        "http://127.0.0.1:0",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:",
        "http://127.0.0.2:80",
        "http://127.1:80",
        "http://[::2]:80",
        "http://localhost.evil.com",
        "http://localhost@evil.com/",
        "http://127.0.0.1:80@evil.com/",
        "http://localhost:80#a",
        "http://localhost:80/a b",
        "HTTP://localhost:80",
        "http://192.168.0.1",
        "ftp://localhost",
        "https://proxy.example.com/" + "a" * 2048,
    ],
)
def test_other_base_urls_are_refused(url: str) -> None:
    """Plain http elsewhere, other addresses, queries, fragments and userinfo do not become a base URL."""
    verdict = check_base_url(url)
    assert verdict.host is None
    assert verdict.problem


@cases(
    ("url", "host"),
    [
        ("https://Example.com/a?b", "example.com"),
        ("http://example.com:8080", "example.com"),
        ("HTTPS://example.com#x", "example.com"),
        ("http://[::1]:99/x", "::1"),
        ("http://10.0.0.1/x", "10.0.0.1"),
        ("https://user:pw@example.com/", None),
        ("https://evil.com\\@example.com/", None),
        ("https://exa mple.com/", None),
        ("example.com", None),
        ("", None),
    ],
)
def test_the_host_to_show_is_plain_or_none(url: str, host: str | None) -> None:
    """Showing is laxer than judging, but a URL whose host is in doubt shows none."""
    assert url_host(url) == host


@cases(
    "url",
    [
        "https://a.com?@127.0.0.1/",
        "https://a.com?x@127.0.0.1",
        "https://a.com:443?@localhost/a.png",
        "https://a.com;@127.0.0.1/",
        "https://a.com?b=1&c=@10.0.0.1/x?y",
    ],
)
def test_an_at_sign_before_the_first_slash_is_refused(url: str) -> None:
    """Some readers end the host only at the slash, and would fetch another one."""
    assert check_url(url).problem == "The URL has a user name or password before its host."


@cases("url", ["https://a.com/?user=b@c.com", "https://a.com/@me/a.png", "https://a.com?x=1"])
def test_an_at_sign_after_it_is_harmless(url: str) -> None:
    """It is part of the path or the query for every reader."""
    assert check_url(url).host == "a.com"


def test_a_megabyte_is_judged_at_once() -> None:
    """The time of every check grows no faster than its input, whichever rule it runs into."""
    size = 1_000_000
    long = [
        "https://" + "a" * size,
        "https://" + "a." * (size // 2) + "com",
        "https://example.com/" + "%41" * (size // 3),
        "https://example.com/" + "%" * size,
        "https://" + "xn--a." * (size // 6) + "com",
        "https://" + "[" * size,
        "http://127.0.0.1/" + "a" * size,
    ]
    started = process_time()
    for url in long:
        check_url(url, max_length=2 * size)
        check_base_url(url)
        url_host(url)
    assert process_time() - started < 2
