"""Black-box tuning: vectors block by block, one CMA-ES each, then COBYLA; for soft prompts that live in the client's model.

Sun, Shao, Qian, Huang, Qiu 2022, "Black-Box Tuning for Language-Model-as-a-Service"; Sun, He, Qian, Zhou, Huang, Qiu 2022, "BBTv2";
Sun, Han, Chen, Zhu, Gong 2023, "BBT-RGB". A block is a `vector` parameter: what a random matrix of the client's turns into the prompt
of one layer.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.parameters import VectorParameter
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.suggesters.beside import beside, unserved

OWN = frozenset({"vector"})
DEFAULT_BUDGET = 8000
MOST_LENGTH = {"full": 2000, "diagonal": 100_000}


class BbtOptions(Document):
    """What black-box tuning can be told. Steps are in the vectors' own units."""

    popsize: int = Field(default=20, ge=4, le=10_000, description="Trials a generation; a generation varies one block.")
    sigma: float = Field(default=1.0, gt=0, le=1e6, description="First step size of the first block.")
    sigma_schedule: Literal["constant", "first", "linear", "exponential"] = Field(
        default="constant",
        description="Steps of the blocks: sigma; sigma_rest after the first (BBT-RGB); in a line, or with exp(-l / 5), to sigma_rest.",
    )
    sigma_rest: float = Field(default=0.2, gt=0, le=1e6, description="For the schedules other than `constant`.")
    covariance: Literal["full", "diagonal"] = Field(
        default="full", description="What a block's CMA-ES learns; diagonal for blocks of many thousand numbers."
    )
    budget: int | None = Field(
        default=None,
        ge=1,
        description="Trials of CMA-ES before COBYLA starts; what the study's max_trials leave, else 8000. Counts with `refine` only.",
    )
    refine: int = Field(
        default=0, ge=0, le=10**7, description="Trials of COBYLA, shared by the blocks; 0 for CMA-ES throughout."
    )
    radius: float = Field(
        default=1.0, gt=0, le=100, description="COBYLA's first radius, in first step sizes of the block."
    )
    remeasure: bool = Field(default=False, description="Evaluate the best of all blocks together once more each round.")
    dev: str | None = Field(
        default=None,
        max_length=200,
        description="A second told metric (BBT-RGB): a block's best is replaced only by a trial that tells a better one of this too.",
    )
    dev_goal: Literal["minimize", "maximize"] = Field(default="maximize", description="What is better in `dev`.")

    def step_size(self, block: int, blocks: int) -> float:
        """The first step size of a block."""
        if self.sigma_schedule == "first":
            return self.sigma if block == 0 else self.sigma_rest
        if self.sigma_schedule == "linear":
            return self.sigma + (self.sigma_rest - self.sigma) * block / max(1, blocks - 1)
        if self.sigma_schedule == "exponential":
            return self.sigma_rest + (self.sigma - self.sigma_rest) * math.exp(-block / 5)
        return self.sigma

    def generations(self, spec: StudySpec) -> float:
        """How many generations there are before COBYLA, whole rounds of them; infinite without it."""
        if not self.refine:
            return math.inf
        budget, blocks = self.budget, len(spec.parameters)
        if budget is None:
            most = spec.limits.max_trials
            budget = DEFAULT_BUDGET if most is None else most - self.refine  # below a round is a round
        return max(1, budget // (self.popsize * blocks)) * blocks


def _refuse(spec: StudySpec, options: BbtOptions) -> list[FieldError]:
    most, problems = MOST_LENGTH[options.covariance], unserved(spec, OWN)
    for i, parameter in enumerate(spec.parameters):
        if not isinstance(parameter, VectorParameter):
            continue
        if not 2 <= parameter.length <= most:
            message = f"bbt with a {options.covariance} covariance serves 2 to {most} numbers a block"
            problems.append(FieldError(f"/parameters/{i}/length", message))
        if parameter.min == parameter.max:
            problems.append(FieldError(f"/parameters/{i}/max", "bbt needs room between min and max"))
    if options.dev is not None and options.dev in {o.metric for o in spec.objectives}:
        problems.append(FieldError("/suggester/options/dev", "is the objective itself; name a second metric"))
    return problems


def _create(problem: Problem, options: BbtOptions, blob: Blob | None) -> Suggester:
    import warnings

    from .suggester import Bbt

    warnings.filterwarnings("ignore", module="cma")
    return Bbt(problem, options, blob)


SPEC = Spec(
    name="bbt",
    summary="Vectors block by block, a CMA-ES each and then COBYLA: soft prompts in a random subspace, thousands of trials.",
    reference="Sun et al. 2022, Black-Box Tuning; Sun et al. 2022, BBTv2; Sun et al. 2023, BBT-RGB",
    honours=Honours(types=EVERY_TYPE, examples=True),
    options=BbtOptions,
    create=beside(_create, OWN, credits_best=False),
    resources=Resources(timeout_seconds=300.0),
    refuse=_refuse,
)
