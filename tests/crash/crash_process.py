"""A process of the crash tests, forked by `warm_start`: its standard input is the connection to the harness.

The order is one line of it. The process says that it is ready, waits for the word, and answers with a line. The end of
the connection without an answer is the end of the process.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
import warnings

import anyio
import crash_scenes
import PIL.Image

from callsheet.compose import quiet_libraries
from callsheet.gateways import load_gateway

PR_SET_PTRACER = 0x59616D61
ANY_TRACER = 2**64 - 1


def main() -> None:
    """Perform the order; then end at once, so that nothing after the scene counts as a part of it."""
    warnings.simplefilter("ignore", ResourceWarning)
    logging.getLogger().addHandler(logging.NullHandler())
    quiet_libraries()
    load_gateway("poyo")
    PIL.Image.preinit()
    _let_be_traced()
    with os.fdopen(os.dup(0), "rb") as lines:
        order = crash_scenes.Order(**json.loads(lines.readline()))

    def ready(worker: int) -> None:
        # A sent answer or a received word must not count as the scene's own calls: read and write, no recv and send.
        os.write(0, f"{json.dumps({'pid': os.getpid(), 'worker': worker})}\n".encode())
        os.read(0, 1)

    try:
        answer = anyio.run(crash_scenes.perform, order, ready)
    except BaseException as error:
        answer = {"raw": "".join(traceback.format_exception(error))[-4000:]}
    os.write(0, f"{json.dumps(answer)}\n".encode())
    os._exit(0)


def _let_be_traced() -> None:
    """Allow any process of this user to attach, where the system would allow it to ancestors only."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(ANY_TRACER), 0, 0, 0)


if __name__ == "__main__":
    main()
