"""INSTINCT: a small network predicts the score from the text's vector, and the text with the highest upper bound is tried next.

Lin, Wu, Dai, et al. 2024, "Use Your INSTINCT: INSTruction optimization for LLMs usIng Neural bandits Coupled with Transformers". The
authors' arms are soft prompts that an open model turns into texts; here they are the texts of a pool, with an encoder's vectors.
"""

from __future__ import annotations

from pydantic import Field

from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.models.pool_options import PoolOptions, refused
from workers.suggesters.beside import beside, unserved

FEWEST_MEMBERS = 20


class InstinctOptions(PoolOptions):
    """What the bandit can be told."""

    n_init: int = Field(default=40, ge=2, le=1000, description="Texts tried first; half of a small pool at most.")
    ridge: float = Field(default=0.1, gt=0, le=1e3, description="λ: of the bound, and of the weight decay (λ / n).")
    exploration: float = Field(default=1.0, ge=0, le=1e3, description="ν: 0 takes the highest prediction.")
    domain: int = Field(
        default=1000, ge=1, le=5000, description="Untried members, drawn at random, that a pick is made from."
    )
    width: int = Field(default=100, ge=4, le=512, description="Units of the network.")
    iterations: int = Field(default=1000, ge=10, le=5000, description="Steps of Adam after each outcome.")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="Of Adam.")
    faithful: bool = Field(
        default=False,
        description="As published: all weights from N(0, 1), merits as told, the bound from own picks alone, random texts first.",
    )


def _refuse(spec: StudySpec, options: InstinctOptions) -> list[FieldError]:
    problem = Problem(study="", spec=spec, seed=spec.seed or 0)
    return unserved(spec) or refused(problem, options, FEWEST_MEMBERS)


def _create(problem: Problem, options: InstinctOptions, _: Blob | None) -> Suggester:
    from .bandit import Instinct

    return Instinct(problem, options, FEWEST_MEMBERS)


SPEC = Spec(
    name="instinct",
    summary="A neural bandit over a pool of prompts: a small network predicts scores, the highest upper bound is tried next.",
    reference="Lin et al. 2024, Use Your INSTINCT: INSTruction optimization for LLMs usIng Neural bandits Coupled with Transformers",
    honours=Honours(types=EVERY_TYPE, examples=True, llm="optional"),
    options=InstinctOptions,
    exhausts=True,
    create=beside(_create),
    resources=Resources(timeout_seconds=120.0),
    refuse=_refuse,
)
