"""Every violation of a shot is named at once, with what to write instead and nothing that is private."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.catalogue import Availability, Field, ModelCard, Scalar
from callsheet.core.payload.body import Finding, format_length, format_name, format_value, nearest_choice
from callsheet.core.payload.validation import Hosts, Verdict, check_shot, nearest_shot, neutral_choices
from callsheet.core.shot import JsonValue, Shot
from callsheet.edges.config.catalogue_files import load_catalogue
from cases import cases
from examples import examples

CATALOGUE = load_catalogue()
HOSTS = Hosts(callbacks=("hooks.acme.com",))
SECRET = "t0psecret"
IMAGE = f"https://cdn.acme.com/private-{SECRET}/a.png?token={SECRET}"
CALLBACK = f"https://hooks.acme.com/{SECRET}?id={SECRET}"
PROMPT = "A red kite over the dunes"

RATIOS: tuple[Scalar, ...] = ("16:9", "9:16")
HEIGHTS: tuple[Scalar, ...] = ("720p", "1024p", "1080p")
LENGTHS: tuple[Scalar, ...] = (4, 8, 12, 16, 20)


def card(card_id: str) -> ModelCard:
    found = CATALOGUE.card(*card_id.split("/"))
    assert found is not None
    return found


def as_if_served(card_id: str) -> ModelCard:
    model = card(card_id)
    return replace(model, lifecycle=replace(model.lifecycle, availability=Availability.LIVE))


def small_card(*fields: Field, **changes: Any) -> ModelCard:
    """A live card with only these fields."""
    return replace(as_if_served("poyo/sora-2-official"), fields=fields, **changes)


def extra(name: str, kind: Any, **changes: Any) -> Field:
    return Field(path=("input", name), role="extra", kind=kind, source="page", **changes)


def errors(verdict: Verdict) -> dict[str, Finding]:
    return {finding.field: finding for finding in verdict.findings if finding.severity == "error"}


def judge(model: ModelCard | str, **shot: Any) -> Verdict:
    model = as_if_served(model) if isinstance(model, str) else model
    return check_shot(model, Shot(**{"prompt": PROMPT, **shot}), HOSTS)


# ------------------------------------------------------------------------------------------------------------ lifecycle


@cases(
    ("availability", "severity"),
    [
        (Availability.LIVE, None),
        (Availability.UNVERIFIED, "warning"),
        (Availability.LEGACY, "warning"),
        (Availability.DROPPED, "error"),
    ],
)
def test_availability_is_said_before_anything_else(availability: Availability, severity: str | None) -> None:
    """Only a dropped model is refused; what is not verified is a warning, and first in line."""
    model = card("poyo/sora-2-official")
    model = replace(model, lifecycle=replace(model.lifecycle, availability=availability))
    verdict = check_shot(model, Shot(PROMPT), HOSTS)
    found = [finding.severity for finding in verdict.findings if finding.field == "model"]
    assert found == ([severity] if severity else [])
    assert verdict.blocked == (severity == "error")
    assert all(finding.rule == model.lifecycle.summary for finding in verdict.findings)


@cases("model", [model for model in CATALOGUE.cards if not model.kinds], ids=lambda model: model.id)
def test_a_model_that_generates_no_video_is_refused_for_that(model: ModelCard) -> None:
    """The reason is the model, not a missing or superfluous image."""
    for image in (None, IMAGE):
        verdict = check_shot(as_if_served(model.id), Shot(PROMPT, image_url=image), HOSTS)
        assert "does not generate video" in errors(verdict)["model"].rule
        assert "image_url" not in errors(verdict)


# ----------------------------------------------------------------------------------------------------------------- mode


def test_a_card_for_text_alone_takes_no_image() -> None:
    """The image is dropped from the corrected shot, and what follows from it too."""
    verdict = judge(replace(as_if_served("poyo/sora-2-pro-official"), kinds=("text-to-video",)), image_url=IMAGE)
    assert errors(verdict)["image_url"].instead == "Leave it out."
    assert (verdict.corrected.image_url, verdict.corrected.aspect_ratio) == (None, "16:9")


def test_a_card_for_images_alone_needs_one() -> None:
    """A missing image is an error that a person must mend."""
    verdict = judge(replace(as_if_served("poyo/sora-2-pro-official"), kinds=("image-to-video",)))
    assert (errors(verdict)["image_url"].value, errors(verdict)["image_url"].instead) == ("missing", "Give one.")


# --------------------------------------------------------------------------------------------------------------- prompt


@cases("prompt", ["", "   ", "\n\t", "\u3000"])
def test_a_prompt_is_required(prompt: str) -> None:
    """White space is no prompt."""
    assert errors(judge("poyo/sora-2-official", prompt=prompt))["prompt"].value == "missing"


def test_an_optional_prompt_is_a_note() -> None:
    """Where the card does not require one, its absence is only told; without the field nothing is said."""
    field = Field(path=("prompt",), role="prompt", kind="string", source="page")
    (note,) = judge(small_card(field), prompt="").findings
    assert (note.severity, note.field) == ("note", "prompt")
    assert judge(small_card(), prompt="").findings == ()


@cases(("prompt", "left"), [("A\0 kite", "A kite"), ("A kite\ud800", "A kite"), ("\udfff\0A \ud83dkite", "A kite")])
def test_characters_that_json_cannot_hold_are_taken_out(prompt: str, left: str) -> None:
    """They are an error, and the corrected prompt is the rest."""
    verdict = judge("poyo/sora-2-official", prompt=prompt)
    assert "cannot hold" in errors(verdict)["prompt"].rule
    assert verdict.corrected.prompt == left


def test_a_prompt_of_such_characters_alone_is_missing_too() -> None:
    """Both violations are named."""
    found = [finding.value for finding in judge("poyo/sora-2-official", prompt="\0\ud800").findings]
    assert found == ["(2 characters)", "missing"]


def test_a_prompt_can_be_too_short_and_at_its_limit() -> None:
    """Lengths are counted in characters, both ends included."""
    field = Field(path=("p",), role="prompt", kind="string", source="page", min_length=5, max_length=7)
    found = {size: judge(small_card(field), prompt="x" * size).blocked for size in (4, 5, 7, 8)}
    assert found == {4: True, 5: False, 7: False, 8: True}
    assert errors(judge(small_card(field), prompt="abcd"))["prompt"].rule == "At least 5 characters."


def test_a_limit_in_tokens_warns_where_bytes_may_exceed_it() -> None:
    """EvoLink counts 5000 tokens or characters: 4000 characters of three bytes pass with a warning."""
    (warning,) = judge("evolink/sora-2-preview", prompt="東" * 4000).findings
    assert (warning.severity, warning.field, warning.value) == ("warning", "prompt", "(4,000 characters)")
    assert "12,000 bytes" in warning.rule
    assert judge("evolink/sora-2-preview", prompt="x" * 5000).findings == ()
    assert judge("apixo/sora-2", prompt="東" * 4000).findings == ()


# --------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("value", "choices", "nearest"),
    [
        (5, LENGTHS, 4),
        (6, LENGTHS, 4),
        (6, (8, 4), 4),
        (7, LENGTHS, 8),
        (10, LENGTHS, 8),
        (-3, LENGTHS, 4),
        (10**10, LENGTHS, 20),
        pytest.param(10**5000, LENGTHS, 20, id="huge"),
        pytest.param(-(10**5000), LENGTHS, 4, id="minus-huge"),
        (10.5, LENGTHS, 12),
        (float("nan"), LENGTHS, 4),
        (float("inf"), LENGTHS, 20),
        (True, LENGTHS, 4),
        (None, LENGTHS, 4),
        ([8], LENGTHS, 4),
        ("8 s", LENGTHS, 8),
        ("8seconds", LENGTHS, 8),
        ("9 secs", LENGTHS, 8),
        ("eight", LENGTHS, 4),
        (1080, HEIGHTS, "1080p"),
        ("1080", HEIGHTS, "1080p"),
        ("1080P", HEIGHTS, "1080p"),
        ("2160p", HEIGHTS, "1080p"),
        ("480p", HEIGHTS, "720p"),
        ("872p", HEIGHTS, "720p"),
        ("hd", HEIGHTS, "720p"),
        ("1:1", RATIOS, "16:9"),
        ("1:1", ("9:16", "16:9"), "9:16"),
        ("4:3", RATIOS, "16:9"),
        ("3:4", RATIOS, "9:16"),
        ("21:9", RATIOS, "16:9"),
        ("2.39:1", RATIOS, "16:9"),
        ("9x21", RATIOS, "9:16"),
        ("1080\u00d71920", RATIOS, "9:16"),
        ("16/9", RATIOS, "16:9"),
        (" 9 : 16 ", RATIOS, "9:16"),
        ("landscape", RATIOS, "16:9"),
        ("Portrait", RATIOS, "9:16"),
        ("vertical", RATIOS, "9:16"),
        ("auto", RATIOS, "16:9"),
        ("0:0", RATIOS, "16:9"),
        ("0:9", ("auto", "16:9", "9:16"), "16:9"),
        ("99999999:1", RATIOS, "16:9"),
        ("4:3", ("auto", "16:9", "9:16"), "16:9"),
        ("", RATIOS, "16:9"),
        ({}, RATIOS, "16:9"),
        ("Anime", ("comic", "news", "anime"), "anime"),
        ("nostalgia", ("comic", "nostalgic", "anime"), "nostalgic"),
        pytest.param("x" * 100_000, ("comic", "news"), "comic", id="long"),
    ],
)
def test_the_nearest_choice_is_by_number_by_shape_or_by_spelling(
    value: JsonValue, choices: tuple[Scalar, ...], nearest: Scalar
) -> None:
    """Ties go to the smaller number, else to the first choice."""
    assert nearest_choice(value, choices) == nearest


@cases(
    ("shot", "field", "value", "instead"),
    [
        ({"duration_seconds": 5}, "duration_seconds", "5", "Nearest: 4."),
        ({"duration_seconds": True}, "duration_seconds", "true", "Nearest: 4."),
        ({"duration_seconds": 8.0}, "duration_seconds", "8.0", "Nearest: 8."),
        ({"aspect_ratio": "1:1"}, "aspect_ratio", "1:1", "Nearest: 16:9."),
        ({"aspect_ratio": True}, "aspect_ratio", "true", "Nearest: 16:9."),
        ({"aspect_ratio": ""}, "aspect_ratio", "(empty)", "Nearest: 16:9."),
        ({"resolution": "4k"}, "resolution", "4k", "Nearest: 1080p."),
        ({"resolution": 1080}, "resolution", "1080", "Nearest: 1080p."),
        ({"resolution": IMAGE}, "resolution", "(a URL)", None),
        ({"resolution": PROMPT}, "resolution", "(25 characters)", None),
    ],
)
def test_a_value_that_is_not_offered_is_named_with_the_nearest(
    shot: dict[str, Any], field: str, value: str, instead: str | None
) -> None:
    """The finding has the caller's name, the value, what is offered and what to write; the corrected shot has it."""
    verdict = judge("poyo/sora-2-pro-official", **shot)
    finding = errors(verdict)[field]
    assert finding.value == value
    assert finding.rule.startswith("poyo/sora-2-pro-official offers ")
    assert instead in (None, finding.instead)
    assert not judge("poyo/sora-2-pro-official", **{field: getattr(verdict.corrected, field)}).blocked


