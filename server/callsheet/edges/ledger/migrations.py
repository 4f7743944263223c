"""The ledger's schema as an append-only list of migrations; the length of the list is the version.

A migration can call `exact_text`, which writes a number as the rest of the program does; SQL's own cast rounds to
15 digits.
"""

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
    (
        """
        CREATE TABLE allowance (
            id TEXT PRIMARY KEY,
            mode TEXT NOT NULL,
            models TEXT NOT NULL,
            clips INTEGER NOT NULL,
            up_to_micros INTEGER NOT NULL,
            made_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            policy TEXT NOT NULL,
            made_by TEXT NOT NULL,
            revoked_at REAL,
            used_clips INTEGER NOT NULL DEFAULT 0,
            used_micros INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """,
        """
        CREATE TABLE audit (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL,
            actor TEXT NOT NULL,
            action TEXT NOT NULL,
            subject TEXT NOT NULL,
            detail TEXT NOT NULL,
            previous TEXT NOT NULL,
            hash TEXT NOT NULL
        ) STRICT
        """,
        "CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'append-only'); END",
        "CREATE TRIGGER audit_is_final BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'append-only'); END",
        # Replacing a row fires neither of the two above.
        """
        CREATE TRIGGER audit_is_added_to BEFORE INSERT ON audit WHEN new.seq <= (SELECT max(seq) FROM audit)
        BEGIN SELECT raise(ABORT, 'append-only'); END
        """,
        "ALTER TABLE sheet ADD COLUMN allowance TEXT",
        # Older sheets: their expiry was not yet part of what an approval is bound to.
        "UPDATE sheet SET binding = json_set(binding, '$.expires', exact_text(expires_at))",
    ),
)
