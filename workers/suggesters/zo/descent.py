"""The descent: reads outcomes, closes steps, hands out the probes of the open one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History
from services.domain.sampling import draw, unused
from services.domain.space import Point, point_key
from services.domain.suggester import Blob, Problem, Suggestion
from services.domain.trial import TrialState

from .coordinates import Coordinates
from .options import ZoOptions
from .settings import Settings
from .steps import Steps

Array = NDArray[np.float64]
VERSION = 2
RECOMMENDED, LAST = -2, -3
OUTSIDE = -1
MOST_ROWS = 512
MOST_KNOWN = 64
LOST = (TrialState.FAILED, TrialState.CANCELLED)


class Descent:
    """A gradient step is a generation of the ledger; row k of it is a pure function of (study seed, step, k) and the iterate."""

    def __init__(self, problem: Problem, options: ZoOptions, blob: Blob | None) -> None:
        self._problem, self._options = problem, options
        self._coordinates = Coordinates(problem, options.held)
        self._settings = Settings.of(problem.spec, options)
        self._steps = Steps(problem, self._settings, self._coordinates)
        if blob is not None and blob.version == VERSION:
            self._steps.restore(blob)

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        self._steps.catch_up(history)
        trials = self._steps.trials(history)
        used = {t.origin["row"] for t in [*trials, *self._steps.stand_ins(trials)]}
        lost = {self._group(t.origin["row"]) for t in trials if t.state in LOST and t.origin["row"] >= 0}
        keys: set[str] = set()
        found: list[Suggestion] = []
        for number in range(history.next_number, history.next_number + count):
            suggestion = self._recommended(history, used, keys, number) or self._next(history, used, lost, keys, number)
            if suggestion is None:
                break
            used.add(suggestion.origin["row"])
            keys.add(point_key(suggestion.parameters))
            found.append(suggestion)
        return found

    def state(self) -> Blob | None:
        """The iterate, the memories of rule and estimator, and where the ledger has been read to."""
        return self._steps.saved(VERSION)

    # -- what is handed out

    def _recommended(self, history: History, used: set[int], keys: set[str], number: int) -> Suggestion | None:
        """Every so many steps, and last of all, the point that would be reported."""
        every = 0 if self._settings.name == "residual" else self._options.evaluate  # it probes the iterate itself
        steps = self._steps
        is_last = number == self._problem.spec.limits.max_trials
        is_due = steps.step > 0 and steps.step % every == 0 and not steps.candidates if every else False
        row = LAST if is_last else RECOMMENDED
        if every == 0 or row in used or not (is_due or (is_last and steps.step > 0)):
            return None
        x = self._coordinates.projected(steps.scheme.recommend(), steps.scheme.x)
        point = steps.rows.plain(x, steps.step)
        if self._is_barred(history, keys, point):
            return None
        return self._suggestion(point, row, "the recommended point", "recommended")

    def _next(
        self, history: History, used: set[int], lost: set[int | None], keys: set[str], number: int
    ) -> Suggestion | None:
        """The first row that no trial has and that is allowed; beyond many of them, a point from outside."""
        must_differ = self._must_differ
        start = 0 if must_differ else max(max(used, default=-1) + 1, 0)
        for row in range(start, start + (len(used) + MOST_KNOWN if must_differ else MOST_ROWS)):
            group = self._group(row)
            if row in used or (group is not None and group in lost):
                continue  # a half that failed for good leaves the other one of no use
            point, label = self._row(row)
            what = f"probe {label}{f' for {self._settings.beside}' if label.endswith('*') else ''}"
            if point is None or (must_differ and self._is_known_direction(history, used, keys, row)):
                continue
            return self._suggestion(point, row, what, label)
        rng, space = self._problem.generator(number, "zo outside"), self._problem.space
        outside = (
            unused(space, lambda key: key in keys or history.has_point(key), rng) if must_differ else draw(space, rng)
        )
        return None if outside is None else self._suggestion(outside, OUTSIDE, "no room for a probe", "outside")

    def _row(self, row: int) -> tuple[Point | None, str]:
        """The point of a row, and its name; None where a direction leaves no room."""
        steps = self._steps
        if steps.candidates:
            place = row % len(steps.candidates)
            return steps.rows.plain(steps.candidates[place], steps.step), "-+0"[place]
        return steps.rows.point(steps.probes, row)

    def _group(self, row: int) -> int | None:
        """The direction of a row, where it takes several rows."""
        steps = self._steps
        if row < 0 or steps.candidates or steps.probes.per_direction == 1:
            return None
        return steps.probes.place(row).direction

    def _suggestion(self, point: Point, row: int, what: str, label: str) -> Suggestion:
        steps = self._steps
        origin = {"generation": steps.generation, "row": row, "directions": steps.wanted}
        settings = self._settings
        receipt: dict[str, Any] = {
            "estimator": settings.name,
            "rule": settings.rule or settings.options.scheme,
            "step": steps.step,
            "probe": label,
            "radius": steps.radius,
        }
        reason = f"{what}, step {steps.step}, {settings.name} with {receipt['rule']}, radius {steps.radius:.3g}"
        return Suggestion(parameters=point, reason=reason, origin=origin, receipt=receipt)

    # -- points of finite spaces come once

    @property
    def _must_differ(self) -> bool:
        return self._problem.space.is_finite and not self._problem.spec.is_noisy

    def _is_barred(self, history: History, keys: set[str], point: Point) -> bool:
        if self._problem.space.broken(point):
            return True
        key = point_key(point)
        return self._must_differ and (key in keys or history.has_point(key))

    def _is_known_direction(self, history: History, used: set[int], keys: set[str], row: int) -> bool:
        """Whether a probe of the row's direction that is still to come has been given before, or two are the same."""
        group = self._group(row)
        rows = [row]
        while group is not None and self._group(rows[-1] + 1) == group:
            rows.append(rows[-1] + 1)
        points = [point for r in rows if r not in used and (point := self._row(r)[0]) is not None]
        found = [point_key(p) for p in points]
        return len(set(found)) < len(found) or any(key in keys or history.has_point(key) for key in found)
