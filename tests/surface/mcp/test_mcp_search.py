"""Which tool a client finds that searches its tools by words, as OpenClaw and others do, before it lists any."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest
from connection import connect

from samples import SEARCHES
from workspace import Workspace


def words(text: str, *, stemmed: bool) -> list[str]:
    """The words of a text; stemmed, a plural counts as its singular."""
    return [word.rstrip("s") if stemmed else word for word in re.findall(r"[a-z0-9]+", text.lower())]


def rank(query: str, texts: dict[str, str], *, stemmed: bool) -> list[str]:
    """The names of the texts by plain BM25 (k1 1.5, b 0.75), the best first."""
    bags = {name: Counter(words(text, stemmed=stemmed)) for name, text in texts.items()}
    average = sum(bag.total() for bag in bags.values()) / len(bags)

    def score(name: str) -> float:
        bag, total = bags[name], 0.0
        for word in words(query, stemmed=stemmed):
            found = sum(word in other for other in bags.values())
            weight = math.log(1 + (len(bags) - found + 0.5) / (found + 0.5))
            total += weight * bag[word] * 2.5 / (bag[word] + 1.5 * (0.25 + 0.75 * bag.total() / average))
        return total

    return sorted(texts, key=score, reverse=True)


@pytest.mark.parametrize("query", SEARCHES)
async def test_the_words_of_people_find_the_right_tool_first(workspace: Workspace, query: str) -> None:
    """A search for what a video costs must not end at the one tool that spends."""
    async with connect(workspace, "legacy") as client:
        listed = (await client.list_tools()).tools
    titled = {tool.name: f"{tool.name} {tool.title} {tool.description}" for tool in listed}
    untitled = {tool.name: f"{tool.name} {tool.description}" for tool in listed}

    found = {rank(query, texts, stemmed=stemmed)[0] for texts in (titled, untitled) for stemmed in (True, False)}
    assert found == {SEARCHES[query]}


@pytest.mark.parametrize("query", [query for query, tool in SEARCHES.items() if tool not in ("list_models", "cancel")])
async def test_the_tool_whose_name_lacks_the_word_video_has_a_hint_with_the_words_of_people(
    workspace: Workspace, query: str
) -> None:
    """Claude Code ranks a word in a name above all: without a hint, these searches found `submit_video` first."""
    async with connect(workspace, "legacy") as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}

    hint = words(listed[SEARCHES[query]].meta["anthropic/searchHint"], stemmed=False)
    assert len(set(words(query, stemmed=False)) & set(hint)) >= 2
    assert "anthropic/searchHint" not in (listed["submit_video"].meta or {})
