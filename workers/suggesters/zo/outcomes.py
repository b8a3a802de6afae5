"""How a step closes, and the values that its trials stand for.

A step closes with the outcome that completes the directions it wants; or, three quarters of them being complete, with the outcome that
makes as many as those directions need, whichever they are: a straggler holds up nobody. Read in the order in which outcomes came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.trial import TrialState
from workers.models.generations import EVALUATED
from workers.models.scores import just_behind

from .probes import Probes

Array = NDArray[np.float64]
ENOUGH = 0.75
LARGEST = 1e150  # differences and squares of values are still numbers


@dataclass(frozen=True)
class Told:
    """What a step is closed with.

    Attributes:
        rows: the evaluated trials by row.
        directions: those whose probes are all evaluated, in the order in which they became so.
        seq: of the outcome that closed it.
    """

    rows: Mapping[int, Observation]
    directions: tuple[int, ...]
    seq: int


def evaluated(trials: Sequence[Observation]) -> list[Observation]:
    """Trials of a step with an outcome that counts, in the order in which outcomes came."""
    found = [t for t in trials if t.state in EVALUATED and t.origin["row"] >= 0]
    return sorted(found, key=lambda t: t.told_seq)


def closed(
    trials: Sequence[Observation], probes: Probes, wanted: int, is_usable: Callable[[Observation], bool]
) -> Told | None:
    """How a step closes; None while it is open.

    Args:
        trials: of its generation.
        wanted: directions.
        is_usable: whether an evaluated trial told what the estimator needs.
    """
    least, rows = max(1, math.ceil(ENOUGH * wanted)), probes.rows(wanted)
    found: dict[int, Observation] = {}
    counts: dict[int, int] = {}
    complete: list[int] = []
    has_lead = not probes.lead
    for trial in evaluated(trials):
        if not is_usable(trial):
            continue
        row = trial.origin["row"]
        found[row] = trial
        direction = probes.place(row).direction
        if direction is None:
            has_lead = True
        else:
            counts[direction] = counts.get(direction, 0) + 1
            if counts[direction] == probes.per_direction:
                complete.append(direction)
        is_full = len(complete) >= wanted or (len(complete) >= least and len(found) >= rows)
        if has_lead and is_full:
            return Told(found, tuple(complete), trial.told_seq)
    return None


@dataclass(frozen=True)
class Values:
    """What the evaluated trials of a step stand for, by row.

    Attributes:
        objectives: (m,) each, to be minimised; those of infeasible trials stand a spread above the worst.
        violations: (k,) bounds of constraints, kept where <= 0; absent where a trial did not tell them.
        infeasible: rows that could not be evaluated.
    """

    objectives: dict[int, Array]
    violations: dict[int, Array]
    infeasible: frozenset[int]

    def joined(self, other: Values) -> Values:
        """Both, of different rows."""
        return Values(
            self.objectives | other.objectives, self.violations | other.violations, self.infeasible | other.infeasible
        )


def values_of(history: History, rows: Mapping[int, Observation], usual: Array, metric: str | None = None) -> Values:
    """Read a step's trials; pruned ones are held back by `just_behind`.

    Args:
        usual: (m,) difference of a pair, by which an infeasible trial is at least worse than the worst.
        metric: stands for the one objective, in its direction; told of pruned trials too.
    """
    if metric is not None:
        done = {r: _value(history, t, metric) for r, t in rows.items() if metric in t.metrics}
        infeasible = frozenset(rows) - done.keys()
        return Values(done | dict.fromkeys(infeasible, _beyond(list(done.values()), usual)), {}, infeasible)
    done = {r: _values(history, t) for r, t in rows.items() if t.state is TrialState.COMPLETED}
    names = [o.metric for o in history.spec.objectives]
    stopped = {
        r: _values(history, t)
        for r, t in rows.items()
        if t.state is TrialState.PRUNED and all(name in t.metrics for name in names)
    }
    if stopped:
        behind = just_behind(np.array([done[r] for r in done if rows[r].feasible is not False]).reshape(-1, len(names)))
        stopped = {r: np.maximum(found, behind) for r, found in stopped.items()}
    objectives = done | stopped
    infeasible = frozenset(rows) - objectives.keys()
    objectives |= dict.fromkeys(infeasible, _beyond(list(objectives.values()), usual))
    violations = {
        r: np.clip(np.array(history.violations(t)), -LARGEST, LARGEST)
        for r, t in rows.items()
        if all(c.metric in t.metrics for c in history.spec.constraints)
    }
    return Values(objectives, violations, infeasible)


def _values(history: History, trial: Observation) -> Array:
    return np.clip(np.array(history.values(trial)), -LARGEST, LARGEST)


def _value(history: History, trial: Observation, metric: str) -> Array:
    sign = 1.0 if history.spec.objectives[0].goal == "minimize" else -1.0
    return np.clip(np.array([sign * trial.metrics[metric]]), -LARGEST, LARGEST)


def _beyond(known: list[Array], usual: Array) -> Array:
    """(m,) worse than all that is known, by its spread."""
    if not known:
        return np.zeros(len(usual))
    worst, best = np.max(known, axis=0), np.min(known, axis=0)
    return np.asarray(worst + np.maximum(worst - best, usual))
