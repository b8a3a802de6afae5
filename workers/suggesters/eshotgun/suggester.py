"""The `eshotgun` method. A batch belongs to what was told when it began: its points are drawn from the number of outcomes and their
place in the batch, so that asking one by one, all at once, or after a restart gives the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.history import History
from services.domain.sampling import unused
from services.domain.space import Point, point_key
from services.domain.suggester import Blob, Problem, Suggestion
from workers.models.fitting import Priors
from workers.models.kernels import Kernel
from workers.models.optimistic import LowerBound, Optimistic
from workers.models.shotgun import front, radius, scatter, shape_of, steepest
from workers.models.sobol_sequence import Sobol

from ..gp.beliefs import Beliefs, Known, Rows, believe, gather
from ..gp.receipts import receipt
from ..gp.search import maximise, screen
from ..gp.series import Fits, Manner
from ..gp.suggester import At

if TYPE_CHECKING:
    from . import ShotgunOptions

Array = NDArray[np.float64]

VERSION = 1
MOST_INITIAL = 40
TRIES = 20
WIDENINGS = 8
APART = 0.1
KEPT_CATEGORY = 0.8


@dataclass(frozen=True)
class _Batch:
    """The centre of a batch and how its points are scattered: (d,) standard deviations."""

    centre: Array
    value: float
    why: str
    widths: Array
    radius: float
    slope: float
    explored: Array


class Shotgun:
    """One fit, one search and one slope a batch."""

    def __init__(self, problem: Problem, options: ShotgunOptions, blob: Blob | None) -> None:
        self._problem = problem
        self._options = options
        self._codec = Codec(problem.space)
        self._rows = Rows(self._codec)
        self._sobol = Sobol(problem)
        self._initial = options.initial_trials or max(5, min(2 * self._codec.dimensions, MOST_INITIAL))
        usable = blob is not None and blob.version == VERSION
        self._fits = Fits(blob.document.get("fits") if blob is not None and usable else None)
        self._latest: tuple[tuple[int, int], _Batch] | None = None

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        self._fits.forget_unused()
        found: list[Suggestion] = []
        keys: set[str] = set()
        told = len(history.finished)
        place = sum(1 for t in history.trials if t.origin.get("told") == told)
        known = gather(self._rows, history, [])
        for number in range(history.next_number, history.next_number + count):
            given = [s.parameters for s in found]
            suggestion = self._one(history, known, number, (told, place), given, keys)
            if suggestion is None:
                break
            keys.add(point_key(suggestion.parameters))
            found.append(suggestion)
            place += 1
        return found

    def _one(
        self, history: History, known: Known, number: int, at: tuple[int, int], given: list[Point], keys: set[str]
    ) -> Suggestion | None:
        if len(known.places) < self._initial or len(known.x) < 2:
            return self._quasi_random(history, number, keys, "initial design")
        if not known.violations.shape[1] and len(np.unique(known.y)) == 1:
            return self._quasi_random(history, number, keys, "all values are equal")
        try:
            beliefs = believe(known, self._fits, self._manner(known))
            batch = self._batch(beliefs, history, at)
            return self._point(beliefs, batch, history, at, given, keys)
        except np.linalg.LinAlgError:
            return self._quasi_random(history, number, keys, "the kernel matrix is singular")

    def _batch(self, beliefs: Beliefs, history: History, at: tuple[int, int]) -> _Batch:
        """The batch that a place belongs to: the first, second, … since the latest outcome."""
        key = (at[0], at[1] // self._options.batch)
        if self._latest is not None and self._latest[0] == key:
            return self._latest[1]
        rng = self._problem.generator(key[0], f"shotgun {key[1]}")
        options, process = self._options, beliefs.objectives[0].process
        centre, value = self._greedy(beliefs, rng)
        why, explored = "least mean of the model", np.empty((0, self._codec.dimensions))
        explores = options.explore == "centre" and rng.random() < options.epsilon
        if options.variant == "pf" and (explores or (options.explore == "points" and options.epsilon > 0)):
            rows = screen(self._codec, beliefs.incumbents, 2048, rng)
            explored = front(process, rows, self._codec.snap_many, rng)
        if explores:
            centre, why = self._explored(explored, rng), f"explored ({options.variant})"
            value = -float(process.predict(centre[None, :])[0][0])
        mean, std = process.predict(centre[None, :])
        slope = steepest(process, centre, rng)
        targets = process.at_data() if history.spec.is_noisy or beliefs.known.noise is not None else process.y
        found = options.radius_scale * radius(float(mean[0]), float(std[0]), float(targets.min()), slope, len(centre))
        batch = _Batch(centre, value, why, found * shape_of(process), found, slope, explored)
        self._latest = (key, batch)
        return batch

    def _greedy(self, beliefs: Beliefs, rng: np.random.Generator) -> tuple[Array, float]:
        """The least mean where the constraints' means hold; while none is feasible, the least violating mean."""
        constraints = [LowerBound(m.process, 0.0) for m in beliefs.constraints]
        if beliefs.feasibility is not None:
            constraints.append(LowerBound(beliefs.feasibility, 0.0, sign=-1.0, shift=-beliefs.evaluable))
        model = beliefs.objectives[0]
        acquisition = Optimistic(LowerBound(model.process, 0.0), constraints)
        if not beliefs.known.feasible.any():
            acquisition = Optimistic(LowerBound(model.process, 0.0), constraints, penalty=1e6)
        found = maximise(
            self._codec, acquisition, rng, is_known=lambda _: False, may_repeat=True, incumbents=beliefs.incumbents,
            scales=model.fitted.theta.lengthscales[model.process.kernel.groups], known=np.empty((0, 0)),
            screened=2048 if len(beliefs.known.x) <= 256 else 1024,
        )  # fmt: skip
        assert found is not None
        return self._codec.encode(found[0]), found[1]

    def _explored(self, explored: Array, rng: np.random.Generator) -> Array:
        if len(explored):
            return np.asarray(explored[int(rng.integers(len(explored)))])
        return np.asarray(screen(self._codec, np.empty((0, self._codec.dimensions)), 2, rng)[0])

    def _point(
        self, beliefs: Beliefs, batch: _Batch, history: History, at: tuple[int, int], given: list[Point], keys: set[str]
    ) -> Suggestion | None:
        place = at[1] % self._options.batch
        rng = self._problem.generator(at[0], f"shotgun point {at[1]}")
        others = np.vstack([beliefs.known.pending, self._codec.encode_many(given)])

        def is_known(key: str) -> bool:
            return key in keys or history.has_point(key)

        rows: list[tuple[Array, str]] = [(batch.centre, batch.why)] if place == 0 else []
        if place and self._options.explore == "points" and rng.random() < self._options.epsilon:
            rows.append((self._explored(batch.explored, rng), f"explored ({self._options.variant})"))
        rows += [(row, "scattered around it") for row in self._scattered(batch, others, rng)]
        for row, why in rows:
            point = self._codec.decode(row)
            if not self._problem.space.broken(point) and (history.spec.is_noisy or not is_known(point_key(point))):
                return self._suggestion(beliefs, batch, point, why, at)
        if self._problem.space.is_finite or self._problem.space.constraints:
            left = unused(self._problem.space, is_known, rng)
            return None if left is None else self._suggestion(beliefs, batch, left, "what is left near no aim", at)
        return self._suggestion(beliefs, batch, self._codec.decode(rng.random(len(batch.centre))), "uniform", at)

    def _scattered(self, batch: _Batch, others: Array, rng: np.random.Generator) -> list[Array]:
        """Candidates, nearest to the aim first: twenty draws, then wider ones; those too close to pending points come last."""
        categorical = np.array([c.is_categorical for c in self._codec.coordinates])
        near: list[Array] = []
        far: list[Array] = []
        for widening in range(WIDENINGS):
            rows = scatter(batch.centre, batch.widths * 1.5**widening, TRIES, rng)
            keep = rng.random(rows.shape) < KEPT_CATEGORY
            rows = np.where(categorical, np.where(keep, batch.centre, rng.random(rows.shape)), rows)
            for row in self._codec.snap_many(rows):
                close = len(others) and np.linalg.norm(others - row, axis=1).min() < APART * batch.radius
                (near if close else far).append(row)
        return far + near

    def _suggestion(self, beliefs: Beliefs, batch: _Batch, point: Point, why: str, at: tuple[int, int]) -> Suggestion:
        row = self._codec.encode(point)
        believed = receipt(self._codec, self._problem.spec, beliefs, row, batch.value, "mean", modelled=True)
        believed |= {"radius": batch.radius, "slope": batch.slope, "place": at[1] % self._options.batch}
        reason = f"ε-shotgun, point {at[1] % self._options.batch + 1} of {self._options.batch}: {why}"
        return Suggestion(parameters=point, reason=reason, origin={"told": at[0]}, receipt=believed)

    def _manner(self, known: Known) -> Manner:
        categorical = np.array([c.is_categorical for c in self._codec.coordinates])
        exact = not (self._problem.spec.is_noisy or known.noise is not None)
        none = np.zeros(len(categorical), dtype=bool)
        if not self._options.isotropic:
            kernel = Kernel.ard(categorical)
            return Manner(kernel, Priors.dimension_scaled(kernel.size, exact=exact), none, "standard", "off")
        noise = (1e-6, 1e-6 * (1 + 1e-9)) if exact else (1e-6, 1.0)
        priors = Priors.bounded(1, lengthscales=(1e-3, 1e3), noise=noise, output_scale=(1e-6, 1e6))
        return Manner(Kernel.isotropic(categorical), priors, none, "standard", "off")

    def _quasi_random(self, history: History, number: int, keys: set[str], why: str) -> Suggestion | None:
        found = self._sobol.suggest(At(history, number, keys), 1)
        return Suggestion(parameters=found[0].parameters, reason=f"{why}: {found[0].reason}") if found else None

    def state(self) -> Blob | None:
        """The fits of the latest suggestion."""
        return Blob(version=VERSION, document={"fits": self._fits.document()})
