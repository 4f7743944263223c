"""A clip's file is named and described by its shot, safely, and every delivered byte stays as it was."""

from __future__ import annotations

import hashlib
import re
import resource
import signal
import unicodedata
from pathlib import Path

import anyio
import av
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.clips import DEFAULT_NAME, ClipLabel, is_name_template, tell_undrawn
from callsheet.edges.clips import part_file
from callsheet.edges.clips.boxes import build_tags, why_untagged
from callsheet.edges.clips.part_file import open_part
from callsheet.edges.clips.save import Clips
from callsheet.edges.clips.stills import inspect_clip
from callsheet.edges.http.client import GatewayHttp
from cases import cases
from edges.clip_bytes import box, encode_clip

PROMPT = "A red kite over dunes at dusk, slow pan."


def label(
    prompt: str = PROMPT, *, task_id: str = "task_k3f9q2", template: str = DEFAULT_NAME, **more: object
) -> ClipLabel:
    """A label of a clip of 4 seconds."""
    values = {"seconds": 4, "tags": True, **more}
    facts = ("poyo", "sora-2-official", prompt)
    return ClipLabel(
        task_id, *facts, values["seconds"], "0.24 USD (48 credits)", "2026-11-26", template, values["tags"]
    )  # type: ignore[arg-type]


@cases(
    ("prompt", "words"),
    [
        (PROMPT, "a-red-kite-over-dunes-at"),
        ("../../etc/passwd", "etc-passwd"),
        ("a/b\\c:d*e?f", "a-b-c-d-e-f"),
        ("~/.ssh", "ssh"),
        ("-rf .", "rf"),
        ("\u202egpj.exe\u200b\0\n", "gpj-exe"),
        ("", "clip"),
        ("\U0001f642 !!!", "clip"),
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
        ("\uff21\uff22\uff23", "abc"),
        ("\u4e2d\u6587 \u65e5\u672c", "\u4e2d\u6587-\u65e5\u672c"),
        ("\ud800lone", "lone"),
        ("x" * 999, "x" * 48),
        ("\u4e2d" * 99, "\u4e2d" * 16),
    ],
)
def test_a_file_is_named_by_the_first_words(prompt: str, words: str) -> None:
    """Date, words, length, model, id; nothing in a prompt is a path, an option or invisible."""
    assert label(prompt).file_name == f"2026-11-26-{words}-4s-sora-2-official-k3f9q2.mp4"


templates = st.sampled_from([DEFAULT_NAME, "{id}", "{words}{id}", ". {id} -", "{gateway}.{words}_{id}.{length}"])


@given(st.text(max_size=500), st.text(max_size=300), st.text(max_size=60), st.none() | st.integers(0, 9999), templates)
def test_a_file_name_is_safe_for_any_text(prompt: str, task_id: str, model: str, seconds: int, template: str) -> None:
    """One bounded, normalised name, whatever comes in, that ends with `.mp4`."""
    name = ClipLabel(task_id, model, model, prompt, seconds, "", "2026-11-26", template).file_name

    assert len(name.encode()) <= 200
    assert Path(name).name == name
    assert unicodedata.normalize("NFC", name) == name
    assert re.fullmatch(r"[^\W_][\w. -]*\.mp4|[\w][\w. -]*\.mp4", re.sub(r"[^\x00-\x7f]", "x", name))


@pytest.mark.parametrize(
    ("one", "other"), [("Ab", "ab"), ("a_b", "a-b"), ("../a", "a"), ("", " "), ("x" * 99, "x" * 98)]
)
def test_task_ids_that_look_alike_have_different_clips(one: str, other: str) -> None:
    """Folding to the safe alphabet never gives two tasks the same file."""
    assert label(task_id=one).file_name != label(task_id=other).file_name


@cases(
    ("template", "good"),
    [
        (DEFAULT_NAME, True),
        ("{id}", True),
        ("My clip {id} {words}", True),
        ("{words}", False),
        ("", False),
        ("{id}{id}", False),
        ("{id}/{words}", False),
        ("../{id}", False),
        ("{id}\0", False),
        ("{id.__class__}", False),
        ("{prompt}-{id}", False),
        ("{id}{", False),
        ("{id}" + "x" * 31, False),
        ("{id}\u202e", False),
    ],
)
def test_a_template_has_the_id_and_no_path(template: str, good: bool) -> None:
    """And known fields only."""
    assert is_name_template(template) is good


def finish(target: Path, delivered: bytes, tags: bytes) -> part_file.SavedFile:
    """Save these bytes as a download does."""
    part = open_part(target)
    try:
        part.begin(None)
        part.write(bytearray(delivered))
        return part.finish(tags)
    finally:
        part.close()


