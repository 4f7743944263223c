"""`callsheet demo`: the whole workflow in the sandbox, without a key."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from callsheet.core.catalogue.cards import ModelCard
from callsheet.core.consent import Policy
from callsheet.core.shot import KIND_ROLES, Input, Shot
from callsheet.core.tasks import Clip, Sheet
from callsheet.edges.config.policy_file import write_policy
from callsheet.edges.config.policy_form import render_policy
from callsheet.edges.files.paths import HOME_VARIABLE
from callsheet.errors import Action, InvalidRequest, NextStep, SetupProblem
from callsheet.service import Draft, Explanation, Service, TaskReport
from callsheet.surface.cli.console.command import KNOW, Command, Json
from callsheet.surface.cli.console.completion import complete_models
from callsheet.surface.cli.console.exit_codes import ExitCode, exit_for_state
from callsheet.surface.cli.console.explanation_view import write_explanation, write_options
from callsheet.surface.cli.console.output import indent
from callsheet.surface.cli.console.progress import run_with_runner
from callsheet.surface.cli.console.prompts import approval_panel
from callsheet.surface.cli.console.send import submit_and_follow
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.task_view import write_report
from callsheet.surface.next_steps import for_person, program
from callsheet.surface.program import Program
from callsheet.surface.views.tasks import task_details

EXAMPLES = ("demo", "demo --model poyo/seedance-2", "demo --out ~/Videos/demo")

DEMO_SHOT = Shot.of("A red kite over dunes at dusk, slow pan, warm low light, wind in the grass.", duration_seconds=4)
DEMO_MODEL = "poyo/sora-2-official"
DEMO_PICTURE = "https://example.com/kite.png"
"""Stands for the pictures that some models need: the sandbox fetches none."""
PASSED_ON = ("NO_COLOR", "TERM", "COLUMNS", "HOME", "PATH")
DEMO_SPEED = 60.0


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to put the clip.", file_okay=False)] = Path(
        "callsheet-demo"
    ),
    model: Annotated[
        str, typer.Option(metavar="GATEWAY/ID", help="Any model of the list.", autocompletion=complete_models)
    ] = DEMO_MODEL,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the home directory of the demo.")] = False,
    as_json: Json = False,
) -> int:
    """Generate one clip in the sandbox, from prompt to file: no key, no network, no money.

    It explains a shot, shows the call sheet, approves it, submits it over HTTP on this computer, follows
    the task and saves a real MP4 with its contact sheet. Your own tasks and settings are not changed.
    """
    session = begin(context, as_json)
    target = (session.program.working_directory / out.expanduser()).absolute()
    home = Path(tempfile.mkdtemp(prefix="callsheet-demo-")).resolve()
    with ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
        environ = {name: value for name, value in session.program.environ.items() if name in PASSED_ON}
        demo_session = Session(session.program.with_environ({**environ, HOME_VARIABLE: str(home)}))
        demo_session.as_json = as_json
        _speed_up(demo_session.program)
        try:
            report = _run(demo_session, target, model)
        except KeyboardInterrupt:
            session.output.write_note("Interrupted. Nothing was charged.", style="yellow")
            return ExitCode.INTERRUPTED
    if as_json:
        session.write_json({"task": task_details(report, for_person), "home": str(home) if keep else None})
    elif keep:
        session.output.write("", Text(f"The demo's home, {HOME_VARIABLE}:"))
        session.output.write_unwrapped(str(home))
    return ExitCode.OK if report.task.clip is not None else exit_for_state(report.task.state) or ExitCode.NO_CLIP


def _speed_up(started: Program) -> None:
    """Make this sandbox faster than usual, unless the home is where no policy is read."""
    here = started.project_directory.resolve()
    if here == here.parent or not started.policy_path.is_relative_to(here):
        write_policy(started.policy_path, render_policy(replace(Policy(), sandbox_speed=DEMO_SPEED)))


def _run(session: Session, target: Path, model: str) -> TaskReport:
    """Show the workflow step by step; the report names the files in `target`."""
    sheet = _explain(session, model)
    submission = run_with_runner(session, lambda: submit_and_follow(session, sheet.id, wait=True), hands_over=False)
    report = submission.report
    assert report is not None
    if report.task.clip is not None:
        clip = _copy_clip(report.task.clip, target)
        task = replace(report.task, clip=clip)
        report = replace(report, task=task, clip_at=clip.path, next_step=NextStep(text=f"Show the user {clip.path}."))
    if not session.as_json:
        _write_result(session, report)
    return report


def _explain(session: Session, model: str) -> Sheet:
    service, output = session.service, session.output
    chosen = service.explain(Draft(shot=DEMO_SHOT))
    explanation = _explain_model(service, model)
    sheet = _require_sheet(explanation)
    if session.as_json:
        return sheet
    output.write(Text("1  Explain a shot: the models that can take it, and their prices", style="bold"))
    output.write(indent(Text(f"\n{DEMO_SHOT.prompt}", style="italic")))
    write_options(output, chosen.options, chosen.rest)
    output.write_heading("2  Explain it for one model: the exact request")
    output.write("")
    write_explanation(output, explanation, service.catalogue, curl=True)
    output.write_heading("3  Approve: what you agree to")
    output.write("", approval_panel(sheet.shown, plain=output.plain))
    output.write(Text("In the sandbox approval is automatic, because everything is free. In live mode you are asked."))
    output.write_heading("4  Submit, follow, save: real HTTP to a fake gateway on this computer")
    return sheet


def _explain_model(service: Service, model: str) -> Explanation:
    """The demo's shot for that model, with the inputs that it needs and the nearest values that it takes."""
    gateway, _, name = model.partition("/")
    card = service.card(gateway, name)
    shot = replace(DEMO_SHOT, inputs=_needed_inputs(card))
    first = service.explain(Draft(shot=shot, gateway=gateway, model=name))
    if first.sheet is not None or first.shot is None:
        return first
    return service.explain(Draft(shot=first.shot, gateway=gateway, model=name))


