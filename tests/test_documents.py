"""The documents: what is generated is up to date, and what is written by hand tells the truth about the program."""

from __future__ import annotations

import itertools
import json
import re
import tomllib
import unicodedata
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

import callsheet
from callsheet.core.catalogue.cards import Availability, GatewayFacts, ModelCard
from callsheet.core.catalogue.fields import Field
from callsheet.core.consent import Policy
from callsheet.core.tasks import TASK_TABLE, TaskState
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.edges.config.mcp_hosts import QUESTIONS, TITLES, Host
from callsheet.edges.config.policy_form import render_policy
from callsheet.edges.process.installed import PACKAGE
from callsheet.sandbox.faults import FAULTS
from callsheet.surface.cli.application import COMMANDS
from callsheet.surface.views.cards import choices_of
from cases import cases
from render.__main__ import REMEDY, build_documents, find_stale, main, render
from render.cards import render_card
from render.families import line_of
from render.markdown import cell, document, paged, table
from render.references import render_diagram
from render.security import load_guarantees, read_guarantees

ROOT = Path(callsheet.__file__).parents[2]
REFERENCES = sorted((ROOT / "references").glob("*.md"))
PAGES = sorted(ROOT.glob("*.md"))
DOCS = sorted((ROOT / "docs").glob("*.md"))
LONGEST = 10_000
DOCUMENTS = build_documents()


KEPT = [card for card in load_catalogue().cards if card.lifecycle.availability is not Availability.DROPPED]
SHUT = re.compile(r"OpenAI (?:shut|ended)|2026-09-24")


def text_of(path: Path) -> str:
    """A document that is there."""
    return path.read_text(encoding="utf-8")


def read(name: str) -> str:
    """A document of the checkout."""
    return (ROOT / name).read_text(encoding="utf-8")


@cases("name", DOCUMENTS)
def test_a_generated_document_is_what_would_be_written_now(name: str) -> None:
    """The catalogue and the tables are the source; the committed text follows them."""
    assert read(name) == DOCUMENTS[name], f"{name} is out of date. {REMEDY}"


def test_rendering_writes_what_is_missing_and_then_nothing(tmp_path: Path) -> None:
    """Only what differs is touched."""
    written = render(tmp_path)
    (tmp_path / written[0]).write_text("old\n", encoding="utf-8")

    (tmp_path / "references/fields-poyo-99.md").write_text("a page too many\n", encoding="utf-8")

    assert written == list(DOCUMENTS)
    assert find_stale(tmp_path) == [*written[:1], "references/fields-poyo-99.md"] == render(tmp_path)
    assert render(tmp_path) == []


def test_checking_writes_nothing_and_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 for what is out of date, 2 for arguments that are none."""
    assert main([str(tmp_path), "--check"]) == 1
    assert list(tmp_path.iterdir()) == []
    told = capsys.readouterr()
    assert "out of date: references/models.md" in told.out
    assert REMEDY in told.err
    assert main([str(tmp_path)]) == 0
    assert main([str(tmp_path), "--check"]) == 0
    assert main(["--chekc"]) == 2
    assert "up to date" in capsys.readouterr().out


@cases("card", load_catalogue().cards, ids=lambda card: card.id)
def test_a_card_tells_every_fact_with_a_source_that_it_lists(card: ModelCard) -> None:
    """Fields, price, availability, evidence, conflicts; each key in brackets stands in the list of sources."""
    text = render_card(load_catalogue(), card)

    assert all(f"`{field.name}`" in text for field in card.fields)
    assert card.lifecycle.availability.value in text
    assert card.lifecycle.summary in text
    assert card.price.as_of in text
    assert all(item.text in text for item in card.lifecycle.evidence)
    assert all(cell(conflict.choice) in text for conflict in card.conflicts)
    for key in re.findall(r"\[([a-z0-9-]+)\](?!\()", text):
        assert f"| {key} | " in text


@cases("facts", load_catalogue().gateways, ids=lambda facts: facts.id)
def test_a_gateways_pages_leave_no_model_and_no_allowed_value_out(facts: GatewayFacts) -> None:
    """Models that may answer with each field and value; those that were dropped by name."""
    pages = [*ROOT.glob(f"references/fields-{facts.id}*.md"), ROOT / f"references/sora-{facts.id}.md"]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)

    for card in facts.models:
        assert f"`{card.model}`" in text
        if card.lifecycle.availability is not Availability.DROPPED:
            assert all(value in text for field in card.fields for value in values_of(field))


@cases("card", KEPT, ids=lambda card: card.id)
def test_a_familys_page_compares_every_model_that_may_answer(card: ModelCard) -> None:
    """Lengths, price with its date, availability, and a fact's source behind each key."""
    pages = [page.read_text(encoding="utf-8") for page in ROOT.glob(f"references/family-{line_of(card)}*.md")]
    text = "".join(pages)
    row = next(line for line in text.splitlines() if line.startswith(f"| `{card.id}` | "))
    sources = "".join(read(f"references/sources-{facts.id}.md") for facts in load_catalogue().gateways)

    assert f"| {card.lifecycle.availability.value}, " in row
    assert all(resolution in row for resolution in choices_of(card).resolutions)
    assert card.price.as_of in text
    assert all(item.text in text for item in card.lifecycle.evidence)
    assert all(f"| {key} | " in sources for key in re.findall(r"\[([a-z0-9-]+)\](?!\()", text))


