"""Genetic algorithm: a population that recombines and mutates points in their own types; orders, token sequences and subsets too.

Steady state after Whitley 1989, "The GENITOR Algorithm and Selection Pressure"; constraints by the feasibility rules of Deb 2000, "An
Efficient Constraint Handling Method for Genetic Algorithms". Operators stand in `workers.models.crossover` and `moves`.
"""

from __future__ import annotations

from pydantic import Field

from services.domain.document import Document
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester


class GaOptions(Document):
    """What the genetic algorithm can be told."""

    popsize: int = Field(
        default=40, ge=4, le=2000, description="Members; at most a third of `max_trials` where that is set."
    )
    crossover: float = Field(default=0.9, ge=0, le=1, description="Share of children with two parents.")
    mutation: float | None = Field(
        default=None, gt=0, le=1, description="Chance of each gene to mutate; one over their number if absent."
    )
    eta_crossover: float = Field(default=15.0, ge=0, le=1000, description="Index of SBX; large: near the parents.")
    eta_mutation: float = Field(default=20.0, ge=0, le=1000, description="Index of polynomial mutation.")


def _create(problem: Problem, options: GaOptions, blob: Blob | None) -> Suggester:
    from workers.models.breeding import Breeding, population_size
    from workers.models.offspring import Operators
    from workers.models.scores import ByValue

    size = population_size(options.popsize, problem.spec.limits.max_trials)
    operators = Operators(**options.model_dump(exclude={"popsize"}))
    return Breeding("ga", problem, size, ByValue(problem.spec, size), operators, blob=blob)


SPEC = Spec(
    name="ga",
    summary="A genetic algorithm with operators for every type: orders, token sequences, subsets, choices and numbers.",
    reference="Deb, Agrawal 1995; Whitley 1989; Davis 1985; Deb 2000",
    honours=Honours(types=ENUMERABLE | {"vector", "tokens", "permutation"}, examples=True),
    options=GaOptions,
    create=_create,
    resources=Resources(timeout_seconds=300.0),  # 20 000 outcomes that are read at once, the largest population
)
