"""Methods that need replies, in pools: the requests come out, the replies go in, and nothing but them crosses the border."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from services.domain.llm import LlmReply, LlmRequest
from tests.support.builders import study
from tests.support.talkative import SOURCE, get, talkative
from workers.pools.local_pool import LocalPool
from workers.pools.pool import Job, NeedsAnswers, NeedsHistory, Pool, Result
from workers.pools.runner import Runner


def job(replies: Sequence[LlmReply] = (), *, known_seq: int = 0, seq: int = 1, **options: Any) -> Job:
    spec = study(name="pooled", **talkative({"profile": "p"}, **options))
    return Job(
        study="s1", suggester="talkative", spec=spec.model_dump_json(exclude={"labels", "metadata"}), seed=7,
        known_seq=known_seq, observations=(), seq=seq, next_number=1, count=1, replies=tuple(replies),
    )  # fmt: skip


def replied(request: LlmRequest, text: str = "hello") -> LlmReply:
    return LlmReply(key=request.key, digest=request.digest, snapshot=request.snapshot, texts=(text,), cut=(False,))


def needs(answer: object) -> tuple[LlmRequest, ...]:
    assert isinstance(answer, NeedsAnswers)
    return answer.requests


def prompt(answer: object) -> tuple[str, str]:
    assert isinstance(answer, Result)
    (suggestion,) = answer.suggestions
    return suggestion.parameters["prompt"], suggestion.reason


def test_a_runner_keeps_replies_and_forgets_failures() -> None:
    runner = Runner(get)
    first, second = needs(runner.run(job(beside=2)))
    (again,) = needs(runner.run(job([replied(first)], known_seq=1, seq=2, beside=2)))
    assert (again.key, again.digest) == (second.key, second.digest)
    assert prompt(runner.run(job([second.failed("timeout")], known_seq=2, seq=2, beside=2))) == (
        "edit 1",
        "edited: timeout",
    )
    assert [r.key for r in needs(runner.run(job(known_seq=2, seq=2, beside=2)))] == [second.key]
    found = prompt(runner.run(job([replied(second, "world")], known_seq=2, seq=3, beside=2)))
    assert found == ("1 hello world", "from the language model")


def test_a_runner_that_knows_too_little_asks_for_everything() -> None:
    runner = Runner(get)
    (request,) = needs(runner.run(job(seq=3)))
    assert isinstance(runner.run(job(known_seq=5, seq=6)), NeedsHistory)
    assert prompt(runner.run(job([replied(request)], seq=6))) == ("1 hello", "from the language model")


def test_other_options_do_not_lose_the_replies() -> None:
    runner = Runner(get)
    (request,) = needs(runner.run(job()))
    runner.run(job([replied(request)], known_seq=1, seq=2))
    assert prompt(runner.run(job(known_seq=2, seq=2, edits=False))) == ("1 hello", "from the language model")


async def talk(pool: Pool) -> None:
    await pool.start()
    try:
        (first,) = needs(await pool.run(job(rounds=2)))
        (second,) = needs(await pool.run(job([replied(first, "ö\u202e🙂")], known_seq=1, seq=2, rounds=2)))
        assert "after ö\u202e🙂" in second.messages[-1][1]
        found = await pool.run(job([replied(second, "done")], known_seq=2, seq=3, rounds=2))
        assert prompt(found) == ("1 done", "from the language model")
    finally:
        await pool.close()


async def test_requests_and_replies_cross_to_another_process_and_back() -> None:
    await talk(LocalPool(1, source=SOURCE))


@pytest.mark.ray
@pytest.mark.slow
async def test_and_to_another_node() -> None:
    from workers.pools.ray_pool import RayPool

    await talk(RayPool(places=1, source=SOURCE))
