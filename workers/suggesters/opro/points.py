"""The other use of OPRO: points of spaces without texts, shown as lists with their losses, the best one last."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import numpy as np

from services.domain.codec import ENCODABLE, from_unit, to_unit
from services.domain.errors import FieldError
from services.domain.history import History
from services.domain.llm import LlmReply, LlmRequest, Talk
from services.domain.parameters import Parameter, PermutationParameter
from services.domain.sampling import draw_any, draw_many, listed
from services.domain.space import Point
from services.domain.study import StudySpec
from services.domain.suggester import Blob, Problem, Suggestion
from workers.models.drafts import Attempts, Draft, Rejected, counted
from workers.models.merit import Scored, merged
from workers.models.meta_prompt import SYSTEM, Read, data
from workers.models.meta_prompt import listed as bullets
from workers.models.steps import Step, Steps

from . import OproOptions
from .lists import Lists, width
from .meta import Messages

TYPES = ENCODABLE | {"permutation"}
MOST_VALUES = 500
MOST_TOURS_SHOWN = 10
SPREAD = 0.1
TRIES = 40
MOST_LISTED = 200_000
MOST_CHARACTERS = 10**6


def refused(spec: StudySpec, options: OproOptions) -> list[FieldError]:
    """What speaks against a study without texts."""
    found = [
        FieldError(f"/parameters/{i}/type", f"without texts opro serves {', '.join(sorted(TYPES))}, not {p.type}")
        for i, p in enumerate(spec.parameters)
        if p.type not in TYPES
    ]
    found += [
        FieldError(f"/parameters/{i}/when", "a parameter must not be conditional here")
        for i, p in enumerate(spec.parameters)
        if p.when
    ]
    if not found and sum(width(p) for p in spec.parameters) > MOST_VALUES:
        found.append(FieldError("/parameters", f"opro serves points of up to {MOST_VALUES} values"))
    if options.exemplars:
        found.append(FieldError("/suggester/options/exemplars", "exemplars go with a parameter of type text"))
    if options.optimizer == "base":
        found.append(FieldError("/suggester/options/optimizer", "a base model goes with a parameter of type text"))
    if options.fallback == "none" and spec.space.is_finite:
        found.append(FieldError("/suggester/options/fallback", "a space whose points can be counted needs 'edit'"))
    if not options.resample_duplicates and spec.space.is_finite:
        message = "in a space whose points can be counted duplicates are asked for again"
        found.append(FieldError("/suggester/options/resample_duplicates", message))
    return found


class OproPoints(Steps):
    """The suggester over numbers, choices, vectors and orders."""

    edited = "a change of the best point"

    def __init__(self, problem: Problem, options: OproOptions) -> None:
        self._lists = Lists(problem.space)
        super().__init__(
            "opro", problem, PointWriter(problem, options, self._lists), edits=options.fallback == "edit",
            starts=self._drawn(problem, options.n_init), closing=1.0 - options.straggler_fraction,
            ends_blind=True,
        )  # fmt: skip

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when the space is used up.

        Raises:
            NeedsReplies: the calls of the open step.
        """
        size = self.problem.space.size
        if size is not None and len(self.known(history)) >= size:
            return []
        return super().suggest(history, count)

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None

    def _drawn(self, problem: Problem, count: int) -> list[Point]:
        """The default point, then random ones."""
        default = problem.space.default()
        points = draw_many(problem.space, problem.generator(0, "opro starts"), count)
        found = [default, *points] if default is not None else points
        return list({self.key(point): point for point in found}.values())[:count]

    # -- what a candidate is here

    def key(self, candidate: Mapping[str, Any]) -> Hashable:
        """As it is shown: equal after rounding is the same."""
        return self._lists.shown(candidate)

    def known(self, history: History) -> set[Hashable]:
        """Every point of the study."""
        return {self.key(t.parameters) for t in history.trials}

    def components(self) -> list[str]:
        """Points are written whole."""
        return ["point"]

    def edit(self, step: Step, slot: int, is_taken: Callable[[Mapping[str, Any]], bool]) -> Point | None:
        """A point near the best one, else any other; None where the space has none left."""
        rng = self.problem.generator(step.index, f"opro edit {slot}")
        return next((point for point in self._others(step, rng) if not is_taken(point)), None)

    def _others(self, step: Step, rng: np.random.Generator) -> Iterator[Point]:
        space = self.problem.space
        if step.top is not None:
            near = (self._near(step.top.trial.parameters, rng) for _ in range(TRIES))
            yield from (point for point in near if not space.broken(point))
        drawn = (draw_any(space, rng) for _ in range(TRIES))
        yield from draw_many(space, rng, TRIES) if space.constraints else drawn
        yield from listed(space, int(rng.integers(min(space.size or 1, 2**62))), MOST_LISTED)

    def _near(self, point: Mapping[str, Any], rng: np.random.Generator) -> Point:
        return self.problem.space.sorted({p.name: _moved(p, point[p.name], rng) for p in self.problem.space.parameters})


