"""The skills of single gateways and the shell scripts, from templates and the catalogue.

The prose of a skill is written by hand, one template for each skill, in `templates/`. Tables, prices, availability
and the facts inside the scripts come from the catalogue, through marks such as `{{prices}}`. A skill's scripts know
only its own gateway, so a skill names no host and no variable that it does not use. Only the renderer calls this.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from callsheet.core.catalogue.cards import Availability, Catalogue, GatewayFacts, ModelCard
from callsheet.core.catalogue.fields import Field
from callsheet.core.catalogue.prices import dollars, price_clip
from callsheet.core.gateway.protocol import SubmitParts, TaskRef
from callsheet.core.shot import Shot
from callsheet.gateways import load_gateway

from .cards import NOT_DOCUMENTED, durations_of, format_price, format_values, render_gateway_cards, source_table
from .families import SORA, keep_line
from .markdown import code, document, table

TEMPLATES = Path(__file__).with_name("templates")

SHUTDOWN = (
    "OpenAI shut Sora 2 down on 2026-09-24. Whether {name} still serves it is not known: a request may be refused,"
    " or fail after it was accepted."
)
COMPATIBILITY = (
    "Works as documentation alone. The scripts need a POSIX shell and curl, and check payloads with the callsheet"
    " command where it is installed."
)
NEEDS_CURL = """\
    requires:
      bins:
        - curl
