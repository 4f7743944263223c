"""Refreshing what a gateway publishes: free, without a key, and only when a person asks or their policy says so."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio
from anyio.to_thread import run_sync

from callsheet.core.catalogue.cards import GatewayFacts
from callsheet.core.catalogue.published import (
    MOST_PAGES,
    SOURCE,
    CatalogueRefused,
    Difference,
    Published,
    Skipped,
    compare,
    overlay,
)
from callsheet.core.gateway.protocol import CatalogueReader, Route
from callsheet.core.security.redaction import clean
from callsheet.core.tasks import SheetState
from callsheet.errors import CallsheetError, GatewayUnreachable, NextStep, SetupProblem
from callsheet.service.dependencies import Dependencies

MOST_BYTES = 8 << 20
"""Of one page; all of them have at most four times as many."""
WEEK = 7 * 86_400.0
FIRST_LOOK_SECONDS = 2.0
"""After a start, so that the first answers come first."""
LOOK_AGAIN_SECONDS = 3_600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of one gateway: a difference and the models that could not be read, or why nothing was changed."""

    gateway: str
    name: str
    url: str
    listed: int = 0
    difference: Difference = field(default_factory=Difference)
    skipped: tuple[Skipped, ...] = ()
    problem: str = ""


async def refresh(deps: Dependencies, gateway_id: str | None = None) -> list[Refreshed]:
    """Fetch, check and keep the published catalogues, of one gateway or of all that publish one.

    A reply that is no catalogue is refused whole, and the one before it stays.
    """
    chosen = [deps.facts(gateway_id)] if gateway_id else deps.catalogue().gateways
    async with deps.http:
        return [await _refresh(deps, facts) for facts in chosen]


async def _refresh(deps: Dependencies, facts: GatewayFacts) -> Refreshed:
    gateway = deps.gateway(facts.id)
    base_url = deps.policy().base_url(facts.id) or facts.catalogue_url
    if not isinstance(gateway, CatalogueReader) or base_url is None:
        return Refreshed(facts.id, facts.name, "", problem="it publishes no catalogue that is known")
    url = base_url + gateway.build_catalogue("").path
    try:
        pages = await _fetch(deps, gateway, base_url, deps.policy().route(facts.id))
        date = _day(deps.clock.now())

        # In a thread: the lists are large, and nothing else may wait for them.
        def keep() -> tuple[Published, GatewayFacts]:
            published = deps.published.read(gateway, facts.id, url=url, date=date, pages=pages)
            after = next(new for new in overlay(deps.published.own(), [published]).gateways if new.id == facts.id)
            deps.published.keep(facts.id, url=url, date=date, pages=pages)
            return published, after

        published, after = await run_sync(keep)
    except CatalogueRefused as refused:
        return Refreshed(facts.id, facts.name, url, problem=f"the reply was refused: {refused}")
    except CallsheetError as error:
        return Refreshed(facts.id, facts.name, url, problem=error.message)
    return Refreshed(facts.id, facts.name, url, len(published.models), compare(facts, after), published.skipped)


async def _fetch(deps: Dependencies, gateway: CatalogueReader, base_url: str, route: Route) -> list[bytes]:
    """Every page; raises `CatalogueRefused` for a list without end, `GatewayUnreachable`."""
    pages: list[bytes] = []
    cursor, seen = "", {""}
    while len(pages) < MOST_PAGES:
        request = gateway.build_catalogue(cursor)
        reply = await deps.http.fetch(request, base_url=base_url, key=None, route=route, most=MOST_BYTES)
        if reply.status != 200:
            raise GatewayUnreachable(
                f"The gateway answered HTTP {reply.status}.", next_step=NextStep(text="Try again later.")
            )
        page = await run_sync(gateway.read_catalogue, reply)
        pages.append(reply.body)
        if sum(map(len, pages)) > 4 * MOST_BYTES:
            raise CatalogueRefused("it is far too large")
        cursor = page.cursor
        if not cursor:
            return pages
        if cursor in seen or len(cursor) > 500:
            raise CatalogueRefused("its pages lead in a circle")
        seen.add(cursor)
    raise CatalogueRefused("it has far too many pages")


async def keep_fresh(deps: Dependencies) -> None:
    """While a program runs, `refresh_due` in the background. No trouble with it ends the program."""
    await anyio.sleep(FIRST_LOOK_SECONDS)
    while True:
        try:
            for refreshed in await refresh_due(deps):
                log.info("%s", describe(refreshed))
        except CallsheetError as error:
            log.info("the published catalogues were not refreshed: %s", error.error_code)
        except Exception as error:
            log.warning("the published catalogues were not refreshed: %s", type(error).__name__)
        await anyio.sleep(LOOK_AGAIN_SECONDS)


async def refresh_due(deps: Dependencies) -> list[Refreshed]:
    """What `refresh` does, of lists that are more than a week old, if the policy says so.

    Not while a sheet waits for a person or for its use: other prices would make it void. Needs an open `deps.http`.
    """
    due = await run_sync(_due, deps)
    if not due:
        return []
    with deps.published.turn(deps.clock.now()) as is_ours:
        done = [await _refresh(deps, facts) for facts in due] if is_ours else []
    await run_sync(deps.published.current)  # so that no call has to read them
    deps.changes.notify()
    return done


def _due(deps: Dependencies) -> list[GatewayFacts]:
    now = deps.clock.now()
    if not _is_weekly(deps):
        return []
    waiting = deps.ledger().sheets((SheetState.AWAITING_APPROVAL, SheetState.APPROVED))
    if any(now <= sheet.expires_at for sheet in waiting):
        return []
    return [facts for facts, date in fetched(deps) if not _day(now - WEEK) <= date <= _day(now)]


def fetched(deps: Dependencies) -> list[tuple[GatewayFacts, str]]:
    """The gateways that publish a list, each with the day of the one in use (ISO), empty where there is none."""
    known = [facts for facts in deps.catalogue().gateways if isinstance(deps.gateway(facts.id), CatalogueReader)]
    return [(facts, facts.sources[SOURCE].date if SOURCE in facts.sources else "") for facts in known]


def describe_lists(deps: Dependencies) -> str:
    """When each list was fetched, and whether that happens every week."""
    dates = ", ".join(f"{facts.name} {date or 'never'}" for facts, date in fetched(deps))
    how = "every week" if _is_weekly(deps) else "only when you ask"
    return f"{dates}; fetched {how} ([catalogue] in the policy file)"


def _is_weekly(deps: Dependencies) -> bool:
    try:
        return deps.policy().weekly_refresh
    except SetupProblem:
        return False


def _day(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def describe(refreshed: Refreshed) -> str:
    """One sentence about one gateway."""
    if refreshed.problem:
        why = clean(refreshed.problem, limit=300).removesuffix(".")
        return f"{refreshed.name}: not changed; {why}."
    difference = refreshed.difference
    parts = [
        f"{len(names)} {word}"
        for word, names in (
            ("new", difference.new),
            ("gone", difference.gone),
            ("with another price", difference.price),
            ("with other fields", difference.fields),
        )
        if names
    ]
    changed = ", ".join(parts) or "nothing changed"
    skipped = f"; {len(refreshed.skipped)} could not be read" if refreshed.skipped else ""
    return f"{refreshed.name}: {refreshed.listed} video models listed; {changed}{skipped}."
