"""Calibration: an ensemble of parameters moves, generation by generation, to where the residual is small or the posterior lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.history import History, Observation
from services.domain.sampling import draw, unused
from services.domain.space import Point, point_key
from services.domain.suggester import Blob, Problem, Suggestion
from services.domain.trial import TrialState
from workers.models.ensemble_kalman import LARGEST_RESIDUAL, kalman_step, langevin_step, spread_out, step_size
from workers.models.generations import closing, rows_used
from workers.models.latent import Latent

from .options import EkiOptions, numbers

Array = NDArray[np.float64]
VERSION = 1
MOST_ROWS = 256
COLLAPSED = 1e-5
JITTER = 0.02


class Calibration:
    """Closes the generations that are full and hands out the particles of the open one."""

    def __init__(self, problem: Problem, options: EkiOptions, blob: Blob | None) -> None:
        self._problem, self._options = problem, options
        self._codec = Codec(problem.space)
        moved = [j for j, c in enumerate(self._codec.coordinates) if c.levels != 1]
        self._latent = Latent(self._codec, moved, options.prior)
        self._metrics = options.metrics(problem.spec)
        self._size = options.ensemble or max(12, 2 * self._latent.size + 2)
        self._generation, self._since = 0, 0
        self._time = 0.0  # 1 when the likelihood is taken in full
        self._misfit: float | None = None
        self._particles = self._fresh()
        if blob is not None and blob.version == VERSION and blob.arrays["particles"].shape == self._particles.shape:
            saved = blob.document
            self._generation, self._since = saved["generation"], saved["since"]
            self._time, self._misfit = saved["time"], saved["misfit"]
            self._particles = blob.arrays["particles"]

    def _fresh(self) -> Array:
        shape = (self._size, self._latent.size)
        found = spread_out(self._normals("start", *shape))
        default = self._problem.space.default() if self._generation == 0 else None
        if default is not None:
            found[0] = self._coordinates(default)
        return found

    def _normals(self, purpose: str, *shape: int) -> Array:
        return self._problem.generator(self._generation, f"eki {purpose}").standard_normal(shape)

    def _coordinates(self, point: Point) -> Array:
        units: Array = self._codec.encode(point)[self._latent.columns]
        return self._latent.normals(units)

    # -- the ledger

    def _catch_up(self, history: History) -> None:
        while (full := closing(history, self._generation, self._size, self._since)) is not None:
            self._move(history, sorted(full.told, key=lambda t: t.number))
            self._since = full.seq

    def _move(self, history: History, told: Sequence[Observation]) -> None:
        found = _of_one_length([(t, r) for t in told if (r := self.residual(history, t)) is not None])
        if len(found) < 2:
            self._generation += 1
            self._particles = self._drawn(range(self._size))
            return
        z = np.array([self._coordinates(t.parameters) for t, _ in found])
        r = np.array([residual for _, residual in found])
        self._misfit = float(0.5 * np.square(r).sum(axis=1).mean())
        moved = (
            self._langevin(z, r) if self._options.mode == "posterior" and self._time > 1 - 1e-9 else self._kalman(z, r)
        )
        self._generation += 1
        collapsed = self._options.mode == "inversion" and len(z) > 2 and bool((moved.std(axis=0) < COLLAPSED).all())
        self._particles = self._fresh() if collapsed else moved
        if len(self._particles) < self._size:
            missing = range(len(self._particles), self._size)
            self._particles = np.concatenate([self._particles, self._drawn(missing)])

    def _kalman(self, z: Array, r: Array) -> Array:
        is_inversion = self._options.mode == "inversion"
        h = step_size(r, np.inf if is_inversion else 1.0 - self._time)
        self._time = self._time + h
        moved = kalman_step(z, r, h, self._normals("observations", *r.shape))
        if is_inversion:  # the noise of the sampler, small: what is left of the spread does not die in a subspace
            moved = moved + JITTER * self._normals("jitter", len(z), len(z)) @ (z - z.mean(axis=0)) / np.sqrt(len(z))
        return np.asarray(moved)

    def _langevin(self, z: Array, r: Array) -> Array:
        return langevin_step(z, r, self._normals("diffusion", len(z), len(z)))

    def residual(self, history: History, trial: Observation) -> Array | None:
        """(M,) predicted minus observed in units of the noise, bounds of the study's constraints included; None if not told."""
        told = self._told(trial)
        if told is None:
            return None
        targets = np.array(self._options.targets or np.zeros(len(told)))
        found = list((told - targets) / np.array(self._options.noise))
        if self._problem.spec.constraints:
            if trial.state is not TrialState.COMPLETED:
                return None
            found += [max(0.0, v) for v in history.violations(trial)]
        return np.clip(np.array(found), -LARGEST_RESIDUAL, LARGEST_RESIDUAL)

    def _told(self, trial: Observation) -> Array | None:
        """(M,) predictions in the client's unit; None where the trial does not bring them, or not as many as the options name."""
        if trial.state is TrialState.INFEASIBLE:
            return None
        if self._options.residual != "told":
            known = all(name in trial.metrics for name in self._metrics)
            return np.array([trial.metrics[name] for name in self._metrics]) if known else None
        if trial.residual is None:
            return None
        named = [v for v in (self._options.targets, self._options.noise) if isinstance(v, tuple) and v]
        return np.array(trial.residual) if all(len(v) == len(trial.residual) for v in named) else None

    # -- the particles

    def _row(self, row: int) -> Array:
        found: Array = self._particles[row] if row < self._size else self._drawn([row])[0]
        return found

    def _drawn(self, rows: Sequence[int]) -> Array:
        """Further particles of the ensemble's own distribution, for those that failed or stay out."""
        centre = self._particles.mean(axis=0)
        deviations = self._particles - centre
        normals = [self._normals(f"further {row}", len(deviations)) for row in rows]
        return np.asarray(centre + np.array(normals) @ deviations / np.sqrt(len(deviations)))

    def _point(self, row: int) -> Point:
        units = np.full(self._codec.dimensions, 0.5)
        units[self._latent.columns] = self._latent.units(self._row(row))
        return self._codec.decode(units)

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        self._catch_up(history)
        used, keys, found = rows_used(history, self._generation), set[str](), list[Suggestion]()
        receipt = self._receipt()
        for number in range(history.next_number, history.next_number + count):
            row, point = self._next(history, used, keys, number)
            if point is None:
                break
            used.add(row)
            keys.add(point_key(point))
            origin = {"generation": self._generation, "row": row}
            reason = f"particle {row} of {self._size}, generation {self._generation}"
            found.append(Suggestion(parameters=point, reason=reason, origin=origin, receipt=receipt))
        return found

    def _next(self, history: History, used: set[int], keys: set[str], number: int) -> tuple[int, Point | None]:
        space = self._problem.space
        must_differ = space.is_finite and not self._problem.spec.is_noisy

        def is_known(key: str) -> bool:
            return key in keys or history.has_point(key)

        start = max(used, default=-1) + 1
        for row in range(start, start + MOST_ROWS):
            point = self._point(row)
            if not space.broken(point) and not (must_differ and is_known(point_key(point))):
                return row, point
        rng = self._problem.generator(number, "eki outside")
        row = max(start, self._size)
        return row, unused(space, is_known, rng) if must_differ else draw(space, rng)

    def _receipt(self) -> dict[str, Any]:
        units = self._latent.units(self._particles)
        rows = np.full((len(units), self._codec.dimensions), 0.5)
        rows[:, self._latent.columns] = units
        points = [self._codec.decode(row) for row in rows]
        values = {
            p.name: np.array([numbers(p, point[p.name]) for point in points]) for p in self._problem.space.parameters
        }
        return {
            "time": self._time,
            "misfit": self._misfit,
            "ensemble": {
                "mean": {name: v.mean(axis=0).tolist() for name, v in values.items()},
                "std": {name: v.std(axis=0).tolist() for name, v in values.items()},
            },
        }

    def state(self) -> Blob:
        """The ensemble and where the ledger has been read to."""
        document = {
            "generation": self._generation, "since": self._since, "time": self._time, "misfit": self._misfit
        }  # fmt: skip
        return Blob(version=VERSION, document=document, arrays={"particles": self._particles})


def _of_one_length(found: Sequence[tuple[Observation, Array]]) -> list[tuple[Observation, Array]]:
    """Those whose residual is as long as most are; a client that tells another length by mistake is left out."""
    if not found:
        return []
    lengths = [len(r) for _, r in found]
    usual = max(sorted(set(lengths)), key=lengths.count)
    return [(t, r) for t, r in found if len(r) == usual]
