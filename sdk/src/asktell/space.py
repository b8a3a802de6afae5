"""The parameters of a search space, as they are written in Python. The service checks them; see `docs/sdk.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from .errors import Invalid

Scalar = str | int | float | bool | None
When = Mapping[str, Scalar | Sequence[Scalar]]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What every parameter may have.

    Attributes:
        when: active only when every named parent has the given value, or one of the given values.
        name: needed where the space is a list; in a mapping the key is the name.
    """

    type: ClassVar[str]
    when: When | None = None
    name: str | None = None

    def document(self, name: str | None = None) -> dict[str, Any]:
        """As the service reads it.

        Raises:
            Invalid: it has no name.
        """
        called = name or self.name
        if not called:
            raise Invalid.at("/parameters", f"a {self.type} parameter in a list needs its name")
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("name", "when")}
        found = {"name": called, "type": self.type} | {k: _plain(v) for k, v in values.items() if v is not None}
        if self.when is not None:
            found["when"] = {parent: _values(value) for parent, value in self.when.items()}
        return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, range, set, frozenset)) else value


def _values(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


@dataclass(frozen=True)
class Float(Parameter):
    """A real number between `min` and `max`; with `step`, the grid min, min + step, …"""

    type = "float"
    min: float
    max: float
    scale: Literal["linear", "log", "logit"] = "linear"
    step: float | None = None
    default: float | None = None


@dataclass(frozen=True)
class Int(Parameter):
    """A whole number between `min` and `max`, both included; with `step`, every step-th from `min`."""

    type = "int"
    min: int
    max: int
    scale: Literal["linear", "log"] = "linear"
    step: int | None = None
    default: int | None = None


@dataclass(frozen=True)
class Bool(Parameter):
    """True or false."""

    type = "bool"
    default: bool | None = None


@dataclass(frozen=True)
class Categorical(Parameter):
    """One of `choices`, without order."""

    type = "categorical"
    choices: Sequence[Scalar]
    default: Scalar = None


@dataclass(frozen=True)
class Ordinal(Parameter):
    """One of `choices`, in the given order."""

    type = "ordinal"
    choices: Sequence[Scalar]
    default: Scalar = None


@dataclass(frozen=True)
class Vector(Parameter):
    """`length` real numbers, each between `min` and `max`: one array; `shape` if it is a tensor.

    With encoding float32 or float64 its values travel as bytes, which long vectors want.
    """

    type = "vector"
    length: int
    min: float
    max: float
    default: Sequence[float] | None = None
    shape: Sequence[int] | None = None
    encoding: Literal["list", "float32", "float64"] | None = None


@dataclass(frozen=True)
class SeedVector(Parameter):
    """Numbers that stay with this client, of any count: trials carry the seed of what to add to them (`asktell.replica`).

    Attributes:
        shape: of each tensor by name, or of the only one.
    """

    type = "vector"
    shape: Sequence[int] | Mapping[str, Sequence[int]]

    def document(self, name: str | None = None) -> dict[str, Any]:
        """As the service reads it."""
        shape = self.shape
        plain = {k: list(v) for k, v in shape.items()} if isinstance(shape, Mapping) else list(shape)
        return super().document(name) | {"encoding": "seed", "shape": plain}


@dataclass(frozen=True)
class Tokens(Parameter):
    """A sequence of tokens of `vocabulary`, `min_length` to `max_length` long; a token may come twice."""

    type = "tokens"
    vocabulary: Sequence[str | int]
    max_length: int
    min_length: int = 0
    default: Sequence[str | int] | None = None


@dataclass(frozen=True)
class Permutation(Parameter):
    """An order of `items`: each exactly once."""

    type = "permutation"
    items: Sequence[Scalar]
    default: Sequence[Scalar] | None = None


@dataclass(frozen=True)
class Text(Parameter):
    """A text, such as a prompt: `initial` texts to start from, `task` what it is for, `placeholders` it must keep.

    Attributes:
        initial: one or several.
        max_length: in characters.
        placeholders: one or several, such as `{review}`, that every text holds as they stand.
    """

    type = "text"
    initial: str | Sequence[str] = ()
    max_length: int | None = None
    task: str | None = None
    placeholders: str | Sequence[str] = ()
    default: str | None = None

    def document(self, name: str | None = None) -> dict[str, Any]:
        """As the service reads it; a single text is a list of one."""
        found = super().document(name)
        return found | {key: [found[key]] for key in ("initial", "placeholders") if isinstance(found[key], str)}


Space = Mapping[str, Parameter | Mapping[str, Any]] | Sequence[Parameter | Mapping[str, Any]]


def documents(space: Space) -> list[dict[str, Any]]:
    """A space as the service reads it.

    Raises:
        Invalid: a parameter without a name.
    """
    if isinstance(space, Mapping):
        return [_document(parameter, name) for name, parameter in space.items()]
    return [_document(parameter, None) for parameter in space]


def _document(parameter: Parameter | Mapping[str, Any], name: str | None) -> dict[str, Any]:
    if isinstance(parameter, Parameter):
        return parameter.document(name)
    return {"name": name, **parameter} if name is not None else dict(parameter)
