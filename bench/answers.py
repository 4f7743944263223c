"""What eight requests cost an agent: the bytes that it reads and the calls that it makes.

python bench/answers.py

An agent reads the JSON of an answer where there is one, else its text; a picture is counted apart. The figures of the
release before are in `BEFORE`. Clips are rendered by the real sandbox; the live requests go to a scripted gateway.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "surface" / "mcp")]

from connection import Person, connect, types_in  # noqa: E402
from mcp import Client  # noqa: E402

from callsheet.compose import Surroundings, build_service  # noqa: E402
from callsheet.edges.clock import SystemClock  # noqa: E402
from workspace import Workspace, accepted, account_of, make_workspace  # noqa: E402

KITE = "A red kite over dunes at dusk, slow pan, warm low light, wind in the grass."
DEMO = {"prompt": KITE, "duration_seconds": 4, "gateway": "poyo", "model": "sora-2-official"}
FOREIGN = {"model": "sora-2", "prompt": KITE, "seconds": "8", "size": "1280x720"}
IMAGE = "https://images.example.com/kite.png"

BEFORE: dict[str, tuple[int, int]] = {
    "cheap_and_vertical": (4_900, 4),
    "foreign_payload": (4_303, 2),
    "three_variants": (10_209, 9),
    "long_with_image": (1_582, 1),
    "show_me": (596, 2),
    "cancel_the_second": (5_321, 3),
    "another_model": (1_939, 1),
    "live_with_forms": (2_119, 2),
    "live_without_forms": (2_711, 2),
}
"""Bytes and calls with the release before. It could not cancel, and its picture of a clip had 300 KB."""


@dataclass
class Agent:
    """Makes calls and counts what it reads."""

    client: Client
    read: int = 0
    calls: int = 0
    pictures: int = 0

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """One call; the answer's fields."""
        result = await self.client.call_tool(tool, arguments)
        self.calls += 1
        texts = [block.text for block in result.content if block.type == "text"]
        fields = result.structured_content
        assert not result.is_error, texts
        self.read += len(compact(fields).encode()) if fields else sum(len(text.encode()) for text in texts)
        self.pictures += sum(len(block.data) for block in result.content if block.type == "image")
        return fields or {}

    async def submit(self, *answers: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Submit what was explained, with the copied texts."""
        ids = [answer["sheet_id"] for answer in answers]
        total = sum(float(answer["price"].split()[0]) for answer in answers)
        price = answers[0]["price"] if len(answers) == 1 else f"{total:.2f} USD"
        what = "; ".join(answer["what"] for answer in answers)
        return await self.call("submit_video", sheet_ids=ids, price=price, what=what, **more)

    async def wait(self, *task_ids: str) -> dict[str, Any]:
        """Wait for the end of these."""
        return await self.call("get_task", task_ids=list(task_ids), wait_seconds=45)


def compact(value: object) -> str:
    """JSON as clients hand it on."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


async def cheap_and_vertical(agent: Agent) -> None:
    """10 s, vertical, cheap: choose, explain, submit, wait."""
    shot = {"prompt": KITE, "duration_seconds": 10, "aspect_ratio": "9:16"}
    best = (await agent.call("explain_payload", **shot))["options"][0]
    answer = await agent.call("explain_payload", **shot, gateway=best["gateway"], model=best["model"])
    await agent.wait((await agent.submit(answer))["task_id"])


async def foreign_payload(agent: Agent) -> None:
    """A payload for OpenAI's own API: what can take it, and the same for one of them."""
    best = (await agent.call("explain_payload", payload=FOREIGN))["options"][0]
    await agent.call("explain_payload", payload=FOREIGN, gateway=best["gateway"], model=best["model"])


async def three_variants(agent: Agent) -> None:
    """Three variants, told when all are done."""
    explained = [await agent.call("explain_payload", **{**DEMO, "prompt": f"{KITE} {word}"}) for word in "ABC"]
    tasks = (await agent.submit(*explained))["tasks"]
    await agent.wait(*(task["task_id"] for task in tasks))


async def long_with_image(agent: Agent) -> None:
    """20 s from an image: which model, and how much."""
    await agent.call("explain_payload", prompt=KITE, duration_seconds=20, image_url=IMAGE)


async def show_me(agent: Agent) -> None:
    """A clip that was saved before."""
    tasks = (await agent.call("list_tasks", limit=1))["tasks"]
    await agent.call("view_clip", task_id=tasks[0]["task_id"])


async def cancel_the_second(agent: Agent) -> None:
    """Of two sheets, the second is taken back."""
    explained = [await agent.call("explain_payload", **{**DEMO, "prompt": f"{KITE} {word}"}) for word in "DE"]
    await agent.call("cancel", id=explained[1]["sheet_id"])


async def live(agent: Agent) -> None:
    """Explain and submit, live."""
    await agent.submit(await agent.call("explain_payload", **DEMO), wait_seconds=0)


async def another_model(agent: Agent) -> None:
    """The same shot on another model, which takes other lengths."""
    await agent.call("explain_payload", **{**DEMO, "model": "veo3.1-lite-official", "duration_seconds": 5})


SANDBOX: tuple[Callable[[Agent], Awaitable[None]], ...] = (
    *(cheap_and_vertical, foreign_payload, three_variants, long_with_image, show_me, cancel_the_second),
    another_model,
)


@asynccontextmanager
async def sandbox_client(workspace: Workspace) -> AsyncIterator[Client]:
    """A client of a server whose sandbox is real, and fast."""
    workspace.write_policy("[sandbox]\nspeed = 60\n")
    surroundings = Surroundings(
        environ=workspace.environ,
        working_directory=Path("/nowhere"),
        clock=SystemClock(),
        account_home=account_of(workspace.home),
    )
    async with connect(workspace, "legacy", service=build_service(surroundings)) as client:
        yield client


async def measure(directory: Path) -> dict[str, Agent]:
    """Every request, by its name, with what it cost."""
    found: dict[str, Agent] = {}
    async with sandbox_client(make_workspace(directory / "sandbox")) as client:
        for request in SANDBOX:
            found[request.__name__] = Agent(client)
            await request(found[request.__name__])
    for name, person in (("live_with_forms", types_in("0.24")), ("live_without_forms", None)):
        found[name] = await measure_live(make_workspace(directory / name), person)
    return found


async def measure_live(workspace: Workspace, person: Person | None) -> Agent:
    """The live request, with a person at the client's form or with a client that has none."""
    workspace.go_live()
    workspace.gateway.replies = [accepted()]
    async with connect(workspace, "legacy", person) as client:
        agent = Agent(client)
        await live(agent)
    return agent


def main() -> None:
    """Print a line for each."""
    with tempfile.TemporaryDirectory() as directory:
        found = asyncio.run(measure(Path(directory)))
    for name, agent in found.items():
        before = BEFORE.get(name)
        was = f"   before {before[0]:6,} bytes {before[1]} calls" if before else ""
        print(f"{name:20} {agent.read:6,} bytes {agent.calls} calls, pictures {agent.pictures:7,}{was}")


if __name__ == "__main__":
    main()
