"""A picture of the person's own leaves after the approval, once, to the gateway's own address, and buys nothing."""

from __future__ import annotations

import json
import socketserver
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree

import httpx2
import pytest

from callsheet.compose import Surroundings, build_service
from callsheet.core.consent import Means
from callsheet.core.shot import Shot
from callsheet.core.tasks import TaskState
from callsheet.edges.config.policy_file import write_pause
from callsheet.edges.files.files import write_private
from callsheet.edges.keys.passphrase import create_recipe
from callsheet.edges.keys.sealed import seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey
from callsheet.errors import Fate, InvalidRequest, NotApproved, PolicyRefusal, UnknownThing
from callsheet.service import Draft, Service
from callsheet.service.blockers import allowance_for
from callsheet.service.polling import resolve_task, run_task
from callsheet.service.sealed_keys import claim_for_sending, permit
from callsheet.service.submission import UPLOAD_TRIES, submit
from pictures import SECRET, write_cat
from samples import CHEAP
from workspace import KEY, PASSPHRASE, Workspace, accepted, account_of, draft, reply, status, trust

LINK = "https://storage.poyo.ai/temp/cat.png"
POYO_UPLOAD = "https://api.poyo.ai/api/common/upload/stream"
EVOLINK_UPLOAD = "https://files-api.evolink.ai/api/v1/files/upload/stream"


def uploaded(link: object = LINK, **more: object) -> httpx2.Response:
    """The gateway took the file."""
    return reply({"success": True, "code": 200, "msg": "ok", "data": {"file_url": link}, **more})


EVOLINK_ACCEPTS = reply({"id": "task-unified-1-abc", "status": "pending"})
"""After a balance that could not be read."""


def sheet_of_cat(service: Service, cat: Path, *, gateway: str = "poyo", model: str = "sora-2-official") -> str:
    """A sheet for a shot that begins with a picture of the person's own, drafted in their terminal."""
    shot = Shot.of("The cat wakes up and looks around.", duration_seconds=4, first_frame=str(cat))
    explanation = service.explain(Draft(shot=shot, gateway=gateway, model=model, by_person=True))
    assert explanation.sheet is not None, explanation.findings
    return explanation.sheet.id


def approved_cat(workspace: Workspace, tmp_path: Path, extra: str = "") -> tuple[Service, str]:
    """A live service and the task of such a sheet that a person approved; nothing was sent yet."""
    workspace.go_live(extra)
    service = workspace.service()
    sheet_id = sheet_of_cat(service, write_cat(tmp_path))
    service.approve(sheet_id, by=Means.TERMINAL)
    return service, submit(service.deps, sheet_id).report.task.id


async def run(service: Service, workspace: Workspace, task_id: str, times: int = 1) -> TaskState:
    """Let the runner take that many steps, each when it is due."""
    for _ in range(times):
        workspace.clock.time = max(workspace.clock.time, service.task(task_id).task.next_at)
        await run_task(service.deps, task_id)
    return service.task(task_id).task.state


def kept_file(workspace: Workspace) -> Path:
    """The clean copy."""
    [path] = (workspace.home / "data" / "inputs").glob("*.png")
    return path


def sent_marks(workspace: Workspace) -> Path:
    """Where the marks of what was sent are, outside the ledger."""
    return workspace.home / "state" / "sent"


async def test_the_file_goes_first_and_the_paid_body_has_its_link(workspace: Workspace, tmp_path: Path) -> None:
    """The clean copy under a name that tells nothing, with the key, to the gateway; else the approved body."""
    service, task_id = approved_cat(workspace, tmp_path)
    assert workspace.gateway.requests == []
    workspace.gateway.replies = [uploaded(), accepted()]

    assert await run(service, workspace, task_id) is TaskState.QUEUED

    upload, paid = workspace.gateway.paid
    assert str(upload.url) == POYO_UPLOAD
    assert upload.headers["authorization"] == f"Bearer {KEY}"
    assert kept_file(workspace).read_bytes() in upload.content
    assert SECRET not in upload.content
    assert b"cat.png" not in upload.content
    frozen = service.deps.ledger().sheet(service.task(task_id).task.sheet_id).body
    placeholder = json.loads(frozen)["input"]["image_urls"]
    assert placeholder == [f"callsheet-file:{kept_file(workspace).name}"]
    assert paid.content == frozen.replace(placeholder[0].encode(), LINK.encode())


