"""nevergrad's optimizers behind the adapter: every served one repeats itself, and points are the same on both sides."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from services.domain.codec import Codec
from services.domain.sampling import draw
from services.domain.space import Space
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import sphere
from workers.models.nevergrad_adapter import Parametrization, Portfolio
from workers.models.nevergrad_catalogue import SEQUENTIAL, SERVED

REALS = [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(2)]
MIXED = law.SPACES["mixed"]["parameters"]


def space(parameters: list[dict[str, Any]]) -> Space:
    """The space of parameters as a client writes them."""
    return study(parameters=parameters).space


def path(name: str, parameters: list[dict[str, Any]], workers: int, asks: int, budget: int = 120) -> list[Any]:
    """Points of one optimizer, told out of order, one in eleven never; NumPy's global generator is somewhere else each time."""
    portfolio = Portfolio(
        Parametrization(Codec(space(parameters))), name, seed=7, budget=budget, workers=workers, noisy=False
    )
    order, running, found = np.random.default_rng(3), list[tuple[int, Any]](), list[Any]()
    for n in range(asks):
        np.random.random(n % 3)
        candidate = portfolio.ask()
        point = portfolio.parametrization.point(candidate.value)
        found.append(point)
        running.append((n, candidate))
        while len(running) >= workers:
            number, candidate = running.pop(int(order.integers(len(running))))
            if workers == 1 or number % 11 != 10:
                values = [v for v in portfolio.parametrization.point(candidate.value).values() if isinstance(v, float)]
                portfolio.tell(candidate, sphere(values))
    portfolio.end()
    return found


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("name", SERVED)
def test_every_served_optimizer_repeats_itself(name: str, workers: int) -> None:
    if name in SEQUENTIAL and workers > 1:
        return
    np.random.seed(1)
    first = path(name, REALS, workers, 30)
    np.random.seed(2)
    assert path(name, REALS, workers, 30) == first
    assert len({json.dumps(p) for p in first}) > 8


@pytest.mark.parametrize("name", ["NGOpt", "CMA", "TwoPointsDE", "PSO", "OnePlusOne", "DoubleFastGADiscreteOnePlusOne"])
def test_mixed_spaces_repeat_too(name: str) -> None:
    assert path(name, MIXED, 4, 20) == path(name, MIXED, 4, 20)


def test_another_process_with_other_hashes_goes_the_same_way() -> None:
    names = ["NGOpt", "CMA", "DE", "PSO", "Portfolio", "Cobyla"]
    code = (
        "import json, sys; sys.path.insert(0, '.')\n"
        "from tests.suggesters.test_nevergrad_adapter import path, REALS\n"
        f"print(json.dumps([path(n, REALS, 1 if n == 'Cobyla' else 8, 30) for n in {names!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "77"},
    )
    here = [path(n, REALS, 1 if n == "Cobyla" else 8, 30) for n in names]
    assert json.loads(done.stdout.strip().splitlines()[-1]) == here


@pytest.mark.parametrize(("dimensions", "budget"), [(5, 400), (25, 15_000)])
def test_where_it_would_choose_what_cannot_be_resumed_it_is_told_two_workers(dimensions: int, budget: int) -> None:
    import nevergrad as ng

    parameters = [{"name": "w", "type": "vector", "length": dimensions, "min": 0, "max": 1}]
    alone = ng.optimizers.NGOpt(
        ng.p.Array(init=np.full(dimensions, 0.5), lower=0.0, upper=1.0), budget=budget, num_workers=1
    )
    assert "CmaFmin2" in str(alone.optim.name) + str(getattr(alone.optim, "method", ""))
    portfolio = Portfolio(
        Parametrization(Codec(space(parameters))), "NGOpt", seed=1, budget=budget, workers=1, noisy=False
    )
    assert portfolio.workers == 2
    assert "Fmin2" not in portfolio.chosen()


def test_numpys_global_generator_is_left_as_it_was() -> None:
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    portfolio = Portfolio(Parametrization(Codec(space(REALS))), "TBPSA", seed=1, budget=50, workers=2, noisy=False)
    portfolio.tell(portfolio.ask(), 1.0)
    np.testing.assert_array_equal(np.random.random(3), expected)


def test_each_type_becomes_nevergrads_own_kind() -> None:
    parametrization = Parametrization(Codec(space(MIXED)))
    made = parametrization.make(noisy=False)
    kinds = {name: type(made[name]).__name__ for name in parametrization.discrete}
    names = {parametrization.codec.coordinates[j].parameter.name: kinds[c] for c, j in parametrization.discrete.items()}
    assert names == {
        "kind": "Choice", "size": "TransitionChoice", "on": "Choice", "step": "Scalar", "grandchild": "TransitionChoice",
    }  # fmt: skip
    assert [parametrization.codec.coordinates[j].parameter.name for j in parametrization.reals] == [
        "lr",
        "p",
        "n",
        "child",
    ]


def test_points_and_candidates_are_the_same_thing() -> None:
    parametrization = Parametrization(Codec(space(MIXED)))
    made = parametrization.make(noisy=False)
    made.random_state = np.random.RandomState(1)

    for seed in range(40):
        point = draw(parametrization.codec.space, np.random.default_rng(seed))
        assert point is not None
        candidate = made.spawn_child(new_value=parametrization.value(point))
        back = parametrization.point(candidate.value)
        assert back.keys() == point.keys()
        for name, value in point.items():
            assert back[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value)
