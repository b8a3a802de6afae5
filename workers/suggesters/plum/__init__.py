"""Plum: metaheuristics over phrase edits of a prompt; no language model is needed.

Pan, Xing, Diao, et al. 2023, "Plum: Prompt Learning using Metaheuristic"; the edits are those of GrIPS (Prasad et al. 2023).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.models.encoders import PACKAGE
from workers.suggesters.beside import beside, unserved

Algorithm = Literal["hc", "sa", "ga_m", "ga_c", "tabu", "hs"]
Kind = Literal["delete", "swap", "substitute", "add"]
EVERY_KIND: tuple[Kind, ...] = ("delete", "swap", "substitute", "add")
Finite = Annotated[float, Field(ge=-1e308, le=1e308)]


class PlumOptions(Document):
    """What the search can be told."""

    algorithm: Algorithm = Field(
        default="hc",
        description="Hill climbing, simulated annealing, genetic with mutation or with crossover, tabu or harmony search.",
    )
    candidates: int = Field(default=10, ge=1, le=200, description="New texts of an iteration; of a member in `ga_c`.")
    iterations: int | None = Field(default=50, ge=1, le=100_000, description="Of one run; no limit if null.")
    patience: int = Field(default=7, ge=1, le=1000, description="Iterations without success that end a run.")
    when_done: Literal["restart", "stop"] = Field(
        default="restart", description="After a run: begin another from the best text, or, as published, end."
    )
    compose: int = Field(default=1, ge=1, le=10, description="Edits in a row that make a new text.")
    level: Literal["phrase", "word", "sentence", "span"] = Field(
        default="phrase", description="What is edited; a span is a half to a fourth of a sentence."
    )
    edits: Annotated[tuple[Kind, ...], Field(min_length=1, max_length=4)] = EVERY_KIND
    paraphraser: Literal["thesaurus", "encoder", "llm"] = Field(
        default="thesaurus",
        description="What substitutes come from: an English table, the nearest words, or the study's language model.",
    )
    encoder: str = Field(default=PACKAGE, description="Of the paraphraser `encoder`.")
    tournament: int = Field(
        default=5, ge=1, le=100, description="Draws of which the best is a parent (`ga_m`, `ga_c`)."
    )
    population: int = Field(default=10, ge=2, le=1000, description="Texts kept by `ga_c`; the memory of `hs`.")
    offspring: int = Field(default=10, ge=1, le=200, description="Crossed texts of an iteration (`ga_c`).")
    mutation_rate: float = Field(default=0.5, ge=0, le=1, description="Share of members that are edited (`ga_c`).")
    segments: int = Field(default=5, ge=1, le=50, description="Of a new text (`hs`).")
    keep_rate: float = Field(
        default=0.4, ge=0, le=1, description="HMCR: segments taken from the memory as they are (`hs`)."
    )
    adjust_rate: float = Field(default=0.5, ge=0, le=1, description="PAR: of those, with a phrase substituted (`hs`).")
    tabu_list: int = Field(default=5, ge=1, le=1000, description="Winners of iterations that are remembered (`tabu`).")
    tabu_similarity: Literal["equal", "subsequence", "substring"] = Field(
        default="subsequence",
        description="Forbids texts that share a subsequence or a substring of half their words; equal ones never come twice.",
    )
    tabu_leniency: float = Field(
        default=0.5, ge=0, le=1, description="Chance of a forbidden text all the same (`tabu`)."
    )
    score_range: tuple[Finite, Finite] | None = Field(
        default=None, description="Lowest and highest value of the metric; the extremes so far if absent (`sa`)."
    )
    label_entropy_weight: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="Adds this times the entropy of the told outputs to the score on 0 to 100; published: 10.",
    )
    straggler_fraction: float = Field(
        default=0.25, ge=0, lt=1, description="Share of an iteration's trials that the next one need not wait for."
    )


def _refuse(spec: StudySpec, options: PlumOptions) -> list[FieldError]:
    found = unserved(spec)
    at = "/suggester/options"
    if options.score_range is not None and options.score_range[0] >= options.score_range[1]:
        found.append(FieldError(f"{at}/score_range", "the lowest value must be below the highest"))
    if options.label_entropy_weight > 0 and (spec.examples is None or options.score_range is None):
        found.append(FieldError(f"{at}/label_entropy_weight", "needs the study's /examples and the option score_range"))
    if options.paraphraser == "llm" and spec.llm is None:
        found.append(FieldError("/llm", "the paraphraser llm asks a language model: name a profile"))
    if options.paraphraser == "encoder":
        found += _encoder_faults(options.encoder)
    return found


def _encoder_faults(name: str) -> list[FieldError]:
    from workers.models.encoders import EncoderError, load_encoder

    try:
        load_encoder(name)
    except EncoderError as error:
        return [FieldError("/suggester/options/encoder", str(error))]
    return []


def _create(problem: Problem, options: PlumOptions, _: Blob | None) -> Suggester:
    from .suggester import Plum

    return Plum(problem, options)


SPEC = Spec(
    name="plum",
    summary="Edits the phrases of a starting text by hill climbing, annealing, genetic, tabu or harmony search; no language model.",
    reference="Pan et al. 2023, Plum: Prompt Learning using Metaheuristic",
    honours=Honours(types=EVERY_TYPE, llm="optional", examples=True),
    options=PlumOptions,
    exhausts=True,
    create=beside(_create),
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)
