"""A real landscape: how sure a small local language model (installed by `make demo-prompt`) is of the right sentiment."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .landscapes import STEM

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "prompts"


class Sentiment:
    """An instruction for reviews; the score of one is the probability of its right label among the two words.

    Args:
        model: judges; its cache is shared by everyone who is compared.
    """

    name = "sentiment"
    seed_text = f"{STEM} Is the sentiment of the review positive or negative?"

    def __init__(self, model: Any, reviews: list[tuple[str, int]]) -> None:
        self._model = model
        half = len(reviews) // 2
        self._reviews = {f"t{i}": review for i, review in enumerate(reviews[:half])}
        self._reviews |= {f"v{i}": review for i, review in enumerate(reviews[half:])}

    @property
    def train(self) -> tuple[str, ...]:
        """Half of the reviews."""
        return tuple(i for i in self._reviews if i.startswith("t"))

    @property
    def validation(self) -> tuple[str, ...]:
        """The other half."""
        return tuple(i for i in self._reviews if i.startswith("v"))

    def row(self, text: str, example: str) -> dict[str, Any]:
        """The probability, and the word that was likelier."""
        review, label = self._reviews[example]
        odds = self._model.log_odds(text, review)
        score = 1 / (1 + math.exp(-odds if label else odds))
        said, right = ("positive" if odds > 0 else "negative"), ("positive" if label else "negative")
        feedback = "right" if said == right else f"said {said}, it is {right}"
        return {"id": example, "score": score, "output": said, "expected": right, "feedback": feedback}


@contextlib.contextmanager
def sentiment() -> Iterator[Sentiment]:
    """The landscape with its model behind a server on loopback."""
    sys.path.append(str(EXAMPLES))
    from reviews import SEARCH
    from task_model import TaskModel, local_server

    with local_server(threads=1) as url:
        yield Sentiment(TaskModel(url, "default", 1000), SEARCH)