@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("fast_start", [False, True])
def test_tags_are_read_by_any_player_and_every_delivered_byte_stays(
    tmp_path: Path, sound: bool, fast_start: bool
) -> None:
    """The stored hash is of the file as it is; without its last box the file is the delivered one."""
    delivered, tags = (
        encode_clip(sound=sound, fast_start=fast_start),
        build_tags(label("Ein Drachen \u00fcber D\u00fcnen")),
    )

    saved = finish(tmp_path / "clip.mp4", delivered, tags)

    content = saved.path.read_bytes()
    assert content == delivered + tags
    assert (saved.size, saved.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    with av.open(str(saved.path)) as container:
        found = dict(container.metadata)
        assert [stream.type for stream in container.streams] == ["video", *(["audio"] if sound else [])]
    assert found["title"] == found["description"] == "Ein Drachen \u00fcber D\u00fcnen"
    assert found["date"] == "2026-11-26"
    for part in ("poyo/sora-2-official", "0.24 USD (48 credits)", "task_k3f9q2"):
        assert part in found["comment"]
    (tmp_path / "plain.mp4").write_bytes(delivered)
    assert inspect_clip(saved.path) == inspect_clip(tmp_path / "plain.mp4")


FRAGILE = {
    "content credentials": encode_clip() + box(b"uuid", bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + b"c2pa"),
    "fragments": encode_clip() + box(b"mfra", b""),
    "metadata of its own": encode_clip() + box(b"meta", bytes(4)),
    "no end": encode_clip() + bytes(4) + b"free" + bytes(20),
}


@cases("name", FRAGILE)
def test_a_clip_that_a_box_could_harm_stays_as_delivered(tmp_path: Path, name: str) -> None:
    """Byte for byte."""
    saved = finish(tmp_path / f"{name}.mp4", FRAGILE[name], build_tags(label()))
    assert saved.path.read_bytes() == FRAGILE[name]
    assert saved.sha256 == hashlib.sha256(FRAGILE[name]).hexdigest()


def test_a_full_disk_leaves_the_clip_as_delivered(tmp_path: Path) -> None:
    """The box is not worth the clip: what was written of it goes away again."""
    delivered = encode_clip()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(delivered) + 100, hard))
        saved = finish(tmp_path / "clip.mp4", delivered, build_tags(label()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)

    assert saved.path.read_bytes() == delivered
    assert (saved.size, saved.sha256) == (len(delivered), hashlib.sha256(delivered).hexdigest())
    assert "failed" in why_untagged(saved.path)


async def keep(
    directory: Path, given_label: ClipLabel, delivered: bytes, *, requests: list[str] | None = None
) -> object:
    """Save a clip from a host."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if requests is not None:
            requests.append(str(request.url))
        return httpx2.Response(200, stream=httpx2.ByteStream(delivered))

    async with GatewayHttp(transport=httpx2.MockTransport(answer)) as http:
        return await Clips(http).keep(given_label, "https://cdn.example.com/a.mp4", directory=directory, loopback=None)


def test_the_clip_says_why_it_has_no_metadata(tmp_path: Path) -> None:
    """Not where it has, and not where the person wants none."""
    tagged = anyio.run(keep, tmp_path / "a", label(), encode_clip())
    fragile = anyio.run(keep, tmp_path / "b", label(), FRAGILE["content credentials"])
    unwanted = anyio.run(keep, tmp_path / "c", label(tags=False), encode_clip())

    assert (tagged.note, unwanted.note) == ("", "")  # type: ignore[attr-defined]
    assert "uuid" in fragile.note  # type: ignore[attr-defined]
    assert Path(unwanted.path).read_bytes() == encode_clip()  # type: ignore[attr-defined]


@pytest.mark.parametrize("earlier", ["poyo-sora-2-official-k3f9q2.mp4", "my k3f9q2 clip.mp4"])
async def test_a_clip_that_was_saved_under_another_name_is_not_fetched_again(tmp_path: Path, earlier: str) -> None:
    """By another template, or by an older version: it is paid for, and its link may be gone."""
    (tmp_path / earlier).write_bytes(encode_clip())
    (tmp_path / "poyo-sora-2-official-k3f9q22.mp4").write_bytes(b"of another task")
    (tmp_path / "link-k3f9q2.mp4").symlink_to(tmp_path / "poyo-sora-2-official-k3f9q22.mp4")
    requests: list[str] = []

    clip = await keep(tmp_path, label(), encode_clip(), requests=requests)

    assert clip.path == str(tmp_path / earlier)  # type: ignore[attr-defined]
    assert requests == []
    assert (tmp_path / earlier).read_bytes() == encode_clip()


def test_what_cannot_be_drawn_is_told_in_words() -> None:
    """Script by script, and signs by their names."""
    told = {
        "A cat": "A cat",
        "a \u732b\u306e\u6620\u753b b": "a [4 CJK and Hiragana letters] b",
        "\u043c\u0438\u0440 \u043c\u0438\u0440!": "[6 Cyrillic letters]!",
        "ok \U0001f642": "ok [slightly smiling face]",
        "\u0645": "[1 Arabic letter]",
        "a\ue000b": "ab",
    }
    assert {text: tell_undrawn(text, str.isascii) for text in told} == told
