"""Warm processes by the dozen: imports the program once, then forks a fresh process for every order.

A fork has loaded modules and nothing else of the past: no open ledger, no event loop, no thread. Each order
comes over a connection of its own; the fork says it is ready, waits for the word, and answers. The end of the
connection without an answer is the end of the process.
"""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import sys
import traceback
import warnings
from pathlib import Path

PR_SET_PTRACER = 0x59616D61
ANY_TRACER = 2**64 - 1


def main(path: str) -> None:
    """Serve orders on a Unix socket until standard input ends."""
    import signal

    import anyio
    import anyio._backends._asyncio
    import av  # noqa: F401
    import crash_scenes
    import filelock  # noqa: F401
    import PIL.Image
    import PIL.JpegImagePlugin
    import stamina  # noqa: F401

    import callsheet.edges.clips.stills  # noqa: F401
    from callsheet.compose import quiet_libraries
    from callsheet.edges.config.catalogue_files import load_catalogue
    from callsheet.gateways import load_gateway

    warnings.simplefilter("ignore", ResourceWarning)
    logging.getLogger().addHandler(logging.NullHandler())
    quiet_libraries()
    load_catalogue()
    load_gateway("poyo")
    PIL.Image.preinit()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(8)
    print("warm", flush=True)  # noqa: T201 - the harness waits for this line
    while True:
        # The harness says nothing on standard input; its end is the harness's end, however that came about.
        if sys.stdin in select.select([server, sys.stdin], [], [])[0]:
            return
        connection, _ = server.accept()
        line = connection.makefile("r").readline()
        if os.fork():
            connection.close()
            continue
        server.close()
        _let_be_traced()
        os._exit(_perform(connection, crash_scenes.Order(**json.loads(line)), anyio.run, crash_scenes.perform))


def _let_be_traced() -> None:
    """Allow any process of this user to attach, where the system would allow it to ancestors only."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(ANY_TRACER), 0, 0, 0)


def _perform(connection: socket.socket, order: object, run: object, perform: object) -> int:
    fd = connection.fileno()
    # A sent answer or a received word must not count as the scene's own calls: read and write, no recv and send.

    def ready(worker: int) -> None:
        os.write(fd, f"{json.dumps({'pid': os.getpid(), 'worker': worker})}\n".encode())
        os.read(fd, 1)

    try:
        answer = run(perform, order, ready)  # type: ignore[operator]
    except BaseException as error:
        answer = {"raw": "".join(traceback.format_exception(error))[-4000:]}
    os.write(fd, f"{json.dumps(answer)}\n".encode())
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(sys.argv[1])
