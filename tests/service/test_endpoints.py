"""A server of the person's own that speaks `/v1/videos`: from the policy table to the saved clip."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from callsheet.core.consent import Means, Mode, text_to_type
from callsheet.core.payload.form import content_type, read_frozen
from callsheet.core.shot import Shot
from callsheet.core.tasks import Clip, Task, TaskState
from callsheet.edges.keys.passphrase import Cost, create_recipe
from callsheet.edges.keys.sealed import seal_key, write_sealed
from callsheet.edges.keys.store import SecretKey
from callsheet.errors import (
    CallsheetError,
    DownloadProblem,
    InvalidRequest,
    KeyProblem,
    LinkGone,
    NotApproved,
    PolicyRefusal,
)
from callsheet.service import Draft, Service
from callsheet.service.polling import run_task
from callsheet.service.results import CONTENT_MISSING, JOB_FORGOTTEN, needs_a_look, status_text
from cases import cases
from pictures import write_cat
from workspace import KEY, PASSPHRASE, Workspace, make_workspace, reply

MODEL = "Wan-AI/Wan2.2-T2V-A14B-Diffusers"
BOX = f"""
[endpoints.gpu-box]
wire = "openai-videos"
base_url = "https://gpu-box.lan:8443/v1"
address = "10.20.0.7"
key_env = "GPU_BOX_KEY"
{{more}}
[endpoints.gpu-box.models."{MODEL}"]
seconds = [2, 3, 4]
sizes = ["832x480", "1280x720"]
{{price}}
"""
KITE = Shot.of("A red kite over dunes.", duration_seconds=3)
JOB = "video_gen_fee9333eba6144b7adb544e31c9a6a05"
LONG = "video_" + "bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVy" * 7 + "b==="


def live_with(workspace: Workspace, *, price: str = 'price = "none"', more: str = "", extra: str = "") -> Service:
    """A person has armed live mode and declared a GPU box, with a key."""
    workspace.environ["GPU_BOX_KEY"] = KEY
    workspace.go_live(extra + BOX.format(price=price, more=more))
    return workspace.service()


def approved(service: Service, shot: Shot = KITE) -> str:
    """A sheet for the box that a person approved."""
    explained = service.explain(Draft(shot=shot, gateway="gpu-box", model=MODEL))
    assert explained.sheet is not None, explained.findings
    service.approve(explained.sheet.id, by=Means.TERMINAL)
    return explained.sheet.id


async def step(workspace: Workspace, service: Service, task_id: str) -> Task:
    """What the runner does when the task is next due."""
    task = service.find_task(task_id)
    assert task is not None
    workspace.clock.time = max(workspace.clock.time, task.next_at)
    await run_task(service.deps, task_id)
    found = service.find_task(task_id)
    assert found is not None
    return found


async def submitted(workspace: Workspace, service: Service, *answers: httpx2.Response) -> Task:
    """A task of an approved sheet, after the first answers."""
    workspace.gateway.replies += answers
    report = (await service.submit(approved(service), wait_seconds=0)).report
    assert report is not None
    task = report.task
    for _ in answers:
        task = await step(workspace, service, task.id)
    return task


def job(status: str, code: int = 200, **more: object) -> httpx2.Response:
    """A job as vLLM-Omni shows it."""
    return reply({"id": JOB, "object": "video", "status": status, "model": MODEL, "progress": 0, **more}, code)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh install."""
    return make_workspace(tmp_path)


def test_a_shot_becomes_a_form_with_the_listed_fields_and_nothing_else(workspace: Workspace) -> None:
    """The same shot is always the same bytes; their content type is part of what is approved."""
    service = live_with(workspace)
    sheets = [service.explain(Draft(shot=KITE, gateway="gpu-box", model=MODEL)).sheet for _ in range(2)]

    assert sheets[0] is not None
    assert sheets[0] == sheets[1]
    body = sheets[0].body
    assert read_frozen(body) == {"model": MODEL, "prompt": KITE.prompt, "seconds": "3", "size": "832x480"}
    assert (
        sheets[0].binding.content_type == content_type(body) == f"multipart/form-data; boundary={body[2:44].decode()}"
    )
    assert sheets[0].binding.route == "at 10.20.0.7"


