"""What the trials say: the candidates with the phrases that may be added to them again, and what they are worth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from services.domain.history import History, Observation
from services.domain.study import StudySpec
from workers.models.merit import Scored, scored, span
from workers.models.texts import candidate_key, components

from . import PlumOptions

Texts = dict[str, str]
Key = tuple[tuple[str, str], ...]
Rank = tuple[bool, float]
METHOD = "plum"
MOST_DELETED = 50
UNKNOWN: Rank = (False, -math.inf)
FULL_SCALE = 0.0, 100.0


@dataclass(frozen=True)
class Member:
    """A candidate.

    Attributes:
        number: of its trial; 0 for a starting text without one.
        texts: by component.
        deleted: phrases that it or those it comes from lost, by component: what the edit `add` may insert.
    """

    number: int
    texts: Texts
    deleted: Mapping[str, tuple[str, ...]]

    @cached_property
    def key(self) -> Key:
        """Equal for equal candidates."""
        return candidate_key(self.texts)


def members(history: History) -> dict[int, Member]:
    """Every trial's candidate; the deleted phrases follow from those of its parents and its own edits."""
    found: dict[int, Member] = {}
    for trial in history.trials:
        texts = components(history.spec.space, trial.parameters)
        found[trial.number] = Member(trial.number, texts, _deleted(trial, found))
    return found


def _deleted(trial: Observation, before: Mapping[int, Member]) -> dict[str, tuple[str, ...]]:
    origin = trial.origin
    if origin.get("method") != METHOD:
        return {}
    found = inherited(before[number] for number in origin["parents"] if number in before)
    component = origin["component"]
    phrases = dict.fromkeys((*found.get(component, ()), *origin["deleted"]))
    for phrase in origin["added"]:
        phrases.pop(phrase, None)
    return found | {component: tuple(phrases)[-MOST_DELETED:]}


def inherited(parents: Iterable[Member]) -> dict[str, tuple[str, ...]]:
    """The deleted phrases of several candidates, each once."""
    found: dict[str, tuple[str, ...]] = {}
    for parent in parents:
        for component, phrases in parent.deleted.items():
            found[component] = tuple(dict.fromkeys((*found.get(component, ()), *phrases)))
    return found


class Worth:
    """The number that the search raises.

    It is the merit; with `label_entropy_weight` the score on 0 to 100 plus the weighted entropy of the outputs' frequencies, which
    keeps a search from texts that bring one answer to everything (Prasad et al. 2023).
    """

    def __init__(self, spec: StudySpec, options: PlumOptions) -> None:
        self._weight = options.label_entropy_weight
        self._range = None if options.score_range is None else span((), spec, options.score_range)
        self.scale = FULL_SCALE if self._weight > 0 else self._range
        """What stands for 0 and 100; None for the extremes so far."""

    def of(self, entry: Scored) -> float:
        """Of one outcome."""
        if self._weight == 0 or self._range is None:
            return entry.merit
        outputs = [str(row["output"]) for row in entry.trial.examples or () if row.get("output") is not None]
        return on_scale(entry.merit, *self._range) + self._weight * entropy(outputs)


def on_scale(value: float, lowest: float, highest: float) -> float:
    """A value on the scale from 0 to 100, not cut at its ends; 0 where that is a point."""
    width = highest / 2 - lowest / 2  # halves, for the whole may be more than a float holds
    return 100.0 * ((value / 2 - lowest / 2) / width) if width > 0 else 0.0


def entropy(labels: Sequence[str]) -> float:
    """Of the frequencies of labels, in nats; 0 of none."""
    shares = [count / len(labels) for count in Counter(labels).values()]
    return -sum(share * math.log(share) for share in shares)