"""

_SHELL_PARTS = ("wire", "text", "payload", "submit", "check_task", "wrapper")
_MARK = re.compile(r"\{\{([a-z_]+)(?: ([a-z0-9-]+))?\}\}")
KEY_MARK = re.compile(r"\[([a-z0-9-]+)\](?!\()")


@dataclass(frozen=True, slots=True)
class SkillPlan:
    """One installable skill: its name, its gateway, the models that it covers, the main one first."""

    name: str
    gateway: str
    models: tuple[str, ...]


SKILLS = (
    SkillPlan("poyo-sora-2-official-api", "poyo", ("sora-2-official", "sora-2-beta")),
    SkillPlan("poyo-sora-2-pro-official-api", "poyo", ("sora-2-pro-official",)),
    SkillPlan("apidot-sora-2-official-api", "apidot", ("sora-2-official", "sora-2-pro-official")),
    SkillPlan("apixo-sora-2-api", "apixo", ("sora-2", "sora-2-pro")),
    SkillPlan("evolink-sora-2-api", "evolink", ("sora-2-preview",)),
    SkillPlan("evolink-sora-2-pro-api", "evolink", ("sora-2-pro-preview",)),
)


@dataclass(frozen=True, slots=True)
class ShellParts:
    """The shell sources with their marks."""

    wire: str
    text: str
    payload: str
    submit: str
    check_task: str
    wrapper: str


@dataclass(frozen=True, slots=True)
class RequestPaths:
    """Where a gateway is asked, with `MODEL` and `TASK_ID` in their places."""

    submit: str
    status: str


@dataclass(frozen=True, slots=True)
class _Spelling:
    """Where a reply has its task id, its state and its links."""

    task_id: str
    state: str
    link: str


_SPELLINGS = {
    "poyo": _Spelling("task_id", "status", "file_url"),
    "apidot": _Spelling("task_id", "status", "file_url"),
    "apixo": _Spelling("taskId", "state", "resultUrls"),
    "evolink": _Spelling("id", "status", "results"),
}


def build_skills(catalogue: Catalogue) -> dict[str, str]:
    """The scripts for all gateways that have a skill, and every skill: path below the checkout -> text."""
    shell = ShellParts(*(_read_part(f"shell/{name}.sh") for name in _SHELL_PARTS))
    covered = {plan.gateway for plan in SKILLS}
    every = [(narrow(keep_line(facts, SORA)), _paths(facts)) for facts in catalogue.gateways if facts.id in covered]
    files = {f"scripts/{name}": text for name, text in render_scripts(shell, every).items()}
    for plan in SKILLS:
        whole = catalogue.gateway(plan.gateway)
        assert whole is not None
        facts, root = narrow(whole, plan.models), f"skill/{plan.name}"
        files[f"{root}/SKILL.md"] = render_skill(plan, _read_part(f"{plan.name}/SKILL.md"), facts)
        files[f"{root}/references/api.md"] = render_api_page(_read_part(f"{plan.name}/api.md"), facts)
        files[f"{root}/references/facts.md"] = render_facts_page(facts)
        scripts = render_scripts(shell, [(facts, _paths(facts))])
        files |= {f"{root}/scripts/{name}": text for name, text in scripts.items()}
    return files


def render_scripts_page(catalogue: Catalogue) -> str:
    """`references/scripts.md`: which script submits to which model, and for whom they are."""
    targets: dict[str, list[str]] = {}
    for facts in catalogue.gateways:
        for card in narrow(keep_line(facts, SORA)).models:
            targets.setdefault(wrapper_name(card.model), []).append(card.id)
    return document(
        "# Shell scripts for Sora",
        "Open this when a person wants to submit a prepared Sora payload from a trusted shell without the program.",
        "Each sends one payload once, without the program's caps and record, after the person typed PAY at a terminal"
        " and only if their policy says live. They are no way for an agent to submit. For an agent: `--dry-run` needs"
        " no key or network, and `scripts/check_task.sh` only reads. Other models have no script; use `callsheet`.",
        SHUTDOWN.format(name="a gateway"),
        table(
            ("Script", "Model"),
            [(code(f"scripts/{name}"), ", ".join(map(code, ids))) for name, ids in targets.items()],
        ),
        "Where there are two models, `--gateway` selects the second. All call `scripts/submit.sh` (`--help` lists the"
        " exit codes), with `scripts/wire.sh`, `scripts/text.sh` and `scripts/payload.sh` beside it.",
    )


def _read_part(name: str) -> str:
    return TEMPLATES.joinpath(name).read_text(encoding="utf-8")


def _paths(facts: GatewayFacts) -> RequestPaths:
    gateway = load_gateway(facts.id)
    submit = gateway.build_submit(SubmitParts("MODEL", b"", idempotency_key=""))
    return RequestPaths(submit.path, gateway.build_status(TaskRef("MODEL", "TASK_ID")).path)


def narrow(facts: GatewayFacts, models: Sequence[str] | None = None) -> GatewayFacts:
    """A gateway with these models alone, in this order; without a list, with those that may answer."""
    if models is None:
        kept = tuple(card for card in facts.models if card.lifecycle.availability is not Availability.DROPPED)
    else:
        kept = tuple(card for model in models for card in facts.models if card.model == model)
    return replace(facts, models=kept)


def render_skill(plan: SkillPlan, part: str, facts: GatewayFacts) -> str:
    """`SKILL.md`: frontmatter, then the written part with its marks filled in. The part's first line describes."""
    description, _, body = part.partition("\n")
    front = render_front(
        plan, description, facts, works=COMPATIBILITY, key_use="for live requests only", requires=NEEDS_CURL
    )
    return f"{front}\n{fill(body.lstrip(), facts)}"


def render_api_page(part: str, facts: GatewayFacts) -> str:
    """`references/api.md`: requests, answers, callbacks and errors."""
    return fill(part, facts)


def render_facts_page(facts: GatewayFacts) -> str:
    """`references/facts.md`: each model's card, and the sources that it names."""
    models = ", ".join(code(card.model) for card in facts.models)
    # The page of a gateway, without its own title and opening.
    cards = render_gateway_cards(facts).split("\n\n", 2)[2].rstrip()
    named = set(KEY_MARK.findall(cards)) | {
        key for card in facts.models for conflict in card.conflicts for key in conflict.sources
    }
    return document(
        f"# {facts.name}: what is known of {models}, and whose word it is",
        "Open this to see where a fact was read and how old it is, what is written when a field is left open, and"
        f" where sources disagree. As of {facts.as_of}; keys in brackets are those of the last table.",
        cards,
        "## Sources",
        source_table(source for key, source in facts.sources.items() if key in named),
    )


