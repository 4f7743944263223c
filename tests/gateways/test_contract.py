"""One suite for every gateway: its recorded documents, and what no gateway may do differently.

A new gateway adds a folder of fixtures and no test. Each fixture is one document: `kind` says what it
is, `source` where it was read (a key of the gateway's `[sources]`), `about` what it shows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet import gateways
from callsheet.core.catalogue.cards import Availability, ModelCard
from callsheet.core.gateway.protocol import (
    Accepted,
    BalanceReader,
    Gateway,
    HttpReply,
    HttpRequest,
    ListingReader,
    Phase,
    Postponed,
    Rejected,
    StatusUnavailable,
    SubmitParts,
    TaskRef,
    Unclear,
)
from callsheet.core.payload.body import build_body, freeze_body
from callsheet.core.shot import JsonValue, Shot
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.gateways import GATEWAYS, load_gateway
from cases import cases
from examples import examples

FIXTURES = Path(__file__).parent / "fixtures"
CATALOGUE = load_catalogue()
READERS = ("read_submit", "read_status", "read_balance", "read_listing", "read_recent")
PARTS = SubmitParts("sora-2", b"{}", "key-0123456789abcdef")

Document = dict[str, Any]


def documents(gateway_id: str, *kinds: str) -> list[tuple[str, Document]]:
    """The fixtures of a gateway by name, all or those of some kinds."""
    read = [(path.stem, json.loads(path.read_text())) for path in sorted((FIXTURES / gateway_id).glob("*.json"))]
    return [(name, document) for name, document in read if not kinds or document["kind"] in kinds]


def recorded(*kinds: str) -> Any:
    """One test over every fixture of these kinds, in every gateway."""
    rows = {
        f"{gateway_id}-{name}": (gateway_id, document)
        for gateway_id in GATEWAYS
        for name, document in documents(gateway_id, *kinds)
    }
    return cases(("gateway_id", "document"), rows.values(), ids=rows)


every_gateway = cases("gateway_id", GATEWAYS)


def reply_of(document: Document) -> HttpReply:
    """The fixture's reply as bytes; a body that is a text stands for itself."""
    body = document["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return HttpReply(document["status"], tuple(document["headers"].items()), raw)


def as_recorded(value: object) -> object:
    """A value as a fixture writes it: the type's name and whatever it says."""
    return {"is": type(value).__name__, **_stated(asdict(value))} if is_dataclass(value) else value  # type: ignore[call-overload]


def _stated(table: dict[str, Any]) -> dict[str, Any]:
    """The entries that say something, in JSON's types."""
    plain = {key: _stated(value) if isinstance(value, dict) else value for key, value in table.items()}
    plain = {key: value.value if isinstance(value, Enum) else value for key, value in plain.items()}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}
    return {
        key: value for key, value in plain.items() if value is not None and value is not False and value not in ("", [])
    }


def card_of(gateway_id: str, model: str) -> ModelCard:
    """The card of a model that must be in the catalogue."""
    card = CATALOGUE.card(gateway_id, model)
    assert card is not None
    return card


def accepted_reply(gateway_id: str) -> HttpReply:
    """The recorded reply in which the gateway takes a job on."""
    return reply_of(dict(documents(gateway_id, "submit_reply"))["submit_accepted"])


def test_a_gateway_is_a_module_a_fact_file_and_one_line() -> None:
    """The tuple names exactly the modules and the fact files on disk; the wire of endpoints has no facts."""
    here = Path(gateways.__file__).parent
    modules = {path.stem for path in here.glob("*.py")} - {"__init__", "openai_videos"}
    assert set(GATEWAYS) == modules == {path.stem for path in here.glob("*.toml")}
    assert len(set(GATEWAYS)) == len(GATEWAYS)


def test_no_other_module_can_be_loaded_as_a_gateway() -> None:
    """Only ids of the tuple are imported."""
    with pytest.raises(KeyError):
        load_gateway("os")


@every_gateway
def test_a_module_has_every_function_of_the_protocol(gateway_id: str) -> None:
    """A gateway module is itself the implementation."""
    wanted = {name for name in vars(Gateway) if name.startswith(("build_", "read_"))}
    assert wanted == {name for name in wanted if callable(getattr(load_gateway(gateway_id), name, None))}


