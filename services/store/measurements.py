"""What early stopping asks about other trials' reports, answered by the index over (study, step, value)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, case, func, select

from ..domain.stopping import Goal, Reports, Slots, Standing
from ..domain.trial import TrialState
from .trials import MEASUREMENTS, TRIALS, best


@dataclass(frozen=True, slots=True)
class StoredPeers:
    """The other trials of a study, as seen from one trial."""

    connection: Connection
    study_id: str
    number: int
    goal: Goal

    def completed_at(self, step: int, limit: int) -> Sequence[float]:
        """Values reported at a step by the latest completed other trials."""
        joined = MEASUREMENTS.join(
            TRIALS, (TRIALS.c.study_id == MEASUREMENTS.c.study_id) & (TRIALS.c.number == MEASUREMENTS.c.number)
        )
        query = (
            select(MEASUREMENTS.c.value)
            .select_from(joined)
            .where(
                MEASUREMENTS.c.study_id == self.study_id,
                MEASUREMENTS.c.step == step,
                MEASUREMENTS.c.value.is_not(None),
                MEASUREMENTS.c.number != self.number,
                TRIALS.c.state == TrialState.COMPLETED.value,
            )
            .order_by(MEASUREMENTS.c.number.desc())
            .limit(limit)
        )
        return list(self.connection.execute(query).scalars())

    def standing(self, step: int, value: float, slots: Slots | None) -> Standing:
        """How a value stands among what other trials reported at a step."""
        other = MEASUREMENTS.c.value
        is_better = other < value if self.goal == "minimize" else other > value
        query = select(func.count(), func.coalesce(func.sum(case((is_better, 1), else_=0)), 0)).where(
            MEASUREMENTS.c.study_id == self.study_id,
            MEASUREMENTS.c.step == step,
            other.is_not(None),
            MEASUREMENTS.c.number != self.number,
        )
        if slots is not None:
            place = (MEASUREMENTS.c.number * slots.stride) % slots.cycle
            query = query.where(place >= slots.low, place < slots.high)
        count, better = self.connection.execute(query).one()
        return Standing(count=int(count), better=int(better))

    def best_reports(self) -> Reports:
        """All reports of the best completed feasible other trial."""
        found = best(self.connection, self.study_id)
        if found is None or found.number == self.number:
            return []
        query = (
            select(MEASUREMENTS.c.step, MEASUREMENTS.c.value)
            .where(
                MEASUREMENTS.c.study_id == self.study_id,
                MEASUREMENTS.c.number == found.number,
                MEASUREMENTS.c.value.is_not(None),
            )
            .order_by(MEASUREMENTS.c.step)
        )
        return [(step, value) for step, value in self.connection.execute(query)]
