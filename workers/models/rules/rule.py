"""What an update rule is: a gradient estimate becomes a step.

A rule is plain numbers and float64 arrays, named in `SCALARS` and `ARRAYS`, so that its state is saved and restored bit for bit.
The caller projects what `step` returns and hands the projected iterate to the next call: averages and distances are therefore taken
of the projected iterates, one call later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.domain.document import Document

Array = NDArray[np.float64]
Shape = tuple[int, int]
Saved = tuple[dict[str, Any], dict[str, Array]]

NO_EXTRAS: Mapping[str, Array] = {}

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class BadOptions(ValueError):
    """A rule does not take its options.

    Attributes:
        errors: (option, what is wrong with it) each; an option of "" stands for all of them together.
    """

    def __init__(self, name: str, errors: Sequence[tuple[str, str]]) -> None:
        self.errors = tuple(errors)
        told = "; ".join(f"option {option}: {message}" if option else message for option, message in self.errors)
        super().__init__(f"{name}: {told}")


class Rule(ABC):
    """Turns gradient estimates into iterates.

    Args:
        size: n, length of the iterate.
        options: of this rule, an instance of its `Options`.
        shape: (a, b) with a·b = n, for rules over a matrix.

    Attributes:
        gradients_per_step: calls of `step` (each with a gradient taken at `probe_at`) that make one full step.
        wants: what it uses beside the gradient: "value" (`f` in each step), "hessian" (`extras["hessian"]`, the diagonal),
            "target" (a value that the objective cannot fall below, its option), "matrix" (it cannot be made without `shape`),
            "exact" (gradients without directional noise).
        factor: what schedules multiply the learning rate by.
    """

    class Options(Document):
        """No options."""

    summary: ClassVar[str]
    source: ClassVar[str]
    gradients_per_step: int = 1
    wants: frozenset[str] = frozenset()
    SCALARS: ClassVar[tuple[str, ...]] = ()
    ARRAYS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        self.size, self.options, self.shape = size, options, shape
        self.factor = 1.0

    @abstractmethod
    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        """The next iterate, before projection.

        Args:
            x: (n,) the iterate: what the last step returned, projected.
            g: (n,) gradient estimate, taken at `probe_at(x)`.
            f: mean value at or around that point.
            extras: see `wants`.
        """

    def probe_at(self, x: Array) -> Array:
        """(n,) where the gradient of the next step is taken; project it too, one that looks ahead may leave the domain."""
        return x

    def recommend(self, x: Array) -> Array:
        """(n,) the point to report if the run ended now."""
        return x

    @property
    def due(self) -> frozenset[str]:
        """What of `wants` the next step really uses (a diagonal Hessian is wanted every tenth step only)."""
        return self.wants

    def save(self) -> Saved:
        """The state: numbers for JSON (whole, fractions, lists of these), and float64 arrays."""
        scalars = {name: getattr(self, name) for name in ("factor", *self.SCALARS)}
        return scalars, {name: np.array(getattr(self, name)) for name in self.ARRAYS}

    def load(self, scalars: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Restore what `save` gave, bit for bit."""
        for name in ("factor", *self.SCALARS):
            setattr(self, name, scalars[name])
        for name in self.ARRAYS:
            setattr(self, name, np.array(arrays[name], dtype=np.float64))


class Wrapper(Rule):
    """A rule around a rule: what it does not change goes through."""

    def __init__(self, inner: Rule, options: Document) -> None:
        super().__init__(inner.size, options, inner.shape)
        self.inner = inner
        self.gradients_per_step = inner.gradients_per_step

    @property
    def wants(self) -> frozenset[str]:  # type: ignore[override]
        return self.inner.wants

    @property
    def due(self) -> frozenset[str]:
        return self.inner.due

    def probe_at(self, x: Array) -> Array:
        return self.inner.probe_at(x)

    def recommend(self, x: Array) -> Array:
        return self.inner.recommend(x)

    def save(self) -> Saved:
        scalars, arrays = super().save()
        inner_scalars, inner_arrays = self.inner.save()
        return {**scalars, "inner": inner_scalars}, {**arrays, **{f"inner/{k}": v for k, v in inner_arrays.items()}}

    def load(self, scalars: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        super().load(scalars, arrays)
        inner = {name.removeprefix("inner/"): a for name, a in arrays.items() if name.startswith("inner/")}
        self.inner.load(scalars["inner"], inner)