class Scores:
    """What the candidates are worth by the outcomes taken in so far; several outcomes of one count with their mean.

    Args:
        told: outcomes in the order in which they came.
    """

    def __init__(self, history: History, worth: Worth) -> None:
        self._members = members(history)
        self._waiting = [(s, worth.of(s)) for s in reversed(scored(history))]
        self._scale = worth.scale
        self._told: dict[Key, tuple[Member, list[float], bool]] = {}
        self.leader: Member | None = None
        """The best of all told."""
        self._extremes: tuple[float, float] | None = None

    def take(self, until: int) -> list[Member]:
        """Take in the outcomes up to a `seq`; their candidates, in the order in which they came."""
        fresh: dict[Key, Member] = {}
        before = len(self._told)
        while self._waiting and self._waiting[-1][0].trial.told_seq <= until:
            entry, value = self._waiting.pop()
            member = self._members[entry.trial.number]
            known, values, is_valid = self._told.get(member.key, (member, [], False))
            if entry.is_valid:
                values.append(value)
            self._told[member.key] = (known, values, is_valid or entry.is_valid)
            fresh[member.key] = known
        # Only a candidate told again can have fallen behind; else the new ones alone are looked at, not all of them each time.
        if len(self._told) - before < len(fresh):
            self.leader = self._extremes = None
            self._look(self.told)
        else:
            self._look(list(fresh.values()))
        return list(fresh.values())

    def _look(self, at: Sequence[Member]) -> None:
        """Who leads and what the extremes are, these taken in."""
        self.leader = self.best([*filter(None, [self.leader]), *at])
        worths = [value for is_valid, value in map(self.rank, at) if is_valid] + list(self._extremes or ())
        self._extremes = (min(worths), max(worths)) if worths else None

    def member(self, texts: Texts) -> Member:
        """The candidate of a starting text, as told or yet to be."""
        key = candidate_key(texts)
        found = next((m for m in self._members.values() if m.key == key), None)
        return found or Member(0, texts, {})

    def rank(self, member: Member) -> Rank:
        """Higher is better: valid before invalid, invalid before unknown."""
        _, values, is_valid = self._told.get(member.key, (member, [], None))
        if is_valid is None:
            return UNKNOWN
        return (True, sum(v / len(values) for v in values)) if is_valid else (False, 0.0)

    def best(self, among: Iterable[Member]) -> Member | None:
        """The best of some, the earliest among equals; None of none."""
        return max(among, key=lambda m: (self.rank(m), -m.number), default=None)

    def top(self, among: Iterable[Member], count: int) -> tuple[Member, ...]:
        """The best distinct ones."""
        distinct = {m.key: m for m in among}.values()
        return tuple(sorted(distinct, key=lambda m: (self.rank(m), -m.number), reverse=True)[:count])

    @property
    def told(self) -> list[Member]:
        """Every candidate with an outcome, in the order in which they were told."""
        return [member for member, _, _ in self._told.values()]

    def difference(self, member: Member, other: Member) -> float:
        """By how much a valid candidate is better than another on the scale from 0 to 100."""
        (_, one), (is_valid, two) = self.rank(member), self.rank(other)
        if not is_valid:
            return math.inf
        lowest, highest = self._scale or self._extremes or (0.0, 0.0)
        return on_scale(one, lowest, highest) - on_scale(two, lowest, highest)


@dataclass(frozen=True)
class Step:
    """One step of the search: an iteration, or half of one in `ga_c`.

    Attributes:
        index: from 0.
        snapshot: what it may know: outcomes told up to this `seq`.
        trials: its own.
    """

    index: int
    snapshot: int
    trials: tuple[Observation, ...] = ()

    @property
    def slots(self) -> set[int]:
        """Those that are taken."""
        return {t.origin["slot"] for t in self.trials}

    @property
    def ended(self) -> int:
        """Trials that are over, in whatever way."""
        return sum(not t.is_pending for t in self.trials)

    @property
    def name(self) -> str:
        """In the ledger of calls."""
        return step_name(self.index)


def step_name(index: int) -> str:
    """Of a step, in the ledger of calls."""
    return f"{METHOD}-{index}"


def steps(history: History) -> list[Step]:
    """The steps that have trials, in order."""
    found: dict[int, list[Observation]] = {}
    for trial in history.trials:
        if trial.origin.get("method") == METHOD:
            found.setdefault(trial.origin["step"], []).append(trial)
    return [Step(i, min(t.origin["snapshot"] for t in found[i]), tuple(found[i])) for i in sorted(found)]


def opened(history: History, index: int) -> Step:
    """A step without trials: it knows what is known now, or what its first recorded call knew."""
    recorded = history.replies.snapshot(step_name(index))
    return Step(index, history.seq if recorded is None else recorded)


def origin(step: Step, slot: int, **fields: Any) -> dict[str, Any]:
    """As written on a trial of a step."""
    return {"method": METHOD, "step": step.index, "slot": slot, "snapshot": step.snapshot, **fields}
