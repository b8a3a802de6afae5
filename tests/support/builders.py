"""A study, a point, an outcome in one line."""

from __future__ import annotations

import itertools
import os
from typing import Any

from services.caller import Caller, Role
from services.domain.document import canonical
from services.domain.study import StudySpec
from services.domain.trial import Outcome

ADMIN = Caller("default", Role.ADMIN)
_numbers = itertools.count(1)


def study_document(**fields: Any) -> dict[str, Any]:
    """A valid study as a client posts it; fields replace the usual ones."""
    document: dict[str, Any] = {
        "name": f"study-{os.getpid()}-{next(_numbers)}",
        "parameters": [{"name": "x", "type": "float", "min": 0, "max": 1}],
        "objectives": [{"metric": "loss"}],
        "suggester": {"name": "random"},
        "seed": 7,
    }
    return document | fields


def study(**fields: Any) -> StudySpec:
    """The same, read."""
    return StudySpec.read(canonical(study_document(**fields)))


def outcome(loss: float = 0.5, **fields: Any) -> Outcome:
    """A completed outcome of one metric `loss`."""
    return Outcome.read(canonical({"metrics": {"loss": loss}} | fields))


EVERY_TYPE: list[dict[str, Any]] = [
    {"name": "lr", "type": "float", "min": 1e-5, "max": 0.1, "scale": "log"},
    {"name": "p", "type": "float", "min": 0.01, "max": 0.99, "scale": "logit"},
    {"name": "quarter", "type": "float", "min": 0, "max": 1, "step": 0.25},
    {"name": "layers", "type": "int", "min": 1, "max": 8, "step": 1},
    {"name": "width", "type": "int", "min": 1, "max": 1024, "scale": "log"},
    {"name": "bias", "type": "bool"},
    {"name": "optimizer", "type": "categorical", "choices": ["adam", "sgd", 3, None, True]},
    {"name": "size", "type": "ordinal", "choices": ["s", "m", "l"]},
    {"name": "weights", "type": "vector", "length": 3, "min": -1, "max": 1},
    {"name": "words", "type": "tokens", "vocabulary": ["a", "b", "c"], "min_length": 1, "max_length": 4},
    {"name": "order", "type": "permutation", "items": ["x", "y", "z"]},
    {"name": "prompt", "type": "text", "initial": ["Say {q}."], "max_length": 100, "placeholders": ["{q}"]},
    {"name": "momentum", "type": "float", "min": 0, "max": 1, "when": {"optimizer": ["sgd"]}},
]
EVERY_VALUE: dict[str, Any] = {
    "lr": 0.01,
    "p": 0.5,
    "quarter": 0.75,
    "layers": 3,
    "width": 64,
    "bias": True,
    "optimizer": "sgd",
    "size": "m",
    "weights": [0.5, -0.5, 0],
    "words": ["a", "a", "c"],
    "order": ["z", "x", "y"],
    "prompt": "Please answer {q}",
    "momentum": 0.9,
}
