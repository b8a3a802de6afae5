"""Asks that wait are answered by the transaction that brings their suggestions; nothing is lost on that way."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from services import handing_out
from services.domain.errors import NotFound
from services.domain.trial import Trial
from services.store import suggestions as store
from services.store.unit_of_work import StudyGone, StudyWork
from services.suggesting import Claim
from tests.integration.store.test_example_budget import PARTS, TEXT
from tests.integration.store.test_short_suggestions import claimed, text
from tests.support.builders import ADMIN
from tests.support.stage import Stage, staged, until
from tests.support.troublesome import SPECS

CATALOGUE = {**SPECS, "parts": PARTS}


async def waiting(stage: Stage, count: int = 1) -> tuple[str, asyncio.Task[list[Trial]], Claim]:
    """A study, an ask that stands by, and the claim to answer it."""
    study = await stage.study("parts", parameters=TEXT)
    ask = asyncio.create_task(stage.ask(study, wait_seconds=60, count=count))
    claim = await claimed(stage, study)
    await until(lambda: study in stage.services.transactions._standing)
    return study, ask, claim


async def in_buffer(stage: Stage, study: str) -> list[str]:
    found = await stage.services.transactions.read(lambda connection: store.first(connection, study, 10))
    return [buffered.suggestion.parameters["prompt"] for buffered in found]


async def test_what_is_waited_for_is_handed_out_as_it_is_written(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(empty_database, CATALOGUE) as stage:
        study, ask, claim = await waiting(stage, count=2)
        written: list[int] = []
        replace = store.replace
        monkeypatch.setattr(store, "replace", lambda c, s, rows: (written.append(len(rows)), replace(c, s, rows)))
        assert await stage.services.suggesting.commit(claim, [text("one"), text("two"), text("three")], may_end=False)
        assert [(t.number, t.state, t.parameters["prompt"]) for t in await ask] == [
            (1, "running", "one"),
            (2, "running", "two"),
        ]
        assert written == [1], "those that were taken were never in the buffer"
        assert await in_buffer(stage, study) == ["three"]
        assert [t.parameters["prompt"] for t in await stage.ask(study)] == ["three"]
        assert await in_buffer(stage, study) == []


async def test_one_that_has_gone_leaves_its_suggestions(empty_database: str) -> None:
    async with staged(empty_database, CATALOGUE) as stage:
        study, ask, claim = await waiting(stage)
        ask.cancel()
        await asyncio.wait([ask])
        assert await stage.services.suggesting.commit(claim, [text("one")], may_end=False)
        assert await in_buffer(stage, study) == ["one"]
        assert [t.number for t in await stage.ask(study)] == [1]


async def test_one_that_goes_while_its_trial_is_written_gives_it_back(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = threading.Event(), threading.Event()
    start = handing_out.start

    def slow(*arguments: Any) -> None:
        reached.set()
        go_on.wait(20)
        start(*arguments)

    async with staged(empty_database, CATALOGUE) as stage:
        study, ask, claim = await waiting(stage)
        monkeypatch.setattr(handing_out, "start", slow)
        commit = asyncio.create_task(stage.services.suggesting.commit(claim, [text("one")], may_end=False))
        assert await asyncio.to_thread(reached.wait, 20)
        ask.cancel()
        await asyncio.wait([ask])
        go_on.set()
        assert await commit
        (event,) = await stage.until_event(study, "trial.returned")
        assert event.data["reason"] == "client disconnected"
        assert [(t.number, t.attempt) for t in await stage.ask(study)] == [(1, 1)]


async def test_one_that_breaks_takes_nothing_along(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with staged(empty_database, CATALOGUE) as stage:
        study, ask, claim = await waiting(stage)
        suggested, calls = handing_out.suggested, 0

        def breaks_once(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise RuntimeError("a mistake of ours")
            return suggested(*arguments)

        monkeypatch.setattr(handing_out, "suggested", breaks_once)
        assert await stage.services.suggesting.commit(claim, [text("one")], may_end=False)
        assert [t.number for t in await ask] == [1], "it is answered from the buffer"
        assert calls == 2
        assert await in_buffer(stage, study) == []


async def test_one_whose_study_goes_between_two_tries_of_the_transaction_gets_no_trials(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(empty_database, CATALOGUE) as stage:
        _, ask, claim = await waiting(stage)

        def breaks(_: StudyWork) -> None:
            monkeypatch.setattr(StudyWork, "begin", gone)
            raise OperationalError("", {}, ConnectionError())

        def gone(*_: Any) -> StudyWork:
            raise StudyGone

        with monkeypatch.context() as patch:
            patch.setattr(StudyWork, "flush", breaks)
            assert not await stage.services.suggesting.commit(claim, [text("one")], may_end=False)
        with pytest.raises(NotFound):
            await ask


async def test_a_late_commit_answers_nobody(empty_database: str) -> None:
    async with staged(empty_database, CATALOGUE) as stage:
        study, ask, claim = await waiting(stage)
        await stage.services.suggesting.release(claim)
        newer = await claimed(stage, study)
        assert not await stage.services.suggesting.commit(claim, [text("old")], may_end=False)
        assert not ask.done()
        assert await stage.services.suggesting.commit(newer, [text("new")], may_end=False)
        assert [t.parameters["prompt"] for t in await ask] == ["new"]


async def test_a_transaction_that_only_looks_changes_nothing(empty_database: str) -> None:
    async with staged(empty_database, CATALOGUE) as stage:
        study = await stage.study("parts", parameters=TEXT)
        before = await stage.services.studies.get(ADMIN, study)
        stage.clock_ahead = 10.0
        assert await stage.services.transactions.on_study(study, lambda work: work.progress.trials) == 0
        assert await stage.services.studies.get(ADMIN, study) == before
        await stage.services.transactions.on_study(study, lambda work: work.event("study.noted"))
        after = await stage.services.studies.get(ADMIN, study)
        assert after.seq == before.seq + 1
        assert after.updated_at > before.updated_at
