"""What a climb remembers from trial to trial: written on each trial that it proposes, read from the latest one."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation

Array = NDArray[np.float64]
BETAS = 0.9, 0.999
SMALLEST = 1e-8
STEPS = ("climb", "around", "jump")


@dataclass(frozen=True)
class Moments:
    """Adam's running means of slopes (Kingma, Ba 2015), kept in single precision so that they read as they were written.

    Attributes:
        steps: taken since the last reset.
        first: (d,) of the slopes.
        second: (d,) of their squares.
    """

    steps: int
    first: Array
    second: Array

    @classmethod
    def zero(cls, dimensions: int) -> Moments:
        """Before the first step."""
        return cls(0, np.zeros(dimensions), np.zeros(dimensions))

    def after(self, slope: Array) -> tuple[Moments, Array]:
        """The moments after one more (d,) slope, and the step to take in units of the learning rate."""
        a, b = BETAS
        steps = self.steps + 1
        first = _single(a * self.first + (1 - a) * slope)
        second = _single(b * self.second + (1 - b) * slope * slope)
        step = (first / (1 - a**steps)) / (np.sqrt(second / (1 - b**steps)) + SMALLEST)
        return Moments(steps, first, second), step

    def wire(self) -> list[Any]:
        """As JSON."""
        return [self.steps, _packed(self.first), _packed(self.second)]

    @classmethod
    def read(cls, wire: list[Any]) -> Moments:
        """From JSON."""
        return cls(int(wire[0]), _unpacked(wire[1]), _unpacked(wire[2]))


@dataclass(frozen=True)
class Climb:
    """Where the climb stands.

    Attributes:
        step: what was proposed last.
        at: the trial it climbs from.
        marker: the best merit of its own so far.
        stall: outcomes in a row that did not exceed the marker.
        hot: climbs in a row that began where the model was unsure.
        moments: of the ascent.
        encoder: what made the vectors that they belong to.
    """

    step: str
    at: int
    marker: float
    moments: Moments
    stall: int = 0
    hot: int = 0
    encoder: str = ""

    def origin(self, seen: int) -> dict[str, Any]:
        """As written on the trial that is proposed with the outcomes up to `seen`."""
        return {
            "step": self.step, "at": self.at, "marker": self.marker, "stall": self.stall, "hot": self.hot,
            "moments": self.moments.wire(), "seen": seen,
        }  # fmt: skip

    @classmethod
    def read(cls, origin: Mapping[str, Any]) -> Climb:
        """From a trial's origin."""
        return cls(
            step=origin["step"], at=origin["at"], marker=origin["marker"], stall=origin["stall"], hot=origin["hot"],
            moments=Moments.read(origin["moments"]), encoder=origin["pool"]["encoder"],
        )  # fmt: skip


@dataclass
class Track:
    """The climb so far, read from the trials.

    Attributes:
        climb: None before the first one.
        fresh: trials of climbs and jumps whose outcomes came since, in the order in which they came.
    """

    climb: Climb | None = None
    fresh: list[Observation] = field(default_factory=list)

    @classmethod
    def read(cls, history: History) -> Track:
        """From the latest trial that the climb proposed."""
        own = [t for t in history.trials if t.origin.get("step") in STEPS]
        if not own:
            return cls()
        latest = max(own, key=lambda t: t.number)
        seen = int(latest.origin["seen"])
        fresh = [t for t in own if t.origin["step"] != "around" and not t.is_pending and t.told_seq > seen]
        return cls(Climb.read(latest.origin), sorted(fresh, key=lambda t: t.told_seq))

    def now(self, merits: Mapping[int, float], best: int, dimensions: int, tolerance: int, encoder: str) -> Climb:
        """Where the climb stands with the outcomes that came since.

        Args:
            merits: of the trials with an outcome, by number.
            best: number of the best one.
            dimensions: of the vectors.
            tolerance: outcomes without success, at most, before it returns to the best.
            encoder: of the vectors; moments that belong to another one's are of no use.
        """
        climb = self.climb or Climb("climb", best, merits[best], Moments.zero(dimensions), encoder=encoder)
        if climb.encoder != encoder:
            climb = replace(climb, moments=Moments.zero(dimensions), encoder=encoder)
        for trial in self.fresh:
            merit = merits.get(trial.number)
            if merit is None:
                continue
            is_better = merit > climb.marker
            climb = replace(climb, marker=max(merit, climb.marker), stall=0 if is_better else climb.stall + 1)
            if climb.step != "around":  # whose centre stays until all around it is tried
                climb = replace(climb, at=trial.number)
        if (climb.step != "around" and climb.stall > tolerance) or climb.at not in merits:
            climb = replace(climb, at=best, stall=0, moments=Moments.zero(dimensions))
        return climb


def _single(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)


def _packed(values: Array) -> str:
    return b64encode(values.astype("<f4").tobytes()).decode()


def _unpacked(text: str) -> Array:
    return np.frombuffer(b64decode(text), dtype="<f4").astype(np.float64)
