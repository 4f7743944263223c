"""An explanation on the terminal: the notice, availability before the price, the request, findings, the next step."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from callsheet.core.catalogue.cards import Availability, Catalogue, ModelCard
from callsheet.core.catalogue.prices import Price
from callsheet.core.payload.body import Finding
from callsheet.core.payload.own_files import format_own_file
from callsheet.core.security.redaction import clean
from callsheet.core.shot import PARAMETERS, PLAIN, Input, Shot
from callsheet.errors import Action, NextStep
from callsheet.service import Explanation
from callsheet.service.catalogue.ranking import Option
from callsheet.service.results import iso
from callsheet.surface.text import format_json, one_line
from callsheet.surface.views.cards import polling_text, retention_text

from .output import Output, indent, label_table

AVAILABILITY_STYLES = {
    Availability.LIVE: "green",
    Availability.LISTED: "cyan",
    Availability.UNVERIFIED: "yellow",
    Availability.LEGACY: "yellow",
    Availability.DROPPED: "red",
}
SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def write_explanation(output: Output, explanation: Explanation, catalogue: Catalogue) -> None:
    """The whole answer of `explain`, for people."""
    _write_notice(output, explanation)
    if explanation.card is not None and explanation.shot is not None:
        _write_card(output, explanation, explanation.card, explanation.shot, catalogue)
    if explanation.findings:
        _write_findings(output, explanation.findings)
    if explanation.options:
        write_options(output, explanation.options, explanation.rest)
    if explanation.prompt_notes:
        output.write_heading("On the prompt")
        for note in explanation.prompt_notes:
            output.write(indent(Text(note)))
    if explanation.blocked:
        output.write_heading("A live submission would be refused")
        for blocker in explanation.blocked:
            text = f"{blocker.code}: {blocker.error.message} It can be lifted by {blocker.lifted_by}."
            output.write(indent(Text(text, style="yellow")))
    sheet = explanation.sheet
    if sheet is not None:
        output.write("")
        take = f"take {sheet.take} · {sheet.state.value.replace('_', ' ')} · valid until {iso(sheet.expires_at)}"
        output.write(label_table([("Sheet", Text.assemble((sheet.id, "bold cyan"), f"  {take}"))]))
    output.write_next_step(_next_step(explanation))


def _next_step(explanation: Explanation) -> NextStep:
    if explanation.status == "ready" and explanation.sheet is not None:
        return NextStep(Action.SUBMIT, target=explanation.sheet.id)
    fitting = [option.card for option in explanation.options]
    if fitting:
        example = f"--gateway {fitting[0].gateway} --model {fitting[0].model}, and the terms of its row"
        return NextStep(text=f"Choose a model and run the command again, for example with {example}.")
    return explanation.next_step


def _write_notice(output: Output, explanation: Explanation) -> None:
    """The notice; before it an earlier take of the same shot, and a possible duplicate charge."""
    if explanation.earlier:
        output.write(Text(explanation.earlier, style="bold yellow"), "")
    output.write(Text(explanation.notice, style="bold" if explanation.mode.value == "live" else "dim"))


def _write_card(output: Output, explanation: Explanation, card: ModelCard, shot: Shot, catalogue: Catalogue) -> None:
    rows: list[tuple[str, RenderableType]] = [("Availability", format_availability(card))]
    if explanation.price is not None:
        rows.append(("Price", format_price(explanation.price, catalogue, card)))
    rows += [
        ("Model", Text(f"{card.id} · {shot.kind}")),
        ("Video", Text(format_video(shot))),
        *((item.role.replace("_", " ").capitalize(), _format_input(explanation, item)) for item in shot.inputs),
    ]
    if shot.callback_url:
        rows.append(("Callback", Text(one_line(shot.callback_url))))
    rows += [
        ("Kept", Text(retention_text(card.retention))),
        ("Polled", Text(polling_text(card.poll, shot.seconds))),
    ]
    if explanation.what != "a shot":
        rows.append(("Payload", Text(one_line(explanation.what))))
    output.write("", label_table(rows))
    output.write_heading(f"{explanation.method} {explanation.url}")
    output.write_unwrapped(format_json(explanation.body).replace("\n", "\n  "))
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
    table = output.build_table("!Model", "Availability", ">USD", "For", ">Units", "Priced")
    for option in options:
        state, price = option.card.lifecycle.availability, option.price
        table.add_row(
            Text(option.card.id, style="cyan"),
            Text(state.value, style=AVAILABILITY_STYLES[state]),
            Text(price.in_dollars.removesuffix(" USD")),
            Text(option.terms),
            Text("" if price.amount is None or price.unit == "USD" else f"{price.amount:g} {price.unit}"),
            Text(price.as_of, style="dim"),
        )
    output.write(indent(table))
    if rest:
        output.write(Text(rest, style="dim"))