async def test_claim_and_mark_follow_the_upload_and_precede_the_request(workspace: Workspace, tmp_path: Path) -> None:
    """A crash while the file is on its way leaves a task that is waiting, with nothing that may have been charged."""
    service, task_id = approved_cat(workspace, tmp_path)
    seen: list[tuple[str, TaskState, int]] = []

    def look(request: httpx2.Request) -> httpx2.Response:
        marks = [path.read_text() for path in sent_marks(workspace).glob("*.json")]
        assert not any("callsheet-file" in mark or LINK in mark for mark in marks)
        named = sum(task_id in mark for mark in marks)
        what = request.url.path.rsplit("/", 1)[-1]
        seen.append((what, service.task(task_id).task.state, named))
        return uploaded() if what == "stream" else accepted()

    workspace.gateway.on_request = look

    assert await run(service, workspace, task_id) is TaskState.QUEUED

    waits = TaskState.WAITING
    assert seen == [("stream", waits, 0), ("balance", waits, 0), ("submit", TaskState.SUBMITTING, 1)]


async def test_evolink_has_a_server_of_its_own_for_files(workspace: Workspace, tmp_path: Path) -> None:
    """The key goes there too; the text that the person agrees to names it."""
    workspace.go_live()
    workspace.environ["EVOLINK_API_KEY"] = KEY
    service = workspace.service()
    sheet_id = sheet_of_cat(service, write_cat(tmp_path), gateway="evolink", model="sora-2-preview")
    assert "UPLOADED to https://files-api.evolink.ai" in service.approval_text(sheet_id)
    service.approve(sheet_id, by=Means.TERMINAL)
    workspace.gateway.replies = [uploaded("https://files.evolink.ai/cat.png"), reply({}, 404), EVOLINK_ACCEPTS]

    task_id = submit(service.deps, sheet_id).report.task.id
    await run(service, workspace, task_id)

    upload, paid = workspace.gateway.paid
    assert upload.headers["authorization"] == f"Bearer {KEY}"
    assert str(upload.url) == EVOLINK_UPLOAD
    assert str(paid.url) == "https://api.evolink.ai/v1/videos/generations"
    assert b"https://files.evolink.ai/cat.png" in paid.content


async def test_a_proxy_of_the_persons_gets_the_file_and_no_other_address_its_key(
    workspace: Workspace, tmp_path: Path
) -> None:
    """A key for the proxy must not reach the gateway's own file server."""
    workspace.environ["EVOLINK_API_KEY"] = KEY
    workspace.go_live('[gateways.evolink]\nbase_url = "https://proxy.acme.com/evolink"\n')
    service = workspace.service()
    sheet_id = sheet_of_cat(service, write_cat(tmp_path), gateway="evolink", model="sora-2-preview")
    service.approve(sheet_id, by=Means.TERMINAL)
    workspace.gateway.replies = [uploaded("https://files.evolink.ai/cat.png"), reply({}, 404), EVOLINK_ACCEPTS]

    await run(service, workspace, submit(service.deps, sheet_id).report.task.id)

    assert {request.url.host for request in workspace.gateway.requests} == {"proxy.acme.com"}


def test_the_person_sees_path_pixels_bytes_and_hash_before_anything_leaves(
    workspace: Workspace, tmp_path: Path
) -> None:
    """In the text of every surface, rendered from the bytes."""
    workspace.go_live()
    service = workspace.service()
    cat = write_cat(tmp_path)

    sheet_id = sheet_of_cat(service, cat)

    [line] = [line for line in service.approval_text(sheet_id).split("\n") if line.startswith("Inputs: ")]
    [file] = service.own_files(service.sheet(sheet_id))
    for told in (str(cat), "64x48 pixels", f"{file.size:,} bytes", file.sha256[:12], "UPLOADED to https://api.poyo.ai"):
        assert told in line
    assert service.sheet(sheet_id).shown == service.approval_text(sheet_id)
    assert service.read_own_file(file) == kept_file(workspace).read_bytes()
    assert workspace.gateway.requests == []


def test_no_path_can_forge_a_line_of_the_text(workspace: Workspace, tmp_path: Path) -> None:
    """Line breaks and invisible characters are shown as such."""
    workspace.go_live()
    service = workspace.service()
    name = 'a.png"\nPrice: 0.00 USD · SANDBOX REHEARSAL: free\n\u202eb.png'

    text = service.approval_text(sheet_of_cat(service, write_cat(tmp_path, name)))

    assert [line.partition(":")[0] for line in text.split("\n")].count("Price") == 1
    assert "\u202e" not in text


