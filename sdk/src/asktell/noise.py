"""The noise contract: perturbations that every client makes anew from seeds, the same in any language (docs/seeds.md).

Philox4x32-10 turns (key; block, tensor, pair, generation) into four 32-bit words; words become noise of mean 0 and variance 1. Any
part of a tensor's noise can be made alone, so that memory never holds more than a part.

Salmon, Moraes, Dror, Shaw 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"; low rank: "Evolution Strategies at the Hyperscale"
(EGGROLL), 2025.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .arrays import arrays_of

__all__ = ["Noise", "philox", "popcount"]

LOW = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
MASK_PAIR = LOW
"""The pair index of the words that random masks are made of."""
MOST_WORDS = 4 << 32
"""Words of one stream: a tensor has at most as many entries, half as many with `popcount`."""

Key = tuple[int, int]
Draw = tuple[int, int]
"""Generation and pair."""


def philox(counter: Sequence[Any], key: Key) -> tuple[Any, Any, Any, Any]:
    """Philox4x32-10 of int64 arrays that hold 32-bit words; one formula for NumPy and torch.

    Args:
        counter: four arrays of at least one dimension that broadcast together, entries 0 to 2^32 − 1.
        key: two words.

    Returns:
        The four words of each counter's block.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        # Products wrap modulo 2^64; shift and mask then take the same 32 bits as from an unsigned product.
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = ((p1 >> 32) & LOW) ^ c1 ^ k0, p1 & LOW, ((p0 >> 32) & LOW) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return c0, c1, c2, c3


def popcount(words: Any) -> Any:
    """How many bits are set in each 32-bit word of an int64 array."""
    words = words - ((words >> 1) & 0x55555555)
    words = (words & 0x33333333) + ((words >> 2) & 0x33333333)
    words = (words + (words >> 4)) & 0x0F0F0F0F
    return ((words * 0x01010101) & LOW) >> 24


class Noise:
    """The noise of one key.

    `Noise("gauss", (7, 11)).part(generation=3, pair=0, start=0, count=1000)` has the first 1000 entries of the first tensor.

    Attributes:
        kind: `gauss`, `rademacher` or `popcount`.
        key: the two words of a trial's `seed`.
    """

    def __init__(self, kind: str, key: Sequence[int], *, backend: str = "numpy", device: Any = None) -> None:
        """
        Args:
            backend: `numpy` or `torch`; the two agree bit for bit, `gauss` to the rounding of the logarithm and cosine.
            device: torch's.

        Raises:
            ImportError: the library is not installed.
            ValueError: the kind or the backend is unknown, or the key is not two words.
        """
        if kind not in _MAKERS:
            raise ValueError(f"this client does not know the noise {kind!r}; there are {', '.join(_MAKERS)}")
        if len(key) != 2 or not all(0 <= word <= LOW for word in key):
            raise ValueError("a key is two words from 0 to 2^32 - 1")
        self.kind, self.key = kind, (int(key[0]), int(key[1]))
        self.arrays = arrays_of(backend, device)

    def words(self, draws: Sequence[Draw], tensor: int, start: int, count: int) -> Any:
        """Words `start` to `start + count` of the streams of several draws: (draws, count) int64.

        Raises:
            ValueError: the stream is not as long.
        """
        if start < 0 or count < 0 or start + count > MOST_WORDS:
            raise ValueError(f"words {start} to {start + count} are outside a stream of 2^34")
        first, last = start // 4, -(-(start + count) // 4)
        blocks = self.arrays.integers(range(first, last)).reshape(1, -1)
        generations = self.arrays.integers([generation for generation, _ in draws]).reshape(-1, 1)
        pairs = self.arrays.integers([pair for _, pair in draws]).reshape(-1, 1)
        found = self.arrays.xp.stack(philox((blocks, blocks * 0 + tensor, pairs, generations), self.key), -1)
        return found.reshape(len(draws), -1)[:, start - 4 * first : start - 4 * first + count]

    def parts(self, draws: Sequence[Draw], tensor: int, start: int, count: int) -> Any:
        """Entries `start` to `start + count` (C order) of a tensor's noise in several draws: (draws, count) float32."""
        return _MAKERS[self.kind](self, draws, tensor, start, count)

    def part(self, *, generation: int, pair: int, tensor: int = 0, start: int = 0, count: int) -> Any:
        """Entries `start` to `start + count` (C order) of a tensor's noise: (count,) float32."""
        return self.parts([(generation, pair)], tensor, start, count)[0]

    def factors(
        self, draws: Sequence[Draw], tensor: int, shape: tuple[int, int], rank: int, rows: tuple[int, int] | None = None
    ) -> tuple[Any, Any]:
        """The factors of low-rank noise A Bᵀ / sqrt(rank): A (draws, a, rank) and B (draws, b, rank), float32.

        Args:
            shape: (a, b) of the matrix; tensors of more dimensions count as first × rest.
            rows: from and to, of the rows of A that are wanted; None: all.
        """
        first, last = rows or (0, shape[0])
        split = shape[1] * rank  # B is drawn first
        b = self.parts(draws, tensor, 0, split).reshape(-1, shape[1], rank)
        a = self.parts(draws, tensor, split + first * rank, (last - first) * rank)
        return a.reshape(-1, last - first, rank), b

    def matrix(
        self,
        *,
        generation: int,
        pair: int,
        tensor: int,
        shape: tuple[int, int],
        rank: int,
        rows: tuple[int, int] | None = None,
    ) -> Any:
        """Low-rank noise written out: (rows, b) float64, entries of variance 1."""
        a, b = self.factors([(generation, pair)], tensor, shape, rank, rows)
        return self.arrays.cast(a[0], "float64") @ self.arrays.cast(b[0], "float64").T / math.sqrt(rank)


def _gauss(noise: Noise, draws: Sequence[Draw], tensor: int, start: int, count: int) -> Any:
    """Box and Muller in double precision: words 2i and 2i + 1 make entries 2i and 2i + 1."""
    xp, even = noise.arrays.xp, start - start % 2
    words = noise.words(draws, tensor, even, start + count - even + (start + count) % 2)
    words = noise.arrays.cast(words, "float64") * 2.0**-32
    radius = xp.sqrt(xp.log(words[:, 0::2] + 2.0**-32) * -2.0)
    angle = words[:, 1::2] * math.tau
    both = xp.stack((radius * xp.cos(angle), radius * xp.sin(angle)), -1).reshape(len(draws), -1)
    return noise.arrays.cast(both[:, start - even : start - even + count], "float32")


def _rademacher(noise: Noise, draws: Sequence[Draw], tensor: int, start: int, count: int) -> Any:
    """Bit e % 32 of word e // 32: 0 is −1."""
    first, last = start // 32, -(-(start + count) // 32)
    words = noise.words(draws, tensor, first, last - first)
    bits = (words[:, :, None] >> noise.arrays.integers(range(32))) & 1
    bits = bits.reshape(len(draws), -1)[:, start - 32 * first : start - 32 * first + count]
    return noise.arrays.cast(bits * 2 - 1, "float32")


def _popcount(noise: Noise, draws: Sequence[Draw], tensor: int, start: int, count: int) -> Any:
    """(set bits of words 2e and 2e + 1 − 32) / 4: binomial of 64 coins, in multiples of ¼."""
    bits = popcount(noise.words(draws, tensor, 2 * start, 2 * count))
    return noise.arrays.cast(bits[:, 0::2] + bits[:, 1::2] - 32, "float32") * 0.25


_MAKERS = {"gauss": _gauss, "rademacher": _rademacher, "popcount": _popcount}
