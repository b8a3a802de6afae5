"""OPRO: a language model reads the best texts so far with their scores and writes new ones.

Yang, Wang, Lu, Liu, Le, Zhou, Chen 2023, "Large Language Models as Optimizers". Beside prompts it serves the authors' other use too:
spaces of numbers, vectors or orders without any text, whose points the model reads and writes as lists.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.models.drafts import Rejected
from workers.models.exemplars import Exemplars
from workers.suggesters.beside import beside, unserved

SHORTEST_LIMIT = 500
Choice = Literal["random", "constant", "accumulative_most_frequent", "current_most_frequent"]
Finite = Annotated[float, Field(ge=-1e308, le=1e308)]


class OproOptions(Document):
    """What OPRO can be told."""

    per_step: int = Field(default=8, ge=1, le=100, description="New candidates of a step, each from a call of its own.")
    max_shown: int = Field(
        default=20, ge=1, le=500, description="Best candidates that the model is shown; 10 where a point has an order."
    )
    threshold: float = Field(
        default=0.0, ge=0, le=1, description="Of those, only the ones with at least this share of the scale."
    )
    buckets: int = Field(default=100, ge=1, le=1000, description="Scores are shown as 0 to this.")
    score_range: Annotated[tuple[Finite, Finite], Field()] | None = Field(
        default=None, description="Lowest and highest value of the metric; the extremes so far if absent."
    )
    temperature: float = Field(default=1.0, ge=0, le=2)
    final_temperature: float | None = Field(
        default=None, ge=0, le=2, description="Reached linearly over `steps`; constant if absent."
    )
    steps: int = Field(default=200, ge=1, le=100_000, description="Over which the temperature changes.")
    max_tokens: int = Field(default=1024, ge=16, le=32_768)
    max_length: int | None = Field(
        default=None, ge=1, description="Characters of a new text; 500 or twice the longest starting text if absent."
    )
    optimizer: Literal["instruction_tuned", "base"] = Field(
        default="instruction_tuned", description="A base model only continues a list of scores and texts."
    )
    score_on: Literal["full", "train"] = Field(
        default="full",
        description="Score new texts on the examples that decide `best`, or on all train examples and hold those out.",
    )
    held_out_every: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="With score_on 'train': each such step's texts are scored on the others too.",
    )
    exemplars: Exemplars = Field(
        default=(), description="Pairs that show the task; they leave only with `llm.share_examples`."
    )
    exemplars_shown: int = Field(default=3, ge=0, le=50)
    exemplar_choice: Choice = Field(
        default="random",
        description="Drawn for each step, drawn once, or those wrong most often in all trials or in those shown.",
    )
    exemplars_first: bool = Field(default=False, description="Show them before the tried texts.")
    insertion: Literal["before_question", "question_begin", "question_end", "answer_begin"] = Field(
        default="before_question", description="Where a text without placeholders is put when it is used."
    )
    resample_duplicates: bool = Field(
        default=True, description="Ask again where the text is known; else a step yields fewer, as published."
    )
    forbid_digits: bool = Field(default=False, description="Refuse texts with digits, which give answers away.")
    attempts: int = Field(default=3, ge=1, le=10, description="Calls for one candidate, the first one included.")
    straggler_fraction: float = Field(
        default=0.25, ge=0, lt=1, description="Share of a step's trials that the next step need not wait for."
    )
    shrink: bool = Field(
        default=False, description="Rank by means drawn towards the average, those of few measurements more."
    )
    n_init: int = Field(default=5, ge=1, le=1000, description="Random points tried first where there is no text.")
    fallback: Literal["edit", "none"] = Field(
        default="edit", description="What takes the place of a candidate that the model did not write."
    )

    def temperature_at(self, step: int) -> float:
        """The temperature of a step's calls."""
        start, end = self.temperature, self.final_temperature
        return start if end is None else start + (end - start) * min(1.0, step / self.steps)

    def left(self, why: Rejected, *, is_known: bool) -> Rejected:
        """A slot that nothing came of; one whose only fault is that it repeats what is known stays empty."""
        return replace(why, rejected=(*why.rejected, "duplicate"), is_dropped=True) if is_known else why


def _has_text(spec: StudySpec) -> bool:
    return any(p.type == "text" for p in spec.parameters)


def _refuse(spec: StudySpec, options: OproOptions) -> list[FieldError]:
    from .points import refused

    found = unserved(spec) if _has_text(spec) else refused(spec, options)
    if options.score_range is not None and options.score_range[0] >= options.score_range[1]:
        found.append(FieldError("/suggester/options/score_range", "the lowest value must be below the highest"))
    if options.score_on == "train" and (
        spec.examples is None or not spec.examples.train or not spec.examples.validation
    ):
        found.append(FieldError("/suggester/options/score_on", "needs train and validation examples"))
    if options.exemplar_choice.endswith("frequent"):
        if spec.examples is None:
            found.append(FieldError("/suggester/options/exemplar_choice", "counting wrong examples needs /examples"))
        elif any(exemplar.id is None for exemplar in options.exemplars):
            found.append(FieldError("/suggester/options/exemplars", "counting wrong examples needs their ids"))
    return found


def _create(problem: Problem, options: OproOptions, _: Blob | None) -> Suggester:
    from .writer import Opro

    return Opro(problem, options)


def _create_any(problem: Problem, options: OproOptions, blob: Blob | None) -> Suggester:
    from .points import OproPoints

    if not _has_text(problem.spec):
        return OproPoints(problem, options)
    return beside(_create, credits_best=options.score_on == "full")(problem, options, blob)


SPEC = Spec(
    name="opro",
    summary="A language model reads the best texts with their scores and writes new ones: the plain default for one score.",
    reference="Yang et al. 2023, Large Language Models as Optimizers",
    honours=Honours(types=EVERY_TYPE, examples=True, llm="required"),
    options=OproOptions,
    create=_create_any,
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)
