"""What a team's desk exports is verified elsewhere: every seal, every signature, and whose passkey made it."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from desk_team import URL, id_of, make_scripted

from callsheet.core.audit import AuditEntry, build_entry

SCRIPT = Path(__file__).parents[2] / "docs" / "verify_trail.py"
EVIDENCE = ("statement", "signature", "authenticator_data", "client_data", "public_key")
Acts = list[dict[str, Any]]


def verify(path: Path, *more: str) -> int:
    """The script's exit code."""
    return int(runpy.run_path(str(SCRIPT))["main"]([str(path), *more]))


def seal_anew(acts: Acts) -> str:
    """Those acts as a chain that holds, as somebody can build it who can write the database."""
    chain: list[AuditEntry] = []
    for act in acts:
        known = {name: act[name] for name in ("at", "actor", "action", "subject")}
        chain.append(build_entry(chain[-1] if chain else None, **known, detail=act["detail"]))
    return "".join(f"{json.dumps(asdict(entry))}\n" for entry in chain)


def find(acts: Acts, action: str) -> dict[str, Any]:
    """The first act of that kind."""
    return next(act for act in acts if act["action"] == action)


def change(action: str, **changes: str) -> Callable[[Acts], object]:
    """Other details of an act."""
    return lambda acts: find(acts, action)["detail"].update(changes)


def as_ada(acts: Acts) -> None:
    """Eva's approval in Ada's name."""
    find(acts, "approved")["detail"].update(person=id_of("ada"), who=f"passkey Phone of Ada ({id_of('ada')})")


def unsigned(action: str) -> Callable[[Acts], object]:
    """An act with nothing that proves it, in another actor's name."""

    def strip(acts: Acts) -> None:
        act = find(acts, action)
        act["detail"] = {name: value for name, value in act["detail"].items() if name not in EVIDENCE}
        act["actor"] = "desk"

    return strip


def remove_first(acts: Acts) -> None:
    """The passkey was removed before it approved."""
    removed = json.loads(json.dumps(find(acts, "passkey_registered"))) | {"action": "passkey_removed"}
    acts.insert(acts.index(find(acts, "approved")), removed)


ATTACKS: dict[str, Callable[[Acts], object]] = {
    "another person": as_ada,
    "a name beside the id": change("approved", who=f"passkey Phone of Ada ({id_of('ada')})"),
    "nobody": lambda acts: find(acts, "approved")["detail"].pop("person"),
    "an approval without a passkey": unsigned("approved"),
    "somebody let in without one": unsigned("let_in"),
    "a token without one": unsigned("agent_token_made"),
    "a passkey that was removed": remove_first,
    "a passkey that nobody added": lambda acts: acts.remove(find(acts, "passkey_registered")),
    "a larger budget": change("budget_set", terms="9000"),
    "a longer token": change("agent_token_made", terms="90"),
    "somebody else let in": lambda acts: find(acts, "let_in").update(subject=id_of("zed")),
}


@pytest.fixture
async def exported(tmp_path: Path, dsn: str, tenant: str) -> Path:
    """The export of a team where everything was signed that can be."""
    desk = make_scripted(tmp_path, dsn, tenant)
    eva, ada = desk.browser(), desk.browser()
    for browser, name, group in ((eva, "eva", "deciders"), (ada, "ada", "owners")):
        await browser.sign_in(name, group, fresh=True)
        assert (await browser.register()).status_code == 303
    assert (await eva.approve(desk.team.draft(desk.team.person("ann")))).status_code == 303
    budget = {"payer": "team default", "period": "day"}
    assert (await ada.act("/budgets", **budget, amount="5")).status_code == 303
    assert (await ada.post("/budgets", **budget, amount="4")).status_code == 303
    assert (await ada.act(f"/people/{id_of('ann')}/let-in")).status_code == 303
    assert (await ada.act("/agents", name="CI", days="30")).status_code == 200
    await ada.post("/pause")
    assert (await ada.act("/resume")).status_code == 303
    path = tmp_path / "audit.jsonl"
    path.write_text(await ada.read("/audit.jsonl"))
    desk.team.close()
    return path


def test_the_export_is_verified_and_says_who_signed(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For the desk at that address alone. A line that was changed breaks the seals, whatever is signed."""
    assert verify(exported, "--origin", URL) == 0
    said = capsys.readouterr().out
    assert f"1 by the passkey {said.split('by the passkey ')[1][:16]} of {id_of('eva')}." in said
    assert f" of {id_of('ada')}." in said
    assert verify(exported, "--origin", "https://other.example") == 1
    assert verify(exported) == 1
    exported.write_text(exported.read_text().replace("budget_set", "budget_sat", 1))
    assert verify(exported, "--origin", URL) == 1


def test_a_chain_built_anew_with_another_act_does_not_hold(exported: Path) -> None:
    """Each change alone; the same chain without one holds."""
    lines = [json.loads(line) for line in exported.read_text().splitlines()]
    text = json.dumps([{**line, "detail": json.loads(line["detail"])} for line in lines])
    exported.write_text(seal_anew(json.loads(text)))
    assert verify(exported, "--origin", URL) == 0
    for name, attack in ATTACKS.items():
        acts = json.loads(text)
        attack(acts)
        exported.write_text(seal_anew(acts))
        assert verify(exported, "--origin", URL) == 1, name
