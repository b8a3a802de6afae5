"""Promptbreeder: prompts evolve together with the instructions by which they are changed.

Fernando, Banarse, Michalewski, Osindero, Rocktäschel 2023, "Promptbreeder: Self-Referential Self-Improvement via Prompt Evolution".
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.suggesters.beside import beside, unserved

Operator = Literal[
    "zero_order",
    "first_order",
    "distribution",
    "ranked",
    "lineage",
    "zero_order_hyper",
    "first_order_hyper",
    "lamarckian",
]
OPERATORS: tuple[Operator, ...] = (
    "zero_order",
    "first_order",
    "distribution",
    "ranked",
    "lineage",
    "zero_order_hyper",
    "first_order_hyper",
    "lamarckian",
)


class PromptbreederOptions(Document):
    """What the breeding can be told."""

    population: int = Field(default=50, ge=4, le=500, description="Units: a prompt with its mutation prompt.")
    operators: Annotated[tuple[Operator, ...], Field(min_length=1, max_length=len(OPERATORS))] = Field(
        default=OPERATORS,
        description="One of these at random makes each child; `lamarckian` only where answers were told and may be shared.",
    )
    crossover: float = Field(
        default=0.1, ge=0, le=1, description="Probability that a child is then crossed with a member drawn by merit."
    )
    similarity: float = Field(
        default=0.95,
        ge=0,
        le=1,
        description="Of list members with a higher cosine only the first is shown; 1: all are.",
    )
    max_shown: int = Field(default=20, ge=2, le=200, description="Members of a list that is to be continued, at most.")
    temperature: float = Field(default=1.0, ge=0, le=2)
    fallback: Literal["edit", "none"] = Field(
        default="edit", description="What is proposed where no usable reply came: an edit of the best text, or nothing."
    )


def _refuse(spec: StudySpec, options: PromptbreederOptions) -> list[FieldError]:
    found = unserved(spec)
    if set(options.operators) == {"lamarckian"}:
        found.append(FieldError("/suggester/options/operators", "needs one that works before answers are told"))
    return found


def _create(problem: Problem, options: PromptbreederOptions, _: Blob | None) -> Suggester:
    from .breeding import breeding

    return breeding(problem, options)


SPEC = Spec(
    name="promptbreeder",
    summary="Breeds prompts and the instructions that mutate them, in tournaments of two; for large budgets and diverse prompts.",
    reference="Fernando et al. 2023, Promptbreeder: Self-Referential Self-Improvement via Prompt Evolution",
    honours=Honours(types=EVERY_TYPE, llm="required", examples=True),
    options=PromptbreederOptions,
    create=beside(_create),
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)
