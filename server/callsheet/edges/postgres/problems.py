"""What the driver of PostgreSQL raises, as the ledger's error with what to do about it."""

from __future__ import annotations

import asyncpg

from callsheet.edges.ledger.rows import MalformedRow
from callsheet.errors import Action, LedgerProblem, NextStep

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""All that the driver raises."""
BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
SETTINGS = (
    (
        asyncpg.ClientConfigurationError,
        "The address of the database cannot be read.",
        "Write it as postgresql://user:password@host/database, a # in the password as %23.",
    ),
    (asyncpg.InvalidCatalogNameError, "The server has no database of that name.", "Create it, or correct its address."),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "The database refused the user or the password.",
        "Correct them in the database's address.",
    ),
    (
        asyncpg.InsufficientPrivilegeError,
        "The database's user lacks a right.",
        "Migrations need the right CREATE on the database; everything else needs what they made.",
    ),
)
"""What is wrong with the configuration: the failure, what it means, what to do."""


def database_problem(error: Exception) -> LedgerProblem:
    """The error for each way in which the database can fail. Its own text could name a row's content, so it stays."""
    kind = type(error).__name__
    if isinstance(error, asyncpg.LockNotAvailableError | asyncpg.QueryCanceledError | asyncpg.DeadlockDetectedError):
        return LedgerProblem("The database is busy with another change.", next_step="Try again in a moment.")
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.InvalidSchemaNameError | asyncpg.UndefinedColumnError):
        return LedgerProblem("The database has no tables of this version.", next_step=NextStep(Action.MIGRATE))
    for failure, message, advice in SETTINGS:
        if isinstance(error, failure):
            return LedgerProblem(message, next_step=advice)
    if isinstance(error, asyncpg.DiskFullError):
        return LedgerProblem("The database's disk is full.", next_step="Free some space on it, then try again.")
    if isinstance(error, MalformedRow):
        return LedgerProblem(f"The database holds something unexpected: {error}.", next_step=NextStep(Action.DOCTOR))
    if isinstance(error, BROKEN):
        return LedgerProblem(f"The database does not answer ({kind}).", next_step="Check that it runs, and where.")
    return LedgerProblem(f"The database refused a statement ({kind}).", next_step=NextStep(Action.DOCTOR))
