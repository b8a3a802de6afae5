"""Input/output pairs of the task that a client declares for the language model to read (`exemplars` in a method's options).

They leave only where the study says `"llm": {"share_examples": true}`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from services.domain.document import Document

from .meta_prompt import data

Text = Annotated[str, Field(max_length=20_000, pattern=r"^[^\x00]*$")]
MOST_DECLARED = 50


class Exemplar(Document):
    """One pair.

    Attributes:
        id: of the example of the study that it is, if it is one.
    """

    id: str | None = Field(default=None, min_length=1, max_length=256, description="Of the example, if it is one.")
    input: Text
    output: Text


Exemplars = Annotated[tuple[Exemplar, ...], Field(max_length=MOST_DECLARED)]


def pairs(shown: Iterable[Exemplar]) -> str:
    """The pairs as a language model reads them, one after the other."""
    return "\n\n".join(f"{data(e.input, 'input')}\n{data(e.output, 'output')}" for e in shown)
