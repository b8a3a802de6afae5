"""One tensor of theta, and what the rules and masks remember of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..arrays import Arrays


@dataclass
class Tensor:
    """One tensor, flat.

    Attributes:
        number: its place among the sorted names: the noise contract's tensor id.
        theta: (size,) its entries in C order.
        start: (size,) theta_0, or None where nobody keeps it.
        active: (size,) bool, or None where no mask was set.
        decays: whether weight decay acts on it.
        memory: (size,) arrays of the rules by name: `first` and `second` moments, `scale` of `snes`.
    """

    number: int
    shape: tuple[int, ...]
    theta: Any
    start: Any
    decays: bool
    active: Any = None
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def columns(self) -> int:
        return math.prod(self.shape[1:])

    def is_low_rank(self, rank: int) -> bool:
        """Whether perturbations of this rank are matrices of low rank here, or full noise all the same."""
        return rank > 0 and len(self.shape) > 1

    def share(self, part: tuple[int, int]) -> tuple[int, int]:
        """From and to, of the entries of the i-th of n shares: whole rows."""
        index, parts = part
        return self.rows * index // parts * self.columns, self.rows * (index + 1) // parts * self.columns

    def spans(self, chunk: int, rank: int, part: tuple[int, int] = (0, 1)) -> Iterator[tuple[int, int]]:
        """Ranges of entries, about `chunk` long, that together are a part of the tensor; whole rows where noise is of low rank."""
        low, high = self.share(part)
        step = chunk
        if self.is_low_rank(rank):
            step = max(1, chunk // self.columns) * self.columns
        for first in range(low, high, step):
            yield first, min(first + step, high)

    def recalled(self, name: str, arrays: Arrays, dtype: str, value: float = 0.0) -> Any:
        """An array of the memory, made when it is first asked for."""
        if name not in self.memory:
            self.memory[name] = arrays.zeros(self.size, dtype) + value
        return self.memory[name]


def tensors_of(
    arrays: Arrays, given: Mapping[str, Any], dtype: str, *, copy: bool, keep_start: bool
) -> dict[str, Tensor]:
    """Tensors by name, in the order of their numbers.

    Raises:
        ValueError: there are none, or empty ones, or not as `copy=False` needs them.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in given.items()}
    if not given or not all(math.prod(shape) for shape in shapes.values()):
        raise ValueError("theta needs tensors, and entries in each")
    has_matrices = any(len(shape) > 1 for shape in shapes.values())
    found = {}
    for number, name in enumerate(sorted(given)):
        theta = arrays.flat(given[name], dtype, copy)
        start = arrays.flat(theta, dtype, True) if keep_start else None
        found[name] = Tensor(number, shapes[name], theta, start, len(shapes[name]) > 1 or not has_matrices)
    return found
