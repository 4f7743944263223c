"""The program's own gateway readers, before what the fake gateways say: each answer is understood for what it is."""

from __future__ import annotations

import json

import pytest
from sandbox_client import GATEWAYS, LONG_AFTER, SandboxClient, body_for
from sandbox_client import Reply as SandboxReply

from callsheet.core.gateway.protocol import (
    Accepted,
    Balance,
    BalanceReader,
    Gateway,
    HttpReply,
    HttpRequest,
    ListingReader,
    Phase,
    Postponed,
    Progress,
    Rejected,
    StatusUnavailable,
    SubmitParts,
    TaskRef,
    Unclear,
)
from callsheet.gateways import load_gateway
from callsheet.sandbox.fakes import FAKES
from callsheet.sandbox.fakes.protocol import Generation
from callsheet.sandbox.fakes.tasks import snapshot_at
from callsheet.sandbox.store import Store

MODELS = {"poyo": "sora-2-official", "apidot": "sora-2-official", "apixo": "sora-2", "evolink": "sora-2-preview"}
TASK_ID_KEYS = {"poyo": "task_id", "apidot": "task_id", "apixo": "taskId", "evolink": "id"}
"""Where a delivery names its task: at the top, or in `data`."""


def _ask(sandbox: SandboxClient, gateway: str, request: HttpRequest, **headers: str) -> HttpReply:
    sent = dict(request.headers) | headers
    body = request.body
    answer: SandboxReply = sandbox.send(request.method, f"/{gateway}{request.path}", body, headers=sent)
    return HttpReply(answer.status, tuple(answer.headers.items()), answer.body)


def _submit(sandbox: SandboxClient, gateway: str, prompt: str, **headers: str) -> object:
    module: Gateway = load_gateway(gateway)
    body = json.dumps(body_for(gateway, prompt)).encode()
    parts = SubmitParts(MODELS[gateway], body, f"key-for-{abs(hash(prompt))}")
    return module.read_submit(_ask(sandbox, gateway, module.build_submit(parts), **headers))


def _status(sandbox: SandboxClient, gateway: str, task_id: str, **headers: str) -> object:
    module: Gateway = load_gateway(gateway)
    request = module.build_status(TaskRef(MODELS[gateway], task_id))
    return module.read_status(_ask(sandbox, gateway, request, **headers))


@pytest.mark.parametrize("generation", ["new", "old"])
@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_whole_life_is_read_in_both_generations(sandbox: SandboxClient, gateway: str, generation: str) -> None:
    """Accepted, queued, running, succeeded with one link to a video."""
    header = {"X-Sandbox-Generation": generation}
    accepted = _submit(sandbox, gateway, f"A lighthouse in a storm, {generation}", **header)
    assert isinstance(accepted, Accepted)
    seen = []
    for pause in (0, 60, LONG_AFTER):
        sandbox.clock.advance(pause)
        progress = _status(sandbox, gateway, accepted.gateway_task_id, **header)
        assert isinstance(progress, Progress)
        seen.append(progress)
    assert [progress.phase for progress in seen] == [Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED]
    assert len(seen[-1].video_urls) == 1


@pytest.mark.parametrize("generation", ["new", "old"])
@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("refused", Rejected),
        ("insufficient-credits", Rejected),
        ("rate-limited=9", Postponed),
        ("server-error", Unclear),
        ("garbage-in-200", Unclear),
    ],
)
def test_a_submission_that_went_wrong_is_read_for_what_it_is(
    sandbox: SandboxClient, gateway: str, tag: str, kind: type, generation: str
) -> None:
    """A refusal, a limit, or an answer that does not say."""
    header = {"X-Sandbox-Generation": generation}
    assert isinstance(_submit(sandbox, gateway, f"A cat [[sandbox:{tag}]]", **header), kind)


@pytest.mark.parametrize("generation", ["new", "old"])
@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_task_that_went_wrong_is_read_for_what_it_is(sandbox: SandboxClient, gateway: str, generation: str) -> None:
    """A failure with its reason, a state that nobody documents, a status that cannot be read, no such task."""
    header = {"X-Sandbox-Generation": generation}
    ids = {}
    for tag in ("content-violation", "unknown-state", "status-error", "not-visible"):
        accepted = _submit(sandbox, gateway, f"A hen, {generation} [[sandbox:{tag}]]", **header)
        assert isinstance(accepted, Accepted)
        ids[tag] = accepted.gateway_task_id
    unnamed = _status(sandbox, gateway, ids["unknown-state"], **header)
    assert isinstance(unnamed, Progress)
    assert unnamed.phase is Phase.UNRECOGNISED
    broken = _status(sandbox, gateway, ids["status-error"], **header)
    assert isinstance(broken, StatusUnavailable)
    assert not broken.unknown_task
    hidden = _status(sandbox, gateway, ids["not-visible"], **header)
    assert isinstance(hidden, StatusUnavailable)
    assert hidden.unknown_task
    sandbox.clock.advance(LONG_AFTER)
    failed = _status(sandbox, gateway, ids["content-violation"], **header)
    assert isinstance(failed, Progress)
    assert failed.phase is Phase.FAILED
    assert failed.failure is not None


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_balances_and_listings_are_read(sandbox: SandboxClient, gateway: str) -> None:
    """Where the gateway documents such a page."""
    module = load_gateway(gateway)
    if isinstance(module, BalanceReader):
        assert isinstance(module.read_balance(_ask(sandbox, gateway, module.build_balance())), Balance)
    if isinstance(module, ListingReader):
        assert module.read_listing(_ask(sandbox, gateway, module.build_listing(MODELS[gateway]))) is True


@pytest.mark.parametrize("generation", list(Generation))
@pytest.mark.parametrize("gateway", GATEWAYS)
def test_callbacks_name_their_task(sandbox: SandboxClient, gateway: str, generation: Generation) -> None:
    """In every shape that a gateway is known to send."""
    task_id = sandbox.accepted(gateway, "A cat")
    task = Store(sandbox.store).load_task(gateway, task_id)
    assert task is not None
    snapshot = snapshot_at(task, task.created + LONG_AFTER)
    callback = FAKES[gateway].build_callback(task, snapshot, "http://127.0.0.1/video.mp4", generation)
    body = json.loads(json.dumps(callback.body))
    key = TASK_ID_KEYS[gateway]
    assert [place[key] for place in (body, body.get("data")) if isinstance(place, dict) and key in place] == [task_id]
