"""A payload builds if and only if its shot validates, and what is built reads back as the same shot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from callsheet.core.catalogue import Availability, Field, ModelCard
from callsheet.core.payload.body import (
    Body,
    build_body,
    fixed_value,
    freeze_body,
    neutral_value,
    settle_shot,
    size_value,
    wire_value,
)
from callsheet.core.payload.recognition import recognise
from callsheet.core.payload.validation import Hosts, check_shot, neutral_choices
from callsheet.core.shot import ROLE_ATTRIBUTES, JsonValue, Shot
from callsheet.edges.config.catalogue_files import load_catalogue
from cases import cases
from examples import examples

CATALOGUE = load_catalogue()
HOSTS = Hosts(callbacks=("hooks.acme.com",))
IMAGE = "https://cdn.acme.com/a.png?token=t0psecret"
CALLBACK = "https://hooks.acme.com/done?id=7"
KINDS: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "array": list}


def card(card_id: str) -> ModelCard:
    found = CATALOGUE.card(*card_id.split("/"))
    assert found is not None
    return found


def as_if_served(model: ModelCard) -> ModelCard:
    """The card without its lifecycle's veto, so that the fields of dropped models are exercised too."""
    return replace(model, lifecycle=replace(model.lifecycle, availability=Availability.UNVERIFIED))


SERVED = tuple(as_if_served(model) for model in CATALOGUE.cards)
GENERATING = tuple(model for model in SERVED if model.kinds)


def body_of(card_id: str, **shot: Any) -> Body:
    """The body of a shot that must be valid."""
    verdict = check_shot(as_if_served(card(card_id)), Shot(**{"prompt": "A red kite", **shot}), HOSTS)
    assert not verdict.blocked, [str(finding) for finding in verdict.findings]
    return build_body(card(card_id), verdict.corrected)


def leaves(body: Body, parents: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], JsonValue]]:
    for name, value in body.items():
        if isinstance(value, dict):
            yield from leaves(value, (*parents, name))
        else:
            yield (*parents, name), value


def look(body: Body, name: str) -> JsonValue:
    return dict(leaves(body)).get(tuple(name.split(".")))


# ---------------------------------------------------------------------------------------------- for every card and shot

odd_texts = st.one_of(
    st.text(max_size=20), st.sampled_from(["", "  ", "A cat", "\0", "\ud800", "A\udfffb", "x" * 1001, "y" * 10_001])
)
json_values: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), odd_texts, st.lists(odd_texts, max_size=2)
)
extras = st.dictionaries(
    st.sampled_from(
        ["style", "storyboard", "remove_watermark", "base_video_task_id", "video_url", "name", "seed", "\x1b[2J"]
    ),
    st.one_of(json_values, st.sampled_from(["anime", "Anime", True, "task-unified-1-a"])),
    max_size=3,
)
shots = st.builds(
    Shot,
    prompt=st.one_of(st.just("A red kite"), odd_texts),
    duration_seconds=st.one_of(st.none(), st.sampled_from([4, 8, 12, 16, 20, 10, 15, 25, True]), st.integers()),
    aspect_ratio=st.one_of(st.none(), st.sampled_from(["16:9", "9:16", "auto", "1:1", "portrait"]), odd_texts),
    resolution=st.one_of(st.none(), st.sampled_from(["720p", "1024p", "1080p", "4k", "720"]), odd_texts),
    image_url=st.one_of(st.none(), st.sampled_from([IMAGE, "", "http://10.0.0.1/a.png", "\ud800"])),
    callback_url=st.one_of(st.none(), st.sampled_from([CALLBACK, "", "https://elsewhere.com/x", "\udc00"])),
    extras=st.one_of(st.just({}), extras),
)


