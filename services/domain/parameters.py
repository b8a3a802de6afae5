"""The parameter types of a search space and what a value of each looks like."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import (
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from .document import LARGEST_EXACT_INTEGER, Document, LongText, Name, Scalar, canonical
from .packed import pack, unpack
from .seeds import SeedValue

Scale = Literal["linear", "log", "logit"]
Finite = Annotated[float, Field(ge=-1e308, le=1e308)]
ExactInteger = Annotated[int, Field(ge=-LARGEST_EXACT_INTEGER, le=LARGEST_EXACT_INTEGER)]
Choice = Annotated[str, Field(max_length=10_000)] | bool | ExactInteger | Finite | None

GRID_TOLERANCE = 1e-9


def same(a: Scalar, b: Scalar) -> bool:
    """Equality of JSON scalars: 1 and 1.0 are the same number, True and 1 are not the same thing."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _number(value: Any) -> float | int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _distinct(values: tuple[Scalar, ...] | list[Scalar]) -> bool:
    return len({(isinstance(v, bool), v) for v in values}) == len(values)


class _Parameter(Document):
    name: Name
    when: dict[Name, Annotated[tuple[Choice, ...], Field(min_length=1)]] | None = Field(
        default=None, description="Active only when every named parent has one of these values."
    )

    @model_validator(mode="after")
    def _default_is_a_value(self) -> Self:
        default = getattr(self, "default", None)
        if default is not None:
            try:
                self.accept(default)
            except ArithmeticError:
                return self  # bounds or step make no sense, which their own check says next
            except ValueError as error:
                raise ValueError(f"default {error}") from None
        return self

    @model_serializer(mode="wrap")
    def _without_the_unset(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = serialise(self)
        return {name: v for name, v in found.items() if v is not None or name in self.model_fields_set}

    def accept(self, value: Any) -> Any:
        """The value in its canonical form.

        Raises:
            ValueError: it is not a value of this parameter.
        """
        raise TypeError(f"{type(self).__name__} takes no value")  # every concrete parameter defines its own

    def centre(self) -> Any:
        """A value in the middle, where a point needs one and nothing better is known."""
        raise TypeError(f"{type(self).__name__} has no centre")

    @property
    def kind(self) -> str:
        """What suggesters say that they serve: the type, and `seed` for a vector that travels as a seed."""
        return str(getattr(self, "type", ""))

    @property
    def size(self) -> int | None:
        """How many values there are, None where they cannot be counted."""
        return None


class FloatParameter(_Parameter):
    """A real number between `min` and `max`; with `step`, the grid min, min + step, …"""

    type: Literal["float"]
    min: Finite
    max: Finite
    scale: Scale = "linear"
    step: Finite | None = None
    default: Finite | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if not math.isfinite(self.max - self.min):
            raise ValueError("max - min must be finite")
        if self.scale == "log" and self.min <= 0:
            raise ValueError("scale log needs min > 0")
        if self.scale == "logit" and not 0 < self.min <= self.max < 1:
            raise ValueError("scale logit needs 0 < min and max < 1")
        if self.step is not None:
            if self.step <= 0:
                raise ValueError("step must be > 0")
            if self.scale != "linear":
                raise ValueError("step goes with scale linear only")
            if (self.max - self.min) / self.step > LARGEST_EXACT_INTEGER:
                raise ValueError("step is too small for this range")
        return self

    @property
    def size(self) -> int | None:
        if self.min == self.max:
            return 1
        return None if self.step is None else math.floor((self.max - self.min) / self.step + GRID_TOLERANCE) + 1

    def level(self, index: int) -> float:
        """The value at a place of the grid, 0 to size - 1."""
        return self.min if self.step is None else min(self.min + index * self.step, self.max)

    def accept(self, value: Any) -> float:
        number = float(_number(value))
        if not self.min <= number <= self.max:
            raise ValueError(f"{number:g} is outside [{self.min:g}, {self.max:g}]")
        if self.step is None:
            return number
        index = round((number - self.min) / self.step)
        nearest = self.level(index)
        if abs(nearest - number) > GRID_TOLERANCE * max(1.0, abs(self.step), abs(number)):
            raise ValueError(f"{number:g} is not on the grid of step {self.step:g} from {self.min:g}")
        return nearest

    def centre(self) -> float:
        if self.size is not None:
            return self.level((self.size - 1) // 2)
        if self.scale == "log":
            return min(max(math.sqrt(self.min) * math.sqrt(self.max), self.min), self.max)
        return self.min / 2 + self.max / 2


class IntParameter(_Parameter):
    """A whole number between `min` and `max`, both included; with `step`, every step-th from `min`."""

    type: Literal["int"]
    min: ExactInteger
    max: ExactInteger
    scale: Literal["linear", "log"] = "linear"
    step: Annotated[int, Field(ge=1, le=LARGEST_EXACT_INTEGER)] = 1
    default: ExactInteger | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if self.scale == "log" and self.min < 1:
            raise ValueError("scale log needs min >= 1")
        if self.scale == "log" and self.step != 1:
            raise ValueError("step goes with scale linear only")
        return self

    @property
    def size(self) -> int:
        return (self.max - self.min) // self.step + 1

    def level(self, index: int) -> int:
        """The value at a place of the grid, 0 to size - 1."""
        return self.min + index * self.step

    def accept(self, value: Any) -> int:
        number = _number(value)
        if number != int(number):
            raise ValueError(f"{number:g} is not a whole number")
        whole = int(number)
        if not self.min <= whole <= self.max:
            raise ValueError(f"{whole} is outside [{self.min}, {self.max}]")
        if (whole - self.min) % self.step:
            raise ValueError(f"{whole} is not on the grid of step {self.step} from {self.min}")
        return whole

    def centre(self) -> int:
        return self.level((self.size - 1) // 2)


class BoolParameter(_Parameter):
    """True or false."""

    type: Literal["bool"]
    default: bool | None = None

    @property
    def size(self) -> int:
        return 2

    @property
    def choices(self) -> tuple[Scalar, ...]:
        return (False, True)

    def accept(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value

    def centre(self) -> bool:
        return False


class _Choices(_Parameter):
    choices: Annotated[tuple[Choice, ...], Field(min_length=1, max_length=10_000)]

    @field_validator("choices")
    @classmethod
    def _no_twins(cls, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        if not _distinct(choices):
            raise ValueError("choices must differ from each other")
        return choices

    @property
    def size(self) -> int:
        return len(self.choices)

    def accept(self, value: Any) -> Scalar:
        for choice in self.choices:
            if same(choice, value):
                return choice
        raise ValueError(f"{canonical(value)[:100]} is not one of the choices")

    def centre(self) -> Scalar:
        return self.choices[0]


class CategoricalParameter(_Choices):
    """One of `choices`, without order."""

    type: Literal["categorical"]
    default: Choice = None


class OrdinalParameter(_Choices):
    """One of `choices`, in the given order."""

    type: Literal["ordinal"]
    default: Choice = None


LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
Dimension = Annotated[int, Field(ge=1, le=2**53 - 1)]
TensorShape = Annotated[tuple[Dimension, ...], Field(min_length=1, max_length=16)]


class VectorParameter(_Parameter):
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
        numbers = unpack(value, self.encoding) if packed else np.array([float(_number(item)) for item in value])
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


class SeedVectorParameter(_Parameter):
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
            return SeedValue.model_validate_json(orjson.dumps(value)).model_dump(mode="json")
        except (ValidationError, TypeError, ValueError) as error:
            what = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
            where = "".join(f"{part}: " for part in what["loc"])
            raise ValueError(f"{where}{what['msg']}") from None


class TokensParameter(_Parameter):
    """A sequence of tokens of `vocabulary`, `min_length` to `max_length` long; a token may come twice."""

    type: Literal["tokens"]
    vocabulary: Annotated[tuple[str | ExactInteger, ...], Field(min_length=1, max_length=300_000)]
    min_length: Annotated[int, Field(ge=0, le=10_000)] = 0
    max_length: Annotated[int, Field(ge=1, le=10_000)]
    default: tuple[str | ExactInteger, ...] | None = None

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if self.min_length > self.max_length:
            raise ValueError("min_length is above max_length")
        if not _distinct(self.vocabulary):
            raise ValueError("vocabulary must not name a token twice")
        return self

    @property
    def size(self) -> int | None:
        v = len(self.vocabulary)
        if self.max_length * math.log(max(v, 2)) > 60:
            return None
        return sum(int(v**length) for length in range(self.min_length, self.max_length + 1))

    def accept(self, value: Any) -> list[str | int]:
        if not isinstance(value, (list, tuple)):
            raise ValueError("must be an array of tokens")
        if not self.min_length <= len(value) <= self.max_length:
            raise ValueError(f"must have {self.min_length} to {self.max_length} tokens, has {len(value)}")
        known = set(self.vocabulary)
        for index, token in enumerate(value):
            if isinstance(token, bool) or not isinstance(token, (str, int)) or token not in known:
                raise ValueError(f"item {index} is not in the vocabulary")
        return list(value)

    def centre(self) -> list[str | int]:
        return [self.vocabulary[0]] * self.min_length


class PermutationParameter(_Parameter):
    """An order of `items`: each exactly once."""

    type: Literal["permutation"]
    items: Annotated[tuple[Choice, ...], Field(min_length=1, max_length=10_000)]
    default: tuple[Choice, ...] | None = None

    @field_validator("items")
    @classmethod
    def _no_twins(cls, items: tuple[Choice, ...]) -> tuple[Choice, ...]:
        if not _distinct(items):
            raise ValueError("items must differ from each other")
        return items

    @property
    def size(self) -> int | None:
        return math.factorial(len(self.items)) if len(self.items) <= 20 else None

    def accept(self, value: Any) -> list[Scalar]:
        if not isinstance(value, (list, tuple)):
            raise ValueError("must be an array of all the items in some order")
        places = {(isinstance(item, bool), item): item for item in self.items}
        try:
            found = [places.pop((isinstance(item, bool), item)) for item in value]
        except (KeyError, TypeError):
            raise ValueError("must hold each item exactly once, and nothing else") from None
        if places:
            raise ValueError("must hold each item exactly once, and nothing else")
        return list(found)

    def centre(self) -> list[Scalar]:
        return list(self.items)


class TextParameter(_Parameter):
    """A text, such as a prompt: `initial` texts to start from, `placeholders` it must keep."""

    type: Literal["text"]
    initial: Annotated[tuple[LongText, ...], Field(max_length=1000)] = Field(
        default=(), description="Texts to start from; they are tried first."
    )
    max_length: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10_000, description="In characters, for starting and proposed texts alike."
    )
    task: LongText | None = Field(
        default=None, description="What the text is for, in words: a language model reads it."
    )
    placeholders: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=100)] = (
        Field(default=(), description="What every text must hold as it stands, such as `{review}`.")
    )
    default: LongText | None = None

    @model_validator(mode="after")
    def _initial_are_values(self) -> Self:
        problems: list[InitErrorDetails] = []
        for index, text in enumerate(self.initial):
            try:
                self.accept(text)
            except ValueError as error:
                problem = PydanticCustomError("value_error", "{why}", {"why": str(error)})
                problems.append(InitErrorDetails(type=problem, loc=("initial", index), input=text))
        if problems:
            raise ValidationError.from_exception_data("initial", problems)
        return self

    def accept(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("must be a text")
        if len(value) > self.max_length:
            raise ValueError(f"has {len(value)} characters, at most {self.max_length} are allowed")
        for placeholder in self.placeholders:
            if placeholder not in value:
                raise ValueError(f"lost its placeholder {placeholder}")
        return value

    def centre(self) -> str:
        return self.initial[0] if self.initial else " ".join(self.placeholders)


def _tag(value: Any) -> str | None:
    """Which parameter a document or an object means."""
    if not isinstance(value, dict):
        return str(getattr(value, "kind", ""))
    kind = value.get("type")
    if kind == "vector" and value.get("encoding") == "seed":
        return "seed"
    return kind if isinstance(kind, str) else None


_WRONG_TYPE = "type must be float, int, bool, categorical, ordinal, vector, tokens, permutation or text"

Parameter = Annotated[
    Annotated[FloatParameter, Tag("float")]
    | Annotated[IntParameter, Tag("int")]
    | Annotated[BoolParameter, Tag("bool")]
    | Annotated[CategoricalParameter, Tag("categorical")]
    | Annotated[OrdinalParameter, Tag("ordinal")]
    | Annotated[VectorParameter, Tag("vector")]
    | Annotated[SeedVectorParameter, Tag("seed")]
    | Annotated[TokensParameter, Tag("tokens")]
    | Annotated[PermutationParameter, Tag("permutation")]
    | Annotated[TextParameter, Tag("text")],
    Discriminator(_tag, custom_error_type="parameter_type", custom_error_message=_WRONG_TYPE),
]
