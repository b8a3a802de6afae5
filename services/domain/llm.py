"""What a method asks a language model and what it was answered, as data.

A method never calls anything. Where it needs a reply that the ledger does not hold it raises `NeedsReplies`; whoever runs it
has the requests answered and recorded, and runs it again with the replies in its history (`History.replies`). So a method stays a
pure function of what is recorded, and a recorded reply is never paid for twice (card prompt 0.4).
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import Field

from .document import Document, Name, canonical

T = TypeVar("T")

FAILURES = (
    "budget",
    "bad_request",
    "context_length",
    "empty",
    "no_profile",
    "not_permitted",
    "rate_limited",
    "server",
    "timeout",
    "unreachable",
)
"""Why a call brought no reply; `LlmReply.failure` is one of these."""


class LlmChoice(Document):
    """Whether and how a study uses a language model. The operator defines profiles; a study names one, never an address."""

    profile: Name | None = Field(
        default=None, description="Of the operator's profiles; the server's default one if absent."
    )
    encoder: Name | None = Field(
        default=None, description="A profile for embeddings; texts are embedded locally if absent."
    )
    share_examples: bool = Field(
        default=False,
        description="Let told examples and feedback, and declared exemplars, leave for the language model.",
    )
    max_calls: Annotated[int, Field(ge=0, le=10**9)] | None = Field(default=None, description="Calls in all.")
    max_total_tokens: Annotated[int, Field(ge=0, le=10**12)] | None = Field(
        default=None, description="Prompt and completion tokens in all."
    )
    max_cost: Annotated[float, Field(ge=0, le=1e12)] | None = Field(
        default=None, description="Cost in all, in the unit of the profile's prices."
    )
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(default=8, description="Calls at one time.")


class LlmUsage(Document):
    """What a study's language model calls have come to."""

    calls: int = 0
    failed_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = Field(default=0.0, description="In the unit of the profile's prices; 0 where it has none.")
    estimated: bool = Field(
        default=False, description="A server did not count its tokens, or a call was lost: an estimate stands in."
    )

    @property
    def tokens(self) -> int:
        """Both kinds together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, kw_only=True)
class LlmRequest:
    """One call, without address, model or key: those are the profile's.

    Attributes:
        key: `<step>/<slot>/...`: the place of the call in the method's course, unique together with the digest.
        role: what the model is asked to be; for people and counts.
        messages: (role, content) in order; empty for embeddings.
        texts: to embed; empty for a chat.
        snapshot: the `seq` of the history that the call was made from.
        n: replies wanted.
        temperature, top_p, max_tokens: None leaves the server's default.
    """

    key: str
    role: str
    snapshot: int
    messages: tuple[tuple[str, str], ...] = ()
    texts: tuple[str, ...] = ()
    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None

    @cached_property
    def body(self) -> dict[str, Any]:
        """What is asked, as JSON in the shape of an OpenAI request without the model."""
        if self.texts:
            return {"input": list(self.texts)}
        body: dict[str, Any] = {"messages": [{"role": role, "content": content} for role, content in self.messages]}
        given = {"n": self.n, "temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return body | {name: value for name, value in given.items() if value is not None and (name, value) != ("n", 1)}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical body."""
        return hashlib.sha256(canonical(self.body).encode()).hexdigest()

    @property
    def shown(self) -> list[str]:
        """Every text that the model reads."""
        return [content for _, content in self.messages] + list(self.texts)

    def failed(self, failure: str) -> LlmReply:
        """What it brings where it fails: one of `FAILURES`."""
        return LlmReply(key=self.key, digest=self.digest, snapshot=self.snapshot, failure=failure)


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmReply:
    """What a call brought, as recorded.

    Attributes:
        key, digest, snapshot: of its request.
        texts: the choices, in order; empty after a failure.
        cut: which choices stopped at the token limit.
        vectors: little-endian float32 of one text after the other, base64; for embeddings.
        dimensions: of a vector.
        failure: one of `FAILURES`, None for a reply.
    """

    key: str
    digest: str
    snapshot: int
    texts: tuple[str, ...] = ()
    cut: tuple[bool, ...] = ()
    vectors: str = ""
    dimensions: int = 0
    failure: str | None = None

    @property
    def step(self) -> str:
        """The step that the call belongs to."""
        return self.key.split("/", 1)[0]

    @property
    def text(self) -> str:
        """The first choice, empty without one."""
        return self.texts[0] if self.texts else ""


class NeedsReplies(Exception):
    """A method cannot go on without these calls."""

    def __init__(self, requests: Sequence[LlmRequest]) -> None:
        super().__init__(f"{len(requests)} language model calls are needed")
        self.requests = tuple(requests)


@dataclass
class Replies:
    """The recorded replies of a study."""

    _found: dict[tuple[str, str], LlmReply] = field(default_factory=dict)
    _failed: dict[tuple[str, str], LlmReply] = field(default_factory=dict)
    _snapshots: dict[str, int] = field(default_factory=dict)

    def add(self, replies: Iterable[LlmReply]) -> None:
        """Take in recorded replies, and the failures of this moment: those of the last time are forgotten, and tried again."""
        self._failed.clear()
        for reply in replies:
            if reply.failure is not None:
                self._failed[reply.key, reply.digest] = reply
                continue
            self._found[reply.key, reply.digest] = reply
            self._snapshots[reply.step] = min(self._snapshots.get(reply.step, reply.snapshot), reply.snapshot)

    def find(self, request: LlmRequest) -> LlmReply | None:
        """The reply to a request, None if it is not recorded."""
        place = (request.key, request.digest)
        return self._found.get(place) or self._failed.get(place)

    def snapshot(self, step: str) -> int | None:
        """The `seq` that the step's first call was made from, failed ones of this moment included; None before it."""
        failed = [r.snapshot for r in self._failed.values() if r.step == step]
        return min([*failed, *([self._snapshots[step]] if step in self._snapshots else [])], default=None)

    @property
    def recorded(self) -> list[LlmReply]:
        """Every reply, failures aside, in the order in which they were added."""
        return list(self._found.values())


Talk: TypeAlias = Generator[Sequence[LlmRequest], Sequence[LlmReply], T]
"""A conversation: yields requests that may be answered beside each other, is sent their replies, returns what came of it."""


def converse(talks: Sequence[Talk[T]], replies: Replies) -> list[T]:
    """Lead conversations to their ends with what is recorded.

    Raises:
        NeedsReplies: what the conversations wait for, all of them together.
    """
    results: list[T] = []
    missing: dict[tuple[str, str], LlmRequest] = {}
    for talk in talks:
        try:
            wanted = next(talk)
            while True:
                found = [replies.find(request) for request in wanted]
                if None in found:
                    missing |= {(r.key, r.digest): r for r, f in zip(wanted, found, strict=True) if f is None}
                    talk.close()
                    break
                wanted = talk.send([f for f in found if f is not None])
        except StopIteration as end:
            results.append(end.value)
    if missing:
        raise NeedsReplies(list(missing.values()))
    return results