@st.composite
def fitting(draw: st.DrawFn) -> tuple[ModelCard, Shot]:
    """A card and a shot that it can take, with each part said or left open."""
    model = draw(st.sampled_from(GENERATING))
    shot = Shot(
        prompt="A kite " + draw(st.text(max_size=40)).replace("\0", ""),
        image_url=draw(st.sampled_from([None, IMAGE])) if model.field_for("image") else None,
        callback_url=draw(st.sampled_from([None, CALLBACK])) if model.field_for("callback") else None,
    )
    said: dict[str, Any] = {}
    extra: dict[str, JsonValue] = {}
    for field in model.fields:
        if not field.exists_in(shot.kind) or not (field.required or draw(st.booleans())):
            continue
        if field.role == "size":
            said |= dict(draw(st.sampled_from(field.spelling))[1])
        elif field.role in ("duration", "aspect_ratio", "resolution"):
            said[ROLE_ATTRIBUTES[field.role]] = draw(st.sampled_from(neutral_choices(field, shot.kind)))
        elif field.role == "extra":
            anything = st.booleans() if field.kind == "boolean" else st.just("task-unified-1-a")
            extra[field.path[-1]] = draw(st.sampled_from(field.values) if field.values else anything)
    return model, replace(shot, **said, extras=extra)


def assert_documented(model: ModelCard, body: Body, shot: Shot) -> None:
    """Only the card's fields, each at its path, of its type, with an allowed value, and all that are required."""
    fields = {field.path: field for field in model.fields}
    found = dict(leaves(body))
    assert found.keys() <= fields.keys()
    for path, value in found.items():
        field = fields[path]
        assert field.exists_in(shot.kind)
        assert type(value) is KINDS[field.kind]
        allowed = field.allowed(shot.kind)
        assert not allowed or value in allowed
    assert {field.path for field in model.fields if field.required and field.exists_in(shot.kind)} <= found.keys()


@given(fitting())
@examples(250)
def test_a_shot_of_allowed_values_is_never_blocked(pair: tuple[ModelCard, Shot]) -> None:
    """Nothing that the catalogue allows is refused, and no value of it is changed."""
    model, shot = pair
    verdict = check_shot(model, shot, HOSTS)
    assert [str(finding) for finding in verdict.findings if finding.severity == "error"] == []
    assert verdict.corrected == settle_shot(model, shot)


@given(st.one_of(fitting(), st.tuples(st.sampled_from(GENERATING), shots)))
@examples(250)
def test_what_validates_builds_and_reads_back_as_the_same_shot(pair: tuple[ModelCard, Shot]) -> None:
    """A shot that is not blocked makes a body of only documented fields, in which the same shot is recognised."""
    model, shot = pair
    verdict = check_shot(model, shot, HOSTS)
    event(f"blocked: {verdict.blocked}")
    if verdict.blocked:
        return
    body = build_body(model, verdict.corrected)
    assert_documented(model, body, verdict.corrected)
    read = recognise(json.loads(freeze_body(body)), CATALOGUE, gateway=model.gateway, model=model.model)
    assert read.card == card(model.id)
    assert settle_shot(model, read.shot) == verdict.corrected
    assert [str(finding) for finding in read.findings if finding.severity == "error"] == []
    assert build_body(model, read.shot) == body
    for attribute in ("duration_seconds", "aspect_ratio", "resolution", "image_url", "callback_url"):
        asked = getattr(shot, attribute)
        assert asked in (None, getattr(verdict.corrected, attribute))


@given(st.sampled_from(SERVED), shots)
@examples(250)
def test_one_mending_is_enough(model: ModelCard, shot: Shot) -> None:
    """Judged again, a corrected shot has no error but those that only a person can mend, and mends into itself."""
    verdict = check_shot(model, shot, HOSTS)
    again = check_shot(model, verdict.corrected, HOSTS)
    assert again.corrected == verdict.corrected
    for finding in again.findings:
        if finding.severity == "error":
            assert finding.field in {"model", "prompt", "image_url"} or finding.value == "missing"
            assert "cannot carry" not in finding.rule
            assert any(finding.field == before.field for before in verdict.findings)


