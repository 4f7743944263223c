"""Notices: where they go, what they hold, how many there are, and that nothing waits for them."""

from __future__ import annotations

import html
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from callsheet.core.consent import Policy
from callsheet.core.notices import NoticeForm, Notices, build_notice, format_notice
from callsheet.core.shot import Shot
from callsheet.edges.config.policy_file import load_policy, parse_policy
from callsheet.edges.http.client import GatewayHttp
from callsheet.edges.ledger.ledger import SqliteLedger
from callsheet.edges.notices import AN_HOUR, Notifier, desktop_command
from callsheet.errors import SetupProblem
from callsheet.service import Service
from callsheet.service.submission import submit
from workspace import VirtualClock, Workspace, draft

SECRET = "kite-4f1c09ab7e22d0"
ADDRESS = f"https://ntfy.example.com/{SECRET}"
PUBLIC = "93.184.216.34"
WIDE = ("\uff0f\uff0f", "\u3002e", "\uff0ee", "\uff20e")


def policy_text(address: str = ADDRESS, hosts: str = '["ntfy.example.com"]', more: str = 'form = "ntfy"') -> str:
    return f'[hosts]\nnotify = {hosts}\n[notify]\naddress = "{address}"\n{more}\n'


@dataclass
class Receiver:
    """Takes notices, and lets a test wait until there are some. Answers nothing before it is `open`."""

    requests: list[httpx2.Request] = field(default_factory=list)
    came: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    open: threading.Event = field(default_factory=threading.Event)
    status: int = 200

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        self.came.release()
        assert self.open.wait(10)
        return httpx2.Response(self.status, headers={"location": "https://other.example.com/"})

    def wait(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.came.acquire(timeout=10)


@pytest.fixture
def receiver(workspace: Workspace) -> Receiver:
    """What the address of an install leads to."""
    found = Receiver()
    found.open.set()
    workspace.gateway.on_request = found
    return found


def ask(service: Service, prompt: str = "A red kite.") -> str:
    """Submit a shot that needs a person; what the answer says."""
    answer = submit(service.deps, draft(service, Shot.of(prompt, duration_seconds=4)))
    assert answer.report is None
    return answer.status


@pytest.mark.parametrize(
    ("form", "kind", "body"),
    [
        (NoticeForm.NTFY, "text/plain; charset=utf-8", "a < b"),
        (NoticeForm.JSON, "application/json", {"event": "clip_waits", "text": "a < b"}),
        (NoticeForm.SLACK, "application/json", {"text": "a &lt; b"}),
        (NoticeForm.DISCORD, "application/json", {"content": "a < b", "allowed_mentions": {"parse": []}}),
    ],
)
def test_each_form_is_as_its_service_documents_it(form: NoticeForm, kind: str, body: object) -> None:
    """In Slack and Discord nobody is mentioned, whatever the text."""
    request = build_notice(Notices("https://x.example.com/a/b?c=d", form), "a < b")
    assert (request.method, request.path, request.authorized) == ("POST", "/a/b?c=d", False)
    assert request.headers == (("content-type", kind),)
    assert request.body is not None
    assert (request.body.decode() if isinstance(body, str) else json.loads(request.body)) == body


@pytest.mark.parametrize(
    "prompt",
    [
        "approve at https://evil.example/yes",
        "evil.example/yes",
        "@everyone <!channel> a@b.example",
        "[yes](//e.example)",
        "https\uff1a\uff0f\uff0fevil.example",
        "evil\u3002example/yes",
        "evil\uff0eexample",
        "\uff20everyone",
    ],
)
def test_nothing_in_a_prompt_becomes_a_link_or_a_mention(prompt: str) -> None:
    """An agent wrote it."""
    text = format_notice(["0.48 USD"], prompt=prompt, rehearsal=False)
    assert not any(mark in text for mark in ("://", "evil.e", "@e", "@b", "//", "e.example", *WIDE))
    assert len(format_notice(["0.48 USD"], prompt="x." * 5000, rehearsal=False)) < 800


@pytest.mark.parametrize(
    "term", ["16:9\nApproved.", "16:9\r\nX: y", "x\u2028y", "see https://evil.example/yes", "x" * 999]
)
def test_a_term_stays_one_short_piece_of_the_first_line(term: str) -> None:
    """It may have words of an agent or a gateway."""
    text = format_notice(["0.48 USD", term, "poyo/seedance-2.5"], prompt="", rehearsal=False)
    assert (len(text.splitlines()), "://" in text, len(text) < 200) == (1, False, True)
    assert text.endswith(", poyo/seedance-2.5.")


@pytest.mark.parametrize(
    ("rest", "secret"),
    [
        ("a/b/kite-4f1c09ab7e22d0", "kite-4f1c09ab7e22d0"),
        ("kite-4f1c?auth=QmFz/aWMg", "kite-4f1c?auth=QmFz/aWMg"),
        ("kite/?auth=QmFz/aWMg/", "?auth=QmFz/aWMg/"),
        ("kite/", ""),
    ],
)
def test_the_secret_is_the_last_part_with_all_of_the_query(rest: str, secret: str) -> None:
    """A query may have slashes, and all of it is hidden."""
    assert Notices(f"https://ntfy.example.com/{rest}").secret == secret


def test_a_program_that_ends_waits_for_every_notice_on_its_way(workspace: Workspace) -> None:
    """Not only for the latest: several sheets may have been submitted together."""
    held, came = threading.Event(), threading.Event()
    answered: list[int] = []

    def answer(_: httpx2.Request) -> httpx2.Response:
        first = not came.is_set()
        came.set()
        assert not first or held.wait(10)
        answered.append(200)
        return httpx2.Response(200)

    workspace.gateway.on_request = answer
    workspace.go_live(policy_text())
    service = workspace.service()
    ask(service, "One kite.")
    assert came.wait(10)
    ask(service, "Two kites.")
    ending = threading.Thread(target=service.deps.notices.finish)
    ending.start()
    ending.join(0.5)
    assert ending.is_alive()
    held.set()
    ending.join(10)
    assert answered == [200, 200]


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        (ADDRESS.replace("https", "http"), '["ntfy.example.com"]'),
        (ADDRESS, "[]"),
        (ADDRESS, '["example.com", "hooks.example.com"]'),
        (f"https://127.0.0.1/{SECRET}", '["ntfy.example.com"]'),
        (f"https://localhost/{SECRET}", '["ntfy.example.com"]'),
        (f"https://ntfy.example.com:8443/{SECRET}", '["ntfy.example.com"]'),
        (f"https://user:{SECRET}@ntfy.example.com/{SECRET}", '["ntfy.example.com"]'),
        (f"https://ntfy.example.com@evil.example.org/{SECRET}", '["ntfy.example.com"]'),
        (f"file:///{SECRET}", '["ntfy.example.com"]'),
        ("https://ntfy.example.com/short", '["ntfy.example.com"]'),
        ("https://ntfy.example.com", '["ntfy.example.com"]'),
    ],
)
def test_an_address_that_may_not_be_used_is_refused_without_being_shown(address: str, hosts: str) -> None:
    """Public https only, at a host that is listed exactly, with a part that nobody can guess."""
    with pytest.raises(SetupProblem) as caught:
        parse_policy(policy_text(address, hosts).encode(), where="policy.toml")
    assert SECRET not in str(caught.value)