def _needed_inputs(card: ModelCard) -> tuple[Input, ...]:
    """As few inputs as the model needs."""
    if not card.kinds or "text-to-video" in card.kinds:
        return ()
    kind = card.kinds[0]
    held = [role for field in card.input_fields(kind) for role in field.inputs if role in KIND_ROLES[kind]]
    wanted = held[:1] if kind == "reference-to-video" else list(KIND_ROLES[kind])
    least = max((rule.least or 1 for role in wanted for rule in card.rules_for(role)), default=1)
    count = least if kind == "reference-to-video" else 1
    return tuple(Input(role, DEMO_PICTURE) for role in wanted for _ in range(count))


def _write_result(session: Session, report: TaskReport) -> None:
    task, output = report.task, session.output
    if task.clip is None:
        write_report(session, report)
        return
    seconds = task.updated_at - task.created_at
    output.write(Text(f"Saved after {seconds:.0f} s. The sandbox is faster than a real gateway; nothing was charged."))
    clip = task.clip
    output.write_heading(f"The clip and its contact sheet ({clip.duration_seconds:g} s, {clip.width}x{clip.height})")
    for path in (clip.path, clip.contact_sheet):
        output.write_unwrapped(path, style="bold cyan")
    output.write_next_step(NextStep(Action.SETUP))
    output.write_unwrapped(f"then {program()} install, so that your agent can use it", indent=14, style="cyan")


def _require_sheet(explanation: Explanation) -> Sheet:
    if explanation.sheet is None:
        findings = "; ".join(str(finding) for finding in explanation.findings)
        raise InvalidRequest(f"The shot of the demo is refused: {findings}", next_step="Report this.")
    return explanation.sheet


def _copy_clip(clip: Clip, target: Path) -> Clip:
    """Copies the clip and its pictures to the chosen directory; raises `SetupProblem`."""
    copied: dict[str, str] = {}
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in ("path", "poster", "contact_sheet"):
            source = Path(getattr(clip, name))
            copied[name] = str(shutil.copy2(source, target / source.name))
    except OSError as error:
        raise SetupProblem(
            f"{target} cannot be written ({error.strerror}).", next_step="Name another directory with --out."
        ) from error
    return replace(clip, path=copied["path"], poster=copied["poster"], contact_sheet=copied["contact_sheet"])


COMMANDS = (Command("demo", demo, KNOW, "generate a clip in the sandbox: no key, no network", EXAMPLES),)
