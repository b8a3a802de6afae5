"""What trial values and updates say about noise, worked out for a range of entries in double precision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..arrays import Arrays
from ..noise import Draw, Noise
from ..updates import Update
from .tensor import Tensor

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbation:
    """A trial's value: evaluate theta + sign · sigma · noise(seed, generation, pair)."""

    theta_version: int
    generation: int
    pair: int
    sign: int
    seed: tuple[int, int]
    sigma: float
    rank: int = 0
    noise: str = "gauss"

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Perturbation:
        """From the trial's value; what a newer service may say besides is not for us.

        Raises:
            ValueError: it lacks something.
        """
        try:
            given = {name: value[name] for name in cls.__slots__ if name in value}
            return cls(**given | {"seed": (int(value["seed"][0]), int(value["seed"][1]))})
        except (TypeError, KeyError, IndexError) as error:
            raise ValueError(f"not the value of a seed-encoded vector: {error}") from None


def chunk_for(tensor: Tensor, chunk: int, rank: int) -> int:
    """Entries to work out at one time: products of factors are cheap beside noise, so they come in larger pieces."""
    return 16 * chunk if tensor.is_low_rank(rank) else chunk


def offset(noise: Noise, tensor: Tensor, span: Span, value: Perturbation) -> Any:
    """What the perturbation adds to a range of entries: (span,) float64; whole rows where noise is of low rank."""
    draw, arrays = (value.generation, value.pair), noise.arrays
    if tensor.is_low_rank(value.rank):
        eps = noise.matrix(
            generation=draw[0],
            pair=draw[1],
            tensor=tensor.number,
            shape=(tensor.rows, tensor.columns),
            rank=value.rank,
            rows=(span[0] // tensor.columns, span[1] // tensor.columns),
        ).reshape(-1)
    else:
        eps = arrays.cast(noise.parts([draw], tensor.number, span[0], span[1] - span[0])[0], "float64")
    if "scale" in tensor.memory:
        eps = eps * arrays.cast(tensor.memory["scale"][span[0] : span[1]], "float64")
    return _active(arrays, tensor, span, eps) * (value.sign * value.sigma)


def gradient(noise: Noise, tensor: Tensor, span: Span, update: Update, chunk: int) -> tuple[Any, Any]:
    """norm · Σ weight · noise over a range of entries, and for updates with sums norm · Σ sum · (noise² − 1): (span,) float64 each.

    Entry by entry in the order of the pairs, so that no chunk, shard or library changes a bit; low-rank noise comes as one product of
    all factors, whose order is the library's own.
    """
    arrays, (low, high) = noise.arrays, span
    if tensor.is_low_rank(update.rank):
        return _active(arrays, tensor, span, _low_rank_sum(noise, tensor, span, update, chunk) * update.norm), None
    total = arrays.zeros(high - low, "float64")
    spread = None if update.sums is None else arrays.zeros(high - low, "float64")
    together = max(1, chunk // max(1, high - low))
    for first in range(0, len(update.pairs), together):
        pairs = update.pairs[first : first + together]
        rows = arrays.cast(noise.parts(_draws(pairs), tensor.number, low, high - low), "float64")
        for place, (_, _, weight) in enumerate(pairs):
            total += rows[place] * weight
            if spread is not None and update.sums is not None:
                spread += (rows[place] * rows[place] - 1.0) * update.sums[first + place]
    if spread is not None:
        spread = _active(arrays, tensor, span, spread * update.norm)
    return _active(arrays, tensor, span, total * update.norm), spread


def _low_rank_sum(noise: Noise, tensor: Tensor, span: Span, update: Update, chunk: int) -> Any:
    arrays, shape = noise.arrays, (tensor.rows, tensor.columns)
    rows = (span[0] // tensor.columns, span[1] // tensor.columns)
    total = arrays.zeros(span[1] - span[0], "float64").reshape(-1, tensor.columns)
    together = max(1, chunk // ((rows[1] - rows[0] + tensor.columns) * update.rank))
    for first in range(0, len(update.pairs), together):
        pairs = update.pairs[first : first + together]
        a, b = noise.factors(_draws(pairs), tensor.number, shape, update.rank, rows)
        weights = arrays.doubles([weight for _, _, weight in pairs]).reshape(-1, 1, 1)
        total += arrays.xp.tensordot(arrays.cast(a, "float64") * weights, arrays.cast(b, "float64"), ([0, 2], [0, 2]))
    return total.reshape(-1) / math.sqrt(update.rank)


def _draws(pairs: tuple[tuple[int, int, float], ...]) -> list[Draw]:
    return [(generation, pair) for generation, pair, _ in pairs]


def _active(arrays: Arrays, tensor: Tensor, span: Span, values: Any) -> Any:
    if tensor.active is None:
        return values
    return arrays.xp.where(tensor.active[span[0] : span[1]], values, 0.0)
