"""Tokens and orders as columns: there and back, distances that mean something, kernels that stay positive definite."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.domain.sampling import draw_any
from tests.suggesters import law
from tests.support.builders import study
from workers.models.kernels import Kernel
from workers.models.sequence_codec import SequenceCodec, codec_for, too_long
from workers.suggesters.registry import get

SPACE: list[dict[str, Any]] = [
    {"name": "t", "type": "tokens", "vocabulary": ["a", "b", 3], "min_length": 1, "max_length": 4},
    {"name": "o", "type": "permutation", "items": ["p", "q", "r", "s", "t"]},
    {"name": "x", "type": "float", "min": -1, "max": 1},
    {"name": "k", "type": "categorical", "choices": ["u", "v"]},
]


def test_points_survive_the_way_there_and_back() -> None:
    space = study(parameters=SPACE).space
    codec, rng = SequenceCodec(space), np.random.default_rng(0)
    for _ in range(200):
        point = draw_any(space, rng)
        assert space.point(codec.decode(codec.encode(point))).keys() == point.keys()
        decoded = codec.decode(codec.encode(point))
        assert (decoded["t"], decoded["o"], decoded["k"]) == (point["t"], point["o"], point["k"])


def test_every_row_decodes_to_a_point_and_snapping_is_stable() -> None:
    space = study(parameters=SPACE).space
    codec = SequenceCodec(space)
    rows = np.random.default_rng(1).random((300, codec.dimensions))
    snapped = codec.snap_many(rows)
    for row, other in zip(rows, snapped, strict=True):
        assert space.point(codec.decode(row))
        np.testing.assert_allclose(codec.encode(codec.decode(row)), other)
    np.testing.assert_allclose(codec.snap_many(snapped), snapped)


def test_unequal_columns_of_two_orders_are_kendalls_distance() -> None:
    from scipy.stats import kendalltau

    space = study(parameters=SPACE[1:2]).space
    codec, rng = SequenceCodec(space), np.random.default_rng(2)
    for _ in range(50):
        a, b = draw_any(space, rng), draw_any(space, rng)
        unequal = int((codec.encode(a) != codec.encode(b)).sum())
        items = "pqrst"
        tau = kendalltau([a["o"].index(i) for i in items], [b["o"].index(i) for i in items]).statistic
        assert unequal == round((1 - tau) / 2 * 10)


def test_kernels_over_sequences_are_positive_definite() -> None:
    space = study(parameters=SPACE).space
    codec, rng = SequenceCodec(space), np.random.default_rng(3)
    x = codec.encode_many([draw_any(space, rng) for _ in range(120)])
    categorical = np.array([c.is_categorical for c in codec.coordinates])
    for shape in ("matern52", "matern32", "rbf"):
        kernel = Kernel(categorical, codec.groups, shape)  # type: ignore[arg-type]
        assert kernel.size == 4
        assert np.linalg.eigvalsh(kernel.value(kernel.squared_distance(x, x, np.full(4, 2.0)))).min() > -1e-9


def test_long_sequences_are_refused_by_the_model_and_moved_by_auto() -> None:
    spec = study(parameters=[{"name": "o", "type": "permutation", "items": list(range(40))}])
    assert too_long(spec)
    assert not too_long(study(parameters=SPACE))
    one = law.Study(law.Problem(study="s", spec=spec, seed=1))
    assert law.make(get("auto"), one.problem).suggest(one.history(), 1)[0].suggester == "annealing"


def test_an_order_is_found_in_fewer_trials_than_by_chance() -> None:
    """Items 0..6 sorted, against random draws: inversions left after 20 trials, over three seeds."""
    items = list(range(7))

    def inversions(order: list[int]) -> float:
        return float(sum(a > b for i, a in enumerate(order) for b in order[i + 1 :]))

    def best(name: str, seed: int) -> float:
        spec = study(
            parameters=[{"name": "o", "type": "permutation", "items": items}], suggester={"name": name}, seed=seed
        )
        one = law.Study(law.Problem(study="s", spec=spec, seed=seed))
        assert codec_for(spec).dimensions == 21
        suggester, found = law.make(get(name), one.problem), []
        for _ in range(20):
            suggestion = suggester.suggest(one.history(), 1)[0]
            found.append(inversions(suggestion.parameters["o"]))
            one.tell(one.start(suggestion), found[-1])
        return min(found)

    ours, theirs = [best("gp", s) for s in range(3)], [best("random", s) for s in range(3)]
    assert all(a < b for a, b in zip(ours, theirs, strict=True))
    assert max(ours) <= 2
