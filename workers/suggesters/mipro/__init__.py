"""MIPRO: chooses instructions and demonstrations together, by a Bayesian search over proposed candidates.

Opsahl-Ong et al. 2024, "Optimizing Instructions and Demonstrations for Multi-Stage Language Model Programs".
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.domain.document import Document, Name
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.suggesters.beside import beside, unserved

from .demonstrations import Demonstrations
from .schedule import MINIBATCH, SIZES, SMALLEST_CUT, Schedule, preset_trials

OWN = frozenset({"text", "tokens"})


class MiproOptions(Document):
    """What the search can be told."""

    preset: Literal["light", "medium", "heavy"] = Field(
        default="light", description="6, 12 or 18 candidates, and a number of trials that fits them."
    )
    instructions: int | None = Field(
        default=None, ge=1, le=200, description="For each text, the present one included; by the preset if absent."
    )
    sets: int | None = Field(
        default=None, ge=1, le=200, description="Of demonstrations, the empty one included; by the preset if absent."
    )
    trials: int | None = Field(default=None, ge=1, le=10_000, description="Of the search; by the preset if absent.")
    minibatch: int | None = Field(
        default=None, ge=1, le=100_000,
        description="Examples of a search trial; 35 if absent, or all where there are 50 or fewer.",
    )  # fmt: skip
    full_every: int = Field(default=5, ge=1, le=1000, description="Search trials between two full evaluations.")
    demonstrations: Demonstrations = Field(
        default=(), description="Texts of examples: for `render_into`, and for the language model to read if it may."
    )
    render_into: Name | None = Field(
        default=None,
        description="A text parameter that is given the demonstrations written out; as ids they need none.",
    )
    bootstrapped: int = Field(
        default=4, ge=0, le=100, description="Most examples of a set on which the start was right."
    )
    labelled: int = Field(default=4, ge=0, le=100, description="Examples that a set is filled up to.")
    bootstrap_examples: int = Field(
        default=50, ge=0, le=10_000, description="Train examples that the start is run on to find those it gets right."
    )
    success_score: float | None = Field(
        default=None,
        description="An example is right from this score on; 1 where maximised, 0 where minimised, if absent.",
    )
    program: str | None = Field(default=None, max_length=20_000, description="What the prompt is used in, in words.")
    temperature: float | None = Field(default=1.0, ge=0, le=2, description="Of the language model.")
    max_tokens: int | None = Field(
        default=None, ge=16, le=100_000, description="Of a reply; the server's default if absent."
    )
    fallback: Literal["edit", "none"] = Field(
        default="edit",
        description="Where no usable instruction came back: a small edit of the present one, or nothing.",
    )

    def schedule(self, texts: int, carriers: int, examples: int) -> Schedule:
        """The numbers for a study.

        Args:
            examples: of the full set; 0 where the study declares none.
        """
        size = SIZES[self.preset]
        minibatch = self.minibatch or (MINIBATCH if examples > SMALLEST_CUT else None)
        return Schedule(
            instructions=self.instructions or (size // 2 if carriers else size),
            sets=self.sets or size,
            trials=self.trials or preset_trials(size, texts, carriers > 0),
            minibatch=None if minibatch is None or minibatch >= examples else minibatch,
            full_every=self.full_every,
        )


def _refuse(spec: StudySpec, options: MiproOptions) -> list[FieldError]:
    found = unserved(spec)
    found += [
        FieldError(
            f"/parameters/{i}/when", "a tokens parameter carries demonstrations here and must not be conditional"
        )
        for i, p in enumerate(spec.parameters)
        if p.type == "tokens" and p.when
    ]
    full = 0 if spec.examples is None else len(spec.examples.full()[1])
    if options.minibatch is not None and options.minibatch > full:
        message = f"there are {full} examples to draw {options.minibatch} from"
        found.append(FieldError("/suggester/options/minibatch", message))
    most = spec.limits.max_example_evaluations
    if most is not None and most < full:
        message = f"one full evaluation takes {full} examples: not even the start could be scored"
        found.append(FieldError("/limits/max_example_evaluations", message))
    return found + _refuse_rendering(spec, options)


def _refuse_rendering(spec: StudySpec, options: MiproOptions) -> list[FieldError]:
    if options.render_into is None:
        return []
    texts = [p.name for p in spec.parameters if p.type == "text"]
    pointer = "/suggester/options/render_into"
    if options.render_into not in texts:
        return [FieldError(pointer, "names no text parameter of the study")]
    if len(texts) == 1:
        return [FieldError(pointer, "is the only text: there is no instruction left to choose")]
    if not any(d.input for d in options.demonstrations):
        return [FieldError("/suggester/options/demonstrations", "needs inputs to write demonstrations out")]
    return []


def _create(problem: Problem, options: MiproOptions, _: Blob | None) -> Suggester:
    from .suggester import Mipro

    return Mipro(problem, options)


SPEC = Spec(
    name="mipro",
    summary="Chooses instructions and demonstrations together: proposes candidates, then searches their combinations.",
    reference="Opsahl-Ong et al. 2024, Optimizing Instructions and Demonstrations for Multi-Stage Language Model Programs",
    honours=Honours(types=EVERY_TYPE, llm="preferred", examples=True),
    options=MiproOptions,
    exhausts=True,
    create=beside(_create, OWN),
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)
