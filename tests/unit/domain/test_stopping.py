"""Early-stopping rules, held against Optuna's pruners and against what each rule promises."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from services.domain.stopping import (
    LATEST,
    Goal,
    Reports,
    Slots,
    Standing,
    Verdict,
    bracket_of,
    percentile,
    should_stop,
    signed_rank_p,
)
from services.domain.study import EarlyStopping

GOALS: tuple[Goal, ...] = ("minimize", "maximize")


@dataclass
class Known:
    """Peers over plain dictionaries: what a store answers from its index."""

    goal: Goal
    number: int = 10_000
    completed: dict[int, dict[int, float]] = field(default_factory=dict)
    open: dict[int, dict[int, float]] = field(default_factory=dict)
    best: int | None = None
    questions: int = 0

    def completed_at(self, step: int, limit: int) -> list[float]:
        self.questions += 1
        found = [reports[step] for _, reports in sorted(self.completed.items()) if step in reports]
        return found[-limit:]

    def standing(self, step: int, value: float, slots: Slots | None) -> Standing:
        self.questions += 1
        others = [
            reports[step]
            for number, reports in {**self.completed, **self.open}.items()
            if step in reports and (slots is None or slots.has(number))
        ]
        better = [v < value if self.goal == "minimize" else v > value for v in others]
        return Standing(count=len(others), better=sum(better))

    def best_reports(self) -> Reports:
        self.questions += 1
        return [] if self.best is None else sorted(self.completed[self.best].items())


def run(rule: EarlyStopping, goal: Goal, values: dict[int, float], peers: Known) -> list[Verdict]:
    """The verdicts after each of a trial's reports, in the order of the steps."""
    reports = sorted(values.items())
    return [should_stop(rule, goal, reports[: i + 1], peers) for i in range(len(reports))]


def optuna_verdicts(
    pruner: optuna.pruners.BasePruner, goal: Goal, completed: list[dict[int, float]], values: dict[int, float]
) -> list[bool]:
    """Optuna's verdict after each report of one trial beside completed ones (their last report is their value)."""
    study = optuna.create_study(direction=goal, pruner=pruner)
    for reports in completed:
        value = reports[max(reports)]
        study.add_trial(optuna.trial.create_trial(value=value, intermediate_values=reports))
    trial, verdicts = study.ask(), []
    for step, value in values.items():
        trial.report(value, step)
        verdicts.append(trial.should_prune())
    return verdicts


def curves(rng: np.random.Generator, count: int, steps: int, drop: float = 0.0) -> list[dict[int, float]]:
    """Noisy random walks; each step is left out with probability `drop`."""
    walks = np.round(np.cumsum(rng.normal(0, 1, (count, steps)), axis=1) + rng.normal(0, 3, (count, 1)), 1)
    return [{s: float(walk[s]) for s in range(steps) if rng.random() >= drop or s == 0} for walk in walks]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("seed", range(25))
