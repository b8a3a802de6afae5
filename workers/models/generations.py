"""The generation ledger: how clients who ask one at a time, out of order, late or never share the generations of a population method.

What belongs to a generation is written on its trials (`origin`: generation and row), so the ledger is read from the history and
never kept beside it. A generation closes with the outcome that fills it, in the order in which outcomes came; what comes later is
late and changes nothing. Trials that no generation proposed (enqueued, imported) are foreign: the generation in which their outcome
came may learn from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from services.domain.history import History, Observation
from services.domain.space import Point, point_key
from services.domain.trial import TrialState

from .scores import just_behind

MOST_ROWS = 300
"""Looked at for one trial."""
EVALUATED = (TrialState.COMPLETED, TrialState.PRUNED, TrialState.INFEASIBLE)

Key = tuple[int, float]
"""What one outcome is compared by: 0 and its value if it is feasible, 1 and by how much it is not, 2 if that is not known."""


@dataclass(frozen=True)
class Closing:
    """The outcomes that a generation is updated with.

    Attributes:
        told: its own, in the order in which they came.
        foreign: others' that came since the last closing, in the same order.
        seq: of the outcome that closed it.
    """

    told: tuple[Observation, ...]
    foreign: tuple[Observation, ...]
    seq: int


def generation_of(trial: Observation) -> int | None:
    """The generation that proposed a trial; None for a foreign one."""
    found = trial.origin.get("generation")
    return found if isinstance(found, int) else None


def rows_used(history: History, generation: int, method: str | None = None) -> set[int]:
    """Rows of a generation that trials already have; failed and cancelled ones included, their replacement is another row."""
    return {t.origin["row"] for t in _of(history, generation, method)}


def handed_out(
    history: History,
    count: int,
    used: set[int],
    following: Callable[[range, set[str], int], tuple[int, Point | None]],
) -> Iterator[tuple[int, Point]]:
    """Up to `count` rows of the open generation that no trial has, with their points; fewer when a finite space is used up.

    Args:
        used: rows that trials have.
        following: the first of some rows that will do, or row -1 with a point from outside; None where there is no point at all. It
            gets the keys of the points given so far, where there are finitely many, and the number of the trial.
    """
    after, most = max(used, default=-1), MOST_ROWS
    keys, is_finite = set[str](), history.spec.space.is_finite
    for number in range(history.next_number, history.next_number + count):
        row, point = following(range(after + 1, after + 1 + most), keys, number)
        if point is None:
            return
        if row < 0:
            most = 0  # for the next one the same rows would be looked at, in vain
        after = max(after, row)
        if is_finite:
            keys.add(point_key(point))
        yield row, point


def first_size(history: History, method: str | None = None) -> int | None:
    """`origin["size"]` of the first generation: what filled it when it was begun counts, whatever the study's limits are now, for with
    another size all generations that are closed would close anew. None while there is none."""
    own = (t for t in history.generation(0) if method in (None, t.origin.get("method")))
    return next((int(t.origin["size"]) for t in own if "size" in t.origin), None)


def closing(history: History, generation: int, size: int, since: int, method: str | None = None) -> Closing | None:
    """How a generation closes; None while it is open.

    Args:
        size: outcomes that fill it.
        since: the `seq` at which the generation before it closed.
        method: `origin["method"]` of its own trials; None where no other method of the study has generations.
    """
    told = [t for t in _of(history, generation, method) if t.state in EVALUATED]
    if len(told) < size:
        return None
    told = sorted(told, key=lambda t: t.told_seq)[:size]
    seq = told[-1].told_seq
    after = (t for t in history.finished_after(since) if t.told_seq <= seq)
    return Closing(tuple(told), tuple(t for t in after if t.state in EVALUATED and generation_of(t) is None), seq)


def _of(history: History, generation: int, method: str | None) -> list[Observation]:
    return [t for t in history.generation(generation) if method in (None, t.origin.get("method"))]


def ranks(history: History, trials: Sequence[Observation]) -> list[float]:
    """Ranks from 0 for the best, equal ones sharing their average.

    Order: feasible by value; then those that break constraints, by how much in the constraints' own spread; then those that could not
    be evaluated. Pruned ones are held back by `just_behind`.
    """
    return ranked(standings(history, trials))


def ranked(keys: Sequence[Key]) -> list[float]:
    """Ranks of standings from 0 for the least, equal ones sharing their average."""
    ordered = sorted(range(len(keys)), key=lambda i: keys[i])
    found = [0.0] * len(keys)
    start = 0
    while start < len(ordered):
        end = start
        while end + 1 < len(ordered) and keys[ordered[end + 1]] == keys[ordered[start]]:
            end += 1
        for place in ordered[start : end + 1]:
            found[place] = (start + end) / 2
        start = end + 1
    return found


def standings(history: History, trials: Sequence[Observation]) -> list[Key]:
    """What `ranks` sorts trials by."""
    scales = _scales([history.violations(t) for t in trials if t.state is TrialState.COMPLETED])
    keys = [_key(history, trial, scales) for trial in trials]
    pruned = [i for i, trial in enumerate(trials) if trial.state is TrialState.PRUNED and keys[i][0] == 0]
    if pruned:
        full = [key[1] for key, t in zip(keys, trials, strict=True) if t.state is TrialState.COMPLETED and key[0] == 0]
        behind = float(just_behind(np.array(full)))
        for i in pruned:
            keys[i] = 0, max(keys[i][1], behind)
    return keys


def _scales(violations: Sequence[tuple[float, ...]]) -> list[float]:
    return [max((abs(v) for v in column), default=0.0) or 1.0 for column in zip(*violations, strict=True)]


def _key(history: History, trial: Observation, scales: Iterable[float]) -> Key:
    if trial.state is TrialState.INFEASIBLE:
        return 2, 0.0
    objective = history.spec.objectives[0]
    if objective.metric not in trial.metrics:
        return 2, 0.0
    value = trial.metrics[objective.metric]
    value = value if objective.goal == "minimize" else -value
    if trial.state is TrialState.PRUNED:
        return 0, value
    violation = sum(max(0.0, v) / scale for v, scale in zip(history.violations(trial), scales, strict=True))
    return (1, violation) if violation > 0 else (0, value)
