"""A picture of the person's own is read with suspicion, and what is kept of it has the pixels and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zlib
from collections.abc import Callable
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from callsheet.core.shot import OwnFile
from callsheet.edges.clips.pictures import MOST_BYTES, MOST_SCANS, Pictures
from callsheet.edges.files.files import MAX_BYTES, OutsideError, open_below, write_private
from callsheet.errors import CallsheetError, Fate, InvalidRequest, PolicyRefusal, SetupProblem
from pictures import SECRET, encoded, exif, image, png_of, telling_jpeg, telling_png, telling_webp, write_cat

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


def animated(kind: str) -> bytes:
    """Three frames."""
    frames = [image(), image(mode="L").convert("RGB"), Image.new("RGB", (64, 48), "red")]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def scanned() -> bytes:
    """A progressive JPEG with far more scans than any program writes."""
    return with_scans(encoded(image(), "JPEG", progressive=True), MOST_SCANS + 1)


def with_scans(whole: bytes, count: int) -> bytes:
    """The JPEG with its last scan that many times more."""
    start = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[start:-2] * count + b"\xff\xd9"


def sparse(path: Path) -> None:
    """5 GB that take no place on the disk, behind the beginning of a JPEG."""
    with path.open("wb") as file:
        file.write(telling_jpeg())
        file.truncate(5_000_000_000)


HOSTILE_BYTES: dict[str, bytes] = {
    "empty": b"",
    "text": b"not a picture",
    "a key file": b"POYO_API_KEY=sk-1234",
    "svg": SVG,
    "svg with a byte order mark": b"\xef\xbb\xbf" + SVG,
    "html": b"<!doctype html><img src=x>",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
    "avif": b"\0\0\0\x1cftypavif" + bytes(200),
    "mp4": b"\0\0\0\x20ftypisom" + bytes(400),
    "gif": encoded(image(), "GIF"),
    "animated gif": animated("GIF"),
    "animated png": animated("PNG"),
    "animated webp": animated("WEBP"),
    "bmp": encoded(image(), "BMP"),
    "tiff": encoded(image(), "TIFF"),
    "icon": encoded(image(), "ICO"),
    "pdf": b"%PDF-1.7\n" + bytes(100),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "zip": b"PK\x03\x04" + bytes(100),
    "program": b"\x7fELF" + bytes(100),
    "half a jpeg": telling_jpeg()[:400],
    "half a png": telling_png()[:200],
    "only the mark of a jpeg": b"\xff\xd8\xff\xe0",
    "only the mark of a png": b"\x89PNG\r\n\x1a\n",
    "a bomb of pixels": png_of(30_000, 30_000),
    "a bomb beyond the decoder's own bound": png_of(2**31 - 1, 2**31 - 1),
    "a bomb behind a small file": png_of(12_000, 12_000, bytes(1_000_000)),
    "a very long strip": png_of(20_000, 10),
    "no pixels": png_of(0, 0),
    "pixels missing": png_of(500, 500, b"\0"),
    "a bomb of text": png_of(8, 8)[:-12] + b"\0\0\0\0zTXt" + zlib.compress(bytes(10_000_000)),
    "a jpeg of a thousand scans": scanned(),
    "a large jpeg of forty scans": with_scans(encoded(Image.new("L", (6000, 6000)), "JPEG", progressive=True), 40),
    "sixteen bits of grey": encoded(Image.new("I;16", (20, 10)), "PNG"),
    "one byte too many": b"\xff\xd8\xff" + bytes(MOST_BYTES),
}


@pytest.mark.parametrize("name", HOSTILE_BYTES)
@pytest.mark.parametrize("for_agent", [False, True])
def test_a_hostile_file_is_refused_in_words_and_nothing_is_kept(tmp_path: Path, name: str, for_agent: bool) -> None:
    """At a terminal and from an agent alike."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "cat.png"
    path.write_bytes(HOSTILE_BYTES[name])

    with pytest.raises(InvalidRequest) as refused:
        Pictures(tmp_path / "kept").take(str(path), directories=[str(tmp_path)] if for_agent else None)

    assert refused.value.next_step.text
    assert str(path) in refused.value.message
    assert not (tmp_path / "kept").exists()


