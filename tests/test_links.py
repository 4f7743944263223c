"""Links in documents lead to a file of the repository, and to a heading that is there."""

from __future__ import annotations

import re
from pathlib import Path

import callsheet
from cases import cases

ROOT = Path(callsheet.__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(p for d in ("docs", "references", "skill") for p in (ROOT / d).rglob("*.md"))]
)
LINK = re.compile(r"\]\(<?([^)\s>]+)>?[^)]*\)|<(?:img|a)\s[^>]*?(?:src|href)=\"([^\"]+)\"")
DEFINITION = re.compile(r"^\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$)", re.MULTILINE)
OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def read_prose(text: str) -> str:
    """A document without its code: what is between back quotes is no link and no heading."""
    return re.sub(r"``.*?``|`[^`\n]*`", lambda code: "`" * len(code[0]), FENCE.sub("", text))


def read_links(text: str) -> list[str]:
    """The addresses of links and pictures, in markdown and in HTML, that stay in the repository."""
    prose = read_prose(text)
    found = [one or other for one, other in LINK.findall(prose)] + DEFINITION.findall(prose)
    return [link for link in found if not OUTSIDE.match(link)]


def read_anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them, and its own `id`s."""
    anchors: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} +(.+?)(?: +#+)? *$", FENCE.sub("", text), re.MULTILINE):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        count = anchors.get(slug, 0)
        anchors[slug] = count + 1
        if count:
            anchors[f"{slug}-{count}"] = 1
    return {*anchors, *re.findall(r"<\w+ [^>]*?\bid=\"([^\"]+)\"", read_prose(text))}


def find_dead_links(path: Path, root: Path) -> list[str]:
    """The links of a document that lead nowhere, outside the repository, or to a name in other letters."""
    dead = []
    for link in read_links(path.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        found = target.is_relative_to(root) and _is_spelled_so(target, root)
        if found and anchor:
            found = target.suffix == ".md" and anchor in read_anchors(target.read_text(encoding="utf-8"))
        if not found:
            dead.append(link)
    return dead


def _is_spelled_so(target: Path, root: Path) -> bool:
    """Some file systems find `readme.md` too; the page that shows the documents does not."""
    while target != root:
        if not target.parent.is_dir() or target.name not in {entry.name for entry in target.parent.iterdir()}:
            return False
        target = target.parent
    return True


@cases("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_of_a_document_leads_somewhere(path: Path) -> None:
    """Relative links, pictures and anchors, of this page and of others."""
    assert find_dead_links(path, ROOT.resolve()) == []


@cases(
    "link, dead",
    [
        ("[a](other.md)", False),
        ("[a](other.md#two-words)", False),
        ("[a](other.md#two-words-1)", False),
        ("[a](other.md#whats-a-b)", False),
        ("[a](#here)", False),
        ("[a](sub/)", False),
        ("![a](sub/pic.svg)", False),
        ("[a](https://nowhere.example/x#y)", False),
        ("[a](mailto:x@nowhere.example)", False),
        ("`[a](gone.md)`", False),
        ("```\n[a](gone.md)\n```", False),
        ('<img src="sub/pic.svg" width="10">', False),
        ("[![a](sub/pic.svg)](other.md)", False),
        ("[a](gone.md)", True),
        ("[![a](sub/pic.svg)](gone.md)", True),
        ("[a](Other.md)", True),
        ("[a](other.md#gone)", True),
        ("[a](other.md#Two-Words)", True),
        ("[a](other.md#code)", True),
        ("[a](#there)", True),
        ("[a](../outside.md)", True),
        ("![a](sub/gone.svg)", True),
        ('<img width="10" src="gone.svg">', True),
        ("[a](sub/pic.svg#x)", True),
        ("[a][b]\n\n[b]: gone.md", True),
        ("[a](<gone.md>)", True),
        ('[a](gone.md "title")', True),
    ],
)
def test_a_link_is_dead_where_a_reader_would_find_nothing(tmp_path: Path, link: str, dead: bool) -> None:
    """Files, pictures, headings that occur twice, headings with signs; code is left alone."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True, exist_ok=True)
    (root / "sub" / "pic.svg").touch()
    (tmp_path / "outside.md").touch()
    (root / "other.md").write_text("# Two words\n## Two words\n## What's `a-b`?\n```\n# Code\n```\n", encoding="utf-8")
    page = root / "page.md"
    page.write_text(f"# Here\n\n{link}\n", encoding="utf-8")

    assert bool(find_dead_links(page, root)) is dead