def test_only_the_persons_own_policy_counts(tmp_path: Path) -> None:
    """A place that only the environment named sends nothing; and what a policy shows of itself has no address."""
    path = tmp_path / "policy.toml"
    path.touch(mode=0o600)
    path.write_text(policy_text(more="desktop = true"))
    trusted = load_policy(path, working_directory=Path("/nowhere"), trusted=True)
    assert (trusted.notices.address, trusted.notices.desktop) == (ADDRESS, True)
    assert SECRET not in repr(trusted)
    assert load_policy(path, working_directory=Path("/nowhere"), trusted=False).notices == Policy().notices


def test_a_sheet_that_waits_is_told_once_without_prompt_key_or_link(workspace: Workspace, receiver: Receiver) -> None:
    """Submitting it again tells nothing new. The address is hidden wherever it turns up."""
    workspace.go_live(policy_text())
    service = workspace.service()
    sheet_id = draft(service, Shot.of("A red kite.", duration_seconds=4))
    assert [submit(service.deps, sheet_id).status for _ in range(3)] == ["approval_needed"] * 3
    receiver.wait()
    assert ask(service, "Another kite.") == "approval_needed"
    receiver.wait()

    [first, second] = receiver.requests
    assert str(first.url) == ADDRESS
    assert "authorization" not in first.headers
    assert first.content == second.content == b"A clip waits for you: 0.24 USD, 4 s, 16:9, poyo/sora-2-official."
    assert SECRET not in service.deps.redactor().text(f"posting to {ADDRESS} failed")