@every_gateway
def test_every_document_names_a_source_of_the_fact_file(gateway_id: str) -> None:
    """Nothing is recorded without saying where it was read."""
    facts = CATALOGUE.gateway(gateway_id)
    assert facts is not None
    assert {document["source"] for _, document in documents(gateway_id)} <= set(facts.sources)


WITHOUT_EXAMPLE = {"apidot": {"kling-3.0/standard", "kling-3.0/pro", "hailuo-2.3"}}
"""Only their fields and prices are published."""
FEW_EXAMPLES = {"apixo", "evolink"}
"""They publish a body for few models beside Sora; each card's own body is read back in `core/test_recognition.py`."""


@every_gateway
def test_every_model_that_may_answer_has_a_recorded_request(gateway_id: str) -> None:
    """Each card that is not dropped has an example, and each phase and outcome a reply."""
    open_models = {
        card.model
        for card in CATALOGUE.cards
        if card.gateway == gateway_id and card.lifecycle.availability is not Availability.DROPPED
        if gateway_id not in FEW_EXAMPLES or card.family == "sora-2"
    }
    recorded_models = {document["model"] for _, document in documents(gateway_id, "request")}
    examples = Path(__file__).parent / f"{gateway_id}_examples.json"
    if examples.exists():
        recorded_models |= {row["model"] for row in json.loads(examples.read_text(encoding="utf-8"))}
    assert open_models - WITHOUT_EXAMPLE.get(gateway_id, set()) <= recorded_models
    phases = {document["expect"].get("phase") for _, document in documents(gateway_id, "status_reply")}
    assert {phase.value for phase in Phase} <= phases
    outcomes = {document["expect"]["is"] for _, document in documents(gateway_id, "submit_reply")}
    assert outcomes == {"Accepted", "Rejected", "Postponed", "Unclear"}


@recorded("request")
def test_a_documented_request_has_only_known_fields_and_values(gateway_id: str, document: Document) -> None:
    """Every field of a documented example has its place in the catalogue, every value is allowed."""
    card = card_of(gateway_id, document["model"])
    known = {field.name: field for field in card.fields}
    shot = Shot.of(**document.get("shot", {}))
    for name, value in leaves(document["body"]):
        assert known[name].under(shot).takes(value)


def leaves(table: Document, parents: str = "") -> list[tuple[str, JsonValue]]:
    """Dotted names and values of a body."""
    return [
        leaf
        for name, value in table.items()
        for leaf in (leaves(value, f"{parents}{name}.") if isinstance(value, dict) else [(parents + name, value)])
    ]


@recorded("request")
def test_a_documented_request_is_what_the_catalogue_builds(gateway_id: str, document: Document) -> None:
    """The shot behind a documented example gives that example, plus what `built` says and why."""
    if "shot" in document:
        card = card_of(gateway_id, document["model"])
        assert build_body(card, Shot.of(**document["shot"])) == document.get("built", document["body"])


@every_gateway
def test_a_submit_goes_where_the_fact_file_says(gateway_id: str) -> None:
    """Path, JSON header, the frozen bytes, and the key of the approval where the gateway knows such a header."""
    facts = CATALOGUE.gateway(gateway_id)
    assert facts is not None
    request = load_gateway(gateway_id).build_submit(PARTS)
    expected = [("Content-Type", "application/json")]
    if facts.idempotency_header:
        expected.append((facts.idempotency_header, PARTS.idempotency_key))
    assert request == HttpRequest("POST", facts.submit_path.format(model=PARTS.model), b"{}", tuple(expected))


@recorded("status_request")
def test_a_status_is_asked_for_at_the_documented_path(gateway_id: str, document: Document) -> None:
    """The id stands where the documentation has it."""
    task = TaskRef(document["model"], document["task_id"])
    assert load_gateway(gateway_id).build_status(task) == HttpRequest("GET", document["path"])


@recorded("balance_request")
def test_the_balance_is_asked_for_only_where_it_is_documented(gateway_id: str, document: Document) -> None:
    """None stands for a gateway without such an endpoint."""
    module, path = load_gateway(gateway_id), document["path"]
    request = module.build_balance() if isinstance(module, BalanceReader) else None
    assert request == (path and HttpRequest("GET", path, authorized=True))


