"""`limits.max_example_evaluations` is used as far as it goes by trials on parts of the sets, and never exceeded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.domain.errors import NotActive
from services.domain.history import History
from services.domain.study import StudyState
from services.domain.suggester import EVERY_TYPE, Blob, Honours, NoOptions, Problem, Spec, Suggestion
from services.domain.trial import Trial
from tests.support.builders import ADMIN, outcome
from tests.support.stage import Stage, staged
from tests.support.troublesome import SPECS

TRAIN, VALIDATION = ("t1", "t2", "t3"), ("v1", "v2", "v3", "v4")
EXAMPLES = {"train": list(TRAIN), "validation": list(VALIDATION)}
TEXT = [{"name": "prompt", "type": "text", "initial": ["Say it."]}]


class Parts:
    """Proposes what a test commits; it is never run."""

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        raise AssertionError("the test commits by hand")

    def state(self) -> Blob | None:
        return None


def create(_: Problem, __: Any, ___: Blob | None) -> Parts:
    return Parts()


PARTS = Spec(
    name="parts", summary="Trials on parts.", reference="none", honours=Honours(types=EVERY_TYPE, examples=True),
    options=NoOptions, create=create,
)  # fmt: skip


async def asked(stage: Stage, study: str, *sizes: int | None, may_end: bool = False) -> list[Trial]:
    """An ask for as many trials as are committed: on so many train examples each, None on the full set."""
    ask = asyncio.create_task(stage.ask(study, wait_seconds=1, count=len(sizes)))
    claim = None
    while claim is None:
        await asyncio.sleep(0.02)
        claim = await stage.services.suggesting.claim(study, "me")
    suggestions = [
        Suggestion(
            parameters={"prompt": f"Say it, {claim.seq}, {place}."}, reason="r",
            evaluate_on=None if size is None else {"split": "train", "ids": list(TRAIN[:size])},
        )
        for place, size in enumerate(sizes)
    ]  # fmt: skip
    assert await stage.services.suggesting.commit(claim, suggestions, may_end=may_end)
    return await ask


async def told(stage: Stage, study: str, trials: list[Trial]) -> None:
    for trial in trials:
        assert trial.evaluate_on is not None
        rows = [{"id": example, "score": 1.0} for example in trial.evaluate_on.ids]
        await stage.services.tells.tell(ADMIN, study, trial.number, outcome(0.5, examples=rows))


async def test_parts_are_handed_out_where_the_full_set_no_longer_fits(empty_database: str) -> None:
    async with staged(empty_database, {**SPECS, "parts": PARTS}) as stage:
        study = await stage.study("parts", parameters=TEXT, examples=EXAMPLES, limits={"max_example_evaluations": 9})
        first = await asked(stage, study, None)
        await told(stage, study, first)
        rest = await asked(stage, study, 3, None, 2)  # 5 examples are left: the full set does not fit behind the 3
        sizes = [len(t.evaluate_on.ids) for t in first + rest if t.evaluate_on]
        assert sizes == [4, 3, 2]
        await told(stage, study, rest)
        found = await stage.services.studies.get(ADMIN, study)
        assert found.state is StudyState.COMPLETED
        assert found.state_reason == "limits.max_example_evaluations of 9 is reached"


async def test_a_study_ends_where_nothing_that_is_proposed_fits(empty_database: str) -> None:
    async with staged(empty_database, {**SPECS, "parts": PARTS}) as stage:
        study = await stage.study("parts", parameters=TEXT, examples=EXAMPLES, limits={"max_example_evaluations": 6})
        await told(stage, study, await asked(stage, study, None))
        with pytest.raises(NotActive, match="max_example_evaluations"):
            await asked(stage, study, 3)  # 2 examples are left
        found = await stage.services.studies.get(ADMIN, study)
        assert found.state is StudyState.COMPLETED
        assert found.state_reason == "limits.max_example_evaluations of 6 is reached"
