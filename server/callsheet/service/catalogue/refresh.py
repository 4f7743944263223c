"""Refreshing what a gateway publishes: free, without a key, and only when a person asks or their policy says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from callsheet.core.catalogue.cards import GatewayFacts
from callsheet.core.catalogue.published import (
    MOST_PAGES,
    CatalogueRefused,
    Difference,
    Skipped,
    compare,
    overlay,
)
from callsheet.core.gateway.protocol import CatalogueReader, Route
from callsheet.core.security.redaction import clean
from callsheet.errors import CallsheetError, GatewayUnreachable, NextStep
from callsheet.service.dependencies import Dependencies

MOST_BYTES = 8 << 20


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
        date = datetime.fromtimestamp(deps.clock.now(), UTC).date().isoformat()
        published = deps.published.read(gateway, facts.id, url=url, date=date, pages=pages)
        after = next(new for new in overlay(deps.published.own(), [published]).gateways if new.id == facts.id)
        deps.published.keep(facts.id, url=url, date=date, pages=pages)
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
        page = gateway.read_catalogue(reply)
        pages.append(reply.body)
        cursor = page.cursor
        if not cursor:
            return pages
        if cursor in seen or len(cursor) > 500:
            raise CatalogueRefused("its pages lead in a circle")
        seen.add(cursor)
    raise CatalogueRefused("it has far too many pages")


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
