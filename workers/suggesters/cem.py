"""The cross-entropy method, generation by generation, and its sibling with soft weights, MPPI: simple, and the planners' standard.

Rubinstein, Kroese 2004; Pinneri et al. 2020 (iCEM); Wen, Topcu 2018 (constrained elites); Williams et al. 2017 (MPPI). The
distribution stands in `workers.models.cross_entropy`, the ledger in `workers.models.generations`: row k of generation t is a pure
function of (study seed, t, k) and the distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.domain.codec import Codec
from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.history import History, Observation
from services.domain.parameters import VectorParameter
from services.domain.sampling import draw, draw_many, unused
from services.domain.space import Point, point_key
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester, Suggestion

if TYPE_CHECKING:
    from workers.models.generations import Closing

Array = NDArray[np.float64]
VERSION = 1
FEWEST = 4
START_DRAWS = 32


class CemOptions(Document):
    """What the cross-entropy method can be told."""

    mode: Literal["cem", "mppi"] = Field(
        default="cem", description="cem: fit to the elite. mppi: every trial counts, weighted exp(-(f - best) / T)."
    )
    population: int | None = Field(
        default=None, ge=4, le=100_000, description="Trials a generation; max(10 + 2 n, max_running) if absent."
    )
    elite: float = Field(default=0.2, gt=0, le=0.5, description="cem: share of the population that is fitted to.")
    smoothing: float | None = Field(
        default=None, gt=0, le=1, description="Part of the new in each update; 0.7 (cem), 1 (mppi) if absent."
    )
    sigma0: float = Field(default=0.3, ge=1e-6, le=1, description="First deviation, as a share of each range.")
    min_sigma: float = Field(default=1e-3, ge=0, le=0.5, description="Least deviation, as a share of each range.")
    min_sigma_decay: float = Field(default=0.95, gt=0, le=1, description="Factor on min_sigma for each generation.")
    keep_elites: float = Field(
        default=0.0, ge=0, le=1, description="cem: share of the elite that competes in the next generation again."
    )
    colour: float = Field(
        default=0.0, ge=0, le=4, description="Noise with power 1/f^colour over a vector's items, taken as time steps."
    )
    shrink: float = Field(
        default=1.0, ge=1, le=2, description="Each generation is smaller by this factor, down to twice the elite."
    )
    temperature: float | None = Field(
        default=None, gt=0, description="mppi: T in units of the objective; by effective_share if absent."
    )
    effective_share: float = Field(
        default=0.1, gt=0, le=1, description="mppi: T is such that the weights count for this share of the trials."
    )
    fit_sigma: bool = Field(default=False, description="mppi: deviations follow the weighted ones; else they stay.")


class CrossEntropy:
    """Reads the ledger from the history, closes the generations that are full, samples the open one."""

    def __init__(self, problem: Problem, options: CemOptions, blob: Blob | None) -> None:
        from workers.models.cross_entropy import Columns, SearchDistribution

        self._problem, self._options = problem, options
        self._codec = Codec(problem.space)
        self._vectors = [
            (self._codec.slices[p.name].start, self._codec.slices[p.name].stop)
            for p in problem.space.parameters
            if isinstance(p, VectorParameter)
        ]
        levels = np.array([c.levels or 0 for c in self._codec.coordinates])
        columns = Columns(levels, tuple(j for j, c in enumerate(self._codec.coordinates) if c.is_categorical))
        self._distribution = SearchDistribution(columns, self._start(), options.sigma0)
        self._generation, self._since = 0, 0
        self._begun_with: int | None = None  # the size of the first generation
        self._kept: list[int] = []
        if blob is not None and blob.version == VERSION:
            self._restore(blob)

    def _start(self) -> Array:
        """The middle of the space; where points must keep constraints, the middle of those that do."""
        if not self._problem.space.constraints:
            return np.full(self._codec.dimensions, 0.5)
        allowed = draw_many(self._problem.space, self._problem.generator(0, "cem start"), START_DRAWS)
        return self._codec.encode_many(allowed).mean(axis=0) if allowed else np.full(self._codec.dimensions, 0.5)

    # -- sizes

    def _first_size(self) -> int:
        if self._begun_with is not None:
            return self._begun_with
        limits = self._problem.spec.limits
        if self._options.population is not None:
            # A generation that could never close would learn nothing: two must fit.
            most = max(FEWEST, (limits.max_trials or 10**9) // 2)
            return min(self._options.population, most)
        usual = max(10 + 2 * self._codec.dimensions, limits.max_running or 0)
        return min(usual, max(FEWEST, (limits.max_trials or 10**9) // 10))

    def _elite(self) -> int:
        return max(2, math.ceil(self._options.elite * self._first_size()))

    def _size(self) -> int:
        """Trials that fill the open generation."""
        first = self._first_size()
        shrunk = math.ceil(first * self._options.shrink**-self._generation)
        return max(shrunk, min(first, 2 * self._elite()))

    def _smoothing(self) -> float:
        return self._options.smoothing or (0.7 if self._options.mode == "cem" else 1.0)

    # -- the ledger

    def _catch_up(self, history: History) -> None:
        from workers.models.generations import closing, first_size

        self._begun_with = self._begun_with or first_size(history)
        while (full := closing(history, self._generation, self._size(), self._since)) is not None:
            self._close(history, full)
            self._generation, self._since = self._generation + 1, full.seq

    def _close(self, history: History, full: Closing) -> None:
        from workers.models.generations import ranks

        kept = [t for n in self._kept if (t := history.get(n)) is not None]
        everyone = list({t.number: t for t in (*full.told, *full.foreign, *self._late(history, full), *kept)}.values())
        everyone.sort(key=lambda t: t.number)
        order = ranks(history, everyone)
        judged = [i for i in range(len(everyone)) if _has_value(history, everyone[i])]
        judged.sort(key=lambda i: (order[i], everyone[i].number))
        if not judged:
            return  # nowhere could anything be measured: the same distribution once more
        if len({order[i] for i in judged}) == 1 and len(judged) > 1:
            self._distribution.widen()
            self._keep_wide()
            return
        chosen, weights = self._weighted(history, [everyone[i] for i in judged])
        points = [t.parameters for t in chosen]
        rows, active = self._codec.encode_many(points), np.array([self._codec.active(p) for p in points])
        spread = len(chosen) > 1 and (self._options.mode == "cem" or self._options.fit_sigma)
        self._distribution.fit(rows, active, weights, self._smoothing(), spread=spread)
        self._keep_wide()
        self._kept = [t.number for t in chosen[: math.floor(self._options.keep_elites * self._elite())]]

    def _keep_wide(self) -> None:
        self._distribution.keep_wide(self._options.min_sigma * self._options.min_sigma_decay**self._generation)

    def _late(self, history: History, full: Closing) -> list[Observation]:
        """Trials of earlier generations that came only now: a sample is a sample, whatever it was drawn from."""
        from workers.models.generations import EVALUATED, generation_of

        after = (t for t in history.finished_after(self._since) if t.told_seq <= full.seq and t.state in EVALUATED)
        return [t for t in after if (generation_of(t) or 0) < self._generation and generation_of(t) is not None]

    def _weighted(self, history: History, best_first: Sequence[Observation]) -> tuple[list[Observation], Array]:
        """What the distribution is fitted to: the elite, all alike; or all that can be compared, by their values."""
        from workers.models.cross_entropy import path_integral_weights
        from workers.models.generations import standings

        if self._options.mode == "cem":
            elite = list(best_first[: self._elite()])
            return elite, np.ones(len(elite))
        costs = standings(history, best_first)
        alike = [i for i in range(len(costs)) if costs[i][0] == costs[0][0]]
        values = np.array([costs[i][1] for i in alike])
        effective = max(1.0, self._options.effective_share * len(alike))
        temperature = self._options.temperature if costs[0][0] == 0 else None
        return [best_first[i] for i in alike], path_integral_weights(values, temperature, effective)

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        from workers.models.generations import handed_out, rows_used

        self._catch_up(history)
        used = rows_used(history, self._generation)
        following = partial(self._next, history)
        return [self._suggestion(point, row) for row, point in handed_out(history, count, used, following)]

    def _suggestion(self, point: Point, row: int) -> Suggestion:
        ordered = self._distribution.columns.ordered
        width = float(self._distribution.deviation[ordered].mean()) if ordered.any() else 0.0
        reason = f"{self._options.mode}: generation {self._generation}, {self._size()} trials, deviation {width:.3g}"
        origin = {"generation": self._generation, "row": row}
        if self._generation == 0:
            origin["size"] = self._first_size()
        return Suggestion(parameters=point, reason=reason, origin=origin)

    def _next(self, history: History, rows: range, keys: set[str], number: int) -> tuple[int, Point | None]:
        """The first of some rows that is allowed and, where it must be, new; where none is, a point from outside (row -1)."""
        space = self._problem.space
        must_differ = space.is_finite and not self._problem.spec.is_noisy

        def is_known(key: str) -> bool:
            return key in keys or history.has_point(key)

        for row in rows:
            point = self._codec.decode(self._row(row))
            if not space.broken(point) and not (must_differ and is_known(point_key(point))):
                return row, point
        rng = self._problem.generator(number, "cem outside")
        return -1, unused(space, is_known, rng) if must_differ else draw(space, rng)

    def _row(self, row: int) -> Array:
        from workers.models.cross_entropy import blocks

        rng = self._problem.generator(self._generation, f"cem {row}")
        normals = blocks(self._vectors, rng.standard_normal(self._codec.dimensions), self._options.colour)
        return self._distribution.sample(normals, rng.random(len(self._distribution.shares)))

    # -- the state

    def state(self) -> Blob | None:
        """The distribution, the kept elites, and where the ledger has been read to."""
        if not self._generation:
            return None
        document = {"generation": self._generation, "since": self._since, "kept": self._kept}
        arrays = {"mean": self._distribution.mean, "deviation": self._distribution.deviation}
        arrays |= {f"shares {j}": share for j, share in enumerate(self._distribution.shares)}
        return Blob(version=VERSION, document=document, arrays=arrays)

    def _restore(self, blob: Blob) -> None:
        self._generation, self._since = blob.document["generation"], blob.document["since"]
        self._kept = list(blob.document["kept"])
        self._distribution.mean = np.array(blob.arrays["mean"])
        self._distribution.deviation = np.array(blob.arrays["deviation"])
        self._distribution.shares = [
            np.array(blob.arrays[f"shares {j}"]) for j in range(len(self._distribution.shares))
        ]


def _has_value(history: History, trial: Observation) -> bool:
    return trial.state != "infeasible" and history.spec.objectives[0].metric in trial.metrics


def _refuse(spec: StudySpec, options: CemOptions) -> list[FieldError]:
    if options.colour and not any(p.type == "vector" for p in spec.parameters):
        return [FieldError("/suggester/options/colour", "colours noise over a vector's items; the study has no vector")]
    return []


def _create(problem: Problem, options: CemOptions, blob: Blob | None) -> Suggester:
    return CrossEntropy(problem, options, blob)


SPEC = Spec(
    name="cem",
    summary="Cross-entropy method and MPPI: fit a distribution to the best trials; simple, parallel, the planners' standard.",
    reference="Rubinstein, Kroese 2004; Pinneri et al. 2020 (iCEM); Williams et al. 2017 (MPPI)",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=CemOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)