def make_link(path: Path) -> None:
    """A symbolic link to a good picture."""
    path.symlink_to(write_cat(path.parent / "elsewhere"))


HOSTILE_PATHS: dict[str, Callable[[Path], object]] = {
    "a symbolic link": make_link,
    "a link to itself": lambda path: path.symlink_to(path),
    "a dangling link": lambda path: path.symlink_to("nothing"),
    "a FIFO": os.mkfifo,
    "a directory": lambda path: path.mkdir(),
    "5 GB, sparse": sparse,
    "unreadable": lambda path: path.symlink_to("/dev/zero"),
    "missing": lambda path: None,
}


@pytest.mark.parametrize("name", HOSTILE_PATHS)
@pytest.mark.parametrize("for_agent", [False, True])
def test_what_is_no_plain_file_is_refused_and_never_waited_for(tmp_path: Path, name: str, for_agent: bool) -> None:
    """No pipe blocks, no link leads on, and no size is read that is not taken."""
    path = tmp_path / "cat.png"
    HOSTILE_PATHS[name](path)

    with pytest.raises(InvalidRequest):
        Pictures(tmp_path / "kept").take(str(path), directories=[str(tmp_path)] if for_agent else None)

    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/tty", "/proc/self/environ", "/etc/passwd", "\0", "/" + "a" * 5000])
def test_devices_and_strange_paths_are_refused(tmp_path: Path, path: str) -> None:
    """Whatever the person's own terminal was given."""
    with pytest.raises(InvalidRequest):
        Pictures(tmp_path / "kept").take(path, directories=None)


@pytest.mark.parametrize("content", [telling_jpeg(), telling_png(), telling_webp()], ids=["jpeg", "png", "webp"])
def test_nothing_but_pixels_is_kept(tmp_path: Path, content: bytes) -> None:
    """No place, no camera, no comment, no profile, no text, and nothing that stood behind the picture."""
    assert SECRET in content
    path = tmp_path / "cat"
    path.write_bytes(content)
    pictures = Pictures(tmp_path / "kept")

    file = pictures.take(str(path), directories=None)
    kept = pictures.read(file.url)

    assert SECRET not in kept
    with Image.open(BytesIO(kept)) as opened:
        opened.load()
        assert not opened.getexif()
        assert {"exif", "icc_profile", "comment", "xmp", "XML:com.adobe.xmp"}.isdisjoint(opened.info)
        assert opened.size == (file.width, file.height) == (64, 48)
    assert file.size == len(kept)
    assert pictures.find(file.url) == file


def test_a_photo_that_was_turned_is_kept_upright(tmp_path: Path) -> None:
    """The turn is in the metadata that goes, so the pixels are turned."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(telling_jpeg(orientation=6))

    file = Pictures(tmp_path / "kept").take(str(path), directories=None)

    assert (file.width, file.height) == (48, 64)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_every_kind_of_png_becomes_one_that_any_gateway_reads(tmp_path: Path, mode: str) -> None:
    """Plain RGB."""
    path = tmp_path / "cat.png"
    path.write_bytes(encoded(Image.new(mode, (20, 10)), "PNG"))
    pictures = Pictures(tmp_path / "kept")

    with Image.open(BytesIO(pictures.read(pictures.take(str(path), directories=None).url))) as kept:
        assert (kept.format, kept.mode) == ("PNG", "RGB")


def erased(kind: str) -> bytes:
    """A white picture whose left half was red and is now transparent, in one of the ways in which files say so."""
    red, half = (200, 10, 10), (0, 0, 32, 48)
    if kind == "palette":
        picture = Image.new("P", (64, 48))
        picture.putpalette([255, 255, 255, *red])
        picture.paste(1, half)
        return encoded(picture, "PNG", transparency=1)
    if kind == "colour key":
        picture = Image.new("RGB", (64, 48), "white")
        picture.paste(red, half)
        return encoded(picture, "PNG", transparency=red)
    picture = Image.new("RGBA", (64, 48), (255, 255, 255, 255))
    picture.paste((*red, 1 if kind == "nearly" else 0), half)
    return encoded(picture, "WEBP", lossless=True, exact=True) if kind == "webp" else encoded(picture, "PNG")


@pytest.mark.parametrize("kind", ["png", "webp", "palette", "colour key", "nearly"])
def test_what_was_erased_does_not_leave_under_a_transparency(tmp_path: Path, kind: str) -> None:
    """A gateway that drops the transparency would show what the person on the desk did not see."""
    path = tmp_path / "cat"
    path.write_bytes(erased(kind))
    pictures = Pictures(tmp_path / "kept")

    with Image.open(BytesIO(pictures.read(pictures.take(str(path), directories=None).url))) as kept:
        assert kept.mode == "RGB"
        assert min(kept.getpixel((3, 3))) > 250


def test_a_colour_space_of_printers_becomes_a_plain_jpeg(tmp_path: Path) -> None:
    """CMYK is converted."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(encoded(Image.new("CMYK", (20, 10)), "JPEG", exif=exif()))
    pictures = Pictures(tmp_path / "kept")

    with Image.open(BytesIO(pictures.read(pictures.take(str(path), directories=None).url))) as kept:
        assert (kept.format, kept.mode) == ("JPEG", "RGB")


