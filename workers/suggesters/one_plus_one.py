"""(1+1) evolution strategy with the one-fifth success rule: one point, one step size; few trials in many dimensions.

Rechenberg 1973; Kern et al. 2004 (the rule told after each outcome). What an outcome does stands in `workers.models.success_rule`,
children in `normal_steps`: that of trial k is a pure function of (study seed, k, chain, parent, step size).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from services.domain.codec import Codec
from services.domain.document import Document
from services.domain.history import History
from services.domain.sampling import draw, unused
from services.domain.space import Point, point_key
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester, Suggestion

if TYPE_CHECKING:
    from workers.models.success_rule import Chain

VERSION = 1
TRIES = 64
AGAIN = 0.25


class OnePlusOneOptions(Document):
    """What the (1+1) evolution strategy can be told."""

    sigma0: float = Field(default=0.2, ge=1e-6, le=1, description="First step size, as a share of each range.")
    chains: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Searches side by side, each with its own point; all workers serve one if 1.",
    )


class OnePlusOne:
    """Hands out children of the point at which a chain stands, the chains by turns."""

    def __init__(self, problem: Problem, options: OnePlusOneOptions, blob: Blob | None) -> None:
        from workers.models.normal_steps import NormalSteps
        from workers.models.success_rule import Chains

        self._problem, self._space = problem, problem.space
        self._must_differ = self._space.is_finite and not problem.spec.is_noisy
        self._steps = NormalSteps(problem.space)
        saved = dict(blob.document) if blob is not None and blob.version == VERSION else None
        self._chains = Chains(options.chains, options.sigma0, self._steps.size, saved)

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        self._chains.read(history)
        keys: set[str] = set()
        found: list[Suggestion] = []

        def is_known(key: str) -> bool:
            return key in keys or history.has_point(key)

        for number in range(history.next_number, history.next_number + count):
            suggestion = self._proposed(history, number, is_known, is_first=not found)
            if suggestion is None:
                break
            if self._must_differ:
                keys.add(point_key(suggestion.parameters))
            found.append(suggestion)
        return found

    def _proposed(
        self, history: History, number: int, is_known: Callable[[str], bool], *, is_first: bool
    ) -> Suggestion | None:
        from workers.models.success_rule import METHOD

        place = number % len(self._chains.all)
        chain = self._chains.all[place]
        rng = self._problem.generator(number, f"one-plus-one {place}")
        origin: dict[str, Any] = {"method": METHOD, "chain": place, "round": chain.round, "parent": chain.parent}
        parent = None if chain.parent is None else history.get(chain.parent)
        if parent is None:
            point, reason = self._start(history, chain, rng, is_first=is_first), f"start of chain {place}"
        elif self._problem.spec.is_noisy and rng.random() < AGAIN:
            point, reason = dict(parent.parameters), f"trial {parent.number} once more, for outcomes are noisy"
            origin["again"] = parent.number
        else:
            point, origin["tells"] = self._child(parent.parameters, chain.sigma, rng, is_known)
            reason = f"step of size {chain.sigma:.3g} from trial {parent.number}"
        if point is None or (self._must_differ and is_known(point_key(point))):
            point = unused(self._space, is_known, rng) if self._must_differ else draw(self._space, rng)
            origin["tells"], reason = False, f"from anywhere, for chain {place} found nothing that is allowed and new"
        return None if point is None else Suggestion(parameters=point, reason=reason, origin=origin)

    def _child(
        self, parent: Point, sigma: float, rng: np.random.Generator, is_known: Callable[[str], bool]
    ) -> tuple[Point | None, bool]:
        """A child that is allowed and, where it must be, new; None if none was found."""
        for _ in range(TRIES):
            point, tells = self._steps.child(parent, sigma, rng)
            if not self._space.broken(point) and not (self._must_differ and is_known(point_key(point))):
                return point, tells
        return None, False

    def _start(self, history: History, chain: Chain, rng: np.random.Generator, *, is_first: bool) -> Point | None:
        """The centre at the very first; while nothing could be evaluated, from anywhere and near the declared defaults by turns."""
        from workers.models.success_rule import is_own

        default = self._space.default()
        if chain.round == 0 and default is not None and rng.random() < 0.5:
            point = self._steps.child(default, chain.sigma, rng)[0]
            return None if self._space.broken(point) else point
        if default is None and is_first and not any(is_own(t) for t in history.trials):
            codec = Codec(self._space)
            point = codec.decode(np.full(codec.dimensions, 0.5))
            return None if self._space.broken(point) else point
        return draw(self._space, rng)

    def state(self) -> Blob:
        """Where the chains stand and up to where outcomes have been read."""
        return Blob(version=VERSION, document=self._chains.document())


def _create(problem: Problem, options: OnePlusOneOptions, blob: Blob | None) -> Suggester:
    return OnePlusOne(problem, options, blob)


SPEC = Spec(
    name="one-plus-one",
    summary="(1+1) evolution strategy with the one-fifth success rule: few trials in many dimensions.",
    reference="Rechenberg 1973, Evolutionsstrategie; Kern et al. 2004",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=OnePlusOneOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
)
