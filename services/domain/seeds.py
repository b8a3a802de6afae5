"""Vectors that travel as seeds: what a trial says instead of numbers, for parameters too many to send (card 11 of the noise contract).

The client holds theta, of whatever size; the service names the noise to add to it. The noise of an entry is a pure function of
(seed, generation, pair, tensor, entry), so that any client makes the same, in any language (docs/seeds.md).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .document import Document

Noise = Literal["gauss", "rademacher", "popcount"]
Word = Annotated[int, Field(ge=0, le=2**32 - 1)]
MOST_RANK = 1024
MOST_ENTRIES: dict[Noise, int] = {"gauss": 2**34, "popcount": 2**33, "rademacher": 2**39}
"""Of one tensor: its stream of noise has 2^34 words."""


class SeedValue(Document):
    """The value of a seed-encoded vector: evaluate theta + sign · sigma · noise(seed, generation, pair)."""

    theta_version: Word = Field(description="How many updates make the theta that is meant.")
    generation: Word = Field(description="Of the noise: a particle that persists keeps it while theta moves on.")
    pair: Word = Field(description="Of the noise; the two of an antithetic pair differ in `sign` alone.")
    sign: Literal[-1, 0, 1] = Field(description="0: theta itself.")
    seed: tuple[Word, Word] = Field(description="The key of Philox4x32-10.")
    sigma: Annotated[float, Field(ge=0, le=1e6)]
    rank: Annotated[int, Field(ge=0, le=MOST_RANK)] = Field(
        default=0, description="Of the perturbation of tensors with two or more dimensions; 0: full."
    )
    noise: Noise = "gauss"
    step: Word = Field(default=0, description="Of a persistent particle's inner run; 0: it begins anew.")