def test_the_same_picture_has_the_same_name_and_its_copy_is_private(tmp_path: Path) -> None:
    """So that the same shot is the same sheet."""
    pictures = Pictures(tmp_path / "kept")

    first, second = (pictures.take(str(write_cat(tmp_path)), directories=None) for _ in range(2))

    assert first == second
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "kept").iterdir()} == {0o600}


def test_a_picture_larger_than_other_private_files_is_kept_whole(tmp_path: Path) -> None:
    """A photo has megabytes; a policy or a key has a few lines."""
    noise = Image.frombytes("RGB", (256, 256), os.urandom(256 * 256 * 3))
    (tmp_path / "noise.png").write_bytes(encoded(noise, "PNG"))
    pictures = Pictures(tmp_path / "kept")

    content = pictures.read(pictures.take(str(tmp_path / "noise.png"), directories=None).url)

    assert len(content) > 3 * MAX_BYTES - 1
    assert Image.open(BytesIO(content)).tobytes() == noise.tobytes()


def kept_cat(tmp_path: Path) -> tuple[Pictures, OwnFile]:
    """A picture that is kept."""
    pictures = Pictures(tmp_path / "kept")
    return pictures, pictures.take(str(write_cat(tmp_path)), directories=None)


def test_a_copy_that_was_changed_or_is_gone_is_never_read(tmp_path: Path) -> None:
    """One byte is enough; so is a link or an open mode."""
    pictures, file = kept_cat(tmp_path)
    path = tmp_path / "kept" / f"{file.sha256}.{file.format}"
    whole = path.read_bytes()

    path.write_bytes(whole[:-1] + b"x")
    with pytest.raises(InvalidRequest) as changed:
        pictures.read(file.url)
    assert changed.value.error_code == "file_changed"
    path.write_bytes(whole)
    path.chmod(0o644)
    with pytest.raises(SetupProblem):
        pictures.read(file.url)
    path.unlink()
    path.symlink_to(write_cat(tmp_path))
    with pytest.raises(SetupProblem):
        pictures.read(file.url)
    path.unlink()
    with pytest.raises(InvalidRequest):
        pictures.read(file.url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "callsheet-file:",
        "callsheet-file:../../config/keys/poyo",
        f"callsheet-file:{'0' * 64}.png",
        f"callsheet-file:{'A' * 64}.png",
        f"callsheet-file:{'0' * 64}.json",
        f"callsheet-file://{'0' * 64}.png",
        "https://example.com/cat.png",
    ],
)
def test_a_name_that_nobody_kept_is_nothing(tmp_path: Path, url: str) -> None:
    """Whatever an agent writes in its place."""
    pictures, _ = kept_cat(tmp_path)

    assert pictures.find(url) is None
    with pytest.raises(InvalidRequest):
        pictures.read(url)


@pytest.mark.parametrize("about", [b"", b"[]", b"{", b"{}", b"null", b"[" * 5000])
def test_a_damaged_record_counts_as_none(tmp_path: Path, about: bytes) -> None:
    """It says nothing of the picture."""
    pictures, file = kept_cat(tmp_path)

    (tmp_path / "kept" / f"{file.sha256}.json").write_bytes(about)

    assert pictures.find(file.url) is None
    with pytest.raises(InvalidRequest):
        pictures.read(file.url)


