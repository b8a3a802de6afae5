"""Vectors: numbers that travel as lists or as bytes, or that stay with the client and travel as seeds."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from .document import Name
from .packed import pack, unpack
from .parameter_base import BaseParameter, Finite, number_of
from .seeds import SeedValue

LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
Dimension = Annotated[int, Field(ge=1, le=2**53 - 1)]
TensorShape = Annotated[tuple[Dimension, ...], Field(min_length=1, max_length=16)]


class VectorParameter(BaseParameter):
    """`length` real numbers, each between `min` and `max`: one array; `shape` says what tensor it is, in C order.

    With encoding float32 or float64 its values travel, and are kept, as bytes (`services.domain.packed`).
    """

    type: Literal["vector"]
    length: Annotated[int, Field(ge=1, le=1_000_000)]
    min: Finite
    max: Finite
    default: tuple[Finite, ...] | None = None
    shape: TensorShape | None = None
    encoding: Literal["list", "float32", "float64"] = "list"

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if self.shape is not None and math.prod(self.shape) != self.length:
            raise ValueError(f"shape {list(self.shape)} has {math.prod(self.shape)} items, not {self.length}")
        if self.encoding == "float32":
            if max(abs(self.min), abs(self.max)) > LARGEST_FLOAT32:
                raise ValueError(f"encoding float32 holds numbers up to {LARGEST_FLOAT32:g}")
            if self.min < self.max and np.float32(self.min) == np.float32(self.max):
                raise ValueError(f"encoding float32 has one number from {self.min!r} to {self.max!r}")
        return self

    @property
    def size(self) -> int | None:
        return 1 if self.min == self.max else None

    def accept(self, value: Any) -> Any:
        packed = self.encoding != "list" and isinstance(value, dict)
        if not packed and not isinstance(value, (list, tuple)):
            raise ValueError(f"must be an array of {self.length} numbers")
        numbers = unpack(value, self.encoding) if packed else np.array([float(number_of(item)) for item in value])
        if len(numbers) != self.length:
            raise ValueError(f"must be an array of {self.length} numbers, has {len(numbers)}")
        low, high = self._rounded(np.array([self.min, self.max]))
        numbers = self._rounded(numbers)
        outside = np.flatnonzero(~((low <= numbers) & (numbers <= high)))
        if len(outside):
            number = float(numbers[outside[0]])
            raise ValueError(f"item {outside[0]}: {number:g} is outside [{self.min:g}, {self.max:g}]")
        return self.written(numbers)

    def _rounded(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is outside
            return numbers.astype(np.float32).astype(np.float64) if self.encoding == "float32" else numbers

    def numbers(self, value: Any) -> NDArray[np.float64]:
        """(length,) numbers of a canonical value, or of an array."""
        return unpack(value, self.encoding) if isinstance(value, dict) else np.asarray(value, dtype=np.float64)

    def written(self, numbers: NDArray[np.float64]) -> Any:
        """(length,) numbers as a canonical value."""
        if self.encoding != "list":
            return pack(numbers, self.encoding)
        return [float(number) for number in numbers]

    def centre(self) -> list[float]:
        return [self.min / 2 + self.max / 2] * self.length


class SeedVectorParameter(BaseParameter):
    """Real numbers that stay with the client, as many as it likes: trials carry the seed of what to add to them.

    `shape` is that of the client's tensors by name (the noise contract numbers them in the order of their names), or of the only one.
    """

    type: Literal["vector"]
    encoding: Literal["seed"]
    shape: Annotated[
        Annotated[TensorShape, Tag("tensor shape")]
        | Annotated[dict[Name, TensorShape], Field(min_length=1, max_length=10_000), Tag("tensor shapes")],
        Discriminator(lambda shape: "tensor shapes" if isinstance(shape, dict) else "tensor shape"),
    ]

    @property
    def kind(self) -> str:
        return "seed"

    @property
    def count(self) -> int:
        """How many numbers there are."""
        shapes = self.shape.values() if isinstance(self.shape, dict) else [self.shape]
        return sum(math.prod(shape) for shape in shapes)

    def accept(self, value: Any) -> dict[str, Any]:
        try:
            found = SeedValue.model_validate_json(orjson.dumps(value))
        except (ValidationError, TypeError, ValueError) as error:
            what = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
            where = "".join(f"{part}: " for part in what["loc"])
            raise ValueError(f"{where}{what['msg']}") from None
        return {**found.__dict__, "seed": list(found.seed)}  # a dump takes longer, and there are thousands
