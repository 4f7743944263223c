"""What the four fake gateways refuse, and in whose words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sandbox_client import GATEWAYS, SUBMIT_PATHS, SandboxClient, body_for

from callsheet.core.catalogue.cards import ModelCard
from callsheet.core.payload.body import build_body
from callsheet.core.shot import Kind
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.sandbox.checks import check_body, read_parameters
from shots import shot_of_kind


def _refusal(gateway: str, answer: Any) -> tuple[object, str]:
    if gateway == "apixo":
        return answer["code"], answer["data"]["error"]
    error = answer["error"]
    return error["type"] if gateway in ("poyo", "apidot") else error["code"], error["message"]


INVALID = {"poyo": "validation_error", "apidot": "invalid_request", "apixo": 400, "evolink": "invalid_request"}


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"prompt": None}, "prompt must be of type string"),
        ({"prompt": "  "}, "prompt must not be empty"),
        ({"duration": 5}, "duration must be one of"),
        ({"duration": "4"}, "duration must be of type integer"),
        ({"duration": True}, "duration must be of type integer"),
        ({"aspect_ratio": "1:1"}, "aspect_ratio must be one of"),
        ({"image_urls": ["https://example.com/a.png", "https://example.com/b.png"]}, "at most 1 item"),
        ({"image_urls": "https://example.com/a.png"}, "image_urls must be of type array"),
        ({"image_urls": [7]}, "array of strings"),
        ({"image_urls": ["ftp://example.com/a.png"]}, "http(s) URL"),
        ({"negative_prompt": "rain"}, "Unknown field"),
    ],
)
def test_a_broken_rule_is_a_400_in_the_gateways_own_body(
    sandbox: SandboxClient, gateway: str, change: dict[str, object], expected: str
) -> None:
    """Missing, ill-typed, wrong and unknown fields are refused before anything is accepted."""
    body = body_for(gateway, "A cat") | {}
    body.get("input", body).update(change)
    reply = sandbox.send("POST", SUBMIT_PATHS[gateway], body)
    assert reply.status == 400
    code, message = _refusal(gateway, reply.json)
    assert code == INVALID[gateway]
    assert expected in message


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": NaN}', b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_a_400(sandbox: SandboxClient, gateway: str, body: bytes) -> None:
    """Empty, cut off, a list, not a number, nested without end."""
    assert sandbox.send("POST", SUBMIT_PATHS[gateway], body).status == 400


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_body_over_a_mebibyte_is_refused_and_not_kept(sandbox: SandboxClient, gateway: str) -> None:
    """The bound holds before the body is parsed."""
    reply = sandbox.submit(gateway, "x" * 1_048_600)
    assert reply.status in (400, 413)
    assert "large" in str(reply.json)


def test_another_content_type_is_refused(sandbox: SandboxClient) -> None:
    """A form that a web page could post without asking is no submission."""
    reply = sandbox.submit("poyo", "A cat", headers={"Content-Type": "text/plain"})
    assert "Content-Type" in reply.json["error"]["message"]


def test_an_unknown_model_is_refused_as_each_gateway_documents(sandbox: SandboxClient) -> None:
    """PoYo and APIDot: 400; APIXO and EvoLink: 404."""
    for gateway, status in (("poyo", 400), ("apidot", 400), ("evolink", 404)):
        body = body_for(gateway, "A cat") | {"model": "sora-9"}
        assert sandbox.send("POST", SUBMIT_PATHS[gateway], body).status == status
        assert sandbox.send("POST", SUBMIT_PATHS[gateway], body | {"model": 7}).status == status
    path = SUBMIT_PATHS["apixo"].replace("sora-2", "sora-9")
    assert sandbox.send("POST", path, body_for("apixo", "A cat")).status == 404


def test_a_missing_model_is_named(sandbox: SandboxClient) -> None:
    """The first missing field is reported."""
    assert (
        "model" in sandbox.send("POST", SUBMIT_PATHS["poyo"], {"input": {"prompt": "A cat"}}).json["error"]["message"]
    )


def test_auto_is_for_images_alone_and_only_on_the_pro_model(sandbox: SandboxClient) -> None:
    """`auto` with an image generates in landscape, without one it is refused."""
    shot = {"prompt": "A cat", "duration": 4, "aspect_ratio": "auto", "resolution": "720p"}
    body = {"model": "sora-2-pro-official", "input": shot}
    assert sandbox.send("POST", SUBMIT_PATHS["poyo"], body).status == 400
    body["input"] = shot | {"image_urls": ["https://example.com/a.png"]}
    assert sandbox.send("POST", SUBMIT_PATHS["poyo"], body).status == 200


def test_a_prompt_over_the_limit_is_refused_in_the_code_for_that(sandbox: SandboxClient) -> None:
    """APIXO counts 10,000 characters, EvoLink 5,000, and each has its own word for it."""
    assert sandbox.submit("apixo", "x" * 10_000).status == 200
    long = sandbox.submit("apixo", "x" * 10_001)
    assert (long.status, long.json["data"]["error"]) == (400, "PromptLengthExceeded")
    older = sandbox.submit("apixo", "x" * 10_001, headers={"X-Sandbox-Generation": "old"})
    assert older.json["data"]["error"] == "PROMPT_TOO_LONG"
    assert sandbox.submit("evolink", "x" * 5_001).status == 400


def test_apixo_wants_the_image_and_the_callback_that_a_request_announces(sandbox: SandboxClient) -> None:
    """`image-to-video` needs `image_urls`, `request_type: callback` needs `callback_url`."""
    body = body_for("apixo", "A cat", mode="image-to-video")
    assert "image_urls" in sandbox.send("POST", SUBMIT_PATHS["apixo"], body).json["data"]["error"]
    body = body_for("apixo", "A cat") | {"request_type": "callback"}
    assert "callback_url" in sandbox.send("POST", SUBMIT_PATHS["apixo"], body).json["data"]["error"]


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/x", "http://127.0.0.1/a b", "https://example.com/\r\nX: y", "x" * 3000]
)
def test_a_callback_url_that_is_none_is_refused(sandbox: SandboxClient, url: str) -> None:
    """Other schemes, spaces, line breaks."""
    body = body_for("poyo", "A cat") | {"callback_url": url}
    assert sandbox.send("POST", SUBMIT_PATHS["poyo"], body).status == 400


def test_the_older_error_bodies_can_be_asked_for(sandbox: SandboxClient) -> None:
    """By header or by tag: PoYo's `detail`, EvoLink's integer code with `param`, APIDot's bare message."""
    header = {"X-Sandbox-Generation": "old"}
    bad = {name: body_for(name, "A cat", duration=5) for name in GATEWAYS}
    assert "duration" in sandbox.send("POST", SUBMIT_PATHS["poyo"], bad["poyo"], headers=header).json["detail"]
    assert "message" in sandbox.send("POST", SUBMIT_PATHS["apidot"], bad["apidot"], headers=header).json
    error = sandbox.send("POST", SUBMIT_PATHS["evolink"], bad["evolink"], headers=header).json["error"]
    assert (error["code"], error["type"], error["param"]) == (400, "invalid_request_error", "duration")
    tagged = body_for("evolink", "A cat [[sandbox:old-errors]]", duration=5)
    assert sandbox.send("POST", SUBMIT_PATHS["evolink"], tagged).json["error"]["code"] == 400


def _cards() -> list[Any]:
    return [pytest.param(card, kind, id=f"{card.id}-{kind}") for card in load_catalogue().cards for kind in card.kinds]


@pytest.mark.parametrize(("card", "kind"), _cards())
def test_what_the_program_builds_is_what_the_strict_sandbox_takes(card: ModelCard, kind: Kind) -> None:
    """A body built from the catalogue breaks no rule that the sandbox reads from the same catalogue."""
    shot = replace(shot_of_kind(card, kind), callback_url="https://example.com/hook")
    body = build_body(card, shot)
    assert check_body(card, body) == ()
    parameters = read_parameters(card, body)
    assert parameters.prompt in (shot.prompt, "")
    assert parameters.shot.inputs == shot.inputs
    assert parameters.width * parameters.height >= 640 * 360
