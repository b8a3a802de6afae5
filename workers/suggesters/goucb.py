"""Optimism with a parametric model: a small network and a confidence ball around its parameters.

Liu, Wang 2023, "Global Optimization with Parametric Function Approximation" (GO-UCB): uniform points first, a least-squares fit ŵ₀,
then the point whose value may be lowest for some parameters in the ball that the data leave. The ball is linearised at ŵ₀.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.domain.codec import Codec
from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.history import History, Observation
from services.domain.sampling import draw, unused
from services.domain.space import Point, point_key
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester, Suggestion
from services.domain.trial import TrialState

if TYPE_CHECKING:
    from workers.models.sigmoid_network import Ball

Array = NDArray[np.float64]
VERSION = 1
SCREENED = 1536
LOCAL = 512
CLIMBS = 4
PENALTY = 10.0
MOST_INPUTS = 100
LARGEST = 1e100
GROWTH = 0.1
CLOSE = 1e-3


class GoucbOptions(Document):
    """What GO-UCB can be told."""

    initial_trials: int | None = Field(
        default=None, ge=2, le=10_000, description="Uniform points; max(5, 2d) if absent."
    )
    beta: float = Field(default=1e-3, ge=0, le=1e6, description="Squared radius of the ball: how much to explore.")
    ridge: float = Field(default=0.01, gt=0, le=1e6, description="λ: how firmly parameters are held to the fit.")


class Inputs:
    """What the network sees of a row: ordered coordinates as they are, one input for each choice of a categorical."""

    def __init__(self, codec: Codec) -> None:
        self._chosen: list[tuple[int, float]] = []
        self.places: list[int] = []  # of the column that an input moves with; -1 for a choice
        for j, coordinate in enumerate(codec.coordinates):
            levels = coordinate.levels or 1
            if coordinate.is_categorical and levels > 1:
                self._chosen += [(j, (k + 0.5) / levels) for k in range(levels)]
                self.places += [-1] * levels
            elif coordinate.levels != 1:
                self._chosen.append((j, -1.0))
                self.places.append(j)
        self.size = len(self._chosen)

    def of(self, rows: Array) -> Array:
        """(n, m) inputs of (n, d) rows."""
        columns = [rows[:, j] if place < 0 else np.abs(rows[:, j] - place) < 1e-9 for j, place in self._chosen]
        return np.array(columns, dtype=np.float64).T.reshape(len(rows), self.size)


class Belief:
    """The network of one metric at a checkpoint: standardisation, fit, ball, and how far the outcomes have been added."""

    def __init__(self, ball: Ball, weights: Array, shift: float, scale: float) -> None:
        self.ball, self.weights, self.shift, self.scale = ball, weights, shift, scale
        self.added = 0


class Goucb:
    """Fits whenever the outcomes have grown by a tenth, adds outcomes in between, maximises optimism."""

    def __init__(self, problem: Problem, options: GoucbOptions, blob: Blob | None) -> None:
        self._problem, self._options = problem, options
        self._codec = Codec(problem.space)
        self._inputs = Inputs(self._codec)
        self._checkpoint = -1
        self._digest = ""
        self._beliefs: list[Belief] = []
        self._saved: dict[str, Array] = {}
        if blob is not None and blob.version == VERSION:
            self._digest = str(blob.document["digest"])
            self._saved = {"weights": blob.arrays["weights"]}

    @property
    def _initial(self) -> int:
        return self._options.initial_trials or max(5, 2 * self._inputs.size)

    # -- what is believed

    def _believe(self, history: History) -> list[Belief]:
        """The objective's model, then one for each bound of the constraints; [] while there are too few outcomes."""
        told = [t for t in history.finished if t.state in (TrialState.COMPLETED, TrialState.INFEASIBLE)]
        checkpoint = self._initial
        while _following(checkpoint) <= len(told):
            checkpoint = _following(checkpoint)
        if len(told) < checkpoint or sum(t.state is TrialState.COMPLETED for t in told[:checkpoint]) < 2:
            return []
        rows = self._inputs.of(self._codec.encode_many([t.parameters for t in told]))
        values = _targets(history, told, checkpoint)
        if checkpoint != self._checkpoint:
            self._beliefs = self._fitted(rows[:checkpoint], values[:checkpoint])
            self._checkpoint = checkpoint
        for belief, column in zip(self._beliefs, values.T, strict=True):
            for x, y in zip(rows[belief.added :], column[belief.added :], strict=True):
                belief.ball.add(x, (y - belief.shift) / belief.scale)
            belief.added = len(rows)
        return self._beliefs

    def _fitted(self, x: Array, values: Array) -> list[Belief]:
        from workers.models.sigmoid_network import Ball, Network

        network = Network(self._inputs.size)
        digest = hashlib.blake2b(x.tobytes() + values.tobytes(), digest_size=16).hexdigest()
        saved = self._saved.get("weights") if digest == self._digest else None
        found = []
        for k, column in enumerate(values.T):
            shift, scale = float(column.mean()), float(column.std())
            scale = scale if np.isfinite(scale) and scale > 0 else 1.0
            rng = self._problem.generator(len(x), f"goucb fit {k}")
            weights = network.fit(x, (column - shift) / scale, rng) if saved is None else saved[k]
            found.append(Belief(Ball(network, weights, self._options.ridge), weights, shift, scale))
        self._digest = digest
        return found

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        beliefs = self._believe(history)
        balls = [b.ball.copy() for b in beliefs]
        pending = [self._codec.encode(t.parameters) for t in history.pending] if beliefs else []
        for x in self._inputs.of(np.array(pending).reshape(len(pending), self._codec.dimensions)):
            for ball in balls:
                ball.add(x, None)
        keys, found = set[str](), list[Suggestion]()
        taken = self._taken(history) if beliefs else np.empty((0, self._codec.dimensions))
        for number in range(history.next_number, history.next_number + count):
            suggestion = self._next(history, beliefs, balls, keys, taken, number)
            if suggestion is None:
                break
            keys.add(point_key(suggestion.parameters))
            row = self._codec.encode(suggestion.parameters)[None]
            if beliefs and not self._problem.spec.is_noisy:
                taken = np.concatenate([taken, row])
            for ball in balls:
                ball.add(self._inputs.of(row)[0], None)
            found.append(suggestion)
        return found

    def _taken(self, history: History) -> Array:
        """(n, d) rows that another trial close by would only repeat; none under noise."""
        trials = [] if self._problem.spec.is_noisy else history.trials
        return self._codec.encode_many([t.parameters for t in trials])

    def _next(
        self, history: History, beliefs: list[Belief], balls: list[Ball], keys: set[str], taken: Array, number: int
    ) -> Suggestion | None:
        space, rng = self._problem.space, self._problem.generator(number, "goucb")
        must_differ = space.is_finite and not self._problem.spec.is_noisy

        def is_known(key: str) -> bool:
            return must_differ and (key in keys or history.has_point(key))

        if balls:
            for row in self._candidates(history, beliefs, balls, rng):
                point = self._codec.decode(row)
                is_near = bool((np.abs(taken - row).max(axis=1) < CLOSE).any()) if len(taken) else False
                if not space.broken(point) and not is_near and not is_known(point_key(point)):
                    return self._suggestion(beliefs, balls, point)
        point_or_none = unused(space, is_known, rng) if must_differ else draw(space, rng)
        if point_or_none is None:
            return None
        return Suggestion(parameters=point_or_none, reason="uniform draw for the first fit", origin={})

    def _suggestion(self, beliefs: list[Belief], balls: list[Ball], point: Point) -> Suggestion:
        x = self._inputs.of(self._codec.encode(point)[None])
        spec = self._problem.spec
        mean, bound = balls[0].lower(x, 1.0)
        sign = 1.0 if spec.objectives[0].goal == "minimize" else -1.0
        scale = beliefs[0].scale
        receipt: dict[str, Any] = {
            "mean": {spec.objectives[0].metric: sign * float(beliefs[0].shift + scale * mean[0])},
            "std": {spec.objectives[0].metric: float(scale * (mean[0] - bound[0]))},
            "fitted_to": self._checkpoint,
        }
        return Suggestion(parameters=point, reason="lowest over the ball of parameters", origin={}, receipt=receipt)

    # -- the search

    def _candidates(
        self, history: History, beliefs: list[Belief], balls: list[Ball], rng: np.random.Generator
    ) -> list[Array]:
        """Rows, the most promising first: climbed ones, then screened ones."""
        screened = self._screened(history, rng)
        if not len(screened):
            return []
        merits = self._merit(beliefs, balls, screened)
        order = np.argsort(merits, kind="stable")
        climbed = [self._climbed(beliefs, balls, screened[i]) for i in order[:CLIMBS]]
        snapped = self._codec.snap_many(np.array(climbed))
        best = np.argsort(self._merit(beliefs, balls, snapped), kind="stable")
        return [*snapped[best], *screened[order]]

    def _screened(self, history: History, rng: np.random.Generator) -> Array:
        d = self._codec.dimensions
        rows = rng.random((SCREENED, d))
        told = [t for t in history.completed if max(history.violations(t), default=0.0) <= 0] or history.completed
        best = sorted(told, key=lambda t: (history.values(t)[0], t.number))[:4]
        centres = self._codec.encode_many([t.parameters for t in best])
        near = centres[rng.integers(len(centres), size=LOCAL)]
        moves = rng.standard_normal((LOCAL, d)) * 0.1 * (rng.random((LOCAL, d)) < max(0.2, min(1.0, 10 / d)))
        near = np.clip(near + moves, 0.0, 1.0)
        for j, coordinate in enumerate(self._codec.coordinates):
            if coordinate.is_categorical:
                near[:, j] = np.where(rng.random(LOCAL) < 0.1, rng.random(LOCAL), near[:, j])
        found = self._codec.snap_many(np.concatenate([rows, near]))
        if self._problem.spec.parameter_constraints:
            found = np.array([r for r in found if not self._problem.space.broken(self._codec.decode(r))])
        return found

    def _merit(self, beliefs: list[Belief], balls: list[Ball], rows: Array) -> Array:
        """(n,) optimistic value, worse where not even optimism sees the constraints kept (Xu et al. 2023, CONFIG)."""
        x, radius = self._inputs.of(rows), float(np.sqrt(self._options.beta))
        found = balls[0].lower(x, radius)[1]
        for belief, ball in zip(beliefs[1:], balls[1:], strict=True):
            found = found + PENALTY * np.maximum(0.0, ball.lower(x, radius)[1] + belief.shift / belief.scale)
        return np.asarray(found)

    def _climbed(self, beliefs: list[Belief], balls: list[Ball], row: Array) -> Array:
        """A row moved downhill along its continuous coordinates."""
        from scipy.optimize import minimize

        columns = [j for j, c in enumerate(self._codec.coordinates) if c.levels is None]
        if not columns:
            return row
        radius = float(np.sqrt(self._options.beta))
        inputs = [self._inputs.places.index(j) for j in columns]

        def merit(places: Array) -> tuple[float, Array]:
            moved = row.copy()
            moved[columns] = places
            x = self._inputs.of(moved[None])
            value, slope = balls[0].lower_with_slopes(x, radius)
            total, gradient = float(value[0]), slope[0]
            for belief, ball in zip(beliefs[1:], balls[1:], strict=True):
                bound, slope = ball.lower_with_slopes(x, radius)
                if (excess := float(bound[0]) + belief.shift / belief.scale) > 0:
                    total, gradient = total + PENALTY * excess, gradient + PENALTY * slope[0]
            return total, np.asarray(gradient[inputs])

        found = minimize(
            merit, row[columns], jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * len(columns),
            options={"maxiter": 60},
        )  # fmt: skip
        moved = row.copy()
        moved[columns] = found.x
        return moved

    # -- the state

    def state(self) -> Blob | None:
        """The latest fit; which data it belongs to stands beside it."""
        if not self._beliefs:
            return None
        weights = np.array([b.weights for b in self._beliefs])
        return Blob(version=VERSION, document={"digest": self._digest}, arrays={"weights": weights})


