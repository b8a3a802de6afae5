"""How a gradient estimate becomes the next iterate: by an update rule, with a check of the step, or by SPSA's gains.

A scheme is plain numbers and arrays, named in `SCALARS` and `ARRAYS`, so that it is saved and restored bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from workers.models.rules import Rule

Array = NDArray[np.float64]
Projection = Callable[[Array, Array], Array]
Saved = tuple[dict[str, Any], dict[str, Array]]


class Scheme(ABC):
    """Where gradients are taken, and where the iterate goes.

    Args:
        x: (n,) the start.
        projected: (wanted, present) -> the next iterate, inside the space.

    Attributes:
        x: (n,) the iterate, inside the cube.
    """

    SCALARS: ClassVar[tuple[str, ...]] = ()
    ARRAYS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, x: Array, projected: Projection) -> None:
        self.x, self._projected = x, projected

    @abstractmethod
    def move(self, g: Array, f: float, step: int, damping: float, extras: Mapping[str, Array]) -> None:
        """Take a step.

        Args:
            g: (n,) gradient at `probe_at`; f: mean value there; step: its number.
            damping: share of the usual step length, in (0, 1].
            extras: what the rule wants, and `slope`: the root mean square of g's entries before directions are averaged.
        """

    def probe_at(self, step: int, draws: Callable[[int, str], np.random.Generator]) -> Array:
        """(n,) where the gradient of a step is taken."""
        return self.x

    def recommend(self) -> Array:
        """(n,) the point to report if the run ended now."""
        return self.x

    def radius(self, step: int, usual: float) -> float:
        """Smoothing radius of a step."""
        return usual

    def wants_hessian(self) -> bool:
        """Whether the next step uses the diagonal of the Hessian."""
        return False

    def save(self) -> Saved:
        """The state."""
        scalars = {name: getattr(self, name) for name in self.SCALARS}
        return scalars, {name: getattr(self, name) for name in ("x", *self.ARRAYS)}

    def load(self, scalars: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Restore what `save` gave."""
        for name in self.SCALARS:
            setattr(self, name, scalars[name])
        for name in ("x", *self.ARRAYS):
            setattr(self, name, arrays[name])


class Ruled(Scheme):
    """x ← P(rule(x, g))."""

    def __init__(self, x: Array, projected: Projection, rule: Rule) -> None:
        super().__init__(x, projected)
        self.rule = rule

    def probe_at(self, step: int, draws: Callable[[int, str], np.random.Generator]) -> Array:
        return self._projected(self.rule.probe_at(self.x), self.x)

    def recommend(self) -> Array:
        return self._projected(self.rule.recommend(self.x), self.x)

    def wants_hessian(self) -> bool:
        return "hessian" in self.rule.due

    def wanted(self, g: Array, f: float, damping: float, extras: Mapping[str, Array]) -> Array:
        """(n,) the rule's next iterate, damped."""
        moved = self.rule.step(self.x, g, f, extras)
        return self.x + damping * (moved - self.x)

    def move(self, g: Array, f: float, step: int, damping: float, extras: Mapping[str, Array]) -> None:
        self.x = self._projected(self.wanted(g, f, damping, extras), self.x)

    def save(self) -> Saved:
        scalars, arrays = super().save()
        rule_scalars, rule_arrays = self.rule.save()
        return {**scalars, "rule": rule_scalars}, {**arrays, **{f"rule/{k}": v for k, v in rule_arrays.items()}}

    def load(self, scalars: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        super().load(scalars, arrays)
        inner = {name.removeprefix("rule/"): a for name, a in arrays.items() if name.startswith("rule/")}
        self.rule.load(scalars["rule"], inner)


class Conservative(Ruled):
    """The rule's step, its opposite and none are compared, and the best is taken (ZO-Bench's ZO-SGD-Conserve).

    A step is taken only if it is better by more than the noise: for systems that must not get worse on the way.
    """

    SCALARS = ("known",)
    ARRAYS = ("step_open",)

    def __init__(self, x: Array, projected: Projection, rule: Rule) -> None:
        super().__init__(x, projected, rule)
        self.known: float | None = None  # value at x, where it has been compared before
        self.step_open = np.empty((0, len(x)))

    def move(self, g: Array, f: float, step: int, damping: float, extras: Mapping[str, Array]) -> None:
        ahead = self._projected(self.wanted(g, f, damping, extras), self.x)
        back = self._projected(2 * self.x - ahead, self.x)
        self.step_open = np.array([ahead, back] + ([self.x] if self.known is None else []))

    def candidates(self) -> list[Array]:
        """(n,) points to compare before the next step: ahead, back and, where its value is unknown, the iterate."""
        return list(self.step_open)

    def judge(self, values: list[float], std: float) -> None:
        """Choose among the candidates.

        Args:
            values: of each, infinity for one that could not be evaluated.
            std: standard deviation of a value, 0 if unknown.
        """
        here = values[2] if len(values) > 2 else self.known
        best = min((0, 1), key=lambda i: values[i])
        if here is None or values[best] < here - std or here == np.inf > values[best]:
            self.x, here = self.step_open[best], values[best]
        self.known = here if here is not None and np.isfinite(here) and std == 0 else None
        self.step_open = np.empty((0, len(self.x)))


class Gains(Scheme):
    """SPSA with Spall's gains: a/(k + 1 + A)^0.602, c/(k + 1)^0.101; `a` from the pilot pairs of the first step.

    Args:
        steps: expected; A is a tenth of them.
        first: largest mean move of the first step, as a share of the range.
    """

    SCALARS = ("a", "k")
    ARRAYS = ("total",)

    def __init__(self, x: Array, projected: Projection, steps: float, first: float) -> None:
        super().__init__(x, projected)
        self._stability, self._first = 0.1 * steps, first
        self.a, self.k = 0.0, 0
        self.total = np.zeros(len(x))

    def radius(self, step: int, usual: float) -> float:
        return float(usual / (self.k + 1) ** 0.101)

    def move(self, g: Array, f: float, step: int, damping: float, extras: Mapping[str, Array]) -> None:
        if self.a == 0.0:
            slope = float(extras["slope"])
            if slope == 0.0:
                return  # all values equal: nothing to scale by yet
            self.a = self._first * (self._stability + 1) ** 0.602 / slope
        gain = self.a / (self.k + 1 + self._stability) ** 0.602
        longest = self._first * np.sqrt(len(g))
        wanted = -damping * gain * g
        length = float(np.linalg.norm(wanted))
        if length > longest:  # a noisy or steep pair must not throw the iterate across the space
            wanted = wanted * (longest / length)
        self.x = self._projected(self.x + wanted, self.x)
        self.k += 1
