"""The ledger's schema as an append-only list of migrations; the length of the list is the version."""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE sheet (
            id TEXT PRIMARY KEY,
            shot_digest TEXT NOT NULL,
            take INTEGER NOT NULL,
            state TEXT NOT NULL,
            binding TEXT NOT NULL,
            shot TEXT NOT NULL,
            price TEXT NOT NULL,
            body BLOB NOT NULL,
            reserve_micros INTEGER,
            shown TEXT NOT NULL,
            made_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            approved_by TEXT,
            approved_at REAL,
            UNIQUE (shot_digest, take)
        ) STRICT
        """,
        """
        CREATE TABLE task (
            id TEXT PRIMARY KEY,
            sheet_id TEXT NOT NULL UNIQUE REFERENCES sheet (id),
            mode TEXT NOT NULL,
            gateway TEXT NOT NULL,
            model TEXT NOT NULL,
            state TEXT NOT NULL,
            reserve_micros INTEGER NOT NULL,
            created_at REAL NOT NULL,
            updated_at REAL NOT NULL,
            next_at REAL NOT NULL,
            owner TEXT,
            attempt TEXT,
            attempts INTEGER NOT NULL,
            deadline REAL,
            gateway_task_id TEXT,
            accepted_at REAL,
            said TEXT NOT NULL,
            percent INTEGER,
            polls INTEGER NOT NULL,
            failures INTEGER NOT NULL,
            finished_at REAL,
            result_url TEXT,
            charge TEXT,
            balance_before TEXT,
            hints TEXT NOT NULL,
            problem TEXT,
            clip TEXT
        ) STRICT
        """,
        "CREATE INDEX task_due ON task (owner, state, next_at)",
        "CREATE INDEX task_by_gateway_id ON task (gateway, gateway_task_id)",
        "CREATE TABLE pace (account TEXT PRIMARY KEY, next_free REAL NOT NULL) STRICT",
        """
        CREATE TABLE event (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL,
            subject TEXT NOT NULL,
            kind TEXT NOT NULL,
            detail TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX event_by_subject ON event (subject, seq)",
    ),
)
