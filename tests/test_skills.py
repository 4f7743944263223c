"""The skills: each installable alone, whole, within the formats' rules, different from the others, and true."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest

import callsheet
from callsheet.core.catalogue.cards import Availability, GatewayFacts
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.sandbox.checks import check_body
from callsheet.surface.cli.application import COMMANDS
from render.__main__ import build_documents, find_stale, render
from render.cards import format_values
from render.families import SORA, line_of
from render.skills import SKILLS, SkillPlan, fill, narrow, wrapper_name
from render.video_skills import BRIEF, VIDEO_SKILLS, video_cards

ROOT = Path(callsheet.__file__).parents[2]
FIELDS = {"name", "description", "license", "compatibility", "metadata"}
AFFIXES = "openclaw|clawhub|clawd|clawdbot|official|verified|staff|admin|moderator"
TRIPWIRES = (
    r"(?i)ignore (?:all |any )?previous instructions",
    r"(?i)system prompt\s*:",
    r"(?i)you are now a",
    r"\bsk-[A-Za-z0-9]",
    r"(?i)always:\s*true",
    r"verify=False",
    r"(?i)\bcurl\b[^\n]*\|\s*(?:ba|z)?sh\b",
    r"@latest",
    r"[A-Za-z0-9+/=]{200,}",
    r"[A-Z]+_API_KEY\s*[=:]\s*[A-Za-z0-9]",
    r"(?i)expert guidance for|step-by-step tutorials|tips and techniques",
    r"<!--",
    r"\{\{",
)


def skill_id(plan: SkillPlan) -> str:
    return plan.name


def folder(plan: SkillPlan) -> Path:
    return ROOT / "skill" / plan.name


def facts_of(plan: SkillPlan) -> GatewayFacts:
    facts = load_catalogue().gateway(plan.gateway)
    assert facts is not None
    return narrow(facts, plan.models or [card.model for card in video_cards(facts)])


def read(plan: SkillPlan, name: str = "SKILL.md") -> str:
    return (folder(plan) / name).read_text(encoding="utf-8")


def shipped(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


every_skill = pytest.mark.parametrize("plan", [*SKILLS, *VIDEO_SKILLS], ids=skill_id)
every_sora_skill = pytest.mark.parametrize("plan", SKILLS, ids=skill_id)
every_video_skill = pytest.mark.parametrize("plan", VIDEO_SKILLS, ids=skill_id)


def test_the_folders_are_what_would_be_rendered_now() -> None:
    """No file is missing, stale, unrunnable or left over; nothing is a link."""
    expected = {name for name in build_documents() if name.startswith(("skill/", "scripts/"))}
    there = {str(path.relative_to(ROOT)) for name in ("skill", "scripts") for path in shipped(ROOT / name)}

    assert not [name for name in find_stale(ROOT) if name in expected]
    assert {name for name in there if not name.startswith("skill/evals/")} == expected
    assert not [path for name in ("skill", "scripts") for path in (ROOT / name).rglob("*") if path.is_symlink()]


def test_a_script_that_cannot_be_run_or_became_a_link_is_out_of_date(tmp_path: Path) -> None:
    """Rendering repairs both."""
    render(tmp_path)
    (tmp_path / "scripts/submit.sh").chmod(0o644)
    link = tmp_path / "scripts/check_task.sh"
    link.unlink()
    link.symlink_to(ROOT / "scripts/check_task.sh")

    assert find_stale(tmp_path) == ["scripts/submit.sh", "scripts/check_task.sh"]
    render(tmp_path)
    assert not link.is_symlink()
    assert find_stale(tmp_path) == []


def test_every_model_that_may_answer_has_a_skill_and_a_script() -> None:
    """None that was dropped; scripts are for Sora alone."""
    kept = [card for card in load_catalogue().cards if card.lifecycle.availability is not Availability.DROPPED]
    covered = {card.id for plan in VIDEO_SKILLS for card in facts_of(plan).models}

    assert covered == {card.id for card in kept if line_of(card) != SORA}
    assert {f"{plan.gateway}/{model}" for plan in SKILLS for model in plan.models} == {
        card.id for card in kept if line_of(card) == SORA
    }
    assert {plan.gateway for plan in VIDEO_SKILLS} == {facts.id for facts in load_catalogue().gateways}
    for plan in SKILLS:
        for model in plan.models:
            assert (folder(plan) / "scripts" / wrapper_name(model)).is_file()
            assert (ROOT / "scripts" / wrapper_name(model)).is_file()


@every_skill
def test_a_skill_is_within_the_format(plan: SkillPlan) -> None:
    """Closed set of fields, a legal name that is the folder's, block YAML, declared variables, bounded length."""
    _, front, body = read(plan).split("---\n", maxsplit=2)
    fields = dict(re.findall(r"^([a-z-]+):(.*)$", front, re.MULTILINE))
    description = fields["description"].strip()
    facts = facts_of(plan)

    assert set(fields) == FIELDS
    assert fields["name"].strip() == plan.name == folder(plan).name
    assert re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*", plan.name)
    assert len(plan.name) <= 64
    assert not re.search(rf"^(?:{AFFIXES})-|-(?:{AFFIXES})$", plan.name)
    assert 50 <= len(description) <= 1024
    assert description.startswith("Use this skill when")
    assert ": " not in description
    assert not set("<>{}[]") & set(front)
    assert f"primaryEnv: {facts.key_env}\n" in front
    assert "required: true" not in front
    assert ("      bins:\n        - curl\n" in front) == bool(plan.models)
    assert len(read(plan).splitlines()) < 200
    assert len(read(plan)) < 10_000
    assert len(body.split()) >= 80
    assert body.count("\n## ") >= 2
    assert body.count("\n- ") >= 3