HINDRANCES = {
    "a pause": lambda workspace: write_pause(workspace.home / "config" / "policy.toml", paused=True),
    "another policy": lambda workspace: workspace.write_policy('mode = "live"\n[caps]\nper_clip = "0.90"\n'),
    "read-only": lambda workspace: workspace.write_policy('mode = "read-only"'),
    "the sandbox": lambda workspace: workspace.write_policy('mode = "sandbox"'),
    "no key": lambda workspace: workspace.environ.pop("POYO_API_KEY"),
    "a damaged mark": lambda workspace: write_private(sent_marks(workspace) / "x.json", b"?", what="mark"),
}


@pytest.mark.parametrize("name", HINDRANCES)
async def test_nothing_leaves_while_the_clip_could_not_be_sent(workspace: Workspace, tmp_path: Path, name: str) -> None:
    """What stops the paid request stops the upload before it."""
    service, task_id = approved_cat(workspace, tmp_path)
    HINDRANCES[name](workspace)

    assert await run(service, workspace, task_id) is TaskState.WAITING

    assert workspace.gateway.requests == []


async def test_a_refusal_by_caps_or_a_missing_approval_lets_nothing_leave(workspace: Workspace, tmp_path: Path) -> None:
    """Neither makes a task."""
    workspace.go_live('[caps]\nper_clip = "0.10"\n')
    service = workspace.service()
    sheet_id = sheet_of_cat(service, write_cat(tmp_path))

    with pytest.raises(PolicyRefusal):
        service.approve(sheet_id, by=Means.TERMINAL)
    with pytest.raises(PolicyRefusal):
        submit(service.deps, sheet_id)

    assert workspace.gateway.requests == []


def test_no_allowance_lets_a_file_leave(workspace: Workspace, tmp_path: Path) -> None:
    """The person agrees to each, having seen it; a shot without files is covered as before."""
    workspace.go_live()
    service = workspace.service()
    terms = {"clips": 5, "up_to": Decimal("5.00"), "seconds": 3600.0, "by": Means.TERMINAL}
    service.allow(("poyo/sora-2-official",), **terms)

    sheet_id = sheet_of_cat(service, write_cat(tmp_path))
    asked = submit(service.deps, sheet_id)

    assert asked.status == "approval_needed"
    # The bytes decide, whatever the ledger says of the shot.
    assert allowance_for(service.deps, replace(service.sheet(sheet_id), shot=Shot())) is None
    assert submit(service.deps, draft(service)).report is not None


UNUSABLE = {
    "http 401": reply({"code": 401, "error": {"message": "no"}}, 401),
    "http 500": reply({}, 500),
    "a redirect": reply({}, 302, location="https://evil.example.net/"),
    "success is false": uploaded(success=False),
    "a code of its own": uploaded(code=402),
    "no link": reply({"success": True, "code": 200, "data": {}}),
    "an html page": httpx2.Response(200, content=b"<html>"),
    "a link to this computer": uploaded("http://127.0.0.1/cat.png"),
    "a link to the metadata service": uploaded("https://169.254.169.254/latest"),
    "a link without tls": uploaded("http://storage.poyo.ai/cat.png"),
    "our key": uploaded(f"https://storage.poyo.ai/{KEY}.png"),
    "our key, escaped": uploaded("https://storage.poyo.ai/" + "".join(f"%{ord(letter):02X}" for letter in KEY)),
    "no text": uploaded(7),
    "a name of a file of ours": uploaded(f"callsheet-file:{'0' * 64}.png"),
    "a script": uploaded("javascript:alert(1)"),
    "a link that is too long": uploaded("https://storage.poyo.ai/" + "a" * 2048),
    "half of a host": uploaded("https://["),
    "a refused connection": httpx2.ConnectError("refused"),
    "a lost answer": httpx2.ReadTimeout("lost"),
    "a broken protocol": httpx2.RemoteProtocolError("gone"),
}


HOME = "http://127.0.0.1:47111"
UNUSABLE_AT_HOME = [
    *(
        "https://[",
        "http://[::1",
        f"{HOME}@evil.example.net/a",
        "http://127.0.0.1\t:47111/a",
        "ht\ntp://127.0.0.1:47111/a",
    ),
    *(f"{HOME}/ a", f"{HOME}/\0", f"{HOME}/\u202e", f"{HOME}/{'a' * 2048}", "http://127.0.0.1:4711/a", HOME),
]