PRICES = {
    'price = "none"': ("no charge (you declared gpu-box free", "gpu-box", Decimal(0)),
    'price = "0.02 USD per second"': (
        "0.06 USD (your own figure: 0.02 USD per second for gpu-box",
        "0.06",
        Decimal("0.06"),
    ),
    'price = "0.10 USD per clip"': (
        "0.10 USD (your own figure: 0.10 USD per clip for gpu-box",
        "0.10",
        Decimal("0.10"),
    ),
    "": ("PRICE UNKNOWN; at most 0.90 USD will be counted (your ceiling)", "0.90", Decimal("0.90")),
}


@cases("price", PRICES)
def test_what_a_person_reads_and_types_follows_what_they_declared(tmp_path: Path, price: str) -> None:
    """A declared figure is never taken for one that the server confirms, and 0.00 is never the yes."""
    workspace = make_workspace(tmp_path / str(len(price)))
    service = live_with(workspace, price=price, extra='[prices]\nunknown_ceiling = "0.90"\n')
    sheet = service.explain(Draft(shot=KITE, gateway="gpu-box", model=MODEL)).sheet
    assert sheet is not None
    text, typed, reserved = PRICES[price]

    assert sheet.shown.startswith(f"Price: {text}")
    assert text_to_type(sheet.price, service.policy, "gpu-box") == typed
    assert sheet.reserve_micros == reserved * 1_000_000
    if not price:
        # What is unknown needs the passphrase, as for every gateway.
        assert service.question(sheet.id) is None
        return
    for wrong in ("", "0", "0.00", "yes", "gpu_box", "1.23"):
        with pytest.raises(NotApproved):
            service.approve_typed(sheet.id, wrong, by=Means.CLIENT)
    assert service.approve_typed(sheet.id, typed, by=Means.CLIENT).approved_by is Means.CLIENT


def test_an_undeclared_price_without_a_ceiling_is_refused(workspace: Workspace) -> None:
    """As for every gateway."""
    explained = live_with(workspace, price="").explain(Draft(shot=KITE, gateway="gpu-box", model=MODEL))
    assert [blocker.code for blocker in explained.blocked] == ["unknown_price"]


class Saved:
    """Saves clips by writing down how it was asked to."""

    def __init__(self, *problems: CallsheetError) -> None:
        self.problems = list(problems)
        self.asked: list[tuple[str, str, str]] = []

    async def keep_own(self, task: Task, content: object, **how: object) -> Clip:
        self.asked.append((content.path, str(how["base_url"]), how["way"].route.address))  # type: ignore[attr-defined]
        if self.problems:
            raise self.problems.pop(0)
        return Clip("/clip.mp4", 1, "", 3.0, 832, 480, "", "")


async def test_one_approval_is_one_creation_and_the_clip_comes_from_the_same_place(workspace: Workspace) -> None:
    """Pinned address, name, key and form as approved; the content path is made from the job's id."""
    service = live_with(workspace)
    clips = Saved()
    object.__setattr__(service.deps, "clips", clips)
    task = await submitted(workspace, service, job("queued"))
    [paid] = workspace.gateway.paid
    assert (paid.url.host, paid.headers["host"]) == ("10.20.0.7", "gpu-box.lan:8443")
    assert paid.headers["authorization"] == f"Bearer {KEY}"
    assert paid.url.path == "/v1/videos"
    assert paid.content == service.sheet(task.sheet_id).body
    assert paid.headers["content-type"] == content_type(paid.content)

    workspace.gateway.replies += [job("in_progress"), job("completed", url="https://evil.example.com/x.mp4")]
    states = [(await step(workspace, service, task.id)).state for _ in range(3)]

    assert states == [TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.SAVED]
    assert clips.asked == [(f"/videos/{JOB}/content", "https://gpu-box.lan:8443/v1", "10.20.0.7")]
    assert len(workspace.gateway.paid) == 1


