"""Zeroth-order descent: an estimator turns told values into a gradient, an update rule turns the gradient into a step.

Spall 1992 (SPSA); Nesterov, Spokoiny 2017 (Gaussian smoothing); Duchi et al. 2015 (two points). Estimators and rules combine freely.
"""

from __future__ import annotations

from services.domain.suggester import NUMERIC, SEED, Blob, Honours, Problem, Resources, Spec, Suggester

from .needs import lacks
from .options import ZoOptions
from .refusals import refuse


def _create(problem: Problem, options: ZoOptions, blob: Blob | None) -> Suggester:
    if problem.spec.seed_vector is not None:
        from workers.models.seed_search import SeedSearch

        from .seeds import plan

        return SeedSearch(problem, plan(problem.spec, options), blob)
    from .descent import Descent

    return Descent(problem, options, blob)


SPEC = Spec(
    name="zo",
    summary="Zeroth-order gradient descent: SPSA and its kin with any update rule, for many dimensions and cheap trials.",
    reference="Spall 1992; Nesterov, Spokoiny 2017, Random Gradient-Free Minimization of Convex Functions",
    honours=Honours(types=NUMERIC | {"vector", SEED}, max_objectives=20, examples=True),
    options=ZoOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=refuse,
    lacks=lacks,
)
