"""Constrained problems: design cases from mechanical engineering, and test functions with regions cut out by the seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .instance import Box, Instance, Parameters
from .synthetic import HARTMANN_OPTIMUM, ackley, hartmann6, rosenbrock, rotation

Array = NDArray[np.float64]
Metrics = dict[str, float]


def numbered(loss: float, violations: list[float] | tuple[float, ...]) -> Metrics:
    """The metrics of a constrained problem: loss, c1, c2, …"""
    return {"loss": float(loss), **{f"c{i + 1}": float(v) for i, v in enumerate(violations)}}


def names(count: int) -> tuple[str, ...]:
    """The constraints c1, c2, …"""
    return tuple(f"c{i + 1}" for i in range(count))


def gardner(rng: np.random.Generator) -> Instance:
    """Two copies of the first simulation of Gardner et al. 2014 over whole periods, moved by the seed; least -4."""
    box, move = Box(4, 0.0, 2 * math.pi), rng.uniform(0, 2 * math.pi, 4)

    def value(point: dict[str, Any]) -> Metrics:
        x, y, v, w = box.row(point) + move
        first = math.cos(2 * x) * math.cos(y) + math.sin(x)
        second = math.cos(2 * v) * math.cos(w) + math.sin(v)
        return numbered(first + second, [math.cos(x + y) - 0.5, math.cos(v + w) - 0.5])

    return Instance(box.parameters, value, constraints=names(2), optimum=-4.0)


def hartmann6_ball(rng: np.random.Generator) -> Instance:
    """`hartmann6` inside the unit ball (Letham et al. 2019), moved and turned."""
    box, at, turn = Box(6, 0.0, 1.0), rng.uniform(-0.6, 0.6, 6), rotation(rng, 6)

    def value(point: dict[str, Any]) -> Metrics:
        x = HARTMANN_OPTIMUM + 0.5 * (turn @ (box.unit(point) - at))
        return numbered(hartmann6(x), [float(np.linalg.norm(x)) - 1.0])

    return Instance(box.parameters, value, constraints=names(1), optimum=-3.32236801)


def ackley_cone(rng: np.random.Generator) -> Instance:
    """`ackley` in ten dimensions with a half-space and a ball (Eriksson and Poloczek 2021); least on their edge."""
    box, at, turn = Box(10, -5.0, 10.0), rng.uniform(-0.6, 0.6, 10), rotation(rng, 10)

    def value(point: dict[str, Any]) -> Metrics:
        x = 7.5 * (turn @ (box.unit(point) - at))
        return numbered(ackley(x), [float(np.sum(x)), float(np.linalg.norm(x)) - 5.0])

    return Instance(box.parameters, value, constraints=names(2), optimum=0.0)


def lens(rng: np.random.Generator) -> Instance:
    """A bowl whose least feasible point lies where two balls and a half-space leave a small lens, in five dimensions."""
    d = 5
    box, at, turn = Box(d, -1.0, 1.0), rng.uniform(-0.3, 0.3, d), rotation(rng, d)
    weights = 10.0 ** np.linspace(0, 1, d)
    axis = np.eye(d)[0]

    def bowl(x: Array) -> float:
        return float(np.sum(weights * (x - 0.8 * axis - 0.2) ** 2))

    def violations(x: Array) -> list[float]:
        left, right = np.sum((x - 0.45 * axis) ** 2) - 0.4, np.sum((x + 0.45 * axis) ** 2) - 0.4
        return [float(left), float(right), float(x[1] + x[2] - 0.1)]

    def value(point: dict[str, Any]) -> Metrics:
        x = turn @ (box.unit(point) - at)
        return numbered(bowl(x), violations(x))

    return Instance(box.parameters, value, constraints=names(3), optimum=_convex(bowl, violations, d))


def _convex(bowl: Callable[[Array], float], violations: Callable[[Array], list[float]], d: int) -> float:
    from scipy.optimize import minimize

    held = {"type": "ineq", "fun": lambda x: -np.array(violations(x))}
    found = minimize(bowl, np.zeros(d), method="SLSQP", constraints=held, options={"ftol": 1e-12, "maxiter": 500})
    return float(found.fun)


def crashes(rng: np.random.Generator) -> Instance:
    """`rosenbrock` in five dimensions that cannot be evaluated in some two fifths of the box, without a measured reason."""
    d = 5
    box, at, turn = Box(d, -2.0, 2.0), rng.uniform(-0.6, 0.6, d), rotation(rng, d)
    normal = rotation(rng, d)[0]

    def value(point: dict[str, Any]) -> Metrics | None:
        u = box.unit(point) - at
        if normal @ u > 0.25:
            return None
        return {"loss": math.log1p(rosenbrock(1.0 + 1.2 * (turn @ u)))}

    return Instance(box.parameters, value, optimum=0.0)


def _jittered(rng: np.random.Generator, parameters: Parameters, least: dict[str, float]) -> Parameters:
    """The bounds moved outward by up to a tenth of the width on the sides where the known optimum does not lie."""
    found = []
    for p in parameters:
        p = dict(p)
        if p["type"] == "float":
            width, (low, high) = p["max"] - p["min"], rng.uniform(0, 0.1, 2)
            if least[p["name"]] > p["min"] + 0.1 * width:
                p["min"] = max(p["min"] - low * width, 0.5 * p["min"])
            if least[p["name"]] < p["max"] - 0.1 * width:
                p["max"] = p["max"] + high * width
        found.append(p)
    return found


def welded_beam(rng: np.random.Generator) -> Instance:
    """Cost of a welded beam under shear, bending, deflection and buckling limits (Rao 1996); about 1.7249."""
    bounds = [("h", 0.125, 5.0), ("l", 0.1, 10.0), ("t", 0.1, 10.0), ("b", 0.125, 5.0)]
    parameters: Parameters = [{"name": n, "type": "float", "min": a, "max": b} for n, a, b in bounds]
    parameters = _jittered(rng, parameters, {"h": 0.2057, "l": 3.4705, "t": 9.0366, "b": 0.2057})
    load, length, steel, shear = 6000.0, 14.0, 30e6, 12e6

    def value(point: dict[str, Any]) -> Metrics:
        h, long, t, b = (point[n] for n in ("h", "l", "t", "b"))
        moment = load * (length + long / 2)
        radius = math.sqrt(long**2 / 4 + ((h + t) / 2) ** 2)
        polar = 2 * math.sqrt(2) * h * long * (long**2 / 12 + ((h + t) / 2) ** 2)
        direct, twist = load / (math.sqrt(2) * h * long), moment * radius / polar
        tau = math.sqrt(direct**2 + direct * twist * long / radius + twist**2)
        sigma = 6 * load * length / (b * t**2)
        bend = 4 * load * length**3 / (steel * t**3 * b)
        buckle = 4.013 * steel * t * b**3 / (6 * length**2) * (1 - t / (2 * length) * math.sqrt(steel / (4 * shear)))
        cost = 1.10471 * h**2 * long + 0.04811 * t * b * (14.0 + long)
        return numbered(cost, [tau / 13600 - 1, sigma / 30000 - 1, h - b, bend - 0.25, 1 - buckle / load])

    return Instance(parameters, value, constraints=names(5), optimum=1.724852)


def pressure_vessel(rng: np.random.Generator) -> Instance:
    """Cost of a pressure vessel with two thicknesses in sixteenths of an inch (Sandgren 1990); 6059.714."""
    parameters: Parameters = [
        {"name": "shell", "type": "int", "min": 1, "max": 40},
        {"name": "head", "type": "int", "min": 1, "max": 40},
        {"name": "radius", "type": "float", "min": 10.0, "max": 120.0},
        {"name": "length", "type": "float", "min": 10.0, "max": 200.0},
    ]
    known = {"radius": 42.0984, "length": 176.6366}
    parameters = [*parameters[:2], *_jittered(rng, parameters[2:3], known), parameters[3]]

    def value(point: dict[str, Any]) -> Metrics:
        s, h, r, long = 0.0625 * point["shell"], 0.0625 * point["head"], point["radius"], point["length"]
        cost = 0.6224 * s * r * long + 1.7781 * h * r**2 + 3.1661 * s**2 * long + 19.84 * s**2 * r
        volume = math.pi * r**2 * long + 4 / 3 * math.pi * r**3
        return numbered(cost, [0.0193 * r - s, 0.00954 * r - h, 1 - volume / 1_296_000])

    return Instance(parameters, value, constraints=names(3), optimum=6059.714335)


def speed_reducer(rng: np.random.Generator) -> Instance:
    """Weight of a gear box with eleven limits (Golinski 1973); 2994.355."""
    bounds = [("b", 2.6, 3.6), ("m", 0.7, 0.8), ("l1", 7.3, 8.3), ("l2", 7.3, 8.3), ("d1", 2.9, 3.9), ("d2", 5.0, 5.5)]
    parameters: Parameters = [{"name": n, "type": "float", "min": a, "max": c} for n, a, c in bounds]
    known = {"b": 3.5, "m": 0.7, "l1": 7.3, "l2": 7.7153, "d1": 3.3502, "d2": 5.2867}
    parameters = _jittered(rng, parameters, known)
    parameters.insert(2, {"name": "teeth", "type": "int", "min": 17, "max": 28})

    def value(point: dict[str, Any]) -> Metrics:
        b, m, z, l1, l2, d1, d2 = (point[n] for n in ("b", "m", "teeth", "l1", "l2", "d1", "d2"))
        weight = (
            0.7854 * b * m**2 * (3.3333 * z**2 + 14.9334 * z - 43.0934)
            - 1.508 * b * (d1**2 + d2**2)
            + 7.4777 * (d1**3 + d2**3)
            + 0.7854 * (l1 * d1**2 + l2 * d2**2)
        )
        limits = [
            27 / (b * m**2 * z) - 1,
            397.5 / (b * m**2 * z**2) - 1,
            1.93 * l1**3 / (m * z * d1**4) - 1,
            1.93 * l2**3 / (m * z * d2**4) - 1,
            math.sqrt((745 * l1 / (m * z)) ** 2 + 16.9e6) / (110 * d1**3) - 1,
            math.sqrt((745 * l2 / (m * z)) ** 2 + 157.5e6) / (85 * d2**3) - 1,
            m * z / 40 - 1,
            5 * m / b - 1,
            b / (12 * m) - 1,
            (1.5 * d1 + 1.9) / l1 - 1,
            (1.1 * d2 + 1.9) / l2 - 1,
        ]
        return numbered(weight, limits)

    return Instance(parameters, value, constraints=names(11), optimum=2994.355)
