"""ZOPO: climbs a local model of the score in the space of text vectors, and proposes the nearest untried text of a pool.

Hu, Shu, Yu, et al. 2024, "Localized Zeroth-Order Prompt Optimization". A language model is asked for candidates at most, never for a
step: the pool comes from the client, from edits of the starting texts or from exemplars, the vectors from an encoder.
"""

from __future__ import annotations

from pydantic import Field

from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.models.pool_options import PoolOptions, refused
from workers.suggesters.beside import beside, unserved


class ZopoOptions(PoolOptions):
    """What the climb can be told."""

    n_init: int = Field(default=40, ge=2, le=1000, description="Texts tried first; half of a small pool at most.")
    max_steps: int = Field(default=2, ge=1, le=10, description="Steps of one climb, each to the nearest untried text.")
    nearest: int = Field(default=20, ge=2, le=200, description="Evaluated texts that the local model is fitted to.")
    neighbours: int = Field(default=10, ge=1, le=100, description="Texts of one exploration of the surroundings.")
    hot_limit: int = Field(
        default=5, ge=1, description="Unsure climbs in a row after which the surroundings are explored."
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        le=1e3,
        description="Step length in each coordinate; if absent, such that a step is half of the pool's median distance.",
    )
    threshold: float = Field(
        default=0.01, gt=0, description="Unsure above this variance: a share of the prior's, or absolute if `faithful`."
    )
    tolerance: int = Field(
        default=2, ge=0, description="Climbs in a row without success after which it returns to the best."
    )
    faithful: bool = Field(
        default=False,
        description="As published: random texts first, merits not standardised, learning rate 0.01, absolute threshold.",
    )


def _refuse(spec: StudySpec, options: ZopoOptions) -> list[FieldError]:
    problem = Problem(study="", spec=spec, seed=spec.seed or 0)
    return unserved(spec) or refused(problem, options, 2 * options.neighbours)


def _create(problem: Problem, options: ZopoOptions, _: Blob | None) -> Suggester:
    from .search import Zopo

    return Zopo(problem, options)


SPEC = Spec(
    name="zopo",
    summary="Climbs a local model of the score over text vectors: for a pool of hundreds of prompts and dear evaluations.",
    reference="Hu et al. 2024, Localized Zeroth-Order Prompt Optimization",
    honours=Honours(types=EVERY_TYPE, examples=True, llm="optional"),
    options=ZopoOptions,
    exhausts=True,
    create=beside(_create),
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)