def test_a_type_that_equals_an_allowed_value_is_still_wrong() -> None:
    """`True` equals 1 in Python and not in JSON."""
    field = Field(path=("d",), role="duration", kind="integer", source="page", values=(1, 2))
    assert judge(small_card(field), duration_seconds=True).blocked
    assert not judge(small_card(field), duration_seconds=1).blocked


def test_a_field_without_listed_values_takes_any() -> None:
    """Where nothing is documented nothing is refused."""
    field = Field(path=("d",), role="duration", kind="integer", source="page")
    assert judge(small_card(field), duration_seconds=77).findings == ()


def test_choices_are_told_in_the_words_of_a_shot() -> None:
    """What a gateway spells in its own way is listed as a shot has it."""
    model = card("apixo/sora-2")
    field = model.field_for("aspect_ratio")
    assert field is not None
    assert neutral_choices(field, "text-to-video") == ("16:9", "9:16")
    assert "offers 16:9, 9:16." in errors(judge("apixo/sora-2", aspect_ratio="landscape"))["aspect_ratio"].rule


@cases(
    ("ratio", "resolution", "field", "corrected"),
    [
        ("1:1", None, "aspect_ratio", ("16:9", "720p")),
        ("3:4", "1080p", "aspect_ratio", ("9:16", "1024p")),
        ("16:9", "1080p", "resolution", ("16:9", "1024p")),
        ("9:16", "480p", "resolution", ("9:16", "720p")),
        (None, "4k", "resolution", ("16:9", "1024p")),
        ("auto", "1024p", "aspect_ratio", ("16:9", "1024p")),
        ("", None, "aspect_ratio", ("16:9", "720p")),
        (None, "", "resolution", ("16:9", "720p")),
    ],
)
def test_a_size_that_is_not_offered_becomes_the_nearest_pair(
    ratio: str | None, resolution: str | None, field: str, corrected: tuple[str, str]
) -> None:
    """APIXO's sora-2-pro offers pairs of ratio and resolution: the shape is kept first, then the height."""
    verdict = judge("apixo/sora-2-pro", aspect_ratio=ratio, resolution=resolution)
    assert list(errors(verdict)) == [field]
    assert errors(verdict)[field].instead == f"Nearest: {corrected[0]} at {corrected[1]}."
    assert (verdict.corrected.aspect_ratio, verdict.corrected.resolution) == corrected