def test_percentile_agrees_with_optuna(goal: Goal, seed: int) -> None:
    rng = np.random.default_rng(seed)
    completed, (own,) = curves(rng, int(rng.integers(1, 12)), 12, 0.2), curves(rng, 1, 12, 0.2)
    keep, warmup, interval, least = float(rng.uniform(5, 95)), int(rng.integers(0, 5)), int(rng.integers(1, 5)), 3
    rule = EarlyStopping(
        rule="percentile", percentile=keep, warmup_steps=warmup, interval_steps=interval, min_trials=least
    )
    pruner = optuna.pruners.PercentilePruner(keep, 0, warmup, interval, n_min_trials=least)
    peers = Known(goal, completed=dict(enumerate(completed)))
    assert [v.stop for v in run(rule, goal, own, peers)] == optuna_verdicts(pruner, goal, completed, own)


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("seed", range(10))
def test_median_agrees_with_optuna(goal: Goal, seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    completed, (own,) = curves(rng, 7, 10), curves(rng, 1, 10)
    pruner = optuna.pruners.MedianPruner(5, 2, 1)
    peers = Known(goal, completed=dict(enumerate(completed)))
    rule = EarlyStopping(rule="median", warmup_steps=2, min_trials=5)
    assert [v.stop for v in run(rule, goal, own, peers)] == optuna_verdicts(pruner, goal, completed, own)


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("seed", range(10))
def test_threshold_agrees_with_optuna(goal: Goal, seed: int) -> None:
    rng = np.random.default_rng(200 + seed)
    (own,) = curves(rng, 1, 30, 0.3)
    rule = EarlyStopping(rule="threshold", min=-2, max=3, warmup_steps=4, interval_steps=3)
    pruner = optuna.pruners.ThresholdPruner(-2, 3, 4, 3)
    assert [v.stop for v in run(rule, goal, own, Known(goal))] == optuna_verdicts(pruner, goal, [], own)


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("seed", range(10))
def test_asha_agrees_with_optuna_when_trials_follow_it(goal: Goal, seed: int) -> None:
    """Trials run one after another and stop when told; Optuna's verdicts on the same reports are the same."""
    rng = np.random.default_rng(300 + seed)
    study = optuna.create_study(
        direction=goal, pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)
    )
    rule = EarlyStopping(rule="asha", min_resource=2, reduction_factor=3)
    peers, stops = Known(goal), 0
    for number, walk in enumerate(curves(rng, 30, 21)):
        trial, told = study.ask(), dict[int, float]()
        for step, value in walk.items():
            trial.report(value, step)
            told[step] = value
            verdict = should_stop(rule, goal, list(told.items()), peers)
            assert verdict.stop == trial.should_prune()
            if verdict.stop:
                stops += 1
                break
        peers.open[number] = told
        study.tell(trial, None if verdict.stop else value, optuna.trial.TrialState.PRUNED if verdict.stop else None)
    assert 10 < stops < 30


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("seed", range(15))
def test_wilcoxon_agrees_with_optuna(goal: Goal, seed: int) -> None:
    rng = np.random.default_rng(400 + seed)
    sign = 1 if goal == "minimize" else -1
    best = {int(s): float(v) for s, v in enumerate(rng.normal(0, 1, 25))}
    own = {s: v + sign * float(rng.normal(0.6, 1)) for s, v in best.items()}
    rule = EarlyStopping(rule="wilcoxon", p_threshold=0.1, warmup_steps=3)
    study = optuna.create_study(direction=goal, pruner=optuna.pruners.WilcoxonPruner(n_startup_steps=3))
    study.add_trial(optuna.trial.create_trial(value=-sign * 1e9, intermediate_values=best))
    trial, expected = study.ask(), []
    for step, value in own.items():
        trial.report(value, step)
        expected.append(trial.should_prune())
    peers = Known(goal, completed={1: best}, best=1)
    assert [v.stop for v in run(rule, goal, own, peers)] == expected


@pytest.mark.parametrize("seed", range(20))
def test_the_signed_rank_p_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 14)) if seed % 2 else int(rng.integers(60, 200))
    coarse = np.round(rng.normal(0.2, 1, n), 1 if seed % 3 else 6)
    expected = stats.wilcoxon(coarse, alternative="greater", zero_method="zsplit").pvalue
    assert signed_rank_p(list(coarse)) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=30), st.floats(0, 100))
def test_the_percentile_is_numpys(values: list[float], percent: float) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        expected = float(np.percentile(values, percent))
    if np.isfinite(expected):
        assert percentile(values, percent) == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert min(values) <= percentile(values, percent) <= max(values)


@pytest.mark.parametrize("goal", GOALS)
def test_equal_trials_are_never_stopped(goal: Goal) -> None:
    same = dict.fromkeys(range(10), 0.1)
    peers = Known(goal, completed=dict.fromkeys(range(7), same), best=0)
    for name in ("median", "percentile", "asha", "wilcoxon"):
        rule = EarlyStopping(rule=name, percentile=30, min_resource=2, reduction_factor=2)
        assert not any(v.stop for v in run(rule, goal, same, peers))


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", ["median", "percentile", "asha", "wilcoxon", "threshold", "hyperband"])
def test_turning_every_value_around_with_the_goal_changes_nothing(name: Any, goal: Goal) -> None:
    rng = np.random.default_rng(5)
    mirrored: Goal = "maximize" if goal == "minimize" else "minimize"
    completed, owns = curves(rng, 20, 20), curves(rng, 30, 20)
    rule = EarlyStopping(rule=name, min=-4, max=4, min_resource=2, max_resource=18, reduction_factor=3)
    best = min(range(20), key=lambda n: sum(completed[n].values()) * (1 if goal == "minimize" else -1))
    there = Known(goal, completed=dict(enumerate(completed)), best=best)
    turned = {n: {s: -v for s, v in c.items()} for n, c in there.completed.items()}
    back = Known(mirrored, completed=turned, best=best)
    stops = 0
    for own in owns:
        first = [v.stop for v in run(rule, goal, own, there)]
        assert first == [v.stop for v in run(rule, mirrored, {s: -v for s, v in own.items()}, back)]
        stops += sum(first)
    assert stops > 0


def test_a_clearly_bad_trial_is_stopped_with_a_reason() -> None:
    peers = Known("maximize", completed={n: {1: 0.5, 2: 0.8} for n in range(5)})
    verdict = should_stop(EarlyStopping(rule="median"), "maximize", [(1, 0.1), (2, 0.2)], peers)
    assert verdict.stop
    assert verdict.reason == "best report so far 0.2 is worse than 0.8, the median of 5 trials at step 2"


