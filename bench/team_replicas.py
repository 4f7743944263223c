"""A team on loopback for `team_load.py`: replicas that measure their own event loop, an identity provider that signs
what it is asked to, and a ledger of any size.

Run as a program it is `callsheet team` with a timer beside the server.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from callsheet.core.consent import Mode
from callsheet.core.people import PROGRAM, Person, Role
from callsheet.core.tasks import Clip, Problem, Sheet, SheetId, SheetState, Task, TaskId, TaskState
from callsheet.edges.identity.agent_tokens import mint_agent_token
from callsheet.edges.ledger.rows import build_insert, sheet_row, task_row
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.ledger import TeamLedger
from callsheet.edges.postgres.people import People
from callsheet.edges.postgres.sessions import Sessions
from callsheet.surface.team.config import load_config
from callsheet.team import Team, main

TICK_SECONDS = 0.005
EVENTS = ("created", "claimed", "accepted", "seen_running", "seen_finished", "clip_saved")
APART_SECONDS = 780.0
"""Between two tasks: 10,000 are those of three months."""
CHUNK = 2_000
DECLINED = 20
"""One sheet in so many was declined."""
ENDED = (
    *[TaskState.SAVED] * 83,
    *[TaskState.FAILED] * 6,
    *[TaskState.REJECTED] * 5,
    *[TaskState.ABANDONED] * 3,
    *[TaskState.EXPIRED] * 2,
    TaskState.OUTCOME_UNKNOWN,
)
CLIP = Clip("/clips/a.mp4", 1_000_000, "0" * 64, 4.0, 1280, 720, "/clips/a.jpg", "/clips/b.jpg", 16 / 9, True, 90, 30)
REFUSAL = Problem("refused", "The gateway refused it.", fate="sent_not_charged", said="no", http_status=400)

Tick = tuple[float, float, float, float]
"""When, how late the timer was, how much of that the loop was at work, processor seconds so far."""


async def serve(config: Path) -> int:
    """A replica as `callsheet team serve` runs it, with the timer beside it."""
    seen: list[Tick] = []

    async def watch() -> None:
        while True:
            began, used = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK_SECONDS)
            late = max(0.0, time.perf_counter() - began - TICK_SECONDS)
            seen.append((time.time(), late, min(late, time.thread_time() - used), time.process_time()))

    team, watching = Team(load_config(config)), asyncio.create_task(watch())
    try:
        return await team.serve()
    finally:
        watching.cancel()
        config.with_suffix(".ticks").write_text(json.dumps(seen))


class Issuer:
    """An identity provider of the bench's own: its two documents, and tokens for anybody."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self._key = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
        self.documents: dict[str, Any] = {
            "/.well-known/openid-configuration": {
                "issuer": issuer,
                "jwks_uri": f"{issuer}/jwks",
                "authorization_endpoint": f"{issuer}/auth",
                "token_endpoint": f"{issuer}/token",
            },
            "/jwks": {"keys": [self._key.as_dict(private=False)]},
        }

    def register(self, **_: Any) -> dict[str, str]:
        """The desk's client."""
        return {"client_id": "desk", "client_secret": "a secret of the bench"}

    def sign(self, name: str, *, audience: str, client: str) -> str:
        """An access token of that person."""
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": name, "aud": audience, "client_id": client, "scope": "callsheet"}
        times = {"iat": now, "exp": now + 3600, "groups": ["makers"]}
        return jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": "one"}, {**claims, **times}, self._key)


@contextmanager
def run_issuer() -> Iterator[Issuer]:
    """The provider until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(issuer.documents.get(self.path, {})).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()


class Rows:
    """The rows of one team, as the bench fills them."""

    def __init__(self, dsn: str, tenant: str, issuer: Issuer) -> None:
        self.database = PostgresDatabase(dsn, tenant=tenant)
        self.ledger = TeamLedger(self.database, lambda: PROGRAM)
        self.rows, self.issuer = People(self.database), issuer

    def add_people(self, count: int) -> list[Person]:
        """Members, and last an approver."""
        roles = [*[Role.MEMBER] * count, Role.APPROVER]
        return [
            self.rows.sign_in(
                self.issuer.issuer, f"p{at}", name=f"p{at}", team="default", role=role, now=time.time(), said_at=1.0
            )
            for at, role in enumerate(roles)
        ]

    def make_tokens(self, people: Sequence[Person], agents: int, audience: str) -> list[str]:
        """A token for each agent: the provider's and the team's own by turns."""
        tokens = []
        for at in range(agents):
            person = people[at // 2 % len(people)]
            if at % 2 == 0:
                tokens.append(self.issuer.sign(person.subject, audience=audience, client=f"agent-{at}"))
                continue
            made = mint_agent_token(now=time.time())
            ends_at = made.expires_at
            self.rows.add_agent_token(person.id, made.digest, name=f"a{at}", now=time.time(), ends_at=ends_at)
            tokens.append(made.text)
        return tokens

    def sign_in(self, person: Person) -> str:
        """The cookie of a session on the desk."""
        sessions = Sessions(self.database, time.time)
        return sessions.begin(person.id, signed_in_at=time.time(), provider_session="", id_token="")

    def fill(self, like: Sheet, people: Sequence[Person], count: int) -> None:
        """So many tasks that ended, of these people in turn, with their sheets and events; and sheets that were
        declined.
        """
        sheets, owners, tasks, events = [], [], [], []
        for at in range(count + count // DECLINED):
            is_task, made_at = at < count, time.time() - APART_SECONDS * (at + 1)
            state, person = SheetState.SPENT if is_task else SheetState.DECLINED, people[at % len(people)]
            binding = replace(like.binding, body_sha256=f"{at:064x}")
            sheet = replace(like, id=SheetId(f"sheet_{at:08d}"), state=state, binding=binding, made_at=made_at)
            sheets.append(sheet_row(sheet))
            owners.append((sheet.id, person.id, person.team, "filler"))
            if is_task:
                task = build_task(sheet, at)
                tasks.append(task_row(task))
                events += [(made_at, task.id, kind, '{"state": "x"}') for kind in EVENTS]
        for statement, found in (
            (build_insert("sheet", sheets[0]), sheets),
            ("INSERT INTO owner (sheet_id, person, team, agent) VALUES (?, ?, ?, ?)", owners),
            (build_insert("task", tasks[0]), tasks),
            ("INSERT INTO event (at, subject, kind, detail) VALUES (?, ?, ?, ?)", events),
        ):
            for begin in range(0, len(found), CHUNK):
                with self.database.transaction(lasting=False) as db:
                    db.executemany(statement, found[begin : begin + CHUNK])
        with self.database.transaction() as db:
            db.execute("ANALYZE")


def build_task(sheet: Sheet, at: int) -> Task:
    """A task that ended."""
    state = ENDED[at * 37 % len(ENDED)]
    is_saved, is_bad = state is TaskState.SAVED, state in (TaskState.REJECTED, TaskState.FAILED)
    return Task(
        id=TaskId(f"task_{at:08d}"),
        sheet_id=sheet.id,
        mode=Mode.LIVE,
        gateway=sheet.binding.gateway,
        model=sheet.binding.model,
        state=state,
        reserve_micros=10_000,
        created_at=sheet.made_at,
        updated_at=sheet.made_at + 60,
        next_at=sheet.made_at + 60,
        attempts=1,
        gateway_task_id=f"job-{at}",
        finished_at=sheet.made_at + 60,
        problem=REFUSAL if is_bad else None,
        clip=CLIP if is_saved else None,
    )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(asyncio.run(serve(Path(arguments[2]))) if arguments[0] == "serve" else main(arguments))
