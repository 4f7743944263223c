"""Sealed keys that were opened in this process, and what each may be used for.

A key is kept for one address. It serves free reads, and paid requests only for sheets that a person approved in this
process: `allow` adds a permit for one sheet with one digest, `take` uses it up, `give_back` returns it if the request
certainly bought nothing. Permits exist only in memory, so no file and no row of the ledger can create one. After
`forget` nothing here refers to the key (Python cannot wipe memory).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from .store import SecretKey


@dataclass(frozen=True, slots=True)
class _Opened:
    key: SecretKey
    base_url: str


@dataclass(frozen=True, slots=True)
class _Permit:
    gateway_id: str
    digest: str


class OpenedKeys:
    """The open keys. `generation` changes whenever a key is added or removed, so that a redactor can be rebuilt."""

    def __init__(self) -> None:
        self.generation = 0
        self._opened: dict[str, _Opened] = {}
        self._permits: dict[str, _Permit] = {}
        self._lent: dict[str, _Permit] = {}

    def keep(self, key: SecretKey, *, base_url: str) -> None:
        """Keep a key that was just opened for that address."""
        self._opened[key.gateway_id] = _Opened(key, base_url)
        self.generation += 1

    def allow(self, gateway_id: str, sheet_id: str, *, digest: str) -> None:
        """Permit one paid request for that sheet, as long as its binding has that digest."""
        self._permits[sheet_id] = _Permit(gateway_id, digest)

    def allows(self, sheet_id: str) -> bool:
        """Whether there is a permit for that sheet."""
        return sheet_id in self._permits

    def take(self, gateway_id: str, sheet_id: str, *, digest: str, base_url: str) -> SecretKey | None:
        """The key for the paid request of that sheet, once; None without a permit for exactly this."""
        permit = self._permits.get(sheet_id)
        key = self.for_reads(gateway_id, base_url=base_url)
        if key is None or permit is None or permit.gateway_id != gateway_id:
            return None
        if not hmac.compare_digest(permit.digest, digest):
            return None
        self._lent[sheet_id] = self._permits.pop(sheet_id)
        return key

    def give_back(self, sheet_id: str) -> None:
        """Return a used permit, because its request certainly bought nothing and may be tried again."""
        permit = self._lent.pop(sheet_id, None)
        if permit is not None:
            self._permits[sheet_id] = permit

    def settle(self, sheet_id: str) -> None:
        """Drop that sheet's permit, used or not."""
        self._permits.pop(sheet_id, None)
        self._lent.pop(sheet_id, None)

    def for_reads(self, gateway_id: str, *, base_url: str) -> SecretKey | None:
        """The key for free requests to the address it was sealed for; None if it is not open or is for another one."""
        opened = self._opened.get(gateway_id)
        return opened.key if opened is not None and opened.base_url == base_url else None

    def is_open(self, gateway_id: str) -> bool:
        """Whether that gateway's key is open."""
        return gateway_id in self._opened

    def gateways(self) -> tuple[str, ...]:
        """The gateways whose key is open."""
        return tuple(self._opened)

    def permitted(self, gateway_id: str) -> tuple[str, ...]:
        """The sheets of that gateway that may still be paid for, or are being paid for."""
        both = {**self._permits, **self._lent}
        return tuple(sheet_id for sheet_id, permit in both.items() if permit.gateway_id == gateway_id)

    def keys(self) -> Iterable[SecretKey]:
        """All open keys, for redaction."""
        return [opened.key for opened in self._opened.values()]

    def forget(self, gateway_id: str) -> None:
        """Drop a gateway's key and every permit to pay with it."""
        if self._opened.pop(gateway_id, None) is not None:
            self.generation += 1
        for sheet_id in self.permitted(gateway_id):
            self.settle(sheet_id)

    def forget_all(self) -> None:
        """Drop all keys and permits."""
        for gateway_id in self.gateways():
            self.forget(gateway_id)


__all__ = ["OpenedKeys"]
