"""What can be done now, in order: full evaluations that are due, children whose parents are known, then new iterations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from services.domain.history import History, Observation
from services.domain.suggester import Problem
from workers.models.example_results import room
from workers.models.merit import display, is_full
from workers.models.texts import candidate_key, text_parameters

from . import GepaOptions
from .batches import Batches
from .course import METHOD, Iteration
from .front import best_on, select, survivors
from .known import Known, Memo
from .merge import FEWEST_EXAMPLES, Triple, mergers
from .pool import Candidate, Key, Texts, matrix, shares
from .reflection import Reflection, Shown
from .tasks import Child, Task, Trial

LINE = 20
MOST_SKIPPED = 1000
MOST_OVERTAKING = 3


@dataclass(frozen=True)
class _Parent:
    """Whom an iteration starts from; without a number while no candidate is scored in full."""

    number: int | None
    texts: Texts
    changed: str = ""
    start: int | None = None
    is_ahead: bool = False

    @property
    def key(self) -> Key:
        return candidate_key(self.texts)


class Plan:
    """The tasks of one ask.

    Attributes:
        keys: of the candidates of all trials.

    Example evaluations are set aside for all that an open iteration may still need, a full evaluation of its child included: a
    probe that could not be followed by one would buy nothing. Where the limits are tight, few iterations are open at one time: those
    that start from the same candidates cost as much as iterations in a row, and do not build on each other.
    """

    def __init__(
        self,
        problem: Problem,
        options: GepaOptions,
        history: History,
        batches: Batches,
        starts: Sequence[Texts],
        memo: Memo,
    ) -> None:
        self._problem = problem
        self._options = options
        self._history = history
        self._batches = batches
        self._closed = memo.closed
        self._starts = starts
        self._parameters = {p.name: p for p in text_parameters(problem.space)}
        self._known = Known(problem, options, history, memo)
        self._full = len(self._known.pool.ids)
        self._room = room(history)
        self._index = max(self._known.ledger, default=-1) + 1
        self._uses = [self._known.parent_key(i) for i in self._known.ledger.values() if "merged" not in i.origin]
        self._open = 0
        self._merged = [i.origin for i in self._known.ledger.values() if "merged" in i.origin]
        self._merged_after = {origin["after"] for origin in self._merged}
        self.keys = self._known.keys()
        self._stream = self._tasks()

    def tasks(self, count: int) -> list[Task]:
        """The next ones, up to `count`; fewer when nothing more can be done now."""
        found = list(islice(self._stream, count))
        while len(found) < count and (task := self._opened()) is not None:
            found.append(task)
        return found

    def came_to_nothing(self) -> None:
        """Note that a child that was handed out was not written: another iteration may take its place."""
        self._open -= 1

    def _tasks(self) -> Iterator[Task]:
        for texts in self._starts:
            if candidate_key(texts) not in self.keys and self._takes(self._full):
                self._known.results.expect(candidate_key(texts), self._known.pool.split, self._known.pool.ids)
                yield Trial(texts, "a starting text, scored in full", {"start": True})
        for iteration in self._known.ledger.values():
            task = None if iteration.index in self._closed else self._next(iteration)
            if task is not None:
                yield task

    def _takes(self, cost: int) -> bool:
        """Set example evaluations aside if there are enough."""
        if cost > self._room:
            return False
        self._room -= cost
        return True

    # -- iterations that are open

    def _next(self, iteration: Iteration) -> Task | None:
        """What an iteration needs next, None if nothing or not yet."""
        if not iteration.wants_full:
            if not iteration.trials["full"].is_pending:
                self._closed.add(iteration.index)
            return None
        probe = iteration.probe
        if probe is None:
            return self._after_parent(iteration)
        if probe.is_pending:
            self._open += self._holds(probe)
            self._takes(self._full)
            return None
        verdict = self._known.verdict(iteration)
        if verdict is None or verdict.sums is None or not verdict.accepted or is_full(probe, self._history.spec):
            self._closed.add(iteration.index)
            return None
        if not self._takes(self._full):
            return None
        before, after = verdict.sums
        return Trial(
            self._known.texts(probe), f"iteration {iteration.index}: full, the child beat its parent on the minibatch",
            {**probe.origin, "role": "full", "probe": probe.number},
            {"split": self._known.pool.split, "ids": list(self._known.pool.ids)},
            {"iteration": iteration.index, "before": before, "after": after},
        )  # fmt: skip

    def _after_parent(self, iteration: Iteration) -> Task | None:
        trial, origin = iteration.trials["parent"], iteration.origin
        ids, until = origin["minibatch"], trial.told_seq
        cost = len(ids) + self._full
        if trial.is_pending:
            self._open += self._holds(trial)
            self._takes(cost)
            return None
        key = self._known.key(trial)
        if self._known.results.missing(key, self._known.split, ids, until) or self._known.skips(key, ids, until):
            return None
        if not self._takes(cost):
            return None
        self._open += 1
        return self._child(iteration.index, self._known.texts(trial), origin, until, {}, trial.feedback)

    # -- new iterations

    def _opened(self) -> Task | None:
        """The first task of the next iteration; None if it has to wait for a running trial or does not fit any more."""
        merger = self._merger()
        if merger is not None:
            return merger
        if self._open + 1 > self._width():
            return None
        perfect = waiting = 0
        epoch = min(self._batches.per_epoch, MOST_SKIPPED)
        while perfect < epoch + 1 and waiting < epoch:
            index, self._index = self._index, self._index + 1
            snapshot = self._snapshot(index)
            pool = self._known.pool.at(snapshot)
            parent, ids = self._parent(pool, index, snapshot), self._batches.of(index)
            missing = self._known.results.missing(parent.key, self._known.split, ids, snapshot)
            if (
                missing
                and not parent.is_ahead
                and self._known.results.is_pending(parent.key, self._known.split, missing)
            ):
                waiting += 1
                continue
            if not missing and perfect < epoch and self._known.skips(parent.key, ids, snapshot):
                perfect += 1
                continue
            if not self._takes(len(missing) + len(ids) + self._full):
                return None
            origin = self._origin(index, parent, ids, snapshot) | ({"solved": True} if perfect == epoch else {})
            self._uses.append(parent.key)
            self._open += 1
            receipt = {"iteration": index, "pool": len(pool), "front": shares(pool)}
            if not missing:
                return self._child(index, parent.texts, origin, snapshot, receipt, None)
            self._known.results.expect(parent.key, self._known.split, missing)
            return Trial(
                parent.texts, f"iteration {index}: probe parent on {len(missing)} examples",
                {**origin, "role": "parent"}, {"split": self._known.split, "ids": missing}, receipt,
            )  # fmt: skip
        return None

    def _snapshot(self, index: int) -> int:
        recorded = self._history.replies.snapshot(f"{METHOD}-{index}")
        return self._history.seq if recorded is None else recorded

    def _width(self) -> float:
        """How many iterations may be undecided at one time: as many as leave room for `LINE` accepted ones, each built on the last."""
        if self._options.open_iterations is not None:
            return self._options.open_iterations
        most = self._history.spec.limits.max_trials
        trials = math.inf if most is None else (most - len(self._history)) / len(("parent", "child", "full"))
        return max(1.0, min(trials, self._room / (2 * self._batches.size + self._full)) / LINE)

    def _holds(self, probe: Observation) -> bool:
        """Whether a running probe counts as undecided; not when so many outcomes overtook it that its worker may be gone."""
        later = sum(not t.is_pending and t.told_seq > probe.told_seq for t in self._history.trials)
        return later < MOST_OVERTAKING

    def _parent(self, pool: Sequence[Candidate], index: int, snapshot: int) -> _Parent:
        parent = self._selected(pool, index)
        for child in self._known.accepted_since(parent.key, snapshot):
            parent = _Parent(child.number, self._known.texts(child), child.origin["component"], is_ahead=True)
        return parent

    def _selected(self, pool: Sequence[Candidate], index: int) -> _Parent:
        if not pool:
            start = index % len(self._starts)
            return _Parent(None, self._starts[start], start=start)
        options = self._options
        rng = self._problem.generator(index, "gepa parent")
        chosen = pool[
            select(matrix(pool), options.selection, rng, epsilon=options.epsilon, top_k=options.top_k)
        ]  # fmt: skip
        return _Parent(chosen.number, chosen.texts, chosen.changed)

    def _origin(self, index: int, parent: _Parent, ids: Sequence[str], snapshot: int) -> dict[str, Any]:
        names = list(self._parameters)
        first = names.index(parent.changed) + 1 if parent.changed in names else 0
        component = names[(first + self._uses.count(parent.key)) % len(names)]
        return {
            "method": METHOD, "iteration": index, "parent": parent.number, "component": component,
            "snapshot": snapshot, "minibatch": list(ids),
        } | ({} if parent.start is None else {"of_start": parent.start})  # fmt: skip

    def _child(
        self, index: int, texts: Texts, origin: Mapping[str, Any], until: int, receipt: Mapping[str, Any],
        feedback: str | None,
    ) -> Child:  # fmt: skip
        ids, component, key = origin["minibatch"], origin["component"], candidate_key(texts)
        scores = [self._known.results.score(key, self._known.split, i, until) or 0.0 for i in ids]
        low, high = self._known.scale(scores)
        rows = [self._known.results.row(key, self._known.split, i, until) or {} for i in ids]
        examples = [Shown(row, display(s, low, high)) for row, s in zip(rows, scores, strict=True)]
        others = {name: text for name, text in texts.items() if name != component}
        reflection = Reflection(
            self._parameters[component], texts[component], others, examples, feedback, origin["snapshot"]
        )
        kept = {k: v for k, v in origin.items() if k != "role"}
        return Child(index, texts, component, reflection, self._known.split, kept, receipt or {"iteration": index})

    # -- mergers

    def _merger(self) -> Trial | None:
        """A merger, if one is due: after each child that joined the pool, as long as there are any."""
        options, pool = self._options, self._known.pool.at(self._history.seq)
        if not options.merge or len(self._merged) >= options.max_merges or self._full < FEWEST_EXAMPLES:
            return None
        latest = pool[-1] if pool else None
        if latest is None or not latest.changed or latest.number in self._merged_after:
            return None
        self._merged_after.add(latest.number)
        scores = matrix(pool)
        among = survivors(best_on(scores), scores.mean(axis=1))
        rng = self._problem.generator(self._index, "gepa merge")
        found = mergers(pool, among, [tuple(origin["merged"]) for origin in self._merged])
        for place in rng.permutation(len(found)):
            merger = found[place]
            texts = merger.texts(rng)
            if candidate_key(texts) in self.keys:
                continue
            ids = merger.examples(self._known.pool.ids, options.merge_examples, rng)
            if not self._takes(len(ids) + self._full):
                return None
            return self._merge_trial(merger.triple, texts, ids, latest.number)
        return None

    def _merge_trial(self, triple: Triple, texts: Texts, ids: list[str], after: int) -> Trial:
        index, self._index = self._index, self._index + 1
        first, second, ancestor = triple
        origin = {
            "method": METHOD, "iteration": index, "role": "merge", "merged": list(triple), "after": after,
            "snapshot": self._history.seq, "minibatch": ids,
        }  # fmt: skip
        reason = f"iteration {index}: merge of trials {first} and {second}, which both grew from trial {ancestor}"
        return Trial(texts, reason, origin, {"split": self._known.pool.split, "ids": ids}, {"iteration": index})
