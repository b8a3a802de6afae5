"""What a closed step teaches: a gradient for the scheme, and everything that the next estimate needs to remember."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from workers.models.aggregation import aggregate
from workers.models.estimators import estimates

from . import gradient
from .gradient import Slopes
from .options import PROXY
from .outcomes import LARGEST, Told, Values, values_of
from .prices import Prices
from .probes import Probes
from .reduction import Reduction
from .settings import Settings
from .two_losses import TwoLosses

Array = NDArray[np.float64]
LEAST_DAMPING = 1 / 64
NOISE_EVERY = 50
LATE_SHARE = 0.9
RECOVERY = 2**0.25
MEMORY = 0.9


@dataclass(frozen=True)
class Learnt:
    """What a closed step teaches.

    Attributes:
        g: (n,) gradient; f: value; extras: what rules may want.
        further: gradients and values at the points ahead.
    """

    g: Array
    f: float
    extras: dict[str, Array]
    further: list[tuple[Array, float]]


class Learner:
    """Memory of the estimator.

    Attributes:
        damping: share of the usual step length, halved by each step that met infeasible pairs. The radius stays: at an edge a
            smaller one would see one side only, and the iterate would stand still there.
        radius: smoothing radius of a continuous coordinate.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        spec, options = settings.spec, settings.options
        self._objectives = len(spec.objectives)
        bounds = sum((c.min is not None) + (c.max is not None) for c in spec.constraints)
        augmented = options.constraint_method == "augmented"
        self.prices = Prices(bounds, self._objectives, options.penalty, augmented) if bounds else None
        kind = options.variance_reduction
        size, directions, period = settings.size, settings.directions, options.period
        self.reduction = None if kind == "none" else Reduction(kind, size, directions, period)
        is_orthogonal = settings.name in ("orth2", "coord")
        share = min(1.0, directions / size) if is_orthogonal else directions / (directions + size)
        of_both = options.scheme == "two-losses"
        self.two = TwoLosses(size, directions, period, options.reach, share) if of_both else None
        self.slopes = np.empty((0, self._objectives))
        self.lengths = np.zeros(self._objectives)  # of each objective's gradients, running means
        self.previous: Array | None = None
        self.damping, self.radius = 1.0, settings.first_radius()
        self.noise = 0.0

    def beside(self, here: Array) -> tuple[list[Array], frozenset[int]]:
        """Points that the next gradient is taken at beside `here`, (n,) each, and which of all are evaluated on the proxy."""
        if self.two is not None:
            return ([here], frozenset({1})) if self.two.looks_at_both else ([], frozenset({0}))
        if self.reduction is not None and self.reduction.is_recursive:
            return [self.reduction.before], frozenset()
        return [], frozenset()

    def learn(self, history: History, probes: Probes, told: Told, late: Slopes | None) -> Learnt | None:
        """What a closed step teaches; None where no trial of it could be evaluated.

        Args:
            late: of directions of earlier steps that were completed since the last closing.
        """
        values = self._values(history, probes, told)
        self.dampen(any(self._is_blocked(probes, values, i) for i in told.directions))
        if len(values.infeasible) == len(told.rows):
            return None
        priced = self._priced(probes, told, values)
        found = self._slopes(probes, priced, told.directions)
        f = gradient.mean_value(probes, priced, told.directions)
        if late is not None:
            found = found.joined(late)
        sizes = np.minimum(np.abs(found.slopes[:, :1] * found.weights), LARGEST)
        extras = {"slope": np.sqrt(np.square(sizes).mean())}
        if probes.lead and self._settings.estimator.is_paired:
            extras["hessian"] = gradient.hessian(self._settings.estimator, probes, priced, told.directions)
        self._measure(probes, priced, told, found)
        g = self._one(found.gradient())
        further = [self._there(probes, priced, told.directions, base) for base in range(1, len(probes.bases))]
        if self.reduction is not None:
            g = self.reduction.estimate(probes.bases[0], g, further[0][0] if further else None)
        elif self.two is not None and further:
            seen = gradient.of_linear(probes, told.directions, self.two.correction)
            g = self.two.look(probes.bases[0], g, further[0][0], seen)
        elif self.two is not None:
            g = self.two.inner(probes.bases[0], g)
        self.previous = f
        return Learnt(g, float(f[0]), extras, further)

    def dampen(self, is_blocked: bool) -> None:
        """Shorten the next step if this one met infeasible pairs, lengthen it again if not."""
        self.damping = max(LEAST_DAMPING, self.damping / 2) if is_blocked else min(1.0, self.damping * RECOVERY)

    def late(
        self, history: History, probes: Probes, trials: Sequence[Observation], indices: Sequence[int], age: int
    ) -> Slopes:
        """Slopes of directions that were completed `age` steps too late: with momentum they still count, by so much less."""
        rows = {t.origin["row"]: t for t in trials}
        objectives = values_of(history, rows, self._usual).objectives
        found = gradient.slopes(self._settings.estimator, probes, objectives, indices)
        held = estimates.winsorised(found.slopes, self.slopes)
        return Slopes(held, found.weights, found.shares * LATE_SHARE**age)

    @property
    def _usual(self) -> Array:
        """(m,) size of the differences of pairs lately."""
        return 2 * np.median(np.abs(self.slopes), axis=0) if len(self.slopes) else np.zeros(self._objectives)

    def _is_blocked(self, probes: Probes, values: Values, index: int) -> bool:
        rows = (probes.row(index, 0, side) for side in range(len(probes.signs)))
        return all(row in values.infeasible for row in rows)

    def _slopes(self, probes: Probes, priced: dict[int, Array], indices: Sequence[int]) -> Slopes:
        found = gradient.slopes(self._settings.estimator, probes, priced, indices, previous=self.previous)
        before, self.slopes = self.slopes, estimates.remembered(found.slopes, self.slopes)
        if self._settings.estimator.slope in ("rank", "sign") or self._settings.estimator.family == "coordinate":
            return found  # bounded already; or axes whose slopes may differ by any factor
        return Slopes(estimates.winsorised(found.slopes, before), found.weights, found.shares)

    def _there(
        self, probes: Probes, priced: dict[int, Array], indices: Sequence[int], base: int
    ) -> tuple[Array, float]:
        """(n,) the gradient at another point, along the same directions, and the value around it."""
        found = gradient.slopes(self._settings.estimator, probes, priced, indices, base=base).gradient()
        return np.asarray(found[0]), float(gradient.mean_value(probes, priced, indices, base)[0])

    def _values(self, history: History, probes: Probes, told: Told) -> Values:
        cheap = {r: t for r, t in told.rows.items() if probes.place(r).base in probes.cheap} if probes.cheap else {}
        full = {r: t for r, t in told.rows.items() if r not in cheap}
        found = values_of(history, full, self._usual)
        return found.joined(values_of(history, cheap, self._usual, PROXY)) if cheap else found

    def _one(self, gradients: Array) -> Array:
        """(n,) one direction of ascent from one gradient for each objective, each in units of its own usual length."""
        if len(gradients) == 1:
            return np.asarray(gradients[0])
        lengths = np.linalg.norm(gradients, axis=1)
        known = self.lengths > 0
        self.lengths = np.where(known, MEMORY * self.lengths + (1 - MEMORY) * lengths, lengths)
        scaled = gradients / np.where(self.lengths > 0, self.lengths, 1.0)[:, None]
        return aggregate(scaled, self._settings.options.aggregator)

    # -- constraints

    def _priced(self, probes: Probes, told: Told, values: Values) -> dict[int, Array]:
        """(m,) by row: objectives plus what their violations cost."""
        if self.prices is None or not values.violations:
            return values.objectives
        worst = np.max(list(values.violations.values()), axis=0)
        violations = {row: values.violations.get(row, worst) for row in values.objectives}
        both = {row: np.concatenate([values.objectives[row], violations[row]]) for row in values.objectives}
        kind = self._settings.estimator
        found = gradient.slopes(replace(kind, slope="value"), probes, both, told.directions)
        self.prices.learn(found.slopes / probes.lengths(told.directions)[:, None])
        rows = list(values.objectives)
        table = np.array([violations[row] for row in rows])
        costs = self.prices.costs(table)
        self.prices.ascend(table)
        return {row: values.objectives[row] + costs[i] for i, row in enumerate(rows)}

    # -- noise

    def _measure(self, probes: Probes, priced: dict[int, Array], told: Told, found: Slopes) -> None:
        """The radius from slope and noise: first from the pilot, then every so many steps from the latest slopes.

        Where nothing of the pilot could be evaluated, from the first step that says something of the noise.
        """
        settings = self._settings
        if settings.radius is not None or not settings.is_noisy or not settings.estimator.is_paired:
            return
        if self.noise == 0.0:
            self.noise = self._told_noise(told) or _noise(probes, priced, told.directions)
            if self.noise == 0.0:
                return
        elif probes.step % NOISE_EVERY:
            return
        latest = self.slopes[:, 0] if len(self.slopes) else found.slopes[:, 0]
        mean = float(np.sqrt(np.mean(np.square(latest))))
        share = min(self.noise / mean, 2.0) if mean > 0 else 0.0  # a share, for squares of large values overflow
        signal = mean * np.sqrt(max(1 - share**2 / 2, 0.01)) / float(np.median(probes.radius))
        least = settings.first_radius() if settings.rule == "spsa" else 1e-3
        self.radius = float(np.clip(3 * self.noise / signal, least, 0.1)) if signal > 0 else self.radius

    def _told_noise(self, told: Told) -> float:
        metric = self._settings.spec.objectives[0].metric
        known = [t.std[metric] for t in told.rows.values() if metric in t.std]
        return float(np.median(known)) if known else 0.0

    # -- the state

    @property
    def _parts(self) -> list[tuple[str, Prices | Reduction | TwoLosses | None]]:
        return [("prices", self.prices), ("reduction", self.reduction), ("two", self.two)]

    def save(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """The state."""
        scalars: dict[str, Any] = {
            "damping": self.damping, "radius": self.radius, "noise": self.noise,
            "previous": None if self.previous is None else self.previous.tolist(),
        }  # fmt: skip
        arrays = {"slopes": self.slopes, "lengths": self.lengths}
        for name, part in self._parts:
            if part is not None:
                scalars[name], more = part.save()
                arrays |= {f"{name}/{key}": a for key, a in more.items()}
        return scalars, arrays

    def load(self, scalars: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Restore what `save` gave."""
        self.damping, self.radius, self.noise = scalars["damping"], scalars["radius"], scalars["noise"]
        self.previous = None if scalars["previous"] is None else np.array(scalars["previous"])
        self.slopes, self.lengths = arrays["slopes"], arrays["lengths"]
        for name, part in self._parts:
            if part is not None:
                mine = {key.removeprefix(f"{name}/"): a for key, a in arrays.items() if key.startswith(f"{name}/")}
                part.load(scalars[name], mine)


def _noise(probes: Probes, values: dict[int, Array], indices: Sequence[int]) -> float:
    """Standard deviation of a value: the middles of pairs around one point differ by it, and by curvature a little."""
    middles = [(values[probes.row(i, 0, 0)][0] + values[probes.row(i, 0, 1)][0]) / 2 for i in indices]
    return float(np.sqrt(2) * np.std(middles, ddof=1)) if len(middles) > 1 else 0.0
