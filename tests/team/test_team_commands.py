"""What the team's commands say of settings that cannot work: which one it is, and nothing of a secret."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import asyncpg
import pytest
from install import free_port

from callsheet.core.people import Role, Viewer
from callsheet.core.tasks import SheetState
from callsheet.edges.postgres.database import PostgresDatabase
from callsheet.edges.postgres.leases import PostgresLeases
from callsheet.edges.postgres.schema import migrate
from callsheet.errors import LedgerProblem, SetupProblem
from callsheet.surface.team.config import load_config
from callsheet.surface.team.viewer import as_viewer
from callsheet.team import Team
from samples import START, a_sheet

CANARY = "Zq7canary5f1d0b92ae6c"
Write = Callable[..., Team]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A team with that address of its database, and other lines of its configuration."""

    def make(dsn: str, *, tenant: str = "callsheet", keys: bytes = b"1", **lines: str) -> Team:
        top, own = lines.get("top", ""), lines.get("own", "")
        issuer, place = lines.get("issuer", "http://localhost:1"), tmp_path / keys.decode()
        place.mkdir()
        (place / "dsn").write_text(dsn)
        (place / "client").write_text("secret")
        (place / "keys").write_text("\n".join(base64.b64encode(bytes([key]) * 32).decode() for key in keys))
        (place / "policy.toml").write_text('mode = "live"\n')
        listen = "" if "listen" in top else f'listen = "127.0.0.1:{free_port()}"\n'
        (place / "team.toml").write_text(
            f'public_url = "http://localhost:8080"\nhome = "home"\nkeys_file = "keys"\ntenant = "{tenant}"\n'
            f"{listen}{top}\n"
            f'[database]\ndsn_file = "dsn"\n[roles]\nadmin = ["owners"]\n'
            f'[identity]\nissuer = "{issuer}"\nclient_id = "c"\nclient_secret_file = "client"\n{own}\n'
        )
        return Team(load_config(place / "team.toml"))

    return make


@pytest.mark.parametrize(
    ("dsn", "says"),
    [
        (f"postgresql://u:p/{CANARY}@127.0.0.1:1/db", "address"),
        (f"postgresql://u:1/{CANARY}@127.0.0.1:1/db", "answer"),
        (f"postgresql://u:1/a@{CANARY}@127.0.0.1:1", "answer"),
        (f"postgresql://u:p[{CANARY}@127.0.0.1:1/db", "address"),
        (f"postgresql://u:p#{CANARY}@127.0.0.1:1/db", "address"),
        (f"postgresql://u:p?{CANARY}@127.0.0.1:1/db", "address"),
        (f"u:{CANARY}@127.0.0.1/db", "address"),
        (f"host=127.0.0.1 password={CANARY}", "address"),
        (f"postgresql://u:{CANARY}@127.0.0.1:99999/db", "address"),
        (f"postgresql://u:{CANARY}@127.0.0.1:1/db", "answer"),
    ],
)
def test_an_address_of_the_database_that_cannot_be_used_is_named_without_its_password(
    write: Write, dsn: str, says: str
) -> None:
    """A password that is not encoded looks like a port or a path."""
    team = write(dsn)
    with pytest.raises(LedgerProblem) as raised:
        team.migrate()
    team.database.close()

    assert says in raised.value.message
    assert CANARY not in f"{raised.value}{team.database.path}"


def test_restored_changes_nothing_while_a_worker_lives_or_in_another_schema(
    write: Write, dsn: str, tenant: str
) -> None:
    """What it says would not hold: the worker goes on sending."""
    team, database = write(dsn, tenant=tenant), PostgresDatabase(dsn, tenant=tenant)
    lease = PostgresLeases(database)
    lease.hold()
    with pytest.raises(SetupProblem, match="worker"):
        team.restored()
    lease.release()
    assert team.restored() == 0
    with database.transaction() as db:
        done = db.count_audited()
        db.execute("INSERT INTO schema_version VALUES (99)")
    for command in (team.restored, team.migrate):
        with pytest.raises(LedgerProblem, match="newer"):
            command()
    with database.reading() as db:
        assert db.count_audited() == done
    database.close()
    team.database.close()


def test_a_newer_key_makes_no_other_request_of_the_same_shot(write: Write, dsn: str, tenant: str) -> None:
    """A draft of what was sent under the old key is known as that: its bytes have the same address to ring at."""
    top, shot = '[callbacks]\ngateways = ["poyo"]', a_sheet().shot
    old, new, newest = (write(dsn, tenant=tenant, top=top, keys=keys) for keys in (b"1", b"21", b"3"))
    ann = old.people.sign_in("https://id", "ann", name="ann", team="red", role=Role.MEMBER, now=START, said_at=START)
    with as_viewer(Viewer(ann)):
        address = old.callback_for("poyo", shot)
        assert new.callback_for("poyo", shot) != address
        sheet = a_sheet("sheet_1", state=SheetState.DRAFTED, approved_by=None, approved_at=None)
        old.ledger.add_sheet(replace(sheet, shot=replace(shot, callback_url=address)), now=START)
        assert [team.callback_for("poyo", shot) for team in (old, new, newest)] == [address] * 3
        assert len({team.callback_for("poyo", replace(shot, prompt="another")) for team in (old, new)}) == 2
    for team in (old, new, newest):
        team.database.close()


def test_a_table_that_is_held_ends_a_migration_soon_and_as_that(dsn: str, tenant: str) -> None:
    """Everybody who needs the table waits behind the migration."""

    async def hold(other: PostgresDatabase) -> None:
        connection = await asyncpg.connect(dsn)
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {tenant}.schema_version IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(LedgerProblem, match="busy"):
                await anyio.to_thread.run_sync(migrate, other)
        await connection.close()

    began, other = time.monotonic(), PostgresDatabase(dsn, tenant=tenant)
    anyio.run(hold, other)
    assert time.monotonic() - began < 12
    assert migrate(other) == 0
    other.close()