@pytest.mark.parametrize("link", UNUSABLE_AT_HOME)
async def test_a_link_at_a_double_on_this_computer_is_judged_as_well(
    workspace: Workspace, tmp_path: Path, link: str
) -> None:
    """Only the address differs from what is public; no text makes the upload fail otherwise than by this."""
    service, task_id = approved_cat(workspace, tmp_path, f'[gateways.poyo]\nbase_url = "{HOME}"\n')
    workspace.gateway.replies = [uploaded(link)]

    assert await run(service, workspace, task_id) is TaskState.WAITING

    assert service.task(task_id).task.problem.code == "upload_failed"


async def test_a_long_link_is_paid_for_whole(workspace: Workspace, tmp_path: Path) -> None:
    """Signed links have many hundred characters; one that was cut fetches nothing."""
    service, task_id = approved_cat(workspace, tmp_path)
    link = f"{LINK}?signature={'a' * 1500}"
    workspace.gateway.replies = [uploaded(link), accepted()]

    await run(service, workspace, task_id)

    assert json.loads(workspace.gateway.paid[-1].content)["input"]["image_urls"] == [link]


@pytest.mark.parametrize("name", UNUSABLE)
async def test_a_failed_upload_costs_nothing_is_tried_again_and_ends(
    workspace: Workspace, tmp_path: Path, name: str
) -> None:
    """No paid request, whatever came back; at last the task ends with nothing sent."""
    service, task_id = approved_cat(workspace, tmp_path)
    workspace.gateway.on_request = lambda request: answer(request, UNUSABLE[name])

    assert await run(service, workspace, task_id) is TaskState.WAITING
    assert service.task(task_id).task.problem.code == "upload_failed"
    states = [await run(service, workspace, task_id, times=4) for _ in range(UPLOAD_TRIES)]

    assert states[-1] is TaskState.ABANDONED
    report = service.task(task_id)
    assert (report.task.problem.code, report.task.problem.fate) == ("upload_failed", Fate.NOTHING_SENT.value)
    assert {str(request.url) for request in workspace.gateway.requests} - BALANCE == {POYO_UPLOAD}
    assert len(workspace.gateway.paid) == UPLOAD_TRIES
    assert KEY not in json.dumps(service.export(), default=str)


BALANCE = {"https://api.poyo.ai/api/user/balance"}


def answer(request: httpx2.Request, response: httpx2.Response | Exception) -> httpx2.Response:
    """The same each time."""
    if isinstance(response, Exception):
        raise response
    return httpx2.Response(response.status_code, headers=response.headers, content=response.content)


def task_of_two(workspace: Workspace, tmp_path: Path) -> tuple[Service, str]:
    """A shot from one picture to another, approved."""
    workspace.go_live()
    service = workspace.service()
    first, last = (str(write_cat(tmp_path, f"{size}.png", width=size, height=size)) for size in (640, 700))
    shot = Shot.of("The cat wakes up.", first_frame=first, last_frame=last)
    explanation = service.explain(Draft(shot=shot, gateway="poyo", model="seedance-2", by_person=True))
    assert explanation.sheet is not None, explanation.findings
    service.approve(explanation.sheet.id, by=Means.TERMINAL)
    return service, submit(service.deps, explanation.sheet.id).report.task.id


async def test_two_pictures_never_have_the_same_link(workspace: Workspace, tmp_path: Path) -> None:
    """One of them would be paid for and not used."""
    service, task_id = task_of_two(workspace, tmp_path)
    workspace.gateway.on_request = lambda request: uploaded() if "upload" in request.url.path else accepted()

    assert [await run(service, workspace, task_id, times=4) for _ in range(6)][-1] is TaskState.ABANDONED

    assert {request.url.path for request in workspace.gateway.paid} == {"/api/common/upload/stream"}


async def test_the_second_picture_stays_when_the_task_was_withdrawn_during_the_first(
    workspace: Workspace, tmp_path: Path
) -> None:
    """A person gave it up in another process."""
    service, task_id = task_of_two(workspace, tmp_path)

    def take(_: httpx2.Request) -> httpx2.Response:
        resolve_task(workspace.service().deps, task_id, accepted_as=None)
        return uploaded()

    workspace.gateway.on_request = take

    assert await run(service, workspace, task_id, times=3) is TaskState.ABANDONED

    assert len(workspace.gateway.requests) == 1
    assert service.task(task_id).task.problem.code == "given_up"


async def test_nothing_is_asked_after_a_pause_during_an_upload(workspace: Workspace, tmp_path: Path) -> None:
    """Not even the balance."""
    service, task_id = approved_cat(workspace, tmp_path)

    def take(_: httpx2.Request) -> httpx2.Response:
        write_pause(workspace.home / "config" / "policy.toml", paused=True)
        return uploaded()

    workspace.gateway.on_request = take

    assert await run(service, workspace, task_id, times=3) is TaskState.WAITING

    assert len(workspace.gateway.requests) == 1


