"""Jobs for a study that talks, as a dispatcher would send them, and what pools answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.domain.llm import LlmReply, LlmRequest
from tests.support.builders import study
from tests.support.talkative import talkative
from workers.pools.pool import Job, NeedsAnswers, Pool, Result


def job(replies: Sequence[LlmReply] = (), *, known_seq: int = 0, seq: int = 1, **options: Any) -> Job:
    """A job for it, with the replies recorded after `known_seq`."""
    spec = study(name="pooled", **talkative({"profile": "p"}, **options))
    return Job(
        study="s1", suggester="talkative", spec=spec.model_dump_json(exclude={"labels", "metadata"}), seed=7,
        known_seq=known_seq, observations=(), seq=seq, next_number=1, count=1, replies=tuple(replies),
    )  # fmt: skip


def replied(request: LlmRequest, text: str = "hello") -> LlmReply:
    """A reply to a request."""
    return LlmReply(key=request.key, digest=request.digest, snapshot=request.snapshot, texts=(text,), cut=(False,))


def needs(answer: object) -> tuple[LlmRequest, ...]:
    """The calls that an answer wants."""
    assert isinstance(answer, NeedsAnswers)
    return answer.requests


def prompt(answer: object) -> tuple[str, str]:
    """The one text that was suggested, and why."""
    assert isinstance(answer, Result)
    (suggestion,) = answer.suggestions
    return suggestion.parameters["prompt"], suggestion.reason


async def talk(pool: Pool) -> None:
    """Two rounds of a study that talks, in a pool that has started."""
    (first,) = needs(await pool.run(job(rounds=2)))
    (second,) = needs(await pool.run(job([replied(first, "ö\u202e🙂")], known_seq=1, seq=2, rounds=2)))
    assert "after ö\u202e🙂" in second.messages[-1][1]
    found = await pool.run(job([replied(second, "done")], known_seq=2, seq=3, rounds=2))
    assert prompt(found) == ("1 done", "from the language model")
