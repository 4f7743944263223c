"""The other generated references as Markdown: gateways, errors, states, the sandbox's stage directions.

Facts come from the catalogue, from the tables in `core.task`, from the tree in `callsheet.errors`, and from
what the renderer hands over of layers above this one. Called by the renderer alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from callsheet import errors
from callsheet.core.catalogue.cards import CallbackRule, Catalogue, ErrorFact, GatewayFacts, ModelCard
from callsheet.core.gateway.protocol import HttpRequest
from callsheet.core.tasks import (
    OPEN_STATES,
    RESERVING_STATES,
    SHEET_TABLE,
    SLOT_STATES,
    TASK_TABLE,
    SheetState,
    TaskState,
)
from callsheet.errors import FATE_SENTENCES, CallsheetError

from .cards import NOT_DOCUMENTED, format_poll, format_rate, format_retention, schedule_lines
from .markdown import bullets, code, document, fenced, table

_State = TypeVar("_State", bound=StrEnum)
_Event = TypeVar("_Event", bound=StrEnum)


def render_diagram(table: Mapping[tuple[_State, _Event], _State]) -> str:
    """The table as Mermaid `stateDiagram-v2` source, one edge a line, without self loops."""
    edges = [
        f"    {state.value} --> {after.value}: {event.value}"
        for (state, event), after in table.items()
        if state is not after
    ]
    return "\n".join(["stateDiagram-v2", *edges])


@dataclass(frozen=True, slots=True)
class Wire:
    """How a gateway is spoken to, as its module and the sandbox have it.

    `requests` are (purpose, request), `complaints` (which pages say so, HTTP status, body) of one refused field.
    """

    requests: tuple[tuple[str, HttpRequest], ...]
    complaints: tuple[tuple[str, int, str], ...]


class StageDirection(Protocol):
    """One tag of the sandbox."""

    @property
    def name(self) -> str: ...
    @property
    def when(self) -> str: ...
    @property
    def meaning(self) -> str: ...
    @property
    def value(self) -> str: ...


def render_gateways(catalogue: Catalogue, wires: Mapping[str, Wire]) -> str:
    """Each gateway: addresses, key, requests, callbacks, limits, what a refusal looks like."""
    opening = (
        "Open this for a gateway's addresses, its key variable, its callbacks and limits, and the shape of its"
        " errors. Its models are in [models.md](models.md), its error codes in [gateway-errors.md](gateway-errors.md)."
    )
    alike = (
        "All of them authenticate with the header `Authorization: Bearer <key>` and work by task id: submit, then ask"
        " after the task or be called back, then fetch the video from a link that expires. None of this was tried"
        " against a real gateway."
    )
    blocks = ["# Gateways", opening, alike]
    for facts in catalogue.gateways:
        blocks += gateway_blocks(facts, wires[facts.id], facts.models)
    return document(*blocks)


def gateway_blocks(facts: GatewayFacts, wire: Wire, cards: Sequence[ModelCard]) -> list[str]:
    """One gateway: addresses, key, requests, callbacks, limits, refusals."""
    return [
        f"## {facts.name} ({code(facts.id)}, as of {facts.as_of})",
        bullets(
            [
                f"Base URL: {code(facts.base_url)}; documentation: {facts.docs}",
                f"Key: environment variable {code(facts.key_env)}; made at {facts.key_page}",
                _header_line(facts),
                f"Videos come from: {', '.join(map(code, facts.result_hosts)) or NOT_DOCUMENTED}"
                + (" (the list may not be whole)" if facts.result_hosts else ""),
                *_course_lines(cards),
                *_callback_lines(facts.callback),
                _upload_line(facts),
            ]
        ),
        table(("Purpose", "Request", "Key sent"), [_request_row(*item) for item in wire.requests]),
        "A refused field, as the sandbox plays it after the documents:",
        table(
            ("Pages", "HTTP", "Body"),
            [(pages, str(status), code(body)) for pages, status, body in wire.complaints],
        ),
    ]


def _header_line(facts: GatewayFacts) -> str:
    if facts.idempotency_header is None:
        return f"Idempotency header: {NOT_DOCUMENTED}, none is sent"
    return f"Idempotency header: {code(facts.idempotency_header)} is sent, and never relied upon"


def _upload_line(facts: GatewayFacts) -> str:
    if facts.upload is None:
        return f"Upload of a picture: {NOT_DOCUMENTED}, so an input needs a public https address"
    return f"Upload of a picture: at {code(facts.upload.url or facts.base_url)}. {facts.upload.note}"


def _course_lines(cards: Sequence[ModelCard]) -> list[str]:
    """Polling, retention and limits: what most models have, then the families that differ, each once."""
    told = [_told(words, cards) for words in (_polling, _keeping, _limits)]
    return [line for lines in told for line in lines]


def _told(words: Callable[[ModelCard], str], cards: Sequence[ModelCard]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for card in cards:
        groups.setdefault(words(card), []).append(card.family)
    if len(groups) == 1:
        return list(groups)
    ordered = sorted(groups.items(), key=lambda item: len(item[1]), reverse=True)
    usual, *others = ordered
    return [usual[0], *(f"{text} (some or all of {', '.join(dict.fromkeys(families))})" for text, families in others)]


def _polling(card: ModelCard) -> str:
    return " ".join(
        [f"Advice on polling: {format_poll(card.poll)}", *(f"{line}." for line in schedule_lines(card.poll))]
    )


def _keeping(card: ModelCard) -> str:
    return f"A result link works: {format_retention(card.retention)}"


def _limits(card: ModelCard) -> str:
    return f"Limits: {format_rate(card.rate_limit)}"


def _callback_lines(rule: CallbackRule) -> list[str]:
    length = f"at most {rule.max_length} characters" if rule.max_length else f"length {NOT_DOCUMENTED}"
    answer = f"{rule.answer_within_seconds} s" if rule.answer_within_seconds else NOT_DOCUMENTED
    return [
        f"Callback address: {length}; it must answer within: {answer}. Repeated: {rule.retries}",
        f"Trust in a callback: {rule.signature}",
    ]


def _request_row(purpose: str, request: HttpRequest) -> tuple[str, str, str]:
    return purpose, code(f"{request.method} {request.path}"), "yes" if request.authorized else "no"


def render_gateway_errors(catalogue: Catalogue) -> str:
    """Every documented error of every gateway."""
    opening = (
        "Open this when a task names a gateway's code or HTTP status. Rows without a status are reasons of failed"
        " tasks, or prose. Keys in brackets: [sources.md](sources.md); what the program makes of an answer:"
        " [errors.md](errors.md)."
    )
    blocks = ["# Error codes of the gateways", opening]
    for facts in catalogue.gateways:
        usual = Counter(fact.source for fact in facts.errors).most_common(1)[0][0]
        rows = [_error_row(fact, usual) for fact in facts.errors]
        blocks += [
            f"## {facts.name}",
            f"Source: [{usual}], or as named.",
            table(("HTTP", "Code", "Meaning", "What to do"), rows),
        ]
    return document(*blocks)


def _error_row(fact: ErrorFact, usual_source: str) -> tuple[str, ...]:
    meaning = fact.meaning if fact.source == usual_source else f"{fact.meaning} [{fact.source}]"
    return str(fact.status or ""), code(fact.code), meaning, fact.advice


def render_errors(exit_codes: Iterable[tuple[int, str]]) -> str:
    """The program's own errors, its exit codes, and how an answer to a paid request is judged."""
    return document(
        "# Errors",
        "Open this when a tool or command answers with an error, or when you write a program that reads them. What a"
        " gateway's own code means is in [gateway-errors.md](gateway-errors.md); what to do by symptom in"
        " [troubleshooting.md](troubleshooting.md).",
        "Every error answers five questions: what happened (`message`), was anything sent and was money spent"
        " (`fate`), may it be tried again (`retry`), and what to do now (`next_step`). `code` is stable. With `--json`"
        " all five are fields; a tool answers them as sentences.",
        "## Codes",
        table(("Code", "Means", "Fate, unless said otherwise", "Retry"), [_kind_row(kind) for kind in _kinds()]),
        "## Fates",
        bullets(f"`{fate.value}`: {sentence}" for fate, sentence in FATE_SENTENCES.items()),
        "## How an answer to a paid request is judged",
        _JUDGING,
        "## Exit codes of the command line",
        table(("Exit", "Means"), [(str(number), meaning) for number, meaning in exit_codes]),
    )


