"""Rules that no library has: their formulas once more, written out; and what follows from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm

from tests.suggesters.rule_gradients import BARE, BOTTOM, HESSIAN, START, STEPS, Array, N, assert_close, gradients
from workers.models import rules


def test_u_dog_is_its_formulas() -> None:
    found = gradients(steps=2 * 40)
    rule = rules.make("u-dog", N, BARE)
    assert rule.gradients_per_step == 2
    xs, ys, reaches, omegas = [START], [START], [], []
    total, x = 1e-8, START.copy()
    for t in range(40):
        m, g = found[2 * t], found[2 * t + 1]
        reaches.append(
            max([1e-3 * (1 + float(np.linalg.norm(START)))] + [float(np.linalg.norm(z - START)) for z in xs + ys])
        )
        omegas.append(float(sum(reaches)))
        alpha = omegas[-1] / reaches[-1]
        past = sum((w * z for w, z in zip(omegas[:-1], xs[1:], strict=True)), np.zeros(N))
        assert_close(rule.probe_at(x), (past + omegas[-1] * ys[-1]) / sum(omegas))
        total += float(m @ m) if t == 0 else 0.0
        xs.append(ys[-1] - alpha * reaches[-1] / math.sqrt(total) * m)
        x = rule.step(x, m)
        assert_close(x, xs[-1])
        mean = (past + omegas[-1] * xs[-1]) / sum(omegas)
        assert_close(rule.probe_at(x), mean)
        total += alpha**2 * float((g - m) @ (g - m))
        ys.append(ys[-1] - alpha * reaches[-1] / math.sqrt(total) * g)
        x = rule.step(x, g)
        assert_close(x, ys[-1])
        assert_close(rule.recommend(x), mean)


@pytest.mark.parametrize("predict_from", [1, 4])
def test_optimistic_amsgrad_is_its_formulas(predict_from: int) -> None:
    rule = rules.make("opt-amsgrad", N, BARE | {"predict_from": predict_from})
    found, lr = gradients(), 0.02
    x, m, v, largest = START.copy(), np.zeros(N), np.zeros(N), np.zeros(N)
    w = x.copy()
    for t, g in enumerate(found):
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        largest = np.maximum(largest, v)
        root = np.sqrt(largest / (1 - 0.99 ** (t + 1))) + 1e-8
        w = w - lr / (1 - 0.9 ** (t + 1)) * m / root
        x = rule.step(x, g)
        assert_close(x, w)
        ahead = found[max(0, t - predict_from + 1) : t + 1]
        predicted = ahead[-1]
        if len(ahead) > 2:  # regularised nonlinear acceleration: c = (U'U / |U'U| + 0.01 I)^-1 1, normed to one
            u = np.diff(ahead, axis=0)
            c = np.linalg.inv(u @ u.T / np.linalg.norm(u @ u.T) + 0.01 * np.eye(len(u))) @ np.ones(len(u))
            predicted = sum(ci * gi for ci, gi in zip(c / c.sum(), ahead[1:], strict=True))
        np.testing.assert_allclose(
            rule.probe_at(x), w - lr * (0.9 * m + 0.1 * predicted) / root, rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (2, 6)])
def test_asgo_is_its_formulas_on_the_shorter_side(shape: tuple[int, int]) -> None:
    rule = rules.make("asgo", N, BARE, shape)
    m, v = np.zeros(shape), np.zeros((min(shape), min(shape)))
    x = y = START.copy()
    for g in gradients():
        matrix = g.reshape(shape)
        m = 0.9 * m + 0.1 * matrix
        is_wide = shape[0] <= shape[1]
        v = 0.99 * v + 0.01 * (matrix @ matrix.T if is_wide else matrix.T @ matrix)
        inverse = np.linalg.inv(np.real(sqrtm(v)) + 1e-8 * np.eye(len(v)))
        y = y - 0.02 * (inverse @ m if is_wide else m @ inverse).reshape(-1)
        x = rule.step(x, g)
        np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-9)


def test_asgo_without_memory_steps_along_the_orthogonal_factor() -> None:
    rule = rules.make("asgo", N, BARE | {"beta1": 0.0, "beta2": 0.0, "lr": 1.0, "eps": 1e-12}, (3, 4))
    g = gradients()[0]
    u, _, vt = np.linalg.svd(g.reshape(3, 4), full_matrices=False)
    np.testing.assert_allclose(START - rule.step(START, g), (u @ vt).reshape(-1), atol=1e-8)


@pytest.mark.parametrize("preconditioner", ["none", "rms"])
def test_the_induced_metric_is_its_formulas(preconditioner: str) -> None:
    """As in the authors' published code: bias-corrected momentum by 1 + the bias-corrected mean of ζ‖g‖²."""
    rule = rules.make("induced-metric", N, BARE | {"preconditioner": preconditioner})
    x = y = START.copy()
    m, v, trace = np.zeros(N), np.zeros(N), 0.0
    for t, g in enumerate(gradients(), start=1):
        v = 0.99 * v + 0.01 * g**2
        p = np.sqrt(v / (1 - 0.99**t)) + 1e-8 if preconditioner == "rms" else np.ones(N)
        trace = 0.1 * trace + 0.9 * 0.1 * float(np.sum(g**2 / p))
        m = 0.9 * m + 0.1 * g
        y = y - 0.02 / (1 + trace / (1 - 0.1**t)) * (m / (1 - 0.9**t)) / p
        x = rule.step(x, g)
        assert_close(x, y)


