"""Parameters whose values are made of parts in an order: tokens, permutations, texts."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from .document import LongText, Scalar
from .parameter_base import BaseParameter, Choice, ExactInteger, are_distinct


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
