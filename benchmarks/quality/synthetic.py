"""Smooth and rugged test functions, shifted and rotated by a generator.

Each is the textbook function with its optimum moved to a random place of the box and its axes turned:
`f(native optimum + half-width * R (u - s))` with `u` in [-1, 1]^d. Functions that are only sensible inside their own
box (Michalewicz) are folded and permuted in place of turned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .instance import Box, Instance

Array = NDArray[np.float64]
HARTMANN_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
HARTMANN_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
HARTMANN_OPTIMUM = np.array([0.20168952, 0.15001069, 0.47687398, 0.27533243, 0.31165162, 0.65730054])
SHEKEL_BETA = np.array([1, 2, 2, 4, 4, 6, 3, 7, 5, 5]) / 10.0
SHEKEL_C = np.array(
    [
        [4, 1, 8, 6, 3, 2, 5, 8, 6, 7.0],
        [4, 1, 8, 6, 7, 9, 3, 1, 2, 3.6],
        [4, 1, 8, 6, 3, 2, 5, 8, 6, 7.0],
        [4, 1, 8, 6, 7, 9, 3, 1, 2, 3.6],
    ]
).T
SHEKEL_OPTIMUM = np.array([4.00074687, 3.99950948, 4.00074687, 3.99950948])


def rotation(rng: np.random.Generator, d: int) -> Array:
    """(d, d) a random orthogonal matrix, uniform over all of them (Stewart 1980)."""
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    return np.asarray(q * np.sign(np.diag(r)))


def placed(f: Callable[[Array], float], native: Array, half: float, least: float) -> Callable[[Any], Instance]:
    """Instances of `f`, whose optimum of value `least` is at `native`, in boxes of this half-width."""

    def make(rng: np.random.Generator) -> Instance:
        d = len(native)
        box = Box(d, -half, half)
        at, turn = rng.uniform(-0.6, 0.6, d), rotation(rng, d)

        def value(point: dict[str, Any]) -> dict[str, float]:
            return {"loss": f(native + half * (turn @ (box.unit(point) - at)))}

        return Instance(box.parameters, value, optimum=least)

    return make


def sphere(x: Array) -> float:
    """Sum of squares."""
    return float(x @ x)


def ellipsoid(x: Array) -> float:
    """An ill-conditioned bowl, condition number 1000."""
    return float(np.sum(10.0 ** (3.0 * np.linspace(0, 1, len(x))) * x**2))


def rosenbrock(x: Array) -> float:
    """A bent valley."""
    return float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))


def styblinski(x: Array) -> float:
    """2^d basins (Styblinski and Tang 1990)."""
    return float(0.5 * np.sum(x**4 - 16 * x**2 + 5 * x))


def levy(x: Array) -> float:
    """Waves on a bowl, weak ones."""
    w = 1 + (x - 1) / 4
    return float(
        np.sin(np.pi * w[0]) ** 2
        + np.sum((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2))
        + (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)
    )


def dixon_price(x: Array) -> float:
    """A valley with neighbours coupled (Dixon and Price 1989)."""
    i = np.arange(2, len(x) + 1)
    return float((x[0] - 1) ** 2 + np.sum(i * (2 * x[1:] ** 2 - x[:-1]) ** 2))


def dixon_price_optimum(d: int) -> Array:
    """(d,) where `dixon_price` is 0."""
    i = np.arange(1, d + 1, dtype=np.float64)
    return np.asarray(2.0 ** (-(2.0**i - 2) / 2.0**i))


def zakharov(x: Array) -> float:
    """A plate-shaped valley."""
    s = float(np.sum(0.5 * np.arange(1, len(x) + 1) * x)) / len(x)
    return float(x @ x) + s**2 + s**4


def hartmann6(x: Array) -> float:
    """Four Gaussian bumps in six dimensions (Hartmann 1973)."""
    return -float(HARTMANN_ALPHA @ np.exp(-np.sum(HARTMANN_A * (x - HARTMANN_P) ** 2, axis=1)))


def shekel(x: Array) -> float:
    """Ten narrow holes in four dimensions (Shekel 1971)."""
    return -float(np.sum(1.0 / (np.sum((x - SHEKEL_C) ** 2, axis=1) + SHEKEL_BETA)))


def ackley(x: Array) -> float:
    """A nearly flat plain of ripples with one deep hole (Ackley 1987)."""
    return float(
        -20 * math.exp(-0.2 * math.sqrt(float(np.mean(x**2))))
        - math.exp(float(np.mean(np.cos(2 * np.pi * x))))
        + 20
        + math.e
    )


def rastrigin(x: Array) -> float:
    """A grid of holes on a bowl (Rastrigin 1974)."""
    return float(10 * len(x) + np.sum(x**2 - 10 * np.cos(2 * np.pi * x)))


def griewank(x: Array) -> float:
    """Many weak waves on a bowl (Griewank 1981)."""
    return float(np.sum(x**2) / 4000 - np.prod(np.cos(x / np.sqrt(np.arange(1, len(x) + 1)))) + 1)


def schwefel(x: Array) -> float:
    """Schwefel's function with its optimum at 0, continued beyond its box by a penalty (Liang et al. 2013, CEC)."""
    z = x + 420.9687462275036
    over, under = z > 500, z < -500
    folded = np.where(over, 500 - np.mod(z, 500), np.where(under, np.mod(np.abs(z), 500) - 500, z))
    value = folded * np.sin(np.sqrt(np.abs(folded)))
    value -= np.where(over | under, (np.abs(z) - 500) ** 2 / (10_000 * len(x)), 0.0)
    return float(418.9828872724338 * len(x) - np.sum(value))


