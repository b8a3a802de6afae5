"""Design of experiments: which experiment tells most about unknown parameters, given a simulator that only the client can run.

A round compares designs by simulations of the same particles under each, moves the designs towards what tells more, asks for one
experiment at the best of them, and moves the particles to the posterior. The rounds are read from the trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.history import History, Observation
from services.domain.space import Point
from services.domain.suggester import Blob, Problem, Suggestion
from services.domain.trial import TrialState
from workers.models.ensemble_kalman import climb, conditioned, emulator, information_bounds, spread_out
from workers.models.generations import closing, rows_used
from workers.models.latent import Latent

from .options import EkiOptions, numbers, unknowns

Array = NDArray[np.float64]


@dataclass
class Best:
    """The most telling design of a round so far: its place, its bounds, and the simulations under it."""

    design: Array
    bounds: tuple[float, float]
    z: Array
    g: Array


class Design:
    """Simulations until the designs of a round are compared, then one experiment, then the next round.

    Each process reads the whole once and then what is new: a round is a few matrix products.
    """

    def __init__(self, problem: Problem, options: EkiOptions, _: Blob | None) -> None:
        self._problem, self._options = problem, options
        self._codec = Codec(problem.space)
        self._metrics = options.metrics(problem.spec)
        self._noise = np.array(options.noise) * np.ones(len(self._metrics))
        inner = {p.name for p in unknowns(problem.spec, options)}
        self._names = [c.parameter.name for c in self._codec.coordinates]
        theta = [j for j, name in enumerate(self._names) if name in inner]
        self._theta = Latent(self._codec, theta, options.prior)
        self._xi = np.array([j for j, n in enumerate(self._names) if n not in inner and n != options.kind], dtype=int)
        self._size = options.ensemble or max(32, 4 * self._theta.size)
        self._count = options.designs
        self._generation, self._round, self._since = 0, 0, 0
        self._z = spread_out(self._problem.generator(0, "eki prior").standard_normal((self._size, self._theta.size)))
        self._seen: list[tuple[Array, Array]] = []  # of each experiment: a and B of residuals a + B z
        self._gain = 0.0
        self._latest_receipt: tuple[tuple[int, int], dict[str, Any]] = (-1, -1), {}
        self._open_round()

    def _open_round(self) -> None:
        self._designs = self._spread(self._count)
        self._valued: list[tuple[Array, float]] = []  # designs of the round and what they would tell
        self._step = 0
        self._best: Best | None = None

    def _spread(self, k: int) -> Array:
        """(k, d) a Latin hypercube."""
        rng = self._problem.generator(self._generation, "eki designs")
        places = np.array([rng.permutation(k) for _ in range(len(self._xi))]).T
        return np.asarray((places + rng.random(places.shape)) / k)

    @property
    def _is_decided(self) -> bool:
        return self._step >= self._options.design_steps and self._best is not None

    # -- reading

    def _read(self, history: History) -> None:
        while True:
            if self._is_decided:
                done = self._experiment(history)
                if done is None:
                    return
                self._learn(history, done)
            else:
                full = closing(history, self._generation, self._size * self._count, self._since)
                if full is None:
                    return
                self._compare(full.told)
                self._since = full.seq

    def _experiment(self, history: History) -> Observation | None:
        ours = (t for t in history.finished if t.origin.get("round") == self._round and self._is(t, "experiment"))
        return next((t for t in ours if self._told(t) is not None), None)

    def _is(self, trial: Observation, kind: str) -> bool:
        return trial.parameters.get(self._options.kind or "") == kind

    def _told(self, trial: Observation) -> Array | None:
        """(M,) observations in units of their noise."""
        if trial.state is not TrialState.COMPLETED or any(name not in trial.metrics for name in self._metrics):
            return None
        return np.asarray(np.array([trial.metrics[name] for name in self._metrics]) / self._noise)

    def _simulated(self, trials: Sequence[Observation]) -> tuple[Array, Array]:
        """(J, D) particles and (J, M) predictions of those that were told."""
        told = [(t, g) for t in sorted(trials, key=lambda t: t.number) if (g := self._told(t)) is not None]
        rows = self._codec.encode_many([t.parameters for t, _ in told])
        z = self._theta.normals(rows[:, self._theta.columns])
        return z, np.array([g for _, g in told]).reshape(len(told), len(self._metrics))

    def _compare(self, told: Sequence[Observation]) -> None:
        """Value the designs of the open generation and move them."""
        for k in range(self._count):
            z, g = self._simulated([t for t in told if t.origin["row"] % self._count == k])
            if len(z) < self._theta.size + 2:
                continue
            bounds = information_bounds(z, g)
            self._valued.append((self._designs[k], bounds[0]))
            if self._best is None or bounds[0] > self._best.bounds[0]:
                self._best = Best(self._designs[k], bounds, z, g)
        self._generation, self._step = self._generation + 1, self._step + 1
        self._designs = self._moved()

    def _moved(self) -> Array:
        """(k, d): half of the designs climb from around the best one of the round, half look elsewhere."""
        fresh = self._spread(self._count)
        if self._best is None:
            return fresh
        best, many = self._best.design, self._count - self._count // 2
        near = sorted(self._valued, key=lambda v: float(np.abs(v[0] - best).max()))[:many]
        designs, gains = np.array([x for x, _ in near]), np.array([gain for _, gain in near])
        noise = self._problem.generator(self._generation, "eki climb").standard_normal(designs.shape)
        return np.concatenate([climb(designs, gains, noise), fresh[len(near) :]])

    def _learn(self, history: History, experiment: Observation) -> None:
        """Move the particles to the posterior of all experiments so far."""
        assert self._best is not None
        extra = [t for t in history.finished if self._is_extra(t) and t.told_seq < experiment.told_seq]
        z, g = self._simulated(extra)
        level, slopes = emulator(np.concatenate([self._best.z, z]), np.concatenate([self._best.g, g]))
        observed = self._told(experiment)
        assert observed is not None
        self._seen.append((level - observed, slopes))
        offsets = np.concatenate([a for a, _ in self._seen])
        matrix = np.concatenate([b for _, b in self._seen])
        normals = self._problem.generator(self._round, "eki inference").standard_normal(self._z.shape)
        self._z = conditioned(offsets, matrix, normals)
        self._gain += self._best.bounds[0]
        self._since, self._round = experiment.told_seq, self._round + 1
        self._open_round()

    def _is_extra(self, trial: Observation) -> bool:
        return (
            trial.origin.get("round") == self._round
            and "generation" not in trial.origin
            and self._is(trial, "simulate")
        )

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """`count` points: simulations, or the experiment of the round when it is decided."""
        self._read(history)
        receipt = self._receipt()
        used = rows_used(history, self._generation)
        is_out = any(
            self._is(t, "experiment") and t.origin.get("round") == self._round and t.is_pending for t in history.trials
        )
        found = []
        for number in range(history.next_number, history.next_number + count):
            if not self._is_decided:
                row = max(used, default=-1) + 1
                used.add(row)
                found.append(self._simulation(row, receipt))
            elif not is_out:
                is_out = True
                found.append(self._chosen(receipt))
            else:
                found.append(self._further(number, receipt))
        return found

    def _simulation(self, row: int, receipt: dict[str, Any]) -> Suggestion:
        particle, k = divmod(row, self._count)
        z = self._z[particle] if particle < self._size else self._drawn(self._generation, f"eki row {row}")
        origin = {"generation": self._generation, "row": row, "round": self._round}
        reason = f"simulation of particle {particle} under design {k}, step {self._step} of round {self._round}"
        return Suggestion(parameters=self._point(self._designs[k], z), reason=reason, origin=origin, receipt=receipt)

    def _chosen(self, receipt: dict[str, Any]) -> Suggestion:
        assert self._best is not None
        point, bounds = self._point(self._best.design, None), self._best.bounds
        reason = f"experiment of round {self._round}: tells {bounds[0]:.3g} to {bounds[1]:.3g} nats"
        return Suggestion(parameters=point, reason=reason, origin={"round": self._round}, receipt=receipt)

    def _further(self, number: int, receipt: dict[str, Any]) -> Suggestion:
        """While the experiment is out: more simulations under its design, which sharpen what will be learnt from it."""
        assert self._best is not None
        point = self._point(self._best.design, self._drawn(number, "eki further"))
        reason = f"simulation under the experiment's design, round {self._round}"
        return Suggestion(parameters=point, reason=reason, origin={"round": self._round}, receipt=receipt)

    def _drawn(self, number: int, purpose: str) -> Array:
        centre = self._z.mean(axis=0)
        normals = self._problem.generator(number, purpose).standard_normal(self._size)
        return np.asarray(centre + normals @ (self._z - centre) / np.sqrt(self._size))

    def _point(self, design: Array, z: Array | None) -> Point:
        """An experiment, or a simulation with a particle."""
        kind = self._problem.space.by_name[self._options.kind or ""]
        row = np.full(self._codec.dimensions, 0.5)
        choices = list(getattr(kind, "choices", ()))
        place = choices.index("experiment" if z is None else "simulate")
        row[self._names.index(kind.name)] = (place + 0.5) / len(choices)
        row[self._xi] = design
        if z is not None:
            row[self._theta.columns] = self._theta.units(z)
        return self._codec.decode(row)

    def _receipt(self) -> dict[str, Any]:
        if self._latest_receipt[0] != (self._round, self._step):
            self._latest_receipt = (self._round, self._step), self._believed()
        return self._latest_receipt[1]

    def _believed(self) -> dict[str, Any]:
        units = self._theta.units(self._z)
        rows = np.full((self._size, self._codec.dimensions), 0.5)
        rows[:, self._theta.columns] = units
        names = list(dict.fromkeys(self._names[j] for j in self._theta.columns))
        slot = self._names.index(self._options.kind or "")
        rows[:, slot] = self._codec.encode(self._point(self._designs[0], self._z[0]))[slot]
        points = [self._codec.decode(row) for row in rows]
        by_name = self._problem.space.by_name
        values = np.array([np.concatenate([np.ravel(numbers(by_name[n], p[n])) for n in names]) for p in points])
        covariance = np.atleast_2d(np.cov(values.T, bias=True))
        posterior = {"parameters": names, "mean": values.mean(axis=0).tolist(), "covariance": covariance.tolist()}
        bounds = None if self._best is None else {"lower": self._best.bounds[0], "upper": self._best.bounds[1]}
        return {"round": self._round, "posterior": posterior, "information_gain": bounds, "told_so_far": self._gain}

    def state(self) -> Blob | None:
        """None: the rounds are read from the trials."""
        return None
