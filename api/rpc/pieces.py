"""Large answers of a stream as several messages."""

from __future__ import annotations

from collections.abc import Iterator

from asktell.v1 import trial_pb2

MOST_BYTES = 7 * 2**19
"""Clients refuse a message of more than 4 MiB, unless they say otherwise."""


def pieces(message: trial_pb2.EvaluateResponse) -> Iterator[trial_pb2.EvaluateResponse]:
    """A message in pieces that clients take, as far as its trials and results can be told apart."""
    count = max(len(message.trials), len(message.results))
    if count < 2 or message.ByteSize() <= MOST_BYTES:
        yield message
        return
    for place in (slice(count // 2), slice(count // 2, count)):
        part = trial_pb2.EvaluateResponse(trials=message.trials[place], results=message.results[place])
        yield from pieces(part)
