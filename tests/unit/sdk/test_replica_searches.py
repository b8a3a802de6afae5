"""What seed-based methods achieve with replicas and update documents alone, without a server: cards' figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from asktell.noise import Noise
from asktell.replica import Replica
from asktell.updates import Update, decode_updates, encode_updates

Objective = Callable[[np.ndarray], np.ndarray]
"""(trials, n) points to (trials,) losses."""


def losses(replica: Replica, objective: Objective, update: dict[str, Any], pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Losses of a generation's pairs: plus, minus. One look at `at` keeps the shortcut over all pairs honest."""
    t, sigma = replica.version, update["sigma"]
    noise = Noise(update["noise"], update["seed"])
    scale = replica.state().get("scale/", 1.0)
    active = replica.state().get("active/", True)
    steps = sigma * scale * active * noise.parts([(t, j) for j in range(pairs)], 0, 0, replica.theta.size)
    keep = {name: update[name] for name in ("seed", "sigma", "noise")}
    value = keep | {"theta_version": t, "generation": t, "pair": pairs - 1, "sign": -1, "rank": 0}
    np.testing.assert_allclose(replica.at(value), replica.theta - steps[-1], rtol=1e-5, atol=1e-6)
    return objective(replica.theta + steps), objective(replica.theta - steps)


def centred_ranks(values: np.ndarray) -> np.ndarray:
    """0 for the best, shifted and scaled to ±½."""
    return values.argsort().argsort() / (len(values) - 1) - 0.5


def utilities(values: np.ndarray) -> np.ndarray:
    """SNES's, of losses: lower is better, their sum is zero."""
    n = len(values)
    raw = np.maximum(0.0, math.log(n / 2 + 1) - np.log(np.arange(1, n + 1)))
    return -(raw / raw.sum() - 1 / n)[values.argsort().argsort()]


def columns(version: int, weights: np.ndarray) -> dict[str, list[Any]]:
    n = len(weights)
    return {"generations": n * [version], "pairs": list(range(n)), "weights": [float(w) for w in weights]}


def test_es_on_the_sphere_reaches_the_cards_figure() -> None:
    finals = []
    for seed in range(5):
        replica, pairs, sigma = Replica(np.ones(100)), 25, 0.05
        for t in range(200):
            update = {
                "theta_version": t,
                "rule": "adam",
                "lr": 0.05,
                "sigma": sigma,
                "noise": "gauss",
                "seed": [seed, 1],
            }
            plus, minus = losses(replica, lambda x: (x**2).sum(axis=1), update, pairs)
            shaped = centred_ranks(np.concatenate([plus, minus]))
            weights = shaped[:pairs] - shaped[pairs:]
            replica.apply(update | {"norm": 1 / (2 * pairs * sigma)} | columns(t, weights))
        finals.append(float((replica.theta**2).sum()))
    assert np.median(finals) == pytest.approx(0.17, rel=0.25), finals


def test_a_lottery_ticket_keeps_the_entries_that_matter() -> None:
    for seed in range(2):
        matter = np.random.default_rng(seed).choice(1000, 10, replace=False)
        replica, pairs, t = Replica(np.zeros(1000)), 10, 0
        for density in [max(0.02, 0.8**k) for k in range(1, 19)]:
            for generation in range(20):
                update = {
                    "theta_version": t,
                    "rule": "snes",
                    "lr": 1.0,
                    "sigma": 0.3,
                    "noise": "gauss",
                    "seed": [seed, 2],
                }
                plus, minus = losses(replica, lambda x, on=matter: ((x[:, on] - 1) ** 2).sum(axis=1), update, pairs)
                shaped = utilities(np.concatenate([plus, minus]))
                plus, minus = shaped[:pairs], shaped[pairs:]
                mask = {"kind": "snr", "keep": density, "rewind": True} if generation == 19 else None
                pairs_told = columns(t, plus - minus) | {"sums": (plus + minus).tolist()}
                replica.apply(update | pairs_told | {"norm": 1.0, "mask": mask})
                t += 1
        active = replica.state()["active/"]
        assert active.sum() == 20
        assert active[matter].sum() >= 9


def test_mezo_replays_bit_for_bit_from_its_log() -> None:
    rng = np.random.default_rng(0)
    start = {"w": rng.normal(size=(30, 20)), "bias": rng.normal(size=30)}
    target = rng.normal(size=(30, 20))
    replica, log, eps, first = Replica(start), list[Update](), 1e-3, 0.0

    def loss(theta: dict[str, np.ndarray]) -> float:
        return float(((theta["w"] - target) ** 2).mean() + (theta["bias"] ** 2).mean())

    for t in range(300):
        value = {"theta_version": t, "generation": t, "pair": 0, "seed": [5, 6], "sigma": eps, "noise": "gauss"}
        told = {}
        for sign in (1, -1):
            with replica.perturbed(value | {"sign": sign}) as theta:
                told[sign] = loss(theta)
        first = first or told[1]
        update = {
            "theta_version": t,
            "lr": 0.1,
            "weight_decay": 1e-4,
            "sigma": eps,
            "seed": [5, 6],
            "norm": 1 / (2 * eps),
        }
        log.append(Update.read(update | columns(t, np.array([told[1] - told[-1]]))))
        replica.apply(log[-1])
    assert loss(replica.theta) < 0.9 * first
    data, again = encode_updates(log), Replica(start, chunk=100)
    assert len(data) < 33 * 300
    for update in decode_updates(data):
        again.apply(update)
    assert all(np.array_equal(tensor, replica.theta[name]) for name, tensor in again.theta.items())


