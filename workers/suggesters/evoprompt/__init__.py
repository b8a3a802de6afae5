"""EvoPrompt: a genetic algorithm, or differential evolution, with a language model as its operator.

Guo, Wang, Guo, et al. 2024, "Connecting Large Language Models with Evolutionary Algorithms Yields Powerful Prompt Optimizers".
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Spec, Suggester
from workers.models.exemplars import Exemplars
from workers.suggesters.beside import beside, unserved


class EvopromptOptions(Document):
    """What the evolution can be told."""

    operator: Literal["ga", "de"] = Field(
        default="ga",
        description="Genetic algorithm: cross two parents; differential evolution: compete member by member.",
    )
    population: int = Field(default=10, ge=4, le=200, description="Members, and children of a generation.")
    selection: Literal["wheel", "random", "tournament"] = Field(
        default="wheel",
        description="How `ga` picks parents: in proportion to merit, blindly, or the better one of two.",
    )
    survivors: Literal["topk", "replace"] = Field(
        default="topk", description="Who stays in `ga`: the best of old and new, or the new ones alone."
    )
    donor: Literal["best", "random"] = Field(
        default="best", description="What `de` joins the changed differences with: the best so far, or a random member."
    )
    temperature: float = Field(default=0.5, ge=0, le=2, description="Of every call but those that induce founders.")
    exemplars: Exemplars = Field(
        default=(),
        description="Answers from which missing founders are induced if `llm.share_examples`; else they are said in other words.",
    )
    fallback: Literal["edit", "none"] = Field(
        default="edit", description="What is proposed where no usable reply came: an edit of the best text, or nothing."
    )


def _refuse(spec: StudySpec, _: EvopromptOptions) -> list[FieldError]:
    return unserved(spec)


def _create(problem: Problem, options: EvopromptOptions, _: Blob | None) -> Suggester:
    from .evolution import evolution

    return evolution(problem, options)


SPEC = Spec(
    name="evoprompt",
    summary="Evolves a population of prompts; a language model crosses and mutates them. Needs only a score.",
    reference="Guo et al. 2024, Connecting Large Language Models with Evolutionary Algorithms Yields Powerful Prompt Optimizers",
    honours=Honours(types=EVERY_TYPE, llm="required", examples=True),
    options=EvopromptOptions,
    create=beside(_create),
    refuse=_refuse,
)
