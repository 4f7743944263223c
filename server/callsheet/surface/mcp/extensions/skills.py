"""The skill (`io.modelcontextprotocol/skills`, SEP-2640): what an agent reads of this program, as resources.

The skill is `SKILL.md` and the reference documents that it links to. `make render` puts its text and frontmatter into
`skill.json`, because nothing here reads YAML. The shell scripts are not a part of it: an agent that reads this has the
tools. Each file is listed with its size and digest, so that a host can bind a person's approval to the content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, PaginatedRequestParams, RequestParams

from callsheet.errors import UnknownThing
from callsheet.surface.mcp.elicitation import NEWER_ERA
from callsheet.surface.mcp.lifespan import ServerState
from callsheet.surface.mcp.rendering import as_resource
from callsheet.surface.mcp.resources import MARKDOWN, read_reference, reference_names

EXTENSION = "io.modelcontextprotocol/skills"
ROOT = "skill://callsheet"
SKILL = f"{ROOT}/SKILL.md"
REFERENCES = "references/"
FILE = "skill.json"
FRESH: dict[str, Any] = {"ttlMs": 300_000, "cacheScope": "public", "resultType": "complete"}
"""The skill changes with a release, and is the same for everybody."""


class GetParams(RequestParams):
    """Names a skill by the address of its `SKILL.md`."""

    uri: str


class Skills(Extension):
    """Lists the one skill, with its files."""

    identifier = EXTENSION

    def methods(self) -> Sequence[MethodBinding]:
        """The two that are required. Directories need no reading: the entry names every file."""
        newer = frozenset({NEWER_ERA})
        return [
            MethodBinding("skills/list", PaginatedRequestParams, _list, newer),
            MethodBinding("skills/get", GetParams, _get, newer),
        ]


async def _list(_: ServerRequestContext[Any, Any], params: PaginatedRequestParams) -> HandlerResult:
    if params.cursor:
        raise MCPError(code=INVALID_PARAMS, message="There is one page.")
    return {"skills": [_build_entry()], **FRESH}


async def _get(_: ServerRequestContext[Any, Any], params: GetParams) -> HandlerResult:
    if params.uri != SKILL:
        raise MCPError(code=INVALID_PARAMS, message=f"The only skill here is {SKILL}.")
    return {"skill": _build_entry(), **FRESH}


def _build_entry() -> dict[str, Any]:
    names = ["SKILL.md", *(f"{REFERENCES}{name}.md" for name in reference_names())]
    files = {f"{ROOT}/{name}": read_file(name).encode() for name in names}
    return {
        "uri": SKILL,
        "frontmatter": _read_skill()["frontmatter"],
        "resources": [
            {"uri": uri, "digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}
            for uri, content in files.items()
        ],
    }


def read_file(name: str) -> str:
    """A file of the skill; raises `UnknownThing`."""
    if name == "SKILL.md":
        return str(_read_skill()["text"])
    if name.startswith(REFERENCES) and name.endswith(".md"):
        return read_reference(name.removeprefix(REFERENCES).removesuffix(".md"))
    raise UnknownThing("The skill has no such file.", next_step=f"Read {SKILL}.")


@cache
def _read_skill() -> dict[str, Any]:
    return dict(json.loads(Path(__file__).with_name(FILE).read_text(encoding="utf-8")))


def register(mcp: MCPServer[ServerState]) -> None:
    """Add the files as resources. They are not in the list of resources: hosts that know skills ask for theirs."""

    @mcp.resource(
        f"{ROOT}/{{+file}}",
        name="skill-file",
        title="A file of the skill",
        description="The skill of this program, and the documents that it links to.",
        mime_type=MARKDOWN,
    )
    @as_resource
    async def skill_file(file: str) -> str:
        return read_file(file)
