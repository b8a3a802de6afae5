"""A tiny suggester that makes trouble when told to, for tests of pools and dispatchers. Runners find it by `SOURCE`."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from services.domain.document import Document
from services.domain.history import History
from services.domain.suggester import EVERY_TYPE, Blob, Honours, Problem, Resources, Spec, Suggestion
from workers.suggesters.sobol import SPEC as SOBOL

SOURCE = "tests.support.troublesome:get"
Trouble = Literal["none", "raise", "hang", "hog", "outside", "too_many", "not_json", "exit", "wait"]


class Options(Document):
    """What goes wrong, and from which trial number on.

    Attributes:
        marker: a file. `wait` writes its process id there and waits for ever, but not where the file exists already: the second try
            goes through. `hang` and the others make no trouble any more once it exists.
    """

    trouble: Trouble = "none"
    at: int = 1
    marker: str = ""


class Troublesome:
    """Proposes x from the trial's number and the sum of all told losses, which it adds up as they come."""

    def __init__(self, problem: Problem, options: Options, blob: Blob | None) -> None:
        self._problem = problem
        self._options = options
        self._counted: set[int] = set() if blob is None else set(blob.arrays["counted"].tolist())
        self._sum = 0.0 if blob is None else float(blob.document["sum"])
        self._hoard: list[np.ndarray[Any, Any]] = []

    def suggest(self, history: History, count: int) -> Sequence[Suggestion]:
        """Points, or trouble."""
        for trial in history.completed:
            if trial.number not in self._counted:
                self._counted.add(trial.number)
                self._sum += trial.metrics["loss"]
        if history.next_number >= self._options.at:
            count += self._trouble()
        origin: dict[str, Any] = {"odd": object()} if self._options.trouble == "not_json" else {"pid": os.getpid()}
        return [self._point(number, origin) for number in range(history.next_number, history.next_number + count)]

    def _point(self, number: int, origin: dict[str, Any]) -> Suggestion:
        draw = self._problem.generator(number, "steady").random()
        x = 7.0 if self._options.trouble == "outside" else math.modf(draw + abs(self._sum))[0]
        return Suggestion(parameters={"x": x}, reason=f"sum {self._sum:.6g}", origin=origin)

    def _trouble(self) -> int:
        marker = Path(self._options.marker or "/nonexistent")
        if marker.exists():
            return 0
        match self._options.trouble:
            case "raise":
                raise RuntimeError("this suggester is broken")
            case "hang":
                time.sleep(3600)
            case "hog":
                while True:
                    self._hoard.append(np.ones(2_000_000))
                    time.sleep(0.001)
            case "exit":
                os._exit(3)
            case "wait":
                marker.write_text(str(os.getpid()))
                time.sleep(3600)
            case "too_many":
                return 1
        return 0

    def state(self) -> Blob:
        """What was counted so far."""
        return Blob(version=1, document={"sum": self._sum}, arrays={"counted": np.array(sorted(self._counted))})


def _spec(name: str, **fields: Any) -> Spec:
    return Spec(
        name=name,
        summary="Makes trouble when told to.",
        reference="none",
        honours=Honours(types=EVERY_TYPE),
        options=Options,
        create=Troublesome,
        **fields,
    )


SPECS = {
    "steady": _spec("steady", resources=Resources(timeout_seconds=90)),
    "hasty": _spec("hasty", resources=Resources(timeout_seconds=1.5)),
    "sobol": SOBOL,
}


def get(name: str) -> Spec:
    """A spec by name."""
    return SPECS[name]