@recorded("listing_request")
def test_a_listing_is_asked_for_without_the_key(gateway_id: str, document: Document) -> None:
    """A public catalogue is read without the key; None stands for a gateway without one."""
    module, path = load_gateway(gateway_id), document["path"]
    request = module.build_listing(document["model"]) if isinstance(module, ListingReader) else None
    assert request == (path and HttpRequest("GET", path, authorized=False))


@every_gateway
@cases("task_id", ["", ".", "..", "a/b", "a?b", "a b", "a\n", "ä", "x" * 513, "%2e%2e"])
def test_an_id_that_is_no_id_is_refused(gateway_id: str, task_id: str) -> None:
    """An id can neither leave its place in the path nor add a query."""
    with pytest.raises(ValueError, match="not a task id"):
        load_gateway(gateway_id).build_status(TaskRef("sora-2", task_id))


@every_gateway
def test_an_id_is_percent_encoded(gateway_id: str) -> None:
    """What is allowed and has a meaning in addresses is written out."""
    assert load_gateway(gateway_id).build_status(TaskRef("sora-2", "a:b")).path.endswith("a%3Ab")


@every_gateway
def test_a_model_id_cannot_leave_its_place(gateway_id: str) -> None:
    """Where the model stands in a path or query, it is percent-encoded."""
    module = load_gateway(gateway_id)
    requests = [module.build_submit(SubmitParts("../x?y", b"", "k")), module.build_status(TaskRef("../x?y", "a"))]
    if isinstance(module, ListingReader):
        requests.append(module.build_listing("../x?y"))
    for request in requests:
        assert "../" not in request.path
        assert "x?y" not in request.path


@recorded("submit_reply")
def test_a_recorded_submit_reply_means_what_was_recorded(gateway_id: str, document: Document) -> None:
    """Accepted, rejected, postponed or unclear, with code, message and wait."""
    assert as_recorded(load_gateway(gateway_id).read_submit(reply_of(document))) == document["expect"]


@recorded("status_reply")
def test_a_recorded_status_reply_means_what_was_recorded(gateway_id: str, document: Document) -> None:
    """Phase, progress, clips, failure and charge."""
    assert as_recorded(load_gateway(gateway_id).read_status(reply_of(document))) == document["expect"]


@recorded("balance_reply")
def test_a_recorded_balance_means_what_was_recorded(gateway_id: str, document: Document) -> None:
    """The amount in the gateway's unit, and nothing else of the account."""
    module = load_gateway(gateway_id)
    balance = module.read_balance(reply_of(document)) if isinstance(module, BalanceReader) else None
    assert as_recorded(balance) == document["expect"]


@recorded("listing_reply")
def test_a_recorded_listing_means_what_was_recorded(gateway_id: str, document: Document) -> None:
    """Listed, not listed, or not said."""
    module = load_gateway(gateway_id)
    listed = module.read_listing(reply_of(document)) if isinstance(module, ListingReader) else None
    assert listed is document["expect"]


@every_gateway
@cases(
    ("status", "outcome"),
    [
        *((status, Rejected) for status in (307, 308, 400, 401, 402, 403, 404, 405, 413, 415, 422)),
        (429, Postponed),
        *(
            (status, Unclear)
            for status in (
                200,
                201,
                202,
                204,
                300,
                301,
                302,
                303,
                304,
                406,
                408,
                409,
                410,
                425,
                451,
                500,
                502,
                503,
                504,
                599,
            )
        ),
    ],
)
@cases("body", [b"", b"{}", b"<html>", b"[]", b'{"id": 0, "data": {"task_id": "", "taskId": []}}'])
def test_a_reply_without_an_id_is_judged_by_its_status(
    gateway_id: str, status: int, outcome: type, body: bytes
) -> None:
    """Only a documented refusal counts as one; what is not clear is never taken for a refusal."""
    assert type(load_gateway(gateway_id).read_submit(HttpReply(status, (), body))) is outcome


@every_gateway
@cases(
    ("status", "outcome"),
    [(200, Accepted), (201, Accepted), (429, Accepted), (400, Unclear), (409, Unclear), (500, Unclear), (302, Unclear)],
)
def test_a_reply_that_names_an_id_is_never_taken_for_a_refusal(gateway_id: str, status: int, outcome: type) -> None:
    """An id under a success or a rate limit is a job; under anything else it is a contradiction."""
    reply = HttpReply(status, (), accepted_reply(gateway_id).body)
    assert type(load_gateway(gateway_id).read_submit(reply)) is outcome


