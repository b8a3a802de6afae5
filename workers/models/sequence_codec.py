"""Tokens and orders as columns, so that a kernel can compare them and a search can move them like everything else.

A token sequence is one categorical column a place, with a level for "no token here": Hamming distance. An order is one column for each
pair of items, saying which of the two comes first: the number of unequal columns is Kendall's distance, and a kernel of it is the
Mallows kernel (Jiao, Vert 2015, "The Kendall and Mallows Kernels for Permutations"). All columns of a parameter share one lengthscale.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import ENCODABLE, Codec, Coordinate
from services.domain.parameters import Parameter, PermutationParameter, TokensParameter, same
from services.domain.study import StudySpec

Array = NDArray[np.float64]

MOST_ITEMS = 24
MOST_TOKENS = 64
MOST_VOCABULARY = 1000
SEQUENCES = frozenset({"tokens", "permutation"})
FIRST, SECOND = 0.25, 0.75


class SequenceCodec(Codec):
    """A space with short token sequences and orders as the unit cube."""

    encodable = ENCODABLE | SEQUENCES

    @property
    def groups(self) -> NDArray[np.int64]:
        """(d,) the lengthscale that each column uses."""
        found = np.zeros(self.dimensions, dtype=np.int64)
        count = 0
        for parameter in self.space.parameters:
            columns = self.slices[parameter.name]
            width = columns.stop - columns.start
            shares = parameter.type in SEQUENCES
            found[columns] = count + (0 if shares else np.arange(width))
            count += 1 if shares else width
        return found

    def _coordinates(self, parameter: Parameter) -> list[Coordinate]:
        if isinstance(parameter, TokensParameter):
            levels = len(parameter.vocabulary) + (parameter.min_length < parameter.max_length)
            return [Coordinate(parameter, levels, True, place) for place in range(parameter.max_length)]
        if isinstance(parameter, PermutationParameter):
            pairs = len(parameter.items) * (len(parameter.items) - 1) // 2
            return [Coordinate(parameter, 2, True, pair) for pair in range(max(pairs, 1))]
        return super()._coordinates(parameter)

    def _to_unit(self, parameter: Parameter, value: Any) -> Array | float:
        if isinstance(parameter, TokensParameter):
            levels = len(parameter.vocabulary) + (parameter.min_length < parameter.max_length)
            places = [_place(parameter.vocabulary, token) for token in value]
            places += [levels - 1] * (parameter.max_length - len(places))
            return (np.array(places, dtype=np.float64) + 0.5) / levels
        if isinstance(parameter, PermutationParameter):
            order = [_place(value, item) for item in parameter.items]
            return np.array([FIRST if order[a] < order[b] else SECOND for a, b in _pairs(len(order))] or [FIRST])
        return super()._to_unit(parameter, value)

    def _from_unit(self, parameter: Parameter, unit: Array) -> Any:
        if isinstance(parameter, TokensParameter):
            return _tokens(parameter, unit)
        if isinstance(parameter, PermutationParameter):
            return _order(parameter, unit)
        return super()._from_unit(parameter, unit)

    def _snapped(self, parameter: Parameter, columns: Array) -> Array:
        if parameter.type not in SEQUENCES:
            return super()._snapped(parameter, columns)
        return np.array([np.ravel(self._to_unit(parameter, self._from_unit(parameter, row))) for row in columns])


def _place(of: Any, value: Any) -> int:
    return next(i for i, other in enumerate(of) if same(other, value))


def _pairs(count: int) -> list[tuple[int, int]]:
    return list(combinations(range(count), 2))


def _tokens(parameter: TokensParameter, unit: Array) -> list[str | int]:
    """The tokens before the first empty place; where too few are left, the places after it are taken as well."""
    vocabulary = parameter.vocabulary
    levels = len(vocabulary) + (parameter.min_length < parameter.max_length)
    places = np.minimum((np.clip(unit, 0.0, 1.0) * levels).astype(np.int64), levels - 1)
    found: list[str | int] = []
    for place in places:
        if place < len(vocabulary):
            found.append(vocabulary[place])
        elif len(found) >= parameter.min_length:
            break
    return found + [vocabulary[0]] * (parameter.min_length - len(found))


def _order(parameter: PermutationParameter, unit: Array) -> list[Any]:
    """Items by how many others they come before (Copeland's rule): exact for an order's own columns, the near one for others."""
    items = parameter.items
    wins = np.zeros(len(items))
    for (a, b), column in zip(_pairs(len(items)), unit, strict=False):
        wins[a if column < 0.5 else b] += 1
    return [items[i] for i in np.argsort(-wins, kind="stable")]


def codec_for(spec: StudySpec) -> Codec:
    """The codec of a study without texts."""
    return SequenceCodec(spec.space) if any(p.type in SEQUENCES for p in spec.parameters) else Codec(spec.space)


def too_long(spec: StudySpec) -> list[tuple[int, str]]:
    """(place, message) of the sequences that are too long to be modelled."""
    found = []
    for i, p in enumerate(spec.parameters):
        if isinstance(p, TokensParameter) and (p.max_length > MOST_TOKENS or len(p.vocabulary) > MOST_VOCABULARY):
            found.append((i, f"at most {MOST_TOKENS} tokens of a vocabulary of {MOST_VOCABULARY} are modelled"))
        if isinstance(p, PermutationParameter) and len(p.items) > MOST_ITEMS:
            found.append((i, f"orders of at most {MOST_ITEMS} items are modelled, not {len(p.items)}"))
    return found
