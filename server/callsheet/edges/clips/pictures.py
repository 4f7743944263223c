"""Keeps pictures of the person's own that a shot uses: read with suspicion, decoded, and written again.

What is kept is a new file with the pixels and nothing else: no EXIF (place, camera, serial number), no comment, no
colour profile, no text, no second picture. It is named by its SHA-256, private, and the only thing that is ever
uploaded. A frame of a saved clip is kept the same way.

`PIL` is imported where it is used. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import struct
from collections.abc import Collection, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from callsheet.core.shot import OwnFile, split_own_file
from callsheet.edges.files.files import (
    NotRegularError,
    OutsideError,
    TooLargeError,
    open_below,
    open_regular,
    read_bounded,
    read_private,
    remove_private,
    write_private,
)
from callsheet.errors import InvalidRequest, PolicyRefusal, SetupProblem

from .stills import read_frame

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_BYTES = 20_000_000
"""The largest picture that a gateway here is known to take has 20 MB."""
MOST_PIXELS = 40_000_000
MOST_SIDE = 16_384
MOST_SCANS = 200
MOST_SCANNED = 30 * MOST_PIXELS
"""A progressive JPEG has about ten scans; each further one costs as much time as the whole picture."""

FORMATS = ("JPEG", "PNG", "WEBP")
TAKEN = "a JPEG, PNG or WebP picture"
_NAMES = (
    (b"GIF8", 0, "a GIF, which may be animated"),
    (b"ftyp", 4, "a HEIC, AVIF or video file"),
    (b"<", 0, "text, such as SVG or HTML"),
    (b"%PDF", 0, "a PDF document"),
    (b"BM", 0, "a BMP picture"),
    (b"II*\0", 0, "a TIFF or raw picture"),
    (b"MM\0*", 0, "a TIFF or raw picture"),
)
_WHAT = "kept picture"


class Pictures:
    """The kept pictures, two private files each: `<SHA-256>.jpg` or `.png`, and `<SHA-256>.json` with what it is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def take(self, path: str, *, directories: Sequence[str] | None) -> OwnFile:
        """Read a picture and keep a clean copy. `directories` are where it may be; None is anywhere.

        Raises `InvalidRequest` for what is no usable picture, `PolicyRefusal` for a path outside, `SetupProblem`.
        """
        try:
            found = Path(path).expanduser()
            file = open_regular(found) if directories is None else open_below(found, map(Path, directories))
            with file:
                if os.fstat(file.fileno()).st_size > MOST_BYTES:
                    raise TooLargeError(errno.EFBIG, "too large")
                content = read_bounded(file, MOST_BYTES)
        except (OutsideError, RuntimeError):
            raise PolicyRefusal(
                "A path counts only if it is absolute and in a directory that the policy names under [inputs]."
                " This one is not.",
                next_step="Give a public https URL. Or a person adds the directory to the policy file, or drafts the"
                " clip in their own terminal.",
            ) from None
        except (OSError, ValueError) as error:
            raise _refused(path, _reason(error)) from None
        return self._keep(_decode(path, content), origin=str(found))

    def take_frame(self, clip: str, *, sha256: str, last: bool, origin: str) -> OwnFile:
        """Keep the first or the last frame of a saved clip, if it is still the one that was saved.

        Raises `InvalidRequest`, `DownloadProblem`, `SetupProblem`.
        """
        try:
            with open_regular(Path(clip)) as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except (OSError, ValueError) as error:
            raise _refused(clip, _reason(error)) from None
        if not same:
            raise _refused(clip, "is not the clip that was saved")
        return self._keep((read_frame(Path(clip), last=last), "jpg"), origin=origin)

    def find(self, url: str) -> OwnFile | None:
        """What is known of a kept picture; None where there is none of that name."""
        known = split_own_file(url)
        try:
            raw = read_private(self._directory / f"{known[0]}.json", what=_WHAT) if known else None
            file = OwnFile(**json.loads(raw or b""))
        except (ValueError, TypeError, RecursionError, SetupProblem):
            return None
        numbers = (file.size, file.width, file.height)
        sound = all(type(number) is int for number in numbers) and isinstance(file.origin, str)
        return file if sound and (file.sha256, file.format) == known else None

    def read(self, url: str) -> bytes:
        """The bytes of a kept picture, whose SHA-256 is that in its name. Raises `InvalidRequest`, `SetupProblem`."""
        known = split_own_file(url)
        content = read_private(self._directory / ".".join(known), what=_WHAT, most=MOST_BYTES) if known else None
        file = self.find(url)
        # The person agrees to what the record says of it, so that must be true as well.
        if content is None or file is None or not _is_as_recorded(file, content):
            state = "is no longer there" if content is None or file is None else "was changed"
            raise InvalidRequest(
                f"The kept copy of a picture of this shot {state}.",
                next_step="Draft the clip again with the path of the picture.",
                code="file_changed",
            )
        return content

    def prune(self, used: Collection[str], *, before: float, dry_run: bool) -> int:
        """Remove the pictures kept before that time (Unix seconds) whose name is not `used`; how many."""
        needed = {found[0] for name in used if (found := split_own_file(name))}
        # Also what a crash left half: a picture without its record, a file that was not written to its end.
        groups: dict[str, list[Path]] = {}
        for path in self._directory.glob("*"):
            groups.setdefault(path.name.removeprefix(".").partition(".")[0], []).append(path)
        old = [files for name, files in groups.items() if name not in needed and _newest(files) < before]
        for file in (file for files in old if not dry_run for file in files):
            remove_private(file, what=_WHAT)
        return len(old)

    def _keep(self, picture: tuple[Image, str], *, origin: str) -> OwnFile:
        image, ending = picture
        content = _encode(image, ending)
        if len(content) > MOST_BYTES:
            raise _refused(origin, f"has {len(content):,} bytes when it is written again; at most {MOST_BYTES:,} fit")
        digest = hashlib.sha256(content).hexdigest()
        file = OwnFile(digest, ending, origin, len(content), *image.size)
        write_private(self._directory / f"{digest}.{ending}", content, what=_WHAT, most=MOST_BYTES)
        write_private(self._directory / f"{digest}.json", json.dumps(asdict(file)).encode(), what=_WHAT)
        return file