def meanwhile(workspace: Workspace, task_id: str, failed: httpx2.Response) -> Service:
    """A process during whose first upload another one sends the task whole; its own upload then fails."""
    other, left = workspace.service(), [failed]
    workspace.gateway.on_request = lambda request: (
        uploaded() if "upload" in request.url.path else accepted() if request.method == "POST" else reply({}, 404)
    )

    async def answer_late(request: httpx2.Request) -> httpx2.Response:
        if "upload" not in request.url.path or not left:
            return workspace.gateway(request)
        workspace.clock.time += 600
        while other.task(task_id).task.state is TaskState.WAITING:
            await run(other, workspace, task_id)
        return left.pop()

    home = Surroundings(
        workspace.environ,
        Path("/nowhere"),
        workspace.clock,
        transport=httpx2.MockTransport(answer_late),
        account_home=account_of(workspace.home),
        open_ledger=workspace.open_ledger,
    )
    return build_service(home)


@pytest.mark.parametrize("failures", [0, UPLOAD_TRIES - 1])
async def test_a_late_failure_of_an_upload_changes_nothing_of_what_another_process_paid(
    workspace: Workspace, tmp_path: Path, failures: int
) -> None:
    """The task is not given up, and does not say that nothing was sent."""
    service, task_id = approved_cat(workspace, tmp_path)
    workspace.gateway.on_request = lambda _: reply({}, 503)
    while service.task(task_id).task.failures < failures:
        await run(service, workspace, task_id)

    slow = meanwhile(workspace, task_id, reply({}, 503))
    while service.task(task_id).task.state is TaskState.WAITING:
        await run(slow, workspace, task_id)

    task = service.task(task_id).task
    assert (task.state, task.problem, task.gateway_task_id) == (TaskState.QUEUED, None, "task-unified-1-abc")
    assert [request.url.path for request in workspace.gateway.paid].count("/api/generate/submit") == 1


@pytest.mark.parametrize("spent", [True, False])
async def test_rows_that_somebody_wrote_let_no_file_leave(workspace: Workspace, tmp_path: Path, spent: bool) -> None:
    """The audit trail has no approval, so what the claim would refuse is refused before the upload."""
    workspace.go_live()
    service = workspace.service()
    sheet_id, other = sheet_of_cat(service, write_cat(tmp_path)), draft(service)
    service.approve(other, by=Means.TERMINAL)
    task_id = submit(service.deps, other).report.task.id
    with closing(sqlite3.connect(workspace.ledger_file)) as db:
        db.execute("UPDATE sheet SET state = 'approved' WHERE id = ?", (other,))
        db.execute("UPDATE task SET sheet_id = ? WHERE id = ?", (sheet_id, task_id))
        if spent:
            db.execute("UPDATE sheet SET state = 'spent', approved_at = made_at WHERE id = ?", (sheet_id,))
        db.commit()

    assert await run(workspace.service(), workspace, task_id) is TaskState.WAITING

    assert workspace.gateway.requests == []


async def test_a_copy_of_a_home_uploads_nothing(workspace: Workspace, tmp_path: Path) -> None:
    """An approval counts in the ledger in which it was given."""
    service, task_id = approved_cat(workspace, tmp_path)
    service.deps.ledger().close()
    copy = replace(workspace, home=tmp_path / "copy" / "home")
    copytree(workspace.ledger_file.parents[1], copy.home)
    copy.environ = {**workspace.environ, "CALLSHEET_HOME": str(copy.home)}
    trust(copy.home, 'mode = "live"\n')

    assert await run(copy.service(), copy, task_id) is TaskState.WAITING

    assert copy.gateway.requests == []


ECHOES = {
    "a refusal": [reply({"code": 400, "error": {"message": f"Cannot fetch {LINK}."}}, 400)],
    "a refusal, written otherwise": [reply({"code": 400, "error": {"message": LINK.replace("https", "HTTPS")}}, 400)],
    "a failed job": [accepted(), status("failed", error_message=f"bad image: {LINK}?signature=1")],
    "a state": [accepted(), status(f"waiting for <{LINK}>")],
}


