"""`callsheet models`: the gateways and their models from the catalogue, with sources and dates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import anyio
import typer
from rich.console import RenderableType
from rich.text import Text

from callsheet.core.catalogue.cards import Availability, Catalogue, ModelCard
from callsheet.core.catalogue.fields import Field, Limit
from callsheet.core.payload.request import name_known
from callsheet.core.security.redaction import clean
from callsheet.core.shot import format_word
from callsheet.errors import Action, InvalidRequest, NextStep, UnknownThing
from callsheet.service.catalogue.ranking import Option, Query
from callsheet.service.catalogue.refresh import describe
from callsheet.surface.cli.console.command import KNOW, Command, Full, Json, ModelOption
from callsheet.surface.cli.console.completion import complete_gateways
from callsheet.surface.cli.console.exit_codes import ExitCode
from callsheet.surface.cli.console.explanation_view import (
    AVAILABILITY_STYLES,
    format_availability,
)
from callsheet.surface.cli.console.output import Output, indent, label_table
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.next_steps import for_person, program
from callsheet.surface.text import join_words
from callsheet.surface.views.builders import models_answer
from callsheet.surface.views.cards import (
    amount_terms,
    choices_of,
    length_words,
    model_details,
    plain,
    polling_text,
    price_range,
    retention_text,
)

REFRESH = "refresh"
EXAMPLES = ("models", "models refresh", "models poyo", "models poyo --model sora-2-official", "models --json --full")

OTHER_COLUMNS = 90
"""What the columns beside the ids need at least: with less room, their values stand below the id."""


def models(  # noqa: PLR0917 - the options of a command
    context: typer.Context,
    gateway: Annotated[
        str | None,
        typer.Argument(metavar="GATEWAY", help="One gateway only, or refresh.", autocompletion=complete_gateways),
    ] = None,
    refreshed: Annotated[
        str | None, typer.Argument(metavar="GATEWAY", help="After refresh: one gateway only.", show_default=False)
    ] = None,
    model: ModelOption = None,
    every: Annotated[bool, typer.Option("--all", help="Retired models too.")] = False,
    full: Full = False,
    as_json: Json = False,
) -> int:
    """Show the models that can be used, with an example price, lengths, ratios and resolutions; with --model, one.

    With refresh, the gateways' own published lists are fetched first, for free and without a key: from then on
    availability and price are those of that day, and a model that is no longer listed is refused.
    """
    session = begin(context, as_json)
    if gateway == REFRESH:
        return _refresh(session, refreshed)
    if refreshed is not None:
        raise InvalidRequest("A second gateway is given.", next_step=f"Run `{program()} models GATEWAY`.")
    catalogue = session.service.catalogue
    cards = [card for card in session.service.cards(gateway=gateway) if model in (None, card.model)]
    if not cards:
        known = [card.model for card in session.service.cards(gateway=gateway)]
        raise UnknownThing(
            f"No gateway has a model with that id ({name_known(model or '', known)}).",
            next_step=NextStep(Action.MODELS, "See the list of all models."),
        )
    ranking = session.service.list_models(Query(gateway=gateway))
    if as_json and (full or model is not None):
        session.write_json({"models": [model_details(catalogue, card) for card in cards]})
    elif as_json:
        answer = models_answer(session.service, Query(gateway=gateway), for_person)
        session.write_json(answer.model_dump(mode="json", exclude_none=True), compact=True)
    elif model is not None:
        for card in cards:
            _write_card(session.output, card, catalogue)
    else:
        usable = [card for card in cards if every or card.lifecycle.availability is not Availability.DROPPED]
        _write_all(session.output, usable, catalogue, {option.card.id: option for option in ranking.options})
        if retired := len(cards) - len(usable):
            session.output.write(Text(f"{retired} retired: {program()} models --all", "dim"))
        session.output.write(Text(f"The gateways' own lists: {session.service.describe_lists()}", "dim"))
    return ExitCode.OK


def _refresh(session: Session, gateway: str | None) -> int:
    """Fetch what the gateways publish, and show what changed."""
    results = anyio.run(session.service.refresh_catalogues, gateway)
    if session.as_json:
        session.write_json({"refreshed": [plain(item) for item in results]})
    for item in results if not session.as_json else []:
        session.output.write(Text(describe(item)))
        rows = (("new", item.difference.new), ("gone", item.difference.gone), ("price", item.difference.price))
        for word, names in (*rows, ("fields", item.difference.fields)):
            if names:
                session.output.write(indent(Text(f"{word}: {', '.join(names)}", style="dim")))
        for skipped in item.skipped:
            session.output.write(indent(Text(f"not read: {skipped.model} ({skipped.why})", style="dim")))
    return ExitCode.OK if any(not item.problem for item in results) else ExitCode.GATEWAY


def _write_all(output: Output, cards: list[ModelCard], catalogue: Catalogue, options: Mapping[str, Option]) -> None:
    narrow = output.out.width < OTHER_COLUMNS + max((len(card.model) for card in cards), default=0)
    for facts_ in catalogue.gateways:
        own = [card for card in cards if card.gateway == facts_.id]
        if not own:
            continue
        output.write_heading(f"{facts_.name}  ({facts_.id}, as of {facts_.as_of})")
        others = () if narrow else ("!Example", "Seconds", "Resolution", "Ratio")
        table = output.build_table("Model" if narrow else "!Model", *others, "!Availability")
        for card in own:
            table.add_row(*_row(card, catalogue, options[card.id], narrow=narrow))
        output.write(indent(table))
    output.write("", Text("USD for one clip of that length and resolution; a range where no example is known.", "dim"))
    output.write(Text("The date is the gateway's own latest mention of the model.", "dim"))
    output.write(Text(f"Details of one model: {program()} models --model ID", "dim"))


def _row(card: ModelCard, catalogue: Catalogue, option: Option, *, narrow: bool) -> list[Text]:
    offered, state = choices_of(card), card.lifecycle.availability
    example = f"{option.price.in_dollars.removesuffix(' USD')} for {option.terms.removesuffix(', no audio')}"
    example = example if option.price.usd is not None else price_range(card)
    seconds, lines, ratios = (
        join_words(values, "-").replace(",", "")
        for values in (length_words(offered.durations), offered.resolutions, offered.ratios)
    )
    word = Text(state.value, style=AVAILABILITY_STYLES[state])
    if narrow:
        return [Text.assemble((card.model, "cyan"), f"\n  {example} · {seconds} s · {lines}"), word]
    word.append(f" {latest_mention(card, catalogue)}", style="dim")
    return [Text(card.model, style="cyan"), Text(example), Text(seconds), Text(lines), Text(ratios), word]


def latest_mention(card: ModelCard, catalogue: Catalogue) -> str:
    """The date of the newest evidence from the gateway itself, or `undated`."""
    facts = catalogue.gateway(card.gateway)
    said = facts.last_word(card) if facts else None
    return said.date if said else "undated"


def _write_card(output: Output, card: ModelCard, catalogue: Catalogue) -> None:
    offered = choices_of(card)
    output.write_heading(f"{card.title}  ({card.id})")
    rows: list[tuple[str, RenderableType]] = [
        ("Availability", format_availability(card)),
        ("Price", _price(card, catalogue)),
        ("Makes", join_words(card.kinds, "no clip that Callsheet can request")),
        ("Seconds", join_words(length_words(offered.durations))),
        ("Ratios", join_words(offered.ratios)),
        ("Resolutions", join_words(offered.resolutions)),
        *_inputs(card),
        ("Kept", retention_text(card.retention)),
        ("Polled", polling_text(card.poll)),
        ("Rate", _rate(card)),
    ]
    rows += [("Note", note) for note in card.notes]
    output.write(label_table(rows))
    _write_fields(output, card)
    _write_evidence(output, card, catalogue)


def _price(card: ModelCard, catalogue: Catalogue) -> Text:
    rule = card.price
    source = catalogue.source(card, rule.source)
    per = "a second" if rule.per == "second" else "a clip"
    listed = join_words(
        (f"{amount_terms(rule, key)} {amount:f} {rule.unit} {per}".strip() for key, amount in rule.amounts.items()),
        "unknown",
    )
    rate = (
        f"; 1 {rule.unit.removesuffix('s')} = {rule.usd_per_unit:f} USD" if rule.usd_per_unit not in (None, 1) else ""
    )
    text = Text.assemble((f"{price_range(card)} USD", "bold"), f" · {rule.as_of}, {source.title if source else ''}")
    text.append(f"\n{listed}{rate}", style="dim")
    if rule.note:
        text.append(f"\n{rule.note}", style="dim")
    return text


def _inputs(card: ModelCard) -> list[tuple[str, RenderableType]]:
    if not any(field.role == "input" for field in card.fields):
        return [("Inputs", "none")]
    rows: list[tuple[str, RenderableType]] = []
    for rule in card.inputs:
        limit = f"at most {rule.max_bytes // 1_000_000} MB" if rule.max_bytes else ""
        count = f"at most {rule.most}" if rule.most else ""
        known = join_words([part for part in (count, *rule.formats, limit) if part], "")
        words = f"{join_words([role.replace('_', ' ') for role in rule.roles])}: {known}. {rule.note}"
        rows.append(("Inputs", words.replace(": .", ".")))
    return rows


def _rate(card: ModelCard) -> str:
    rate = card.rate_limit
    documented = f"{rate.requests_per_minute} requests a minute" if rate.requests_per_minute else ""
    concurrent = f"{rate.concurrent_tasks} concurrent tasks" if rate.concurrent_tasks else ""
    known = join_words([part for part in (documented, concurrent) if part], "no figure is documented")
    return f"{known}; Callsheet sends at most {rate.requests_per_minute or rate.assumed_per_minute} a minute"


def _write_fields(output: Output, card: ModelCard) -> None:
    output.write_heading("Fields of the request")
    table = output.build_table("!Field", "Type", "Allowed", "Note")
    for field in card.fields:
        required = " *" if field.required else ""
        note = "; ".join(part for part in (_condition(field), field.note) if part)
        table.add_row(
            Text(f"{field.name}{required}", style="cyan"),
            Text(field.kind),
            Text(_allowed(field)),
            Text(note, style="dim"),
        )
    output.write(indent(table), indent(Text("* required", style="dim")))


def _allowed(field: Field) -> str:
    parts = [_takes(field)]
    for limit in field.limits:
        when = ", ".join(f"{name} {join_words(values)}" for name, values in limit.when)
        parts.append(f"for {when}: {takes}" if (takes := _takes(limit)) else "")
    if field.max_length is not None:
        least = f"{field.min_length} to " if field.min_length else "at most "
        parts.append(f"{least}{field.max_length:,} {field.unit or 'characters'}")
    if field.max_items is not None:
        parts.append("one item" if field.max_items == 1 else f"at most {field.max_items} items")
    return "; ".join(part for part in parts if part) or "any"


def _takes(part: Field | Limit) -> str:
    return join_words(map(format_word, part.values), "") or _range(part)


def _range(part: Field | Limit) -> str:
    low, high = part.minimum, part.maximum
    if low is None and high is None:
        return ""
    return f"at most {high}" if low is None else f"at least {low}" if high is None else f"{low} to {high}"


def _condition(field: Field) -> str:
    parts = [f"only {' or '.join(field.only)}" if field.only else ""]
    if field.default is not None:
        parts.append(f"default {format_word(field.default)}")
    if field.fill is not None and field.fill != field.default:
        parts.append(f"sent as {format_word(field.fill)} if omitted")
    parts += [f"always {value}" if when == "always" else f"{value} ({when})" for when, value in field.fixed]
    return ", ".join(part for part in parts if part)


def _write_evidence(output: Output, card: ModelCard, catalogue: Catalogue) -> None:
    output.write_heading("Availability, newest first")
    grid = label_table([(evidence.date, clean(evidence.text)) for evidence in card.lifecycle.evidence], label_width=10)
    output.write(indent(grid))
    if card.conflicts:
        output.write_heading("Where sources disagree")
        for conflict in card.conflicts:
            output.write(indent(Text.assemble(conflict.about, (f"\n→ {conflict.choice}", "cyan"))))
    output.write_heading("Sources")
    keys = dict.fromkeys([card.price.source, card.poll.source, card.retention.source, card.rate_limit.source])
    keys.update(dict.fromkeys(evidence.source for evidence in card.lifecycle.evidence))
    keys.update(dict.fromkeys(field.source for field in card.fields))
    for key in keys:
        source = catalogue.source(card, key)
        if source is not None:
            output.write(indent(Text(f"{source.title} ({source.date}; {source.authority})")))
            output.write_unwrapped(source.url, indent=4, style="dim")


COMMANDS = (Command("models", models, KNOW, "models, prices, limits, availability", EXAMPLES),)
