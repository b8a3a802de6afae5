"""The forest, read from the trials, and where it is grown next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from services.domain.history import History, Observation
from workers.models.merit import Scored, scored, span
from workers.models.texts import components

METHOD = "sfs"


@dataclass
class Node:
    """A trial's text in its tree.

    Attributes:
        value: 0 to 1, higher is better; None while it is pending.
        depth: 0 for a root.
        is_open: it can have children: it was evaluated, whatever came of it.
        directions: that its children were made from; None before the first one.
        snapshot: of the call that named them.
        children: by direction.
        edits: children without a direction.
    """

    trial: Observation
    texts: dict[str, str]
    parent: Node | None
    value: float | None
    depth: int
    is_open: bool
    directions: tuple[str, ...] | None = None
    snapshot: int | None = None
    children: dict[int, Node] = field(default_factory=dict)
    edits: list[Node] = field(default_factory=list)

    @property
    def number(self) -> int:
        """Of its trial."""
        return self.trial.number

    @property
    def below(self) -> list[Node]:
        """All its children."""
        return [*self.children.values(), *self.edits]


Place = tuple[int, int]
"""A node's number and one of its directions."""
Tally = tuple[int, float, float]


class Forest:
    """The trees of a study.

    Attributes:
        nodes: by trial number.
        roots: seeds, starting texts and users' own texts.
        found: the outcomes of use, in the order in which they came.
        seeds: the written roots that were handed out, by their numbers among the seeds.
    """

    def __init__(self, history: History, declared: tuple[float, float] | None) -> None:
        """
        Args:
            declared: lowest and highest value of the metric, in the client's own direction.
        """
        self.history = history
        self.found = scored(history)
        self._merits = {s.trial.number: s for s in self.found}
        self._span = span(self.found, history.spec, declared)
        self._told: dict[int, list[Scored]] = {}
        self.nodes: dict[int, Node] = {}
        self.roots: list[Node] = []
        self.seeds: set[int] = set()
        for trial in history.trials:
            self._plant(trial)

    def _plant(self, trial: Observation) -> None:
        origin: Mapping[str, Any] = trial.origin if trial.origin.get("method") == METHOD else {}
        parent = self.nodes.get(origin["parent"]) if "parent" in origin else None
        texts = components(self.history.spec.space, trial.parameters)
        node = Node(
            trial,
            texts,
            parent,
            self._value(trial),
            0 if parent is None else parent.depth + 1,
            trial.number in self._merits,
        )
        self.nodes[trial.number] = node
        if "seed" in origin:
            self.seeds.add(origin["seed"])
        if parent is None:
            self.roots.append(node)
        elif "direction" in origin:
            parent.directions = tuple(origin["directions"])
            parent.snapshot = origin["snapshot"]
            parent.children.setdefault(origin["direction"], node)
        else:
            parent.edits.append(node)

    def _value(self, trial: Observation) -> float | None:
        """A trial's merit on the scale; 0 for one that failed."""
        if trial.is_pending:
            return None
        entry, (low, high) = self._merits.get(trial.number), self._span
        if entry is None:
            return 0.0
        width = high / 2 - low / 2
        return 0.5 if width <= 0 else min(1.0, max(0.0, (entry.merit / 2 - low / 2) / width))

    @property
    def best(self) -> Node | None:
        """The best node that was evaluated, the earliest among equals."""
        top = max(self.found, key=lambda s: (s.merit, s.is_valid, -s.trial.told_seq), default=None)
        return None if top is None else self.nodes[top.trial.number]

    def told(self, until: int) -> list[Scored]:
        """The outcomes told up to a `seq`."""
        if until not in self._told:
            self._told[until] = scored(self.history, until)
        return self._told[until]


@dataclass
class Choice:
    """Chooses where to grow, by upper confidence bounds over trees and then over directions (UCT).

    Attributes:
        spent: directions that nothing came of: visited once, with score 0.
        taken: directions that are being worked on: visited once, and nothing gained yet.
        limits: how many directions a node has, where that is known.
    """

    forest: Forest
    exploration: float
    backup: Literal["mean", "max"]
    usual: int
    spent: set[Place] = field(default_factory=set)
    taken: set[Place] = field(default_factory=set)
    limits: dict[int, int] = field(default_factory=dict)

    def place(self) -> Place | None:
        """The next direction to follow; None while every text that could be grown waits for its outcome."""
        tallies = self._tallies()
        total = sum(tallies[root.number][0] for root in self.forest.roots)
        stack = self._ranked(self.forest.roots, total, tallies)
        while stack:
            node = stack.pop()
            if not node.is_open:
                continue
            direction = next(self.free(node), None)
            if direction is not None:
                return node.number, direction
            stack += self._ranked(node.below, tallies[node.number][0], tallies)
        return None

    def free(self, node: Node) -> Iterator[int]:
        """A node's directions that nobody followed."""
        known = node.directions
        count = self.limits.get(node.number, self.usual) if known is None else len(known)
        for direction in range(count):
            place = (node.number, direction)
            if direction not in node.children and place not in self.spent and place not in self.taken:
                yield direction

    def _ranked(self, nodes: list[Node], visits: int, tallies: Mapping[int, Tally]) -> list[Node]:
        """Some nodes, the one to visit first at the end."""

        def bound(node: Node) -> float:
            own, total, top = tallies[node.number]
            gain = total / own if self.backup == "mean" else top
            return gain + self.exploration * math.sqrt(math.log(max(visits, 1)) / own)

        return sorted(nodes, key=lambda node: (bound(node), -node.number))

    def _tallies(self) -> dict[int, Tally]:
        """Every tree's visits, the sum of their scores and the best one; a pending visit has gained nothing yet."""
        lost = Counter(number for number, _ in self.spent | self.taken)
        found: dict[int, Tally] = {}
        for node in reversed(self.forest.nodes.values()):  # a child's number is above its parent's
            own = node.value or 0.0
            below = [found[child.number] for child in node.below]
            visits = 1 + lost[node.number] + sum(b[0] for b in below)
            found[node.number] = visits, own + sum(b[1] for b in below), max([own, *(b[2] for b in below)])
        return found
