"""Quasi-random search: a scrambled Sobol sequence over the unit cube, one index a trial, so nothing has to be remembered.

Sobol 1967; scrambling after Owen 1998; the sequence is SciPy's (`scipy.stats.qmc`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from services.domain.codec import ENCODABLE, Codec
from services.domain.history import History
from services.domain.sampling import draw, draw_value, unused
from services.domain.space import Point, Space, point_key
from services.domain.suggester import Blob, Problem, Suggestion

MOST_DIMENSIONS = 1000


class Sobol:
    """Point `n` of the sequence for trial `n`; what has no place in a cube (tokens, permutations) is drawn at random."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._space = problem.space
        in_cube = tuple(p for p in self._space.parameters if p.type in ENCODABLE)
        self._codec = Codec(Space(tuple(p.model_copy(update={"when": None}) for p in in_cube))) if in_cube else None
        self._engine: Any = None
        self._position = 0

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        given: set[str] = set()
        found = []
        for number in range(history.next_number, history.next_number + count):
            point, reason = self._point(history, number, given)
            if point is None:
                break
            given.add(point_key(point))
            found.append(Suggestion(parameters=point, reason=reason))
        return found

    def _point(self, history: History, number: int, given: set[str]) -> tuple[Point | None, str]:
        rng = self._problem.generator(number, "sobol")
        point = self._at(number, rng)
        may_repeat = not self._space.is_finite or self._problem.spec.is_noisy

        def is_known(key: str) -> bool:
            return key in given or history.has_point(key)

        if not self._space.broken(point) and (may_repeat or not is_known(point_key(point))):
            return point, f"point {number} of a scrambled Sobol sequence"
        # The sequence's own point breaks a constraint or was given before: one of this trial's own draws instead.
        other = draw(self._space, rng) if may_repeat else unused(self._space, is_known, rng)
        return other, "uniform draw: the Sobol point was not allowed or known"

    def _at(self, number: int, rng: np.random.Generator) -> Point:
        cube: Point = {}
        if self._codec is not None:
            cube = self._codec.decode(self._row(number, self._codec.dimensions, rng))
        found: Point = {}
        for parameter in self._space.ordered:
            if self._space.is_active(parameter, found):
                name = parameter.name
                found[name] = cube[name] if name in cube else draw_value(parameter, rng)
        return self._space.sorted(found)

    def _row(self, number: int, dimensions: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
        sequenced = min(dimensions, MOST_DIMENSIONS)
        if self._engine is None or self._position > number - 1:
            from scipy.stats import qmc

            self._engine = qmc.Sobol(sequenced, scramble=True, rng=self._problem.generator(0, "sobol scramble"))
            self._position = 0
        if number - 1 > self._position:  # SciPy cannot go forward by nothing
            self._engine.fast_forward(number - 1 - self._position)
        row = np.asarray(self._engine.random(1)[0], dtype=np.float64)
        self._position = number
        return row if sequenced == dimensions else np.concatenate([row, rng.random(dimensions - sequenced)])

    def state(self) -> Blob | None:
        """None: there is nothing to save."""
        return None