@cases("card", KEPT, ids=lambda card: card.id)
def test_a_familys_price_is_never_below_the_documented_one(card: ModelCard) -> None:
    """Rounded up where it has more decimals than are shown; unknown where nothing is known."""
    text = "".join(page.read_text(encoding="utf-8") for page in ROOT.glob(f"references/family-{line_of(card)}*.md"))
    lines = iter(text[text.index("## Price in US dollars") :].splitlines())
    first = next(line for line in lines if f"`{card.id}`" in line.split(" | ")[0])
    rest = itertools.takewhile(lambda line: line.startswith("|  | "), lines)
    shown = [line.split(" | ")[2] for line in (first, *rest)]
    amounts = [amount * (card.price.usd_per_unit or 0) for amount in card.price.amounts.values()]

    assert [said == "unknown" for said in shown] == [not amounts] * len(shown)
    for said, amount in zip(shown, amounts, strict=False):
        assert Decimal(0) <= Decimal(said) - amount < Decimal("0.0001")


def test_sora_alone_has_the_lines_about_its_end() -> None:
    """No page on other models says that they were shut down with it, and no script is for them."""
    told = [
        path.name for path in REFERENCES if path.name.startswith(("family-", "fields-")) and SHUT.search(text_of(path))
    ]

    assert told == ["family-sora.md"]
    assert all("sora" in name for name in DOCUMENTS if name.startswith("scripts/submit_"))


def test_a_text_of_any_length_becomes_pages_that_are_read_whole() -> None:
    """Blocks stay whole where they fit, a long table's heading is repeated, nothing is lost."""
    long = table(("A", "B"), [(f"row {number}", "x" * 50) for number in range(400)])
    pages = paged("page", "Title", "Open this to see.", ["first", long, "", "last"])

    assert list(pages)[:2] == ["page", "page-2"]
    assert max(map(len, pages.values())) <= LONGEST
    assert all(sum(f"| row {number} |" in text for text in pages.values()) == 1 for number in range(400))
    assert all("| A | B |\n| --- | --- |" in text for text in list(pages.values())[1:-1])
    assert all(f"[{name}.md]({name}.md)" in pages["page"] for name in list(pages)[1:])
    assert paged("page", "Title", "Open this to see.", ["a"]) == {"page": "# Title\n\nOpen this to see.\n\na\n"}


def test_a_price_without_a_rate_stays_in_the_gateways_own_unit() -> None:
    """No dollars are made up where no source says what a credit costs."""
    catalogue = load_catalogue()
    card = next(card for card in catalogue.cards if card.price.unit == "credits")

    text = render_card(catalogue, replace(card, price=replace(card.price, usd_per_unit=None)))

    assert "4 s: 48 credits" in text
    assert "0.24 USD (" not in text


def values_of(field: Field) -> list[str]:
    """Everything that a field may hold, as JSON has it."""
    values = (*field.values, *(value for limit in field.limits for value in limit.values))
    return [str(value).lower() if isinstance(value, bool) else str(value) for value in values]


def test_the_shutdown_is_told_before_any_price() -> None:
    """Of every page that names prices, the first that a reader meets included."""
    for name in ("README.md", "SKILL.md", "references/models.md", "docs/models.md"):
        text = read(name)
        assert "2026-09-24" in text
        assert text.index("2026-09-24") < (text.find(" USD") if " USD" in text else len(text)), name


