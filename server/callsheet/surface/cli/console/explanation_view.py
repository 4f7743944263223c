"""How an explanation looks: the notice, availability before the price, the request, what is wrong, the next step."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from callsheet.core.catalogue.cards import Availability, Catalogue, ModelCard
from callsheet.core.catalogue.pricing import Price, dollars
from callsheet.core.payload.validation import Finding
from callsheet.core.shot import Shot
from callsheet.service import Explanation
from callsheet.service.results import Option, iso
from callsheet.surface.next_steps import for_person
from callsheet.surface.views.cards import polling_text, retention_text

from .output import Screen, facts, indented
from .wording import in_commands, format_json, one_line

AVAILABILITY_STYLES = {
    Availability.LIVE: "green",
    Availability.UNVERIFIED: "yellow",
    Availability.LEGACY: "yellow",
    Availability.DROPPED: "red",
}
SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def show_explanation(screen: Screen, explanation: Explanation, catalogue: Catalogue) -> None:
    """The whole answer of `explain`, for people."""
    show_notice(screen, explanation)
    if explanation.card is not None and explanation.shot is not None:
        _show_card(screen, explanation, explanation.card, explanation.shot, catalogue)
    if explanation.findings:
        _show_findings(screen, explanation.findings)
    if explanation.options:
        show_options(screen, explanation.options)
    if explanation.prompt_notes:
        screen.heading("On the prompt")
        for note in explanation.prompt_notes:
            screen.show(indented(Text(note)))
    if explanation.sheet is not None:
        sheet = explanation.sheet
        screen.show("")
        take = f"take {sheet.take} · {sheet.state.value.replace('_', ' ')} · valid until {iso(sheet.expires_at)}"
        screen.show(facts([("Sheet", Text.assemble((sheet.id, "bold cyan"), f"  {take}"))]))
    screen.next_step(next_command(explanation))


def show_notice(screen: Screen, explanation: Explanation) -> None:
    """What must be said first; an earlier take of the same shot, and a possible duplicate charge, before all."""
    if explanation.earlier:
        screen.show(Text(explanation.earlier, style="bold yellow"), "")
    screen.show(Text(explanation.notice, style="bold" if explanation.mode.value == "live" else "dim"))


def next_command(explanation: Explanation) -> str:
    """The one thing to do now, as a command where there is one."""
    if explanation.sheet is not None and explanation.mode.value != "read-only":
        return f"callsheet submit {explanation.sheet.id}"
    return in_commands(for_person(explanation.next_step))


def _show_card(screen: Screen, explanation: Explanation, card: ModelCard, shot: Shot, catalogue: Catalogue) -> None:
    rows: list[tuple[str, RenderableType]] = [("Availability", availability(card))]
    if explanation.price is not None:
        rows.append(("Price", price_text(explanation.price, catalogue, card)))
    rows += [
        ("Model", Text(f"{card.id} · {shot.mode}")),
        ("Picture", Text(picture(shot, card))),
        ("Reference", Text(one_line(shot.image_url) if shot.image_url else "no image")),
    ]
    if shot.callback_url:
        rows.append(("Callback", Text(one_line(shot.callback_url))))
    rows += [
        ("Kept", Text(retention_text(card.retention))),
        ("Ask after", Text(polling_text(card.poll))),
    ]
    if explanation.what != "a shot":
        rows.append(("Payload", Text(one_line(explanation.what))))
    screen.show("", facts(rows))
    screen.heading(f"{explanation.method} {explanation.url}")
    screen.whole(format_json(explanation.body).replace("\n", "\n  "))
    screen.heading("The same with curl (the body in payload.json)")
    screen.whole(explanation.curl)


def availability(card: ModelCard) -> Text:
    """Whether the model may be expected to answer."""
    state = card.lifecycle.availability
    return Text.assemble((state.value, AVAILABILITY_STYLES[state]), f" · {card.lifecycle.summary}")


def price_text(price: Price, catalogue: Catalogue, card: ModelCard) -> Text:
    """The price, as of when, and whose word it is."""
    source = catalogue.source(card, price.source)
    origin = f" · {price.as_of}, {source.title}" if source else f" · {price.as_of}"
    text = Text.assemble((str(price), "bold"), origin)
    if price.note:
        text.append(f"\n{price.note}", style="dim")
    return text


def picture(shot: Shot, card: ModelCard) -> str:
    """Length, ratio and resolution, or that they are not documented."""
    length = f"{shot.duration_seconds} s" if shot.duration_seconds else "length not documented"
    resolution = shot.resolution or card.resolution_when_absent or "resolution not documented"
    return f"{length} · {shot.aspect_ratio or 'ratio not documented'} · {resolution}"


def _show_findings(screen: Screen, findings: tuple[Finding, ...]) -> None:
    screen.heading("Findings")
    rows: list[tuple[str, RenderableType]] = []
    for finding in findings:
        text = Text.assemble((one_line(finding.field), "bold"), f" {one_line(finding.value)}".rstrip(), "\n")
        text.append(one_line(finding.rule))
        if finding.instead:
            text.append(f"\n→ {one_line(finding.instead)}", style="cyan")
        rows.append((finding.severity, text))
    grid = facts([], label_width=10)
    for severity, said in rows:
        grid.add_row(Text(severity, style=SEVERITY_STYLES[severity]), said)
    screen.show(indented(grid))


def show_options(screen: Screen, options: tuple[Option, ...]) -> None:
    """The models that can take the shot, cheapest first, then those that cannot, with why."""
    fitting = [option for option in options if option.fits]
    if fitting:
        screen.heading("Can take it, cheapest first")
        table = screen.table("!Model", "Availability", ">USD", ">Units", "Priced")
        for option in fitting:
            state, price = option.card.lifecycle.availability, option.price
            table.add_row(
                Text(option.card.id, style="cyan"),
                Text(state.value, style=AVAILABILITY_STYLES[state]),
                Text("unknown" if price.usd is None else dollars(price.usd)),
                Text("" if price.amount is None or price.unit == "USD" else f"{price.amount:g} {price.unit}"),
                Text(price.as_of, style="dim"),
            )
        screen.show(indented(table))
    reasons: dict[str, list[str]] = {}
    for option in options:
        if not option.fits:
            reasons.setdefault(one_line(option.why_not), []).append(option.card.id)
    if reasons:
        screen.heading("Cannot take it")
        grid = facts([], label_width=26)
        for reason, cards in reasons.items():
            grid.add_row(Text("\n".join(cards)), Text(reason, style="dim"))
        screen.show(indented(grid))


__all__ = [
    "AVAILABILITY_STYLES",
    "availability",
    "picture",
    "price_text",
    "show_explanation",
    "show_notice",
    "show_options",
]
