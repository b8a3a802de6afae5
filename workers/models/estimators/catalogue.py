"""The estimators by name: directions of which family, which probes along each, and what is made of their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .directions import Family

Slope = Literal["value", "rank", "sign", "previous", "told", "residual"]


@dataclass(frozen=True, slots=True)
class Estimator:
    """How values become a gradient.

    Attributes:
        family: distribution of the directions.
        signs: where each direction is probed: at x + sign · offset.
        lead: whether x itself is probed too, once for each `directions` of them.
        slope: what stands for the slope along a direction: the difference of values, of their centred ranks, its sign, the
            difference to the mean of the step before, a derivative that the client tells, or no direction at all.
        is_exact: unbiased on a linear function; otherwise only the direction is right, on average.
    """

    family: Family
    signs: tuple[int, ...] = (1, -1)
    lead: bool = False
    slope: Slope = "value"
    is_exact: bool = True

    @property
    def is_paired(self) -> bool:
        """Whether each direction is probed on both sides."""
        return len(self.signs) == 2


ESTIMATORS: dict[str, Estimator] = {
    "spsa": Estimator("rademacher"),
    "gauss2": Estimator("gauss"),
    "sphere2": Estimator("sphere"),
    "orth2": Estimator("orthonormal"),
    "coord": Estimator("coordinate"),
    "forward": Estimator("gauss", signs=(1,), lead=True),
    "one-point": Estimator("gauss", signs=(1,), slope="previous"),
    "es-rank": Estimator("gauss", slope="rank", is_exact=False),
    "sign": Estimator("gauss", slope="sign", is_exact=False),
    "guided": Estimator("guided", is_exact=False),
    "forward-grad": Estimator("sphere", signs=(0,), slope="told"),
    "residual": Estimator("none", signs=(0,), slope="residual"),
}
