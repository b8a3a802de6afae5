"""CAPO: crossed and mutated instructions with demonstrations race on blocks of examples; the clearly worse ones are dropped early.

Zehle, Schlager, Heiß, Feurer 2025, "CAPO: Cost-Aware Prompt Optimization", AutoML.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.models.exemplars import Exemplars
from workers.suggesters.beside import beside, unserved


class CapoOptions(Document):
    """What the evolution and its races can be told."""

    population: int = Field(default=10, ge=2, le=200, description="Candidates that a race leaves.")
    children: int = Field(default=4, ge=1, le=100, description="Candidates that are crossed and mutated a generation.")
    block: int | None = Field(
        default=None, ge=1, le=10_000, description="Examples of a block; as many as make `max_blocks` blocks if absent."
    )
    max_blocks: int = Field(default=10, ge=1, le=1000, description="Blocks after which a race ends.")
    alpha: float = Field(
        default=0.2, gt=0, lt=1, description="Of the paired t-test by which one candidate beats another."
    )
    length_penalty: float = Field(
        default=0.05, ge=0, le=100, description="Taken from a score for a prompt as long as the longest starting one."
    )
    demonstrations: Exemplars = Field(
        default=(), description="Pairs that candidates may carry in their text, a few each. They go to the client only."
    )
    max_demonstrations: int = Field(default=5, ge=0, le=50, description="Demonstrations of one candidate, at most.")
    temperature: float | None = Field(default=None, ge=0, le=2, description="The server's default if absent.")
    max_tokens: int | None = Field(default=1024, ge=16, le=100_000, description="Of a reply.")
    fallback: Literal["edit", "none"] = Field(
        default="edit", description="Where no usable text came back: a small edit of a parent, or nothing."
    )


def _refuse(spec: StudySpec, options: CapoOptions) -> list[FieldError]:
    found = unserved(spec)
    if spec.examples is None:
        found.append(FieldError("/examples", "suggester 'capo' races on blocks of examples: declare their ids"))
    if options.demonstrations and sum(p.type == "text" for p in spec.parameters) > 1:
        found.append(
            FieldError("/suggester/options/demonstrations", "go into one text; there are several text parameters")
        )
    return found


def _create(problem: Problem, options: CapoOptions, _: Blob | None) -> Suggester:
    from .search import Capo

    return Capo(problem, options)


SPEC = Spec(
    name="capo",
    summary="Crosses and mutates instructions and races them on blocks of examples: short prompts, few evaluations.",
    reference="Zehle et al. 2025, CAPO: Cost-Aware Prompt Optimization",
    honours=Honours(types=EVERY_TYPE, llm="required", examples=True),
    options=CapoOptions,
    exhausts=True,
    create=beside(_create, credits_best=False),
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)
