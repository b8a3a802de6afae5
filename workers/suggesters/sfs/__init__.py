"""Scattered forest search: trees of programs, grown along directions that a language model names, with a memory of what helped.

Light, Wu, Sun, Yu, Liu, Zhao, Hu, Chen, Cheng 2024, "Scattered Forest Search: Smarter Code Space Exploration with LLMs".
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.suggesters.beside import beside, unserved

Finite = Annotated[float, Field(ge=-1e308, le=1e308)]


class SfsOptions(Document):
    """What scattered forest search can be told."""

    seeds: int = Field(
        default=5, ge=1, le=100, description="Roots: the starting texts, and as many written ones as are missing."
    )
    directions: int = Field(default=3, ge=1, le=20, description="Different directions named for a text, each a child.")
    exploration: float = Field(
        default=1.0, ge=0, le=100, description="Weight of the rarely tried in the choice (UCT's c)."
    )
    backup: Literal["mean", "max"] = Field(
        default="mean", description="What of the scores below it a direction counts as."
    )
    scout: bool = Field(
        default=True, description="Draw a lesson from every child, which all later directions are named with."
    )
    memory: int = Field(default=20, ge=0, le=200, description="Latest lessons shown.")
    temperature: float = Field(default=0.8, ge=0, le=2, description="Of roots and directions.")
    implementing_temperature: float = Field(default=0.2, ge=0, le=2, description="Of children and lessons.")
    max_tokens: int = Field(default=2048, ge=16, le=32_768, description="Of a reply.")
    score_range: Annotated[tuple[Finite, Finite], Field()] | None = Field(
        default=None, description="Lowest and highest value of the metric; the extremes so far if absent."
    )
    fallback: Literal["edit", "none"] = Field(
        default="edit",
        description="What takes the place of a text that the model did not write; `none` is better for programs.",
    )


def _refuse(spec: StudySpec, options: SfsOptions) -> list[FieldError]:
    found = unserved(spec)
    if options.score_range is not None and options.score_range[0] >= options.score_range[1]:
        found.append(FieldError("/suggester/options/score_range", "the lowest value must be below the highest"))
    return found


def _create(problem: Problem, options: SfsOptions, _: Blob | None) -> Suggester:
    from .suggester import Sfs

    return Sfs(problem, options)


SPEC = Spec(
    name="sfs",
    summary="Trees of programs grown along different directions, with a memory of what helped: texts judged by tests.",
    reference="Light et al. 2024, Scattered Forest Search: Smarter Code Space Exploration with LLMs",
    honours=Honours(types=EVERY_TYPE, feedback=True, examples=True, llm="required"),
    options=SfsOptions,
    create=beside(_create, credits_best=False),
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)
