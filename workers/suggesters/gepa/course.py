"""Where every iteration stands, read from its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from services.domain.history import History, Observation
from services.domain.trial import TrialState

METHOD = "gepa"
MOST_FULLS = 2
Role = Literal["parent", "child", "merge", "full"]


@dataclass
class Iteration:
    """The trials of one iteration, by role: those that were made.

    `parent` scores the parent on the minibatch (left out where that is known), `child` the mutated text on the same examples, `full`
    an accepted one on the full set, once more where that failed; a `merge` takes the place of the first two.
    """

    index: int
    trials: dict[Role, Observation] = field(default_factory=dict)
    fulls: int = 0

    def add(self, trial: Observation) -> None:
        """Take in a trial of the iteration, in the order of the numbers."""
        role = trial.origin["role"]
        self.fulls += role == "full"
        if role == "full" or role not in self.trials:
            self.trials[role] = trial

    @property
    def wants_full(self) -> bool:
        """Whether an accepted candidate is still to be scored in full: a failure of the client's must not lose it at once."""
        full = self.trials.get("full")
        return full is None or (full.state is TrialState.FAILED and self.fulls < MOST_FULLS)

    def is_scored(self, until: int) -> bool:
        """Whether its candidate was scored in full, or lost for good, by an outcome told up to the `seq` `until`."""
        full = self.trials.get("full")
        return full is not None and not full.is_pending and full.told_seq <= until and not self.wants_full

    @property
    def origin(self) -> Mapping[str, Any]:
        """What was written on its first trial."""
        return next(iter(self.trials.values())).origin

    @property
    def probe(self) -> Observation | None:
        """The trial on which a new candidate is accepted or not."""
        return self.trials.get("child") or self.trials.get("merge")


def iterations(history: History) -> dict[int, Iteration]:
    """All that have a trial, by index."""
    found: dict[int, Iteration] = {}
    for trial in history.trials:
        if trial.origin.get("method") == METHOD:
            index = trial.origin["iteration"]
            found.setdefault(index, Iteration(index)).add(trial)
    return dict(sorted(found.items()))
