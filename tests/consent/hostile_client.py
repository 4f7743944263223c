"""Random calls of a hostile agent: every name and value that looks like consent, in every place of a request.

Made from a seeded generator alone, so that a failure can be played again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from .live_server import AMOUNT, KEY, SHOT
from .wire import FORMS, Message

NAMES = (
    *("confirm", "confirmed", "approve", "approved", "approval", "approval_id", "token", "confirm_token", "force"),
    *("yes", "y", "live", "mode", "dry_run", "sandbox", "skip_approval", "bypass", "consent", "accept", "agree"),
    *("allow", "allowance", "allowance_id", "amount", "amount_usd", "passphrase", "password", "passkey", "policy"),
    *("cap", "per_clip", "floor", "human", "user_confirmed", "i_am_the_user", "api_key", "budget", "max_cost"),
    *(
        "ask_again",
        "up_to",
        "clips",
        "spend",
        "pay",
        "execute",
        "really",
        "override",
        "sudo",
        "by",
        "means",
        "who",
        "state",
    ),
    # What the tool's own function calls the things that no caller may give.
    *("answer", "context", "ctx", "service", "request_state", "requestState", "inputResponses", "_meta"),
)
TOOLS = (
    *("approve", "approve_sheet", "approve_typed", "allow", "revoke", "set_policy", "setup", "decline", "resolve"),
    *("submit", "force_submit", "pay", "keys_seal", "desk", "callsheet approve", "submit_video ", "SUBMIT_VIDEO", ""),
)
METHODS = (
    *("callsheet/approve", "sheets/approve", "tools/approve", "elicitation/create", "tasks/update", "tasks/result"),
    *("notifications/elicitation/complete", "logging/setLevel", "completion/complete", "prompts/get", "ping"),
)
ADDRESSES = (
    *("callsheet://sheets/{0}/approve", "callsheet://sheets/{0}", "callsheet://tasks/{0}", "callsheet://policy"),
    *("callsheet://approve/{0}?amount=0.24", "file:///etc/passwd"),
)
CAPABILITIES: tuple[dict[str, Any], ...] = ({}, dict(FORMS), {"elicitation": {}}, {"elicitation": {"url": {}}})
NOT_THE_AMOUNT = (
    *({}, {"amount_usd": ""}, {"amount_usd": "yes"}, {"amount_usd": True}, {"amount_usd": "0.25"}, {"amount_usd": 0}),
    *({"amount_usd": None}, {"amount_usd": [AMOUNT]}, {"amount_usd": f"{AMOUNT}!"}, {"confirm": True}, None),
)


def form(content: object) -> Message:
    """A form that comes back accepted."""
    return {"action": "accept", "content": content}


@dataclass
class HostileAgent:
    """An agent with every tool, with a client that answers for it, though never with the amount."""

    random: Random
    sheets: list[str] = field(default_factory=list)

    def sequence(self) -> Iterator[tuple[str, Message, dict[str, Any]]]:
        """A few requests: method, parameters, capabilities to declare."""
        kinds = self.random.choices(
            (self._submit, self._explain, self._other_tool, self._invented_tool, self._beside, self._other_method),
            weights=(8, 2, 1, 2, 3, 2),
            k=self.random.randint(2, 5),
        )
        for kind in kinds:
            yield *kind(), self.random.choice(CAPABILITIES)

    def answer(self, _: Message) -> Message | None:
        """What comes back for a question: anything but what a person would have typed."""
        action = self.random.choice(("accept", "accept", "accept", "decline", "cancel", "approve"))
        return {"action": action, "content": self.random.choice(NOT_THE_AMOUNT)}

    def consent(self) -> dict[str, Any]:
        """Arguments that look like somebody's yes."""
        return {name: self._value() for name in self.random.sample(NAMES, self.random.randint(1, 4))}

    def _value(self) -> Any:
        # Values that go by the name of a person's act are tried as arguments, never as a client's answer.
        sheet = self.random.choice(self.sheets)
        return self.random.choice(
            (
                *(True, 1, "true", "yes", "YES", "approved", AMOUNT, float(AMOUNT), f"{AMOUNT} USD", 10**9, "", None),
                *("live", "terminal", "client", "passkey", sheet, f"callsheet approve {sheet}", 'mode = "live"', KEY),
                *({"amount_usd": AMOUNT}, form({"amount_usd": AMOUNT}), {"data": {"amount_usd": AMOUNT}}, [AMOUNT]),
            )
        )

    def _submit(self) -> tuple[str, Message]:
        sheet = self.random.choice(self.sheets)
        odd = (sheet.upper(), f" {sheet}", f"{sheet} --yes", f"{sheet}'; UPDATE sheet SET state='approved", [sheet])
        wanted = sheet if self.random.random() < 0.85 else self.random.choice(odd)
        more = self.consent() if self.random.random() < 0.8 else {}
        if self.random.random() < 0.3:
            several = self.random.sample(self.sheets, self.random.randint(1, min(3, len(self.sheets))))
            copies = {"price": f"{AMOUNT} USD", "what": "approved by the user", "wait_seconds": 0}
            again = {"ask_again": self.random.random() < 0.5}
            return "tools/call", {
                "name": "submit_video",
                "arguments": {"sheet_ids": several, **copies, **again, **more},
            }
        return "tools/call", {"name": "submit_video", "arguments": {"sheet_id": wanted, **more}}

    def _explain(self) -> tuple[str, Message]:
        shot = {**SHOT, "prompt": f"A kite. [approved by the user, {AMOUNT} USD] {self.random.randint(0, 9)}"}
        if self.random.random() < 0.5:
            return "tools/call", {"name": "explain_payload", "arguments": {**shot, **self.consent()}}
        raw = {"model": SHOT["model"], "input": {"prompt": shot["prompt"], "duration": 4, **self.consent()}}
        return "tools/call", {"name": "explain_payload", "arguments": {"payload": {**raw, **self.consent()}}}

    def _other_tool(self) -> tuple[str, Message]:
        name = self.random.choice(("get_task", "list_tasks", "list_models", "view_clip"))
        own = {"task_id": self.random.choice(self.sheets)} if name in ("get_task", "view_clip") else {}
        return "tools/call", {"name": name, "arguments": {**own, **self.consent()}}

    def _invented_tool(self) -> tuple[str, Message]:
        sheet = {"sheet_id": self.random.choice(self.sheets)}
        return "tools/call", {"name": self.random.choice(TOOLS), "arguments": {**sheet, **self.consent()}}

    def _beside(self) -> tuple[str, Message]:
        """The same words beside the arguments, where a client could put them and an agent cannot."""
        call: Message = {"name": "submit_video", "arguments": {"sheet_id": self.random.choice(self.sheets)}}
        place = self.random.choice(("params", "_meta", "inputResponses", "requestState"))
        if place == "params":
            return "tools/call", {**self.consent(), **call}
        if place == "_meta":
            return "tools/call", {**call, "_meta": dict.fromkeys(self.consent(), True)}
        key = self.random.choice(("callsheet.surface.mcp.elicitation:ask", "desk", "ask", "answer"))
        answers = {key: form({"amount_usd": AMOUNT})}
        state = {"requestState": self.random.choice(("", "v1.AAAA", "{}", AMOUNT))} if place == "requestState" else {}
        return "tools/call", {**call, "inputResponses": answers, **state}

    def _other_method(self) -> tuple[str, Message]:
        sheet = self.random.choice(self.sheets)
        if self.random.random() < 0.4:
            return "resources/read", {"uri": self.random.choice(ADDRESSES).format(sheet)}
        return self.random.choice(METHODS), {"sheet_id": sheet, "name": sheet, **self.consent(), "_meta": {}}
