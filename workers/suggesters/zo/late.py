"""What is told after its step has closed, and may still count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation

from .gradient import Slopes
from .learner import Learner
from .outcomes import evaluated
from .probes import Probes

Array = NDArray[np.float64]
REMEMBERED = 3
Again = Callable[[int, int, float, list[Array]], Probes]


class Latecomers:
    """The last steps: where their directions were probed, and what of them has come since.

    Args:
        again: the probes of a step anew, from its number, block, radius and points.
    """

    def __init__(self, size: int, again: Again) -> None:
        self._size, self._again = size, again
        self._earlier: list[dict[str, Any]] = []
        self._places: list[Array] = []

    def remember(self, generation: int, probes: Probes, radius: float) -> None:
        """A step that closes."""
        about = {"generation": generation, "step": probes.step, "block": probes.block, "radius": radius}
        self._earlier = [*self._earlier, about][-REMEMBERED:]
        self._places = [*self._places, probes.bases[0]][-REMEMBERED:]

    def slopes(self, history: History, learner: Learner, open_step: Probes, since: int, seq: int) -> Slopes | None:
        """Of directions that were completed after their step had closed, while the iterate has not left their reach.

        Args:
            since, seq: changes of the study between which they were completed.
        """
        found: Slopes | None = None
        here = open_step.bases[0]
        for about, place in zip(self._earlier, self._places, strict=True):
            if np.linalg.norm(here - place) > about["radius"] * np.sqrt(len(here)):
                continue
            trials = [t for t in evaluated(own(history, about["generation"])) if t.told_seq <= seq]
            if not trials or trials[-1].told_seq <= since:
                continue
            probes = self._again(about["step"], about["block"], about["radius"], [place])
            late = _completed_after(trials, probes, since)
            if late:
                more = learner.late(history, probes, trials, late, open_step.step - about["step"])
                found = more if found is None else found.joined(more)
        return found

    def save(self) -> tuple[list[dict[str, Any]], Array]:
        """The state: the steps, and (k, n) their points."""
        return self._earlier, np.array(self._places).reshape(len(self._places), self._size)

    def load(self, earlier: list[dict[str, Any]], places: Array) -> None:
        """Restore what `save` gave."""
        self._earlier, self._places = list(earlier), list(places)


def own(history: History, generation: int) -> list[Observation]:
    """Trials of a generation, by number; those of another suggester that the study had before are none."""
    return [t for t in history.generation(generation) if "directions" in t.origin]


def _completed_after(trials: list[Observation], probes: Probes, since: int) -> list[int]:
    """Directions whose last probe was told after a change of the study."""
    told: dict[int, list[int]] = {}
    for trial in trials:
        direction = probes.place(trial.origin["row"]).direction
        if direction is not None and probes.direction(direction) is not None:
            told.setdefault(direction, []).append(trial.told_seq)
    return [i for i, seqs in told.items() if len(seqs) == probes.per_direction and max(seqs) > since]


def under(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
