"""The tables of a tenant, as an append-only list of migrations, and the step that applies them.

The first one makes what the ledger's statements need of SQLite: a few functions, and tables like those of the file.
"""

from __future__ import annotations

import secrets

import asyncpg

from callsheet.errors import LedgerProblem

from .database import IDLE_SECONDS, PostgresConnection, PostgresDatabase
from .pool import LOCK_SECONDS
from .problems import FAILURES, database_problem

TURN_SECONDS = 60
"""How long a process waits for another one that migrates."""
STEP_SECONDS = 3600.0
"""An index of a large table takes longer than any other statement may."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE FUNCTION json_extract(document TEXT, path TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE AS
        $$ SELECT CAST(document AS JSON) #>> string_to_array(substr(path, 3), '.') $$;
    CREATE FUNCTION json_each(document TEXT) RETURNS TABLE (value TEXT) LANGUAGE sql IMMUTABLE AS
        $$ SELECT json_array_elements_text(CAST(document AS JSON)) $$;
    CREATE FUNCTION instr(whole TEXT, part TEXT) RETURNS INTEGER LANGUAGE sql IMMUTABLE AS
        $$ SELECT strpos(whole, part) $$;

    CREATE TABLE tenant (name TEXT PRIMARY KEY, audited BIGINT NOT NULL DEFAULT 0);
    CREATE TABLE sheet (
        id TEXT PRIMARY KEY, shot_digest TEXT NOT NULL, take BIGINT NOT NULL, state TEXT NOT NULL,
        binding TEXT NOT NULL, shot TEXT NOT NULL, price TEXT NOT NULL, body BYTEA NOT NULL, reserve_micros BIGINT,
        shown TEXT NOT NULL, made_at DOUBLE PRECISION NOT NULL, expires_at DOUBLE PRECISION NOT NULL,
        approved_by TEXT, approved_at DOUBLE PRECISION, allowance TEXT, forward_at DOUBLE PRECISION,
        UNIQUE (shot_digest, take)
    );
    CREATE INDEX sheet_forward ON sheet (state) WHERE forward_at IS NOT NULL;
    CREATE TABLE task (
        id TEXT PRIMARY KEY, sheet_id TEXT NOT NULL UNIQUE REFERENCES sheet (id), mode TEXT NOT NULL,
        gateway TEXT NOT NULL, model TEXT NOT NULL, state TEXT NOT NULL, reserve_micros BIGINT NOT NULL,
        created_at DOUBLE PRECISION NOT NULL, updated_at DOUBLE PRECISION NOT NULL,
        next_at DOUBLE PRECISION NOT NULL, owner TEXT, attempt TEXT, attempts BIGINT NOT NULL,
        deadline DOUBLE PRECISION, gateway_task_id TEXT, accepted_at DOUBLE PRECISION, said TEXT NOT NULL,
        percent BIGINT, polls BIGINT NOT NULL, failures BIGINT NOT NULL, finished_at DOUBLE PRECISION,
        result_url TEXT, charge TEXT, balance_before TEXT, hints TEXT NOT NULL, problem TEXT, clip TEXT
    );
    CREATE INDEX task_due ON task (state, next_at);
    CREATE INDEX task_by_gateway_id ON task (gateway, gateway_task_id);
    CREATE INDEX task_by_time ON task (mode, created_at);
    CREATE TABLE pace (account TEXT PRIMARY KEY, next_free DOUBLE PRECISION NOT NULL);
    CREATE TABLE event (
        seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at DOUBLE PRECISION NOT NULL, subject TEXT NOT NULL,
        kind TEXT NOT NULL, detail TEXT NOT NULL
    );
    CREATE INDEX event_by_subject ON event (subject, seq);
    CREATE TABLE allowance (
        id TEXT PRIMARY KEY, mode TEXT NOT NULL, models TEXT NOT NULL, clips BIGINT NOT NULL,
        up_to_micros BIGINT NOT NULL, made_at DOUBLE PRECISION NOT NULL, expires_at DOUBLE PRECISION NOT NULL,
        policy TEXT NOT NULL, made_by TEXT NOT NULL, revoked_at DOUBLE PRECISION,
        used_clips BIGINT NOT NULL DEFAULT 0, used_micros BIGINT NOT NULL DEFAULT 0
    );
    CREATE TABLE audit (
        seq BIGINT PRIMARY KEY, at DOUBLE PRECISION NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
        subject TEXT NOT NULL, detail TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL
    );
    CREATE INDEX audit_by_subject ON audit (subject, seq);
    CREATE FUNCTION keep_audit() RETURNS TRIGGER LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP <> 'INSERT' THEN RAISE EXCEPTION 'append-only'; END IF;
            UPDATE tenant SET audited = NEW.seq WHERE audited < NEW.seq;
            IF NOT FOUND THEN RAISE EXCEPTION 'append-only'; END IF;
            RETURN NEW;
        END $$;
    CREATE TRIGGER audit_is_kept BEFORE INSERT OR UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION keep_audit();
    CREATE FUNCTION keep_all_audit() RETURNS TRIGGER LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'append-only'; END $$;
    CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION keep_all_audit();
    """,
    # People and what they have: local mode has one person, and none of these.
    """
    ALTER TABLE tenant ADD COLUMN paused BOOLEAN NOT NULL DEFAULT FALSE;
    CREATE TABLE person (
        id TEXT PRIMARY KEY, issuer TEXT NOT NULL, subject TEXT NOT NULL, name TEXT NOT NULL, team TEXT NOT NULL,
        role TEXT NOT NULL, made_at DOUBLE PRECISION NOT NULL, seen_at DOUBLE PRECISION NOT NULL,
        disabled_at DOUBLE PRECISION, UNIQUE (issuer, subject)
    );
    CREATE TABLE session (
        id TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES person (id), provider_session TEXT NOT NULL,
        csrf TEXT NOT NULL, signed_in_at DOUBLE PRECISION NOT NULL, made_at DOUBLE PRECISION NOT NULL,
        seen_at DOUBLE PRECISION NOT NULL, ends_at DOUBLE PRECISION NOT NULL, notices TEXT NOT NULL DEFAULT '[]',
        id_token TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX session_by_person ON session (person);
    CREATE TABLE passkey (
        id TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES person (id), name TEXT NOT NULL,
        public_key TEXT NOT NULL, sign_count BIGINT NOT NULL, made_at DOUBLE PRECISION NOT NULL,
        used_at DOUBLE PRECISION
    );
    CREATE TABLE challenge (
        nonce TEXT PRIMARY KEY, session TEXT NOT NULL, subject TEXT NOT NULL, ends_at DOUBLE PRECISION NOT NULL
    );
    CREATE TABLE used_token (id TEXT PRIMARY KEY, ends_at DOUBLE PRECISION NOT NULL);
    CREATE TABLE agent_token (
        hash TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES person (id), name TEXT NOT NULL,
        made_at DOUBLE PRECISION NOT NULL, ends_at DOUBLE PRECISION NOT NULL, used_at DOUBLE PRECISION
    );
    CREATE TABLE owner (
        sheet_id TEXT PRIMARY KEY REFERENCES sheet (id) ON DELETE CASCADE, person TEXT NOT NULL REFERENCES person (id),
        team TEXT NOT NULL, agent TEXT NOT NULL, bell TEXT
    );
    CREATE INDEX owner_by_person ON owner (person);
    CREATE INDEX owner_by_bell ON owner (bell);
    CREATE TABLE budget (
        kind TEXT NOT NULL, name TEXT NOT NULL, period TEXT NOT NULL, micros BIGINT NOT NULL,
        PRIMARY KEY (kind, name, period)
    );
    """,
    # Workers: which are alive, and the fingerprints of the keys that only they have. When a gateway last called back.
    """
    CREATE TABLE worker (id TEXT PRIMARY KEY, ends_at DOUBLE PRECISION NOT NULL);
    CREATE TABLE account (gateway TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, seen_at DOUBLE PRECISION NOT NULL);
    CREATE TABLE bell (gateway TEXT PRIMARY KEY, rung_at DOUBLE PRECISION NOT NULL);
    """,
    # What others wait for rings in the same transaction, so a ring is never lost, nor heard for what was undone.
    """
    CREATE FUNCTION ring() RETURNS TRIGGER LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_notify('callsheet_' || TG_TABLE_SCHEMA, ''); RETURN NULL; END $$;
    CREATE TRIGGER task_is_new AFTER INSERT ON task FOR EACH ROW EXECUTE FUNCTION ring();
    CREATE TRIGGER task_changed AFTER UPDATE ON task FOR EACH ROW WHEN (
        NEW.state <> OLD.state OR NEW.percent IS DISTINCT FROM OLD.percent OR NEW.next_at < OLD.next_at
    ) EXECUTE FUNCTION ring();
    CREATE TRIGGER sheet_changed AFTER UPDATE ON sheet FOR EACH ROW WHEN (NEW.state <> OLD.state)
        EXECUTE FUNCTION ring();
    """,
    # When the identity provider said what a person's row says: an older token does not overrule it.
    """
    ALTER TABLE person ADD COLUMN said_at DOUBLE PRECISION NOT NULL DEFAULT 0;
    """,
    # For the lists and sums that every answer needs, whatever the number of tasks. COUNTS_SINCE says the same.
    """
    CREATE INDEX task_listed ON task ((state = 'outcome_unknown') DESC, created_at DESC, id);
    CREATE INDEX task_newest ON task (created_at DESC, id);
    CREATE INDEX task_counted ON task (
        (CASE WHEN coalesce(deadline, 0) > created_at THEN deadline ELSE created_at END)
    );
    CREATE INDEX sheet_by_state ON sheet (state, made_at);
    """,
)