@cases(
    ("card_id", "shot", "rule"),
    [
        ("poyo/sora-2-official", {"resolution": "720p"}, "no resolution field (its output size is not documented)"),
        ("apidot/sora-2-official", {"resolution": "1080p"}, "no resolution field (its output is 720p)"),
        ("evolink/sora-2", {"duration_seconds": 8}, "has no duration_seconds field."),
        ("evolink/sora-2", {"callback_url": CALLBACK}, "has no callback_url field."),
        ("apixo/sora-2-pro", {"aspect_ratio": "16:9", "image_url": IMAGE}, "no aspect_ratio field for image-to-video."),
    ],
)
def test_what_a_card_has_no_field_for_is_an_error(card_id: str, shot: dict[str, str], rule: str) -> None:
    """Nothing that was asked for is dropped in silence; the corrected shot does not ask for it."""
    verdict = judge(card_id, **shot)
    (name,) = errors(verdict)
    assert name == next(iter(shot))
    assert rule in errors(verdict)[name].rule
    assert getattr(verdict.corrected, name) in (None, card(card_id).resolution_when_absent)


# --------------------------------------------------------------------------------------------------------------- extras


@cases(
    ("field", "value", "rule"),
    [
        (extra("style", "string", values=("news", "anime")), "Anime", "One of news, anime."),
        (extra("style", "string"), 5, "Must be of type string."),
        (extra("style", "string"), None, "Must be of type string."),
        (extra("style", "string"), "a\ud800", "cannot hold"),
        (extra("style", "string", max_length=3), "abcd", "At most 3 characters."),
        (extra("style", "string", min_length=3), "ab", "At least 3 characters."),
        (extra("seed", "integer"), True, "Must be of type integer."),
        (extra("seed", "integer"), 1.0, "Must be of type integer."),
        (extra("seed", "integer"), float("nan"), "Must be of type integer."),
        (extra("flag", "boolean"), "true", "Must be of type boolean."),
        (extra("tags", "array"), "a", "Must be of type array."),
        (extra("tags", "array"), ["a", float("nan")], "Must be an array of strings."),
        (extra("tags", "array"), ["a\ud800"], "Must be an array of strings."),
        (extra("tags", "array", max_items=1), ["a", "b"], "At most 1 items."),
        (extra("video_url", "string"), "http://10.0.0.1/x", "https"),
        (extra("video_url", "string"), f"https://user:{SECRET}@acme.com/", "user name"),
    ],
)
def test_an_extra_value_is_judged_like_any_other(field: Field, value: JsonValue, rule: str) -> None:
    """A wrong one is an error with its rule, and leaves the corrected shot."""
    verdict = judge(small_card(field), extras={field.path[-1]: value})
    assert rule in errors(verdict)[field.name].rule
    assert dict(verdict.corrected.extras) == {}


