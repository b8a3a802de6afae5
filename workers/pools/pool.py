"""The one door between those who wait (async) and those who compute (suggesters): `Pool.run(job)`.

PoolError
├── SuggesterRaised       the method's own exception, or an answer that breaks the suggesters' law
├── SuggesterHung         no answer within the method's time
├── SuggesterOutOfMemory  it grew beyond the memory limit
└── RunnerLost            the process or node died under it; the next try runs elsewhere
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from services.domain.history import Observation
from services.domain.llm import LlmReply, LlmRequest
from services.domain.suggester import Resources, Suggestion


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One computation of suggestions.

    Attributes:
        study: id; jobs of one study go to the same runner while it lives.
        suggester: catalogue name.
        spec: the study's `StudySpec` as JSON.
        seed: of the study.
        known_seq: the runner is believed to know the history up to here; 0: it is told everything.
        observations: the trials that changed after `known_seq`.
        seq: with them the history is complete up to here.
        next_number: of the trial that the first suggestion is for.
        count: suggestions wanted; 0 where only updates are.
        blob: saved state (`services.domain.blob`), None for none.
        resources: what the method needs, and its time.
        replies: of the language model, recorded after `known_seq`, and the failures of calls made for this job.
        published: how many updates of a seed-encoded vector are known already.
    """

    study: str
    suggester: str
    spec: str
    seed: int
    known_seq: int
    observations: Sequence[Observation]
    seq: int
    next_number: int
    count: int
    blob: bytes | None = None
    resources: Resources = field(default_factory=Resources)
    replies: tuple[LlmReply, ...] = ()
    published: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a runner found.

    Attributes:
        suggestions: canonical points, at most as many as asked for.
        blob: state to save, None for nothing.
        seconds: spent computing.
        updates: of a seed-encoded vector, by version, in binary form.
    """

    suggestions: tuple[Suggestion, ...]
    blob: bytes | None
    seconds: float
    updates: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class NeedsHistory:
    """The runner does not know the study up to the job's `known_seq`: send everything (and the saved state)."""


@dataclass(frozen=True, slots=True)
class NeedsAnswers:
    """The method cannot go on without these language model calls; run the job again with their replies."""

    requests: tuple[LlmRequest, ...]


Answer = Result | NeedsHistory | NeedsAnswers


class PoolError(Exception):
    """A computation broke."""

    kind: ClassVar[str] = "lost"


class SuggesterRaised(PoolError):
    """The suggester raised."""

    kind = "raised"


class SuggesterHung(PoolError):
    """The suggester did not answer in its time."""

    kind = "hung"


class SuggesterOutOfMemory(PoolError):
    """The suggester used more memory than it may."""

    kind = "memory"


class RunnerLost(PoolError):
    """The process that computed is gone."""

    kind = "lost"


ERRORS: dict[str, type[PoolError]] = {
    error.kind: error for error in (SuggesterRaised, SuggesterHung, SuggesterOutOfMemory, RunnerLost)
}


class Pool(Protocol):
    """Runs jobs beside each other: here in processes, or as actors of a Ray cluster."""

    @property
    def capacity(self) -> int:
        """Jobs that run at one time."""
        ...

    async def start(self) -> None:
        """Get ready ahead of the first job, in the background; returns at once."""
        ...

    async def run(self, job: Job) -> Answer:
        """Compute; jobs of one study never overlap (their caller sees to that).

        Raises:
            PoolError: one of its kinds.
        """
        ...

    async def forget(self, study: str) -> None:
        """Let go of what is kept warm for a study."""
        ...

    async def close(self) -> None:
        """End everything; what still runs fails with `RunnerLost`."""
        ...


def home(study: str, places: int) -> int:
    """The place that a study belongs to: rendezvous hashing, so that another number of places moves few studies."""

    def weight(place: int) -> bytes:
        return hashlib.blake2b(f"{study}/{place}".encode(), digest_size=8).digest()

    return max(range(places), key=weight)
