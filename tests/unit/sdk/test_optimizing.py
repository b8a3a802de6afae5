"""What functions take and answer."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from asktell.errors import Invalid
from asktell.fields import StudyFields, TrialFields
from asktell.optimizing import Count, metrics_of, takes_trial, to_come

LOSS = [{"metric": "loss", "goal": "minimize"}]
TWO = [*LOSS, {"metric": "speed", "goal": "maximize"}]


def trial(number: int, state: str = "completed", feasible: bool | None = True, **metrics: float) -> TrialFields:
    found = TrialFields()
    found.data = {"number": number, "state": state, "feasible": feasible, "metrics": metrics}
    return found


def test_a_second_parameter_takes_the_trial_unless_it_has_a_default() -> None:
    def with_option(p: Any, seed: int = 0) -> None: ...
    def with_trial(p: Any, t: Any) -> None: ...

    assert takes_trial(with_trial)
    assert not takes_trial(with_option)
    assert not takes_trial(lambda p: p)
    assert takes_trial(functools.partial(lambda a, p, t: None, 1))


def test_a_number_is_the_one_objective() -> None:
    assert metrics_of(0.5, LOSS) == {"loss": 0.5}
    assert metrics_of({"loss": 1, "more": 2}, LOSS) == {"loss": 1, "more": 2}


@pytest.mark.parametrize(("answer", "objectives"), [(None, LOSS), (0.5, TWO)])
def test_what_cannot_be_metrics_is_named(answer: object, objectives: list[dict[str, Any]]) -> None:
    with pytest.raises(Invalid, match="return a mapping"):
        metrics_of(answer, objectives)


@pytest.mark.parametrize(("goal", "best"), [("minimize", 2), ("maximize", 1)])
def test_the_bar_shows_the_best_feasible_trial(goal: str, best: int) -> None:
    count = Count(10, [{"metric": "loss", "goal": goal}])
    for ended in (
        trial(1, loss=3),
        trial(2, loss=1),
        trial(3, loss=9, feasible=False),
        trial(4, loss=-9, feasible=False),
        trial(5, state="failed"),
    ):
        count.begin()
        count.end(ended)
    assert f"(trial {best})" in count.text()
    assert "1 failed" in count.text()


@pytest.mark.parametrize(
    ("examples", "best"),
    [({"train": ["a", "b"], "validation": ["c"]}, 1), ({"train": ["a", "b"]}, 2), ({"train": ["a"]}, 3)],
)
def test_the_bar_compares_scores_on_all_the_examples_that_decide(examples: dict[str, list[str]], best: int) -> None:
    count = Count(None, [{"metric": "accuracy", "goal": "maximize"}], examples)
    for ended, split, ids in (
        (trial(1, accuracy=0.5), "validation", ["c"]),
        (trial(2, accuracy=0.7), "train", ["a", "b"]),
        (trial(3, accuracy=0.9), "train", ["a"]),
    ):
        ended.data["evaluate_on"] = {"split": split, "ids": ids}
        count.begin()
        count.end(ended)
    assert f"(trial {best})" in count.text()


@pytest.mark.parametrize(
    ("limit", "most", "expected"), [(None, None, None), (None, 9, 9), (12, None, 5), (12, 9, 5), (12, 3, 3), (6, 9, 0)]
)
def test_the_bar_ends_where_the_study_does(limit: int | None, most: int | None, expected: int | None) -> None:
    study = StudyFields()
    study.data = {"limits": {"max_trials": limit}, "trial_counts": {"waiting": 3, "running": 2, "completed": 5}}
    assert to_come(study, most) == expected


def test_no_more_trials_begin_than_are_wanted() -> None:
    count = Count(2, LOSS)
    assert [count.begin(), count.begin(), count.begin()] == [True, True, False]
    count.give_back()
    assert count.begin()
