"""What happens in a study, as the service streams it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from .flows import Json


@dataclass(frozen=True, slots=True)
class Event:
    """What happened in a study.

    Attributes:
        seq: its place in the study's sequence.
        type: such as `trial.completed`.
        number: the trial's, if it is about one.
    """

    seq: int
    type: str
    study: str
    number: int | None
    data: Json
    created_at: datetime


class EventReader:
    """Server-sent events from the pieces of a stream."""

    def __init__(self) -> None:
        self._text = b""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that this piece completes."""
        self._text = (self._text + chunk).replace(b"\r\n", b"\n")
        while b"\n\n" in self._text:
            block, _, self._text = self._text.partition(b"\n\n")
            lines = [line[5:].lstrip() for line in block.split(b"\n") if line.startswith(b"data:")]
            if lines:
                found = json.loads(b"\n".join(lines))
                yield Event(
                    found["seq"],
                    found["type"],
                    found["study"],
                    found.get("number"),
                    found.get("data") or {},
                    datetime.fromisoformat(found["created_at"]),
                )
