"""Methods that need replies, in pools: the requests come out, the replies go in, and nothing but them crosses the border."""

from __future__ import annotations

from tests.integration.llm.jobs import job, needs, prompt, replied, talk
from tests.support.talkative import SOURCE, get
from workers.pools.local_pool import LocalPool
from workers.pools.pool import NeedsHistory
from workers.pools.runner import Runner


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


async def test_requests_and_replies_cross_to_another_process_and_back() -> None:
    pool = LocalPool(1, source=SOURCE)
    await pool.start()
    try:
        await talk(pool)
    finally:
        await pool.close()
