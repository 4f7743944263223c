"""Pictures as files, with what cameras and programs put into them."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

SECRET = b"canary-of-a-camera"
"""What must not be in any byte that leaves."""


def image(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """A picture whose corners differ, so that a turned one is told from an upright one."""
    picture = Image.new(mode, (width, height))
    picture.paste(200, (0, 0, width // 2, height // 2))
    return picture


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file."""
    output = BytesIO()
    picture.save(output, kind, **options)
    return output.getvalue()


def exif(orientation: int = 1) -> Image.Exif:
    """Place, camera and a comment, as a phone writes them."""
    found = Image.Exif()
    found[0x0112] = orientation
    found[0x010F] = SECRET.decode()
    found.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 0.0), 29: SECRET.decode()})
    return found


def telling_jpeg(orientation: int = 1) -> bytes:
    """A JPEG with everything that tells on its owner, and text behind its end."""
    options = {"exif": exif(orientation), "comment": SECRET, "icc_profile": SECRET, "xmp": SECRET}
    return encoded(image(), "JPEG", **options) + SECRET


def telling_png() -> bytes:
    """The same as a PNG."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", SECRET.decode())
    texts.add_itxt("XML:com.adobe.xmp", SECRET.decode())
    texts.add_text("Comment", SECRET.decode(), zip=True)
    return encoded(image(mode="RGBA"), "PNG", pnginfo=texts, exif=exif(), icc_profile=SECRET) + SECRET


def telling_webp() -> bytes:
    """The same as a WebP."""
    return encoded(image(), "WEBP", exif=exif(), icc_profile=SECRET, xmp=SECRET) + SECRET


def png_of(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header claims that size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(data)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_cat(directory: Path, name: str = "cat.png", **size: int) -> Path:
    """A picture of a person's own, with metadata."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(telling_png() if not size else encoded(image(**size), "PNG"))
    return path
