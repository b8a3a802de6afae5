"""MeZO: zeroth-order descent over a vector that stays with its clients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from asktell.noise import Noise
from asktell.replica import Replica
from services.domain.errors import Invalid
from services.domain.history import History
from services.domain.suggester import Problem, Publisher
from tests.suggesters import law
from tests.support.builders import study
from workers.suggesters.registry import get

TARGET = np.linspace(-1, 1, 40).reshape(5, 8)


def problem(**options: Any) -> Problem:
    spec = study(
        parameters=[{"name": "theta", "type": "vector", "encoding": "seed", "shape": {"w": [5, 8]}}],
        suggester={"name": "zo", "options": options}, seed=5,
    )  # fmt: skip
    get("zo").check(spec)
    return Problem(study="st", spec=spec, seed=5)


def descend(of: Problem, steps: int) -> tuple[Replica, list[dict[str, Any]]]:
    """Every outcome told in its turn to one history that grows."""
    one, suggester, history = law.Study(of), law.make(get("zo"), of), History(of.spec)
    replica, log = Replica({"w": np.zeros((5, 8))}, dtype="float64"), list[dict[str, Any]]()
    changed: list[int] = []
    while len(log) < steps:
        history.update([one.trials[n] for n in changed], seq=one.seq, next_number=len(one.trials) + 1)
        suggestions = suggester.suggest(history, 2)
        assert isinstance(suggester, Publisher)
        for update in suggester.updates(len(log)):
            log.append(update.wire())
            replica.apply(log[-1])
        changed = [one.start(suggestion) for suggestion in suggestions]
        for number, suggestion in zip(changed, suggestions, strict=True):
            perturbed = replica.at(suggestion.parameters["theta"])["w"]
            one.tell(number, float(np.sum((perturbed - TARGET) ** 2)))
    return replica, log


def test_a_step_is_mezos() -> None:
    replica, log = descend(problem(radius=1e-3, lr=0.01), 1)
    (update,) = log
    assert (update["rule"], update["lr"], update["sigma"], update["norm"]) == ("sgd", 0.01, 1e-3, pytest.approx(500))
    z = Noise("gauss", update["seed"]).part(generation=0, pair=0, count=40)
    slope = update["weights"][0] / (2 * 1e-3)
    step = replica.theta["w"] / (-0.01 * slope)
    assert np.allclose(step.ravel(), z, atol=1e-6)
    # A projected gradient: the told difference along the direction that was stepped.
    gradient = -2 * TARGET
    assert slope == pytest.approx(float(np.sum(gradient * step)), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "bar"),
    [
        ({"lr": 0.01}, 0.1),
        ({"lr": 0.02, "directions": 8, "noise": "rademacher"}, 0.01),
        ({"lr": 0.02, "directions": 4, "rule": "adam"}, 0.2),
        ({"lr": 0.02, "directions": 4, "rank": 1}, 0.01),
    ],
)
def test_it_descends(options: dict[str, Any], bar: float) -> None:
    replica, _ = descend(problem(**options), 300)
    start = float(np.sum(TARGET**2))
    assert float(np.sum((replica.theta["w"] - TARGET) ** 2)) < bar * start


def test_a_log_rebuilds_theta_to_the_last_bit() -> None:
    replica, log = descend(problem(lr=0.01), 100)
    again = Replica({"w": np.zeros((5, 8))}, dtype="float64")
    for update in log:
        again.apply(update)
    assert np.array_equal(again.theta["w"], replica.theta["w"])
    assert again.fingerprint() == replica.fingerprint()


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"estimator": "orth2"}, "estimator"),
        ({"rule": "lion"}, "rule"),
        ({"scheme": "frank-wolfe"}, "scheme"),
        ({"rule_options": {"momentum": 1}}, "rule_options/momentum"),
        ({"radius": 1e-300}, "radius"),
    ],
)
def test_what_clients_cannot_do_is_refused(options: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        problem(**options)
    assert refused.value.errors[0].pointer == f"/suggester/options/{pointer}"
    with pytest.raises(Invalid, match="encoding seed"):
        get("zo").check(study(suggester={"name": "zo", "options": {"rank": 1}}))


def test_huge_losses_leave_numbers() -> None:
    of = problem()
    one, suggester = law.Study(of), law.make(get("zo"), of)
    for loss in (1e300, -1e300):
        (suggestion,) = one.ask(suggester, 1)
        one.tell(one.start(suggestion), loss)
    one.ask(suggester, 1)
    assert isinstance(suggester, Publisher)
    assert all(math.isfinite(w) for w in suggester.updates(0)[0].weights)
