"""GEPA: a language model reads what went wrong on a few examples and rewrites the text; whoever is best on some example stays in play.

Agrawal et al. 2025, "GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning". Examples are named by their ids and
scored by the client.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.suggesters.beside import beside, unserved


class GepaOptions(Document):
    """What the evolution can be told."""

    minibatch: int = Field(
        default=3, ge=1, le=100, description="Examples of one reflection; 8 where the metric is noisy."
    )
    selection: Literal["pareto", "current_best", "epsilon_greedy", "top_k_pareto"] = Field(
        default="pareto",
        description="Which candidate is mutated next: by its share of the examples on which it is best.",
    )
    epsilon: float = Field(default=0.1, ge=0, le=1, description="epsilon_greedy: chance of any candidate.")
    top_k: int = Field(default=5, ge=1, le=1000, description="top_k_pareto: candidates that take part, by mean.")
    skip_perfect_score: bool = Field(default=True, description="No reflection where every example is perfect already.")
    perfect_score: float | None = Field(
        default=None,
        description="Of one example; 1 where the objective is to be maximised, 0 where minimised, if absent.",
    )
    accept: Literal["better", "not_worse"] = Field(
        default="better", description="What a new text must be on its minibatch to be scored on the full set."
    )
    accept_margin: float = Field(
        default=0.0, ge=0, description="By how much its sum of scores must exceed its parent's, for noisy metrics."
    )
    open_iterations: int | None = Field(
        default=None, ge=1, le=1000,
        description="Undecided at one time; if absent one for each twenty that the limits leave room for, any number without limits.",
    )  # fmt: skip
    merge: bool = Field(
        default=False, description="Merge candidates of one ancestor; needs two text parameters or more."
    )
    max_merges: int = Field(default=5, ge=1, le=1000, description="Mergers that are tried in all.")
    merge_examples: int = Field(default=5, ge=1, le=100, description="Examples that decide on a merger.")
    score_range: Annotated[tuple[float, float], Field(description="Scores shown as 0 and as 100.")] | None = Field(
        default=None,
        description="Lowest and highest score of an example, for the scale that the language model is shown.",
    )
    temperature: float | None = Field(default=None, ge=0, le=2, description="The server's default if absent.")
    max_tokens: int | None = Field(
        default=None, ge=16, le=100_000, description="Of a reply; the server's default if absent."
    )
    fallback: Literal["edit", "none"] = Field(
        default="edit", description="Where no usable text came back: a small edit of the parent, or nothing."
    )

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.score_range is not None and self.score_range[0] >= self.score_range[1]:
            raise ValueError("score_range must rise")
        return self


def _refuse(spec: StudySpec, options: GepaOptions) -> list[FieldError]:
    found = unserved(spec)
    if spec.examples is None:
        found.append(FieldError("/examples", "suggester 'gepa' learns from single examples: declare their ids"))
    if not spec.shares_examples:
        found.append(
            FieldError(
                "/llm/share_examples", "suggester 'gepa' shows results of examples to the language model: must be true"
            )
        )
    if spec.examples is not None and spec.limits.max_example_evaluations is not None:
        full = len(spec.examples.full()[1])
        if spec.limits.max_example_evaluations < full:
            message = f"one full evaluation takes {full} examples: not even the start could be scored"
            found.append(FieldError("/limits/max_example_evaluations", message))
    return found


def _create(problem: Problem, options: GepaOptions, _: Blob | None) -> Suggester:
    from .suggester import Gepa

    return Gepa(problem, options)


SPEC = Spec(
    name="gepa",
    summary="Rewrites prompts after reading what went wrong on a few examples, and keeps whoever is best on some example.",
    reference="Agrawal et al. 2025, GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning",
    honours=Honours(types=EVERY_TYPE, llm="required", examples=True, feedback=True),
    options=GepaOptions,
    exhausts=True,
    create=beside(_create),
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)
