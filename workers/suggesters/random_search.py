"""Random search: uniform in each parameter's own scale. The baseline that every method has to beat.

Bergstra, Bengio 2012, "Random Search for Hyper-Parameter Optimization".
"""

from __future__ import annotations

from services.domain.history import History
from services.domain.sampling import draw, unused
from services.domain.space import Point, point_key
from services.domain.suggester import EVERY_TYPE, Blob, Honours, NoOptions, Problem, Spec, Suggestion


class RandomSearch:
    """Draws each trial's point from a generator of its own; nothing is remembered."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        given: set[str] = set()
        found = []
        for number in range(history.next_number, history.next_number + count):
            point = self._draw(history, number, given)
            if point is None:
                break
            given.add(point_key(point))
            found.append(Suggestion(parameters=point, reason="uniform draw"))
        return found

    def _draw(self, history: History, number: int, given: set[str]) -> Point | None:
        space = self._problem.space
        rng = self._problem.generator(number, "random")
        if not space.is_finite or self._problem.spec.is_noisy:
            return draw(space, rng)
        return unused(space, lambda key: key in given or history.has_point(key), rng)

    def state(self) -> Blob | None:
        """None: there is nothing to save."""
        return None


def _create(problem: Problem, _: NoOptions, __: Blob | None) -> RandomSearch:
    return RandomSearch(problem)


SPEC = Spec(
    name="random",
    summary="Uniform draws in each parameter's own scale; texts are drawn from the initial ones.",
    reference="Bergstra, Bengio 2012, Random Search for Hyper-Parameter Optimization",
    honours=Honours(types=EVERY_TYPE, max_objectives=20, examples=True),
    inline=True,
    create=_create,
)
