"""The parameter types of a search space and what a value of each looks like."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from .document import LARGEST_EXACT_INTEGER, LongText, Scalar, canonical
from .parameter_base import (
    GRID_TOLERANCE,
    BaseParameter,
    Choice,
    ExactInteger,
    Finite,
    Scale,
    are_distinct,
    number_of,
    same,
)
from .vector_parameters import SeedVectorParameter, VectorParameter

__all__ = [
    "BoolParameter",
    "CategoricalParameter",
    "ExactInteger",
    "Finite",
    "FloatParameter",
    "IntParameter",
    "OrdinalParameter",
    "Parameter",
    "PermutationParameter",
    "SeedVectorParameter",
    "TextParameter",
    "TokensParameter",
    "VectorParameter",
    "same",
]


class FloatParameter(BaseParameter):
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
        number = float(number_of(value))
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


class IntParameter(BaseParameter):
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
        number = number_of(value)
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


class BoolParameter(BaseParameter):
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


class _Choices(BaseParameter):
    choices: Annotated[tuple[Choice, ...], Field(min_length=1, max_length=10_000)]

    @field_validator("choices")
    @classmethod
    def _no_twins(cls, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        if not are_distinct(choices):
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


class TokensParameter(BaseParameter):
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
        if not are_distinct(self.vocabulary):
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


class PermutationParameter(BaseParameter):
    """An order of `items`: each exactly once."""

    type: Literal["permutation"]
    items: Annotated[tuple[Choice, ...], Field(min_length=1, max_length=10_000)]
    default: tuple[Choice, ...] | None = None

    @field_validator("items")
    @classmethod
    def _no_twins(cls, items: tuple[Choice, ...]) -> tuple[Choice, ...]:
        if not are_distinct(items):
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


class TextParameter(BaseParameter):
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
    encoding = value.get("encoding", "list")
    if kind == "vector" and encoding not in ENCODINGS:
        return None
    if kind == "vector" and encoding == "seed":
        return "seed"
    return kind if isinstance(kind, str) else None


ENCODINGS = ("list", "float32", "float64", "seed")
_WRONG_TYPE = (
    "type must be float, int, bool, categorical, ordinal, vector, tokens, permutation or text, "
    "and a vector's encoding list, float32, float64 or seed"
)

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
