"""The view in a real browser, in a host with the content rules of the specification, over a real server.

One host is written from the specification; the other uses the official bridge, where `make .servers/app-bridge.js`
has built it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from connection import ERAS, SHOT, connect, types_in
from desk_server import FLAGS
from mcp import Client
from mcp.types import CallToolResult
from playwright.async_api import FrameLocator, Page, async_playwright, expect
from test_mcp_together import quoted

from callsheet.compose import Surroundings, build_service
from callsheet.edges.clock import SystemClock
from workspace import Workspace, account_of

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
OFFICIAL = HERE.parents[2] / ".servers" / "app-bridge.js"
OWN = HERE / "view_host.js"
VIEW = "ui://callsheet/view.html"
# What a host sets for a view that asks for nothing.
RULES = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " media-src 'self' data:; connect-src 'none'"
)
ABLE = {"openLinks": {}, "serverTools": {}, "serverResources": {}}
PAGE = """<!doctype html><title>Host</title><style>body {{ margin: 0; background: {ground} }}</style>
<iframe title="Callsheet" sandbox="allow-scripts" style="width: 100%; border: 0"></iframe>
<script>window.opened = []; window.abilities = {able};</script><script>{host}</script>"""


def read_host(path: Path) -> str:
    """What starts that host; skips where it was not built."""
    if not path.is_file():
        pytest.skip(f"`make {OFFICIAL.relative_to(OFFICIAL.parents[1])}` has not built the official bridge")
    return path.read_text(encoding="utf-8")


@dataclass
class Host:
    """A page with the view in it, and the tools that the view called."""

    page: Page
    client: Client
    script: str
    called: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def view(self) -> FrameLocator:
        """What is inside the frame."""
        return self.page.frame_locator("iframe")

    async def open(self, result: CallToolResult, *, theme: str = "light", able: dict[str, Any] = ABLE) -> FrameLocator:
        """Show that answer in a fresh view."""
        html = (await self.client.read_resource(VIEW)).contents[0].text
        ground = "#1a1a1a" if theme == "dark" else "#ffffff"
        body = PAGE.format(able=json.dumps(able), host=self.script, ground=ground)

        async def serve(route: Any) -> None:
            is_view = route.request.url.endswith("/view")
            headers = {"content-security-policy": RULES} if is_view else {}
            await route.fulfill(
                body=html if is_view else body, content_type="text/html; charset=utf-8", headers=headers
            )

        await self.page.unroute_all()
        await self.page.route("**/*", serve)
        await self.page.goto("https://host.test/")
        sent = result.model_dump(mode="json", by_alias=True, exclude_none=True)
        await self.page.evaluate("([a, b, c]) => startHost(a, b, c)", [{"theme": theme}, {}, sent])
        return self.view

    async def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """What the server says to what the view asks."""
        if method == "tools/call":
            self.called.append(params["name"])
            found = await self.client.call_tool(params["name"], params["arguments"])
        else:
            found = await self.client.read_resource(params["uri"])
        return found.model_dump(mode="json", by_alias=True, exclude_none=True)


@asynccontextmanager
async def open_host(client: Client, script: str, width: int = 720) -> AsyncIterator[Host]:
    """A headless Chromium of this computer, with that host's page; skips where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on this computer")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, headless=True, args=list(FLAGS))
        page = await browser.new_page(viewport={"width": width, "height": 900})
        opened = Host(page, client, script)
        page.on("pageerror", lambda error: opened.errors.append(str(error)))
        page.on("console", lambda line: opened.errors.append(line.text) if line.type == "error" else None)
        await page.expose_function("rpc", opened.answer)
        try:
            yield opened
        finally:
            await browser.close()


@asynccontextmanager
async def rehearsing(workspace: Workspace) -> AsyncIterator[Client]:
    """A client of a server whose sandbox is real; a clip takes some seconds."""
    workspace.write_policy("[sandbox]\nspeed = 30\n")
    surroundings = Surroundings(
        environ=workspace.environ,
        working_directory=Path("/nowhere"),
        clock=SystemClock(),
        account_home=account_of(workspace.home),
    )
    async with connect(workspace, ERAS[1], service=build_service(surroundings)) as client:
        yield client


async def require_accessible(host: Host, *, theme: str) -> None:
    """Nothing that axe finds, contrast included."""
    frame = host.page.frames[1]
    assert await frame.evaluate("document.documentElement.dataset.theme") == theme
    found = await Axe().run(frame)
    assert found.response["violations"] == [], found.generate_report()


