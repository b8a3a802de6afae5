"""What the trials of a study say, sorted by what each was for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from services.domain.history import History, Observation
from services.domain.trial import TrialState
from workers.models.generations import EVALUATED

METHOD = "bbt"
MOST_FAILURES = 3


class Ledger:
    """The evaluated trials of a history by generation, round and turn, each in the order in which the outcomes came.

    Args:
        size: outcomes that fill a generation.

    Attributes:
        generations: outcomes by generation (`origin`: generation and row), those that fill it.
        late: further outcomes of generations.
        rounds: the first outcome of the incumbent by round (`origin`: round).
        steps: the first outcome by (turn, step) of COBYLA (`origin`: turn and step); of a point that failed again and again, that.
        extras: outcomes of those handed out while a step was running, by turn (`origin`: turn and extra).
        foreign: outcomes of points that another proposed: enqueued, imported, of the suggester before this one.
        taken: what is handed out or told and need not be again: ("generation", g, row), ("round", r), ("step", t, k), ("extra", t, i).
    """

    def __init__(self, history: History, size: int) -> None:
        self.history, self._size = history, size
        self.generations: defaultdict[int, list[Observation]] = defaultdict(list)
        self.late: list[Observation] = []
        self.rounds: dict[int, Observation] = {}
        self.steps: dict[tuple[int, int], Observation] = {}
        self.extras: defaultdict[int, list[Observation]] = defaultdict(list)
        self.foreign: list[Observation] = []
        self.taken: set[tuple[object, ...]] = set()
        self._failures: Counter[tuple[int, int]] = Counter()
        for trial in history.trials:
            if trial.origin.get("method") == METHOD:
                self._note(trial)
        for trial in history.finished:
            self._file(trial)

    def _note(self, trial: Observation) -> None:
        origin = trial.origin
        if "row" in origin:
            self.taken.add(("generation", origin["generation"], origin["row"]))
        elif "extra" in origin:
            self.taken.add(("extra", origin["turn"], origin["extra"]))
        elif "round" in origin:
            self.taken.add(("round", origin["round"]))
        elif trial.is_pending:
            self.taken.add(("step", origin["turn"], origin["step"]))

    def _file(self, trial: Observation) -> None:
        origin, is_evaluated = trial.origin, trial.state in EVALUATED
        if origin.get("method") != METHOD:
            self.foreign += [trial] * is_evaluated
        elif "step" in origin:
            self._file_step((origin["turn"], origin["step"]), trial, is_evaluated)
        elif not is_evaluated:
            return
        elif "row" in origin:
            told = self.generations[origin["generation"]]
            (told if len(told) < self._size else self.late).append(trial)
        elif "extra" in origin:
            self.extras[origin["turn"]].append(trial)
        else:
            self.rounds.setdefault(origin["round"], trial)

    def _file_step(self, place: tuple[int, int], trial: Observation, is_evaluated: bool) -> None:
        self._failures[place] += not is_evaluated
        if is_evaluated or self._failures[place] >= MOST_FAILURES:
            self.steps.setdefault(place, trial)

    def value(self, trial: Observation) -> float | None:
        """What a trial is worth, lower is better; None unless it is completed and keeps the constraints."""
        if trial.state is not TrialState.COMPLETED or max(self.history.violations(trial), default=0.0) > 0:
            return None
        return self.history.values(trial)[0]

    def best(self, trials: Iterable[Observation]) -> list[tuple[float, Observation]]:
        """The trials that can become the best, with their values, in the order given."""
        found = [(self.value(t), t) for t in trials]
        return [(value, t) for value, t in found if value is not None]
