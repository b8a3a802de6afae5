"""Global search along a line: halve the interval that looks easiest to improve in, refine the best bracket by parabolas in between.

STEP: Langerman, Seront, Bersini 1994, "S.T.E.P.: The easiest way to optimize a function". Parabolas: Baudis, Posik 2015,
"Global line search algorithm hybridized with quadratic interpolation and its extension to separable functions" (Brent-STEP).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Sequence

import numpy as np

Asks = Generator[float, float, tuple[float, float]]

PLAN = ((12, 3), (12, 3), (12, 3), (10, 12))
"""How many intervals are halved, and how often the best bracket is refined after that; in turns."""
EVEN = (0.0, 0.25, 0.5, 0.75, 1.0)
GAIN = 0.01
NARROW = 1e-3
LOPSIDED = 20.0


class Line:
    """Points of [0, 1] and their values, sorted by place."""

    def __init__(self, place: float, value: float) -> None:
        self.places, self.values = [place], [value]

    def add(self, place: float, value: float) -> None:
        """A point was evaluated; one that is known stays as it is."""
        i = bisect_left(self.places, place)
        if i == len(self.places) or self.places[i] != place:
            self.places.insert(i, place)
            self.values.insert(i, value)

    @property
    def best(self) -> int:
        """Where the least value stands."""
        return int(np.argmin(self.values))

    def easiest(self) -> float:
        """The middle of the interval in which the flattest parabola through both ends would beat the best by a little."""
        places, values = np.array(self.places), np.array(self.values)
        widths = np.diff(places)
        least = values.min()
        wanted = least - GAIN * max(float(np.median(values)) - least, 1e-12 * max(1.0, abs(least)))
        roots = np.sqrt(values - wanted)
        # Narrower ones are left to the refining.
        bends = np.where(widths > NARROW, (roots[1:] + roots[:-1]) / np.maximum(widths, 1e-300), np.inf)
        i = int(np.argmin(bends))
        return float((places[i] + places[i + 1]) / 2)

    def refined(self) -> float:
        """The least point of the parabola through the best point and its neighbours; a step to the wider side where that fails."""
        i = self.best
        x, last = self.places, len(self.places) - 1
        if i in (0, last):
            inner = x[1] if i == 0 else x[last - 1]
            return x[i] + 0.3 * (inner - x[i])
        left, right = x[i] - x[i - 1], x[i + 1] - x[i]
        if max(left, right) > LOPSIDED * min(left, right):
            return x[i] + (3 * left if right > left else -3 * right)
        drop, rise = self.values[i - 1] - self.values[i], self.values[i + 1] - self.values[i]
        bend = left * rise + right * drop
        move = 0.5 * (right * right * drop - left * left * rise) / bend if 0 < bend < np.inf else 0.0
        if not (-left < move < right) or abs(move) < 1e-9:
            move = 0.3 * right if right > left else -0.3 * left
        return x[i] + move


def search(place: float, value: float, plan: Sequence[tuple[int, int]] = PLAN) -> Asks:
    """Minimise over [0, 1]: yields places and is sent their values, finite ones; returns the best place and its value.

    Args:
        place, value: a point that is known.
        plan: see `PLAN`.
    """
    line = Line(place, value)
    for even in EVEN:
        if abs(even - place) > NARROW:
            line.add(even, (yield even))
    for halvings, refinings in plan:
        for _ in range(halvings):
            middle = line.easiest()
            line.add(middle, (yield middle))
        for _ in range(refinings):
            better = line.refined()
            line.add(better, (yield better))
    return line.places[line.best], line.values[line.best]