@pytest.mark.parametrize("lie", [{"size": 1}, {"width": 9}, {"height": 9}])
def test_a_record_that_is_not_true_of_the_copy_lets_it_not_leave(tmp_path: Path, lie: dict[str, int]) -> None:
    """The person agrees to what it says."""
    pictures, file = kept_cat(tmp_path)
    path = tmp_path / "kept" / f"{file.sha256}.json"

    path.write_text(json.dumps({**json.loads(path.read_text()), **lie}))

    with pytest.raises(InvalidRequest) as refused:
        pictures.read(file.url)
    assert refused.value.error_code == "file_changed"


def test_a_file_that_was_put_among_the_copies_and_is_no_picture_is_not_read(tmp_path: Path) -> None:
    """Its hash and its record agree, and it still is not what the person is told."""
    pictures, file = kept_cat(tmp_path)
    content = b"PK\x03\x04 all letters of the person"
    planted = OwnFile(hashlib.sha256(content).hexdigest(), "png", file.origin, len(content), 64, 48)
    for name, written in (("png", content), ("json", json.dumps(asdict(planted)).encode())):
        write_private(tmp_path / "kept" / f"{planted.sha256}.{name}", written, what="planted")

    assert pictures.find(planted.url) == planted
    with pytest.raises(InvalidRequest):
        pictures.read(planted.url)


def test_a_record_of_another_picture_counts_as_none(tmp_path: Path) -> None:
    """Its hash is that in its name."""
    pictures, file = kept_cat(tmp_path)
    path = tmp_path / "kept" / f"{file.sha256}.json"

    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": "0" * 64}))

    assert pictures.find(file.url) is None


def test_only_old_pictures_that_nothing_needs_are_removed(tmp_path: Path) -> None:
    """And none in a dry run."""
    pictures, file = kept_cat(tmp_path)
    later = (tmp_path / "kept" / f"{file.sha256}.json").stat().st_mtime + 10

    assert pictures.prune({file.url}, before=later, dry_run=False) == 0
    assert pictures.prune((), before=later - 20, dry_run=False) == 0
    assert pictures.prune((), before=later, dry_run=True) == 1
    assert pictures.find(file.url) == file
    assert pictures.prune((), before=later, dry_run=False) == 1
    assert list((tmp_path / "kept").iterdir()) == []


def test_what_a_crash_left_half_is_removed_too(tmp_path: Path) -> None:
    """A picture without its record, a record without its picture, a file that was not written to its end."""
    pictures, file = kept_cat(tmp_path)
    kept = tmp_path / "kept"
    (kept / f"{file.sha256}.json").rename(kept / f"{'1' * 64}.json")
    (kept / f".{'2' * 64}.png.0123456789abcdef").write_bytes(b"half of a picture")

    assert pictures.prune((), before=4e9, dry_run=False) == 3
    assert list(kept.iterdir()) == []


CLIP_SWAPS: dict[str, Callable[[Path, Path], object]] = {
    "another video": lambda clip, other: clip.write_bytes(other.read_bytes()),
    "a link to another video": lambda clip, other: (clip.unlink(), clip.symlink_to(other)),
    "a link to the same video": lambda clip, other: (clip.rename(other), clip.symlink_to(other)),
    "nothing": lambda clip, other: clip.unlink(),
    "a FIFO": lambda clip, other: (clip.unlink(), os.mkfifo(clip)),
}


@pytest.mark.parametrize("name", CLIP_SWAPS)
def test_a_frame_is_taken_only_of_the_clip_that_was_saved(tmp_path: Path, name: str) -> None:
    """The person is told the task, so another video under its name is refused; and nothing is said of a charge."""
    clip, other = tmp_path / "clip.mp4", tmp_path / "other.mp4"
    clip.write_bytes(b"the clip")
    other.write_bytes(b"another")
    saved = hashlib.sha256(clip.read_bytes()).hexdigest()
    CLIP_SWAPS[name](clip, other)

    with pytest.raises(InvalidRequest) as refused:
        Pictures(tmp_path / "kept").take_frame(str(clip), sha256=saved, last=True, origin="task:a:last")

    assert refused.value.fate is Fate.NOTHING_SENT