@cases(
    ("field", "value"),
    [
        (extra("style", "string", values=("news", "anime")), "anime"),
        (extra("style", "string", min_length=2, max_length=3), "abc"),
        (extra("seed", "integer"), 7),
        (extra("flag", "boolean"), False),
        (extra("tags", "array", max_items=2), ["a", "b"]),
        (extra("video_url", "string"), IMAGE),
    ],
)
def test_an_allowed_extra_value_stays(field: Field, value: JsonValue) -> None:
    """Nothing is said of it and nothing changed."""
    verdict = judge(small_card(field), extras={field.path[-1]: value})
    assert verdict.findings == ()
    assert dict(verdict.corrected.extras) == {field.path[-1]: value}


def test_extras_that_the_card_does_not_know_are_all_named() -> None:
    """Each is an error of its own, its name made harmless; what is known stays."""
    shot = {"style": "anime", "seed": 5, "neg\x1b[31mative\n": "x", "": 1, f"https://x.com/?{SECRET}": 2}
    verdict = judge("poyo/sora-2", extras=shot, duration_seconds=10)
    assert set(errors(verdict)) == {"seed", "negative", "(nameless)", "(a URL)"}
    assert dict(verdict.corrected.extras) == {"style": "anime"}


def test_a_required_extra_that_is_missing_is_named() -> None:
    """It is an error with the catalogue's own note on what it is."""
    verdict = judge("evolink/sora-2-pro-remix", duration_seconds=15)
    finding = errors(verdict)["base_video_task_id"]
    assert (finding.value, finding.instead) == ("missing", "The EvoLink task id of a Sora 2 or Sora 2 Pro video.")
    assert errors(judge(small_card(extra("x", "string", required=True))))["input.x"].instead == (
        "Give it in a raw payload."
    )