def _newest(files: Sequence[Path]) -> float:
    """When the last of them was written; another process may remove them meanwhile."""
    times = []
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            times.append(file.lstat().st_mtime)
    return max(times, default=float("inf"))


def _is_as_recorded(file: OwnFile, content: bytes) -> bool:
    """Whether those bytes have the file's hash and size, and begin a picture of its format and pixels."""
    from PIL import Image

    if hashlib.sha256(content).hexdigest() != file.sha256 or len(content) != file.size:
        return False
    try:
        with Image.open(BytesIO(content), formats=["PNG" if file.format == "png" else "JPEG"]) as picture:
            return picture.size == (file.width, file.height)
    except (
        OSError,
        ValueError,
        SyntaxError,
        TypeError,
        LookupError,
        EOFError,
        struct.error,
        Image.DecompressionBombError,
    ):
        return False


def _decode(path: str, content: bytes) -> tuple[Image, str]:
    """The pixels, upright, and the format in which to keep them."""
    from PIL import Image, ImageOps

    try:
        with Image.open(BytesIO(content), formats=FORMATS) as picture:
            _require_usable(path, picture, content)
            upright = ImageOps.exif_transpose(picture)
            see_through = upright.has_transparency_data
            pixels = _flatten(upright.convert("RGBA")) if see_through else upright.convert("RGB")
            is_png = picture.format == "PNG" or see_through
    except InvalidRequest:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _refused(path, f"has far more than {MOST_PIXELS:,} pixels") from error
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, EOFError) as error:
        raise _refused(path, _describe(content)) from error
    except (ArithmeticError, AttributeError, RuntimeError, MemoryError, struct.error) as error:
        raise _refused(path, _describe(content)) from error
    return pixels, "png" if is_png else "jpg"


def _flatten(see_through: Image) -> Image:
    """The picture on white. What was erased may keep its colours under a transparency, where nobody sees them."""
    from PIL import Image

    flat = Image.new("RGB", see_through.size, "white")
    flat.paste(see_through, mask=see_through)
    return flat


def _require_usable(path: str, picture: Image, content: bytes) -> None:
    """Judge by the header alone; nothing is decoded yet."""
    width, height = picture.size
    if max(width, height) > MOST_SIDE or width * height > MOST_PIXELS:
        raise _refused(path, f"has {width}x{height} pixels; at most {MOST_PIXELS:,} are decoded")
    if picture.mode.startswith(("I", "F")):
        raise _refused(path, "has more than 8 bits for a grey, which would turn white")
    # A photo of a phone may be a JPEG with a second, smaller picture behind it; only the first is kept.
    if getattr(picture, "n_frames", 1) > 1 and picture.format in FORMATS:
        raise _refused(path, "is animated")
    scans = content.count(b"\xff\xda") if content.startswith(b"\xff\xd8") else 0
    if scans > MOST_SCANS or scans * width * height > MOST_SCANNED:
        raise _refused(path, "is a JPEG that is built to take very long")


def _encode(pixels: Image, ending: str) -> bytes:
    """The file. A new image has no metadata that a writer could copy."""
    from PIL import Image

    clean = Image.new(pixels.mode, pixels.size)
    clean.paste(pixels)
    output = BytesIO()
    if ending == "png":
        clean.save(output, "PNG")
    else:
        clean.save(output, "JPEG", quality=95, subsampling=0)
    return output.getvalue()


def _describe(content: bytes) -> str:
    """What a file that cannot be decoded seems to be."""
    begin = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    name = next((name for mark, place, name in _NAMES if begin[place:].startswith(mark)), None)
    if name is None and content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"RIFF")):
        return f"is damaged, or is no longer {TAKEN} behind its first bytes"
    return f"is {name}, not {TAKEN}" if name else f"is not {TAKEN}"


def _reason(error: Exception) -> str:
    match error:
        case NotRegularError():
            return "is not a regular file"
        case TooLargeError():
            return f"has more than {MOST_BYTES:,} bytes"
        case OSError(errno=errno.ELOOP | errno.ENOTDIR):
            return "is a symbolic link, or is behind one"
        case OSError(errno=errno.ENOENT):
            return "does not exist"
        case OSError():
            return f"cannot be read ({error.strerror or type(error).__name__})"
        case _:
            return "has a path that cannot be one"


def _refused(path: str, reason: str) -> InvalidRequest:
    from callsheet.core.security.redaction import escape_block

    return InvalidRequest(
        f'The picture "{escape_block(path, 200)}" {reason}.',
        next_step="Give a JPEG, PNG or WebP picture, or a public https URL.",
    )