@every_skill
def test_a_bundle_holds_nothing_that_scanners_and_readers_trip_over(plan: SkillPlan) -> None:
    """No hidden text, no sample key, no phrase of an attack, bounded sizes; only what it declares."""
    facts = facts_of(plan)
    others = [other for other in load_catalogue().gateways if other.id != plan.gateway]
    total = 0
    for path in shipped(folder(plan)):
        text = path.read_text(encoding="utf-8")
        total += len(text)
        assert not [hit for pattern in TRIPWIRES if (hit := re.search(pattern, text))], path
        assert not [letter for letter in text if unicodedata.category(letter) in ("Cf", "Co", "Cs")], path
        assert set(re.findall(r"[A-Z]+_API_KEY", text)) <= {facts.key_env}, path
        assert not [other.base_url for other in others if other.base_url in text], path
        assert len(text) <= 10_000, path
    assert total <= 50_000


@every_skill
def test_a_skill_names_its_host_its_scripts_and_its_references(plan: SkillPlan) -> None:
    """Every file that ships is spoken of, and every file that is spoken of ships."""
    text = read(plan)
    named = set(re.findall(r"(?:references|scripts)/[a-z0-9_-]+\.(?:md|sh)", text))
    there = {str(path.relative_to(folder(plan))) for path in shipped(folder(plan))} - {"SKILL.md"}

    assert facts_of(plan).base_url.removeprefix("https://") in text
    assert named <= there
    assert there - named <= {f"scripts/{name}.sh" for name in ("submit", "wire", "text", "payload")}
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        assert (folder(plan) / target).is_file(), target
    commands = {command.name for command in COMMANDS}
    assert set(re.findall(r"`callsheet ([a-z]+)", text)) <= commands


@every_sora_skill
def test_the_shutdown_is_told_before_any_price(plan: SkillPlan) -> None:
    """Whoever reads a price has read that the model may be gone."""
    _, _, body = read(plan).split("---\n", maxsplit=2)

    assert body.index("2026-09-24") < body.index("\n## ")
    assert body.index("2026-09-24") < body.index("rice")


@every_sora_skill
def test_a_skill_tells_every_field_value_and_price_of_its_models(plan: SkillPlan) -> None:
    """As the catalogue has them, with date and source of the price."""
    everything = read(plan) + read(plan, "references/facts.md")
    for card in facts_of(plan).models:
        assert f"`{card.model}`" in everything
        assert card.lifecycle.summary in everything
        assert card.price.note in everything
        assert card.price.as_of in read(plan)
        assert all(f"`{field.name}`" in everything and format_values(field) in everything for field in card.fields)
        assert all(conflict.choice in everything for conflict in card.conflicts)
    errors = read(plan, "references/api.md")
    assert all(fact.meaning.replace("|", "\\|") in errors for fact in facts_of(plan).errors)


@every_video_skill
def test_a_video_skill_tells_every_field_value_and_price_of_its_models(plan: SkillPlan) -> None:
    """As the catalogue has them; the shutdown and the availability before any price."""
    facts, text = facts_of(plan), read(plan)
    pages = "".join(path.read_text(encoding="utf-8") for path in shipped(folder(plan)))
    sources = read(plan, "references/sources.md")

    assert re.search(r"(?i)unverified|no proof", text[: text.index("| Line | ")])
    assert "2026-09-24" in text[: text.index("| Line | ")]
    for card in facts.models:
        assert f"`{card.model}`" in pages
        assert card.lifecycle.summary in pages
        assert card.price.as_of in pages
        assert all(f"`{field.name}`" in pages for field in card.fields if field.role != "model")
        assert all(format_values(field) in pages for field in card.fields if field.role not in ("model", "input"))
        assert plan.gateway in BRIEF or all(field.note in pages for field in card.fields)
    assert all(f"| {key} | " in sources for key in re.findall(r"\[([a-z0-9-]+)\](?!\()", pages))
    assert all(fact.meaning.replace("|", "\\|") in pages for fact in facts.errors)


@every_skill
def test_every_example_payload_is_one_that_the_gateway_would_take(plan: SkillPlan) -> None:
    """Judged by the sandbox's own check, against the model that it names or that its fields fit."""
    facts = facts_of(plan)
    found = 0
    for name in ("SKILL.md", "references/api.md"):
        for block in re.findall(r"```json\n(.*?)```", read(plan, name), re.DOTALL):
            body = json.loads(block)
            if "prompt" not in body and "prompt" not in body.get("input", {}):
                continue
            found += 1
            cards = [card for card in facts.models if body.get("model", card.model) == card.model]
            assert any(check_body(card, body) == () for card in cards), (name, body)
    assert found >= 2


