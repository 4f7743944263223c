"""`callsheet models`: what the catalogue knows of the gateways and their models, with sources and dates."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from callsheet.core.catalogue.cards import Catalogue, Field, ModelCard
from callsheet.core.security.redaction import clean
from callsheet.errors import UnknownThing
from callsheet.surface.cli.console.command import KNOW, Command
from callsheet.surface.cli.console.completion import complete_gateways
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.explanation_view import AVAILABILITY_STYLES, availability
from callsheet.surface.cli.console.output import Screen, facts, indented
from callsheet.surface.cli.console.parameters import Json, ModelOption
from callsheet.surface.cli.console.session import begin
from callsheet.surface.cli.console.wording import joined
from callsheet.surface.views.builders import JsonObject
from callsheet.surface.views.cards import choices_of, model_details, polling_text, price_range, retention_text

EXAMPLES = ("models", "models poyo", "models poyo --model sora-2-official", "models --json")


def models(
    context: typer.Context,
    gateway: Annotated[
        str | None, typer.Argument(metavar="GATEWAY", help="One gateway only.", autocompletion=complete_gateways)
    ] = None,
    model: ModelOption = None,
    as_json: Json = False,
) -> int:
    """Show the models with price, lengths, ratios, resolutions and availability; with --model, all about one."""
    session = begin(context, as_json)
    catalogue = session.service.deps.catalogue()
    cards = [card for card in session.service.cards(gateway=gateway) if model in (None, card.model)]
    if not cards:
        raise UnknownThing("No gateway has a model of that id.", next_step="Call list_models to see all of them.")
    if as_json:
        answer: JsonObject = {"models": [model_details(catalogue, card).model_dump(mode="json") for card in cards]}
        session.screen.answer(session.redactor.value(answer))
    elif model is not None:
        for card in cards:
            _show_card(session.screen, card, catalogue)
    else:
        _show_all(session.screen, cards, catalogue)
    return ExitCode.OK


def _show_all(screen: Screen, cards: list[ModelCard], catalogue: Catalogue) -> None:
    for facts_ in catalogue.gateways:
        own = [card for card in cards if card.gateway == facts_.id]
        if not own:
            continue
        screen.heading(f"{facts_.name}  ({facts_.id}, as of {facts_.as_of})")
        table = screen.table("!Model", "!USD", "Seconds", "Ratio", "Lines", "!Availability")
        for card in own:
            table.add_row(*_row(card, catalogue, gap="\n" if screen.narrow else " "))
        screen.show(indented(table))
    screen.show(
        "", Text("The date is when the gateway itself last named the model. Prices are the highest known.", "dim")
    )
    screen.show(Text("All about one: callsheet models --model ID", "dim"))


def _row(card: ModelCard, catalogue: Catalogue, *, gap: str) -> list[Text]:
    offered, state = choices_of(card), card.lifecycle.availability
    return [
        Text(card.model, style="cyan"),
        Text(price_range(card)),
        Text(joined(offered.durations, "-").replace(",", "")),
        Text(joined(offered.ratios, "-").replace(",", "")),
        Text(joined(offered.resolutions, card.resolution_when_absent or "-").replace(",", "")),
        Text.assemble((state.value, AVAILABILITY_STYLES[state]), (gap + last_word(card, catalogue), "dim")),
    ]


def last_word(card: ModelCard, catalogue: Catalogue) -> str:
    """The date of the newest thing that the gateway itself said or showed of the model, or `undated`."""
    for evidence in card.lifecycle.evidence:
        source = catalogue.source(card, evidence.source)
        if source is not None and source.authority == "gateway":
            return evidence.date
    return "undated"


def _show_card(screen: Screen, card: ModelCard, catalogue: Catalogue) -> None:
    offered = choices_of(card)
    screen.heading(f"{card.title}  ({card.id})")
    rows: list[tuple[str, RenderableType]] = [
        ("Availability", availability(card)),
        ("Price", _price(card, catalogue)),
        ("Makes", joined(card.modes, "no clip that can be drawn up here")),
        ("Seconds", joined(offered.durations)),
        ("Ratios", joined(offered.ratios)),
        ("Resolutions", joined(offered.resolutions, card.resolution_when_absent or "not documented")),
        ("Image", _image(card)),
        ("Kept", retention_text(card.retention)),
        ("Ask after", polling_text(card.poll)),
        ("Rate", _rate(card)),
    ]
    rows += [("Note", note) for note in card.notes]
    screen.show(facts(rows))
    _show_fields(screen, card)
    _show_evidence(screen, card, catalogue)


def _price(card: ModelCard, catalogue: Catalogue) -> Text:
    rule = card.price
    source = catalogue.source(card, rule.source)
    key = {"by_duration": "{} s: {}", "per_second": "{}: {} a second", "fixed": "{1} a clip"}.get(rule.kind, "")
    listed = joined((key.format(name, f"{amount:f} {rule.unit}") for name, amount in rule.amounts.items()), "unknown")
    rate = (
        f"; 1 {rule.unit.removesuffix('s')} = {rule.usd_per_unit:f} USD" if rule.usd_per_unit not in (None, 1) else ""
    )
    text = Text.assemble((f"{price_range(card)} USD", "bold"), f" · {rule.as_of}, {source.title if source else ''}")
    text.append(f"\n{listed}{rate}", style="dim")
    if rule.note:
        text.append(f"\n{rule.note}", style="dim")
    return text


def _image(card: ModelCard) -> str:
    if card.image is None:
        return "takes no reference image"
    limit = f"at most {card.image.max_bytes // 1_000_000} MB" if card.image.max_bytes else ""
    known = joined([*card.image.formats, *([limit] if limit else [])], "")
    return f"{known}. {card.image.note}" if known else card.image.note


def _rate(card: ModelCard) -> str:
    rate = card.rate_limit
    documented = f"{rate.requests_per_minute} requests a minute" if rate.requests_per_minute else ""
    together = f"{rate.concurrent_tasks} tasks at once" if rate.concurrent_tasks else ""
    known = joined([part for part in (documented, together) if part], "no figure is documented")
    return f"{known}; kept to {rate.requests_per_minute or rate.assumed_per_minute} a minute"


def _show_fields(screen: Screen, card: ModelCard) -> None:
    screen.heading("Fields of the request")
    table = screen.table("!Field", "Type", "Allowed", "Note")
    for field in card.fields:
        required = " *" if field.required else ""
        note = "; ".join(part for part in (_condition(field), field.note) if part)
        table.add_row(
            Text(f"{field.name}{required}", style="cyan"),
            Text(field.kind),
            Text(_allowed(field)),
            Text(note, style="dim"),
        )
    screen.show(indented(table), indented(Text("* required", style="dim")))


def _allowed(field: Field) -> str:
    parts = [joined(field.values, "")]
    if field.values_with_image:
        parts.append(f"with an image: {joined(field.values_with_image)}")
    if field.max_length is not None:
        least = f"{field.min_length} to " if field.min_length else "at most "
        parts.append(f"{least}{field.max_length:,} {field.unit or 'characters'}")
    if field.max_items is not None:
        parts.append("one item" if field.max_items == 1 else f"at most {field.max_items} items")
    return "; ".join(part for part in parts if part) or "any"


def _condition(field: Field) -> str:
    parts = [f"only {field.only}" if field.only else ""]
    if field.default is not None:
        parts.append(f"default {field.default}")
    if field.fill is not None and field.fill != field.default:
        parts.append(f"written as {field.fill} when not said")
    parts += [f"always {value}" if when == "always" else f"{value} ({when})" for when, value in field.fixed]
    return ", ".join(part for part in parts if part)


def _show_evidence(screen: Screen, card: ModelCard, catalogue: Catalogue) -> None:
    screen.heading("Availability, newest first")
    grid = facts([(evidence.date, clean(evidence.text)) for evidence in card.lifecycle.evidence], label_width=10)
    screen.show(indented(grid))
    if card.conflicts:
        screen.heading("Where sources disagree")
        for conflict in card.conflicts:
            screen.show(indented(Text.assemble(conflict.about, (f"\n→ {conflict.choice}", "cyan"))))
    screen.heading("Sources")
    keys = dict.fromkeys([card.price.source, card.poll.source, card.retention.source, card.rate_limit.source])
    keys.update(dict.fromkeys(evidence.source for evidence in card.lifecycle.evidence))
    keys.update(dict.fromkeys(field.source for field in card.fields))
    for key in keys:
        source = catalogue.source(card, key)
        if source is not None:
            screen.show(indented(Text(f"{source.title} ({source.date}; {source.authority})")))
            screen.whole(source.url, indent=4, style="dim")


COMMANDS = (Command("models", models, KNOW, "models, prices, limits, availability", EXAMPLES),)

__all__ = ["COMMANDS"]
