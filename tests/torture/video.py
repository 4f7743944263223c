"""The short, real video that the gateway of the torture serves."""

from __future__ import annotations

from pathlib import Path

FRAMES = 4
SIDE = (64, 36)


def write_video(path: Path) -> None:
    """Render a video that is quick to decode."""
    import av
    from PIL import Image

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width, stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for number in range(FRAMES):
            frame = av.VideoFrame.from_image(Image.new("RGB", SIDE, (60 * number, 120, 90)))
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