@every_gateway
@cases("status", [301, 401, 404, 429, 500, 503])
def test_a_status_read_that_failed_says_nothing_of_the_task(gateway_id: str, status: int) -> None:
    """A finished task in the body of an error is not believed."""
    finished = next(
        document
        for _, document in documents(gateway_id, "status_reply")
        if document["expect"].get("phase") == "succeeded"
    )
    reply = HttpReply(status, (), json.dumps(finished["body"]).encode())
    outcome = load_gateway(gateway_id).read_status(reply)
    assert isinstance(outcome, StatusUnavailable)
    assert outcome.problem.status == status


@every_gateway
def test_no_part_of_the_account_but_the_figure_is_kept(gateway_id: str) -> None:
    """A balance reply may hold personal data; none of it comes through."""
    module = load_gateway(gateway_id)
    for _, document in documents(gateway_id, "balance_reply"):
        if isinstance(module, BalanceReader):
            assert "@" not in repr(module.read_balance(reply_of(document)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def read_everything(gateway_id: str, reply: HttpReply) -> None:
    """Have every reader of a gateway read one reply."""
    module = load_gateway(gateway_id)
    for name in READERS:
        if hasattr(module, name):
            getattr(module, name)(reply)


@pytest.mark.parametrize("gateway_id", GATEWAYS)
@examples(60)
@given(status=st.integers(100, 999), body=st.binary(max_size=200), wait=st.text(max_size=12))
def test_no_bytes_make_a_reader_raise(gateway_id: str, status: int, body: bytes, wait: str) -> None:
    """Whatever comes back, a reader answers."""
    read_everything(gateway_id, HttpReply(status, (("retry-after", wait),), body))


@pytest.mark.parametrize("gateway_id", GATEWAYS)
@examples(60)
@given(data=st.data(), status=st.sampled_from([200, 400, 404, 429, 500]))
def test_no_change_to_a_recorded_body_makes_a_reader_raise(gateway_id: str, data: st.DataObject, status: int) -> None:
    """Any value in any place of a known reply is read or left."""
    bodies = [
        document["body"]
        for _, document in documents(gateway_id, "submit_reply", "status_reply", "balance_reply", "listing_reply")
        if isinstance(document["body"], dict)
    ]
    body = json.loads(json.dumps(data.draw(st.sampled_from(bodies))))
    table = body
    while True:
        name = data.draw(st.sampled_from(sorted(table)))
        if not (isinstance(table[name], dict) and table[name] and data.draw(st.booleans())):
            break
        table = table[name]
    table[name] = data.draw(json_values)
    read_everything(gateway_id, HttpReply(status, (), json.dumps(body).encode()))


@every_gateway
@cases(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b'{"data": ' + b"9" * 5000 + b"}",
        b'{"data": 1e99999999999999999999, "code": 1e400, "id": NaN}',
        b'{"data": Infinity}',
        b'{"error": {"message": "\\ud83c", "code": "\\udfff"}, "message": "\\ud83c", "detail": "\\ud83c"}',
        b'{"id": "\\ud83c", "status": "\\ud83c", "data": {"status": "\\ud83c", "state": "\\ud83c"}}',
        b"\xff\xfe{}",
        b'{"data": "' + b"x" * (1 << 20) + b'"}',
    ],
)
def test_hostile_bodies_are_unclear_and_unavailable(gateway_id: str, body: bytes) -> None:
    """Depth, size, absurd numbers and broken text neither raise nor pass for an answer."""
    module = load_gateway(gateway_id)
    reply = HttpReply(200, (), body)
    assert isinstance(module.read_submit(reply), Unclear)
    outcome = module.read_status(reply)
    repr(outcome).encode()
    assert isinstance(outcome, StatusUnavailable) or outcome.phase is Phase.UNRECOGNISED
    read_everything(gateway_id, reply)


@every_gateway
def test_the_frozen_bytes_are_sent_as_they_are(gateway_id: str) -> None:
    """What was approved is what goes out, byte for byte."""
    body = freeze_body({"prompt": "señal 🎬", "n": 1})
    assert load_gateway(gateway_id).build_submit(SubmitParts("sora-2", body, "k")).body is body
