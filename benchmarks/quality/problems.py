"""The suite: problems by group, their variants and budgets, and an instance of each for every seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np

from . import engineering, fronts, learning, synthetic
from .instance import Instance, Parameters
from .synthetic import HARTMANN_OPTIMUM, SHEKEL_OPTIMUM, placed

GROUPS = ("smooth", "rugged", "mixed", "constrained", "multi", "noisy", "batch")
NOISE_SAMPLE = 256


@dataclass(frozen=True)
class Problem:
    """A problem of the suite.

    Attributes:
        name: of the problem, with its variant after a slash.
        group: one of `GROUPS`.
        make: an instance from a generator.
        budget: trials, the start included.
        batch: how many are asked for at once.
        noise: standard deviation of the told objectives, as a share of their middle nine tenths over the space.
        is_quick: part of the quick profile.
        is_short: also run by the peers that take seconds for a suggestion.
    """

    name: str
    group: str
    make: Callable[[np.random.Generator], Instance]
    budget: int
    batch: int = 1
    noise: float = 0.0
    is_quick: bool = False
    is_short: bool = False

    def at(self, seed: int) -> Task:
        """The problem at one seed; variants of a problem share their instances."""
        name = self.name.partition("/")[0]
        return Task(self, seed, self.make(np.random.default_rng([seed, crc32(name.encode())])))


@dataclass(frozen=True)
class Task:
    """A problem at one seed, as every solver meets it."""

    problem: Problem
    seed: int
    instance: Instance

    @property
    def start_size(self) -> int:
        """How many points everybody starts from: twice the parameters, ten at most."""
        return min(2 * len(self.instance.parameters), 10)

    @cached_property
    def start(self) -> list[dict[str, Any]]:
        """The first points of a scrambled Sobol sequence."""
        return sobol(self.instance.parameters, self.seed, self.start_size)

    @cached_property
    def noise_sd(self) -> dict[str, float]:
        """Each objective's standard deviation of the noise."""
        if self.problem.noise == 0.0:
            return dict.fromkeys(self.instance.objectives, 0.0)
        sample = [self.instance.evaluate(p) for p in sobol(self.instance.parameters, 0, NOISE_SAMPLE)]
        found = {}
        for name in self.instance.objectives:
            low, high = np.quantile([m[name] for m in sample if m is not None], [0.05, 0.95])
            found[name] = self.problem.noise * float(high - low)
        return found

    def tell(self, true: dict[str, float] | None, number: int) -> dict[str, float] | None:
        """What solvers are told of trial `number` (from 0): the same noise for all of them."""
        if true is None or self.problem.noise == 0.0:
            return true
        rng = np.random.default_rng([self.seed, number, 7])
        return {k: v + self.noise_sd.get(k, 0.0) * float(rng.standard_normal()) for k, v in true.items()}


def sobol(parameters: Parameters, seed: int, count: int) -> list[dict[str, Any]]:
    """Points of a space, spread evenly."""
    from scipy.stats import qmc

    from services.domain.codec import Codec
    from services.domain.study import StudySpec

    document = {"name": "s", "parameters": parameters, "objectives": [{"metric": "loss"}]}
    spec = StudySpec.read(json.dumps(document))
    codec = Codec(spec.space)
    engine = qmc.Sobol(codec.dimensions, scramble=True, rng=np.random.default_rng([seed, 11]))
    return [codec.decode(row) for row in engine.random(1 << (count - 1).bit_length())[:count]]


