"""Sets of demonstrations: which examples a prompt shows. They leave as ids, or as text where the client declared the texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import Field

from services.domain.document import Document
from services.domain.parameters import TextParameter, TokensParameter
from workers.models.texts import TextRules

MOST_DECLARED = 1000
TRIES = 20
Text = Annotated[str, Field(max_length=20_000, pattern=r"^[^\x00]*$")]


class Demonstration(Document):
    """An example that may be shown to the model that is prompted."""

    id: str = Field(min_length=1, max_length=256, description="Of the example.")
    input: Text | None = None
    output: Text | None = Field(
        default=None, description="The right answer. A successful trial's own output is preferred."
    )


Demonstrations = Annotated[tuple[Demonstration, ...], Field(max_length=MOST_DECLARED)]


class Carrier(Protocol):
    """The parameter that takes a demonstration set to the client."""

    @property
    def name(self) -> str:
        """Of the parameter."""
        ...

    def ids(self) -> list[str]:
        """What may stand in a set."""
        ...

    def sources(self) -> list[str]:
        """Examples of which a right output would be of use."""
        ...

    def start(self) -> Any:
        """The parameter's value before any set: no demonstration, where that is allowed."""
        ...

    def value(self, ids: Sequence[str]) -> Any:
        """The parameter's value for a set."""
        ...


class AsIds:
    """A `tokens` parameter whose vocabulary are ids of examples; the client looks them up."""

    def __init__(self, parameter: TokensParameter) -> None:
        self._parameter = parameter
        self._tokens = {str(token): token for token in parameter.vocabulary}
        self.name = parameter.name

    def ids(self) -> list[str]:
        """The vocabulary."""
        return list(self._tokens)

    def sources(self) -> list[str]:
        """The vocabulary."""
        return self.ids()

    def start(self) -> list[str | int]:
        """The declared default, else as few as allowed."""
        default = self._parameter.default
        return list(default) if default is not None else self.value([])

    def value(self, ids: Sequence[str]) -> list[str | int]:
        """At most as many as fit, filled up where more are demanded."""
        least, most = self._parameter.min_length, self._parameter.max_length
        chosen = list(dict.fromkeys(ids))[:most]
        chosen += [i for i in self._tokens if i not in chosen][: max(0, least - len(chosen))]
        found: list[str | int] = [self._tokens[i] for i in chosen]
        return found + [self._parameter.vocabulary[0]] * (least - len(found))


class AsText:
    """A `text` parameter that is given the demonstrations written out, after its own starting text."""

    def __init__(self, parameter: TextParameter, declared: Sequence[Demonstration], outputs: Mapping[str, str]) -> None:
        self._rules = TextRules(parameter)
        self._start = parameter.default if parameter.default is not None else parameter.centre()
        written = {d.id: (d.input, outputs.get(d.id) or d.output) for d in declared}
        self._written = {i: f"Input: {a}\nOutput: {b}" for i, (a, b) in written.items() if a and b}
        self._sources = [d.id for d in declared if d.input]
        self.name = parameter.name

    def ids(self) -> list[str]:
        """The demonstrations with an input and an output."""
        return list(self._written)

    def sources(self) -> list[str]:
        """The demonstrations with an input."""
        return self._sources

    def start(self) -> str:
        """The parameter's own starting text."""
        return self._start

    def value(self, ids: Sequence[str]) -> str:
        """The starting text and as many demonstrations as fit."""
        shown = [self._written[i] for i in ids if i in self._written]
        while shown:
            text = self._rules.clean("\n\n".join([*([self._start] if self._start else []), *shown]))
            if self._rules.fault(text) is None:
                return text
            shown.pop()
        return self._start


def demonstration_sets(
    carrier: Carrier,
    successes: Sequence[str],
    count: int,
    rng: np.random.Generator,
    *,
    bootstrapped: int,
    labelled: int,
) -> list[Any]:
    """Up to `count` values of a carrier, no two equal.

    The first is its start (no demonstration), the second has labelled examples only, each further one up to `bootstrapped` examples
    on which the program was right, filled up with others to `labelled`; without any success all are labelled ones.

    Args:
        successes: ids on which the starting program was right.
    """
    ids = carrier.ids()
    right = [i for i in successes if i in set(ids)]
    found = [carrier.start()]
    for place in range(1, count):
        for _ in range(TRIES):
            size = 0 if place == 1 or not right else int(rng.integers(1, bootstrapped + 1))
            value = carrier.value(_drawn(ids, right, size, labelled, rng))
            if value not in found:
                found.append(value)
                break
    return found


def _drawn(ids: Sequence[str], right: Sequence[str], size: int, labelled: int, rng: np.random.Generator) -> list[str]:
    traces = [right[i] for i in rng.permutation(len(right))[:size]]
    others = [i for i in ids if i not in traces]
    filled = max(0, labelled - len(traces))
    return traces + [others[i] for i in rng.permutation(len(others))[:filled]]
