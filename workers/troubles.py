"""Suggesters that broke rest, longer after each failure, and their studies go on with quasi-random points meanwhile."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

LONGEST_PAUSE_SECONDS = 60.0
MOST_KNOWN = 10_000
WORDS = {
    "raised": "raised",
    "hung": "did not answer in its time",
    "memory": "used too much memory",
    "lost": "lost its process",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """A study whose suggester broke: until `until` (loop time) it is not tried again."""

    count: int
    until: float
    kind: str


class Troubles:
    """The studies whose suggester broke.

    Args:
        pause_seconds: after a first failure; doubles with each, up to a minute.
    """

    def __init__(self, pause_seconds: float) -> None:
        self._pause = pause_seconds
        self._known: OrderedDict[str, Trouble] = OrderedDict()

    def note(self, study: str, kind: str, *, has_net: bool) -> Trouble:
        """Let a broken suggester rest. Without a net the store makes the study wait instead."""
        before = self._known.pop(study, None)
        count = 1 if before is None else before.count + 1
        pause = min(LONGEST_PAUSE_SECONDS, self._pause * 2 ** min(count - 1, 10)) if has_net else 0.0
        trouble = self._known[study] = Trouble(count, asyncio.get_running_loop().time() + pause, kind)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return trouble

    def resting(self, study: str) -> Trouble | None:
        """What a study's suggester rests from now."""
        trouble = self._known.get(study)
        return trouble if trouble is not None and asyncio.get_running_loop().time() < trouble.until else None

    def forget(self, study: str) -> None:
        """The suggester works again."""
        self._known.pop(study, None)
