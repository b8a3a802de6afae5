"""A Ray pool's actor: a `Runner` somewhere in the cluster. Imported by the actor's process, so it imports no Ray."""

from __future__ import annotations

import ctypes
import os
import threading

from .pool import Answer, Job
from .runner import Runner, answer, finder

WATCH_SECONDS = 0.2
REACTION_SECONDS = 5.0
ROOMY = 0.6


class Actor:
    """Answers jobs one after another.

    Args:
        source: where to find the suggesters, `module:function`.
        memory_bytes: resident memory at which a computation is ended.
    """

    def __init__(self, source: str, memory_bytes: int) -> None:
        self._runner = Runner(finder(source))
        self._memory_bytes = memory_bytes

    def ready(self) -> int:
        """Its process id, once it is there."""
        return os.getpid()

    def run(self, forget: frozenset[str], job: Job) -> Answer | tuple[str, str]:
        """A job's answer, or its error as (kind, message)."""
        for study in forget:
            self._runner.forget(study)
        with _Watched(self._memory_bytes):
            found = answer(self._runner, job)
        if _resident_bytes() > ROOMY * self._memory_bytes:
            self._runner.shrink()
        return found


class _Watched:
    """While the block runs, memory is watched: beyond the limit a MemoryError is raised in the block's thread.

    Raised from outside, so that the answer still says what happened; a block that does not react (it sits in C code) loses its
    whole process instead.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._limit = memory_bytes
        self._thread = threading.get_ident()
        self._is_over = threading.Event()

    def __enter__(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def _watch(self) -> None:
        while not self._is_over.wait(WATCH_SECONDS):
            if _resident_bytes() > self._limit:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(MemoryError))
                if not self._is_over.wait(REACTION_SECONDS):
                    os._exit(1)
                return


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)