def test_extras_of_the_other_mode_are_unknown() -> None:
    """A field that exists only with an image is refused from text."""
    model = small_card(extra("strength", "integer", only="image-to-video"))
    assert judge(model, extras={"strength": 1}).blocked
    assert not judge(model, extras={"strength": 1}, image_url=IMAGE).blocked


# ----------------------------------------------------------------------------------------------------------------- URLs


@cases(
    "url",
    [
        "http://cdn.acme.com/a.png",
        f"https://user:{SECRET}@cdn.acme.com/a.png",
        f"https://10.0.0.1/{SECRET}.png",
        "https://localhost/a.png",
        "file:///etc/passwd",
        f"data:image/png;base64,{SECRET}",
        "",
        "\ud800",
        f"https://cdn.acme.com/a.png?{'x' * 2048}",
        f"https://cdn.acme.com?@127.0.0.1/{SECRET}.png",
    ],
)
def test_an_image_must_be_at_a_public_https_address(url: str) -> None:
    """Anything else is an error that shows neither path nor query; only a person can mend it."""
    verdict = judge("poyo/sora-2-official", image_url=url)
    finding = errors(verdict)["image_url"]
    assert finding.instead == "Give a public https URL."
    assert SECRET not in str(finding)
    assert verdict.corrected.image_url == url


def test_a_presigned_address_with_a_long_query_is_taken() -> None:
    """Up to 2,048 characters in all."""
    url = "https://cdn.acme.com/a.png?X-Amz-Security-Token="
    for size, blocked in ((2048, False), (2049, True)):
        assert judge("poyo/sora-2-official", image_url=url + "x" * (size - len(url))).blocked == blocked


@cases(
    ("shot", "field", "offered", "attribute", "nearest"),
    [
        ({"duration_seconds": 10}, "duration_seconds", "4, 8, 12, 16, 20", "duration_seconds", 8),
        ({"duration_seconds": 25}, "duration_seconds", "4, 8, 12, 16, 20", "duration_seconds", 20),
        ({"resolution": "4k"}, "resolution", "720p, 1024p, 1080p", "resolution", "1080p"),
        ({"resolution": "2160p"}, "resolution", "720p, 1024p, 1080p", "resolution", "1080p"),
        ({"aspect_ratio": "4:5"}, "aspect_ratio", "16:9, 9:16", "aspect_ratio", "9:16"),
    ],
)
def test_what_no_card_can_do_is_named_with_the_nearest_that_any_can(
    shot: dict[str, Any], field: str, offered: str, attribute: str, nearest: Scalar
) -> None:
    """The nearest of all that is offered, not of what the cheapest card offers."""
    found = nearest_shot(CATALOGUE.cards, Shot(PROMPT, **shot), HOSTS)
    assert found is not None
    wrong = next(finding for finding in found[1].findings if finding.severity == "error")
    assert (wrong.field, wrong.instead) == (field, f"Nearest: {nearest}.")
    assert offered in wrong.rule
    assert getattr(found[1].corrected, attribute) == nearest
    assert not check_shot(found[0], found[1].corrected, HOSTS).blocked