def lunacek(x: Array) -> float:
    """Two funnels of ripples, the wider one leading astray (Lunacek, Whitley and Sutton 2008); least at 2.5."""
    d, near = len(x), 2.5
    s = 1 - 1 / (2 * math.sqrt(d + 20) - 8.2)
    far = -math.sqrt((near**2 - 1) / s)
    bowl = min(float(np.sum((x - near) ** 2)), d + s * float(np.sum((x - far) ** 2)))
    return bowl + 10 * float(d - np.sum(np.cos(2 * np.pi * (x - near))))


def schaffer(x: Array) -> float:
    """Ripples that grow with the distance (Schaffer's F7)."""
    s = np.sqrt(x[:-1] ** 2 + x[1:] ** 2)
    return float(np.mean(np.sqrt(s) + np.sqrt(s) * np.sin(50 * s**0.2) ** 2) ** 2)


def michalewicz(d: int) -> Callable[[Any], Instance]:
    """Steep gorges between plains (Michalewicz 1992): axes permuted, mirrored and moved within the fold of the box."""

    def part(x: Array, i: Array) -> Array:
        return np.asarray(-np.sin(x) * np.sin(i * x**2 / np.pi) ** 20)

    fine = np.linspace(0, np.pi, 200_001)
    least = float(sum(part(fine, np.array(float(i))).min() for i in range(1, d + 1)))

    def make(rng: np.random.Generator) -> Instance:
        box = Box(d, 0.0, math.pi)
        order, move = rng.permutation(d), rng.uniform(0, 2 * math.pi, d)
        i = np.arange(1, d + 1, dtype=np.float64)

        def value(point: dict[str, Any]) -> dict[str, float]:
            x = (box.unit(point)[order] + 1) / 2 * math.pi + move
            folded = np.abs(np.mod(x + math.pi, 2 * math.pi) - math.pi)
            return {"loss": float(np.sum(part(folded, i)))}

        return Instance(box.parameters, value, optimum=least)

    return make


def hartmann6_among(d: int) -> Callable[[Any], Instance]:
    """`hartmann6` of six of `d` parameters; the others do nothing."""

    def make(rng: np.random.Generator) -> Instance:
        box = Box(d, 0.0, 1.0)
        axes, at, turn = rng.permutation(d)[:6], rng.uniform(-0.6, 0.6, 6), rotation(rng, 6)

        def value(point: dict[str, Any]) -> dict[str, float]:
            return {"loss": hartmann6(HARTMANN_OPTIMUM + 0.5 * (turn @ (box.unit(point)[axes] - at)))}

        return Instance(box.parameters, value, optimum=-3.32236801)

    return make


def scales(rng: np.random.Generator) -> Instance:
    """A valley with a plateau around it, over parameters of log, logit and linear scale."""
    parameters = [
        {"name": "rate", "type": "float", "min": 1e-6, "max": 1.0, "scale": "log"},
        {"name": "decay", "type": "float", "min": 1e-8, "max": 1e-1, "scale": "log"},
        {"name": "width", "type": "float", "min": 1.0, "max": 1e4, "scale": "log"},
        {"name": "momentum", "type": "float", "min": 0.01, "max": 0.999, "scale": "logit"},
        {"name": "offset", "type": "float", "min": -3.0, "max": 3.0},
    ]
    box = Box.of(parameters)
    at, turn = rng.uniform(-0.6, 0.6, 5), rotation(rng, 5)
    weights = 10.0 ** np.linspace(0, 1.5, 5)

    def value(point: dict[str, Any]) -> dict[str, float]:
        q = float(np.sum(weights * (turn @ (box.unit(point) - at)) ** 2))
        return {"loss": 1 - math.exp(-q / 4) + 0.02 * q}

    return Instance(parameters, value, optimum=0.0)
