"""What the trials of a study say, sorted by what each was for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from services.domain.history import History, Observation
from services.domain.trial import TrialState
from workers.models.generations import EVALUATED


class Ledger:
    """The evaluated trials of a history by generation, round and turn, each in the order in which the outcomes came.

    Attributes:
        generations: outcomes by generation (`origin`: generation and row).
        rounds: the first outcome of the incumbent by round (`origin`: round).
        steps: the first outcome by (turn, step) of COBYLA (`origin`: turn and step).
        extras: outcomes of those handed out while a step was running, by turn (`origin`: turn and extra).
        foreign: outcomes of enqueued and imported points.
        taken: what is handed out or told and need not be again: ("generation", g, row), ("round", r), ("step", t, k), ("extra", t, i).
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.generations: defaultdict[int, list[Observation]] = defaultdict(list)
        self.rounds: dict[int, Observation] = {}
        self.steps: dict[tuple[int, int], Observation] = {}
        self.extras: defaultdict[int, list[Observation]] = defaultdict(list)
        self.foreign: list[Observation] = []
        self.taken: set[tuple[object, ...]] = set()
        for trial in history.trials:
            self._note(trial)
        for trial in history.finished:
            if trial.state in EVALUATED:
                self._file(trial)

    def _note(self, trial: Observation) -> None:
        origin = trial.origin
        if "row" in origin:
            self.taken.add(("generation", origin["generation"], origin["row"]))
        elif "extra" in origin:
            self.taken.add(("extra", origin["turn"], origin["extra"]))
        elif "round" in origin:
            self.taken.add(("round", origin["round"]))
        elif "step" in origin and (trial.is_pending or trial.state in EVALUATED):
            self.taken.add(("step", origin["turn"], origin["step"]))

    def _file(self, trial: Observation) -> None:
        origin = trial.origin
        if "row" in origin:
            self.generations[origin["generation"]].append(trial)
        elif "extra" in origin:
            self.extras[origin["turn"]].append(trial)
        elif "round" in origin:
            self.rounds.setdefault(origin["round"], trial)
        elif "step" in origin:
            self.steps.setdefault((origin["turn"], origin["step"]), trial)
        elif not origin:
            self.foreign.append(trial)

    def value(self, trial: Observation) -> float | None:
        """What a trial is worth, lower is better; None unless it is completed and keeps the constraints."""
        if trial.state is not TrialState.COMPLETED or max(self.history.violations(trial), default=0.0) > 0:
            return None
        return self.history.values(trial)[0]

    def best(self, trials: Iterable[Observation]) -> list[tuple[float, Observation]]:
        """The trials that can become the best, with their values, in the order given."""
        found = [(self.value(t), t) for t in trials]
        return [(value, t) for value, t in found if value is not None]
