"""Update rules as short formulas, another one chosen every five rounds by how the search stands. Experimental.

Chen, Chen, Ma, Guo, Ma, Li, Gong 2024, "SYMBOL: Generating Flexible Black-Box Optimizers through Symbolic Equation Learning". There a
network writes the formulas; here they stand in a table, made by hand, and a linear score that was learned chooses among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.history import History, Observation
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.models.generations import ranks
from workers.models.move_rules import parse
from workers.models.positions import Places
from workers.models.rule_choice import chosen, features
from workers.models.steady_state import Move, SteadyState

from .table import RULES, WEIGHTS

Array = NDArray[np.float64]
ROUNDS_PER_RULE = 5
USUAL_ROUNDS = 100


class SymbolOptions(Document):
    """What the formulas can be told."""

    popsize: int | None = Field(
        default=None,
        ge=4,
        le=10_000,
        description="Members, a third of limits.max_trials at most; 100, or a tenth of them, if absent.",
    )
    rule: str | None = Field(default=None, max_length=200, description="One formula to follow instead of the table's.")

    @field_validator("rule")
    @classmethod
    def _parses(cls, text: str | None) -> str | None:
        if text is not None:
            parse(text)
        return text


class Symbol(SteadyState):
    """Members that move by a formula; all of them by the same one, for five rounds."""

    name = "symbol"

    def __init__(self, problem: Problem, options: SymbolOptions, blob: Blob | None) -> None:
        self._rules = [parse(text) for text in ((options.rule,) if options.rule is not None else RULES)]
        self._rule = (
            chosen(np.array([0.5, 0.4, 0.5, 1.0, 0.0, 0.4, 0.5, 0.4, 0.0]), WEIGHTS) if len(self._rules) > 1 else 0
        )
        self._leader: int | None = None  # best and worst so far
        self._last: int | None = None
        self._improved_at = 0
        self._improved = False
        budget = problem.spec.limits.max_trials
        usual = 100 if budget is None else min(100, max(8, budget // 10))
        super().__init__(problem, options.popsize or usual, blob)

    def move(self, history: History, row: int, rng: np.random.Generator) -> Move | None:
        """The row's member moved by the formula; at the walls it stops."""
        if self.now[row] is None or self._leader is None or self._last is None:
            return None
        others = [n for r, n in enumerate(self.now) if n is not None and r != row]
        if not others:
            return None
        x = self.place(history, self.now[row])
        leaves = {
            "x": x, "gb": self.place(history, self.best[self.by_merit(history)[0]]), "gw": self.place(history, self._last),
            "dx": self._flown(history, row), "pb": self.place(history, self.best[row]),
        }  # fmt: skip
        step = self._rules[self._rule](leaves, lambda: self.place(history, others[int(rng.integers(len(others)))]))
        moved = np.clip(x + step, 0.0, 1.0)
        if np.array_equal(moved, x):  # looking elsewhere tells more than looking again
            return None
        return moved, {"parent": self.now[row], "rule": self._rules[self._rule].text}

    def _flown(self, history: History, row: int) -> Array:
        """(n,) the last move of a row's member; 0 where it was put."""
        trial = self.trial(history, self.now[row])
        if trial.origin.get("method") != self.name or "parent" not in trial.origin:
            return np.zeros(self.places.size)
        return self.place(history, trial.number) - self.place(history, trial.origin["parent"])

    def learn(self, history: History, trial: Observation, row: int, before: int | None, is_better: bool) -> None:
        """Keep the best and the worst so far."""
        self._leader, is_new = self._kept(history, trial, self._leader, 0)
        self._last, _ = self._kept(history, trial, self._last, 1)
        if is_new:
            self._improved, self._improved_at = True, self.rounds + 1

    def _kept(self, history: History, trial: Observation, against: int | None, place: int) -> tuple[int, bool]:
        """The better (place 0) or worse (1) of two trials, and whether it is the new one."""
        if against is None:
            return trial.number, True
        order = self.compared(history, trial, self.trial(history, against))
        is_new = order[place] < order[1 - place]
        return (trial.number if is_new else against), is_new

    def end_round(self, history: History) -> None:
        """Choose the formula for the next five rounds; begin anew where nothing differs any more."""
        if self.has_collapsed(history):
            self.begin_anew(history)
        if self.rounds % ROUNDS_PER_RULE or len(self._rules) == 1:
            return
        numbers = [n for n in self.now if n is not None]
        if len(numbers) < 2 or self._leader is None or self._last is None:
            return
        self._rule = chosen(self._features(history, numbers), WEIGHTS)
        self._improved = False

    def _features(self, history: History, numbers: list[int]) -> Array:
        trials = [self.trial(history, n) for n in (*numbers, self._leader, self._last)]
        costs = _costs(history, trials)
        budget = self.problem.spec.limits.max_trials
        rounds = USUAL_ROUNDS if budget is None else max(1, budget // self.size)
        assert self._leader is not None
        return features(
            np.array([self.place(history, n) for n in numbers]),
            costs[:-2],
            (self.place(history, self._leader), float(costs[-2])),
            float(costs[-1]),
            max(0.0, 1.0 - self.rounds / rounds),
            (self.rounds - self._improved_at) / rounds,
            self._improved,
        )

    def document(self) -> Mapping[str, Any]:
        """The formula in use, and the best and worst so far."""
        return {
            "rule": self._rule, "leader": self._leader, "last": self._last, "improved": self._improved,
            "improved_at": self._improved_at,
        }  # fmt: skip

    def load(self, document: Mapping[str, Any]) -> None:
        """Take them up."""
        self._rule, self._leader, self._last = document["rule"], document["leader"], document["last"]
        self._improved, self._improved_at = document["improved"], document["improved_at"]

    def reason(self, turn: int, row: int, remembered: Mapping[str, Any]) -> str:
        """Round, row and formula."""
        rule = f": {remembered['rule']}" if "rule" in remembered else ""
        return super().reason(turn, row, remembered) + rule


def _costs(history: History, trials: list[Observation]) -> Array:
    """(n,) values, lower is better; ranks where not all are feasible values of usual size."""
    if all(t.state == "completed" and max(history.violations(t), default=0) <= 0 for t in trials):
        found = np.array([history.values(t)[0] for t in trials])
        if float(np.abs(found).max()) < 1e150:
            return found
    return np.array(ranks(history, trials))


def _refuse(spec: StudySpec, _: SymbolOptions) -> list[FieldError]:
    size = Places(spec.space).size
    return [FieldError("/parameters", f"symbol serves up to 10000 coordinates, not {size}")] if size > 10_000 else []


def _create(problem: Problem, options: SymbolOptions, blob: Blob | None) -> Suggester:
    return Symbol(problem, options, blob)


SPEC = Spec(
    name="symbol",
    summary="Experimental: update formulas chosen by how the search stands; thousands of trials, about ten dimensions.",
    reference="Chen, Chen, Ma, Guo, Ma, Li, Gong 2024, SYMBOL",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=SymbolOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)