async def test_a_failed_job_that_answers_500_is_a_failed_job(workspace: Workspace) -> None:
    """The body comes before the HTTP status; an error without the job proves nothing."""
    service = live_with(workspace)
    task = await submitted(workspace, service, job("queued"), reply({"error": {"message": "down"}}, 500))
    assert task.state is TaskState.QUEUED
    workspace.gateway.replies.append(job("failed", 500, error={"code": 500, "message": "CUDA out of memory"}))
    task = await step(workspace, service, task.id)

    assert task.state is TaskState.FAILED
    assert task.problem is not None
    assert task.problem.said == "CUDA out of memory"


async def test_a_long_id_is_kept_from_the_creation_whatever_the_status_calls_it(workspace: Workspace) -> None:
    """LiteLLM's ids have up to 290 characters, end in `=`, and differ from answer to answer."""
    service = live_with(workspace)
    other = LONG.replace("b===", "c===")
    task = await submitted(
        workspace,
        service,
        reply({"id": LONG, "object": "video", "status": "queued"}),
        reply({"id": other, "object": "video", "status": "in_progress", "progress": "37%"}),
    )

    assert (task.state, task.gateway_task_id, task.percent) == (TaskState.RUNNING, LONG, 37)
    assert workspace.gateway.requests[-1].url.raw_path.decode().endswith(LONG.replace("=", "%3D"))


async def test_another_plain_id_is_another_job(workspace: Workspace) -> None:
    """Only ids of LiteLLM's form change from answer to answer."""
    service = live_with(workspace)
    task = await submitted(workspace, service, job("queued"), job("failed", id="video_gen_other"))
    assert task.state is TaskState.QUEUED


async def test_a_server_that_forgot_its_jobs_is_called_that(workspace: Workspace) -> None:
    """Three times 404 is no accident: a person looks, and nothing is sent again."""
    service = live_with(workspace)
    gone = [reply({"detail": "Video not found"}, 404) for _ in range(3)]
    task = await submitted(workspace, service, job("queued"), *gone)

    assert task.problem is not None
    assert task.problem.code == JOB_FORGOTTEN
    assert needs_a_look(service.deps, task)
    assert task.state is TaskState.QUEUED
    assert len(workspace.gateway.paid) == 1


async def test_patience_ends_with_a_question_and_not_with_another_request(workspace: Workspace) -> None:
    """A GPU box may take two hours; after that a person is asked whether it still runs."""
    service = live_with(workspace, more="patience_minutes = 10")
    task = await submitted(workspace, service, job("queued"), job("in_progress"))
    assert not needs_a_look(service.deps, task)
    workspace.clock.time += 601
    assert needs_a_look(service.deps, task)


async def test_the_server_says_when_to_ask_again(workspace: Workspace) -> None:
    """`openai-poll-after-ms` is followed from 1 to 60 s."""
    service = live_with(workspace)
    task = await submitted(workspace, service, job("queued"))
    for header, seconds in (("7000", 7.0), ("1", 1.0), ("999999", 60.0)):
        answer = job("in_progress")
        answer.headers["openai-poll-after-ms"] = header
        workspace.gateway.replies.append(answer)
        task = await step(workspace, service, task.id)
        assert task.next_at - workspace.clock.time == pytest.approx(seconds)


async def test_a_reported_cost_above_the_declared_one_is_told_and_ends_the_allowance(workspace: Workspace) -> None:
    """What was declared was wrong, so nothing more goes out under it. 0 and nothing mean "not said"."""
    service = live_with(workspace, price='price = "0.02 USD per second"')
    card = f"gpu-box/{MODEL}"
    allowance = service.allow((card,), clips=5, up_to=Decimal(1), seconds=3600, by=Means.TERMINAL)
    for cost, said, revoked in (("0.0", None, False), ("0.05", "0.05 USD", False), ("0.4", "0.4 USD", True)):
        shot = Shot.of(f"A kite, {cost}.", duration_seconds=3)
        sheet = service.explain(Draft(shot=shot, gateway="gpu-box", model=MODEL)).sheet
        assert sheet is not None
        answer = reply({"id": f"video_{cost.replace('.', '')}", "status": "queued"})
        answer.headers["x-litellm-response-cost"] = cost
        workspace.gateway.replies.append(answer)
        report = (await service.submit(sheet.id, wait_seconds=0)).report
        assert report is not None
        task = await step(workspace, service, report.task.id)
        assert task.charge == said
        [found] = service.allowances()
        assert (found.id, found.revoked_at is not None) == (allowance.id, revoked)
        workspace.gateway.replies.append(reply({"id": task.gateway_task_id, "status": "failed", "object": "video"}))
        await step(workspace, service, task.id)


