"""A desk that is opened because a sheet waits: on loopback, until the sheet is decided, and never in the way."""

from __future__ import annotations

import socket
import urllib.request

import anyio
import anyio.to_thread
import pytest
from desk_client import set_passphrase

from callsheet.core.consent import Means
from callsheet.edges.process.locks import find_desk, hold_desk
from callsheet.service import Service
from callsheet.service.approval import desk as on_demand
from workspace import Workspace, accepted, draft

pytestmark = pytest.mark.network


def live(workspace: Workspace) -> Service:
    """A live install with a passphrase; no desk is open."""
    workspace.go_live()
    set_passphrase(workspace.home)
    workspace.gateway.replies = [accepted()]
    return workspace.service()


async def test_it_opens_for_a_sheet_that_waits_and_closes_after_the_decision(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer has its address, which signs nobody in; the approval sends the sheet; then the port is free again."""
    monkeypatch.setattr(on_demand, "LINGER_SECONDS", 0.5)
    service = live(workspace)
    sheet_id = draft(service)
    async with service.running():
        [asked] = await service.submit_together([sheet_id], wait_seconds=0, opens_desk=True)
        url = asked.next_step.desk_url
        page = await anyio.to_thread.run_sync(lambda: urllib.request.urlopen(url).read().decode())
        service.approve(sheet_id, by=Means.DESK)
        with anyio.fail_after(20):
            while find_desk(workspace.home / "state") is not None:
                await service.wait_for_change(0.1)

    assert url.startswith("http://localhost:")
    assert url.endswith(f"/sheets/{sheet_id}")
    assert "Sign in" in page
    port = int(url.split(":")[2].partition("/")[0])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert len(workspace.gateway.paid) == 1


async def test_nothing_is_opened_unasked(workspace: Workspace) -> None:
    """Not for what needs nobody, not if the caller does not want it, and not beside a desk that is open."""
    service = live(workspace)
    async with service.running():
        await service.submit_together([draft(service)], wait_seconds=0)
        assert service.desk_url() is None
        with hold_desk(workspace.home / "state") as held:
            assert held
            [asked] = await service.submit_together([draft(service)], wait_seconds=0, opens_desk=True)

    assert asked.next_step.desk_url == ""
    assert asked.needs_person


async def test_wrong_passphrases_count_on_when_it_is_opened_again(workspace: Workspace) -> None:
    """An agent that has desks opened gets no more tries."""
    from callsheet.surface.desk.state import build_desk_state

    service = live(workspace)
    config = workspace.home / "config"
    first, second = (
        build_desk_state(service, config=config, verifier=config / "v", port=port, now=lambda: 0.0) for port in (1, 2)
    )

    assert first.passphrase_check is second.passphrase_check
