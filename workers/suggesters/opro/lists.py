"""Points as flat lists of values: what the model reads, and what is read from it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from services.domain.errors import Invalid
from services.domain.parameters import (
    BoolParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    PermutationParameter,
    VectorParameter,
    same,
)
from services.domain.space import Point, Space
from workers.models.meta_prompt import Read, is_refusal

FINEST = 1e-6
LONGEST_REPLY = 20_000
LARGEST = 1e308
FEWEST_DIGITS, MOST_DIGITS = 6, 17
_BRACKETS = re.compile(r"[\[(]([^\[\]()]*)[\])]")
_PARTS = re.compile(r'\s*((?:"(?:[^"\\]|\\.)*"|[^,"])+)\s*(?:,|$)')
_NAME = re.compile(r"^[\"']?[A-Za-z_][\w.\-\[\]]*[\"']?\s*[=:]\s*")


def width(parameter: Parameter) -> int:
    """How many values of a list belong to a parameter."""
    if isinstance(parameter, VectorParameter):
        return parameter.length
    return len(parameter.items) if isinstance(parameter, PermutationParameter) else 1


class Lists:
    """A space without conditions whose points are lists: the parameters' values in their order, vectors and orders item by item."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._digits = {p.name: _digits(p) for p in space.parameters}
        self._widths = [width(p) for p in space.parameters]

    def shown(self, point: Mapping[str, Any]) -> str:
        """The list; numbers are rounded to a millionth of their range."""
        return f"[{', '.join(item for p in self.space.parameters for item in self._items(p, point[p.name]))}]"

    def names(self) -> str:
        """What stands where in a list."""
        return f"[{', '.join(name for p in self.space.parameters for name in _names(p))}]"

    def described(self) -> list[str]:
        """The values that each parameter may have, and the constraints."""
        rules = [f"{p.name}: {_description(p)}" for p in self.space.parameters]
        return rules + [f"every list keeps {text}" for text in self.space.constraints]

    def read(self, reply: str) -> Point | Read:
        """The point of the last list of the right length in a reply, or what is wrong; numbers outside go to the nearest edge."""
        if not reply.strip():
            return Read(fault="empty")
        found = [values for values in _lists(reply[-LONGEST_REPLY:]) if len(values) == sum(self._widths)]
        if not found:
            return Read(fault="refused" if is_refusal(reply) else "unparsable")
        values, point = found[-1], {}
        for parameter, wide in zip(self.space.parameters, self._widths, strict=True):
            own, values = values[:wide], values[wide:]
            try:
                point[parameter.name] = _fitted(parameter, own)
            except ValueError:
                return Read(fault="not_allowed")
        try:
            return self.space.point(point)
        except Invalid:
            return Read(fault="not_allowed")

    def _items(self, parameter: Parameter, value: Any) -> list[str]:
        if isinstance(parameter, VectorParameter):
            value = parameter.numbers(value).tolist()
        values = value if isinstance(value, list) else [value]
        return [_written(v, self._digits[parameter.name]) for v in values]


def _lists(reply: str) -> list[list[Any]]:
    """Everything that may be a list, in order: bracketed values, with or without their names; named values without brackets."""
    found = {m.start(): [_value(part) for part in _PARTS.findall(m.group(1))] for m in _BRACKETS.finditer(reply)}
    found |= _json_lists(reply)  # strings in them may have brackets
    if not found:
        parts = re.split(r"[,;\n]|\band\b", reply.strip())
        found[0] = [_value(part) for part in parts if _NAME.match(part.strip())]
    return [found[place] for place in sorted(found)]


def _json_lists(reply: str) -> dict[int, list[Any]]:
    found, decoder = {}, json.JSONDecoder()
    for opener in re.finditer(r"\[(?!\s*\[)", reply):
        try:
            values = decoder.raw_decode(reply, opener.start())[0]
        except (ValueError, RecursionError):
            continue
        if not any(isinstance(v, (list, dict)) for v in values):
            found[opener.start()] = values
    return found


def _value(part: str) -> Any:
    part = part.strip()
    for text in (part, _NAME.sub("", part)):
        try:
            return json.loads(text)
        except ValueError:
            continue
    return _NAME.sub("", part).strip("\"'")


def _fitted(parameter: Parameter, values: Sequence[Any]) -> Any:
    """A value of the parameter: the nearest one of a number, else the very same.

    Raises:
        ValueError: there is none.
    """
    match parameter:
        case VectorParameter():
            return parameter.written(np.clip([_number(v) for v in values], parameter.min, parameter.max))
        case PermutationParameter():
            return parameter.accept(list(values))
        case FloatParameter() | IntParameter() if parameter.size is None:
            return min(max(_number(values[0]), parameter.min), parameter.max)
        case FloatParameter() | IntParameter():
            step = parameter.step or 1.0
            place = (min(max(_number(values[0]), parameter.min), parameter.max) - parameter.min) / step
            return parameter.level(min(math.floor(place + 0.5), (parameter.size or 1) - 1))
        case BoolParameter():
            return parameter.accept({"true": True, "false": False}.get(str(values[0]).lower(), values[0]))
    for choice in getattr(parameter, "choices", ()):
        if same(choice, values[0]) or choice == str(values[0]):
            return choice
    raise ValueError("not one of the choices")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < LARGEST:
        raise ValueError("not a number")
    return float(value)


def _digits(parameter: Parameter) -> int:
    """Significant digits that tell a millionth of the range apart."""
    if not isinstance(parameter, (FloatParameter, VectorParameter)):
        return FEWEST_DIGITS
    largest, finest = max(abs(parameter.min), abs(parameter.max)), (parameter.max - parameter.min) * FINEST
    if not 0 < finest < math.inf:
        return FEWEST_DIGITS
    return min(max(math.ceil(math.log10(largest / finest)), FEWEST_DIGITS), MOST_DIGITS)


def _written(value: Any, digits: int) -> str:
    if isinstance(value, float):
        return f"{value + 0.0:.{digits}g}"
    return json.dumps(value, ensure_ascii=False)


def _names(parameter: Parameter) -> list[str]:
    if isinstance(parameter, (VectorParameter, PermutationParameter)):
        return [f"{parameter.name}_{i + 1}" for i in range(width(parameter))]
    return [parameter.name]


def _description(parameter: Parameter) -> str:
    match parameter:
        case PermutationParameter():
            return f"an order of {', '.join(_written(i, FEWEST_DIGITS) for i in parameter.items)}, each exactly once"
        case VectorParameter():
            return f"{parameter.length} numbers from {parameter.min:g} to {parameter.max:g}"
        case IntParameter() | FloatParameter():
            kind = "a whole number" if isinstance(parameter, IntParameter) else "a number"
            steps = f" in steps of {parameter.step:g}" if parameter.step not in (None, 1) else ""
            return f"{kind} from {parameter.min:g} to {parameter.max:g}{steps}"
        case BoolParameter():
            return "true or false"
    return f"one of {', '.join(_written(c, FEWEST_DIGITS) for c in getattr(parameter, 'choices', ()))}"