async def test_clips_a_day_are_the_cap_where_money_is_none(workspace: Workspace) -> None:
    """Sums never bite at 0, so clips are counted: before the question, and again when the sheet is spent."""
    service = live_with(workspace, more="clips_per_day = 1\nconcurrent = 9")
    await submitted(workspace, service, job("queued"))
    shot = Shot.of("Another kite.", duration_seconds=3)
    explained = service.explain(Draft(shot=shot, gateway="gpu-box", model=MODEL))

    assert [blocker.code for blocker in explained.blocked] == ["cap"]
    assert explained.sheet is not None
    with pytest.raises(PolicyRefusal):
        await service.submit(explained.sheet.id, wait_seconds=0)
    workspace.clock.time += 24 * 3600
    assert service.explain(Draft(shot=shot, gateway="gpu-box", model=MODEL)).status == "ready"


def test_an_allowance_of_no_money_is_for_free_models_only(workspace: Workspace) -> None:
    """It counts clips. For a model with a price such a sum is a mistake."""
    free = live_with(workspace)
    terms = {"clips": 3, "up_to": Decimal(0), "seconds": 3600, "by": Means.TERMINAL}
    allowance = free.allow((f"gpu-box/{MODEL}",), **terms)  # type: ignore[arg-type]
    sheet = free.explain(Draft(shot=KITE, gateway="gpu-box", model=MODEL)).sheet
    assert sheet is not None
    assert free.question(sheet.id) is None
    assert free.allowance_end(allowance) is None
    with pytest.raises(InvalidRequest):
        free.allow((f"gpu-box/{MODEL}", "poyo/sora-2-official"), **terms)  # type: ignore[arg-type]


@dataclass
class Change:
    """An edit of the table after the approval, and the part of the binding that it changes."""

    before: str
    after: str
    parts: set[str] = field(default_factory=set)


CHANGES = {
    "another address": Change('address = "10.20.0.7"', 'address = "10.20.0.8"', {"route"}),
    "another certificate": Change(
        'address = "10.20.0.7"', f'address = "10.20.0.7"\nfingerprint = "sha256:{"a" * 64}"', {"route"}
    ),
    "another port": Change(":8443", ":9443", {"base_url"}),
    "another body": Change("[endpoints.gpu-box.models", 'body = "json"\n[endpoints.gpu-box.models', {"prices"}),
}


@cases("name", CHANGES)
def test_an_endpoint_that_leads_elsewhere_voids_what_was_approved(tmp_path: Path, name: str) -> None:
    """The approval was for that address, that certificate and those bytes."""
    workspace = make_workspace(tmp_path / name)
    service = live_with(workspace)
    sheet_id = approved(service)
    change = CHANGES[name]
    policy = workspace.home / "config" / "policy.toml"
    workspace.write_policy(policy.read_text().replace(change.before, change.after, 1))
    later = workspace.service()
    before = later.sheet(sheet_id).binding
    with pytest.raises(NotApproved):
        later.approvable(sheet_id)

    after = later.explain(Draft(shot=KITE, gateway="gpu-box", model=MODEL)).sheet
    assert after is not None
    assert change.parts <= {*before.differences(after.binding)}


def test_a_key_goes_to_an_endpoint_only_after_a_person_named_it_with_its_way(workspace: Workspace) -> None:
    """An edited table alone leads no key anywhere: neither the URL nor the address nor the certificate."""
    service = live_with(workspace)
    facts = service.deps.facts("gpu-box")
    service.deps.require_named_address(facts)
    policy = workspace.home / "config" / "policy.toml"
    policy.write_text(policy.read_text().replace("10.20.0.7", "10.66.0.1"))
    with pytest.raises(KeyProblem):
        workspace.service().deps.require_named_address(facts)