def test_the_induced_metric_is_sherman_and_morrisons_inverse() -> None:
    rule = rules.make("induced-metric", N, BARE | {"momentum": 0.0, "beta": 0.0, "lr": 1.0})
    g = gradients()[0]
    assert_close(START - rule.step(START, g), np.linalg.solve(np.eye(N) + 0.1 * np.outer(g, g), g))


@pytest.mark.parametrize("preconditioner", ["none", "adam", "adam-squared", "adagrad", "adagrad-squared", "hessian"])
@pytest.mark.parametrize("model", ["truncated", "sania"])
def test_polyak_is_its_formulas(model: str, preconditioner: str) -> None:
    options = {"target": 1.0, "model": model, "preconditioner": preconditioner, "max_length": 0.3}
    rule = rules.make("polyak", N, BARE | options)
    values, diagonals = np.linspace(9, 1, STEPS), np.random.default_rng(4).normal(0.5, 1.0, (STEPS, N))
    x = y = START.copy()
    v, total, h = np.zeros(N), np.zeros(N), np.abs(diagonals[0])
    for t, (g, f) in enumerate(zip(gradients(), values, strict=True), start=1):
        v, total = 0.99 * v + 0.01 * g**2, total + g**2
        h = 0.99 * h + 0.01 * np.abs(diagonals[t - 1])
        p = {
            "none": np.ones(N), "adam": np.sqrt(v / (1 - 0.99**t)) + 1e-8, "adam-squared": v / (1 - 0.99**t) + 1e-8,
            "adagrad": np.sqrt(total) + 1e-8, "adagrad-squared": total + 1e-8, "hessian": np.maximum(h, 1e-8),
        }[preconditioner]  # fmt: skip
        steepness = float(g @ (g / p))
        ratio = (f - 1.0) / steepness
        length = min(0.3, ratio) if model == "truncated" else (1 - math.sqrt(1 - 2 * ratio) if 2 * ratio <= 1 else 1.0)
        y = y - length * g / p
        x = rule.step(x, g, float(f), {"hessian": diagonals[t - 1]})
        assert_close(x, y)


def test_sania_with_squares_does_not_see_the_scale_of_a_coordinate() -> None:
    scales = np.geomspace(1e-3, 1e3, N)
    hessian = np.linspace(1, 2, N)

    def values(scale: Array) -> list[float]:
        options = {"target": 0.0, "model": "sania", "preconditioner": "adagrad-squared", "eps": 1e-300}
        rule, x, found = rules.make("polyak", N, BARE | options), START / scale, []
        for _ in range(40):
            y = scale * x
            found.append(float(0.5 * y @ (hessian * y)))
            x = rule.step(x, scale * hessian * y, found[-1])
        return found

    np.testing.assert_allclose(values(scales), values(np.ones(N)), rtol=1e-6, atol=1e-12)


def test_oasis_is_its_formulas() -> None:
    rule = rules.make("oasis", N, BARE)
    diagonals = np.random.default_rng(5).normal(1.0, 1.0, (STEPS, N))
    xs, etas, theta = [START.copy()], [0.1], 0.0
    d, last = diagonals[0], np.zeros(N)
    for k in range(STEPS):
        g = HESSIAN * (xs[-1] - BOTTOM)
        d = d if k == 0 else 0.95 * d + 0.05 * diagonals[k]
        scale = np.maximum(np.abs(d), 0.1)
        if k:
            moved, changed = xs[-1] - xs[-2], g - last
            bound = math.sqrt(moved @ (scale * moved)) / (2 * math.sqrt(changed @ (changed / scale)))
            etas.append(min(math.sqrt(1 + theta) * etas[-1], bound))
            theta = etas[-1] / etas[-2]
        xs.append(xs[-1] - etas[-1] * g / scale)
        last = g
        assert_close(rule.step(xs[-2], g, None, {"hessian": diagonals[k]}), xs[-1])


def test_m_fac_is_the_dense_inverse_and_blind_to_the_unit_of_the_objective() -> None:
    rule, other = (rules.make("m-fac", N, BARE | {"memory": 8, "damping": 0.3}) for _ in range(2))
    x, found = START.copy(), gradients()
    for t, g in enumerate(found):
        past = found[max(0, t - 7) : t + 1]
        scale = math.sqrt(np.mean(past**2))
        fisher = 0.3 * scale**2 * np.eye(N) + past.T @ past / len(past)
        expected = x - 0.02 * scale * np.linalg.solve(fisher, g)
        np.testing.assert_allclose(other.step(x, 1e6 * g), expected, rtol=1e-9, atol=1e-11)
        x = rule.step(x, g)
        np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-11)
