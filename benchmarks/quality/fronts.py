"""Problems of two to four objectives; the score is the volume dominated up to a fixed corner."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .instance import Box, Instance
from .synthetic import rotation
from .volume import volume

Array = NDArray[np.float64]


def zdt(kind: int, d: int) -> Callable[[Any], Instance]:
    """ZDT1 to 3 (Zitzler, Deb and Thiele 2000): the distance to the front lies in d - 1 turned, moved parameters."""
    corner = (1.1, 5.0)

    def second(first: float, g: float) -> float:
        ratio = first / g
        shape = {1: 1 - math.sqrt(ratio), 2: 1 - ratio**2}
        shape[3] = 1 - math.sqrt(ratio) - ratio * math.sin(10 * math.pi * first)
        return g * shape[kind]

    front = np.array([(f, second(f, 1.0)) for f in np.linspace(0, 1, 1001)])
    best = volume(front, np.array(corner))

    def make(rng: np.random.Generator) -> Instance:
        box, at, turn = Box(d, 0.0, 1.0), rng.uniform(-0.6, 0.6, d - 1), rotation(rng, d - 1)

        def value(point: dict[str, Any]) -> dict[str, float]:
            u = box.unit(point)
            first = (u[0] + 1) / 2
            g = 1 + 4.5 * float(np.mean(np.abs(turn @ (u[1:] - at))))
            return {"f1": float(first), "f2": float(second(first, g))}

        return Instance(box.parameters, value, ("f1", "f2"), optimum=best, reference=corner)

    return make


def dtlz2(k: int, d: int) -> Callable[[Any], Instance]:
    """DTLZ2 (Deb et al. 2002): an eighth of a sphere for k objectives, the distance in turned, moved parameters."""
    ball = math.pi ** (k / 2) / math.gamma(k / 2 + 1) / 2**k
    corner = (1.5,) * k

    def make(rng: np.random.Generator) -> Instance:
        rest = d - k + 1
        box, at, turn = Box(d, 0.0, 1.0), rng.uniform(-0.6, 0.6, rest), rotation(rng, rest)

        def value(point: dict[str, Any]) -> dict[str, float]:
            u = box.unit(point)
            angles = (u[: k - 1] + 1) / 2 * math.pi / 2
            radius = 1 + float(np.sum((0.5 * (turn @ (u[k - 1 :] - at))) ** 2))
            found = {}
            for i in range(k):
                f = radius * float(np.prod(np.cos(angles[: k - 1 - i])))
                found[f"f{i + 1}"] = f if i == 0 else f * math.sin(angles[k - 1 - i])
            return found

        return Instance(
            box.parameters, value, tuple(f"f{i + 1}" for i in range(k)), optimum=1.5**k - ball, reference=corner
        )

    return make


def branin_currin(rng: np.random.Generator) -> Instance:
    """Branin and Currin's functions of two parameters among four, mirrored by the seed; the others cost a little."""
    box, flip, at = Box(4, 0.0, 1.0), rng.integers(0, 2, 2), rng.uniform(-0.6, 0.6, 2)
    order = rng.permutation(4)

    def value(point: dict[str, Any]) -> dict[str, float]:
        u = box.unit(point)[order]
        x, y = (np.abs(flip - (u[:2] + 1) / 2)).tolist()
        a, b = 15 * x - 5, 15 * y
        branin = (b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6) ** 2
        branin += 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10
        factor = 1 - math.exp(-1 / (2 * y)) if y > 0 else 1.0
        currin = factor * (2300 * x**3 + 1900 * x**2 + 2092 * x + 60) / (100 * x**3 + 500 * x**2 + 4 * x + 20)
        rest = float(np.sum((u[2:] - at) ** 2))
        return {"f1": float(branin + 4 * rest), "f2": float(currin + rest)}

    return Instance(box.parameters, value, ("f1", "f2"), reference=(40.0, 12.0))


def vehicle_safety(rng: np.random.Generator) -> Instance:
    """Mass, acceleration and intrusion of a car's front in a crash (Liao et al. 2008), parameters in an order of the seed."""
    box, order = Box(5, 1.0, 3.0), rng.permutation(5)

    def value(point: dict[str, Any]) -> dict[str, float]:
        a, b, c, d, e = box.row(point)[order].tolist()
        mass = 1640.2823 + 2.3573285 * a + 2.3220035 * b + 4.5688768 * c + 7.7213633 * d + 4.4559504 * e
        acceleration = (
            6.5856 + 1.15 * a - 1.0427 * b + 0.9738 * c + 0.8364 * d - 0.3695 * a * d + 0.0861 * a * e
            + 0.3628 * b * d - 0.1106 * a**2 - 0.3437 * c**2 + 0.1764 * d**2
        )  # fmt: skip
        intrusion = (
            -0.0551 + 0.0181 * a + 0.1024 * b + 0.0421 * c - 0.0073 * a * b + 0.0240 * b * c - 0.0118 * b * d
            - 0.0204 * c * d - 0.0080 * c * e - 0.0241 * b**2 + 0.0109 * d**2
        )  # fmt: skip
        return {"f1": mass, "f2": acceleration, "f3": intrusion}

    return Instance(box.parameters, value, ("f1", "f2", "f3"), reference=(1704.5, 11.75, 0.27))


def four_bar_truss(rng: np.random.Generator) -> Instance:
    """Volume and displacement of a truss of four bars (Cheng and Li 1999), load moved by up to a tenth."""
    force, steel, long = 10.0 * rng.uniform(0.9, 1.1), 2e5, 200.0
    low = [1.0, math.sqrt(2), math.sqrt(2), 1.0]
    parameters = [{"name": f"a{i + 1}", "type": "float", "min": v, "max": 3.0} for i, v in enumerate(low)]

    def value(point: dict[str, Any]) -> dict[str, float]:
        a, b, c, d = (point[f"a{i}"] for i in range(1, 5))
        volume = long * (2 * a + math.sqrt(2) * b + math.sqrt(c) + d)
        bend = 2 / a + 2 * math.sqrt(2) / b - 2 * math.sqrt(2) / c + 2 / d
        return {"f1": volume, "f2": 100 * force * long / steel * bend}

    return Instance(parameters, value, ("f1", "f2"), reference=(3000.0, 5.0))