def test_every_state_and_every_stage_direction_is_explained() -> None:
    """A row each."""
    states, sandbox = read("references/states.md"), read("references/sandbox.md")

    assert all(f"| `{state.value}` | " in states for state in TaskState)
    assert all(f"| `{fault.name}` | " in sandbox for fault in FAULTS)


def test_the_architecture_shows_the_life_of_a_task_as_it_is() -> None:
    """The diagram is the table's."""
    assert render_diagram(TASK_TABLE) in read("ARCHITECTURE.md")
    assert len(read("ARCHITECTURE.md").splitlines()) <= 130


def test_the_architecture_names_only_files_that_exist() -> None:
    """Modules in code marks are there."""
    named = re.findall(
        r"`((?:core|edges|gateways|service|surface|sandbox|tests)/[a-z_/]+(?:\.py|\.md|/)?)`", read("ARCHITECTURE.md")
    )

    assert named
    for name in named:
        place = ROOT / name if name.startswith("tests/") else ROOT / "server/callsheet" / name
        assert place.exists() or place.with_suffix(".py").exists(), name


@cases("path", [*REFERENCES, ROOT / "SKILL.md"], ids=lambda path: path.name)
def test_what_agents_read_is_plain_and_of_bounded_length(path: Path) -> None:
    """A title, a paragraph, no hidden text, not too long to be read at once."""
    text = path.read_text(encoding="utf-8")

    assert len(text) <= LONGEST
    assert "<!--" not in text
    assert not [letter for letter in text if unicodedata.category(letter) in ("Cf", "Co", "Cs") or letter == "\u00a0"]
    if path.parent.name == "references":
        title, paragraph = text.split("\n\n")[:2]
        assert re.fullmatch(r"# \S.*", title)
        assert paragraph.startswith("Open this ")


def test_the_skill_is_within_the_format() -> None:
    """The closed set of fields, a name, a description of the length that hosts take; 120 to 200 lines."""
    _, front, body = read("SKILL.md").split("---\n", maxsplit=2)
    fields = dict(re.findall(r"^([a-z-]+):(.*)$", front, re.MULTILINE))

    assert set(fields) <= {"name", "description", "license", "compatibility", "metadata"}
    assert fields["name"].strip() == "callsheet"
    assert 50 <= len(fields["description"].strip()) <= 1024
    assert fields["description"].strip().startswith("Use this skill when")
    assert ": " not in fields["description"].strip()
    assert not set("<>{}[]") & set(front)
    assert 120 <= len(read("SKILL.md").splitlines()) <= 200
    assert {gateway.key_env for gateway in load_catalogue().gateways} <= set(re.findall(r"[A-Z_]{8,}", front))
    assert all(gateway.base_url.removeprefix("https://") in body for gateway in load_catalogue().gateways)


def test_the_skill_says_when_to_open_every_reference() -> None:
    """And names none that is not there; the pages on models are named by their index, and by the pages before them."""
    named = set(re.findall(r"references/([a-z-]+\.md)", read("SKILL.md")))
    linked = {link for path in REFERENCES for link in re.findall(r"\]\(([a-z0-9-]+\.md)\)", text_of(path))}

    assert named == {path.name for path in REFERENCES if not re.match(r"(?:family|fields|sora|sources)-", path.name)}
    assert {path.name for path in REFERENCES} == named | linked


