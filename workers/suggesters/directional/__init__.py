"""Directional feedback: what the client says about why a text scored so, or what the scores say, becomes one direction to change it.

Nie, Cheng, Kolobov, Swaminathan 2023, "The Importance of Directional Feedback for LLM-based Optimizers". Two calls a proposal: one
finds the direction, one rewrites the base along it.
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


class DirectionalOptions(Document):
    """What the method can be told."""

    synthesize: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="When the model finds the direction from the latest trials: where the base's feedback has none, always, never.",
    )
    window: int = Field(default=10, ge=2, le=100, description="Latest trials that the direction is found from.")
    k: int = Field(default=3, ge=0, le=50, description="Best texts shown for the rewriting.")
    m: int = Field(default=3, ge=0, le=50, description="Latest texts shown for the rewriting.")
    patience: int = Field(
        default=4, ge=1, le=1000, description="Directions in a row without success after which another base is taken."
    )
    per_step: int = Field(default=1, ge=1, le=100, description="Rewritings along one direction.")
    synthesis_temperature: float = Field(default=0.0, ge=0, le=2)
    temperature: float = Field(default=1.0, ge=0, le=2, description="Of the rewriting.")
    max_tokens: int = Field(default=1024, ge=16, le=32_768)
    accept_client_text: bool = Field(
        default=False, description="A rewritten text that stands in told feedback may be taken over word by word."
    )
    score_range: tuple[Finite, Finite] | None = Field(
        default=None, description="Lowest and highest value of the metric; the extremes so far if absent."
    )
    attempts: int = Field(default=3, ge=1, le=10, description="Calls for one rewriting, the first one included.")
    fallback: Literal["edit", "none"] = Field(
        default="edit", description="What takes the place of a text that the model did not write."
    )


def _refuse(spec: StudySpec, options: DirectionalOptions) -> list[FieldError]:
    found = list(unserved(spec))
    if options.score_range is not None and options.score_range[0] >= options.score_range[1]:
        found.append(FieldError("/suggester/options/score_range", "the lowest value must be below the highest"))
    if options.synthesize == "never" and not spec.shares_examples:
        message = "without sharing no feedback may be shown, and 'synthesize': 'never' leaves no other direction"
        found.append(FieldError("/llm/share_examples", message))
    return found


def _create(problem: Problem, options: DirectionalOptions, _: Blob | None) -> Suggester:
    from .writer import Directional

    return Directional(problem, options)


SPEC = Spec(
    name="directional",
    summary="Turns feedback in words, or what the scores say, into one direction and has the best text rewritten along it.",
    reference="Nie, Cheng, Kolobov, Swaminathan 2023, The Importance of Directional Feedback for LLM-based Optimizers",
    honours=Honours(types=EVERY_TYPE, examples=True, feedback=True, llm="required"),
    options=DirectionalOptions,
    create=beside(_create),
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)