async def test_a_server_without_a_key_is_asked_without_one(workspace: Workspace) -> None:
    """SGLang has none. No header is sent, and nothing waits for a key."""
    workspace.go_live(BOX.format(price='price = "none"', more="").replace('key_env = "GPU_BOX_KEY"\n', ""))
    service = workspace.service()
    task = await submitted(workspace, service, job("queued"), job("in_progress"))

    assert task.state is TaskState.RUNNING
    assert [request.headers.get("authorization") for request in workspace.gateway.requests] == [None, None]


JOBS = [{"id": f"video_{n}", "model": MODEL, "prompt": KITE.prompt} for n in range(3)]


async def test_after_a_lost_answer_several_matching_jobs_are_told(workspace: Workspace) -> None:
    """A proxy that repeats a request makes several jobs of one approval; the server's own list shows it."""
    service = live_with(workspace)
    other = {"id": "video_x", "model": MODEL, "prompt": "Somebody else's."}
    listed = reply({"object": "list", "data": [*JOBS, other]})
    workspace.gateway.replies += [httpx2.Response(502, content=b"bad gateway"), listed]
    report = (await service.submit(approved(service), wait_seconds=0)).report
    assert report is not None
    found = await step(workspace, service, report.task.id)

    assert found.state is TaskState.OUTCOME_UNKNOWN
    assert "video_0, video_1, video_2; 3 jobs were made" in found.hints
    assert "video_x" not in found.hints
    assert len(workspace.gateway.paid) == 1


WAYS = {
    "another address": ("10.20.0.7", "10.66.0.1"),
    "another port": (":8443", ":9443"),
    "another certificate": ('key_env = "GPU_BOX_KEY"', f'key_env = "GPU_BOX_KEY"\nfingerprint = "sha256:{"b" * 64}"'),
}


@cases("name", WAYS)
def test_a_sealed_key_goes_by_no_other_way(tmp_path: Path, name: str) -> None:
    """It was sealed for that URL, that address and those certificates; whoever edits the policy opens nothing."""
    workspace = make_workspace(tmp_path / name)
    service = live_with(workspace)
    where = service.key_address(service.facts("gpu-box"))
    key, recipe = SecretKey("gpu-box", KEY, source="typed"), create_recipe(Cost(8, 1))
    sealed = seal_key(key, PASSPHRASE, base_url=where, recipe=recipe)
    write_sealed(sealed, keys_directory=workspace.home / "config" / "keys")
    assert service.opens("gpu-box", PASSPHRASE)

    policy = workspace.home / "config" / "policy.toml"
    workspace.write_policy(policy.read_text().replace(*WAYS[name], 1))
    with pytest.raises(KeyProblem):
        workspace.service().opens("gpu-box", PASSPHRASE)


async def test_a_proxy_and_certificates_need_a_persons_word_before_a_gateways_key_goes_there(
    workspace: Workspace,
) -> None:
    """Whoever chooses the certificates reads what is encrypted, so a key is named for them as for an address."""
    workspace.go_live()
    facts = workspace.service().deps.facts("poyo")
    workspace.service().deps.require_named_address(facts)
    workspace.go_live('[network]\nproxy = "http://proxy.corp.example:3128"\n')
    with pytest.raises(KeyProblem):
        await workspace.service().deps.reach(Mode.LIVE, facts)


async def test_a_finished_clip_that_is_not_handed_out_is_asked_for_again_and_then_a_person_looks(
    workspace: Workspace,
) -> None:
    """404, 400, 409 and 5xx on the content come and go; they never decide what became of the job."""
    service = live_with(workspace)
    gone = LinkGone("The link to the video is no longer valid: gpu-box.lan answered 404.", next_step="")
    early = DownloadProblem("gpu-box.lan answered 409 instead of the video.", next_step="")
    clips = Saved(gone, early, gone, early)
    object.__setattr__(service.deps, "clips", clips)
    task = await submitted(workspace, service, job("queued"), job("completed"))
    asked = len(workspace.gateway.requests)
    for _ in range(3):
        task = await step(workspace, service, task.id)
        assert task.state is TaskState.SUCCEEDED
        assert not needs_a_look(service.deps, task)
    workspace.clock.time += 601
    task = await step(workspace, service, task.id)
    assert task.problem is not None
    assert (task.problem.code, needs_a_look(service.deps, task)) == (CONTENT_MISSING, True)
    task = await step(workspace, service, task.id)

    assert task.state is TaskState.SAVED
    assert len(clips.asked) == 5
    assert len(workspace.gateway.requests) == asked


