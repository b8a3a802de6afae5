"""What a conversation about one slot of a step ends with, and how a slot is asked for again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from services.domain.llm import LlmReply, LlmRequest, Talk

from .meta_prompt import Read

Texts = dict[str, str]
T = TypeVar("T")
TRIES = 3
HALVINGS = 2


class NothingUsable(RuntimeError):
    """The language model brought no text that could be tried, and no edit may stand in for it: the service asks again later."""


@dataclass(frozen=True)
class Draft:
    """A candidate that a conversation ended with.

    Attributes:
        texts: by component.
        reason: for people.
        origin: what the method wants to find again on the trial.
        rejected: why replies before it were not taken.
        evaluate_on: examples to score it on, None for all.
    """

    texts: Texts
    reason: str
    origin: Mapping[str, Any] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()
    evaluate_on: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Rejected:
    """A conversation that ended without a candidate.

    Attributes:
        rejected: why its replies were not taken.
        failure: the call that brought no reply, one of `services.domain.llm.FAILURES`; a later run may have it answered.
        is_dropped: the slot stays empty: not even an edit takes its place.
    """

    rejected: tuple[str, ...]
    failure: str | None = None
    is_dropped: bool = False


@dataclass(frozen=True)
class Attempts(Generic[T]):
    """How a slot is asked for, again where the reply cannot be used.

    Attributes:
        ask: makes the request of an attempt from its key and how often what is shown was halved.
        read: takes the candidate out of a reply: the texts and its words for people, or what was wrong.
        tries: attempts, the first one included.
    """

    ask: Callable[[str, int], LlmRequest]
    read: Callable[[LlmReply], T | Read]
    tries: int = TRIES

    def talk(self, key: str) -> Talk[tuple[T | None, Rejected]]:
        """Ask until something can be used; halve what is shown, twice at most, where it was too long."""
        rejected: list[str] = []
        halvings, attempt = 0, 0
        while attempt < self.tries:
            (reply,) = yield [self.ask(f"{key}/{attempt}.{halvings}" if halvings else f"{key}/{attempt}", halvings)]
            if reply.failure == "context_length" and halvings < HALVINGS:
                halvings += 1
                continue
            if reply.failure is not None:
                return None, Rejected(tuple(rejected), reply.failure)
            found = self.read(reply)
            if not isinstance(found, Read):
                return found, Rejected(tuple(rejected))
            rejected.append(found.fault or "unparsable")
            attempt += 1
        return None, Rejected(tuple(rejected))


def counted(number: int, what: str) -> str:
    """`1 outcome`, `2 outcomes`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def in_words(why: Rejected) -> str:
    """Why a conversation brought no candidate, for people."""
    return _WORDS.get(why.failure or "", "the language model's replies could not be used")


_WORDS = {
    "budget": "the language model's budget is used up",
    "no_profile": "the language model's profile is gone",
    "timeout": "the language model did not answer in time",
    "rate_limited": "the language model refuses more calls for now",
    "unreachable": "the language model is away",
    "server": "the language model is broken",
    "not_permitted": "the language model refused the key",
    "bad_request": "the language model refused the request",
    "context_length": "the history is too long for the language model",
    "empty": "the language model answered nothing",
}
