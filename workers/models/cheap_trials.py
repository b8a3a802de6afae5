"""Which method numbers get where trials are cheap, that is where hundreds of them are to come; part of the policy of `auto`.

What decided the figures: docs/bbob.md.
"""

from __future__ import annotations

from services.domain.history import History
from services.domain.study import StudySpec

CHEAP_FROM = 50
UNLIMITED_FROM = 30
FEWEST_CHEAP = 100
MODEL_DIMENSIONS = 2
MODEL_FIRST = 20
LINEAR_FIRST = 5
SWEEP_FROM = 100
SWEEP_IN = 300
SWEPT = "swept"


def for_cheap_trials(spec: StudySpec, history: History, d: int, n: int) -> tuple[str, str] | None:
    """The method for numbers where trials are cheap; None where they seem dear."""
    budget = spec.limits.max_trials
    if budget is None and n < max(FEWEST_CHEAP, UNLIMITED_FROM * d):
        return None
    if budget is not None and budget < max(FEWEST_CHEAP, CHEAP_FROM * d):
        return None
    if d <= MODEL_DIMENSIONS and n < MODEL_FIRST * d:
        return "gp", "in two dimensions a model of everything is the best start"
    if d > MODEL_DIMENSIONS and n < LINEAR_FIRST * d:
        return "cobyla", "linear models are the best start"
    has_room = n >= SWEEP_FROM * d and (budget is None or budget >= SWEEP_IN * d)
    if has_room and not spec.space.is_finite and not is_swept(history):
        return "step", "the coordinates may be independent of each other"
    return "cmaes", "the budget is large" if budget is not None else f"{n} trials are told, and no limit is set"


def is_swept(history: History) -> bool:
    """Whether `step` had its turn: its end is marked on every trial from there on, so that the newest one tells."""
    for number in range(history.next_number - 1, 0, -1):
        trial = history.get(number)
        if trial is not None and trial.suggester != "user":
            return bool(trial.origin.get(SWEPT))
    return False