def _moved(parameter: Parameter, value: Any, rng: np.random.Generator) -> Any:
    """A value nearby: two items of an order swapped, a number moved by about a tenth of its range, a choice sometimes drawn anew."""
    if isinstance(parameter, PermutationParameter):
        found = list(value)
        i, j = rng.integers(len(found), size=2)
        found[i], found[j] = found[j], found[i]
        return found
    unit = np.atleast_1d(np.asarray(to_unit(parameter, value), dtype=np.float64))
    if parameter.type == "categorical":
        return from_unit(parameter, rng.random(1)) if rng.random() < SPREAD else value
    return from_unit(parameter, np.clip(unit + SPREAD * rng.standard_normal(unit.shape), 0.0, 1.0))


class PointWriter:
    """Fills slots: every call of a step shows the same points."""

    def __init__(self, problem: Problem, options: OproOptions, lists: Lists) -> None:
        self._problem, self._options, self._lists = problem, options, lists
        self._made: tuple[Step, int, Messages] | None = None
        tours = any(isinstance(p, PermutationParameter) for p in problem.space.parameters)
        self._most = MOST_TOURS_SHOWN if tours and "max_shown" not in options.model_fields_set else options.max_shown

    @property
    def size(self) -> int:
        """Points of a step."""
        return self._options.per_step

    def write(self, step: Step, slot: int, is_taken: Callable[[Point], bool]) -> Talk[Draft | Rejected]:
        """One point: up to `attempts` samples of the step's meta-prompt; drawn while nothing is known."""
        if not step.found:
            drawn = draw_many(self._problem.space, self._problem.generator(slot, "opro first"), TRIES)
            free = next((point for point in drawn if not is_taken(point)), None)
            return Rejected(()) if free is None else Draft(free, "drawn at random: nothing is told yet")

        def ask(key: str, halvings: int) -> LlmRequest:
            return LlmRequest(
                key=key, role="optimiser", snapshot=step.snapshot, messages=self.messages(step, halvings),
                temperature=self._options.temperature_at(step.index), max_tokens=self._options.max_tokens,
            )  # fmt: skip

        def read(reply: LlmReply) -> Point | Read:
            found = self._lists.read(reply.text)
            if not isinstance(found, Read) and is_taken(found):
                return Read(fault="duplicate") if self._options.resample_duplicates else {}
            return found

        point, why = yield from Attempts(ask, read, self._options.attempts).talk(f"{step.name}/{slot}")
        if not point:
            return self._options.left(why, is_known=point is not None)
        reason = f"written from {counted(len(step.found), 'outcome')}, sample {slot} of step {step.index}"
        return Draft(point, reason, rejected=why.rejected)

    def messages(self, step: Step, halvings: int = 0) -> Messages:
        """The meta-prompt of a step; each halving shows half as many points."""
        if self._made is None or self._made[0] is not step or self._made[1] != halvings:
            self._made = step, halvings, self._rendered(step, halvings)
        return self._made[2]

    def _rendered(self, step: Step, halvings: int) -> Messages:
        parts = [
            "A loss is to be made as small as possible. Each point is a list of values in this order:\n"
            + data("\n".join([self._lists.names(), bullets(self._lists.described())]), "order", MOST_CHARACTERS),
        ]
        shown = self.shown(step, halvings)
        if shown:
            lines = "\n".join(self._line(s) for s in shown)
            parts.append(
                "Points tried so far, from the highest loss to the lowest, the best one last:\n"
                + data(lines, "points", MOST_CHARACTERS)
            )
        parts.append(
            f"Give one new point{' that differs from all of these and has a lower loss' if shown else ''}. "
            "Answer with its list in square brackets, and nothing else."
        )
        return ("system", SYSTEM), ("user", "\n\n".join(parts))

    def shown(self, step: Step, halvings: int = 0) -> list[Scored]:
        """The points that a step shows: the best, equal ones merged, descending in their loss."""
        found = merged(step.found, lambda t: self._lists.shown(t.parameters), shrink=self._options.shrink)
        return sorted(found, key=lambda s: s.merit)[-max(1, self._most >> halvings) :]

    def _line(self, found: Scored) -> str:
        loss = f"loss {0.0 - found.merit:.3g}" if found.is_valid else "not valid"
        return f"{self._lists.shown(found.trial.parameters)} {loss}"
