"""Prompts as fixed numbers of places, each empty or a token by its index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.domain.parameters import TokensParameter
from services.domain.space import Point

Genome: TypeAlias = tuple[int, ...]
Vocabulary: TypeAlias = list[NDArray[np.int64]]
"""Token indices that may be used, by parameter."""
EMPTY = -1


@dataclass(frozen=True)
class Layout:
    """The places of a prompt: those of one tokens parameter after those of another.

    Attributes:
        lengths: places of each parameter.
    """

    parameters: tuple[TokensParameter, ...]
    lengths: tuple[int, ...]

    @cached_property
    def owners(self) -> tuple[int, ...]:
        """The parameter of each place."""
        return tuple(p for p, length in enumerate(self.lengths) for _ in range(length))

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """Each parameter's first place."""
        return tuple(self.owners.index(p) for p in range(len(self.parameters)))

    @cached_property
    def _indices(self) -> tuple[dict[str | int, int], ...]:
        return tuple({token: i for i, token in enumerate(p.vocabulary)} for p in self.parameters)

    @property
    def nothing(self) -> Genome:
        """The empty prompt."""
        return (EMPTY,) * len(self.owners)

    def with_token(self, genome: Genome, place: int, token: int) -> Genome:
        """The same prompt with another token at a place; what stands behind an empty place moves up."""
        return self.packed((*genome[:place], token, *genome[place + 1 :]))

    def packed(self, genome: Sequence[int]) -> Genome:
        """Empty places behind the tokens of their parameter, as prompts are read."""
        found: list[int] = []
        for first, length in zip(self.firsts, self.lengths, strict=True):
            tokens = [t for t in genome[first : first + length] if t != EMPTY]
            found += tokens + [EMPTY] * (length - len(tokens))
        return tuple(found)

    def point(self, genome: Genome) -> Point:
        """The prompt as the study's parameters."""
        return {
            p.name: [p.vocabulary[t] for t in genome[first : first + length] if t != EMPTY]
            for p, first, length in zip(self.parameters, self.firsts, self.lengths, strict=True)
        }

    def genome(self, point: Mapping[str, Any]) -> Genome | None:
        """The places of a point; None if it is longer than what is searched."""
        found: list[int] = []
        for parameter, length, indices in zip(self.parameters, self.lengths, self._indices, strict=True):
            tokens = point[parameter.name]
            if len(tokens) > length:
                return None
            found += [indices[t] for t in tokens] + [EMPTY] * (length - len(tokens))
        return tuple(found)
