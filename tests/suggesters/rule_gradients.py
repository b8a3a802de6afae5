"""What the tests of update rules share: a start and fixed gradients with heavy tails."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
N, STEPS = 12, 100
START = np.linspace(0.2, 0.8, N)
HESSIAN = np.linspace(1.0, 10.0, N)
BOTTOM = np.linspace(0.25, 0.6, N)
BARE = {"clip": 0}


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def gradients(seed: int = 0, steps: int = STEPS) -> Array:
    """A fixed sequence with heavy tails."""
    return np.random.default_rng(seed).standard_t(4, (steps, N))