def test_bodies_really_differ() -> None:
    """No two have the same shape in their first eighty lines, and they share few sentences."""
    shapes, sentences = set(), {}
    for plan in (*SKILLS, *VIDEO_SKILLS):
        _, _, body = read(plan).split("---\n", maxsplit=2)
        lines = [line for line in body.splitlines() if line.strip()]
        shapes.add(tuple(shape(line) for line in lines[:80]))
        sentences[plan.name] = {line for line in lines if len(line) > 40 and not line.startswith(("|", "{", " "))}

    assert len(shapes) == len(sentences)
    for plan in (*SKILLS, *VIDEO_SKILLS):
        others = set().union(*(lines for name, lines in sentences.items() if name != plan.name))
        assert len(sentences[plan.name] & others) <= len(sentences[plan.name]) / 10


def shape(line: str) -> str:
    """Heading level, bullet, number or paragraph, with a bucket of its length in words."""
    mark = re.match(r"#+|[-*]|\d+\.|\|", line)
    return f"{mark[0] if mark else 'p'}{min(len(line.split()) // 5, 6)}"


@every_skill
def test_what_must_never_be_done_and_what_must_be_told_stands_in_every_skill(plan: SkillPlan) -> None:
    """Keys, unasked calls, callbacks, lost answers; task id and next step in the report."""
    text = read(plan)

    for needle in ("explain_payload", "submit_video", "callback_url"):
        assert needle in text, needle
    for needle in ("PAY", "check_task.sh") if plan.models else ("passphrase", "pload", "mode"):
        assert needle in text, needle
    for pattern in (
        r"(?i)never ask for|do not ask|never request",
        r"(?i)unknown",
        r"(?i)signature|signed",
        r"(?i)next step|next",
    ):
        assert re.search(pattern, text), pattern


def test_no_text_for_agents_names_a_flag_that_pays() -> None:
    """The scripts have none: a person types PAY at a terminal."""
    texts = [ROOT / "SKILL.md", *ROOT.glob("skill/*/*.md"), *ROOT.glob("skill/*/references/*.md")]
    scripts = [*ROOT.glob("scripts/*.sh"), *ROOT.glob("skill/*/scripts/*.sh")]

    assert not [path for path in texts + scripts if "--yes" in path.read_text(encoding="utf-8")]


def test_a_reference_names_every_script() -> None:
    """And none that is not there; each is short enough to be read whole by a registry."""
    named = set(re.findall(r"scripts/[a-z0-9_]+\.sh", (ROOT / "references/scripts.md").read_text(encoding="utf-8")))

    assert named == {f"scripts/{path.name}" for path in (ROOT / "scripts").iterdir()}
    assert max(len(path.read_text(encoding="utf-8")) for path in (ROOT / "scripts").iterdir()) <= 10_000


def test_a_mark_that_is_none_is_a_mistake() -> None:
    """It must not be shipped as text."""
    with pytest.raises(KeyError):
        fill("{{nonsense}}", facts_of(SKILLS[0]))


def test_the_umbrella_skill_leads_an_agent_past_its_traps() -> None:
    """The mode first; a way on where Sora does not answer; no upload; a passphrase is treated as a key is."""
    text = (ROOT / "SKILL.md").read_text(encoding="utf-8")
    front = text.split("---\n")[1]
    recipe = re.findall(r"^callsheet ([a-z]+)", text, re.MULTILINE)

    assert text.index("## First, the mode") < text.index("## Workflow")
    assert all(name in front for name in ("Sora 2", "Seedance", "Kling", "Wan", "Veo", "Hailuo", "Runway"))
    assert "If Sora does not answer" in text
    assert re.search(r"(?i)never upload a person's file", text)
    assert re.search(r"API key or the approval passphrase\. If either is pasted", text)
    assert len(recipe) == 6
    assert set(recipe) == {"models", "explain", "submit", "get"}


def test_the_evaluations_are_in_the_known_format() -> None:
    """Forty queries, half of them near misses; tasks with what is to be seen."""
    triggers = json.loads((ROOT / "skill/evals/triggers.json").read_text(encoding="utf-8"))
    tasks = json.loads((ROOT / "skill/evals/evals.json").read_text(encoding="utf-8"))

    assert len(triggers) == len({item["query"] for item in triggers}) == 40
    assert all(set(item) == {"query", "should_trigger"} for item in triggers)
    assert sum(item["should_trigger"] for item in triggers) == 20
    assert tasks["skill_name"] == "callsheet"
    assert len({item["id"] for item in tasks["evals"]}) == len(tasks["evals"]) >= 16
    for item in tasks["evals"]:
        assert set(item) == {"id", "prompt", "expected_output", "assertions"}
        assert len(item["assertions"]) >= 3