_JUDGING = """\
Two things are read: the HTTP status line, and the status that some gateways repeat inside the body. Where either \
leaves it open, it stays open.

| Answer | Taken as | Then |
| --- | --- | --- |
| 2xx with a task id | accepted | the task is followed |
| 2xx without a readable task id, or with an unreadable body | unknown | a person resolves it |
| 400, 401, 402, 403, 404, 405, 413, 415, 422, 3xx; or one of these inside a 2xx body | refused | nothing was \
accepted; the same bytes would be refused again |
| a refusal that names a task id | unknown | a person resolves it |
| 429 without a task id | not executed | the same request is sent again later, under the same approval |
| 408, 409, 425, 5xx, and everything else | unknown | a person resolves it |
| connection refused, no such host, TLS failure, timeout before a connection | not sent | the same request is sent \
again later |
| any failure after the connection stood | unknown | a person resolves it |

An unknown outcome is never retried automatically. A failed status read changes nothing."""


def _kinds() -> list[type[CallsheetError]]:
    """The errors that are raised, in the order of the tree: those that stand for no others."""
    every = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CallsheetError)]
    return [kind for kind in every if not any(other is not kind and issubclass(other, kind) for other in every)]


def _kind_row(kind: type[CallsheetError]) -> tuple[str, ...]:
    meaning = (kind.__doc__ or "").split("\n\n", maxsplit=1)[0].strip()
    return code(kind.code), meaning, code(kind.default_fate.value), code(kind.default_retry)