def test_without_cards_nothing_is_nearest() -> None:
    """A dropped card is never offered."""
    dropped = [card for card in CATALOGUE.cards if card.lifecycle.availability is Availability.DROPPED]
    assert nearest_shot(dropped, Shot(PROMPT), HOSTS) is None


def test_the_policy_may_narrow_the_hosts_of_images() -> None:
    """With a list, another host is refused and named; without one, any public host passes."""
    shot = Shot(PROMPT, image_url=IMAGE)
    model = as_if_served("poyo/sora-2-official")
    assert not check_shot(model, shot, Hosts()).blocked
    assert not check_shot(model, shot, Hosts(images=("cdn.acme.com",))).blocked
    finding = errors(check_shot(model, shot, Hosts(images=("acme.com",))))["image_url"]
    assert finding.value == "(host cdn.acme.com)"


@cases(
    ("name", "warned"),
    [
        ("a.png", False),
        ("A.JPEG", False),
        ("a.webp?x=b.gif", False),
        ("a.gif", True),
        ("a.png.exe", True),
        ("plain", False),
        ("", False),
    ],
)
def test_another_format_of_image_is_a_warning(name: str, warned: bool) -> None:
    """The name of a file proves nothing, so it only warns, and only where formats are documented."""
    url = f"https://cdn.acme.com/{SECRET}/{name}"
    found = [finding for finding in judge("apixo/sora-2", image_url=url).findings if finding.field == "image_url"]
    assert [finding.severity for finding in found] == (["warning"] if warned else [])
    assert SECRET not in str(found)
    assert judge("poyo/sora-2-official", image_url=url).findings == ()
    assert judge(replace(as_if_served("poyo/sora-2-official"), image=None), image_url=url).findings == ()


@cases(
    ("url", "rule"),
    [
        (f"https://elsewhere.com/{SECRET}", "listed by a person"),
        (f"https://sub.hooks.acme.com/{SECRET}", "listed by a person"),
        (f"http://hooks.acme.com/{SECRET}", "https"),
        ("", "https"),
        ("\udc00", "RFC 3986"),
    ],
)
def test_a_callback_goes_to_a_host_that_a_person_listed(url: str, rule: str) -> None:
    """Every other is refused, without its path, and the corrected shot has none: polling needs none."""
    verdict = judge("poyo/sora-2-official", callback_url=url)
    finding = errors(verdict)["callback_url"]
    assert rule in finding.rule
    assert finding.instead == "Leave it out; polling does not need it."
    assert SECRET not in str(finding)
    assert verdict.corrected.callback_url is None


def test_a_listed_callback_stays() -> None:
    """What the policy allows is sent as it is."""
    verdict = judge("poyo/sora-2-official", callback_url=CALLBACK)
    assert (verdict.findings, verdict.corrected.callback_url) == ((), CALLBACK)


# -------------------------------------------------------------------------------------------------- everything together


def test_every_violation_is_named_at_once() -> None:
    """One call tells all that is wrong, and the corrected shot is right in all that can be corrected."""
    verdict = judge(
        "apixo/sora-2",
        prompt="",
        duration_seconds=10,
        aspect_ratio="1:1",
        resolution="1080p",
        image_url="http://cdn.acme.com/a.png",
        callback_url="https://elsewhere.com/x",
        extras={"remove_watermark": "yes", "seed": 1},
    )
    assert set(errors(verdict)) == {
        "prompt",
        "duration_seconds",
        "aspect_ratio",
        "resolution",
        "image_url",
        "callback_url",
        "input.remove_watermark",
        "seed",
    }
    assert all(finding.rule and finding.instead for finding in verdict.findings)
    corrected = verdict.corrected
    assert (corrected.duration_seconds, corrected.aspect_ratio, corrected.resolution) == (8, "16:9", None)
    assert (corrected.callback_url, dict(corrected.extras)) == (None, {})


