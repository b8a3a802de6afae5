"""Scoring on the train examples, with a held-out evaluation of every third step's texts on all that decide `best` (as published)."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from services.domain.history import History, Observation
from services.domain.study import ExampleSets
from services.domain.suggester import Suggestion
from services.domain.trial import TrialState
from workers.models.merit import is_full
from workers.models.steps import Steps

METHOD = "opro-held-out"


class HeldOut:
    """Shows the steps the outcomes on train examples only, and proposes texts again for the held-out ones.

    Args:
        examples: of the study, both splits.
        every: steps from one held-out evaluation to the next, the first step included.
    """

    def __init__(self, steps: Steps, examples: ExampleSets, every: int) -> None:
        self._steps, self._every = steps, every
        self._train: dict[str, Any] = {"split": "train", "ids": list(examples.train)}

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` texts: those to hold out first, then new ones.

        Raises:
            NeedsReplies: the calls of the open step.
        """
        seen = History(history.spec)
        seen.update(
            (t for t in history.trials if self._is_scored_on_train(t)), seq=history.seq, next_number=history.next_number
        )
        seen.replies = history.replies
        given = self._again(history, seen)[:count]
        if len(given) < count:
            new = self._steps.suggest(seen, count - len(given))
            given += [replace(s, evaluate_on=self._train) for s in new]
        return given

    def _is_scored_on_train(self, trial: Observation) -> bool:
        return trial.evaluate_on is not None and trial.evaluate_on["split"] == "train"

    def _again(self, history: History, seen: History) -> list[Suggestion]:
        """The texts of closed steps whose turn it is that no trial has had on the held-out examples."""
        key = self._steps.key
        known: set[Hashable] = {key(t.parameters) for t in history.trials if is_full(t, history.spec)}
        step, _ = self._steps.open_step(seen)
        found = []
        for trial in seen.trials:
            own = 0 if trial.origin.get("start") else trial.origin.get("step")
            is_due = own is not None and own < step.index and own % self._every == 0
            if is_due and trial.state is TrialState.COMPLETED and key(trial.parameters) not in known:
                known.add(key(trial.parameters))
                origin = {"method": METHOD, "of": trial.number}
                reason = f"the text of trial {trial.number} on the held-out examples"
                found.append(Suggestion(parameters=dict(trial.parameters), reason=reason, origin=origin))
        return found
