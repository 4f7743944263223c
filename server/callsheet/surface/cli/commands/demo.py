"""`callsheet demo`, `sandbox` and `mcp`: the way through without a key, the sandbox by itself, the server."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from callsheet.core.consent.policy import Policy
from callsheet.core.shot import Shot
from callsheet.core.tasks.models import Clip, Sheet
from callsheet.edges.config.policy_file import render_policy, write_policy
from callsheet.edges.files.paths import HOME_VARIABLE
from callsheet.errors import InvalidRequest, NextStep, SetupProblem
from callsheet.service import Draft, Explanation, TaskReport
from callsheet.surface.cli.console.command import KNOW, SET_UP, Command
from callsheet.surface.cli.console.exit_codes import ExitCode, exit_for_state
from callsheet.surface.cli.console.explanation_view import show_explanation, show_options
from callsheet.surface.cli.console.output import indented
from callsheet.surface.cli.console.parameters import Json
from callsheet.surface.cli.console.progress import run_watched
from callsheet.surface.cli.console.session import Session, begin
from callsheet.surface.cli.console.task_view import show_report
from callsheet.surface.next_steps import for_person
from callsheet.surface.program import Program
from callsheet.surface.views.builders import task_details

from .approve import approval_panel
from .submit import submit_and_follow

DEMO_EXAMPLES = ("demo", "demo --out ~/Videos/demo")
SANDBOX_EXAMPLES = ("sandbox", "sandbox --port 8799 --speed 60")
MCP_EXAMPLES = ("mcp", "mcp --http 8765")

DEMO_SHOT = Shot("A red kite over dunes at dusk, slow pan, warm low light, wind in the grass.", duration_seconds=4)
DEMO_GATEWAY, DEMO_MODEL = "poyo", "sora-2-official"
PASSED_ON = ("NO_COLOR", "TERM", "COLUMNS", "HOME", "PATH")
DEMO_SPEED = 60.0
DEFAULT_PORT = 8799


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the clip is put.", file_okay=False)] = Path(
        "callsheet-demo"
    ),
    keep: Annotated[bool, typer.Option("--keep", help="Keep the home the demonstration ran in.")] = False,
    as_json: Json = False,
) -> int:
    """Film one clip in the sandbox, from prompt to file: no key, no network, no money.

    It explains a shot, shows the call sheet, approves it, submits it over HTTP on this computer, follows
    the task and saves a real MP4 with its contact sheet. Your own tasks and settings are not touched.
    """
    session = begin(context, as_json)
    target = (session.program.working_directory / out.expanduser()).absolute()
    home = Path(tempfile.mkdtemp(prefix="callsheet-demo-")).resolve()
    with ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
        environ = {name: value for name, value in session.program.environ.items() if name in PASSED_ON}
        stage = Session(session.program.with_environ({**environ, HOME_VARIABLE: str(home)}))
        stage.as_json = as_json
        _hurry(stage.program)
        try:
            report = _rehearse(stage, target)
        except KeyboardInterrupt:
            session.screen.note("Interrupted. Nothing was charged.", style="yellow")
            return ExitCode.INTERRUPTED
    if as_json:
        session.screen.answer(
            {"task": task_details(report, for_person).model_dump(mode="json"), "home": str(home) if keep else None}
        )
    elif keep:
        session.screen.show("", Text(f"The demonstration's own home, {HOME_VARIABLE}:"))
        session.screen.whole(str(home))
    return ExitCode.OK if report.task.clip is not None else exit_for_state(report.task.state) or ExitCode.NO_CLIP


def _hurry(program: Program) -> None:
    """Let this sandbox run faster than usual, unless the home lies where no policy would be read."""
    here = program.project_directory.resolve()
    if here == here.parent or not program.policy_path.is_relative_to(here):
        write_policy(program.policy_path, render_policy(replace(Policy(), sandbox_speed=DEMO_SPEED)))


def _rehearse(session: Session, target: Path) -> TaskReport:
    """The way through, shown step by step; the report names the files where they were put."""
    sheet = _explain(session)
    submission = run_watched(session, lambda: submit_and_follow(session, sheet.id, wait=True))
    report = submission.report
    assert report is not None
    if report.task.clip is not None:
        task = replace(report.task, clip=_hand_over(report.task.clip, target))
        report = replace(
            report, task=task, next_step=NextStep(text=f"Show the person {task.clip.path if task.clip else target}.")
        )
    if not session.as_json:
        _show_end(session, report)
    return report


def _explain(session: Session) -> Sheet:
    service, screen = session.service, session.screen
    options = service.explain(Draft(shot=DEMO_SHOT)).options
    explanation = service.explain(Draft(shot=DEMO_SHOT, gateway=DEMO_GATEWAY, model=DEMO_MODEL))
    sheet = _need_sheet(explanation)
    if session.as_json:
        return sheet
    screen.show(Text("1  Explain a shot: which models can take it, and what each costs", style="bold"))
    screen.show(indented(Text(f"\n{DEMO_SHOT.prompt}", style="italic")))
    show_options(screen, tuple(option for option in options if option.fits))
    screen.heading("2  Explain it for one model: the exact request")
    screen.show("")
    show_explanation(screen, explanation, service.deps.catalogue())
    screen.heading("3  Approve: what a person agrees to")
    screen.show("", approval_panel(sheet.shown, plain=screen.plain))
    screen.show(Text("In the sandbox approval is automatic, for nothing costs anything. Live, a person is asked."))
    screen.heading("4  Submit, follow, save: real HTTP to a gateway played on this computer")
    return sheet


def _show_end(session: Session, report: TaskReport) -> None:
    task, screen = report.task, session.screen
    if task.clip is None:
        show_report(session, report)
        return
    seconds = task.updated_at - task.created_at
    screen.show(Text(f"Saved after {seconds:.0f} s; the sandbox runs faster than life, and nothing was charged."))
    clip = task.clip
    screen.heading(f"The clip and its contact sheet ({clip.duration_seconds:g} s, {clip.width}x{clip.height})")
    for path in (clip.path, clip.contact_sheet):
        screen.whole(path, style="bold cyan")
    screen.next_step("callsheet setup; then let your agent start: callsheet mcp")


def _need_sheet(explanation: Explanation) -> Sheet:
    if explanation.sheet is None:
        findings = "; ".join(str(finding) for finding in explanation.findings)
        raise InvalidRequest(f"The demonstration's own shot is refused: {findings}", next_step="Report this.")
    return explanation.sheet


def _hand_over(clip: Clip, target: Path) -> Clip:
    """The clip with its pictures where the person wanted them; raises `SetupProblem`."""
    moved: dict[str, str] = {}
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in ("path", "poster", "contact_sheet"):
            source = Path(getattr(clip, name))
            moved[name] = str(shutil.copy2(source, target / source.name))
    except OSError as error:
        raise SetupProblem(
            f"{target} cannot be written ({error.strerror}).", next_step="Name another directory with --out."
        ) from error
    return replace(clip, path=moved["path"], poster=moved["poster"], contact_sheet=moved["contact_sheet"])


def sandbox(
    context: typer.Context,
    port: Annotated[int, typer.Option(metavar="PORT", help="0 takes a free one.", min=0, max=65535)] = DEFAULT_PORT,
    speed: Annotated[
        float | None, typer.Option(metavar="FACTOR", help="How many times faster than life; else the policy's.")
    ] = None,
    store: Annotated[Path | None, typer.Option(metavar="DIR", help="Where it keeps its tasks and films.")] = None,
) -> int:
    """Play the four gateways on this computer, for other programs; Ctrl-C ends it.

    Prints the base URLs and the tags that make a gateway misbehave in a known way.
    """
    session = begin(context)
    program = session.program
    factor = program.policy().sandbox_speed if speed is None else speed
    if not 0.01 <= factor <= 1_000_000:
        raise InvalidRequest("--speed is a number from 0.01 to 1000000.", next_step="Try --speed 30.")
    place = store.expanduser() if store else program.paths.data / "sandbox-alone"
    return _serve_sandbox(program, program.working_directory / place, port, factor)


def _serve_sandbox(program: Program, store: Path, port: int, speed: float) -> int:
    from callsheet.sandbox.server import run_sandbox

    try:
        run_sandbox(store, speed=speed, port=port)
    except KeyboardInterrupt:
        return ExitCode.OK
    except OSError as error:
        raise SetupProblem(
            f"The sandbox cannot be served on port {port} ({error.strerror or type(error).__name__}).",
            next_step="Choose another port with --port; 0 takes a free one.",
        ) from None
    return ExitCode.OK


def mcp(
    context: typer.Context,
    http: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=0, max=65535, help="Serve HTTP on this computer instead; 0: a free port."),
    ] = None,
) -> int:
    """Serve MCP on standard input and output: what a coding agent's client starts.

    With --http it is served at 127.0.0.1 for clients that connect to an address. Each request then needs the token
    that lies in a private file, whose name is shown; it is made anew at each start.
    """
    program = begin(context).program
    if http is None:
        program.serve_mcp()
    else:
        program.serve_http(http)
    return ExitCode.OK


COMMANDS = (
    Command("demo", demo, KNOW, "film a clip in the sandbox: no key, no network", DEMO_EXAMPLES),
    Command("sandbox", sandbox, SET_UP, "play the four gateways for other programs", SANDBOX_EXAMPLES),
    Command("mcp", mcp, SET_UP, "serve MCP on standard input and output, or HTTP", MCP_EXAMPLES),
)

__all__ = ["COMMANDS"]
