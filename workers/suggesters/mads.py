"""Mesh-adaptive direct search: polls around the best point on an ever finer mesh; needs no model and no smoothness.

Audet, Dennis 2006, "Mesh adaptive direct search algorithms for constrained optimization"; polls, barrier and ledger stand in
`workers.models` (`mesh`, `barrier`, `descent`). The covering and speculative steps are those of Audet, Bouchet, Bourdin 2024; a better
point that a client enqueues is taken as a success, which makes the hybrid with attack steps of Bouchet, Vidal 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.domain.codec import Codec
from services.domain.document import Document
from services.domain.history import History
from services.domain.sampling import draw, unused
from services.domain.space import Point, point_key
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester, Suggestion

if TYPE_CHECKING:
    from workers.models.descent import Descent
    from workers.models.quadratic import Quadratic

Array = NDArray[np.float64]
Candidate = tuple[str, int, Callable[[], "Point | None"]]
MULTIPLES = (1.5, 1.0, 0.67)
MOST_FURTHER = 40


class MadsOptions(Document):
    """What the direct search can be told."""

    initial_frame: float = Field(
        default=0.1, ge=1e-6, le=1, description="First largest move, as a share of each range."
    )
    min_frame: float = Field(default=1e-6, ge=1e-12, le=0.1, description="Converged below this: a new run starts.")
    opportunistic: bool = Field(default=True, description="End an iteration with its first success.")
    speculative: int = Field(default=1, ge=0, le=3, description="Repetitions of a successful move, ×1.5, ×1, ×0.67.")
    search: Literal["quadratic", "none"] = Field(default="quadratic", description="A point of a local model first.")
    covering: bool = Field(default=True, description="One point of a ball of fixed radius in each iteration.")
    covering_radius: float = Field(default=0.1, gt=0, le=1, description="Radius of that ball, as a share of ranges.")


class Mads:
    """Proposes what the open iteration still needs, in this order: start, repeat, speculative, search, covering, poll, further."""

    def __init__(self, problem: Problem, options: MadsOptions) -> None:
        self._problem, self._options = problem, options
        self._codec = Codec(problem.space)
        self._descent: Descent | None = None
        self._latest_model: tuple[tuple[int, int, int], Quadratic] | None = None

    def _read(self, history: History) -> Descent:
        from workers.models.descent import Descent, Rules, own_origin

        is_begun = any(own_origin(t) for t in history.trials)
        if self._descent is None or not is_begun or self._descent.is_outdated(history):
            rules = Rules(
                initial_frame=self._options.initial_frame,
                min_frame=min(self._options.min_frame, self._options.initial_frame),
                opportunistic=self._options.opportunistic,
            )
            self._descent = Descent(self._problem, self._codec, rules)
        self._descent.read(history)
        return self._descent

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        descent = self._read(history)
        out = {_name(t.origin) for t in history.trials if t.origin.get("iteration") == descent.iteration}
        keys: set[str] = set()
        candidates = self._candidates(descent, history)
        found: list[Suggestion] = []
        while len(found) < count:
            step, slot, make = next(candidates)
            if step != "further" and (step, slot) in out:
                continue
            if step == "further":
                slot = max((k for s, k in out if s == "further"), default=-1) + 1
            point = make()
            if point is None:
                if step == "end":
                    break
                continue
            if step != "repeat" and self._is_known(history, keys, point):
                continue
            keys.add(point_key(point))
            out.add((step, slot))
            found.append(self._suggestion(descent, history, step, slot, point))
        return found

    def _is_known(self, history: History, keys: set[str], point: Point) -> bool:
        key = point_key(point)
        return key in keys or history.has_point(key)

    def _suggestion(self, descent: Descent, history: History, step: str, slot: int, point: Point) -> Suggestion:
        origin: dict[str, Any] = {
            "run": descent.run, "iteration": descent.iteration, "step": step, "slot": slot, "seen": history.seq
        }  # fmt: skip
        if step == "repeat" and descent.unconfirmed is not None:
            origin["of"] = descent.unconfirmed.number
        receipt: dict[str, Any] = {"frame": descent.frame, "step": step}
        if descent.barrier.primary is not None:
            receipt["around"] = descent.barrier.primary.number
        reason = f"{step} of iteration {descent.iteration}, frame {descent.frame:.3g}"
        return Suggestion(parameters=point, reason=reason, origin=origin, receipt=receipt)

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None

    # -- what the open iteration can still use

    def _candidates(self, descent: Descent, history: History) -> Iterator[Candidate]:
        """(step, slot, point) in order; without end until `end`."""
        if descent.barrier.primary is None:
            yield from self._starts(descent, history)
        else:
            yield from self._before_poll(descent, history)
            for k in self._poll_order(descent):
                yield "poll", k, lambda k=k: descent.slot(k).point  # type: ignore[misc]
            for i in range(MOST_FURTHER):
                yield "further", i, lambda i=i: self._further(descent, history.next_number, i)  # type: ignore[misc]
        yield from self._anywhere(descent, history)

    def _starts(self, descent: Descent, history: History) -> Iterator[Candidate]:
        space = self._problem.space
        if descent.run == 0:
            yield "start", 0, lambda: space.default() or self._allowed(np.full(self._codec.dimensions, 0.5))
        for k in range(1, 3):
            rng = self._problem.generator(history.next_number, f"mads start {k}")
            yield "start", history.next_number * 4 + k, lambda rng=rng: draw(space, rng)  # type: ignore[misc]

    def _before_poll(self, descent: Descent, history: History) -> Iterator[Candidate]:
        if descent.unconfirmed is not None:
            point, of = dict(descent.unconfirmed.point), descent.unconfirmed.number
            if not any(t.origin.get("of") == of and (t.is_pending or t.metrics) for t in history.trials):
                yield "repeat", history.next_number, lambda: point
        if descent.direction is not None:
            for k in range(self._options.speculative):
                yield "speculative", k, lambda k=k: self._speculative(descent, MULTIPLES[k])  # type: ignore[misc]
        if self._options.search == "quadratic":
            yield "search", 0, lambda: self._searched(descent)
        if self._options.covering:
            yield "covering", 0, lambda: self._covering(descent, f"covering {descent.iteration}")

    def _anywhere(self, descent: Descent, history: History) -> Iterator[Candidate]:
        """The last resort: where all around is known, a point from anywhere; none when a finite space is used up."""
        space, number = self._problem.space, history.next_number
        given: set[str] = set()
        i = 0
        while True:
            rng = self._problem.generator(number, f"mads anywhere {i}")
            point = (
                unused(space, lambda key: key in given or history.has_point(key), rng)
                if space.is_finite
                else draw(space, rng)
            )
            if point is None or (space.is_finite and point_key(point) in given):
                break
            given.add(point_key(point))
            yield "further", i, lambda point=point: point  # type: ignore[misc]
            i += 1
        while True:
            yield "end", 0, lambda: None

    def _allowed(self, row: Array) -> Point | None:
        point = self._codec.decode(row)
        return None if self._problem.space.broken(point) else point

    def _speculative(self, descent: Descent, multiple: float) -> Point | None:
        best, direction = descent.barrier.primary, descent.direction
        if best is None or direction is None:
            return None
        row, columns = best.row.copy(), descent.mesh.ordered(best.point)
        row[columns] += multiple * direction[columns]
        return self._allowed(np.clip(row, 0.0, 1.0))

    def _model(self, descent: Descent) -> Quadratic | None:
        from workers.models.quadratic import Quadratic

        best = descent.barrier.primary
        if best is None or self._options.search == "none":
            return None
        columns = descent.mesh.ordered(best.point)
        if not len(columns):
            return None
        known = (descent.iteration, len(descent.tried), best.number)
        if self._latest_model is None or self._latest_model[0] != known:
            model = Quadratic(descent.tried, best.row, columns, min(2.0 * descent.frame, 1.0))
            self._latest_model = known, model
        return self._latest_model[1] if self._latest_model[1].is_known else None

    def _searched(self, descent: Descent) -> Point | None:
        model = self._model(descent)
        return None if model is None else self._allowed(model.lowest())

    def _covering(self, descent: Descent, purpose: str) -> Point | None:
        best = descent.barrier.primary
        rng = self._problem.generator(0, f"mads {purpose}")
        return (
            None
            if best is None
            else self._allowed(descent.mesh.in_ball(best.point, self._options.covering_radius, rng))
        )

    def _further(self, descent: Descent, number: int, i: int) -> Point | None:
        """While the poll is out: by turns the ball and a random line, the lines ever longer."""
        best = descent.barrier.primary
        if best is None or i % 2 == 0:
            return self._covering(descent, f"further {number} {i}")
        rng = self._problem.generator(number, f"mads line {i}")
        return self._allowed(descent.mesh.on_line(best.point, descent.frame * np.sqrt(1 + i), rng))

    def _poll_order(self, descent: Descent) -> list[int]:
        """The most promising slot first: by the local model, else by the last successful move."""
        size = descent.poll_size
        if not size:
            return []
        rows, model = np.array([descent.slot(k).row for k in range(size)]), self._model(descent)
        best = descent.barrier.primary
        if model is not None:
            promise = model.values(rows)
        elif descent.direction is not None and best is not None:
            promise = -(rows - best.row) @ descent.direction
        else:
            promise = np.zeros(size)
        return [int(k) for k in np.argsort(promise, kind="stable")]


def _name(origin: Any) -> tuple[str, int]:
    return str(origin.get("step")), int(origin.get("slot", -1))


def _create(problem: Problem, options: MadsOptions, _: Blob | None) -> Suggester:
    return Mads(problem, options)


SPEC = Spec(
    name="mads",
    summary="Mesh-adaptive direct search with a progressive barrier: for jumps, kinks, hidden constraints, and to finish.",
    reference="Audet, Dennis 2006, 2009; Audet, Bouchet, Bourdin 2024; Bouchet, Vidal 2025",
    honours=Honours(types=ENUMERABLE | {"vector"}),
    options=MadsOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
)
