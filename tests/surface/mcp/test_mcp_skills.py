"""The skill over MCP: what is listed can be read, byte for byte, and nothing else is served under its address."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from connection import ERAS, connect
from mcp.shared.exceptions import MCPError
from mcp.types import Request, Result
from pydantic import ConfigDict

from callsheet.surface.mcp.resources import reference_names
from render.skill_entry import ROOT, parse_frontmatter
from workspace import Workspace

NEWER = ERAS[1]
SKILL = "skill://callsheet/SKILL.md"


class Answer(Result):
    """A result as it came."""

    model_config = ConfigDict(extra="allow")


async def ask(client: Any, method: str, **params: Any) -> dict[str, Any]:
    """The whole result of one request."""
    request = Request[dict[str, Any], str](method=method, params=params)
    return dict((await client.session.send_request(request, Answer)).model_dump(by_alias=True))


async def test_the_one_skill_lists_every_file_with_size_and_digest(workspace: Workspace) -> None:
    """The list and the single entry are the same; each file that `SKILL.md` links to is there. No service is needed."""
    async with connect(workspace, "auto") as client:
        declared = client.server_capabilities.extensions
        listed = await ask(client, "skills/list")
        got = await ask(client, "skills/get", uri=SKILL)
        assert workspace.home.exists() is False
        texts = {
            item["uri"]: (await client.read_resource(item["uri"])).contents[0] for item in got["skill"]["resources"]
        }

    [entry] = listed["skills"]
    assert declared["io.modelcontextprotocol/skills"] == {}
    assert entry == got["skill"]
    assert (listed["cacheScope"], got["cacheScope"]) == ("public", "public")
    assert entry["uri"] == entry["resources"][0]["uri"] == SKILL
    assert entry["frontmatter"]["name"] == "callsheet"
    assert len(texts) == len(entry["resources"]) == len(reference_names()) + 1
    for item in entry["resources"]:
        content = texts[item["uri"]].text.encode()
        assert (item["size"], item["digest"]) == (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}")
        assert texts[item["uri"]].mime_type == "text/markdown"
    text = texts[SKILL].text
    assert text == (ROOT / "SKILL.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\((references/[^)#]+)", text)
    assert linked
    assert {f"skill://callsheet/{name}" for name in linked} <= texts.keys()


@pytest.mark.parametrize(
    "uri",
    ["skill://callsheet", "skill://other/SKILL.md", f"{SKILL}/", "skill://callsheet/references/models.md", ""],
)
async def test_what_is_no_skill_is_refused(workspace: Workspace, uri: str) -> None:
    """With the code that the specification names."""
    async with connect(workspace, NEWER) as client:
        with pytest.raises(MCPError) as refusal:
            await ask(client, "skills/get", uri=uri)

    assert refusal.value.code == -32602


@pytest.mark.parametrize(
    "file",
    [
        *("scripts/submit.sh", "skill.json", "references/nothing.md", "references/../SKILL.md"),
        *("..%2F..%2Fpolicy.toml", "references/%2e%2e/%2e%2e/pyproject.toml", "references//etc/passwd.md"),
    ],
)
async def test_no_other_file_is_read_under_the_skills_address(workspace: Workspace, file: str) -> None:
    """Only `SKILL.md` and documents of known names."""
    async with connect(workspace, NEWER) as client:
        with pytest.raises(MCPError) as refusal:
            await client.read_resource(f"skill://callsheet/{file}")

    assert refusal.value.code in (-32602, -32002)


async def test_an_older_client_finds_its_lists_as_they_were(workspace: Workspace) -> None:
    """The files are not among the listed resources, and the methods belong to the newer era."""
    async with connect(workspace, "legacy") as client:
        listed = [str(item.uri) for item in (await client.list_resources()).resources]
        with pytest.raises(MCPError) as refusal:
            await ask(client, "skills/list")

    assert not any(uri.startswith("skill://") for uri in listed)
    assert refusal.value.code == -32601


ODD = {
    "a quoted text": 'name: "callsheet"',
    "a number": "version: 1.2",
    "a null": "name: null",
    "a list in one line": "tags: [a, b]",
    "a block": "text: |",
    "a comment": "name: callsheet # the name",
    "a second colon": "description: this: that",
    "a line of its own": "callsheet",
    "a plain item": "- callsheet",
    "odd indentation": "name: callsheet\n  license: MIT",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_frontmatter_that_the_reader_does_not_know_is_an_error(text: str) -> None:
    """A host compares it with the YAML, so a guess would make the skill unusable."""
    with pytest.raises(ValueError, match=r"frontmatter|indentation"):
        parse_frontmatter(text)
