"""ClaPS: cluster a vocabulary, find the few tokens that move the metric, and search prompts of those alone.

Zhou, Wan, Vulić, Korhonen 2023, "Survival of the Most Influential Prompts: Efficient Black-Box Prompt Search via Clustering and
Pruning".
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.parameters import ExactInteger, Finite, TokensParameter
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.suggesters.beside import beside, unserved

OWN = frozenset({"tokens"})
USUAL_LENGTH = 5


class ClapsOptions(Document):
    """What the search for a token prompt can be told."""

    length: int | None = Field(
        default=None, ge=1, le=10_000, description="Tokens of a prompt; 5 if absent, as far as the parameter allows."
    )
    prune: bool = Field(default=True, description="Try every token alone first, and search only those that help most.")
    percentile: float = Field(
        default=99.0,
        ge=0,
        lt=100,
        description="Tokens strictly above this percentile of influence are kept, 10 at least.",
    )
    influence: Literal["reward", "kl"] = Field(
        default="reward",
        description="Of a token alone: the metric, or the Kullback-Leibler divergence of the label distributions (told as the "
        "examples' `output`, a JSON list of probabilities) from those of the empty prompt.",
    )
    vocabulary_embeddings: tuple[tuple[Finite, ...], ...] | None = Field(
        default=None,
        description="A vector for each token of the vocabulary: only the token nearest each cluster's centre is tried.",
    )
    clusters: int = Field(default=2000, ge=2, le=100_000, description="Clusters of the vocabulary.")
    keep_tokens: tuple[str | ExactInteger, ...] = Field(
        default=(), max_length=1000, description="Tokens that clustering must not remove: the words for the labels."
    )
    search: Literal["genetic", "greedy", "swarm"] = "genetic"
    population: int = Field(default=128, ge=4, le=10_000, description="genetic, swarm: prompts of an epoch.")
    epochs: int = Field(
        default=30, ge=1, le=100_000, description="swarm: over how many epochs it turns to the swarm's best."
    )
    elite_fraction: float = Field(default=0.1, gt=0, le=1, description="genetic: share of an epoch that has offspring.")
    mutation: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="genetic: chance of a position to change; swarm: of a prompt to change in one position.",
    )
    straggler_fraction: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="An epoch goes on without its last outcomes once this share is told and as many others as are missing were "
        "handed out meanwhile; 0 waits for all.",
    )


def lengths(spec: StudySpec, options: ClapsOptions) -> list[int]:
    """How many tokens a prompt has in each tokens parameter."""
    found = [p for p in spec.parameters if isinstance(p, TokensParameter)]
    if options.length is not None:
        return [options.length] * len(found)
    return [min(max(USUAL_LENGTH, p.min_length), p.max_length) for p in found]


def _refuse(spec: StudySpec, options: ClapsOptions) -> list[FieldError]:
    problems = unserved(spec, OWN)
    tokens = [(i, p) for i, p in enumerate(spec.parameters) if isinstance(p, TokensParameter)]
    shortest = 1 if len(tokens) == 1 and options.influence == "reward" else 0
    for (i, parameter), length in zip(tokens, lengths(spec, options), strict=True):
        if not max(1, parameter.min_length) <= length <= parameter.max_length:
            problems.append(
                FieldError("/suggester/options/length", f"parameter {parameter.name!r} does not allow {length} tokens")
            )
        if (options.prune or options.search == "greedy") and parameter.min_length > shortest:
            message = (
                f"must be at most {shortest}: claps tries tokens alone, unless it neither prunes nor searches greedily"
            )
            problems.append(FieldError(f"/parameters/{i}/min_length", message))
        problems += _embedding_problems(parameter, options)
    if options.influence == "kl" and spec.examples is None:
        problems.append(FieldError("/suggester/options/influence", "kl needs the study's `examples`"))
    return problems


def _embedding_problems(parameter: TokensParameter, options: ClapsOptions) -> list[FieldError]:
    known, vectors = set(parameter.vocabulary), options.vocabulary_embeddings
    strangers = [token for token in options.keep_tokens if token not in known]
    found = []
    if strangers:
        message = f"{strangers[0]!r} is not in the vocabulary of {parameter.name!r}"
        found.append(FieldError("/suggester/options/keep_tokens", message))
    if vectors is not None and (len(vectors) != len(known) or len({len(v) for v in vectors}) != 1 or not vectors[0]):
        message = f"needs a vector for each of the {len(known)} tokens of {parameter.name!r}, all of one length"
        found.append(FieldError("/suggester/options/vocabulary_embeddings", message))
    return found


def _create(problem: Problem, options: ClapsOptions, blob: Blob | None) -> Suggester:
    from .suggester import Claps

    return Claps(problem, options, blob)


SPEC = Spec(
    name="claps",
    summary="Finds the tokens that matter, then searches prompts of those: short triggers, thousands of cheap evaluations.",
    reference="Zhou, Wan, Vulić, Korhonen 2023, Survival of the Most Influential Prompts",
    honours=Honours(types=EVERY_TYPE, examples=True),
    options=ClapsOptions,
    create=beside(_create, OWN, credits_best=False),
    resources=Resources(timeout_seconds=300.0),
    refuse=_refuse,
)