@pytest.mark.parametrize("name", ECHOES)
async def test_a_gateway_that_repeats_the_link_does_not_put_it_into_any_answer(
    workspace: Workspace, tmp_path: Path, name: str
) -> None:
    """Also where another process reads it, which never knew the link. The host is left."""
    service, task_id = approved_cat(workspace, tmp_path)
    workspace.gateway.replies = [uploaded(), *ECHOES[name]]
    await run(service, workspace, task_id)
    if workspace.gateway.replies:
        await run(workspace.service(), workspace, task_id)

    told = json.dumps(service.export(), default=str)
    assert "temp/cat.png" not in told


async def test_after_a_failure_the_upload_is_tried_again_and_the_clip_is_sent(
    workspace: Workspace, tmp_path: Path
) -> None:
    """And the failures do not count on."""
    service, task_id = approved_cat(workspace, tmp_path)
    workspace.gateway.replies = [reply({}, 503), uploaded(), accepted()]

    await run(service, workspace, task_id, times=2)

    task = service.task(task_id).task
    assert (task.state, task.failures, task.problem) == (TaskState.QUEUED, 0, None)


async def test_a_file_that_was_changed_after_the_approval_never_leaves(workspace: Workspace, tmp_path: Path) -> None:
    """The task ends, with nothing sent."""
    service, task_id = approved_cat(workspace, tmp_path)
    path = kept_file(workspace)
    path.write_bytes(path.read_bytes() + b"x")

    assert await run(service, workspace, task_id) is TaskState.ABANDONED

    problem = service.task(task_id).task.problem
    assert (problem.code, problem.fate) == ("file_changed", Fate.NOTHING_SENT.value)
    assert workspace.gateway.requests == []


def test_nobody_is_asked_for_a_sheet_whose_file_is_gone(workspace: Workspace, tmp_path: Path) -> None:
    """It would be refused afterwards."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = sheet_of_cat(service, write_cat(tmp_path))
    kept_file(workspace).unlink()

    assert service.question(sheet_id) is None
    with pytest.raises(InvalidRequest):
        service.approve(sheet_id, by=Means.TERMINAL)


async def test_a_changed_original_changes_nothing(workspace: Workspace, tmp_path: Path) -> None:
    """What was agreed to is the copy."""
    service, task_id = approved_cat(workspace, tmp_path)
    before = kept_file(workspace).read_bytes()
    (tmp_path / "cat.png").write_bytes(b"something private")
    workspace.gateway.replies = [uploaded(), accepted()]

    await run(service, workspace, task_id)

    assert before in workspace.gateway.paid[0].content


async def test_a_crash_between_upload_and_request_only_uploads_again(workspace: Workspace, tmp_path: Path) -> None:
    """The next process knows no link, and there is at most one paid request."""
    service, task_id = approved_cat(workspace, tmp_path)
    # The rate limiter of the gateway answers, and the process ends.
    workspace.gateway.replies = [uploaded(), reply({"code": 429}, 429)]
    assert await run(service, workspace, task_id) is TaskState.WAITING

    workspace.gateway.replies = [uploaded("https://storage.poyo.ai/temp/again.png"), accepted()]
    assert await run(workspace.service(), workspace, task_id) is TaskState.QUEUED

    assert [request.url.path.rsplit("/", 1)[-1] for request in workspace.gateway.paid] == [
        *("stream", "submit"),
        *("stream", "submit"),
    ]
    assert b"again.png" in workspace.gateway.paid[-1].content


async def test_a_request_that_is_tried_again_keeps_its_link(workspace: Workspace, tmp_path: Path) -> None:
    """In one process a file is uploaded once."""
    service, task_id = approved_cat(workspace, tmp_path)
    workspace.gateway.replies = [uploaded(), reply({"code": 429}, 429), accepted()]

    assert await run(service, workspace, task_id, times=2) is TaskState.QUEUED

    assert [request.url.path.rsplit("/", 1)[-1] for request in workspace.gateway.paid] == ["stream", "submit", "submit"]
    assert service.deps.uploaded == {}


async def test_another_take_of_the_shot_needs_an_approval_and_an_upload_of_its_own(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The link of the first is not used again, and stands nowhere: not in the export, not in the ledger."""
    service, task_id = approved_cat(workspace, tmp_path)
    workspace.gateway.replies = [uploaded(), accepted()]
    await run(service, workspace, task_id)
    workspace.gateway.requests.clear()

    second = sheet_of_cat(service, tmp_path / "cat.png")
    assert submit(service.deps, second).status == "approval_needed"
    assert workspace.gateway.requests == []
    service.approve(second, by=Means.TERMINAL)
    workspace.gateway.replies = [uploaded("https://storage.poyo.ai/temp/again.png"), accepted("task-2")]
    await run(service, workspace, submit(service.deps, second).report.task.id)

    upload, paid = workspace.gateway.paid
    assert str(upload.url) == POYO_UPLOAD
    assert b"https://storage.poyo.ai/temp/again.png" in paid.content
    assert LINK not in json.dumps(service.export())
    files = [path for path in workspace.ledger_file.parent.rglob("ledger*") if path.is_file()]
    assert files
    assert not [path for path in files if LINK.encode() in path.read_bytes()]