def test_a_finding_reads_as_one_sentence_of_value_rule_and_remedy() -> None:
    """Empty parts leave no gap."""
    assert str(Finding("error", "duration_seconds", "9", "Offers 4, 8.", "Nearest: 8.")) == (
        "duration_seconds 9: Offers 4, 8. Nearest: 8."
    )
    assert str(Finding("note", "x", "", "Told.", "")) == "x: Told."


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (7.5, "7.5"),
        (10**15, "(a huge number)"),
        pytest.param(-(10**5000), "(a huge number)", id="minus-huge"),
        (float("nan"), "nan"),
        (float("inf"), "(a huge number)"),
        ("16:9", "16:9"),
        ("16/9", "16/9"),
        ("1280*720", "1280*720"),
        ("", "(empty)"),
        ("\u200b", "(empty)"),
        ("a\x1b[31mb\nc", "ab c"),
        ("https://cdn.acme.com/x", "(a URL)"),
        ("//cdn.acme.com/x", "(a URL)"),
        ("cdn.acme.com/x?y", "(a URL)"),
        ("data:image/png;base64,AAAA", "(a URL)"),
        ("x" * 41, "(41 characters)"),
        ("Full HD", "Full HD"),
        ("a red kite", "(10 characters)"),
        ([IMAGE, PROMPT], "(a list of 2)"),
        ({"a": IMAGE}, "(an object)"),
    ],
)
def test_a_value_is_shown_briefly_and_never_if_it_may_be_private(value: JsonValue, shown: str) -> None:
    """Words and numbers stand as they are; URLs, long texts, lists and objects are only named."""
    assert format_value(value) == shown


def test_a_name_is_shown_in_one_short_line() -> None:
    """Field names are the caller's text too."""
    assert format_name("a\nb\x1b]0;title\x07c") == "a bc"
    assert len(format_name("x" * 10**6)) == 60
    assert format_length("x" * 1234) == "(1,234 characters)"


json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=60),
        st.sampled_from(["\ud800", "\0", IMAGE, CALLBACK, "\x1b[31m", "1e999", "9" * 5000]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(CATALOGUE.cards),
    st.builds(
        Shot,
        prompt=st.one_of(st.text(max_size=40), st.just(f"A {SECRET} kite\x1b[31m")),
        duration_seconds=json_values,
        aspect_ratio=json_values,
        resolution=json_values,
        image_url=st.one_of(st.none(), st.text(max_size=40), st.just(IMAGE)),
        callback_url=st.one_of(st.none(), st.text(max_size=40), st.just(CALLBACK)),
        extras=st.dictionaries(st.sampled_from(["style", "storyboard", "name", "video_url", "\n"]), json_values),
    ),
)
@examples(250)
def test_no_shot_makes_the_judge_raise_or_tell_a_secret(model: ModelCard, shot: Shot) -> None:
    """Whatever stands in a shot, each finding is one short harmless line with a rule, and no secret is in it."""
    for finding in check_shot(model, shot, Hosts()).findings:
        text = str(finding)
        assert finding.rule
        assert finding.instead or finding.severity == "warning"
        assert len(text) < 700
        assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text)
        assert SECRET not in text


def test_huge_shots_are_judged_quickly() -> None:
    """Megabytes of text and thousands of extras take a moment, not a minute."""
    shot = Shot(
        prompt="a\ud800" * 1_000_000,
        aspect_ratio="1:" * 1_000_000,
        resolution="9" * 2_000_000,
        image_url="https://" * 300_000,
        callback_url="x" * 2_000_000,
        extras={str(number) * 50: "y" * 500 for number in range(10_000)},
    )
    began = process_time()
    verdict = check_shot(as_if_served("poyo/sora-2-pro-official"), shot, HOSTS)
    assert verdict.blocked
    assert process_time() - began < 3