@given(st.sampled_from(SERVED), shots)
@examples(250)
def test_a_mended_shot_always_builds_and_freezes(model: ModelCard, shot: Shot) -> None:
    """Blocked or not, the corrected form can be shown: building never raises and gives valid UTF-8 JSON."""
    corrected = check_shot(model, shot, HOSTS).corrected
    body = build_body(model, corrected)
    assert json.loads(freeze_body(body).decode()) == body
    paths = {field.path for field in model.fields}
    assert {path for path, _ in leaves(body)} <= paths


@given(st.sampled_from(GENERATING), shots)
@examples(200)
def test_settling_twice_changes_nothing(model: ModelCard, shot: Shot) -> None:
    """What is written out once stays as it is."""
    settled = settle_shot(model, shot)
    assert settle_shot(model, settled) == settled


# ------------------------------------------------------------------------------------------------- rules from the facts


@cases("gateway", ["poyo", "apidot"])
def test_sora_2_pro_official_always_says_its_ratio(gateway: str) -> None:
    """Sources disagree on the default with an image, so 16:9 is written from text and auto with an image."""
    card_id = f"{gateway}/sora-2-pro-official"
    assert look(body_of(card_id), "input.aspect_ratio") == "16:9"
    assert look(body_of(card_id, image_url=IMAGE), "input.aspect_ratio") == "auto"
    assert look(body_of(card_id, image_url=IMAGE, aspect_ratio="9:16"), "input.aspect_ratio") == "9:16"


@cases("gateway", ["poyo", "apidot"])
def test_auto_needs_a_reference_image(gateway: str) -> None:
    """From text `auto` is an error that says when it is allowed, and 16:9 is written instead."""
    verdict = check_shot(card(f"{gateway}/sora-2-pro-official"), Shot("A kite", aspect_ratio="auto"), HOSTS)
    (wrong,) = (finding for finding in verdict.findings if finding.severity == "error")
    assert (wrong.field, wrong.value) == ("aspect_ratio", "auto")
    assert "auto only with a reference image" in wrong.rule
    assert verdict.corrected.aspect_ratio == "16:9"


@cases("card_id", ["poyo/sora-2-official", "apidot/sora-2-official"])
def test_sora_2_official_is_never_sent_a_resolution(card_id: str) -> None:
    """The field does not exist there: asking for 1080p is an error, and no body has it."""
    assert look(body_of(card_id), "input.resolution") is None
    verdict = check_shot(card(card_id), Shot("A kite", resolution="1080p"), HOSTS)
    assert verdict.blocked
    assert look(build_body(card(card_id), verdict.corrected), "input.resolution") is None


def test_apidots_standard_clip_is_720p_and_says_so_without_a_field() -> None:
    """The documented output size may be asked for, and is not sent."""
    body = body_of("apidot/sora-2-official", resolution="720p")
    assert body == body_of("apidot/sora-2-official")
    assert settle_shot(card("apidot/sora-2-official"), Shot("A kite")).resolution == "720p"
    assert settle_shot(card("poyo/sora-2-official"), Shot("A kite")).resolution is None


def test_the_cheapest_or_documented_resolution_is_written_out() -> None:
    """PoYo documents 1024p as its default; where nobody does, 720p is written."""
    assert look(body_of("poyo/sora-2-pro-official"), "input.resolution") == "1024p"
    assert look(body_of("apidot/sora-2-pro-official"), "input.resolution") == "720p"
    assert look(body_of("evolink/sora-2-pro-preview"), "quality") == "720p"


@cases("model", ["sora-2", "sora-2-pro"])
@cases("shot", [{}, {"image_url": IMAGE}, {"callback_url": CALLBACK}])
def test_apixo_is_always_sent_the_official_provider(model: str, shot: dict[str, str]) -> None:
    """`official` satisfies both generations of pages that know the field."""
    assert look(body_of(f"apixo/{model}", **shot), "provider") == "official"


