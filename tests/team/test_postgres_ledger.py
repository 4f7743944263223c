"""The ledger over PostgreSQL keeps what every ledger promises."""

from ledger.test_ledger_contract import *  # noqa: F403
