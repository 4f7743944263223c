"""Writes or checks what is generated from the catalogue and the program's own tables: references, skills, scripts, the
snapshot of the MCP server's first replies.

    python -m render [ROOT] [--check]

`ROOT` is the checkout; without it, the one that this package runs from. What is generated is committed; a
test renders it again and compares. Developers and `make render` call.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from callsheet.core.catalogue.cards import GatewayFacts
from callsheet.core.gateway.protocol import BalanceReader, HttpRequest, ListingReader, SubmitParts, TaskRef, Uploader
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.gateways import load_gateway
from callsheet.sandbox.fakes import FAKES
from callsheet.sandbox.fakes.protocol import Generation, Reason, Refusal
from callsheet.sandbox.faults import FAULTS
from callsheet.surface.cli.console.exit_codes import MEANINGS

from .cards import render_gateway_cards
from .families import SORA, keep_line, render_families, render_fields
from .manifests import build_manifests
from .models import render_models, render_sources
from .references import Wire, render_errors, render_gateway_errors, render_gateways, render_sandbox, render_states
from .security import render_security_tests
from .skill_entry import build_skill_entry
from .skills import build_skills, render_scripts_page
from .snapshot import build_snapshot
from .video_skills import build_video_skills

USAGE = "Usage: python -m render [ROOT] [--check]\n"
REMEDY = "Run `make render` and commit what it writes."

RUNNABLE = 0o111
NUMBERED = ("references/family-*.md", "references/fields-*.md", "references/so*-*.md", "skill/*/references/fields*.md")
"""Pages whose number follows from how much there is to say."""
_PAGES = {Generation.NEW: "newer", Generation.OLD: "older"}


def build_documents() -> dict[str, str]:
    """Every generated document: path below the checkout -> text."""
    catalogue = load_catalogue()
    wires = {facts.id: describe_wire(facts) for facts in catalogue.gateways}
    sora = {f"sora-{facts.id}": render_gateway_cards(keep_line(facts, SORA)) for facts in catalogue.gateways}
    fields = render_fields(catalogue)
    pages = {
        "models": render_models(catalogue),
        **sora,
        **render_families(catalogue, sora | fields),
        **fields,
        **render_sources(catalogue),
        "gateways": render_gateways(catalogue, wires),
        "gateway-errors": render_gateway_errors(catalogue),
        "errors": render_errors((code.value, meaning) for code, meaning in MEANINGS.items()),
        "states": render_states(),
        "sandbox": render_sandbox(FAULTS),
        "scripts": render_scripts_page(catalogue),
    }
    references = {f"references/{name}.md": text for name, text in pages.items()}
    appendix = {"docs/security-tests.md": render_security_tests()}
    skills = build_skills(catalogue) | build_video_skills(catalogue, wires)
    served = build_snapshot() | build_skill_entry()
    return references | appendix | build_manifests() | served | skills


def describe_wire(facts: GatewayFacts) -> Wire:
    """The requests that a gateway's module builds, and how a refused field looks on its newer and older pages."""
    refusal = Refusal(Reason.INVALID, "duration", "duration must be 4, 8 or 12")
    answers = {age: FAKES[facts.id].build_refusal(refusal, age) for age in Generation}
    if answers[Generation.NEW] == answers[Generation.OLD]:
        answers.pop(Generation.OLD)
    return Wire(
        requests=tuple(_requests(facts.id)),
        complaints=tuple(
            (_PAGES[age] if len(answers) > 1 else "all", answer.status, json.dumps(answer.body))
            for age, answer in answers.items()
        ),
    )


def _requests(gateway_id: str) -> Iterator[tuple[str, HttpRequest]]:
    gateway = load_gateway(gateway_id)
    yield "submit (paid)", gateway.build_submit(SubmitParts("MODEL", b"", idempotency_key=""))
    yield "ask after a task", gateway.build_status(TaskRef("MODEL", "TASK_ID"))
    if isinstance(gateway, BalanceReader):
        yield "balance", gateway.build_balance()
    if isinstance(gateway, ListingReader):
        yield "is the model listed", gateway.build_listing("MODEL")
    if isinstance(gateway, Uploader):
        yield "upload a picture", gateway.build_upload("NAME.jpg", b"")


def find_stale(root: Path) -> list[str]:
    """The documents that are missing, are not what would be written now, lost their execute bit, or are left over."""
    documents = build_documents()
    pages = (page.relative_to(root).as_posix() for pattern in NUMBERED for page in sorted(root.glob(pattern)))
    left = [name for name in pages if name not in documents]
    return [*(name for name, text in documents.items() if _is_stale(root / name, text)), *left]


def _is_stale(path: Path, text: str) -> bool:
    if path.is_symlink() or not path.is_file() or path.read_text(encoding="utf-8") != text:
        return True
    return path.suffix == ".sh" and path.stat().st_mode & RUNNABLE != RUNNABLE


def render(root: Path) -> list[str]:
    """Write every document that has changed, and remove what is left over; which those are."""
    documents, stale = build_documents(), find_stale(root)
    for name in stale:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).unlink(missing_ok=True)
        if name not in documents:
            continue
        (root / name).write_text(documents[name], encoding="utf-8")
        if name.endswith(".sh"):
            (root / name).chmod(0o644 | RUNNABLE)
    return stale


def main(arguments: list[str]) -> int:
    """Write or check; 1 when a check finds something, 2 for arguments that are none."""
    check = "--check" in arguments
    rest = [argument for argument in arguments if argument != "--check"]
    if len(rest) > 1 or any(argument.startswith("-") for argument in rest):
        sys.stderr.write(USAGE)
        return 2
    root = Path(rest[0]) if rest else Path(__file__).resolve().parents[2]
    stale = find_stale(root) if check else render(root)
    for name in stale:
        sys.stdout.write(f"{'out of date' if check else 'wrote'}: {name}\n")
    if not stale:
        sys.stdout.write(f"{len(build_documents())} documents are up to date\n")
    elif check:
        sys.stderr.write(f"{REMEDY}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
