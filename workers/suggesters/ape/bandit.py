"""Upper confidence bounds over candidates (Auer, Cesa-Bianchi, Fischer 2002, as APE uses them: examples count as pulls)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.models.merit import Scored


@dataclass(frozen=True)
class Arm:
    """What was told of a candidate.

    Attributes:
        examples: that it was scored on, repeats counted.
        mean: of its merits, each trial weighing as its examples; from 0 for the lowest merit told to 1 for the highest.
    """

    examples: int = 0
    mean: float = 0.0


def arms(found: Sequence[Scored], key: Callable[[Scored], Any]) -> dict[Any, Arm]:
    """The arms by candidate key."""
    if not found:
        return {}
    top = max(abs(s.merit) for s in found) or 1.0
    shares = [s.merit / top for s in found]  # no overflow where merits are huge
    low, high = min(shares), max(shares)
    sums: dict[Any, list[tuple[int, float]]] = {}
    for outcome, share in zip(found, shares, strict=True):
        value = (share - low) / (high - low) if high > low else 0.5
        sums.setdefault(key(outcome), []).append((_examples(outcome), value))
    return {k: _joined(parts) for k, parts in sums.items()}


def _examples(outcome: Scored) -> int:
    on = outcome.trial.evaluate_on
    return 1 if on is None else max(1, len(on["ids"]))


def _joined(parts: Sequence[tuple[int, float]]) -> Arm:
    examples = sum(n for n, _ in parts)
    return Arm(examples, math.fsum(n * value for n, value in parts) / examples)


def by_bound(keys: Sequence[Any], known: Mapping[Any, Arm], c: float, rng: np.random.Generator) -> list[int]:
    """Places of `keys` by mean + c √(ln total / examples), highest first: untried ones before all, ties at random."""
    found = [known.get(key, Arm()) for key in keys]
    total = math.log(max(1, sum(arm.examples for arm in found)))
    bounds = [arm.mean + c * math.sqrt(total / arm.examples) if arm.examples else math.inf for arm in found]
    ties = rng.permutation(len(found))
    return sorted(range(len(found)), key=lambda i: (-bounds[i], ties[i]))


def by_mean(keys: Sequence[Any], known: Mapping[Any, Arm]) -> list[int]:
    """Places of `keys` by mean, the one scored on more examples first among equals; untried ones last."""
    found = [known.get(key, Arm(0, -math.inf)) for key in keys]
    return sorted(range(len(found)), key=lambda i: (-found[i].mean, -found[i].examples, i))
