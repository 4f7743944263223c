"""Files of the person's own in a shot: what a card takes of them, and their links in the body that is sent."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.catalogue.fields import InputRule
from callsheet.core.gateway.protocol import HttpReply, HttpRequest, Uploader
from callsheet.core.gateway.uploads import build_multipart, is_upload
from callsheet.core.payload.body import build_body, freeze_body
from callsheet.core.payload.own_files import place_links
from callsheet.core.payload.recognition import recognise
from callsheet.core.payload.validation import Hosts, check_shot
from callsheet.core.security.urls import check_base_url, check_url, is_public_link, url_host
from callsheet.core.shot import OwnFile, Shot, split_own_file
from callsheet.edges.config.catalogue_files import load_catalogue
from callsheet.gateways import GATEWAYS, load_gateway
from callsheet.sandbox.upload_route import read_file_part

CATALOGUE = load_catalogue()
CAT = OwnFile("ab" * 32, "png", "/home/me/cat.png", 1_000_000, 1280, 720)
LINK = "https://storage.poyo.ai/temp/cat.png"
CARDS = [card for card in CATALOGUE.cards if card.gateway in ("poyo", "evolink") and "image-to-video" in card.kinds]
HOSTS = Hosts(files={CAT.url: CAT}, uploads=("poyo", "evolink"))
CARD = CATALOGUE.card("poyo", "sora-2-official")
assert CARD is not None


def test_the_name_of_a_file_is_no_address_and_only_one_spelling_is_a_name() -> None:
    """No reader of addresses takes it, so it can never be fetched or called back."""
    assert split_own_file(CAT.url) == (CAT.sha256, CAT.format)
    assert check_url(CAT.url).problem
    assert check_base_url(CAT.url).problem
    assert url_host(CAT.url) is None
    for other in (CAT.url.upper(), f" {CAT.url}", f"{CAT.url}\n", CAT.url.replace(":", "://"), CAT.url[:-1], ""):
        assert split_own_file(other) is None


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_the_links_take_the_place_of_names_in_the_fields_of_inputs_alone(card: object) -> None:
    """A prompt that has the same words is not changed; everything else stays byte for byte."""
    shot = Shot.of(f"Say {CAT.url} aloud. “Grüße”", first_frame=CAT.url)
    frozen = freeze_body(build_body(card, shot))

    placed = place_links(card, frozen, {CAT.url: LINK})

    found = recognise(json.loads(placed), CATALOGUE, gateway=card.gateway, model=card.model).shot
    assert found.prompt == shot.prompt
    assert found.urls("first_frame", "reference_image") == (LINK,)
    assert found.own_files == ()
    before, after = frozen.split(CAT.url.encode()), placed.split(LINK.encode())
    assert len(after) == 2
    assert CAT.url.encode().join(before) == placed.replace(LINK.encode(), CAT.url.encode())
    assert place_links(card, placed, {LINK: CAT.url}) == frozen


@given(st.text(max_size=40).map(lambda text: "".join(c for c in text if not "\ud800" <= c <= "\udfff")))
def test_whatever_the_prompt_holds_only_the_inputs_change(text: str) -> None:
    """Names in it, quotes, escapes."""
    prompt = f'{text}{CAT.url}"{text}'
    frozen = freeze_body(build_body(CARD, Shot.of(prompt, first_frame=CAT.url)))

    body = json.loads(place_links(CARD, frozen, {CAT.url: LINK}))

    assert body["input"]["prompt"] == prompt
    assert body["input"]["image_urls"] == [LINK]


@pytest.mark.parametrize("body", [b'{"a": 1}', b'{"a":1,"a":2}', b'{"a":1.0e5}', b'{"a":"\\u00e9"}'])
def test_bytes_that_would_change_elsewhere_are_refused(body: bytes) -> None:
    """What was approved is what is sent, but for the links."""
    with pytest.raises(ValueError, match="not as it was frozen"):
        place_links(CARD, body, {CAT.url: LINK})
    assert place_links(CARD, body, {}) == body


LIMITS: dict[str, tuple[dict[str, object], bool]] = {
    "within all": ({"max_bytes": 1_000_000, "formats": (".png",), "min_side": 720, "max_side": 1280}, True),
    "none documented": ({}, True),
    "too many bytes": ({"max_bytes": 999_999}, False),
    "another format": ({"formats": (".jpg", ".jpeg", ".webp")}, False),
    "too small": ({"min_side": 721}, False),
    "too large": ({"max_side": 1279}, False),
}


@pytest.mark.parametrize("name", LIMITS)
def test_the_limits_of_a_card_are_judged_on_the_file(name: str) -> None:
    """Bytes, format and sides, as documented."""
    limits, fits = LIMITS[name]
    card = replace(CARD, inputs=(InputRule(("first_frame",), "x", **limits),))

    verdict = check_shot(card, Shot.of("A cat.", first_frame=CAT.url), HOSTS)

    assert verdict.blocked is not fits
    assert verdict.corrected.own_files == (CAT.url,)


@pytest.mark.parametrize(
    ("shot", "hosts"),
    [
        (Shot.of("A cat.", first_frame=CAT.url), Hosts(uploads=("poyo",))),
        (Shot.of("A cat.", first_frame=CAT.url), Hosts(files={CAT.url: CAT})),
        (Shot.of("A cat.", first_frame=CAT.url.replace("png", "jpg")), HOSTS),
        (Shot.of("A cat.", first_frame=CAT.url, callback_url=CAT.url), HOSTS),
    ],
    ids=["never kept", "no upload", "another format", "as a callback"],
)
def test_a_name_that_leads_nowhere_blocks_the_shot(shot: Shot, hosts: Hosts) -> None:
    """Nothing is drafted that could not be sent."""
    assert check_shot(CARD, shot, hosts).blocked


def test_every_gateway_with_a_documented_upload_has_the_code_for_it() -> None:
    """And no other."""
    for gateway_id in GATEWAYS:
        facts = CATALOGUE.gateway(gateway_id)
        assert isinstance(load_gateway(gateway_id), Uploader) is (facts.upload is not None), gateway_id


@pytest.mark.parametrize("gateway", ["poyo", "evolink"])
@given(content=st.binary(max_size=300) | st.just(b"\r\n--callsheet-\r\n") | st.just(b"\r\n\r\n"))
def test_any_content_arrives_as_it_was_by_an_independent_reading(gateway: str, content: bytes) -> None:
    """The sandbox reads the form with code of its own."""
    request = load_gateway(gateway).build_upload("cat.png", content)

    assert is_upload(request)
    assert request.authorized
    assert read_file_part(dict(request.headers)["Content-Type"], request.body) == ("cat.png", content)


def test_nothing_but_a_file_is_an_upload() -> None:
    """A paid request can never go out that way."""
    assert is_upload(build_multipart("/x", "a.png", b""))
    for gateway_id in GATEWAYS:
        from callsheet.core.gateway.protocol import SubmitParts

        card = next(card for card in CATALOGUE.cards if card.gateway == gateway_id)
        assert not is_upload(load_gateway(gateway_id).build_submit(SubmitParts(card.model, b"{}", "")))
    assert not is_upload(HttpRequest("GET", "/x"))


@pytest.mark.parametrize("gateway", ["poyo", "evolink"])
@given(body=st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(json.dumps))
def test_no_answer_breaks_the_reading_of_an_upload(gateway: str, body: bytes | str) -> None:
    """A link or nothing."""
    raw = body.encode(errors="replace") if isinstance(body, str) else body
    assert load_gateway(gateway).read_upload(HttpReply(200, (), raw)) is None


@pytest.mark.parametrize(
    ("link", "loopback", "usable"),
    [
        (LINK, None, True),
        (LINK, "http://127.0.0.1:9", True),
        ("http://127.0.0.1:9/a.png", "http://127.0.0.1:9/poyo", True),
        ("http://127.0.0.1:8/a.png", "http://127.0.0.1:9", False),
        ("http://127.0.0.1:9@evil.example.net/a.png", "http://127.0.0.1:9", False),
        ("http://storage.poyo.ai/a.png", None, False),
        ("https://localhost/a.png", None, False),
        ("//storage.poyo.ai/a.png", None, False),
        ("", "http://127.0.0.1:9", False),
    ],
)
def test_a_link_in_a_request_is_public_or_at_the_one_origin(link: str, loopback: str | None, usable: bool) -> None:
    """As for downloads."""
    assert is_public_link(link, loopback=loopback) is usable
