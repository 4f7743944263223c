"""Which addresses a download may connect to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.security.urls import is_public
from cases import cases

PRIVATE = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "192.31.196.1",
    "192.52.193.1",
    "192.175.48.1",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2620:4f:8000::1",
    "3fff::1",
    "5f00::1",
    "2a00::5efe:127.0.0.1",
    "2a00::200:5efe:10.0.0.1",
    "3ffe::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "169.253.255.255",
    "198.17.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::200e",
    "64:ff9b::808:808",
    "2a00::5efe:8.8.8.8",
]


@cases("address", PRIVATE)
def test_an_address_that_leads_inside_is_refused(address: str) -> None:
    """In whatever form it is written or wrapped."""
    assert not is_public(address)


@cases("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    """Also right beside a block that is not."""
    assert is_public(address)


@cases("text", ["", "example.com", "127.1", "0x7f000001", "2130706433", "1.2.3.4.5", "[::1]", "::g"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """A resolver gives addresses, nothing else."""
    assert not is_public(text)


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    """It answers, whatever it is asked."""
    assert is_public(text) in (True, False)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_nat64_is_judged_as_itself(address: object) -> None:
    """The wrapping changes nothing."""
    assert is_public(f"64:ff9b::{address}") == is_public(str(address))
