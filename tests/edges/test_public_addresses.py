"""Downloads connect to the address that was checked, and to no other."""

from __future__ import annotations

import httpcore2
import pytest

from callsheet.edges.http.public_addresses import AddressRefused, PinnedBackend


class Network(httpcore2.AsyncNetworkBackend):
    """Remembers what was connected to; some addresses do not answer."""

    def __init__(self, *, dead: tuple[str, ...] = ()) -> None:
        self.connected: list[str] = []
        self.dead = dead

    async def connect_tcp(self, host: str, port: int, **_: object) -> httpcore2.AsyncNetworkStream:
        self.connected.append(host)
        if host in self.dead:
            raise httpcore2.ConnectError("refused")
        return httpcore2.AsyncNetworkStream()


class Names:
    """A resolver with a script: each look-up of a name gives the next answer."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


async def test_the_name_is_looked_up_once_and_that_address_is_connected_to() -> None:
    """A second, different answer is never asked for."""
    network, names = Network(), Names(["93.184.216.34"], ["127.0.0.1"])

    await PinnedBackend(network, resolver=names).connect_tcp("cdn.example.com", 443)

    assert network.connected == ["93.184.216.34"]
    assert names.asked == 1


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["10.0.0.1"], ["93.184.216.34", "169.254.169.254"], ["::1"], []])
async def test_an_answer_that_leads_inside_is_refused_before_any_connection(answer: list[str]) -> None:
    """One private address among public ones is enough."""
    network = Network()

    with pytest.raises(AddressRefused):
        await PinnedBackend(network, resolver=Names(answer)).connect_tcp("cdn.example.com", 443)
    assert network.connected == []


async def test_the_next_checked_address_is_tried_when_one_does_not_answer() -> None:
    """As any client would."""
    network = Network(dead=("93.184.216.34",))

    await PinnedBackend(network, resolver=Names(["93.184.216.34", "1.1.1.1"])).connect_tcp("cdn.example.com", 443)

    assert network.connected == ["93.184.216.34", "1.1.1.1"]


async def test_when_none_answers_the_failure_is_a_refused_connection() -> None:
    """So that the download is tried again later."""
    network = Network(dead=("1.1.1.1",))

    with pytest.raises(httpcore2.ConnectError):
        await PinnedBackend(network, resolver=Names(["1.1.1.1"])).connect_tcp("cdn.example.com", 443)


async def test_local_sockets_are_never_used() -> None:
    """A link cannot name one."""
    with pytest.raises(AddressRefused):
        await PinnedBackend(Network()).connect_unix_socket("/run/x.sock")
