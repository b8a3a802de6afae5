"""ProTeGi: a language model names why a prompt fails, rewrites it accordingly, and a bandit picks the next beam.

Pryzant, Iter, Li, Lee, Zhu, Zeng 2023, "Automatic Prompt Optimization with 'Gradient Descent' and Beam Search", EMNLP.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.suggesters.beside import beside, unserved


class ProtegiOptions(Document):
    """What the rounds can be told."""

    rounds: int | None = Field(
        default=None, ge=1, le=1000, description="Rounds in all; the paper has 6. No end if absent."
    )
    beam: int = Field(default=4, ge=1, le=50, description="Prompts that a round leaves.")
    minibatch: int = Field(default=64, ge=1, le=10_000, description="Training examples on which errors are looked for.")
    error_below: float = Field(
        default=0.5,
        description="An example is an error where its score is worse; above it where the goal is to minimise.",
    )
    groups: int = Field(default=4, ge=1, le=50, description="Groups of errors of a prompt, a call each.")
    group_errors: int = Field(default=4, ge=1, le=50, description="Errors of a group.")
    reasons: int = Field(default=1, ge=1, le=10, description="Reasons named for a group.")
    rewrites: int = Field(default=1, ge=1, le=10, description="New prompts written for a reason.")
    paraphrases: int = Field(default=2, ge=0, le=10, description="Of each new prompt, and of the old one.")
    expansion: int = Field(default=8, ge=1, le=200, description="New prompts that are kept for each of the beam.")
    reject_on_errors: bool = Field(
        default=False,
        description="Keep those best on up to 16 of the errors, which costs evaluations, rather than any.",
    )
    evaluator: Literal["ucb", "successive_halving", "brute"] = Field(
        default="ucb", description="How the next beam is picked; each spends about as much."
    )
    pulls: int = Field(default=8, ge=1, le=1000, description="Pulls of the bandit.")
    pull_prompts: int = Field(default=8, ge=1, le=200, description="Prompts of a pull.")
    pull_examples: int = Field(default=32, ge=1, le=10_000, description="Random training examples of a pull.")
    exploration: float = Field(default=1.0, ge=0, le=100, description="Weight of the confidence radius.")
    temperature: float | None = Field(default=0.7, ge=0, le=2)
    max_tokens: int | None = Field(default=1024, ge=16, le=100_000, description="Of a reply.")
    fallback: Literal["edit", "none"] = Field(
        default="edit", description="Where no usable text came back: small edits of the prompt, or nothing."
    )


def _refuse(spec: StudySpec, options: ProtegiOptions) -> list[FieldError]:
    found = unserved(spec)
    if spec.examples is None or not spec.examples.train:
        found.append(
            FieldError("/examples/train", "suggester 'protegi' learns from training examples: declare their ids")
        )
    if not spec.shares_examples:
        message = "suggester 'protegi' shows errors on examples to the language model: must be true"
        found.append(FieldError("/llm/share_examples", message))
    return found


def _create(problem: Problem, options: ProtegiOptions, _: Blob | None) -> Suggester:
    from .search import Protegi

    return Protegi(problem, options)


SPEC = Spec(
    name="protegi",
    summary="A language model names why a prompt fails on examples and rewrites it; a bandit over examples picks the next beam.",
    reference="Pryzant et al. 2023, Automatic Prompt Optimization with 'Gradient Descent' and Beam Search",
    honours=Honours(types=EVERY_TYPE, llm="required", examples=True, feedback=True),
    options=ProtegiOptions,
    exhausts=True,
    create=beside(_create, credits_best=False),
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)
