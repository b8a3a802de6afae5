"""Early stopping: should a running trial give up, judged by its own reports and those of its peers.

Each rule asks its `Peers` at most one question, which a store answers from an index, so that a report costs the same
in a study of a hundred trials and of a hundred thousand. A report after which a rule is not due (warm-up, interval,
between two rungs) asks nothing. Rules are stateless: the same reports and the same peers give the same verdict.

- median, percentile: the trial's best report so far is worse than that percentile of what completed trials reported at
  the same step (Golovin et al. 2017, "Google Vizier", 3.2.2; the percentile as in Optuna's `PercentilePruner`).
- asha: at the first report at or after a rung's step, the trial is not among the best 1/eta of all that reported
  at the same step (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2,
  without pausing).
- hyperband: asha in brackets that start at later and later rungs; a trial's number decides its bracket
  (Li et al. 2018).
- wilcoxon: a signed-rank test says that the trial is worse than the best one on the steps both reported (one step per
  example or fold, in any order).
- threshold: the latest report lies outside the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np

from .study import EarlyStopping

Goal = Literal["minimize", "maximize"]
Reports: TypeAlias = Sequence[tuple[int, float]]
"""(step, value) of one trial, ascending steps, each step once."""

LATEST = 1000
"""Median and percentile look at so many of the latest completed trials; that fixes it within two points."""
EXACT_UP_TO = 50
"""Pairs up to which the signed-rank distribution is enumerated; above, the normal approximation."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule decides.

    Attributes:
        stop: give up.
        reason: for people; empty when the trial goes on.
    """

    stop: bool
    reason: str = ""


GO_ON = Verdict(False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Trial numbers of one hyperband bracket: those with `low <= (number * stride) % cycle < high`."""

    cycle: int
    stride: int
    low: int
    high: int

    def has(self, number: int) -> bool:
        """Whether a trial belongs to the bracket."""
        return self.low <= (number * self.stride) % self.cycle < self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a value stands among others.

    Attributes:
        count: other trials that reported at the step.
        better: those of them whose value is strictly better.
    """

    count: int
    better: int


class Peers(Protocol):
    """The other trials of a study, as seen from one trial. Values are of the judged metric, as reported."""

    @property
    def number(self) -> int:
        """Of the trial that is judged; never among the others."""
        ...

    def completed_at(self, step: int, limit: int) -> Sequence[float]:
        """Values reported at exactly `step` by the `limit` latest (highest number) completed other trials."""
        ...

    def standing(self, step: int, value: float, slots: Slots | None) -> Standing:
        """How `value` stands among what other trials of any state reported at exactly `step`.

        Args:
            slots: only trials whose number belongs there; None for all.
        """
        ...

    def best_reports(self) -> Reports:
        """All reports of the study's best completed feasible other trial; empty if there is none."""
        ...


def should_stop(rule: EarlyStopping, goal: Goal, own: Reports, peers: Peers) -> Verdict:
    """Judge a trial after its latest report.

    Args:
        rule: of the study.
        goal: of the judged metric.
        own: the trial's reports, ascending steps; the last one is judged.
        peers: answers about other trials, asked only when the rule is due.

    Returns:
        whether to stop, and why.
    """
    if not own or rule.rule == "none":
        return GO_ON
    return _RULES[rule.rule](rule, goal, own, peers)


def _median(rule: EarlyStopping, goal: Goal, own: Reports, peers: Peers) -> Verdict:
    return _judge_percentile(rule, goal, own, peers, 50.0)


def _percentile(rule: EarlyStopping, goal: Goal, own: Reports, peers: Peers) -> Verdict:
    return _judge_percentile(rule, goal, own, peers, rule.percentile)


def _judge_percentile(rule: EarlyStopping, goal: Goal, own: Reports, peers: Peers, keep: float) -> Verdict:
    if not _is_due(rule, own):
        return GO_ON
    step = own[-1][0]
    others = [_loss(value, goal) for value in peers.completed_at(step, LATEST)]
    if len(others) < rule.min_trials:
        return GO_ON
    best = min(_loss(value, goal) for _, value in own)
    bar = percentile(others, keep)
    if best <= bar:
        return GO_ON
    place = "median" if keep == 50 else f"best {keep:g} %"
    found, wanted = _loss(best, goal), _loss(bar, goal)
    return Verdict(
        True,
        f"best report so far {found:.6g} is worse than {wanted:.6g}, "
        f"the {place} of {len(others)} trials at step {step}",
    )


