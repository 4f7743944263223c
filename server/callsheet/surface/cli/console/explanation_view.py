"""An explanation on the terminal: nine lines for a shot that is in order, and all of it when asked for."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from callsheet.core.catalogue.cards import Availability, Catalogue, ModelCard
from callsheet.core.catalogue.prices import Price
from callsheet.core.payload.body import Finding
from callsheet.core.payload.own_files import format_own_file
from callsheet.core.security.redaction import clean
from callsheet.core.shot import PARAMETERS, PLAIN, Input, Shot
from callsheet.core.tasks import Sheet
from callsheet.errors import Action, NextStep
from callsheet.service import Explanation
from callsheet.service.catalogue.ranking import Option
from callsheet.service.results import iso
from callsheet.surface.next_steps import for_person
from callsheet.surface.text import format_json, one_line
from callsheet.surface.views.builders import explain_details
from callsheet.surface.views.cards import polling_text, retention_text, usual_text

from .output import LABEL_WIDTH, Output, indent, label_table
from .session import Session

AVAILABILITY_STYLES = {
    Availability.LIVE: "green",
    Availability.LISTED: "cyan",
    Availability.UNVERIFIED: "yellow",
    Availability.LEGACY: "yellow",
    Availability.DROPPED: "red",
}
ONLY_IN_FULL = {"curl", "evidence", "notice", "polling", "prompt_notes", "sheet", "shot"}
SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def write_explanation(
    output: Output,
    explanation: Explanation,
    catalogue: Catalogue,
    *,
    verbose: bool = False,
    curl: bool = False,
    asks: bool = False,
) -> None:
    """An explanation for people: a line for each fact, then what is wrong with the shot.

    `curl` adds the request, and `verbose` the rest. If the command `asks` for consent now, there is no next step.
    """
    _write_notice(output, explanation, verbose=verbose)
    if explanation.card is not None and explanation.shot is not None:
        rows = (_all_rows if verbose else _rows)(output, explanation, explanation.card, explanation.shot, catalogue)
        output.write(label_table(rows))
        # What is wrong with a shot is read beside the corrected request.
        if verbose or curl or explanation.status == "invalid":
            _write_request(output, explanation, curl=verbose or curl)
    has_errors = any(item.severity == "error" for item in explanation.findings)
    if explanation.findings and (verbose or has_errors):
        _write_findings(output, explanation.findings)
    if explanation.options:
        write_options(output, explanation.options, explanation.rest)
    if explanation.prompt_notes and verbose:
        output.write_heading("On the prompt")
        for note in explanation.prompt_notes:
            output.write(indent(Text(note)))
    if explanation.blocked:
        output.write_heading("A live submission would be refused")
        for blocker in explanation.blocked:
            text = f"{blocker.code}: {blocker.error.message} It can be lifted by {blocker.lifted_by}."
            output.write(indent(Text(text, style="yellow")))
    if not asks:
        more = verbose or curl or has_errors or explanation.options or explanation.blocked
        output.write_next_step(_next_step(explanation), apart=bool(more))


def write_json_explanation(session: Session, explanation: Explanation, *, full: bool = False) -> None:
    """An explanation for programs: what decides, with the request; or `full`."""
    details = explain_details(explanation, session.service, for_person)
    if full:
        session.write_json(details)
    else:
        session.write_json(details.model_dump(mode="json", exclude_none=True, exclude=ONLY_IN_FULL), compact=True)


def _next_step(explanation: Explanation) -> NextStep:
    if explanation.status == "ready" and explanation.sheet is not None:
        return NextStep(Action.SUBMIT, target=explanation.sheet.id)
    fitting = [option.card for option in explanation.options]
    if fitting:
        return NextStep(text=f"Choose a model and run the command again, for example with --model {fitting[0].id}.")
    return explanation.next_step


def _write_notice(output: Output, explanation: Explanation, *, verbose: bool) -> None:
    """The notice; before it an earlier take of the same shot, and a possible duplicate charge."""
    if explanation.earlier:
        output.write(Text(explanation.earlier, style="bold yellow"), "")
    first, stop, _ = explanation.notice.partition(". ")
    text = explanation.notice if verbose else first + stop.strip()
    output.write(Text(text, style="bold" if explanation.mode.value == "live" else "dim"))


def _rows(
    output: Output, explanation: Explanation, card: ModelCard, shot: Shot, catalogue: Catalogue
) -> list[tuple[str, RenderableType]]:
    """What decides, each fact on one line of the terminal."""
    usual = usual_text(card.poll, shot.seconds)
    rows: list[tuple[str, RenderableType]] = [
        ("Prompt", Text(one_line(shot.prompt))),
        ("Video", Text(format_video(shot))),
        *_input_rows(explanation, shot),
        ("Model", Text(f"{card.id} · {shot.kind}")),
        ("Availability", format_availability(card)),
    ]
    if explanation.price is not None:
        rows.append(("Price", format_price(explanation.price, catalogue, card)))
    rows.append(("Kept", Text(f"{retention_text(card.retention)}{f'; {usual}' if usual else ''}")))
    if (sheet := explanation.sheet) is not None:
        rows.append(("Sheet", _format_sheet(sheet)))
    room = output.out.width - LABEL_WIDTH - 2
    # What was filled in stands in the line on the video.
    told = [item for item in explanation.findings if item.severity != "note" or not item.instead]
    whole = _input_rows(explanation, shot)
    return [
        *((label, value if (label, value) in whole else _shorten(value, room)) for label, value in rows),
        *((item.severity.capitalize(), _format_finding(item)) for item in told if item.severity != "error"),
    ]


def _format_finding(finding: Finding) -> Text:
    parts = (f"{finding.field}:", finding.rule, finding.instead and f"→ {finding.instead}")
    return Text(one_line(" ".join(filter(None, parts))), style=SEVERITY_STYLES[finding.severity])


def _shorten(value: RenderableType, room: int) -> RenderableType:
    """The first line, as far as it fits."""
    if not isinstance(value, Text):
        return value
    first = value.split("\n")[0]
    first.truncate(room, overflow="ellipsis")
    return first


def _all_rows(
    output: Output, explanation: Explanation, card: ModelCard, shot: Shot, catalogue: Catalogue
) -> list[tuple[str, RenderableType]]:
    rows: list[tuple[str, RenderableType]] = [("Availability", format_availability(card))]
    if explanation.price is not None:
        rows.append(("Price", format_price(explanation.price, catalogue, card)))
    rows += [
        ("Model", Text(f"{card.id} · {shot.kind}")),
        ("Video", Text(format_video(shot))),
        *_input_rows(explanation, shot),
    ]
    if shot.callback_url:
        rows.append(("Callback", Text(one_line(shot.callback_url))))
    rows += [
        ("Kept", Text(retention_text(card.retention))),
        ("Polled", Text(polling_text(card.poll, shot.seconds))),
    ]
    if explanation.what != "a shot":
        rows.append(("Payload", Text(one_line(explanation.what))))
    if explanation.sheet is not None:
        rows.append(("Sheet", _format_sheet(explanation.sheet)))
    return rows


def _input_rows(explanation: Explanation, shot: Shot) -> list[tuple[str, RenderableType]]:
    return [(item.role.replace("_", " ").capitalize(), _format_input(explanation, item)) for item in shot.inputs]


def _format_sheet(sheet: Sheet) -> Text:
    take = f"take {sheet.take} · {sheet.state.value.replace('_', ' ')} · valid until {iso(sheet.expires_at)}"
    return Text.assemble((sheet.id, "bold cyan"), f"  {take}")


def _write_request(output: Output, explanation: Explanation, *, curl: bool) -> None:
    output.write_heading(f"{explanation.method} {explanation.url}")
    output.write_unwrapped(format_json(explanation.body).replace("\n", "\n  "))
    if curl:
        output.write_heading("The same with curl (the body in payload.json)")
        output.write_unwrapped(explanation.curl)


def _format_input(explanation: Explanation, item: Input) -> Text:
    file = explanation.files.get(item.url)
    return Text(f"your file {format_own_file(file)}" if file else one_line(item.url))


def format_availability(card: ModelCard) -> Text:
    """Whether the model is expected to work."""
    state = card.lifecycle.availability
    return Text.assemble((state.value, AVAILABILITY_STYLES[state]), f" · {card.lifecycle.summary}")


def format_price(price: Price, catalogue: Catalogue, card: ModelCard) -> Text:
    """The price with its date and source."""
    source = catalogue.source(card, price.source)
    origin = f" · {price.as_of}, {source.title}" if source else f" · {price.as_of}"
    text = Text.assemble((str(price), "bold"), origin)
    if price.note:
        text.append(f"\n{price.note}", style="dim")
    return text


def format_video(shot: Shot) -> str:
    """Length, ratio and resolution, or that they are not documented, and what else the shot says."""
    open_ = [f"{PARAMETERS[name].label} not documented" for name in PLAIN if shot.get(name) is None]
    said = (clean(PARAMETERS[name].shown(value), limit=120) for name, value in shot.parameters.items())
    return " · ".join((*said, *open_))


def _write_findings(output: Output, findings: tuple[Finding, ...]) -> None:
    output.write_heading("Findings")
    grid = label_table([], label_width=10)
    for finding in findings:
        text = Text.assemble((one_line(finding.field), "bold"), f" {one_line(finding.value)}".rstrip(), "\n")
        text.append(one_line(finding.rule))
        if finding.instead:
            text.append(f"\n→ {one_line(finding.instead)}", style="cyan")
        grid.add_row(Text(finding.severity, style=SEVERITY_STYLES[finding.severity]), text)
    output.write(indent(grid))


def write_options(output: Output, options: tuple[Option, ...], rest: str = "") -> None:
    """The models that can take the shot, cheapest first at equal terms, and a line on the others."""
    output.write_heading("Can take it, cheapest first")
    others = () if output.narrow else (">Units", "Priced")
    table = output.build_table("!Model", "!Availability", ">USD", "!For", *others)
    for option in options:
        state, price = option.card.lifecycle.availability, option.price
        units = "" if price.amount is None or price.unit == "USD" else f"{price.amount:g} {price.unit}"
        table.add_row(
            Text(option.card.id, style="cyan"),
            Text(state.value, style=AVAILABILITY_STYLES[state]),
            Text(price.in_dollars.removesuffix(" USD")),
            Text(option.terms),
            *([] if output.narrow else [Text(units), Text(price.as_of, style="dim")]),
        )
    output.write(indent(table))
    if rest:
        output.write(Text(rest, style="dim"))
