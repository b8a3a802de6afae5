"""lq-CMA-ES served one ask at a time: a generation hands out its most promising rows until the model orders the told ones rightly.

Hansen 2019, "A global surrogate assisted CMA-ES". The archive is the told trials of the study, whoever proposed them; no value of
the model ever leaves this module but as a rank.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.trial import TrialState
from workers.models.folding import Box
from workers.models.generations import EVALUATED
from workers.models.lq_model import FIT_SHARE, Kind, LqModel, coefficients, kendall_tau
from workers.models.scores import just_behind

from .cube import Cube
from .ledger import Member

Array = NDArray[np.float64]

LARGEST = sys.float_info.max
TRUSTED = 0.85
FEWEST = 3
LEAST_SHARE = 0.02
TAU_POINTS = 15
MOST_FULL = 20


@dataclass(frozen=True)
class Entry:
    """A told trial.

    Attributes:
        number: of the trial; x: (n,) coordinates.
        value: infinite for an infeasible one, which counts as the worst of the others.
        is_pruned: the value is its last one, held back by `just_behind`.
    """

    number: int
    x: Array
    value: float
    is_pruned: bool = False


class Surrogate:
    """The archive, newest first, its model, and how far it is trusted.

    Args:
        size: coordinates.
        coordinates: of a trial's point.

    Attributes:
        model: fitted at the latest check; None before there are two points.
        wanted: outcomes of the open generation at which it is checked next.
        tau: of the latest check.
    """

    def __init__(self, size: int, coordinates: Callable[[Observation], Array]) -> None:
        self._coordinates = coordinates
        self._most: Kind = "full" if size <= MOST_FULL else "diagonal"
        self._enough = 2 * coefficients(self._most, size)
        self._archive: list[Entry] = []
        self.model: LqModel | None = None
        self.wanted = 1
        self.tau = 0.0

    def warm(self, history: History, trials: Sequence[Observation], popsize: int) -> None:
        """Take in what was told before the first generation, the best first."""
        known = [entry for t in trials if (entry := self._entry(history, t)) is not None]
        self._archive = known
        self._sort(len(known))
        del self._archive[self._most_entries(popsize) :]
        self._fit()

    def open(self, popsize: int) -> None:
        """A generation opens."""
        self.wanted = int(1 + max(LEAST_SHARE * popsize, FEWEST / FIT_SHARE - len(self._archive)))

    def add(self, history: History, trial: Observation, popsize: int) -> None:
        """An outcome came."""
        entry = self._entry(history, trial)
        if entry is not None:
            self._archive.insert(0, entry)
            del self._archive[self._most_entries(popsize) :]

    def _entry(self, history: History, trial: Observation) -> Entry | None:
        if trial.state not in EVALUATED:
            return None
        objective, is_pruned, value = history.spec.objectives[0], trial.state is TrialState.PRUNED, math.inf
        is_bad = trial.state is TrialState.INFEASIBLE or (
            trial.state is TrialState.COMPLETED and max(history.violations(trial), default=0.0) > 0
        )
        if objective.metric in trial.metrics and not is_bad:
            value = trial.metrics[objective.metric] * (1 if objective.goal == "minimize" else -1)
        return Entry(trial.number, self._coordinates(trial), value, is_pruned)

    def _most_entries(self, popsize: int) -> int:
        return max(popsize, self._enough)

    def is_trusted(self, evaluated: int, popsize: int) -> bool:
        """Whether the model orders the newest outcomes rightly; if not, more of the generation are wanted.

        Args:
            evaluated: outcomes of the open generation so far.
        """
        self._sort(evaluated)
        self._fit()
        number = int(max(TAU_POINTS, min(1.2 * evaluated, 0.75 * popsize)))
        self.tau = 0.0
        if self.model is not None and len(self._archive) >= FEWEST:
            x, y = self._data()
            self.tau = kendall_tau(y[:number], self.model.predict(x[:number]))
        if self.tau >= TRUSTED and any(math.isfinite(entry.value) for entry in self._archive[:evaluated]):
            return True
        while self.wanted <= evaluated:
            self.wanted += math.ceil(self.wanted / 2)
        return False

    def _fit(self) -> None:
        known = sum(math.isfinite(entry.value) for entry in self._archive)
        self.model = LqModel.fit(*self._data(), self._most) if known >= 2 else None

    def _sort(self, newest: int) -> None:
        """Put the newest entries in order, the best first."""
        order = np.argsort(self._counted()[:newest], kind="stable")
        self._archive[:newest] = [self._archive[i] for i in order]

    def _counted(self) -> Array:
        """(m,) values of the archive, infinite for those that are infeasible."""
        y = np.array([entry.value for entry in self._archive])
        pruned = np.array([entry.is_pruned for entry in self._archive], dtype=bool)
        if pruned.any():
            y[pruned] = np.maximum(y[pruned], just_behind(y[~pruned & np.isfinite(y)]))
        return y

    def _data(self) -> tuple[Array, Array]:
        """(m, n) points and (m,) finite values of the archive, the newest first."""
        y = self._counted()
        return np.array([entry.x for entry in self._archive]), np.where(np.isinf(y), y[np.isfinite(y)].max(), y)

    def values(self, box: Box, cube: Cube, members: Sequence[Member]) -> list[float]:
        """What the model says of the members of a generation, shifted so that its least is the least told value among them."""
        assert self.model is not None
        predicted = self.model.predict(cube.settled(box.inside(np.array([m.x for m in members]))))
        told = [m.key[1] for m in members if m.key[0] == 0 and m.key[1] < LARGEST]
        with np.errstate(over="ignore"):
            shifted = min(told, default=self.model.level) + (predicted - predicted.min()) * self.model.unit
        return [float(v) if math.isfinite(v) else LARGEST for v in shifted]

    # -- the state

    def save(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Numbers of the trials in the archive, and the model."""
        document: dict[str, Any] = {"archive": [entry.number for entry in self._archive], "tau": self.tau}
        if self.model is None:
            return document, {}
        scalars, arrays = self.model.save()
        return document | {"model": scalars}, {f"model.{name}": array for name, array in arrays.items()}

    def load(self, history: History, document: dict[str, Any], arrays: dict[str, Array]) -> None:
        """What `save` gave; points and values are the trials' own."""
        trials = [history.get(number) for number in document["archive"]]
        entries = [self._entry(history, t) for t in trials if t is not None]
        self._archive = [entry for entry in entries if entry is not None]
        self.tau = document["tau"]
        self.model = None
        if "model" in document:
            own = {name.removeprefix("model."): a for name, a in arrays.items() if name.startswith("model.")}
            self.model = LqModel.load(document["model"], own)
