"""Parameters as standard normals: what ensemble methods move.

A uniform prior over a parameter's range (in its own scale) becomes one through the normal distribution function; a normal prior by
its mean and standard deviation, cut off at the range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.domain.codec import Codec, to_unit
from services.domain.document import Document
from services.domain.parameters import Finite, FloatParameter, Parameter, VectorParameter

Array = NDArray[np.float64]
EDGE = 1e-6


class Normal(Document):
    """A normal prior: `std` in units of the parameter, or of its logarithm or log-odds where that is its scale."""

    mean: Finite
    std: Finite = Field(gt=0)


def width(parameter: Parameter) -> float:
    """Length of a real parameter's range in its own scale."""
    if isinstance(parameter, FloatParameter) and parameter.scale == "log":
        return math.log(parameter.max) - math.log(parameter.min)
    if isinstance(parameter, FloatParameter) and parameter.scale == "logit":
        return math.log(parameter.max / (1 - parameter.max)) - math.log(parameter.min / (1 - parameter.min))
    assert isinstance(parameter, (FloatParameter, VectorParameter))
    return parameter.max - parameter.min


class Latent:
    """Between rows of the cube and standard normals, for some columns.

    Args:
        codec: of the space.
        columns: those moved.
        priors: normal ones by parameter; every other column is uniform.
    """

    def __init__(self, codec: Codec, columns: Sequence[int], priors: Mapping[str, Normal]) -> None:
        self.columns = np.array(columns, dtype=int)
        names = [codec.coordinates[j].parameter.name for j in columns]
        self._normal = np.array([name in priors for name in names], dtype=bool)
        self._means, self._stds = np.full(len(names), 0.5), np.ones(len(names))
        for k, name in enumerate(names):
            if name in priors:
                parameter = codec.space.by_name[name]
                value = [priors[name].mean] if isinstance(parameter, VectorParameter) else priors[name].mean
                self._means[k] = float(np.ravel(to_unit(parameter, value))[0])
                self._stds[k] = priors[name].std / (width(parameter) or 1.0)

    @property
    def size(self) -> int:
        """How many columns there are."""
        return len(self.columns)

    def units(self, z: Array) -> Array:
        """(…, D) places in [0, 1] of standard normals."""
        from scipy.special import ndtr

        return np.clip(np.where(self._normal, self._means + self._stds * z, ndtr(z)), 0.0, 1.0)

    def normals(self, units: Array) -> Array:
        """(…, D) standard normals of places in [0, 1]."""
        from scipy.special import ndtri

        uniform = ndtri(np.clip(units, EDGE, 1.0 - EDGE))
        return np.asarray(np.where(self._normal, (units - self._means) / self._stds, uniform))
