"""Where `auto` hands over to a method that comes to an end, the study ends too: nobody waits for trials that will not come."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.domain.errors import NotActive
from services.domain.study import StudyState
from services.profiles import read_profiles
from tests.support.builders import ADMIN, outcome, study
from tests.support.openai_server import OpenAiServer
from tests.support.stage import staged
from workers.pools.local_pool import LocalPool
from workers.suggesters.registry import specs


async def test_a_budget_of_examples_that_leaves_no_room_for_a_step_ends_the_study(tmp_path: Path) -> None:
    document = study(
        parameters=[{"name": "prompt", "type": "text", "initial": ["Answer."]}],
        suggester={"name": "auto"},
        examples={"train": ["a", "b", "c"], "validation": ["d", "e", "f"]},
        limits={"max_example_evaluations": 5},
        llm={"share_examples": True},
    )
    with OpenAiServer() as server:
        async with staged(f"sqlite:///{tmp_path}/asktell.db", specs(), read_profiles(server.profile())) as stage:
            await stage.dispatcher(LocalPool(1))
            name = (await stage.services.studies.create(ADMIN, document)).value.id
            (trial,) = await stage.ask(name, wait_seconds=20)
            assert trial.suggested_by.suggester == "gepa" and trial.evaluate_on is not None
            rows = [{"id": example, "score": 0.5} for example in trial.evaluate_on.ids]
            await stage.services.tells.tell(ADMIN, name, trial.number, outcome(0.5, examples=rows))
            with pytest.raises(NotActive):
                for _ in range(4):
                    assert not await stage.ask(name, wait_seconds=5)
            found = await stage.services.studies.get(ADMIN, name)
    assert found.state is StudyState.COMPLETED
    assert found.trial_counts.completed == 1