def migrate(database: PostgresDatabase) -> int:
    """Bring the tenant's schema to this version, and return how many migrations that took. Raises `LedgerProblem`.

    Several processes may call this together: one applies each migration, the others wait for it.
    """
    try:
        raw = database.acquire()
        try:
            return database.run(_migrate, raw, database.tenant)
        finally:
            database.release(raw)
    except FAILURES as error:
        raise database_problem(error) from None


async def _migrate(raw: asyncpg.Connection, tenant: str) -> int:
    async with raw.transaction():
        # A process that is frozen in here must not hold the lock, nor the tables.
        await raw.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'")
        await raw.execute(f"SET LOCAL lock_timeout = '{TURN_SECONDS}s'")
        turn = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
        await raw.execute(turn, f"callsheet/{tenant}", timeout=2 * TURN_SECONDS)
        # Everybody who comes after waits behind a step that waits for a table.
        await raw.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        await raw.execute("SET LOCAL statement_timeout = 0")
        await raw.execute(f"CREATE SCHEMA IF NOT EXISTS {tenant}")
        await raw.execute(f"SET LOCAL search_path TO {tenant}, pg_catalog")
        await raw.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)")
        version = await raw.fetchval("SELECT coalesce(max(version), 0) FROM schema_version")
        require_known(version)
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            await raw.execute(statements, timeout=STEP_SECONDS)
            await raw.execute("INSERT INTO schema_version VALUES ($1)", number)
        if version == 0:
            await raw.execute("INSERT INTO tenant (name) VALUES ($1)", secrets.token_hex(8))
    return len(MIGRATIONS) - int(version)


def require_known(version: int) -> None:
    """Raise `LedgerProblem` for a schema of a newer program."""
    if version > len(MIGRATIONS):
        raise LedgerProblem(
            "The database was migrated by a newer version of Callsheet.", next_step="Run that version, or a newer one."
        )


def read_version(db: PostgresConnection) -> int:
    """The version of the tenant's schema; raises `LedgerProblem` where there is none."""
    return int(db.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()[0])
