"""The bandit: train, predict, add what is unsure, take the highest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History
from services.domain.suggester import Blob, Problem, Suggestion
from workers.models.bandit_network import Confidence, Network
from workers.models.pool_making import PoolMaker, Prepared
from workers.models.text_pool import Evaluations, standardised

from . import InstinctOptions

Array = NDArray[np.float64]
MOST_INPUTS = 256
PICK = "pick"


@dataclass(frozen=True)
class Trained:
    """A network that was fitted, in units of its own: merit = centre + scale · value.

    Attributes:
        begun: the network before; its values are subtracted, so that nothing known means 0 (None: as published, they are not).
    """

    network: Network
    begun: Network | None
    centre: float
    scale: float

    def values(self, x: Array) -> Array:
        """(n,) predictions at (n, d) places."""
        found = self.network.values(x)
        return found if self.begun is None else found - self.begun.values(x)


class Instinct:
    """Proposes members of the pool. All it knows is on the trials and in the ledger."""

    def __init__(self, problem: Problem, options: InstinctOptions, least: int) -> None:
        self._problem, self._options = problem, options
        self._maker = PoolMaker(problem, options, least)
        self._latest: tuple[str, Trained] | None = None

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` members; fewer when the pool is used up.

        Raises:
            NeedsReplies: calls for candidates or vectors.
        """
        prepared = self._maker.prepared(history, count)
        known, bandit = prepared.known, None
        found: list[Suggestion] = []
        while len(found) < count and len(known.free):
            rng = self._problem.generator(0, "instinct start")
            start = known.start(self._options.n_init, rng, starts_first=not self._options.faithful)
            if start is not None:
                member, why = start
                receipt: Mapping[str, Any] = {"step": "start"}
            else:
                if bandit is None:
                    bandit = Bandit(self._problem, self._options, known, self._trained(known), self._chosen(history))
                member, why, receipt = bandit.pick(history.next_number + len(found))
            found.append(self._suggestion(member, why, receipt, prepared))
            known.take(member)
        return found

    def state(self) -> Blob | None:
        """None: the network is trained anew after each outcome."""
        return None

    def _suggestion(self, member: int, why: str, receipt: Mapping[str, Any], prepared: Prepared) -> Suggestion:
        return Suggestion(
            parameters=self._problem.space.sorted(prepared.known.pool.members[member]),
            reason=prepared.reason(why),
            origin={"step": receipt["step"], "pool": prepared.mark},
            receipt=dict(receipt) | {"pool": prepared.receipt},
        )

    def _chosen(self, history: History) -> set[int] | None:
        """The trials whose places make the bound tighter; None for all of them."""
        if not self._options.faithful:
            return None
        return {t.number for t in history.trials if t.origin.get("step") == PICK}

    def _trained(self, known: Evaluations) -> Trained:
        """The network fitted from its first weights to all that is told; kept until something else is."""
        x = projected(known.vectors, self._problem)
        data = hashlib.sha256(x.tobytes() + known.merits.tobytes()).hexdigest()
        if self._latest is None or self._latest[0] != data:
            self._latest = data, self._fitted(x, known.merits)
        return self._latest[1]

    def _fitted(self, x: Array, merits: Array) -> Trained:
        options, is_faithful = self._options, self._options.faithful
        rng = self._problem.generator(0, "instinct network")
        begun = Network.draw(x.shape[1], options.width, rng, is_scaled=not is_faithful)
        y, centre, scale = (merits, 0.0, 1.0) if is_faithful else standardised(merits)
        network = begun.trained(
            x, y if is_faithful else y + begun.values(x),
            iterations=options.iterations, rate=options.learning_rate, decay=options.ridge / len(x),
        )  # fmt: skip
        return Trained(network, None if is_faithful else begun, centre, scale)


class Bandit:
    """The picks of one suggestion: each one counts as chosen for the next.

    Args:
        chosen: trials whose places make the bound tighter; None for all that are told or pending.
    """

    def __init__(
        self, problem: Problem, options: InstinctOptions, known: Evaluations, trained: Trained, chosen: set[int] | None
    ) -> None:
        self._problem, self._options, self._known, self._trained = problem, options, known, trained
        self._confidence = Confidence(trained.network, options.ridge, options.exploration)
        places = [v for number, v in known.places.items() if chosen is None or number in chosen]
        if places:
            self._confidence.add(projected(np.array(places), problem))

    def pick(self, number: int) -> tuple[int, str, Mapping[str, Any]]:
        """The untried member with the highest bound, words for it and its receipt, for the trial of this number."""
        free, most = self._known.free, self._options.domain
        if len(free) > most:
            rng = self._problem.generator(number, "instinct domain")
            free = np.sort(rng.choice(free, most, replace=False))
        x = projected(self._known.pool.vectors[free], self._problem)
        values, sigma = self._trained.values(x), self._confidence.sigma(x)
        top = int(np.argmax(values + sigma))
        self._confidence.add(x[top : top + 1])
        centre, scale = self._trained.centre, self._trained.scale
        receipt = {
            "step": PICK, "mean": float(centre + scale * values[top]), "sigma": float(scale * sigma[top]), "of": len(free),
        }  # fmt: skip
        return int(free[top]), f"the highest upper bound of {len(free)} texts", receipt


def projected(vectors: Array, problem: Problem) -> Array:
    """(n, d) vectors, long ones by a random projection to 256 dimensions: training time grows with each dimension."""
    d = vectors.shape[1]
    if d <= MOST_INPUTS:
        return vectors
    directions = problem.generator(d, "instinct projection").standard_normal((d, MOST_INPUTS))
    return np.asarray(vectors @ directions / np.sqrt(MOST_INPUTS))
