"""Points of rows, and the points of a finite space that need no trial because one has told their value before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.parameters import VectorParameter
from services.domain.space import Point, point_key
from services.domain.suggester import Problem
from workers.models.generations import EVALUATED

from .coordinates import Coordinates
from .probes import Place, Probes
from .settings import Settings

Array = NDArray[np.float64]


class Rows:
    """Where the rows of a generation are evaluated, and what travels with them."""

    def __init__(self, problem: Problem, settings: Settings, coordinates: Coordinates) -> None:
        self._problem, self._settings, self._coordinates = problem, settings, coordinates

    def point(self, probes: Probes, row: int) -> tuple[Point | None, str]:
        """The point of a probe, and its name; None where its direction leaves no room."""
        place = probes.place(row)
        x = probes.coordinates(place)
        if x is None:
            return None, ""
        direction = None if place.direction is None else probes.direction(place.direction)
        unit = None if direction is None else direction.unit
        return self._coordinates.point(
            x, self._carried(probes.step, place, unit, place.base in probes.cheap)
        ), place.label

    def plain(self, x: Array, step: int) -> Point:
        """The point at (n,) coordinates, beside the probes."""
        return self._coordinates.point(x, self._carried(step, Place(None), None, is_cheap=False))

    def _carried(self, step: int, place: Place, unit: Array | None, is_cheap: bool) -> dict[str, Any]:
        """Common random numbers or the fold, which of two losses, and the direction itself."""
        found: dict[str, Any] = {}
        options = self._settings.options
        if self._settings.crn is not None:
            is_shared = place.direction is None or self._settings.estimator.lead
            found[self._settings.crn[0]] = self._common(step, 0 if is_shared else place.direction or 0)
        if options.fidelity is not None:
            found[options.fidelity] = "proxy" if is_cheap else "full"
        tangent = options.tangent
        if tangent is not None:
            size = self._coordinates.size
            parameter = self._problem.space.by_name[tangent]
            assert isinstance(parameter, VectorParameter)
            found[tangent] = parameter.written(np.zeros(size) if unit is None else unit / np.sqrt(size))
        return found

    def _common(self, step: int, direction: int) -> int:
        """Value of the parameter for common random numbers; of folds, each meets as many directions as there are coordinates."""
        assert self._settings.crn is not None
        _, low, width, count = self._settings.crn
        if self._settings.options.variance_reduction != "svrg":
            return low + width * int(self._problem.generator(step, f"zo common {direction}").integers(count))
        cycle, place = divmod(direction // self._settings.size, count)
        return low + width * int(self._problem.generator(step, f"zo folds {cycle}").permutation(count)[place])


class Known:
    """What has been told of a finite space, where a point may come once only: probes that fall on it need no trial."""

    def __init__(self) -> None:
        self._first: dict[str, Observation] = {}
        self._seq = 0

    def read(self, history: History) -> None:
        """Take in what is new."""
        for trial in history.finished_after(self._seq):
            if trial.state in EVALUATED:
                self._first.setdefault(point_key(trial.parameters), trial)
            self._seq = trial.told_seq

    def stand_ins(self, rows: Rows, probes: Probes, own: Sequence[Observation], wanted: int) -> list[Observation]:
        """Trials that stand for rows which have none of their own."""
        used = {t.origin["row"] for t in own}
        found = []
        for row in range(probes.rows(wanted)):
            point = None if row in used else rows.point(probes, row)[0]
            trial = None if point is None else self._first.get(point_key(point))
            if trial is not None:
                found.append(replace(trial, origin={"row": row}))
        return found
