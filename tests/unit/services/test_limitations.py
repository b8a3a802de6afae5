"""Each rule about what limits a study: trials that show it, and trials that do not."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.domain.calibration import calibrate
from services.domain.trial import TrialState
from services.limitations import Facts, limitations
from services.store.finished import FinishedTrial
from services.store.records import Progress, TrialRecord
from tests.support.builders import study

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PLANE = [{"name": "x", "type": "float", "min": 0, "max": 1}, {"name": "k", "type": "int", "min": 1, "max": 4}]


def trial(number: int, value: float | None = None, **fields: Any) -> FinishedTrial:
    """A completed trial somewhere inside, that took a minute."""
    usual: dict[str, Any] = {
        "number": number,
        "state": TrialState.COMPLETED,
        "parameters": {"x": 0.1 + 0.8 * ((number * 0.618) % 1), "k": 2 + number % 2},
        "point_key": str(number),
        "metrics": {} if value is None else {"loss": value},
        "std": None,
        "feasible": True,
        "value": value,
        "suggester": "gp",
        "receipt": None,
        "started_at": NOW - timedelta(minutes=1),
        "finished_at": NOW,
    }
    return FinishedTrial(**usual | fields)


def kinds(finished: list[FinishedTrial], **fields: Any) -> dict[str, dict[str, Any]]:
    """What is found, by kind."""
    spec = study(parameters=PLANE, **fields.pop("spec", {}))
    progress = Progress("st", NOW, next_number=len(finished) + 1, **fields.pop("progress", {}))
    facts = Facts(spec, progress, finished, fields.pop("running", []), fields.pop("calibration", ()), NOW)
    return {kind: evidence for kind, _, evidence in limitations(facts)}


def falling(count: int, **fields: Any) -> list[FinishedTrial]:
    """Trials that get better and better."""
    return [trial(i, 1.0 / i, **fields) for i in range(1, count + 1)]


def believing(**receipt: Any) -> dict[str, Any]:
    return {"acquisition": "improvement", "log_acquisition": -1.0} | receipt


def test_a_study_that_gets_on_has_no_limits() -> None:
    assert set(kinds(falling(30))) == {"none"}


def test_before_the_first_outcome_nothing_is_told() -> None:
    assert kinds([], progress={"running": 2}) == {"nothing_told": {"open": 2}}


def test_nothing_feasible_and_the_suspicion() -> None:
    broken = [trial(i, feasible=False, metrics={"loss": 1.0, "c": float(i)}) for i in range(1, 9)]
    constrained = {"constraints": [{"metric": "c", "max": 0}]}
    assert kinds(broken, spec=constrained)["nothing_feasible"] == {"completed": 8}
    suspected = {"infeasible_suspected": {"trial": 4, "evidence": {}, "at": NOW.isoformat()}}
    assert "infeasible_suspected" in kinds(broken, spec=constrained, progress=suspected)
    assert "nothing_feasible" not in kinds([*broken, trial(9, 1.0)], spec=constrained)


@pytest.mark.parametrize(
    ("llm", "spent"),
    [
        ({"max_calls": 10}, {"calls": 9}),
        ({"max_total_tokens": 100}, {"prompt_tokens": 50, "completion_tokens": 40}),
        ({"max_cost": 2}, {"cost": 1.9}),
    ],
)
def test_the_budgets_of_the_language_model_are_named(llm: dict[str, Any], spent: dict[str, Any]) -> None:
    (name, most), *_ = llm.items()
    assert kinds(falling(30), spec={"llm": llm}, progress={"llm": {"usage": spent}})["budget"] == {f"llm.{name}": most}
    assert "budget" not in kinds(falling(30), spec={"llm": {name: 2 * most}}, progress={"llm": {"usage": spent}})
    assert "budget" not in kinds(falling(30), spec={"llm": llm})


def test_the_budget_of_examples_is_named() -> None:
    spec = {"examples": {"train": ["a"]}, "limits": {"max_example_evaluations": 100}}
    assert kinds(falling(30), spec=spec, progress={"example_evaluations": 90})["budget"] == {
        "max_example_evaluations": 100
    }
    assert "budget" not in kinds(falling(30), spec=spec, progress={"example_evaluations": 89})


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.INFEASIBLE])
def test_trials_that_break(state: TrialState) -> None:
    some = [trial(i, state=state) for i in range(31, 46)]
    assert kinds(falling(20) + some)[f"mostly_{state.value}"] == {"count": 15, "finished": 35}
    assert f"mostly_{state.value}" not in kinds(falling(30) + some[:3])


def test_equal_values() -> None:
    assert kinds([trial(i, 2.0) for i in range(1, 9)])["all_equal"] == {"value": 2.0}


@pytest.mark.parametrize(
    ("x", "k", "name", "end"), [(0.999, 2, "x", "max"), (0.0, 3, "x", "min"), (0.5, 4, "k", "max")]
)
def test_the_best_points_at_a_bound(x: float, k: int, name: str, end: str) -> None:
    best = [trial(i, -1.0, parameters={"x": x, "k": k}) for i in range(31, 35)]
    found = kinds(falling(30) + best)["at_bound"]
    assert (found["parameter"], found["end"]) == (name, end)


def test_noise_larger_than_the_latest_gains() -> None:
    noisy = believing(model={"noise_std": {"loss": 0.5}})
    still = [trial(i, 1.0 + (i % 7) / 10, receipt=noisy) for i in range(1, 31)]
    assert kinds(still)["noise"] == {"noise_std": 0.5, "recent_gain": pytest.approx(0.0, abs=0.6)}
    told = [trial(i, 1.0 + (i % 7) / 10, std={"loss": 0.5}) for i in range(1, 31)]
    assert kinds(told)["noise"]["noise_std"] == 0.5
    exact = believing(model={"noise_std": {"loss": 1e-6}})
    assert "noise" not in kinds(falling(30, receipt=exact))


def test_next_to_no_improvement_expected() -> None:
    hopeless = believing(log_acquisition=math.log(1e-9))
    assert "converged" in kinds(falling(20) + [trial(i, 1.0, receipt=hopeless) for i in range(21, 26)])
    assert "converged" not in kinds(falling(20) + [trial(i, 1.0, receipt=hopeless) for i in range(21, 25)])
    other = believing(log_acquisition=-99.0, acquisition="confidence")  # another scale: says nothing
    assert "converged" not in kinds([trial(i, 1.0 / i, receipt=other) for i in range(1, 20)])


def test_budgets_and_small_spaces() -> None:
    assert kinds(falling(9), spec={"limits": {"max_trials": 10}})["budget"] == {"max_trials": 10}
    assert kinds(falling(9), spec={"limits": {"max_cost": 5}}, progress={"cost": 4.5})["budget"] == {"max_cost": 5.0}
    assert "budget" not in kinds(falling(8), spec={"limits": {"max_trials": 10}})
    assert "space_exhausted" in kinds(falling(9), progress={"exhausted": True})


def test_trials_that_run_far_too_long() -> None:
    def running(number: int, minutes: float) -> TrialRecord:
        begun = NOW - timedelta(minutes=minutes)
        return TrialRecord("st", number, TrialState.RUNNING, {}, "gp", "", begun, started_at=begun)

    found = kinds(falling(10), running=[running(11, 5.0), running(12, 90.0)])
    assert found["overdue"] == {"trials": [12], "usual_seconds": 60.0}
    assert "overdue" not in kinds(falling(10), running=[running(11, 5.0)])


def test_repeated_points_matter_only_without_noise() -> None:
    same = [trial(i, 1.0 / i, point_key=str(i % 5)) for i in range(1, 21)]
    assert kinds(same)["duplicates"] == {"repeats": 15}
    assert "duplicates" not in kinds(same, spec={"objectives": [{"metric": "loss", "noisy": True}]})


@pytest.mark.parametrize(("claimed", "verdict"), [(0.1, "overconfident"), (50.0, "underconfident")])
def test_a_badly_calibrated_model(claimed: float, verdict: str) -> None:
    found = calibrate("loss", [(i, 0.0, claimed, float((-1) ** i)) for i in range(1, 60)])
    assert kinds(falling(20), calibration=(found,))[verdict]["metric"] == "loss"


def test_receipts_of_any_shape_do_no_harm() -> None:
    odd: list[Any] = [
        {"model": "none"},
        {"model": {"noise_std": 3}},
        {"acquisition": "improvement", "log_acquisition": "x"},
    ]
    assert set(kinds([trial(i, 1.0 / i, receipt=odd[i % 3]) for i in range(1, 30)])) == {"none"}
