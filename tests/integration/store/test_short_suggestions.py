"""A suggester that has fewer points than wanted: over an infinite space it is asked again, and the study does not end for it."""

from __future__ import annotations

import asyncio

import pytest

from services.domain.study import StudyState
from services.domain.suggester import Suggestion
from services.suggesting import Claim
from tests.integration.store.test_example_budget import PARTS, TEXT
from tests.support.builders import ADMIN, outcome
from tests.support.stage import Stage, staged
from tests.support.troublesome import SPECS

CATALOGUE = {**SPECS, "parts": PARTS}


async def claimed(stage: Stage, study: str) -> Claim:
    while True:
        claim = await stage.services.suggesting.claim(study, "me")
        if claim is not None:
            return claim
        await asyncio.sleep(0.02)


def text(words: str) -> Suggestion:
    return Suggestion(parameters={"prompt": words}, reason="r")


async def test_nothing_for_now_is_tried_again_after_a_pause(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.suggesting.FIRST_RETRY_SECONDS", 2.0)
    async with staged(empty_database, CATALOGUE) as stage:
        study = await stage.study("parts", parameters=TEXT)
        ask = asyncio.create_task(stage.ask(study, wait_seconds=60))
        claim = await claimed(stage, study)
        assert await stage.services.suggesting.commit(claim, [], may_end=False)
        assert await stage.services.suggesting.claim(study, "me") is None, "it rests first"
        again = await claimed(stage, study)
        assert again.token > claim.token
        assert await stage.services.suggesting.commit(again, [text("Say it.")], may_end=False)
        (trial,) = await ask
        assert trial.parameters == {"prompt": "Say it."}
        found = await stage.services.studies.get(ADMIN, study)
        assert found.state is StudyState.ACTIVE


async def test_an_outcome_ends_the_pause(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.suggesting.FIRST_RETRY_SECONDS", 60.0)
    async with staged(empty_database, CATALOGUE) as stage:
        study = await stage.study("parts", parameters=TEXT)
        first = asyncio.create_task(stage.ask(study, wait_seconds=60))
        assert await stage.services.suggesting.commit(await claimed(stage, study), [text("one")], may_end=False)
        (trial,) = await first
        asyncio.create_task(stage.ask(study, wait_seconds=60))  # noqa: RUF006 - it waits until the end of the test
        await stage.services.suggesting.commit(await claimed(stage, study), [], may_end=False)
        assert await stage.services.suggesting.claim(study, "me") is None
        await stage.services.tells.tell(ADMIN, study, trial.number, outcome(0.5))
        async with asyncio.timeout(30):
            claim = await claimed(stage, study)
        assert any(seen.number == trial.number and not seen.is_pending for seen in claim.observations)


async def test_a_method_that_may_end_does_so_only_when_nothing_is_open(empty_database: str) -> None:
    async with staged(empty_database, CATALOGUE) as stage:
        study = await stage.study("parts", parameters=TEXT)
        first = asyncio.create_task(stage.ask(study, wait_seconds=60))
        assert await stage.services.suggesting.commit(await claimed(stage, study), [text("one")], may_end=True)
        (trial,) = await first
        second = asyncio.create_task(stage.ask(study, wait_seconds=0.5))
        assert await stage.services.suggesting.commit(await claimed(stage, study), [], may_end=True)
        assert await second == [], "an operation: the open trial may bring more"
        await stage.services.tells.tell(ADMIN, study, trial.number, outcome(0.5))
        assert await stage.services.suggesting.commit(await claimed(stage, study), [], may_end=True)
        found = await stage.services.studies.get(ADMIN, study)
        assert found.state is StudyState.COMPLETED
        assert found.state_reason == "the suggester has nothing more to propose"


async def test_an_ask_for_more_gets_at_once_what_there_is(empty_database: str) -> None:
    async with staged(empty_database, CATALOGUE) as stage:
        study = await stage.study("parts", parameters=TEXT)
        ask = asyncio.create_task(stage.ask(study, count=3, wait_seconds=60))
        async with asyncio.timeout(30):
            claim = await claimed(stage, study)
            while claim.count < 3:  # claimed before the ask stood in its row
                await stage.services.suggesting.release(claim)
                claim = await claimed(stage, study)
            assert await stage.services.suggesting.commit(claim, [text("one")], may_end=False)
            found = await ask
        assert [trial.parameters for trial in found] == [{"prompt": "one"}]


async def test_what_is_on_its_way_may_bring_more_so_nobody_is_sent_away(empty_database: str) -> None:
    async with staged(empty_database, CATALOGUE) as stage:
        study = await stage.study("parts", parameters=TEXT)
        asks = [asyncio.create_task(stage.ask(study, wait_seconds=60)) for _ in range(2)]
        async with asyncio.timeout(30):
            claim = await claimed(stage, study)
            while claim.count < 2:  # claimed before both stood in their rows
                await stage.services.suggesting.release(claim)
                claim = await claimed(stage, study)
            assert await stage.services.suggesting.commit(claim, [text("one")], may_end=True)
            (first,), left = await asyncio.wait(asks, return_when=asyncio.FIRST_COMPLETED)
            (trial,) = first.result()
            await stage.services.tells.tell(ADMIN, study, trial.number, outcome(0.5))
            assert await stage.services.suggesting.commit(await claimed(stage, study), [text("two")], may_end=True)
            assert [t.parameters for t in await left.pop()] == [{"prompt": "two"}]