@cases("path", [*PAGES, *REFERENCES, *DOCS], ids=lambda path: path.name)
def test_commands_that_a_document_names_exist(path: Path) -> None:
    """The first word after `callsheet`."""
    commands = {command.name for command in COMMANDS}
    for word in re.findall(r"(?:`|bin/|&& |^)callsheet ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE):
        assert word in commands, word


def test_every_command_tool_and_key_is_in_the_document_for_it() -> None:
    """A stranger finds each of them there."""
    commands, tools, keys = read("docs/commands.md"), read("docs/agents.md"), read("docs/going-live.md")

    assert all(f"callsheet {command.name}" in commands for command in COMMANDS)
    assert all(f"| `{tool['name']}` | " in tools for tool in json.loads(read("manifest.json"))["tools"])
    assert all(
        f"| {gateway.name} | `{gateway.key_env}` | {gateway.key_page} |" in keys
        for gateway in load_catalogue().gateways
    )


def test_the_readme_is_short_and_leads_to_every_document() -> None:
    """What does not fit is one link away."""
    text = read("README.md")

    assert len(text.split()) <= 900
    assert [path.name for path in DOCS if f"(docs/{path.name})" not in text and path.name != "security-tests.md"] == []
    assert "(security-tests.md)" in read("docs/security.md")


def test_the_first_screen_answers_what_a_newcomer_asks() -> None:
    """What it is, for whom, what it costs, what happens first, Sora, proof; all before the first picture."""
    first = read("README.md").partition("![")[0]
    lead = first.split("\n\n")[1]

    assert lead.count(". ") == 0
    assert len(lead.split()) <= 40
    assert all(
        f"- **{asked}?**" in first for asked in ("For whom", "What does it cost", "What happens first", "Proven")
    )
    assert "2026-09-24" in first
    assert "make demo" in first
    assert "callsheet install" in first


def test_the_readme_names_the_models_that_were_listed_last() -> None:
    """The lines with a listing on the newest day of any, and the gateway of that listing."""
    listed = [card for card in load_catalogue().cards if card.lifecycle.availability is Availability.LISTED]
    newest = max(card.price.as_of for card in listed)
    lines = {line_of(card) for card in listed if card.price.as_of == newest}
    gateways = {card.gateway for card in listed if card.price.as_of == newest}
    told = re.search(r"^(\w+) listed these lines on ([0-9-]{10}): \*\*(.+?)\*\*", read("README.md"), re.MULTILINE)

    assert told is not None
    assert told[2] == newest
    assert {told[1].lower()} == gateways
    assert {name.lower().replace(" ", "-") for name in told[3].split(", ")} == lines


@cases("path", [ROOT / "README.md", *DOCS], ids=lambda path: path.name)
def test_models_that_a_document_names_are_in_the_catalogue(path: Path) -> None:
    """As `gateway/model`; an id that has gone would send a reader after nothing."""
    gateways = "|".join(facts.id for facts in load_catalogue().gateways)
    named = set(re.findall(rf"(?<![/\w.@])(?:{gateways})/[a-z][\w.-]*\w", path.read_text(encoding="utf-8")))

    assert named - {card.id for card in load_catalogue().cards} == set()


def test_the_ways_to_install_name_the_clone_or_the_package() -> None:
    """And hosts and files as the program knows them."""
    text = read("docs/install.md")
    ways = re.findall(
        r"(?:uvx|uv tool (?:un)?install|pipx (?:un)?install) (?:--from (?=\.))?(\S+?)`?(?:[ ,.]|$)",
        text + read("README.md"),
        re.MULTILINE,
    )

    assert set(ways) == {".", PACKAGE, "dist/*"}
    assert all(f"| {TITLES[host]} | `{host}` | " in text for host in Host)
    assert all(f"`{' '.join(question.split(' ')[:4])}" in text for question, _ in QUESTIONS.values())


def test_no_document_holds_a_key_or_a_path_of_somebodys_machine() -> None:
    """Neither a value behind a key's variable nor a home directory."""
    for path in (*PAGES, *REFERENCES, *DOCS):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"[A-Z]+_API_KEY\s*[=:]\s*\S", text), path.name
        assert not re.search(r"(?<![\w.~<])/(?:home|Users|root|work|tmp)/", text), path.name


def test_consent_explains_every_key_of_the_policy() -> None:
    """With the default that is in force without a file."""
    text = read("references/consent.md")
    policy = tomllib.loads(render_policy(Policy()))

    for name, value in policy.items():
        for key in value if isinstance(value, dict) else (name,):
            assert f"| `{key}` | " in text, key
    for key in ("directory", "base_url"):
        assert f"| `{key}` | " in text


def test_every_guarantee_has_tests_that_exist() -> None:
    """A guarantee must not outlive the tests that prove it, and no test is listed for a guarantee that is gone."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    tests = load_guarantees()

    assert [name for name, _ in read_guarantees()] == list(tests)
    assert all(tests.values())
    assert sorted(name for names in tests.values() for name in names if f"def {name}(" not in sources) == []


def test_markdown_keeps_every_value_in_its_place() -> None:
    """Bars and line breaks cannot open another cell or row; nothing in, nothing out."""
    assert table(("A", "B"), [("x | y", "two\nlines")]) == "| A | B |\n| --- | --- |\n| x \\| y | two lines |"
    assert table(("A",), []) == ""
    assert document("a", "", "b") == "a\n\nb\n"