def test_the_prompt_is_told_only_if_the_person_wants_it_and_then_without_a_key(
    workspace: Workspace, receiver: Receiver
) -> None:
    """On a line of its own. The key was set after the sheet was drafted."""
    workspace.go_live(policy_text(more="prompt = true"))
    service = workspace.service()
    sheet_id = draft(service, Shot.of("A red kite and another-key-0123456789 over dunes", duration_seconds=4))
    workspace.environ["EVOLINK_API_KEY"] = "another-key-0123456789"
    submit(service.deps, sheet_id)
    receiver.wait()

    text = json.loads(receiver.requests[0].content)["text"]
    assert text.splitlines()[1:] == ["A red kite and [key hidden] over dunes"]


@pytest.mark.parametrize("more", ["", policy_text(address="")])
def test_nothing_is_told_by_default(workspace: Workspace, receiver: Receiver, more: str) -> None:
    """Without an address nothing leaves."""
    workspace.go_live(more)
    before = threading.active_count()
    assert ask(workspace.service()) == "approval_needed"
    assert (receiver.requests, threading.active_count()) == ([], before)


def test_a_flood_is_cut_off_and_silences_no_later_hour(workspace: Workspace, receiver: Receiver) -> None:
    """Over all processes: each of these is one."""
    workspace.go_live(policy_text())
    for number in range(3 * AN_HOUR):
        assert ask(workspace.service(), f"Kite {number}.") == "approval_needed"
    receiver.wait(AN_HOUR)
    workspace.clock.time += 3600
    ask(workspace.service(), "An hour later.")
    receiver.wait()

    assert len(receiver.requests) == AN_HOUR + 1


def test_an_address_that_does_not_answer_is_in_nobodys_way(workspace: Workspace, receiver: Receiver) -> None:
    """The answer is there while the notice still waits for its own; and one that fails is not tried again."""
    receiver.open.clear()
    receiver.status = 500
    workspace.go_live(policy_text())
    assert ask(workspace.service()) == "approval_needed"
    receiver.wait()
    receiver.open.set()
    assert not receiver.came.acquire(timeout=0.5)
    assert len(receiver.requests) == 1


class Names:
    """Resolves every name to these."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def __call__(self, host: str, port: int) -> list[str]:
        return list(self.addresses)


@pytest.mark.parametrize(
    ("addresses", "status", "outcome", "hosts"),
    [
        ((PUBLIC,), 200, "sent (HTTP 200)", [PUBLIC]),
        ((PUBLIC,), 302, "refused (HTTP 302)", [PUBLIC]),
        ((PUBLIC,), 429, "refused (HTTP 429)", [PUBLIC]),
        (("10.0.0.1",), 200, "AddressRefused", []),
        (("169.254.169.254",), 200, "AddressRefused", []),
        ((PUBLIC, "127.0.0.1"), 200, "AddressRefused", []),
    ],
)
async def test_a_test_notice_goes_to_public_addresses_only_once(
    tmp_path: Path, addresses: tuple[str, ...], status: int, outcome: str, hosts: list[str]
) -> None:
    """The connection goes to the address that was checked; a redirect is not followed."""
    receiver = Receiver(status=status)
    receiver.open.set()
    policy = Policy(notices=Notices(ADDRESS, NoticeForm.NTFY))
    notifier = Notifier(
        GatewayHttp(transport=httpx2.MockTransport(receiver), resolver=Names(*addresses)),
        VirtualClock(),
        policy=lambda: policy,
        ledger=lambda: SqliteLedger(tmp_path / "ledger.sqlite3"),
        redactor=lambda: pytest.fail("a test notice has no prompt"),
    )
    [(where, said)] = await notifier.send_test()

    assert (where, outcome in said) == ("ntfy.example.com", True)
    assert [request.url.host for request in receiver.requests] == hosts
    assert [request.headers["host"] for request in receiver.requests] == ["ntfy.example.com"] * len(hosts)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_on_the_desktop_the_text_is_one_argument_and_no_markup(platform: str) -> None:
    """By a fixed path, so that no PATH decides what runs."""
    text = '-e \' & quit <a href="x">yes</a>\n$(id) "'
    command = desktop_command(text, platform)
    assert command[0] in ("/usr/bin/notify-send", "/usr/bin/osascript")
    assert command[-1] == (text if platform == "darwin" else html.escape(text))
    assert "--" in command[:-1]
    assert not any("quit" in part for part in command[:-1])