def _suite() -> list[Problem]:
    ones, zeros = np.ones, np.zeros
    quick = {"is_quick": True}
    short = {"is_quick": True, "is_short": True}
    smooth = [
        ("ellipsoid8", placed(synthetic.ellipsoid, zeros(8), 5.0, 0.0), 60, quick),
        ("rosenbrock6", placed(synthetic.rosenbrock, ones(6), 2.048, 0.0), 80, quick),
        ("hartmann6", placed(synthetic.hartmann6, HARTMANN_OPTIMUM, 0.5, -3.32236801), 50, short),
        ("hartmann6of20", synthetic.hartmann6_among(20), 80, {}),
        ("styblinski5", placed(synthetic.styblinski, np.full(5, -2.903534027771), 5.0, -39.16616570377 * 5), 60, {}),
        ("levy10", placed(synthetic.levy, ones(10), 5.0, 0.0), 80, quick),
        ("dixonprice8", placed(synthetic.dixon_price, synthetic.dixon_price_optimum(8), 4.0, 0.0), 80, {}),
        ("zakharov12", placed(synthetic.zakharov, zeros(12), 5.0, 0.0), 100, {}),
        ("scales5", synthetic.scales, 40, short),
        ("sphere50", placed(synthetic.sphere, zeros(50), 5.0, 0.0), 200, {}),
    ]
    rugged = [
        ("ackley8", placed(synthetic.ackley, zeros(8), 10.0, 0.0), 80, quick),
        ("rastrigin6", placed(synthetic.rastrigin, zeros(6), 5.12, 0.0), 80, quick),
        ("griewank10", placed(synthetic.griewank, zeros(10), 50.0, 0.0), 80, {}),
        ("schwefel5", placed(synthetic.schwefel, zeros(5), 500.0, 0.0), 80, {}),
        ("michalewicz5", synthetic.michalewicz(5), 60, quick),
        ("lunacek6", placed(synthetic.lunacek, np.full(6, 2.5), 5.0, 0.0), 100, {}),
        ("schaffer6", placed(synthetic.schaffer, zeros(6), 10.0, 0.0), 60, {}),
        ("shekel4", placed(synthetic.shekel, SHEKEL_OPTIMUM, 5.0, -10.53644315), 50, short),
        ("ackley30", placed(synthetic.ackley, zeros(30), 10.0, 0.0), 200, {}),
    ]
    mixed = [
        ("boosting7", learning.boosting, 40, quick),
        ("svm7", learning.vector_machine, 50, short),
        ("forest7", learning.forest, 40, {}),
        ("network9", learning.network, 50, quick),
        ("linear8", learning.linear, 50, {}),
        ("pipeline15", learning.pipeline, 60, quick),
        ("switches8", learning.switches, 80, quick),
    ]
    constrained = [
        ("gardner4", engineering.gardner, 50, short),
        ("hartmann6ball", engineering.hartmann6_ball, 60, quick),
        ("ackley10cone", engineering.ackley_cone, 80, quick),
        ("lens5", engineering.lens, 60, quick),
        ("crashes5", engineering.crashes, 60, {}),
        ("weldedbeam4", engineering.welded_beam, 60, quick),
        ("pressurevessel4", engineering.pressure_vessel, 60, {}),
        ("speedreducer7", engineering.speed_reducer, 80, {}),
    ]
    multi = [
        ("zdt1of8", fronts.zdt(1, 8), 60, quick),
        ("zdt2of6", fronts.zdt(2, 6), 60, {}),
        ("zdt3of6", fronts.zdt(3, 6), 60, quick),
        ("dtlz2of6", fronts.dtlz2(3, 6), 60, quick),
        ("dtlz2of7x4", fronts.dtlz2(4, 7), 50, {}),
        ("branincurrin4", fronts.branin_currin, 50, short),
        ("vehiclesafety5", fronts.vehicle_safety, 50, quick),
        ("fourbartruss4", fronts.four_bar_truss, 40, {}),
    ]
    found = []
    for group, entries in zip(
        ("smooth", "rugged", "mixed", "constrained", "multi"), (smooth, rugged, mixed, constrained, multi), strict=True
    ):
        found += [Problem(name, group, make, budget, **more) for name, make, budget, more in entries]
    return found + _variants({p.name: p for p in found})


def _variants(plain: dict[str, Problem]) -> list[Problem]:
    noisy = [
        ("hartmann6", 0.1, 60, True), ("levy10", 0.05, 80, False), ("ackley8", 0.1, 80, True),
        ("scales5", 0.2, 50, True), ("switches8", 0.05, 80, False), ("rastrigin6", 0.1, 80, False),
        ("gardner4", 0.1, 60, False),
    ]  # fmt: skip
    batch = [
        ("hartmann6", 4, 58, True), ("ackley8", 4, 90, False), ("weldedbeam4", 4, 60, True), ("svm7", 4, 50, False),
        ("zdt1of8", 4, 58, False), ("levy10", 16, 106, True), ("rastrigin6", 16, 106, True),
        ("network9", 16, 74, False),
    ]  # fmt: skip
    found = []
    for name, share, budget, is_quick in noisy:
        found.append(_variant(plain[name], f"noise{share * 100:.0f}", "noisy", budget, is_quick, noise=share))
    for name, q, budget, is_quick in batch:
        found.append(_variant(plain[name], f"q{q}", "batch", budget, is_quick, batch=q))
    return found


def _variant(of: Problem, suffix: str, group: str, budget: int, is_quick: bool, **more: Any) -> Problem:
    return Problem(f"{of.name}/{suffix}", group, of.make, budget, is_quick=is_quick, **more)


SUITE: dict[str, Problem] = {p.name: p for p in _suite()}


def chosen(patterns: list[str], groups: list[str], is_quick: bool) -> list[Problem]:
    """The problems by pattern (`hartmann6*`), group and profile, in the order of the suite.

    Raises:
        ValueError: a pattern or group fits nothing.
    """
    unknown = [g for g in groups if g not in GROUPS]
    unknown += [p for p in patterns if not any(fnmatch(name, p) for name in SUITE)]
    if unknown:
        raise ValueError(f"no problem or group fits {unknown[0]!r}: groups are {', '.join(GROUPS)}")
    return [
        p for p in SUITE.values()
        if (not groups or p.group in groups)
        and (not patterns or any(fnmatch(p.name, pattern) for pattern in patterns))
        and (p.is_quick or not is_quick or bool(patterns))
    ]  # fmt: skip
