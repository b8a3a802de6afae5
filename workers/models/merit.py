"""What a trial's outcome is worth to methods that only compare: one number, higher is better (card prompt 0.2 and 0.6)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from services.domain.history import History, Observation
from services.domain.study import StudySpec
from services.domain.trial import TrialState


@dataclass(frozen=True, slots=True)
class Scored:
    """A trial with an outcome that selection may use.

    Attributes:
        merit: the first objective, negated where it is to be minimised; for one that is infeasible or breaks a constraint the worst
            merit told so far.
        is_valid: it was evaluated and keeps the constraints.
    """

    trial: Observation
    merit: float
    is_valid: bool


def scored(history: History, until: int | None = None) -> list[Scored]:
    """The trials that have an outcome of use, in the order in which the outcomes came.

    Completed ones, pruned ones with their last report, infeasible ones; failed and cancelled ones say nothing about the point.

    Args:
        until: only outcomes told up to this `seq`.
    """
    told = [t for t in history.finished if until is None or t.told_seq <= until]
    objective = history.spec.objectives[0]
    sign = -1.0 if objective.goal == "minimize" else 1.0
    raw = {t.number: sign * t.metrics[objective.metric] for t in told if objective.metric in t.metrics}
    valid = {t.number for t in told if t.number in raw and _is_valid(t)}
    worst = min((raw[n] for n in valid), default=0.0)
    return [
        Scored(t, raw[t.number] if t.number in valid else worst, t.number in valid)
        for t in told
        if t.number in valid or t.state is TrialState.INFEASIBLE or (t.number in raw and t.feasible is False)
    ]


def _is_valid(trial: Observation) -> bool:
    return trial.state in (TrialState.COMPLETED, TrialState.PRUNED) and trial.feasible is not False


def best(found: Sequence[Scored]) -> Scored | None:
    """The best one, the earliest among equals; None of none."""
    return max(found, key=lambda s: (s.merit, s.is_valid, -s.trial.told_seq), default=None)


def is_full(trial: Observation, spec: StudySpec) -> bool:
    """Whether a trial is scored on all the examples that decide `best`; true where the study declares none."""
    if spec.examples is None or trial.evaluate_on is None:
        return True
    split, ids = spec.examples.full()
    return trial.evaluate_on["split"] == split and len(trial.evaluate_on["ids"]) == len(ids)


def merged(found: Sequence[Scored], key: Callable[[Observation], Hashable], *, shrink: bool = False) -> list[Scored]:
    """One entry for each candidate: told again, its merits count as repeated measurements (card prompt 0.6).

    Args:
        key: equal for trials of the same candidate.
        shrink: towards the mean of all candidates, by n / (n + 1) with n measurements.

    Returns:
        in the order in which the candidates were told first, each with its latest trial and its mean merit; invalid outcomes count
        only where a candidate has no other.
    """
    groups: dict[Hashable, list[Scored]] = {}
    for entry in found:
        groups.setdefault(key(entry.trial), []).append(entry)
    chosen = [[s for s in group if s.is_valid] or group for group in groups.values()]
    means = [sum(s.merit / len(group) for s in group) for group in chosen]
    centre = sum(mean / len(means) for mean in means)
    weights = [len(group) / (len(group) + 1) if shrink else 1.0 for group in chosen]
    return [
        replace(group[-1], merit=centre * (1.0 - weight) + mean * weight)
        for group, mean, weight in zip(chosen, means, weights, strict=True)
    ]


def span(found: Sequence[Scored], spec: StudySpec, declared: tuple[float, float] | None = None) -> tuple[float, float]:
    """The merits that stand for 0 and 100 on the scale that an LLM reads.

    Args:
        declared: lowest and highest value of the metric, in the client's own direction; the running extremes if absent.
    """
    if declared is not None:
        low, high = declared
        return (-high, -low) if spec.objectives[0].goal == "minimize" else (low, high)
    merits = [s.merit for s in found if s.is_valid]
    return min(merits, default=0.0), max(merits, default=0.0)


def display(merit: float, lowest: float, highest: float, buckets: int = 100) -> int:
    """A merit on the scale 0 to `buckets` that an LLM reads; the middle where all are equal."""
    width = highest / 2 - lowest / 2  # halves, for the whole may be more than a float holds
    if width <= 0:
        return round(buckets / 2)
    return round(buckets * min(1.0, max(0.0, (merit / 2 - lowest / 2) / width)))
