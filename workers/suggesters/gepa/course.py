"""Where every iteration stands, read from its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from services.domain.history import History, Observation

METHOD = "gepa"
Role = Literal["parent", "child", "merge", "full"]


@dataclass
class Iteration:
    """The trials of one iteration, by role: those that were made.

    `parent` scores the parent on the minibatch (left out where that is known), `child` the mutated text on the same examples, `full`
    an accepted one on the full set; a `merge` takes the place of the first two.
    """

    index: int
    trials: dict[Role, Observation] = field(default_factory=dict)

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
            found.setdefault(index, Iteration(index)).trials.setdefault(trial.origin["role"], trial)
    return dict(sorted(found.items()))
