"""What `auto` gives to studies of other kinds than numbers: seeds, long orders, many outcomes of several goals."""

from __future__ import annotations

from typing import Any

import pytest

from services.domain.errors import Invalid
from services.domain.history import History
from services.domain.suggester import Problem, Publisher
from tests.suggesters import law
from tests.support.builders import study
from workers.suggesters.auto import choose
from workers.suggesters.registry import get

THETA = {"name": "theta", "type": "vector", "encoding": "seed", "shape": [4]}
ORDER = {"name": "o", "type": "permutation", "items": list(range(300))}
X = {"name": "x", "type": "float", "min": 0, "max": 1}
TWO = [{"metric": "loss"}, {"metric": "size"}]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"parameters": [THETA]}, "es"),
        ({"parameters": [ORDER]}, "annealing"),
        ({"parameters": [ORDER, X]}, "annealing"),
        ({"parameters": [ORDER], "limits": {"max_running": 64}}, "ga"),
        ({"parameters": [ORDER], "objectives": TWO}, "nsga2"),
    ],
)
def test_the_kind_decides(fields: dict[str, Any], name: str) -> None:
    spec = study(suggester={"name": "auto"}, **fields)
    get("auto").check(spec)
    assert choose(spec, History(spec))[0] == name


def test_many_outcomes_of_several_goals_leave_the_model() -> None:
    of = Problem(study="st", spec=study(parameters=[X, {**X, "name": "y"}], objectives=TWO), seed=1)
    one = law.Study(of)
    for n in range(501):
        one.tell(one.add({"x": n / 501, "y": 0.5}), 1.0)
    assert choose(of.spec, one.history())[0] == "nsga2"
    del one.trials[501]
    assert choose(of.spec, one.history())[0] == "gp"


def test_auto_publishes_what_es_concludes() -> None:
    of = Problem(
        study="st", spec=study(parameters=[THETA], suggester={"name": "auto"}, limits={"max_trials": 40}), seed=1
    )
    one, suggester = law.Study(of), law.make(get("auto"), of)
    for _ in range(20):
        for suggestion in one.ask(suggester, 2):
            one.tell(one.start(suggestion), float(suggestion.parameters["theta"]["sign"]))
    one.ask(suggester, 1)
    assert isinstance(suggester, Publisher)
    log = suggester.updates(0)
    assert [update.theta_version for update in log] == list(range(20))
    assert all(weight > 0 for update in log for weight in update.weights)
    again = law.make(get("auto"), of)
    one.ask(again, 1)
    assert isinstance(again, Publisher)
    assert again.updates(0) == log


def test_seeds_beside_other_parameters_are_refused() -> None:
    with pytest.raises(Invalid):
        get("auto").check(study(parameters=[THETA, X], suggester={"name": "auto"}))