@cases("model", ["sora-2", "sora-2-pro"])
@cases(("callback", "kind"), [(None, "async"), (CALLBACK, "callback")])
def test_apixos_request_type_is_callback_exactly_when_there_is_a_callback_url(
    model: str, callback: str | None, kind: str
) -> None:
    """The one is required with the other and useless without it."""
    body = body_of(f"apixo/{model}", callback_url=callback)
    assert (body["request_type"], body.get("callback_url")) == (kind, callback)


@cases("model", ["sora-2", "sora-2-pro"])
@cases(("image", "mode"), [(None, "text-to-video"), (IMAGE, "image-to-video")])
def test_apixos_mode_follows_the_image(model: str, image: str | None, mode: str) -> None:
    """Nobody writes the mode: it is what the shot is."""
    assert look(body_of(f"apixo/{model}", image_url=image), "input.mode") == mode


@cases(("ratio", "wire"), [(None, "landscape"), ("16:9", "landscape"), ("9:16", "portrait")])
def test_apixos_sora_2_writes_landscape_and_portrait(ratio: str | None, wire: str) -> None:
    """A ratio is spelled in that model's own words."""
    assert look(body_of("apixo/sora-2", aspect_ratio=ratio), "input.aspect_ratio") == wire


@cases(
    ("ratio", "resolution", "size"),
    [
        (None, None, "1280*720"),
        ("16:9", "720p", "1280*720"),
        ("9:16", None, "720*1280"),
        (None, "1024p", "1792*1024"),
        ("9:16", "1024p", "1024*1792"),
    ],
)
def test_apixos_sora_2_pro_takes_a_size_with_an_asterisk_from_text(
    ratio: str | None, resolution: str | None, size: str
) -> None:
    """Ratio and resolution become one size; neither has a field of its own there."""
    body = body_of("apixo/sora-2-pro", aspect_ratio=ratio, resolution=resolution)
    assert look(body, "input.size") == size
    assert look(body, "input.resolution") is None
    assert look(body, "input.aspect_ratio") is None


@cases(("resolution", "wire"), [(None, "720p"), ("720p", "720p"), ("1080p", "1080p")])
def test_apixos_sora_2_pro_takes_a_resolution_with_an_image(resolution: str | None, wire: str) -> None:
    """With an image there is no size field."""
    body = body_of("apixo/sora-2-pro", image_url=IMAGE, resolution=resolution)
    assert look(body, "input.resolution") == wire
    assert look(body, "input.size") is None


def test_apixos_sora_2_pro_refuses_1080p_from_text_and_1024p_with_an_image() -> None:
    """Each mode has its own two heights; the nearest is offered."""
    text = check_shot(card("apixo/sora-2-pro"), Shot("A kite", resolution="1080p", aspect_ratio="9:16"), HOSTS)
    image = check_shot(card("apixo/sora-2-pro"), Shot("A kite", resolution="1024p", image_url=IMAGE), HOSTS)
    assert text.blocked
    assert image.blocked
    assert (text.corrected.aspect_ratio, text.corrected.resolution) == ("9:16", "1024p")
    assert image.corrected.resolution == "1080p"


def test_a_ratio_that_has_no_field_with_an_image_is_not_dropped_in_silence() -> None:
    """APIXO's sora-2-pro takes the ratio from the image, so asking for one is an error."""
    verdict = check_shot(card("apixo/sora-2-pro"), Shot("A kite", aspect_ratio="9:16", image_url=IMAGE), HOSTS)
    (wrong,) = (finding for finding in verdict.findings if finding.severity == "error")
    assert (wrong.field, wrong.value, wrong.instead) == ("aspect_ratio", "9:16", "Leave it out.")
    assert "image-to-video" in wrong.rule


