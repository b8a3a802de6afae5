"""Which entries take part: random subspaces, and lottery tickets found by magnitude or signal-to-noise ratio.

Lange, Sprekeler 2023, "Lottery Tickets in Evolutionary Optimization".
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays import Arrays
from ..noise import MASK_PAIR, Noise
from ..updates import Mask
from .tensor import Tensor


def confine(noise: Noise, tensors: list[Tensor], mask: Mask, chunk: int) -> None:
    """Set the mask of an update; `noise` has its key."""
    if mask.kind == "random":
        random_subspace(noise, tensors, mask, chunk)
    else:
        prune(noise.arrays, tensors, mask)


def random_subspace(noise: Noise, tensors: list[Tensor], mask: Mask, chunk: int) -> None:
    """Entry e of a tensor is active if word e of the mask's stream is below keep · 2^32: fewer with each smaller `keep`.

    The others stay as they are; with `rewind` all go back to theta_0.
    """
    for tensor in tensors:
        active = noise.arrays.zeros(tensor.size, "bool")
        for low, high in tensor.spans(chunk, 0):
            words = noise.words([(0, MASK_PAIR)], tensor.number, low, high - low)[0]
            active[low:high] = words < int(mask.keep * 2**32)
        if mask.rewind:
            tensor.theta[:] = tensor.start
        _activate(tensor, active)


def prune(arrays: Arrays, tensors: list[Tensor], mask: Mask) -> None:
    """Keep ⌈keep · n⌉ entries of all tensors together: active ones of the largest score, the first of equal ones.

    Those that were active and are no more become zero; with `rewind` the survivors go back to theta_0.
    """
    scores = [_score(arrays, tensor, mask.kind) for tensor in tensors]
    count = math.ceil(mask.keep * sum(tensor.size for tensor in tensors))
    threshold = arrays.largest(_joined(arrays, scores), count)
    room = count - sum(int((score > threshold).sum()) for score in scores)
    for tensor, score in zip(tensors, scores, strict=True):
        # Negative scores are those of entries that were inactive: they stay so, however many are wanted.
        ties = (score == threshold) & (score >= 0)
        ties = ties & (ties.cumsum(0) <= room)
        room -= int(ties.sum())
        active = (score > threshold) | ties
        tensor.theta[(score >= 0) & ~active] = 0.0
        if mask.rewind:
            tensor.theta[active] = tensor.start[active]
        _activate(tensor, active)


def _activate(tensor: Tensor, active: Any) -> None:
    tensor.active = active
    for name, memory in tensor.memory.items():
        memory[~active] = 1.0 if name == "scale" else 0.0


def _score(arrays: Arrays, tensor: Tensor, kind: str) -> Any:
    score = abs(arrays.cast(tensor.theta, "float64"))
    if kind == "snr" and "scale" in tensor.memory:
        score = score / arrays.cast(tensor.memory["scale"], "float64")
    score[score != score] = 0.0  # an entry that diverged has no signal
    if tensor.active is not None:
        score[~tensor.active] = -1.0
    return score


def _joined(arrays: Arrays, scores: list[Any]) -> Any:
    whole = arrays.zeros(sum(score.shape[0] for score in scores), "float64")
    place = 0
    for score in scores:
        whole[place : place + score.shape[0]] = score
        place += score.shape[0]
    return whole
