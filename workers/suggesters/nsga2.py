"""NSGA-II: a population that spreads along the compromises between several objectives, in spaces of any type.

Deb, Pratap, Agarwal, Meyarivan 2002, in the steady state of Durillo, Nebro, Luna, Alba 2009, "On the Effect of the
Steady-State Selection Scheme in Multi-Objective Genetic Algorithms"; from four objectives on with the directions of NSGA-III (Deb,
Jain 2014) for crowding.
"""

from __future__ import annotations

from pydantic import Field

from services.domain.document import Document
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester


class Nsga2Options(Document):
    """What NSGA-II can be told."""

    popsize: int = Field(
        default=100, ge=4, le=1000, description="Members; at most a third of `max_trials` where that is set."
    )
    crossover: float = Field(default=0.9, ge=0, le=1, description="Share of children with two parents.")
    mutation: float | None = Field(
        default=None, gt=0, le=1, description="Chance of each gene to mutate; one over their number if absent."
    )
    eta_crossover: float = Field(default=15.0, ge=0, le=1000, description="Index of SBX; large: near the parents.")
    eta_mutation: float = Field(default=20.0, ge=0, le=1000, description="Index of polynomial mutation.")


def _create(problem: Problem, options: Nsga2Options, blob: Blob | None) -> Suggester:
    from workers.models.breeding import Breeding, population_size
    from workers.models.domination import Compromises
    from workers.models.offspring import Operators

    size = population_size(options.popsize, problem.spec.limits.max_trials)
    operators = Operators(**options.model_dump(exclude={"popsize"}))
    return Breeding("nsga2", problem, size, Compromises(problem.spec, size), operators, blob=blob)


SPEC = Spec(
    name="nsga2",
    summary="NSGA-II: several objectives, thousands of trials, every type of parameter; NSGA-III's niches from four on.",
    reference="Deb, Pratap, Agarwal, Meyarivan 2002; Durillo et al. 2009; Deb, Jain 2014",
    honours=Honours(types=ENUMERABLE | {"vector", "tokens", "permutation"}, max_objectives=10, examples=True),
    options=Nsga2Options,
    create=_create,
    resources=Resources(timeout_seconds=300.0),  # 20 000 outcomes that are read at once, the largest population
)