@cases(
    ("card_id", "limit"),
    [
        ("evolink/sora-2-preview", 5000),
        ("evolink/sora-2-pro-preview", 5000),
        ("apixo/sora-2", 10_000),
        ("apixo/sora-2-pro", 5000),
        ("poyo/sora-2", 1000),
        ("poyo/sora-2-private", 1000),
        ("poyo/sora-2-stable", 1000),
        ("poyo/sora-2-pro", 1000),
        ("poyo/sora-2-pro-private", 1000),
        ("poyo/sora-2-svip", 1000),
        ("poyo/sora-2-svip-stable", 1000),
        ("evolink/sora-2", 1000),
        ("evolink/sora-2-pro-remix", 2000),
    ],
)
def test_a_documented_prompt_limit_is_exact(card_id: str, limit: int) -> None:
    """The last allowed character passes, one more is an error that counts what is too much."""
    model = as_if_served(card(card_id))
    extra = {"base_video_task_id": "task-unified-1-a"} if card_id.endswith("remix") else {}
    assert not check_shot(model, Shot("x" * limit, extras=extra), HOSTS).blocked
    (wrong,) = (
        finding
        for finding in check_shot(model, Shot("x" * (limit + 1), extras=extra), HOSTS).findings
        if finding.severity == "error"
    )
    assert (wrong.field, wrong.instead) == ("prompt", "Shorten it by 1 characters.")


@cases("card_id", ["poyo/sora-2-official", "poyo/sora-2-pro-official", "apidot/sora-2-official"])
def test_where_no_prompt_limit_is_documented_none_is_made_up(card_id: str) -> None:
    """A very long prompt is sent as it is."""
    assert look(body_of(card_id, prompt="x" * 50_000), "input.prompt") == "x" * 50_000


@cases("card_id", sorted(model.id for model in GENERATING if model.field_for("image")))
def test_the_image_is_a_list_of_one(card_id: str) -> None:
    """No gateway takes a second image, and each wants the one in a list."""
    field = card(card_id).field_for("image")
    assert field is not None
    assert field.max_items == 1
    assert look(body_of(card_id, image_url=IMAGE), field.name) == [IMAGE]


def test_the_documents_own_bodies_are_built() -> None:
    """PoYo nests, EvoLink is flat, APIXO has its envelope; the order is the catalogue's."""
    assert json.dumps(body_of("poyo/sora-2-official", duration_seconds=20)) == json.dumps(
        {"model": "sora-2-official", "input": {"prompt": "A red kite", "duration": 20, "aspect_ratio": "16:9"}}
    )
    assert json.dumps(body_of("evolink/sora-2-preview", callback_url=CALLBACK)) == json.dumps(
        {
            "model": "sora-2-preview",
            "prompt": "A red kite",
            "aspect_ratio": "16:9",
            "duration": 4,
            "callback_url": CALLBACK,
        }
    )
    assert json.dumps(body_of("apixo/sora-2", image_url=IMAGE, extras={"remove_watermark": False})) == json.dumps(
        {
            "request_type": "async",
            "provider": "official",
            "input": {
                "mode": "image-to-video",
                "prompt": "A red kite",
                "duration": 4,
                "aspect_ratio": "landscape",
                "image_urls": [IMAGE],
                "remove_watermark": False,
            },
        }
    )


# ------------------------------------------------------------------------------------------------------ the small parts


def test_frozen_bytes_are_compact_and_keep_every_letter() -> None:
    """The bytes are what is hashed: no spaces, no needless escapes, the order kept."""
    assert freeze_body({"b": "Zürich 東京", "a": [1, True, None]}) == '{"b":"Zürich 東京","a":[1,true,null]}'.encode()


def test_half_of_a_surrogate_pair_is_frozen_as_an_escape() -> None:
    """A blocked shot can hold one; its bytes are still valid UTF-8 and JSON."""
    frozen = freeze_body({"prompt": "a\ud800b"})
    assert frozen == b'{"prompt":"a\\ud800b"}'
    assert json.loads(frozen.decode()) == {"prompt": "a\ud800b"}


