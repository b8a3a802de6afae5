"""What is known of the combinations of candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from services.domain.document import canonical
from services.domain.history import History, Observation
from services.domain.study import StudySpec
from workers.models.example_results import own_scores
from workers.models.merit import Scored, is_full, scored

from .tpe import Combination


class Candidates:
    """The values of every variable, in order; index 0 is the present prompt's.

    Args:
        values: by parameter.
    """

    def __init__(self, values: Mapping[str, Sequence[Any]]) -> None:
        self.values = {name: list(of) for name, of in values.items()}
        self._places = {name: {canonical(v): i for i, v in enumerate(of)} for name, of in self.values.items()}

    @property
    def sizes(self) -> list[int]:
        """How many values each variable has."""
        return [len(of) for of in self.values.values()]

    def point(self, chosen: Combination) -> dict[str, Any]:
        """The parameters of a combination."""
        return {name: of[i] for (name, of), i in zip(self.values.items(), chosen, strict=True)}

    def named(self, chosen: Combination) -> dict[str, int]:
        """The indices by parameter."""
        return dict(zip(self.values, chosen, strict=True))

    def find(self, point: Mapping[str, Any]) -> Combination | None:
        """The combination of a point, None if it is none."""
        found = [places.get(canonical(point[name])) for name, places in self._places.items()]
        return None if None in found else tuple(i for i in found if i is not None)


class Evidence:
    """Outcomes by combination. Trials of one combination are one mean, weighted by the ids that they saw.

    Attributes:
        told: combination and its mean, once for each evaluation.
        pending: combinations that are out.
    """

    def __init__(self, history: History, candidates: Candidates, spec: StudySpec) -> None:
        self._spec = spec
        self._sums: dict[Combination, tuple[float, int]] = {}
        self._closed: set[Combination] = set()
        self.pending: list[Combination] = []
        evaluated: list[Combination] = []
        merits = {s.trial.number: s for s in scored(history)}
        for trial in history.trials:
            chosen = candidates.find(trial.parameters)
            if chosen is None or not self._decides(trial):
                continue
            if is_full(trial, spec):
                self._closed.add(chosen)
            if trial.is_pending:
                self.pending.append(chosen)
            elif trial.number in merits:
                evaluated.append(chosen)
                self._add(chosen, merits[trial.number])
        self.told = [(chosen, self.mean(chosen)[0] or 0.0) for chosen in evaluated]

    def _decides(self, trial: Observation) -> bool:
        """Whether it was scored on examples of the split that decides."""
        if self._spec.examples is None or trial.evaluate_on is None:
            return True
        return bool(trial.evaluate_on["split"] == self._spec.examples.full()[0])

    def _add(self, chosen: Combination, outcome: Scored) -> None:
        own = own_scores(outcome.trial, self._spec) if outcome.is_valid else {}
        scores = list(own.values()) or [outcome.merit]
        total, seen = self._sums.get(chosen, (0.0, 0))
        self._sums[chosen] = total + math.fsum(scores), seen + len(scores)

    def mean(self, chosen: Combination) -> tuple[float | None, int]:
        """Its mean over all that it was scored on, and over how much; None before any."""
        total, seen = self._sums.get(chosen, (0.0, 0))
        return (total / seen if seen else None), seen

    def is_closed(self, chosen: Combination) -> bool:
        """Whether it has a full evaluation, told or not: another one would say nothing new."""
        return chosen in self._closed

    def best_unconfirmed(self) -> Combination | None:
        """The best mean without a full evaluation, the one seen more among equals, then the earliest told."""
        means = {chosen: self.mean(chosen) for chosen in self._sums if chosen not in self._closed}
        return max(means, key=lambda c: (means[c][0] or 0.0, means[c][1]), default=None)

    def take(self, chosen: Combination, *, is_full: bool) -> None:
        """Note a trial that is being handed out."""
        self.pending.append(chosen)
        if is_full:
            self._closed.add(chosen)