def fill(part: str, facts: GatewayFacts) -> str:
    """The part with every mark replaced; KeyError for a mark that is none."""
    return _MARK.sub(lambda mark: _FILLERS[mark[1]](facts, mark[2] or facts.models[0].model), part)


def render_scripts(parts: ShellParts, gateways: Sequence[tuple[GatewayFacts, RequestPaths]]) -> dict[str, str]:
    """`submit.sh`, `check_task.sh`, their parts, and a `submit_<model>.sh` for each model: name -> text."""
    first = gateways[0][0]
    alone = len(gateways) == 1
    wire = _replace(
        parts.wire,
        branches="\n".join(_render_branch(facts, paths) for facts, paths in gateways),
        gateways=", ".join(facts.id for facts, _ in gateways),
    )
    marks = {
        "usage": "\n".join(_usage_line(facts) for facts, _ in gateways),
        "shutdown": SHUTDOWN.format(name="$title"),
        "first_wrapper": wrapper_name(first.models[0].model),
        "default_gateway": first.id if alone else "",
        "default_model": first.models[0].model if alone else "",
        "gateway_default": f" (default: {first.id})" if alone else "",
    }
    scripts = {
        "submit.sh": _replace(parts.submit, **marks),
        "check_task.sh": _replace(parts.check_task, **marks),
        "wire.sh": wire,
        "text.sh": parts.text,
        "payload.sh": _replace(parts.payload, **marks),
    }
    for facts, _ in gateways:
        for card in facts.models:
            text = _replace(parts.wrapper, model=card.model, title=facts.name, gateway=facts.id)
            # Two brands share ids: the script names the first, --gateway selects the other.
            scripts.setdefault(wrapper_name(card.model), text)
    return scripts


def wrapper_name(model: str) -> str:
    """The script that submits to that model: `submit_sora_2_pro_official.sh`."""
    return f"submit_{re.sub('[/-]', '_', model)}.sh"


def render_front(
    plan: SkillPlan, description: str, facts: GatewayFacts, *, works: str, key_use: str, requires: str = ""
) -> str:
    """The front matter; `works` says with what the skill works, `key_use` what the gateway's key is for."""
    return f"""\
---
name: {plan.name}
description: {description.strip()}
license: MIT-0
compatibility: {works}
metadata:
  openclaw:
    primaryEnv: {facts.key_env}
{requires}    envVars:
      - name: {facts.key_env}
        required: false
        description: {facts.name} key, {key_use}. Set by a person, never pasted into a chat.
---
"""


def _replace(text: str, **marks: str) -> str:
    for name, value in marks.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def _card(facts: GatewayFacts, model: str) -> ModelCard:
    return next(card for card in facts.models if card.model == model)


def _fill_fields(facts: GatewayFacts, model: str) -> str:
    rows = [
        (
            code(field.name),
            "yes" if field.required else "no",
            model if field.role == "model" else f"{field.kind}: {format_values(field)}",
            _format_default(field),
        )
        for field in _card(facts, model).fields
    ]
    return table(("Field", "Required", "Takes", "Default"), rows)


def _format_default(field: Field) -> str:
    if field.default is None:
        return "not stated"
    plain = str(field.default).lower()
    others = [limit.default for limit in field.limits if limit.default is not None]
    return f"{plain}; with an image {others[0]}" if others else plain


def _fill_prices(facts: GatewayFacts, model: str) -> str:
    card = _card(facts, model)
    rule = card.price
    source = facts.sources[rule.source]
    origin = f"Read in [{source.title}]({source.url}), {rule.as_of}. {rule.note}".strip()
    if not rule.amounts:
        return f"Not documented. {origin}"
    resolutions = [key for key in rule.amounts if rule.keys == ("resolution",)] or [""]
    rows = [
        (resolution or "any", *(_clip_price(card, seconds, resolution) for seconds in durations_of(card)))
        for resolution in resolutions
    ]
    heads = ("US dollars a clip", *(f"{seconds} s" for seconds in durations_of(card)))
    return f"{table(heads, rows)}\n\n{origin} The account page shows the actual charge."