def _asha(rule: EarlyStopping, goal: Goal, own: Reports, peers: Peers) -> Verdict:
    return _judge_rung(rule, own, goal, peers, rule.min_resource, None)


def _hyperband(rule: EarlyStopping, goal: Goal, own: Reports, peers: Peers) -> Verdict:
    bracket, slots = bracket_of(rule, peers.number)
    return _judge_rung(
        rule,
        own,
        goal,
        peers,
        rule.min_resource * rule.reduction_factor**bracket,
        slots,
    )


def _judge_rung(
    rule: EarlyStopping,
    own: Reports,
    goal: Goal,
    peers: Peers,
    first: int,
    slots: Slots | None,
) -> Verdict:
    step, value = own[-1]
    reached = _highest_rung(step, first, rule.reduction_factor)
    before = _highest_rung(own[-2][0], first, rule.reduction_factor) if len(own) > 1 else None
    if reached is None or reached == before or step < rule.warmup_steps:
        return GO_ON
    # A trial that reaches its full resource is finished, not in a race for more.
    if rule.rule == "hyperband" and rule.max_resource is not None and step >= rule.max_resource:
        return GO_ON
    standing = peers.standing(step, value, slots)
    places = max((standing.count + 1) // rule.reduction_factor, 1)
    if standing.better < places:
        return GO_ON
    return Verdict(
        True,
        f"place {standing.better + 1} of {standing.count + 1} at step {step}, {places} go on",
    )


def _wilcoxon(rule: EarlyStopping, goal: Goal, own: Reports, peers: Peers) -> Verdict:
    # Steps are names of examples here: warm-up and interval count the reports.
    if len(own) < max(2, rule.warmup_steps) or (len(own) - rule.warmup_steps) % rule.interval_steps:
        return GO_ON
    best = dict(peers.best_reports())
    differences = [_loss(value, goal) - _loss(best[step], goal) for step, value in own if step in best]
    if len(differences) < max(2, rule.warmup_steps):
        return GO_ON
    p = signed_rank_p(differences)
    # A trial whose mean so far is no worse than the best one's whole mean goes on, whatever the common steps say.
    if p >= rule.p_threshold or _mean_loss(own, goal) <= _mean_loss(list(best.items()), goal):
        return GO_ON
    return Verdict(
        True,
        f"worse than the best trial on {len(differences)} common steps, p = {p:.3g}",
    )


def _threshold(rule: EarlyStopping, goal: Goal, own: Reports, peers: Peers) -> Verdict:
    if not _is_due(rule, own):
        return GO_ON
    step, value = own[-1]
    if rule.min is not None and value < rule.min:
        return Verdict(True, f"{value:.6g} at step {step} is below {rule.min:.6g}")
    if rule.max is not None and value > rule.max:
        return Verdict(True, f"{value:.6g} at step {step} is above {rule.max:.6g}")
    return GO_ON


_RULES: Mapping[str, Callable[[EarlyStopping, Goal, Reports, Peers], Verdict]] = {
    "median": _median,
    "percentile": _percentile,
    "asha": _asha,
    "hyperband": _hyperband,
    "wilcoxon": _wilcoxon,
    "threshold": _threshold,
}


def _is_due(rule: EarlyStopping, own: Reports) -> bool:
    """Past the warm-up, and the first report since the interval's latest mark."""
    step = own[-1][0]
    if step < rule.warmup_steps:
        return False
    mark = (step - rule.warmup_steps) // rule.interval_steps * rule.interval_steps + rule.warmup_steps
    return len(own) == 1 or own[-2][0] < mark


def _loss(value: float, goal: Goal) -> float:
    """Lower is better; its own inverse."""
    return value if goal == "minimize" else -value


def _mean_loss(reports: Reports, goal: Goal) -> float:
    # Divided first: the sum of huge values may overflow.
    return math.fsum(_loss(value, goal) / len(reports) for _, value in reports)


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile between order statistics, linearly interpolated (as numpy's default does).

    Args:
        values: (n,) n >= 1.
        percent: 0 to 100.
    """
    ordered = sorted(values)
    place = percent / 100 * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    share, gap = place - low, ordered[high] - ordered[low]
    if math.isinf(gap):
        return ordered[low] * (1 - share) + ordered[high] * share
    # From the nearer end, so that equal neighbours give exactly their value.
    return ordered[low] + gap * share if share < 0.5 else ordered[high] - gap * (1 - share)


def _highest_rung(step: int, first: int, eta: int) -> int | None:
    """The highest k with `first * eta**k <= step`; None below the first rung."""
    if step < first:
        return None
    rung, bar = 0, first
    while bar * eta <= step:
        rung, bar = rung + 1, bar * eta
    return rung


def bracket_of(rule: EarlyStopping, number: int) -> tuple[int, Slots]:
    """The hyperband bracket of a trial, and which trials share it.

    Bracket s starts at rung s; shares follow the budgets of Li et al. 2018, algorithm 1: with S brackets, of each
    cycle ceil(S / (S - s) * eta^(S - 1 - s)) trials. Numbers are spread over the cycle by a stride coprime to it, near
    the golden ratio, so that neighbours in time (one generation, one batch) fall into different brackets.
    """
    largest = rule.max_resource or rule.min_resource
    brackets = (_highest_rung(largest, rule.min_resource, rule.reduction_factor) or 0) + 1
    shares = [-(-brackets * rule.reduction_factor ** (brackets - 1 - s) // (brackets - s)) for s in range(brackets)]
    cycle = sum(shares)
    stride = max(1, round(cycle * 0.6180339887498949))
    while math.gcd(stride, cycle) != 1:
        stride += 1
    low = 0
    for bracket, share in enumerate(shares):
        slots = Slots(cycle=cycle, stride=stride, low=low, high=low + share)
        if slots.has(number):
            return bracket, slots
        low += share
    raise AssertionError("the shares fill the cycle")


def signed_rank_p(differences: Sequence[float]) -> float:
    """One-sided p of Wilcoxon's signed-rank test that the differences lie above zero.

    Zeros give half their rank to each side; ties share their mean rank. Exact up to 50 pairs (ties included), above
    that the normal approximation with tie correction.

    Args:
        differences: (n,) n >= 1, finite.

    Source: Wilcoxon 1945; Pratt 1959 for zeros and ties.
    """
    n = len(differences)
    ranks = _mean_ranks([abs(d) for d in differences])
    # In quarters of a rank everything is whole: mean ranks have halves, zeros give halves of halves.
    quarters = [round(4 * rank) for rank in ranks]
    plus = sum(q for q, d in zip(quarters, differences, strict=True) if d > 0)
    plus += sum(q // 2 for q, d in zip(quarters, differences, strict=True) if d == 0)
    if n <= EXACT_UP_TO:
        return _exact_tail(quarters, differences, plus)
    ties: dict[float, int] = {}
    for rank in ranks:
        ties[rank] = ties.get(rank, 0) + 1
    spread = n * (n + 1) * (2 * n + 1) - sum(t**3 - t for t in ties.values()) / 2
    deviation = math.sqrt(spread / 24)
    z = (plus / 4 - n * (n + 1) / 4) / deviation if deviation > 0 else 0.0
    return 0.5 * math.erfc(z / math.sqrt(2))


def _exact_tail(quarters: Sequence[int], differences: Sequence[float], plus: int) -> float:
    """P(statistic >= plus) over all signs: count the sums of subsets of the ranks."""
    moving = [q for q, d in zip(quarters, differences, strict=True) if d != 0]
    fixed = sum(q // 2 for q, d in zip(quarters, differences, strict=True) if d == 0)
    # ways[s] = subsets with sum s, at most 2^50: whole in a float.
    ways = np.zeros(sum(moving) + 1)
    ways[0] = 1.0
    for q in moving:
        ways[q:] += ways[: len(ways) - q].copy()
    return float(ways[max(plus - fixed, 0) :].sum() / 2.0 ** len(moving))


def _mean_ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in range(start, end + 1):
            ranks[order[place]] = (start + end) / 2 + 1
        start = end + 1
    return ranks
