"""A local pool's process: answers jobs over a socket until its parent is gone.

Started as `python -m workers.pools.child` by `workers/pools/local_pool.py`, with everything it needs in its arguments.
Messages are pickled, as between any two processes of `multiprocessing`: both ends are ours, on one machine, over a
socket pair that nobody else can open.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .runner import Runner, answer, finder

PR_SET_PDEATHSIG = 1
KILL_ME_FIRST = "500"
ROOMY = 0.6


def main(arguments: list[str]) -> None:
    """Serve.

    Args:
        arguments: file descriptors of the socket and of the lifeline, the parent's process id, where to find suggesters
            (`module:function`), the memory limit in bytes.
    """
    channel, lifeline, parent, source, memory_bytes = arguments
    # The trials of a study are many objects that live long: at the usual thresholds half of a large batch's time goes into looking
    # for cycles among them.
    gc.set_threshold(20_000, 20, 50)
    _die_with(int(parent), int(lifeline))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    with contextlib.suppress(OSError):  # should the machine run out of memory, rather this process than the server
        Path("/proc/self/oom_score_adj").write_text(KILL_ME_FIRST)
    _serve(Connection(int(channel)), Runner(finder(source)), int(memory_bytes))


def _die_with(parent: int, lifeline: int) -> None:
    """End when the parent ends, even by kill -9: the kernel signals it on Linux, the lifeline closes everywhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    def watch() -> None:
        os.read(lifeline, 1)  # nothing is ever written: this returns when the other end is closed
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _serve(channel: Connection[Any, Any], runner: Runner, memory_bytes: int) -> None:
    channel.send("ready")
    while True:
        try:
            forget, job = channel.recv()
        except EOFError:
            return
        for study in forget:
            runner.forget(study)
        channel.send(answer(runner, job))
        if _resident_bytes() > ROOMY * memory_bytes:
            runner.shrink()


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main(sys.argv[1:])