_SHEET_MEANINGS: Mapping[SheetState, tuple[str, str]] = {
    SheetState.DRAFTED: ("Explained; no person was asked yet.", "Show it; submit only when the person asks."),
    SheetState.AWAITING_APPROVAL: (
        "A person was asked; their approval sends it.",
        "Wait for the person; the same call later finds the task.",
    ),
    SheetState.APPROVED: ("A person agreed; it holds for one hour.", "Call submit_video with it."),
    SheetState.SPENT: ("It became a task; it can never become another.", "Call get_task."),
    SheetState.DECLINED: ("A person said no.", "Ask what should change."),
    SheetState.EXPIRED: ("Withdrawn, older than a day, or something has changed.", "Call explain_payload again."),
}

_TASK_MEANINGS: Mapping[TaskState, tuple[str, str, str]] = {
    TaskState.WAITING: (
        "Approved, nothing sent: a slot, the rate limit, or a retry is awaited.",
        "no",
        "get_task; nothing else is needed",
    ),
    TaskState.SUBMITTING: ("On disk, and the request is on its way.", "not known yet", "get_task"),
    TaskState.QUEUED: ("The gateway accepted it; it is in the gateway's queue.", "yes, or it will be", "get_task"),
    TaskState.RUNNING: ("The gateway is generating the video.", "yes, or it will be", "get_task"),
    TaskState.SUCCEEDED: ("Generated; the clip is being downloaded.", "yes", "get_task"),
    TaskState.SAVED: ("The clip is on disk, checked.", "yes", "show clip_path and the contact sheet"),
    TaskState.REJECTED: ("The gateway refused it.", "no", "a person decides what changes"),
    TaskState.FAILED: (
        "Accepted, then failed at the gateway.",
        "only the gateway's account page tells",
        "change the prompt, explain a new take",
    ),
    TaskState.EXPIRED: (
        "Generated, but the link stopped working before the clip was saved.",
        "yes",
        "a person asks the gateway's support, with the gateway's task id",
    ),
    TaskState.OUTCOME_UNKNOWN: (
        "The request may or may not have been accepted.",
        "not known",
        "do not submit again; a person looks at the gateway's task list and runs callsheet resolve",
    ),
    TaskState.ABANDONED: (
        "A person gave it up, or withdrew it before it was sent.",
        "not known; nothing if it was never sent",
        "nothing",
    ),
}