def direction(gradient: np.ndarray, rank: int, pairs: int) -> np.ndarray:
    """What evolution strategies take for the gradient of a linear function, from z-scores of 2 · pairs trials."""
    noise, sigma = Noise("gauss", (3, 4)), 0.01
    draws = [(0, j) for j in range(pairs)]
    if rank:
        a, b = noise.factors(draws, 0, gradient.shape, rank)
        slopes = np.einsum("jar,ab,jbr->j", a, gradient, b, optimize=True) / math.sqrt(rank)
    else:
        slopes = noise.parts(draws, 0, 0, gradient.size) @ gradient.ravel()
    told = np.concatenate([sigma * slopes, -sigma * slopes])
    shaped = (told - told.mean()) / told.std()
    weights = shaped[:pairs] - shaped[pairs:]
    replica = Replica(np.zeros(gradient.shape))
    replica.apply(
        {
            "theta_version": 0,
            "lr": 1.0,
            "sigma": sigma,
            "rank": rank,
            "seed": [3, 4],
            "norm": sigma / math.sqrt(2 * pairs),
        }
        | columns(0, weights)
    )
    if rank:
        written_out = sum(
            w * noise.matrix(generation=0, pair=j, tensor=0, shape=gradient.shape, rank=rank)
            for j, w in enumerate(weights)
        )
        np.testing.assert_allclose(replica.theta, -written_out * sigma / math.sqrt(2 * pairs), rtol=1e-5, atol=1e-8)
    return -replica.theta


def test_low_rank_perturbations_find_the_gradient() -> None:
    gradient = np.random.default_rng(7).normal(size=(64, 48))

    def cosine(found: np.ndarray) -> float:
        return float((found * gradient).sum() / np.linalg.norm(found) / np.linalg.norm(gradient))

    full, low = cosine(direction(gradient, 0, 1024)), [cosine(direction(gradient, rank, 1024)) for rank in (1, 4)]
    assert full == pytest.approx(math.sqrt(1024 / (1024 + 64 * 48)), abs=0.03)
    assert min(low) > 0.5 * full
    assert np.linalg.matrix_rank(direction(gradient, 1, 1024)) == 48


def particles(pairs: int, truncations: int, *, lr: float, persists: bool) -> tuple[np.ndarray, np.ndarray]:
    """Antithetic pairs of particles through an inner run of 100 steps, cut into truncations.

    Inner problem: s ← A s + θ, loss |s - 1|² a step: a quadratic in θ.

    Returns:
        (pairs, 2) each pair's estimate of the whole run's gradient, and the (2,) gradient along the θ that were met.
    """
    sigma, steps = 0.1, 100 // truncations
    inner = np.array([[0.5, 0.2], [-0.1, 0.6]])
    replica, exact = Replica(np.array([0.3, -0.2]), dtype="float64"), np.zeros(2)
    noise = Noise("rademacher", (8, 9))
    states = [np.zeros((pairs, 2)), np.zeros((pairs, 2)), np.zeros((1, 2))]
    found = np.zeros((pairs, 2))
    slope = np.zeros((2, 2))
    for t in range(truncations):
        generation = 0 if persists else t
        eps = noise.parts([(generation, j) for j in range(pairs)], 0, 0, 2)
        theta, told = replica.theta.copy(), [np.zeros(pairs), np.zeros(pairs)]
        for _ in range(steps):
            for place, at in enumerate((theta + sigma * eps, theta - sigma * eps, theta[None])):
                states[place] = states[place] @ inner.T + at
            for place in (0, 1):
                told[place] += ((states[place] - 1) ** 2).sum(axis=1)
            slope = inner @ slope + np.eye(2)
            exact += slope.T @ (2 * (states[2][0] - 1))
        weights = told[0] - told[1]
        found += weights[:, None] * eps / (2 * sigma)
        update = {"theta_version": t, "lr": lr, "sigma": sigma, "noise": "rademacher", "seed": [8, 9]}
        replica.apply(update | {"norm": 1 / (2 * pairs * sigma)} | columns(generation, weights))
    return found, exact


def test_es_single_is_unbiased_and_its_variance_does_not_grow_with_truncations() -> None:
    found, exact = particles(10_000, 10, lr=0.0, persists=True)
    assert np.linalg.norm(found.mean(axis=0) - exact) < 0.02 * np.linalg.norm(exact)
    blind, exact = particles(1000, 100, lr=0.0, persists=False)
    assert np.linalg.norm(blind.mean(axis=0) - exact) > 0.3 * np.linalg.norm(exact), (
        "new noise sees one truncation only"
    )
    variance = {k: particles(1000, k, lr=1e-4, persists=True)[0].var(axis=0).sum() for k in (1, 100)}
    assert variance[100] <= 1.2 * variance[1]