async def test_a_lost_answer_of_the_paid_request_is_unknown_and_uploads_nothing_more(
    workspace: Workspace, tmp_path: Path
) -> None:
    """As for every clip."""
    service, task_id = approved_cat(workspace, tmp_path)
    workspace.gateway.replies = [uploaded(), httpx2.ReadTimeout("lost")]

    assert await run(service, workspace, task_id, times=3) is TaskState.OUTCOME_UNKNOWN

    assert len(workspace.gateway.paid) == 2


async def test_no_minute_has_more_uploads_than_the_gateway_takes(workspace: Workspace, tmp_path: Path) -> None:
    """Five a minute and key at PoYo, over all tasks."""
    workspace.go_live("[caps]\nconcurrent = 50\n")
    service = workspace.service()
    times: list[float] = []

    def take(request: httpx2.Request) -> httpx2.Response:
        if "upload" in request.url.path:
            times.append(workspace.clock.time)
            return uploaded()
        return reply({"code": 429}, 429) if request.method == "POST" else reply({}, 404)

    workspace.gateway.on_request = take
    tasks = []
    for number in range(12):
        sheet_id = sheet_of_cat(service, write_cat(tmp_path, width=50 + number, height=50))
        service.approve(sheet_id, by=Means.TERMINAL)
        tasks.append(submit(service.deps, sheet_id).report.task.id)
    while len(times) < 12:
        task_id = min(tasks, key=lambda task_id: service.task(task_id).task.next_at)
        await run(service, workspace, task_id)
        if any("upload" in request.url.path for request in workspace.gateway.requests[-1:]):
            tasks = [other for other in tasks if other != task_id] or tasks

    assert all(sum(start <= at < start + 60 for at in times) <= 5 for start in times)


async def test_with_a_sealed_key_only_the_process_that_opened_it_uploads(workspace: Workspace, tmp_path: Path) -> None:
    """The permit is for the sheet, so for its files too; after a failed upload it still holds."""
    workspace.write_policy('mode = "live"\n')
    key = SecretKey("poyo", KEY, source="file")
    sealed = seal_key(key, PASSPHRASE, base_url="https://api.poyo.ai", recipe=create_recipe(CHEAP))
    write_sealed(sealed, keys_directory=workspace.home / "config" / "keys")
    service = workspace.service()
    sheet_id = sheet_of_cat(service, write_cat(tmp_path))
    await permit(service.deps, sheet_id, PASSPHRASE)
    service.approve(sheet_id, by=Means.TERMINAL)
    task_id = submit(service.deps, sheet_id).report.task.id
    claim_for_sending(service.deps, sheet_id)

    assert await run(workspace.service(), workspace, task_id) is TaskState.WAITING
    assert workspace.gateway.requests == []
    claim_for_sending(service.deps, sheet_id)
    workspace.gateway.replies = [reply({}, 503), uploaded(), accepted()]
    assert await run(service, workspace, task_id, times=2) is TaskState.QUEUED
    assert {request.headers["authorization"] for request in workspace.gateway.paid} == {f"Bearer {KEY}"}


REFUSED_NAMES = [
    "callsheet-file:" + "0" * 64 + ".png",
    "callsheet-file:" + "0" * 64 + ".jpg?https://example.com",
    "callsheet-file:https://example.com/cat.png",
    "callsheet-file:../../../etc/passwd",
    "callsheet-file:",
]


@pytest.mark.parametrize("name", REFUSED_NAMES)
@pytest.mark.parametrize("raw", [False, True])
def test_a_name_that_an_agent_writes_itself_is_refused(workspace: Workspace, name: str, raw: bool) -> None:
    """In a shot and in a raw payload: no such file was ever kept."""
    payload = {"model": "sora-2-official", "input": {"prompt": "A cat.", "duration": 4, "image_urls": [name]}}
    shot = Shot.of("A cat.", duration_seconds=4, first_frame=name)

    draft = Draft(payload=payload) if raw else Draft(shot=shot, gateway="poyo", model="sora-2-official")
    explanation = workspace.service().explain(draft)

    assert (explanation.status, explanation.sheet) == ("invalid", None)
    assert "image_url" in [finding.field for finding in explanation.findings if finding.severity == "error"]


