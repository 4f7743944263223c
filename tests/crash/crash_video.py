"""The short, real video that the loopback gateway serves; made once for a run, of noise so that it is large."""

from __future__ import annotations

from pathlib import Path

FRAMES = 12
SIDE = (256, 144)


def write_video(path: Path) -> bytes:
    """Render the video and return its bytes; more than one write of a download."""
    import random

    import av
    from PIL import Image

    noise = random.Random(7)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 8_000_000
        stream.codec_context.gop_size = 1
        stream.codec_context.qmin = stream.codec_context.qmax = 1
        for number in range(FRAMES):
            picture = Image.frombytes("RGB", SIDE, noise.randbytes(SIDE[0] * SIDE[1] * 3))
            frame = av.VideoFrame.from_image(picture)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()
