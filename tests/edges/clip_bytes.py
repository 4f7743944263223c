"""Small real MP4 files, and larger ones with padding behind them."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path


def box(kind: bytes, payload: bytes) -> bytes:
    """One MP4 box."""
    return (8 + len(payload)).to_bytes(4, "big") + kind + payload


@cache
def encode_clip(*, fast_start: bool = False, sound: bool = False) -> bytes:
    """A clip of one second, with the index first or last, with sound or without."""
    import av

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "clip.mp4"
        options = {"movflags": "faststart"} if fast_start else {}
        with av.open(str(path), "w", format="mp4", options=options) as container:
            video = container.add_stream("mpeg4", rate=12)
            video.width, video.height, video.pix_fmt = 64, 36, "yuv420p"
            audio = container.add_stream("aac", rate=44_100) if sound else None
            for _ in range(12):
                container.mux(video.encode(av.VideoFrame(64, 36, "yuv420p")))
            container.mux(video.encode())
            if audio is not None:
                for _ in range(43):
                    frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
                    frame.sample_rate = 44_100
                    for plane in frame.planes:
                        plane.update(bytes(plane.buffer_size))
                    container.mux(audio.encode(frame))
                container.mux(audio.encode())
        return path.read_bytes()


def padded_clip(padding: int) -> bytes:
    """A clip that is followed by that many bytes which no player reads."""
    return encode_clip() + box(b"free", bytes(range(251)) * (padding // 251))
