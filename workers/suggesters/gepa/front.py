"""The front over validation examples: whoever is best on some example is kept in play."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Members = NDArray[np.bool_]
Selection = Literal["pareto", "current_best", "epsilon_greedy", "top_k_pareto"]


def best_on(scores: Scores) -> Members:
    """Who has the best score on which example.

    Args:
        scores: (c, v), of candidates on examples, higher is better.

    Returns:
        (c, v) flags; at least one in each column.
    """
    flags: Members = scores == scores.max(axis=0)
    return flags


def survivors(members: Members, means: Scores) -> list[int]:
    """The candidates that are left when the dominated ones are dropped.

    From the lowest mean upwards (the earlier one among equals) a candidate is dropped if every example on which it is best has
    another best candidate that is not dropped yet. Whoever is best on none is dropped too. One pass is enough: a drop never makes
    another candidate droppable that was not.

    Args:
        members: (c, v), see `best_on`.
        means: (c,).
    """
    shared = members.sum(axis=0)
    kept = []
    for candidate in np.argsort(means, kind="stable"):
        own = members[candidate]
        if (shared[own] > 1).all():
            shared = shared - own
        else:
            kept.append(int(candidate))
    return sorted(kept)


def weights(members: Members, means: Scores) -> dict[int, int]:
    """The survivors, each with the number of examples on which it is best."""
    return {c: int(members[c].sum()) for c in survivors(members, means)}


def select(scores: Scores, rule: Selection, rng: np.random.Generator, *, epsilon: float = 0.1, top_k: int = 5) -> int:
    """The index of the candidate that is mutated next.

    `pareto` draws a survivor in proportion to the number of examples on which it is best; `top_k_pareto` knows only the `top_k` by
    mean (where none of them is best on any, it takes the best mean); `current_best` takes the best mean (the earliest among
    equals); `epsilon_greedy` does so with probability 1 − `epsilon`, else it takes any candidate.
    """
    means = scores.mean(axis=1)
    if rule == "current_best":
        return int(np.argmax(means))
    if rule == "epsilon_greedy":
        return int(rng.integers(len(scores))) if rng.random() < epsilon else int(np.argmax(means))
    members = best_on(scores)
    if rule == "top_k_pareto":
        members[np.argsort(-means, kind="stable")[top_k:]] = False
    found = weights(members, means)
    if not found:
        return int(np.argmax(means))
    shares = np.array(list(found.values()), dtype=float)
    return list(found)[rng.choice(len(shares), p=shares / shares.sum())]
