"""Update rules of populations written as text: `0.7*(gb + -x) + 0.6*(randx + -randx)`. Parsed here and never executed as code.

The grammar is that of Chen, Chen, Ma, Guo, Ma, Li, Gong 2024, "SYMBOL: Generating Flexible Black-Box Optimizers through Symbolic
Equation Learning": `+` and `*`, unary `-`, constants from -1 to 1 in steps of 0.1, and six leaves. A rule gives a member's move.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEAVES = ("x", "gb", "gw", "dx", "randx", "pb")
MOST_NODES = 31
DEEPEST = 5
TOKEN = re.compile(r"\s*(?:(\d*\.?\d+)|([a-z]+)|([-+*()]))")


@dataclass(frozen=True)
class Rule:
    """A parsed rule.

    Attributes:
        text: as written.
        tree: ("+", a, b), ("*", a, b), ("-", a), a leaf's name or a constant.
    """

    text: str
    tree: Any

    def __call__(self, leaves: Mapping[str, Array], other: Callable[[], Array]) -> Array:
        """The move.

        Args:
            leaves: arrays of one shape for x (place), gb and gw (best and worst so far), dx (last move), pb (own best).
            other: a fresh random other member, called for each `randx` from left to right.
        """
        return np.asarray(np.broadcast_to(_value(self.tree, leaves, other), leaves["x"].shape))


def parse(text: str) -> Rule:
    """A rule from its text.

    Raises:
        ValueError: what is wrong with it, and where.
    """
    tokens, at = [], 0
    while at < len(text.rstrip()):
        match = TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"a rule cannot hold {text[at:].strip()[:1]!r}")
        tokens.append(match.group().strip())
        at = match.end()
    reader = _Reader(tokens)
    tree = reader.sum()
    if reader.at < len(tokens):
        raise ValueError(f"a rule cannot go on with {tokens[reader.at]!r}")
    nodes, depth = _measure(tree)
    if nodes > MOST_NODES or depth > DEEPEST:
        raise ValueError(f"a rule has at most {MOST_NODES} nodes, {DEEPEST} operations deep, not {nodes} and {depth}")
    return Rule(text, tree)


class _Reader:
    """Sums of products of factors."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens, self.at = tokens, 0

    def sum(self) -> Any:
        tree = self._product()
        while self._took("+"):
            tree = ("+", tree, self._product())
        return tree

    def _product(self) -> Any:
        tree = self._factor()
        while self._took("*"):
            tree = ("*", tree, self._factor())
        return tree

    def _factor(self) -> Any:
        if self._took("-"):
            return ("-", self._factor())
        if self._took("("):
            tree = self.sum()
            if not self._took(")"):
                raise ValueError("a bracket of a rule is not closed")
            return tree
        token = self._tokens[self.at] if self.at < len(self._tokens) else "the end"
        self.at += 1
        if token in LEAVES:
            return token
        if not token[0].isdigit() and token[0] != ".":
            raise ValueError(f"a rule wants a constant or one of {', '.join(LEAVES)}, not {token}")
        value = float(token)
        if value > 1 or abs(value * 10 - round(value * 10)) > 1e-9:
            raise ValueError(f"a constant of a rule is from 0 to 1 in steps of 0.1, not {token}")
        return value

    def _took(self, token: str) -> bool:
        took = self.at < len(self._tokens) and self._tokens[self.at] == token
        self.at += took
        return took


def _measure(tree: Any) -> tuple[int, int]:
    """Nodes, and operations above the deepest leaf."""
    if not isinstance(tree, tuple):
        return 1, 0
    below = [_measure(branch) for branch in tree[1:]]
    return 1 + sum(nodes for nodes, _ in below), 1 + max(depth for _, depth in below)


def _value(tree: Any, leaves: Mapping[str, Array], other: Callable[[], Array]) -> Any:
    if isinstance(tree, float):
        return tree
    if isinstance(tree, str):
        return other() if tree == "randx" else leaves[tree]
    values = [_value(branch, leaves, other) for branch in tree[1:]]
    if tree[0] == "-":
        return -values[0]
    return values[0] + values[1] if tree[0] == "+" else values[0] * values[1]