def _clip_price(card: ModelCard, seconds: int, resolution: str) -> str:
    price = price_clip(card, Shot.of(duration_seconds=seconds, resolution=resolution or None))
    own = "" if price.unit == "USD" else f" ({price.amount.normalize():f} {price.unit})"
    return f"{dollars(price.usd)}{own}" if price.usd is not None else f"{price.amount} {price.unit}"


def _fill_availability(facts: GatewayFacts, model: str) -> str:
    """The gateway's own latest statement about the model; `{{shutdown}}` covers what others said."""
    card = _card(facts, model)
    life, own = card.lifecycle, facts.last_word(card)
    said = f"{facts.name}'s last word ({own.date}): {own.text} " if own else ""
    return f"{said}Availability: {life.availability.value}."


def _fill_shutdown(facts: GatewayFacts, _: str) -> str:
    return SHUTDOWN.format(name=facts.name)


def _fill_every(facts: GatewayFacts, model: str) -> str:
    return f"{_card(facts, model).poll.every_seconds:g} s"


def _fill_kept(facts: GatewayFacts, model: str) -> str:
    return _kept(_card(facts, model))


def _kept(card: ModelCard) -> str:
    hours = card.retention.result_hours
    return f"{hours} hours" if hours else NOT_DOCUMENTED


def _fill_errors(facts: GatewayFacts, _: str) -> str:
    rows = [(str(fact.status or ""), code(fact.code), fact.meaning, fact.advice) for fact in facts.errors]
    return table(("HTTP", "Code", "Meaning", "What to do"), rows)


_FILLERS: Mapping[str, Callable[[GatewayFacts, str], str]] = {
    "fields": _fill_fields,
    "prices": _fill_prices,
    "availability": _fill_availability,
    "shutdown": _fill_shutdown,
    "errors": _fill_errors,
    "every": _fill_every,
    "kept": _fill_kept,
}


def _usage_line(facts: GatewayFacts) -> str:
    return f"  {facts.id:<8} {', '.join(card.model for card in facts.models)}; {facts.key_env}"


def _render_branch(facts: GatewayFacts, paths: RequestPaths) -> str:
    """One branch of the scripts' `know_gateway`."""
    spelling = _SPELLINGS[facts.id]
    in_path = "MODEL" in paths.submit
    cards = "\n".join(_render_card_branch(card) for card in facts.models)
    return f"""\
\t{facts.id})
\t\ttitle={shlex.quote(facts.name)} origin={facts.base_url} models='{" ".join(card.model for card in facts.models)}'
\t\tsubmit_path="{_shell_path(paths.submit)}" status_path="{_shell_path(paths.status)}"
\t\tkey_name={facts.key_env} key_page={facts.key_page} key=${{{facts.key_env}:-}}
\t\tunset {facts.key_env}
\t\tmodel_in={"path" if in_path else "body"} id_name={spelling.task_id}
\t\tstate_name={spelling.state} link_name={spelling.link}
\t\tcase $model in
{cards}
\t\tesac
\t\t;;"""


def _render_card_branch(card: ModelCard) -> str:
    return (
        f"\t\t{card.model})\n"
        f"\t\t\tprice={shlex.quote(format_price(card.price))}\n"
        f"\t\t\tkept='{_kept(card)}' every={card.poll.every_seconds:g} ;;"
    )


def _shell_path(path: str) -> str:
    return path.replace("MODEL", "$model").replace("TASK_ID", "${task:-}")


__all__ = [
    "KEY_MARK",
    "SKILLS",
    "TEMPLATES",
    "RequestPaths",
    "ShellParts",
    "SkillPlan",
    "build_skills",
    "fill",
    "narrow",
    "wrapper_name",
    "render_api_page",
    "render_facts_page",
    "render_scripts",
    "render_scripts_page",
    "render_skill",
]