async def test_a_model_that_the_server_does_not_list_is_not_sent_where_a_person_wants_that(
    workspace: Workspace,
) -> None:
    """SGLang renders any name with its own model; its list is the only way to see that."""
    service = live_with(workspace, more="strict_model = true")
    other, right = ({"data": [{"id": name}]} for name in ("wan-2.1", MODEL))
    workspace.gateway.replies += [reply(other), reply(right), job("queued")]
    report = (await service.submit(approved(service), wait_seconds=0)).report
    assert report is not None
    held = await step(workspace, service, report.task.id)
    assert held.problem is not None
    assert (held.state, held.problem.code) == (TaskState.WAITING, "model_not_listed")
    sent = await step(workspace, service, report.task.id)
    assert sent.state is TaskState.QUEUED


async def test_a_picture_is_part_of_the_form_and_an_address_is_not_taken(workspace: Workspace, tmp_path: Path) -> None:
    """The frozen bytes name the picture by its SHA-256; the sheet shows it; its bytes go out in its place."""
    service = live_with(workspace, more='image = "file"')
    url = Shot.of("A kite.", duration_seconds=3, first_frame="https://cdn.example.com/a.png")
    refused = service.explain(Draft(shot=url, gateway="gpu-box", model=MODEL))
    assert refused.status == "invalid"

    file = service.deps.pictures.take(str(write_cat(tmp_path)), directories=None)
    sheet_id = approved(service, Shot.of("A kite.", duration_seconds=3, first_frame=file.url))
    sheet, content = service.sheet(sheet_id), service.deps.pictures.read(file.url)
    assert read_frozen(sheet.body)["input_reference"] == file.url
    assert file.sha256[:12] in sheet.shown
    assert hashlib.sha256(content).hexdigest() == file.sha256
    workspace.gateway.replies.append(job("queued"))
    report = (await service.submit(sheet_id, wait_seconds=0)).report
    assert report is not None
    await step(workspace, service, report.task.id)
    [paid] = workspace.gateway.paid
    assert paid.content.replace(content, file.url.encode()) == sheet.body
    assert paid.headers["content-type"] == content_type(sheet.body)


async def test_what_a_proxy_says_again_and_again_is_shown_as_its_words(workspace: Workspace) -> None:
    """LiteLLM hands a job's failure out as its own error, for ever: a person reads it."""
    service = live_with(workspace)
    wrapped = [reply({"error": {"message": "litellm: out of memory", "code": "500"}}, 500) for _ in range(3)]
    task = await submitted(workspace, service, job("queued"), *wrapped)

    assert task.state is TaskState.QUEUED
    assert task.problem is not None
    assert task.problem.said == "litellm: out of memory"
    assert task.problem.said not in status_text(task, quoting=False)


async def test_only_this_computer_counts_as_the_place_for_plain_links(workspace: Workspace) -> None:
    """A private server without TLS is reached for its own jobs, and never because a link or a redirect leads there."""
    plain = BOX.replace("https://gpu-box.lan:8443", "http://gpu-box.lan:8000").replace('key_env = "GPU_BOX_KEY"\n', "")
    workspace.go_live(plain.format(price='price = "none"', more='insecure = "no TLS on 10.20.0.7"'))
    service = workspace.service()
    facts = service.deps.facts("gpu-box")
    assert await service.deps.loopback_origin(Mode.LIVE, facts) is None
    sheet = service.explain(Draft(shot=KITE, gateway="gpu-box", model=MODEL)).sheet
    assert sheet is not None
    assert "NOT ENCRYPTED" in sheet.shown
