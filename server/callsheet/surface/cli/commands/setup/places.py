"""The questions of `callsheet setup` about trust: a home that the environment chose, and addresses for keys.

A registered home can hold what somebody prepared. So registering it ends every consent in it: passkeys are removed,
allowances revoked, approved sheets declined.
"""

from __future__ import annotations

from pathlib import Path

from callsheet.core.catalogue.cards import Catalogue
from callsheet.core.consent import Means, Mode, Policy
from callsheet.core.tasks import SheetState, TaskState
from callsheet.edges.files.files import remove_private
from callsheet.edges.files.paths import load_registered
from callsheet.edges.keys.passkeys import PASSKEYS_FILE
from callsheet.errors import NotApproved, SetupProblem
from callsheet.service import Service
from callsheet.surface.cli.console.session import Session
from callsheet.surface.cli.console.terminal import Terminal
from callsheet.surface.program import Program

ALL = 100_000


def ask_home(terminal: Terminal, program: Program) -> None:
    """Ask whether live mode may count in this place. Raises `NotApproved` for a no, `SetupProblem` without a home."""
    if program.account_home is None:
        raise SetupProblem(
            "The system names no home directory for this user, so live mode cannot be armed.",
            next_step="Let an administrator write the path of one into /etc/callsheet-home. Only root may write there.",
        )
    paths = program.paths
    terminal.write("\nPlace", style="bold")
    terminal.write(
        "HOME, XDG_* or CALLSHEET_HOME chose this place, not your system. A project can set these variables."
        " Register it only if you chose it and no agent can write there:",
        style="yellow",
    )
    for path in dict.fromkeys((paths.config, paths.data, paths.state)):
        terminal.write(f"  {path}")
    if not terminal.confirm("  Register it for live mode?"):
        raise NotApproved("Nothing was written.", next_step="Without it, only the sandbox can be used there.")


def ask_addresses(
    terminal: Terminal, program: Program, catalogue: Catalogue, policy: Policy
) -> tuple[tuple[str, str], ...]:
    """Ask for each address in the policy that is not the gateway's own and not yet registered; the agreed ones."""
    known = load_registered(program.account_home).addresses
    agreed = []
    for facts in catalogue.gateways if program.account_home is not None else ():
        url = policy.route(facts.id).destination(policy.base_url(facts.id) or facts.base_url)
        if not facts.key_env or (url == facts.base_url and not facts.own) or (facts.id, url) in known:
            continue
        not_to = "" if facts.own else f", not to {facts.base_url}"
        terminal.write(f"\nThe policy sends requests for {facts.name} to {url}{not_to}.", "yellow")
        if terminal.confirm(f"  May that address receive your key for {facts.name}?"):
            agreed.append((facts.id, url))
    return tuple(agreed)


def discard_consent(session: Session) -> None:
    """End every consent that this place holds. Raises `SetupProblem` or `LedgerProblem`."""
    paths, service = session.program.paths, session.service
    if paths.data.exists():
        _discard_from_ledger(service, paths.data)
    if (paths.config / PASSKEYS_FILE).exists():
        remove_private(paths.config / PASSKEYS_FILE, what="passkeys")


def _discard_from_ledger(service: Service, directory: Path) -> None:
    # Not as reports, which need a policy that counts.
    tasks = [task for task in service.task_records() if task.mode is Mode.LIVE]
    unsent = [task.id for task in tasks if task.state in (TaskState.WAITING, TaskState.SUBMITTING)]
    if unsent:
        raise SetupProblem(
            f"The ledger in {directory} holds live requests that are not yet sent ({', '.join(unsent[:5])}), so this"
            " place was not registered. Nothing was written.",
            next_step="Move the ledger to another place, then try again.",
        )
    for allowance in service.allowances():
        # Also one that covers nothing today: the new policy, or its mode, may fit it.
        if allowance.revoked_at is None:
            service.revoke(allowance.id, by=Means.TERMINAL)
    for sheet in service.sheets([SheetState.APPROVED], limit=ALL):
        service.decline(sheet.id, by=Means.TERMINAL)
