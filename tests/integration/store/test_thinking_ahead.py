"""With a dispatcher beside it, the next suggestions stand ready before anyone asks for them."""

from __future__ import annotations

import asyncio

from services.domain.trial import AskRequest, Trial
from services.store import studies as study_store
from services.store.records import Progress
from tests.support.builders import ADMIN
from tests.support.stage import Stage, staged
from tests.support.thread_pool import ThreadPool
from tests.support.troublesome import SOURCE


async def progress(stage: Stage, study: str) -> Progress:
    services = stage.services
    found = await services.transactions.read(
        lambda c: study_store.get(c, ADMIN.project, study, services.transactions.specs)
    )
    assert found is not None
    return found[1]


async def until_ready(stage: Stage, study: str, count: int) -> Progress:
    """Wait, without asking, until that many suggestions that have seen everything are buffered."""
    async with asyncio.timeout(60):
        while True:
            found = await progress(stage, study)
            if found.buffered == count and found.buffer_seq >= found.knowledge_seq:
                return found
            await asyncio.sleep(0.02)


async def at_once(stage: Stage, study: str, *, count: int = 1, fresh: bool = True) -> tuple[Trial, ...]:
    """An ask that does not wait."""
    wish = AskRequest(count=count, worker="w", wait_seconds=0, fresh=fresh)
    return (await stage.services.asks.ask(ADMIN, study, wish)).value.trials


async def test_each_tell_is_followed_by_a_suggestion_that_has_seen_it(empty_database: str) -> None:
    async with staged(empty_database) as stage:
        await stage.dispatcher(ThreadPool(SOURCE))
        study = await stage.study()
        for _ in range(4):
            known = (await until_ready(stage, study, 1)).knowledge_seq
            (trial,) = await at_once(stage, study)
            assert not trial.suggested_by.fallback
            assert (trial.suggested_by.seen_seq or 0) >= known
            await stage.tell(study, trial)


async def test_as_many_stand_ready_as_ran_at_one_time(empty_database: str) -> None:
    async with staged(empty_database) as stage:
        await stage.dispatcher(ThreadPool(SOURCE))
        study = await stage.study()
        trials = await stage.ask(study, count=3)
        for ready, trial in enumerate(trials, 1):
            await stage.tell(study, trial)
            await until_ready(stage, study, ready)
        again = await at_once(stage, study, count=3)
        assert [trial.suggested_by.fallback for trial in again] == [False] * 3
        assert (await progress(stage, study)).buffered == 0


async def test_what_was_ready_before_a_tell_is_only_for_those_who_do_not_mind(empty_database: str) -> None:
    async with staged(empty_database) as stage:
        dispatcher = await stage.dispatcher(ThreadPool(SOURCE))
        study = await stage.study()
        first, second = await stage.ask(study, count=2)
        await stage.tell(study, first)
        ready = await until_ready(stage, study, 1)
        await dispatcher.close()
        await stage.tell(study, second)
        (fresh,) = await at_once(stage, study)
        (old,) = await at_once(stage, study, fresh=False)
        assert (fresh.suggested_by.fallback, old.suggested_by.fallback) == (True, False)
        assert old.suggested_by.seen_seq == ready.buffer_seq
        assert (fresh.suggested_by.seen_seq or 0) >= (await progress(stage, study)).knowledge_seq
