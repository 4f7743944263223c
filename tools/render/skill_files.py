"""The skills of single gateways and the shell scripts as files: reads the written parts, has them filled in.

The written parts are in `templates/`.
"""

from __future__ import annotations

from pathlib import Path

from callsheet.core.catalogue.cards import Catalogue, GatewayFacts
from callsheet.core.gateway.protocol import SubmitParts, TaskRef
from callsheet.gateways import load_gateway

from .skills import SKILLS, Paths, ShellParts, narrow, write_api_page, write_facts_page, write_scripts, write_skill

TEMPLATES = Path(__file__).with_name("templates")


def build_skills(catalogue: Catalogue) -> dict[str, str]:
    """The scripts for all gateways that have a skill, and every skill, whole: path below the checkout -> text."""
    shell = ShellParts(*(_read_part(f"shell/{name}.sh") for name in ("wire", "submit", "check_task", "wrapper")))
    covered = {plan.gateway for plan in SKILLS}
    every = [(narrow(facts), _paths(facts)) for facts in catalogue.gateways if facts.id in covered]
    made = {f"scripts/{name}": text for name, text in write_scripts(shell, every).items()}
    for plan in SKILLS:
        whole = catalogue.gateway(plan.gateway)
        assert whole is not None
        facts, root = narrow(whole, plan.models), f"skill/{plan.name}"
        made[f"{root}/SKILL.md"] = write_skill(plan, _read_part(f"{plan.name}/SKILL.md"), facts)
        made[f"{root}/references/api.md"] = write_api_page(_read_part(f"{plan.name}/api.md"), facts)
        made[f"{root}/references/facts.md"] = write_facts_page(facts)
        scripts = write_scripts(shell, [(facts, _paths(facts))])
        made |= {f"{root}/scripts/{name}": text for name, text in scripts.items()}
    return made


def _read_part(name: str) -> str:
    return TEMPLATES.joinpath(name).read_text(encoding="utf-8")


def _paths(facts: GatewayFacts) -> Paths:
    gateway = load_gateway(facts.id)
    submit = gateway.build_submit(SubmitParts("MODEL", b"", idempotency_key=""))
    return Paths(submit.path, gateway.build_status(TaskRef("MODEL", "TASK_ID")).path)


__all__ = ["build_skills"]
