"""The skills that cover all video models of one gateway but Sora, which has skills of its own.

The prose is written by hand, a template for each gateway in `templates/`; the table of models, their fields, prices
and availability come from the catalogue. They are documentation alone: no script, no request. Only the renderer calls
this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from callsheet.core.catalogue.cards import Catalogue, GatewayFacts, ModelCard
from callsheet.surface.views.cards import choices_of

from .cards import NOT_DOCUMENTED, source_table
from .families import SORA, field_blocks, line_of, lines_of, living, tells, title_of
from .markdown import code, document, paged, table
from .models import price_span
from .references import Wire, gateway_blocks
from .skills import KEY_MARK, TEMPLATES, SkillPlan, fill, render_front

COMPATIBILITY = (
    "Documentation alone. Drafts are checked, priced and submitted by the Callsheet MCP server or the callsheet"
    " command, where one is installed."
)
VIDEO_SKILLS = tuple(
    SkillPlan(f"{gateway}-video-api", gateway, ()) for gateway in ("poyo", "apidot", "apixo", "evolink")
)
BRIEF = ("evolink",)
"""Gateways of so many models that only what must be written fits into a skill; the notes on fields stay out."""


def build_video_skills(catalogue: Catalogue, wires: Mapping[str, Wire]) -> dict[str, str]:
    """Every file of these skills: path below the checkout -> text."""
    files: dict[str, str] = {}
    for plan in VIDEO_SKILLS:
        facts = catalogue.gateway(plan.gateway)
        assert facts is not None
        pages = _pages(facts, wires[facts.id])
        part = TEMPLATES.joinpath(plan.name, "SKILL.md").read_text(encoding="utf-8")
        description, _, body = part.partition("\n")
        body = body.lstrip().replace("{{overview}}", _overview(video_cards(facts), pages))
        key_use = "used by Callsheet for live requests"
        front = render_front(plan, description, facts, works=COMPATIBILITY, key_use=key_use)
        files[f"skill/{plan.name}/SKILL.md"] = f"{front}\n{fill(body, facts)}"
        files |= {f"skill/{plan.name}/references/{name}.md": text for name, text in pages.items()}
    return files


def video_cards(facts: GatewayFacts) -> list[ModelCard]:
    """The models that such a skill covers."""
    return [card for card in living(facts) if line_of(card) != SORA]


def _pages(facts: GatewayFacts, wire: Wire) -> dict[str, str]:
    cards = video_cards(facts)
    opening = (
        f"Open this to write or check a request body. As of {facts.as_of}; keys in brackets are those of"
        " [sources.md](sources.md)."
    )
    pages = paged("fields", f"{facts.name}: fields", opening, field_blocks(cards, notes=facts.id not in BRIEF))
    heading, lines, requests, *_ = gateway_blocks(facts, wire, cards)
    pages["api"] = document(
        f"# {heading.removeprefix('## ')}",
        "Open this for addresses, polling, callbacks, limits and error codes.",
        lines,
        requests,
        "## Errors",
        fill("{{errors}}", facts),
    )
    named = {key for text in pages.values() for key in KEY_MARK.findall(text)}
    sources = [source for key, source in facts.sources.items() if key in named]
    pages["sources"] = document(
        "# Sources", "Open this for the address, the date and the author of a fact.", source_table(sources)
    )
    return pages


def _overview(cards: Sequence[ModelCard], pages: Mapping[str, str]) -> str:
    return table(("Line", "Families", "Seconds", "USD a second", "Availability", "Fields"), _rows(cards, pages))


def _rows(cards: Sequence[ModelCard], pages: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for line, models in lines_of(cards).items():
        lengths = sorted({seconds for card in models for seconds in choices_of(card).durations})
        told = [name for name, text in pages.items() if any(tells(text, card) for card in models)]
        yield (
            title_of(line, models),
            ", ".join(dict.fromkeys(code(card.family) for card in models)),
            f"{lengths[0]}-{lengths[-1]}" if lengths else NOT_DOCUMENTED,
            price_span(models),
            ", ".join(dict.fromkeys(card.lifecycle.availability.value for card in models)),
            ", ".join(f"[{name}.md](references/{name}.md)" for name in told),
        )


__all__ = ["VIDEO_SKILLS", "build_video_skills", "video_cards"]