def render_states() -> str:
    """The life of a sheet and of a task, drawn from the tables, and what each state means."""
    return document(
        "# States",
        "Open this when a status needs explaining: what it means, whether money was spent, what comes next. The"
        " diagrams are drawn from the tables that the program obeys; an event that has no arrow changes nothing.",
        "## A call sheet",
        fenced(render_diagram(SHEET_TABLE), "mermaid"),
        table(("State", "Means", "Next"), [(code(state.value), *_SHEET_MEANINGS[state]) for state in SheetState]),
        "A sheet may be approved and spent for 24 hours. Approval is bound to the exact bytes, the address, the key,"
        " the price table and what in the policy bears on it: when one of these changes, the sheet must be explained"
        " again. An approval within an hour after the sheet was submitted sends it.",
        "## A task",
        fenced(render_diagram(TASK_TABLE), "mermaid"),
        table(
            ("State", "Means", "Money spent?", "Next", "Followed", "Counts against caps", "Takes a slot"),
            [_task_row(state) for state in TaskState],
        ),
        "`Followed`: the program has more to do, automatically. `Counts against caps`: its price stays reserved."
        " `Takes a slot`: it is one of the tasks that may be open at the gateways at the same time. In the sandbox"
        " no money is ever spent.",
    )


def _task_row(state: TaskState) -> tuple[str, ...]:
    groups = (OPEN_STATES, RESERVING_STATES, SLOT_STATES)
    return code(state.value), *_TASK_MEANINGS[state], *("yes" if state in group else "no" for group in groups)


def render_sandbox(directions: Iterable[StageDirection]) -> str:
    """How the sandbox is used, and every stage direction that a prompt may hold."""
    rows = [(code(item.name), item.when, item.meaning, item.value or "none") for item in directions]
    return document(
        "# The sandbox",
        "Open this to rehearse: the default mode plays the gateways on this computer, free, with real HTTP and"
        " real MP4 files, and a tag in the prompt makes one of them misbehave in a known way.",
        _SANDBOX_USE,
        "## Stage directions",
        "A tag may be anywhere in the prompt, `[[sandbox:NAME]]` or `[[sandbox:NAME=VALUE]]`, several together if"
        " wished; it is not part of the prompt. A misspelt tag is refused. Live, a tag is ordinary text of the prompt.",
        table(("Tag", "Touches", "What happens", "Value"), rows),
        _SANDBOX_EXAMPLES,
    )


_SANDBOX_USE = """\
- In sandbox mode nothing needs to be started: `submit_video` and `callsheet submit` serve it when they first need it.
- Clips are drawn on this computer, in the requested length and size, with a quiet tone where audio was ordered. \
They show the prompt, not what the model would generate.
- Time runs 30 times faster than life; `[sandbox] speed` in the policy file changes that.
- Approval is automatic there. With `[sandbox] asks = true` it is rehearsed, and the amount to type is 0.00 where no \
price is known.
- Prices, caps and keys are those of a rehearsal: nothing is charged, caps are not applied, your keys are never sent.
- `callsheet sandbox` serves the same gateways by themselves, for your own integration; it prints their addresses. \
Any bearer key of 8 characters or more is taken."""

_SANDBOX_EXAMPLES = """\
For example `A red kite over dunes [[sandbox:drop-after]]` is accepted and the answer is lost: the task becomes \
`outcome_unknown` and is not sent again. `[[sandbox:rate-limited=2]]` is postponed twice, then accepted. \
`[[sandbox:expired-link]]` ends as `expired`."""


__all__ = [
    "gateway_blocks",
    "StageDirection",
    "Wire",
    "render_errors",
    "render_gateway_errors",
    "render_gateways",
    "render_sandbox",
    "render_states",
]