def _following(checkpoint: int) -> int:
    """How many outcomes bring the next fit."""
    return checkpoint + max(3, int(GROWTH * checkpoint))


def _targets(history: History, told: Sequence[Observation], checkpoint: int) -> Array:
    """(n, 1 + bounds) values to be minimised; an infeasible trial counts as the worst of the checkpoint's."""
    rows = [[history.values(t)[0], *history.violations(t)] if t.state is TrialState.COMPLETED else None for t in told]
    known = np.clip(np.array([r for r in rows[:checkpoint] if r is not None]), -LARGEST, LARGEST)
    worst = known.max(axis=0)
    low, high = np.quantile(known, [0.25, 0.75], axis=0)
    ceiling = np.where(high > low, high + 5.0 * (high - low), worst)
    return np.clip(np.array([worst if r is None else r for r in rows]), -LARGEST, ceiling)


def _refuse(spec: StudySpec, _: GoucbOptions) -> list[FieldError]:
    size = Inputs(Codec(spec.space)).size
    if not size:
        return [FieldError("/parameters", "goucb needs a parameter that can vary")]
    message = f"goucb serves up to {MOST_INPUTS} inputs (one for each choice of a categorical), not {size}"
    return [FieldError("/parameters", message)] if size > MOST_INPUTS else []


def _create(problem: Problem, options: GoucbOptions, blob: Blob | None) -> Suggester:
    return Goucb(problem, options, blob)


SPEC = Spec(
    name="goucb",
    summary="Optimism with a small network in place of a Gaussian process: for 10 to 100 dimensions with shared structure.",
    reference="Liu, Wang 2023, Global Optimization with Parametric Function Approximation",
    honours=Honours(types=ENUMERABLE | {"vector"}),
    options=GoucbOptions,
    create=_create,
    resources=Resources(timeout_seconds=120.0),
    refuse=_refuse,
)
