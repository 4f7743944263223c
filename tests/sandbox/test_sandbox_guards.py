"""Who is let in, how often, and what is never written down."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest
from sandbox_client import GATEWAYS, KEY, SUBMIT_PATHS, Clock, SandboxClient, body_for, sandbox_in_thread

from callsheet.sandbox.context import MOST_CALLERS, RateLimiter, Settings
from callsheet.sandbox.store import count_accepted


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize("key", [None, "short", "an-invalid-key", "has a space in it"])
def test_a_missing_short_or_invalid_key_is_a_401_in_the_gateways_own_body(
    sandbox: SandboxClient, gateway: str, key: str | None
) -> None:
    """Submission and status alike; nothing is accepted."""
    accepted = count_accepted(sandbox.store)
    for reply in (sandbox.submit(gateway, "A cat", key=key), sandbox.status(gateway, "task-unified-1-x", key=key)):
        assert reply.status == 401
        assert "401" in str(reply.json) or "unauthorized" in str(reply.json)
    assert count_accepted(sandbox.store) == accepted


def test_the_key_the_prompt_and_the_image_are_not_in_the_log_and_the_key_is_nowhere(sandbox: SandboxClient) -> None:
    """Every file of the store is searched."""
    body = body_for("poyo", "Planted words", image_urls=["https://example.com/planted.png"])
    assert sandbox.send("POST", SUBMIT_PATHS["poyo"], body, key="planted-key-0123456789").status == 200
    log = (sandbox.store / "requests.jsonl").read_bytes()
    assert b"Planted" not in log
    assert b"planted.png" not in log
    for path in sandbox.store.rglob("*"):
        assert "planted-key" not in path.name
        assert not path.is_file() or b"planted-key" not in path.read_bytes()


def test_the_store_is_its_owners_alone(sandbox: SandboxClient) -> None:
    """Directories 0700, files 0600."""
    sandbox.get(sandbox.finished_url("poyo", "A lighthouse in a storm"))
    for path in (sandbox.store, *sandbox.store.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "169.254.169.254", "", "localhost:80:80"])
def test_another_host_name_gets_nothing(sandbox: SandboxClient, host: str) -> None:
    """A web page whose host name was rebound to loopback is turned away before any gateway sees it."""
    assert sandbox.get("/poyo/v1/catalog/models", headers={"Host": host}).status == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:4000", "127.0.0.1", "[::1]:4000"])
def test_loopback_names_are_let_in(sandbox: SandboxClient, host: str) -> None:
    """With any port, for a forwarded one."""
    assert sandbox.get("/poyo/v1/catalog/models", headers={"Host": host}).status == 200


def test_it_listens_on_loopback_alone(sandbox: SandboxClient) -> None:
    """No other address of this machine reaches it."""
    assert sandbox.base.startswith("http://127.0.0.1:")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        # The whole of 127/8 is this machine; only the one address was bound.
        assert other.connect_ex(("127.0.0.2", sandbox.port)) != 0


def test_a_video_is_reached_by_its_whole_name_alone(sandbox: SandboxClient) -> None:
    """The task id is not enough, nor a name of the same form, nor a path that climbs."""
    url = sandbox.finished_url("poyo", "A lighthouse in a storm")
    task_id, _, token = url.rsplit("/", 1)[1].removesuffix(".mp4").rpartition("-")
    assert len(token) == 32
    for name in (f"{task_id}.mp4", f"{task_id}-{'0' * 32}.mp4", f"..%2f{task_id}-{token}.mp4"):
        assert sandbox.get(f"/files/poyo/{name}").status == 404
    assert sandbox.get(f"/files/apixo/{task_id}-{token}.mp4").status == 404
    assert sandbox.get(f"/files/nowhere/{task_id}-{token}.mp4").status == 404
    assert sandbox.get(url, key=None).status == 200


def test_a_video_is_not_there_before_its_task_is_finished(sandbox: SandboxClient) -> None:
    """The name of an unfinished video tells nothing yet."""
    url = sandbox.finished_url("poyo", "A lighthouse in a storm")
    sandbox.clock.advance(-1990)
    try:
        assert sandbox.get(url).status == 404
    finally:
        sandbox.clock.advance(1990)


def test_videos_answer_head_ranges_and_conditions(sandbox: SandboxClient) -> None:
    """Length and a strong ETag, one range, a range beyond the end, a range on changed bytes."""
    url = sandbox.finished_url("poyo", "A lighthouse in a storm")
    whole = sandbox.get(url)
    head = sandbox.send("HEAD", url)
    assert (head.body, head.headers["content-length"]) == (b"", str(len(whole.body)))
    assert whole.headers["etag"].startswith('"')
    part = sandbox.get(url, headers={"Range": "bytes=100-199", "If-Range": whole.headers["etag"]})
    assert (part.status, part.body) == (206, whole.body[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole.body)}"
    assert sandbox.get(url, headers={"Range": f"bytes={len(whole.body)}-"}).status == 416
    assert sandbox.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).status == 200


def test_requests_per_minute_are_limited_per_key_and_gateway_and_scaled_by_speed(tmp_path: Path) -> None:
    """120 a minute where nothing is documented; the next minute, at ten times the speed, is six seconds away."""
    clock = Clock()
    with sandbox_in_thread(tmp_path / "store", clock, speed=10, rate=None) as sandbox:
        statuses = [sandbox.get("/poyo/api/user/balance").status for _ in range(121)]
        assert statuses == [200] * 120 + [429]
        refused = sandbox.submit("poyo", "A cat")
        assert (refused.status, refused.json["error"]["type"]) == (429, "rate_limit_error")
        assert sandbox.get("/poyo/api/user/balance", key=f"{KEY}-2").status == 200
        assert sandbox.get("/evolink/v1/credits").status == 200
        clock.advance(6)
        assert sandbox.get("/poyo/api/user/balance").status == 200


def test_tasks_open_at_once_are_limited_where_documented_and_a_stuck_one_lets_go(tmp_path: Path) -> None:
    """APIXO's lowest documented tier takes three at a time; one that never ends counts for an hour."""
    clock = Clock()
    with sandbox_in_thread(tmp_path / "store", clock, rate=None) as sandbox:
        prompts = [f"Take {number} [[sandbox:stuck]]" for number in range(4)]
        assert [sandbox.submit("apixo", prompt).status for prompt in prompts] == [200, 200, 200, 429]
        clock.advance(3600)
        assert sandbox.submit("apixo", "Take 5").status == 200


def test_the_limiter_forgets_callers_over_its_bound() -> None:
    """Its memory does not grow with the number of keys."""
    limiter = RateLimiter(Clock(), speed=1)
    assert not any(limiter.wait_for(f"caller {number}", 1) for number in range(MOST_CALLERS + 50))
    assert limiter.wait_for(f"caller {MOST_CALLERS + 49}", 1) == 60


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    """A speed of nothing, a rate of nothing."""
    with pytest.raises(ValueError, match="Speed"):
        Settings(tmp_path, speed=0)
    with pytest.raises(ValueError, match="Rate"):
        Settings(tmp_path, rate=0)


def test_a_wrong_method_or_path_is_told_in_the_gateways_own_body(sandbox: SandboxClient) -> None:
    """There is no page besides the documented ones."""
    assert sandbox.get("/poyo/api/generate/cancel").json["error"]["type"] == "resource_not_found_error"
    assert sandbox.get(SUBMIT_PATHS["evolink"]).status in (404, 405)
    assert sandbox.get("/nowhere").status == 404
