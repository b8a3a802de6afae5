"""What limits a study's progress: plain rules over its trials, each with the numbers behind it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from .beliefs import number_in
from .domain.calibration import Calibration
from .domain.codec import to_unit
from .domain.study import StudySpec
from .domain.trial import TrialState
from .lifecycle import NOTHING_MORE
from .store.finished import FinishedTrial
from .store.records import Progress, TrialRecord

Found = tuple[str, str, dict[str, Any]]

FEW = 8
MOST_RECENT = 20
AT_BOUND = 0.01
NEGLIGIBLE = math.log(1e-6)
BEST_SHARE = 0.1
LONG = 10.0
NEARLY = 0.9
STEADY = 5


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules look at.

    Attributes:
        finished: the latest finished trials, by number; running: those under way.
    """

    spec: StudySpec
    progress: Progress
    finished: list[FinishedTrial]
    running: list[TrialRecord]
    calibration: tuple[Calibration, ...]
    now: datetime

    @property
    def completed(self) -> list[FinishedTrial]:
        """Trials with all their values."""
        return [t for t in self.finished if t.state is TrialState.COMPLETED]

    @property
    def values(self) -> list[float]:
        """The first objective of the completed trials that may be best, to be minimised."""
        return [t.value for t in self.finished if t.value is not None]


def limitations(facts: Facts) -> list[Found]:
    """(kind, message, evidence) of everything that holds the study up; `none` if nothing is seen."""
    found = [one for rule in RULES for one in rule(facts)]
    return found or [("none", "nothing is seen that limits progress", {})]


def _nothing_told(facts: Facts) -> Iterator[Found]:
    if not facts.finished:
        yield "nothing_told", "no trial has an outcome yet", {"open": facts.progress.open}


def _infeasible(facts: Facts) -> Iterator[Found]:
    suspected = facts.progress.infeasible_suspected
    if suspected is not None:
        yield (
            "infeasible_suspected",
            "the models say that no point keeps the constraints",
            {"trial": suspected["trial"]},
        )
    elif facts.completed and facts.spec.constraints and not any(t.feasible for t in facts.completed):
        yield (
            "nothing_feasible",
            f"none of {len(facts.completed)} completed trials keeps the constraints",
            {"completed": len(facts.completed)},
        )


def _broken(facts: Facts) -> Iterator[Found]:
    total = len(facts.finished)
    for state, message in (
        (TrialState.FAILED, "of the trials fail: they cost time and teach nothing"),
        (TrialState.INFEASIBLE, "of the trials cannot be evaluated: a parameter constraint may say where"),
    ):
        count = sum(t.state is state for t in facts.finished)
        if total >= FEW and count > 0.3 * total:
            yield f"mostly_{state.value}", f"{100 * count // total} % {message}", {"count": count, "finished": total}


def _flat(facts: Facts) -> Iterator[Found]:
    values = facts.values
    if len(values) >= FEW and len(set(values)) == 1:
        yield "all_equal", f"all {len(values)} values are equal: nothing tells points apart", {"value": values[0]}


def _at_bound(facts: Facts) -> Iterator[Found]:
    """The best tenth presses against one end of a parameter."""
    ranked = sorted((t for t in facts.finished if t.value is not None), key=lambda t: t.value or 0.0)
    best = ranked[: max(3, int(BEST_SHARE * len(ranked)))]
    if len(ranked) < 2 * FEW or ranked[0].value == ranked[-1].value:
        return
    for parameter in facts.spec.parameters:
        if parameter.type not in ("float", "int") or parameter.min == parameter.max:
            continue
        units = [
            float(to_unit(parameter, t.parameters[parameter.name])) for t in best if parameter.name in t.parameters
        ]
        width = max(AT_BOUND, 0.5 / (parameter.size or math.inf))
        for end, near in (("min", [u <= width for u in units]), ("max", [u >= 1 - width for u in units])):
            if len(near) >= 3 and sum(near) >= 0.8 * len(near):
                yield (
                    "at_bound",
                    f"the best points lie at the {end} of {parameter.name!r}: widening it may help",
                    {
                        "parameter": parameter.name,
                        "end": end,
                        "bound": getattr(parameter, end),
                        "share": sum(near) / len(near),
                    },
                )