def test_what_is_no_json_is_never_frozen() -> None:
    """NaN has no spelling in JSON."""
    with pytest.raises(ValueError, match="JSON"):
        freeze_body({"a": float("nan")})


def test_spelled_values_translate_both_ways() -> None:
    """A wire value and its meaning lead to each other; what has no spelling of its own stays."""
    field = card("apixo/sora-2").field_for("aspect_ratio")
    assert field is not None
    assert [neutral_value(field, wire) for wire in ("landscape", "portrait", "1:1")] == ["16:9", "9:16", "1:1"]
    assert [wire_value(field, ratio) for ratio in ("16:9", "9:16", "1:1")] == ["landscape", "portrait", "1:1"]


def test_a_size_that_the_gateway_does_not_have_is_none() -> None:
    """No size is made up for a ratio and resolution that stand in no pair."""
    field = card("apixo/sora-2-pro").field_for("size")
    assert field is not None
    assert size_value(field, Shot(aspect_ratio="16:9", resolution="720p")) == "1280*720"
    assert size_value(field, Shot(aspect_ratio="16:9", resolution="1080p")) is None
    assert size_value(field, Shot()) is None


@cases(
    ("fixed", "shot", "value"),
    [
        ((("always", "x"),), Shot(), "x"),
        ((("image", "i"), ("text", "t")), Shot(image_url=IMAGE), "i"),
        ((("image", "i"), ("text", "t")), Shot(), "t"),
        ((("callback", "c"), ("no_callback", "n")), Shot(callback_url=CALLBACK), "c"),
        ((("callback", "c"), ("no_callback", "n")), Shot(), "n"),
        ((("image", "i"),), Shot(), None),
        ((("image", "i"), ("always", "x")), Shot(image_url=IMAGE), "i"),
    ],
)
def test_a_fixed_value_is_that_of_the_first_situation_that_holds(
    fixed: tuple[tuple[str, str], ...], shot: Shot, value: str | None
) -> None:
    """Situations are tried in order; where none holds nothing is written."""
    field = Field(path=("x",), role="fixed", kind="string", source="page", fixed=fixed)
    assert fixed_value(field, shot) == value
    small = replace(card("poyo/sora-2-official"), fields=(field,))
    assert build_body(small, shot) == ({} if value is None else {"x": value})


def test_an_image_field_that_is_a_string_is_given_the_url_itself() -> None:
    """A card whose image field is no list gets a bare URL, and nothing for an empty one."""
    field = Field(path=("deep", "er", "image"), role="image", kind="string", source="page")
    small = replace(card("poyo/sora-2-official"), fields=(field,))
    assert build_body(small, Shot(image_url=IMAGE)) == {"deep": {"er": {"image": IMAGE}}}
    assert build_body(small, Shot(image_url="")) == {}


def test_an_extra_field_is_filled_when_the_shot_is_silent() -> None:
    """An extra value goes out as given, else as the card fills it, else not at all."""
    filled = Field(path=("input", "style"), role="extra", kind="string", source="page", fill="anime")
    silent = Field(path=("input", "seed"), role="extra", kind="integer", source="page")
    small = replace(card("poyo/sora-2-official"), fields=(filled, silent))
    assert build_body(small, Shot()) == {"input": {"style": "anime"}}
    assert build_body(small, Shot(extras={"style": "news", "seed": 7})) == {"input": {"style": "news", "seed": 7}}


def test_a_field_of_the_other_mode_is_not_settled() -> None:
    """What exists only with an image leaves a shot from text open."""
    field = Field(
        path=("ratio",), role="aspect_ratio", kind="string", source="page", fill="16:9", only="image-to-video"
    )
    small = replace(card("poyo/sora-2-official"), fields=(field,))
    assert settle_shot(small, Shot()).aspect_ratio is None
    assert settle_shot(small, Shot(image_url=IMAGE)).aspect_ratio == "16:9"
