"""APE: instructions induced from input and output pairs, scored, and the best ones said again in other words.

Zhou, Muresanu, Han, et al. 2022, "Large Language Models Are Human-Level Prompt Engineers".
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Spec, Suggester
from workers.models.exemplars import Exemplars
from workers.suggesters.beside import beside, unserved


class ApeOptions(Document):
    """What the induction and the scoring can be told."""

    exemplars: Exemplars = Field(
        default=(), description="Right answers of the task; needed, with `llm.share_examples`."
    )
    subsets: int = Field(
        default=5, ge=1, le=50, description="Draws of five exemplars, each shown in a call of its own."
    )
    samples: int = Field(default=50, ge=1, le=200, description="Instructions sampled for each draw.")
    scoring: Literal["auto", "all", "ucb"] = Field(
        default="auto",
        description="Every candidate on the full set, or a bandit on few examples a round; `auto`: the bandit where the "
        "study declares examples.",
    )
    rounds: int = Field(default=5, ge=1, le=100, description="Of the bandit, in each iteration.")
    per_round: int = Field(default=50, ge=1, le=1000, description="Candidates that a round of the bandit scores.")
    pull: int = Field(
        default=10, ge=1, le=1000, description="Examples, drawn anew, on which a round scores a candidate."
    )
    exploration: float = Field(default=1.0, ge=0, le=100, description="Weight c of the bandit's uncertainty.")
    finalists: int = Field(
        default=10, ge=1, le=1000, description="Best candidates of the bandit, scored on the full set."
    )
    keep: float = Field(
        default=0.1, gt=0, le=1, description="Share of the candidates that the next iteration starts from."
    )
    variations: int = Field(default=5, ge=1, le=100, description="Other wordings of each of those.")
    fallback: Literal["edit", "none"] = Field(
        default="edit", description="What is proposed where no usable reply came: an edit of the best text, or nothing."
    )


def _refuse(spec: StudySpec, options: ApeOptions) -> list[FieldError]:
    found = unserved(spec)
    if not options.exemplars:
        found.append(
            FieldError("/suggester/options/exemplars", "ape induces instructions from exemplars and needs some")
        )
    if not spec.shares_examples:
        found.append(FieldError("/llm/share_examples", "must be true: the language model has to read the exemplars"))
    if options.scoring == "ucb" and spec.examples is None:
        found.append(FieldError("/examples", "the bandit scores on few examples at a time and needs their ids"))
    return found


def _create(problem: Problem, options: ApeOptions, _: Blob | None) -> Suggester:
    from .suggester import Ape

    return Ape(problem, options)


SPEC = Spec(
    name="ape",
    summary="Induces instructions from input and output pairs and finds the best with few evaluations; needs no starting text.",
    reference="Zhou et al. 2022, Large Language Models Are Human-Level Prompt Engineers",
    honours=Honours(types=EVERY_TYPE, llm="required", examples=True),
    options=ApeOptions,
    create=beside(_create),
    refuse=_refuse,
)