@pytest.mark.parametrize("card", ["apidot/sora-2-official", "apixo/sora-2"])
def test_a_gateway_that_documents_no_upload_says_so(workspace: Workspace, tmp_path: Path, card: str) -> None:
    """Before anybody is asked."""
    gateway, _, model = card.partition("/")
    shot = Shot.of("The cat wakes up and looks around.", first_frame=str(write_cat(tmp_path)))

    explanation = workspace.service().explain(Draft(shot=shot, gateway=gateway, model=model, by_person=True))

    assert explanation.sheet is None
    [finding] = [item for item in explanation.findings if item.severity == "error"]
    assert finding.field == "image_url"
    assert "poyo" in finding.instead


def test_a_frame_of_no_saved_clip_is_refused(workspace: Workspace) -> None:
    """By the id of a task that does not exist."""
    shot = Shot.of("And on.", first_frame="task:task_nothing:last")

    with pytest.raises(UnknownThing):
        workspace.service().explain(Draft(shot=shot, gateway="poyo", model="sora-2-official"))


async def test_export_and_prune_know_the_pictures(workspace: Workspace, tmp_path: Path) -> None:
    """What a sheet needs stays; what no sheet names any more goes with it."""
    workspace.go_live()
    service = workspace.service()
    sheet_id = sheet_of_cat(service, write_cat(tmp_path))
    service.decline(sheet_id)

    [sheet] = service.export()["sheets"]
    [picture] = sheet["inputs"]
    assert picture["file"]["sha256"] == kept_file(workspace).stem
    assert service.prune(service.prune_limits(0.0)).pictures == 0
    workspace.clock.time += 400 * 86400
    limits = replace(service.prune_limits(86400.0), before=4e9)
    assert service.prune(limits, dry_run=True).pictures == 1
    assert service.prune(limits).pictures == 1
    assert list((workspace.home / "data" / "inputs").iterdir()) == []


class Counting(ThreadingHTTPServer):
    """A gateway on a real socket that counts every byte that reaches it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.received: list[tuple[str, bytes]] = []
        self.connections = 0

    def verify_request(self, *_: object) -> bool:
        """Called for each connection."""
        self.connections += 1
        return True

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    """PoYo's answers."""

    server: Counting

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, body))
        is_upload = self.path.endswith("/upload/stream")
        self._send(uploaded(f"{self.server.url}/files/cat.png") if is_upload else accepted())

    def do_GET(self) -> None:
        self._send(reply({"code": 200, "data": {"credits_amount": 7}}))

    def _send(self, response: httpx2.Response) -> None:
        self.send_response(response.status_code)
        self.send_header("content-length", str(len(response.content)))
        self.end_headers()
        self.wfile.write(response.content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def counting() -> Iterator[Counting]:
    """The gateway, served in a thread."""
    socketserver.TCPServer.allow_reuse_address = True
    with Counting() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.network
async def test_no_byte_reaches_a_socket_before_the_approval(
    workspace: Workspace, tmp_path: Path, counting: Counting
) -> None:
    """Explaining, asking and refusing open no connection; the approved clip is two requests with a body."""
    workspace.go_live(f'[gateways.poyo]\nbase_url = "{counting.url}"\n')
    trust(workspace.home, f'mode = "live"\n[gateways.poyo]\nbase_url = "{counting.url}"\n')
    home = Surroundings(workspace.environ, Path("/nowhere"), workspace.clock, account_home=account_of(workspace.home))
    service = build_service(home)
    sheet_id = sheet_of_cat(service, write_cat(tmp_path))
    service.question(sheet_id)
    service.approval_text(sheet_id)
    assert submit(service.deps, sheet_id).status == "approval_needed"
    with pytest.raises(NotApproved):
        service.approve_typed(sheet_id, typed="9.99", by=Means.CLIENT)
    assert counting.connections == 0

    service.approve(sheet_id, by=Means.TERMINAL)
    assert counting.connections == 0
    await run_task(service.deps, submit(service.deps, sheet_id).report.task.id)

    (upload, file), (paid, body) = counting.received
    assert (upload, paid) == ("/api/common/upload/stream", "/api/generate/submit")
    assert kept_file(workspace).read_bytes() in file
    assert SECRET not in file
    assert f"{counting.url}/files/cat.png".encode() in body