def outside_of(allowed: Path) -> dict[str, str]:
    """Paths that lead out of a directory, and how."""
    secret = write_cat(allowed.parent / "secret")
    (allowed / "link").symlink_to(secret.parent)
    return {
        "elsewhere": str(secret),
        "up": f"{allowed}/../secret/cat.png",
        "up and down": f"{allowed}/sub/../../secret/cat.png",
        "a directory of a similar name": str(write_cat(Path(f"{allowed}2"))),
        "relative": "cat.png",
        "from here": "./cat.png",
        "a home": "~/cat.png",
        "of no user": "~nobody-of-that-name/cat.png",
        "the directory itself": str(allowed.parent),
        "the root": "/",
        "missing elsewhere": "/nowhere/cat.png",
    }


WAYS_OUT = (
    *("elsewhere", "up", "up and down", "a directory of a similar name", "relative", "from here", "a home"),
    *("of no user", "the directory itself", "the root", "missing elsewhere"),
)


@pytest.mark.parametrize("how", WAYS_OUT)
def test_an_agent_reaches_no_file_outside_the_directories(tmp_path: Path, how: str) -> None:
    """The answer is the same whether the file exists or not."""
    allowed = tmp_path / "allowed"
    write_cat(allowed)
    path = outside_of(allowed)[how]

    with pytest.raises(PolicyRefusal) as refused:
        Pictures(tmp_path / "kept").take(path, directories=[str(allowed)])

    assert path not in refused.value.message


def test_without_directories_an_agent_names_no_file_at_all(tmp_path: Path) -> None:
    """That is the default."""
    with pytest.raises(PolicyRefusal):
        Pictures(tmp_path / "kept").take(str(write_cat(tmp_path)), directories=())


def test_a_link_inside_a_directory_leads_nowhere(tmp_path: Path) -> None:
    """Neither as the file nor on the way to it."""
    allowed = tmp_path / "allowed"
    write_cat(allowed / "sub")
    outside_of(allowed)
    (allowed / "cat.png").symlink_to(tmp_path / "secret" / "cat.png")
    pictures = Pictures(tmp_path / "kept")

    for path in (allowed / "link" / "cat.png", allowed / "cat.png"):
        with pytest.raises(CallsheetError):
            pictures.take(str(path), directories=[str(allowed)])
    assert pictures.take(str(allowed / "sub" / "cat.png"), directories=["/nowhere", str(allowed)]).width == 64


def test_the_directory_counts_by_what_it_is_and_not_by_its_spelling(tmp_path: Path) -> None:
    """A path may lead to it by a link; a new directory under the old name is another one."""
    real = tmp_path / "real"
    write_cat(real)
    (tmp_path / "named").symlink_to(real)

    open_below(tmp_path / "named" / "cat.png", [real]).close()
    with pytest.raises(OutsideError):
        open_below(tmp_path / "named" / "cat.png", [tmp_path / "gone"])


@pytest.mark.parametrize("listed", ["project/clips", "project/clips/sub"])
def test_a_project_that_puts_a_link_in_place_of_a_listed_directory_opens_no_other(tmp_path: Path, listed: str) -> None:
    """Neither as the directory nor on the way to it: a project can bring links with its next version."""
    write_cat(tmp_path / "private")
    write_cat(tmp_path / "private" / "sub")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "clips").symlink_to(tmp_path / "private")

    for path in (tmp_path / listed / "cat.png", tmp_path / "private" / "cat.png"):
        with pytest.raises(PolicyRefusal):
            Pictures(tmp_path / "kept").take(str(path), directories=[str(tmp_path / listed)])


@pytest.mark.parametrize("kind", [NotADirectoryError, FileNotFoundError])
def test_what_is_wrong_inside_a_directory_is_said(tmp_path: Path, kind: type[OSError]) -> None:
    """Only outside is nothing told."""
    cat = write_cat(tmp_path)
    path = cat / "cat.png" if kind is NotADirectoryError else tmp_path / "sub" / "cat.png"

    with pytest.raises(kind):
        open_below(path, [tmp_path])
