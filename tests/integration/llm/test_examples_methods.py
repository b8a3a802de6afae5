"""`gepa` and `mipro` in the whole service: database, dispatcher, a process of the pool, and a language model over HTTP."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.domain.errors import NotActive
from services.domain.study import StudyState
from services.domain.trial import Trial
from services.profiles import read_profiles
from tests.support.builders import ADMIN, outcome, study
from tests.support.keyword_task import keywords
from tests.support.openai_scripts import Call
from tests.support.openai_server import OpenAiServer
from tests.support.stage import Stage, staged
from workers.pools.local_pool import LocalPool
from workers.suggesters.registry import specs

BUDGET = 130
Client = Callable[[Trial], list[dict[str, Any]]]


def reflect(call: Call) -> str:
    """Adds every rule that the feedback names."""
    found = re.search(r"```\n(.*?)\n```", call.shown, re.DOTALL)
    assert found is not None
    rules = dict.fromkeys(re.findall(r"must say (\w+)", call.shown))
    return f"```\n{' '.join([found.group(1), *(r for r in rules if r not in found.group(1))])}\n```"


def by_rules(trial: Trial) -> list[dict[str, Any]]:
    assert trial.evaluate_on is not None
    return keywords(str(trial.parameters["prompt"]), trial.evaluate_on.ids)


async def evaluated(stage: Stage, name: str, trials: int, client: Client) -> list[Trial]:
    """Asks and tells, one by one, until so many are told or the study has ended."""
    done: list[Trial] = []
    with contextlib.suppress(NotActive):
        while len(done) < trials:
            found = await stage.ask(name, wait_seconds=20)
            for trial in found:
                rows = client(trial)
                mean = sum(row["score"] for row in rows) / len(rows)
                told = outcome(metrics={"accuracy": mean}, examples=rows)
                await stage.services.tells.tell(ADMIN, name, trial.number, told)
            done += found
    return done


def prompts(suggester: str, budget: int) -> dict[str, Any]:
    return {
        "parameters": [{"name": "prompt", "type": "text", "initial": ["Answer."], "max_length": 2000}],
        "objectives": [{"metric": "accuracy", "goal": "maximize"}],
        "suggester": {"name": suggester},
        "examples": {"train": [f"e{n}" for n in range(20)], "validation": [f"v{n}" for n in range(10)]},
        "llm": {"share_examples": True},
        "limits": {"max_example_evaluations": budget},
    }


async def test_gepa_goes_on_after_its_dispatcher_is_lost_and_ends_at_its_limit(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/asktell.db"
    with OpenAiServer(reflect) as server:
        profiles = read_profiles(server.profile())
        async with staged(address, specs(), profiles) as stage:
            await stage.dispatcher(LocalPool(1))
            document = prompts("gepa", BUDGET)
            name = (await stage.services.studies.create(ADMIN, study(**document))).value.id
            first = await evaluated(stage, name, 3, by_rules)
            assert [t.suggested_by.reason.split(", ")[0].split(": ")[-1] for t in first] == [
                "a starting text", "probe parent on 3 examples", "probe child on 3 examples",
            ]  # fmt: skip
        async with staged(address, specs(), profiles) as stage:
            await stage.dispatcher(LocalPool(1))
            rest = await evaluated(stage, name, 100, by_rules)
            found = await stage.services.studies.get(ADMIN, name)
        assert rest[0].suggested_by.reason.startswith("iteration 0: full")
        assert found.state is StudyState.COMPLETED
        trials = first + rest
        sizes = [len(t.evaluate_on.ids) for t in trials if t.evaluate_on]
        assert BUDGET - 16 < sum(sizes) <= BUDGET
        assert max(Counter((str(t.parameters), str(t.evaluate_on)) for t in trials).values()) == 1
        assert max(Counter(call.digest for call in server.chats).values()) == 1
        assert len(server.chats) == sum("probe child" in t.suggested_by.reason for t in trials)
        assert str(trials[-1].parameters["prompt"]).count("rule") >= 9


def write(call: Call) -> str:
    return f"<text>Instruction {call.digest[:8]}.</text>" if "<text>" in call.shown else "Sums, all of them."


def by_length(trial: Trial) -> list[dict[str, Any]]:
    assert trial.evaluate_on is not None
    shown = len(trial.parameters["demos"])
    return [{"id": i, "score": float(int(i[1:]) % 5 > shown), "output": "out"} for i in trial.evaluate_on.ids]


async def test_mipro_runs_to_the_end_of_its_schedule(tmp_path: Path) -> None:
    demos = {"name": "demos", "type": "tokens", "vocabulary": [f"e{n}" for n in range(20)], "max_length": 4}
    document = prompts("mipro", 10_000)
    document["parameters"] = [*document["parameters"], demos]
    document["examples"]["validation"] = [f"v{n}" for n in range(60)]
    with OpenAiServer(write) as server:
        async with staged(f"sqlite:///{tmp_path}/asktell.db", specs(), read_profiles(server.profile())) as stage:
            await stage.dispatcher(LocalPool(1))
            name = (await stage.services.studies.create(ADMIN, study(**document))).value.id
            trials = await evaluated(stage, name, 100, by_length)
            found = await stage.services.studies.get(ADMIN, name)
        kinds = [t.suggested_by.reason.split()[0] for t in trials]
        assert kinds == ["the", "the", *["search"] * 5, "full", *["search"] * 5, "full"]
        assert found.state is StudyState.COMPLETED
        assert len(server.chats) == 8 + 1 + 2  # 80 rows in tens, their sum, two instructions beside the present one