@pytest.mark.parametrize("path", [OWN, OFFICIAL], ids=["our own host", "the official bridge"])
async def test_a_view_shows_the_sheet_follows_the_task_and_shows_the_pictures(workspace: Workspace, path: Path) -> None:
    """In both themes. What it calls reads; it finds out by itself that the clip is saved."""
    async with rehearsing(workspace) as client, open_host(client, read_host(path)) as host:
        explained = await client.call_tool("explain_payload", SHOT)
        view = await host.open(explained)
        await expect(view.locator("#price")).to_have_text(explained.structured_content["price"])
        await expect(view.get_by_role("status")).to_have_text(explained.structured_content["summary"])
        await expect(view.locator("body")).to_contain_text(explained.structured_content["what"])
        await require_accessible(host, theme="light")

        submitted = await client.call_tool("submit_video", await quoted(client, {}))
        view = await host.open(submitted, theme="dark")
        await expect(view.get_by_role("progressbar")).to_be_visible()
        await expect(view.locator("#state")).to_have_text("saved", timeout=40_000)
        picture = view.get_by_role("img", name=re.compile("A still of the video"))
        await expect(picture).to_be_visible()
        assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 200
        await require_accessible(host, theme="dark")
        await view.locator("summary").press("Enter")
        await expect(view.get_by_role("img", name=re.compile("whole length"))).to_be_visible()
        assert (await host.page.locator("iframe").bounding_box())["height"] > 300
        await host.page.evaluate("bridge.sendHostContextChange({ theme: 'light' })")
        await expect(view.locator(":root[data-theme=light]")).to_be_attached()

    assert set(host.called) == {"get_task"}
    assert host.errors == []


@pytest.mark.parametrize("able", [ABLE, {}], ids=["a host that opens links", "a host that can nothing"])
async def test_its_only_button_opens_the_desk_and_nothing_in_it_approves(
    workspace: Workspace, able: dict[str, Any]
) -> None:
    """By keyboard. Where links cannot be opened, the address is there to copy."""
    url = "http://127.0.0.1:4321/sheets/sheet_1"
    waits = {
        "summary": "It waits for the user's approval; nothing was sent.",
        "status": "approval_needed",
        "sheet_id": "sheet_1",
        "why": "The passphrase is needed.",
        "approval_url": url,
        "approval_command": "/home/you/.local/bin/callsheet approve sheet_1",
        "mode": "live",
        "money": "Nothing was sent; no money was spent.",
        "next_step": "Ask the user to approve.",
    }
    async with connect(workspace, ERAS[1]) as client, open_host(client, read_host(OWN)) as host:
        view = await host.open(CallToolResult(content=[], structured_content=waits), able=able)
        await expect(view.locator("body")).to_contain_text(waits["approval_command"])
        buttons = view.get_by_role("button")
        if able:
            await expect(buttons).to_have_count(1)
            await buttons.press("Enter")
        else:
            await expect(buttons).to_have_count(0)
            await expect(view.get_by_text(url)).to_be_visible()
        await require_accessible(host, theme="light")
        opened = await host.page.evaluate("window.opened")

    assert opened == ([url] if able else [])
    assert host.called == []
    assert host.errors == []


async def test_what_comes_from_outside_is_text_and_opens_nothing(workspace: Workspace) -> None:
    """Markup in a gateway's words is shown as it came, and a desk that is not on this computer has no button."""
    attack = "<img src=x onerror=\"parent.postMessage('owned','*')\"><script>document.title='owned'</script>"
    hostile = {
        "summary": attack,
        "status": "approval_needed",
        "approval_url": "https://desk.example.com/sheets/sheet_1",
        "untrusted_gateway_message": attack,
        "money": attack,
        "mode": "live",
        "next_step": "",
    }
    async with connect(workspace, ERAS[1]) as client, open_host(client, read_host(OWN)) as host:
        view = await host.open(CallToolResult(content=[], structured_content=hostile))
        await expect(view.get_by_role("status")).to_have_text(attack)
        await expect(view.get_by_role("button")).to_have_count(0)
        images = await view.locator("img").count()
        title = await host.page.frames[1].title()

    assert (images, title, host.called, host.errors) == (0, "Callsheet", [], [])


@pytest.mark.parametrize("era", ERAS)
async def test_the_tools_name_the_view_and_it_is_one_file_that_loads_nothing(workspace: Workspace, era: str) -> None:
    """Of both eras the same. It calls one tool, which reads."""
    async with connect(workspace, era, types_in("0.24")) as client:
        tools = {tool.name: tool.meta for tool in (await client.list_tools()).tools}
        [content] = (await client.read_resource(VIEW)).contents

    named = [name for name, meta in tools.items() if (meta or {}).get("ui") == {"resourceUri": VIEW}]
    assert named == ["explain_payload", "submit_video", "get_task"]
    assert content.mime_type == "text/html;profile=mcp-app"
    assert re.findall(r"(?:src|href)=\"|@import|url\(|https?://(?!127)", content.text) == []
    assert re.findall(r"innerHTML|insertAdjacent|document\.write|eval\(", content.text) == []
    assert set(re.findall(r'name: "(\w+_\w+)"', content.text)) == {"get_task"}