def _noise(facts: Facts) -> Iterator[Found]:
    """The learned noise hides what was gained lately."""
    objective = facts.spec.objectives[0]
    noise = next((n for t in reversed(facts.finished) if (n := _noise_of(t, objective.metric)) is not None), None)
    values = np.array(facts.values)
    if noise is None or len(values) < 2 * FEW:
        return
    running = np.minimum.accumulate(values)
    gained = float(running[-min(len(values), MOST_RECENT)] - running[-1])
    spread = float(values.std())
    if noise > max(gained, 0.05 * spread):
        yield (
            "noise",
            f"noise of about {noise:.3g} is larger than the latest gains: repeat points, or tell `std`",
            {"noise_std": noise, "recent_gain": gained},
        )


def _noise_of(trial: FinishedTrial, metric: str) -> float | None:
    """The noise that the model learned, or the standard error that was told."""
    found = number_in(trial.receipt or {}, "model", "noise_std", metric)
    return found if found is not None else (trial.std or {}).get(metric)


def _converged(facts: Facts) -> Iterator[Found]:
    recent = [t.receipt or {} for t in facts.finished[-STEADY:]]
    promises = [number_in(r, "log_acquisition") for r in recent if r.get("acquisition") == "improvement"]
    known = [promise for promise in promises if promise is not None]
    if len(known) == STEADY and max(known) < NEGLIGIBLE:
        yield (
            "converged",
            "the model expects next to no further improvement: the best may be found, or the model may be wrong",
            {"log_acquisition": known[-1]},
        )


def _used_up(facts: Facts) -> Iterator[Found]:
    limits, progress = facts.spec.limits, facts.progress
    if limits.max_trials is not None and progress.trials >= NEARLY * limits.max_trials:
        yield "budget", f"{progress.trials} of {limits.max_trials} trials are made", {"max_trials": limits.max_trials}
    if limits.max_cost is not None and progress.cost >= NEARLY * limits.max_cost:
        yield "budget", f"{progress.cost:g} of a cost of {limits.max_cost:g} is spent", {"max_cost": limits.max_cost}
    most = limits.max_example_evaluations
    if most is not None and progress.example_evaluations >= NEARLY * most:
        message = f"{progress.example_evaluations} of {most} example evaluations are used"
        yield "budget", message, {"max_example_evaluations": most}
    yield from _language_model_spent(facts)
    size = facts.spec.space.size
    if progress.exhausted or (size is not None and not facts.spec.is_noisy and progress.trials >= NEARLY * size):
        message = "nearly every point of the space is tried" if size else NOTHING_MORE
        yield "space_exhausted", message, {"points": size}


def _language_model_spent(facts: Facts) -> Iterator[Found]:
    choice, usage = facts.spec.llm, facts.progress.llm_usage
    if choice is None or usage is None:
        return
    for name, most, spent in (
        ("max_calls", choice.max_calls, usage.calls),
        ("max_total_tokens", choice.max_total_tokens, usage.tokens),
        ("max_cost", choice.max_cost, usage.cost),
    ):
        if most is not None and spent >= NEARLY * most:
            yield "budget", f"{spent:.10g} of llm.{name}, {most:.10g}, are spent", {f"llm.{name}": most}


def _overdue(facts: Facts) -> Iterator[Found]:
    """Trials that run far longer than others took."""
    took = [(t.finished_at - t.started_at).total_seconds() for t in facts.finished if t.finished_at and t.started_at]
    if len(took) < FEW:
        return
    usual = float(np.median(took))
    late = [
        t.number
        for t in facts.running
        if t.started_at and (facts.now - t.started_at).total_seconds() > LONG * usual + 60
    ]
    if late:
        yield (
            "overdue",
            f"{len(late)} running trials take over {LONG:g} times as long as usual",
            {"trials": late[:50], "usual_seconds": usual},
        )


def _repeats(facts: Facts) -> Iterator[Found]:
    if facts.spec.is_noisy:
        return
    most = Counter(t.point_key for t in facts.finished if t.point_key).most_common(1)
    extra = len(facts.finished) - len({t.point_key for t in facts.finished})
    if len(facts.finished) >= FEW and most and extra > 0.2 * len(facts.finished):
        yield "duplicates", f"{extra} trials repeat points of others, and the study is not noisy", {"repeats": extra}


def _uncalibrated(facts: Facts) -> Iterator[Found]:
    for one in facts.calibration:
        if one.verdict in ("overconfident", "underconfident"):
            yield (
                one.verdict,
                f"the model is {one.verdict} about {one.metric!r}: {one.coverage_80:.0%} inside its 80 % intervals",
                {"metric": one.metric, "coverage_80": one.coverage_80, "count": one.count},
            )


RULES: tuple[Callable[[Facts], Iterator[Found]], ...] = (
    _nothing_told, _infeasible, _broken, _flat, _at_bound, _noise, _converged, _used_up, _overdue, _repeats, _uncalibrated,
)  # fmt: skip