def test_warm_up_and_interval_ask_the_store_nothing() -> None:
    peers = Known("minimize", completed={n: dict.fromkeys(range(30), 0.0) for n in range(5)})
    rule = EarlyStopping(rule="median", warmup_steps=10, interval_steps=10)
    stops = [v.stop for v in run(rule, "minimize", dict.fromkeys(range(30), 1.0), peers)]
    assert [step for step, stop in enumerate(stops) if stop] == [10, 20]
    assert peers.questions == 2


def test_too_few_finished_trials_stop_nobody() -> None:
    peers = Known("minimize", completed={n: {1: 0.0} for n in range(4)})
    assert not should_stop(EarlyStopping(rule="median", min_trials=5), "minimize", [(1, 9.0)], peers).stop


def test_only_the_latest_trials_are_fetched() -> None:
    peers = Known("minimize", completed={n: {1: float(n)} for n in range(LATEST + 50)})
    rule = EarlyStopping(rule="median")
    assert not should_stop(rule, "minimize", [(1, 49 + LATEST / 2)], peers).stop
    assert should_stop(rule, "minimize", [(1, 51 + LATEST / 2)], peers).stop


def test_asha_asks_once_a_rung_and_lets_the_leader_go_on() -> None:
    peers = Known("minimize", open={n: {s: float(n) for s in (3, 12, 48)} for n in range(1, 9)})
    rule = EarlyStopping(rule="asha", min_resource=3, reduction_factor=4)
    verdicts = run(rule, "minimize", dict.fromkeys(range(50), 0.5), peers)
    assert not any(v.stop for v in verdicts)
    assert peers.questions == 3


def test_the_first_trial_of_a_rung_goes_on() -> None:
    assert not should_stop(EarlyStopping(rule="asha"), "minimize", [(1, 5.0)], Known("minimize")).stop


def test_hyperband_brackets_share_the_trials_as_the_paper_does() -> None:
    rule = EarlyStopping(rule="hyperband", min_resource=1, max_resource=81, reduction_factor=3)
    _, slots = bracket_of(rule, 1)
    counts = np.bincount([bracket_of(rule, number)[0] for number in range(slots.cycle)])
    assert list(counts) == [81, 34, 15, 8, 5]  # Li et al. 2018, table 1
    for number in range(500):
        bracket, slots = bracket_of(rule, number)
        assert slots.has(number)
        assert 0 <= bracket <= 4


def test_hyperband_judges_late_brackets_late_and_only_among_their_own() -> None:
    rule = EarlyStopping(rule="hyperband", min_resource=1, max_resource=16, reduction_factor=4)
    reports = dict.fromkeys(range(1, 17), 1.0)
    for number in range(1, 40):
        bracket, slots = bracket_of(rule, number)
        better = {n: dict.fromkeys(range(1, 17), 0.0) for n in range(100, 300)}
        peers = Known("minimize", number=number, open=better)
        stops = [step for step, v in zip(reports, run(rule, "minimize", reports, peers), strict=True) if v.stop]
        assert stops == [step for step in (1, 4) if step >= 4**bracket]
        outside = {n: r for n, r in better.items() if not slots.has(n)}
        alone = Known("minimize", number=number, open=outside)
        assert not any(v.stop for v in run(rule, "minimize", reports, alone))


def test_wilcoxon_spares_a_trial_whose_mean_is_better() -> None:
    best = dict.fromkeys(range(10), 0.0) | {10: 100.0}
    peers = Known("minimize", completed={1: best}, best=1)
    rule = EarlyStopping(rule="wilcoxon")
    assert signed_rank_p([1.0] * 10) < rule.p_threshold
    assert not should_stop(rule, "minimize", [(s, 1.0) for s in range(10)], peers).stop


def test_no_rule_and_no_report_never_stop() -> None:
    peers = Known("minimize", completed={n: {1: 0.0} for n in range(9)})
    assert not should_stop(EarlyStopping(), "minimize", [(1, 9.0)], peers).stop
    assert not should_stop(EarlyStopping(rule="median"), "minimize", [], peers).stop
    assert peers.questions == 0


@pytest.mark.parametrize("name", ["median", "asha", "hyperband", "wilcoxon", "threshold"])
def test_huge_values_are_judged_without_overflow(name: Any) -> None:
    huge = {n: dict.fromkeys(range(1, 20), (-1) ** n * 1.7e308) for n in range(8)}
    peers = Known("minimize", completed=huge, best=1)
    rule = EarlyStopping(rule=name, max=1e308, max_resource=16)
    for verdict in run(rule, "minimize", dict.fromkeys(range(1, 20), 1.7e308), peers):
        assert isinstance(verdict.stop, bool)
