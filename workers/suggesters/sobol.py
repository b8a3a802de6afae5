"""Quasi-random search: a scrambled Sobol sequence, one index a trial. Also the net for asks that would time out."""

from __future__ import annotations

from services.domain.suggester import ENUMERABLE, Blob, Honours, NoOptions, Problem, Spec
from workers.models.sobol_sequence import Sobol


def _create(problem: Problem, _: NoOptions, __: Blob | None) -> Sobol:
    return Sobol(problem)


SPEC = Spec(
    name="sobol",
    summary="A scrambled Sobol sequence: covers the space more evenly than random draws.",
    reference="Sobol 1967; Owen 1998, Scrambling Sobol' and Niederreiter-Xing Points",
    honours=Honours(types=ENUMERABLE | {"vector", "tokens", "permutation"}, max_objectives=20, examples=True),
    inline=True,
    create=_create,
)
