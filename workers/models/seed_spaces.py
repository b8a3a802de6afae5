"""Which studies a search by seeds serves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from services.domain.errors import FieldError
from services.domain.seeds import MOST_ENTRIES, Noise
from services.domain.study import StudySpec
from services.domain.updates import Rule

KEPT: dict[Rule, set[str]] = {"sgd": set(), "snes": set(), "momentum": {"beta1"}, "adam": {"beta1", "beta2"}}


def stands_alone(spec: StudySpec) -> list[FieldError]:
    """What speaks against a study of seeds that has other parameters too."""
    if len(spec.parameters) == 1:
        return []
    return [FieldError("/parameters", "a vector with encoding seed stands alone; put other settings in other studies")]


def too_long(spec: StudySpec, noise: Noise, rank: int) -> list[FieldError]:
    """Tensors that take more numbers of noise than a stream has."""
    vector, most = spec.seed_vector, MOST_ENTRIES[noise]
    shape = {} if vector is None else vector.shape
    tensors = {f"/{name}": shape[name] for name in shape} if isinstance(shape, dict) else {"": shape}
    return [
        FieldError(
            f"/parameters/0/shape{name}",
            f"takes {drawn:.5g} numbers of {noise} noise, a tensor has {most} at most: give it as several tensors",
        )
        for name, dimensions in tensors.items()
        if (drawn := _drawn(dimensions, rank)) > most
    ]


def idle_betas(rule: Rule, given: Iterable[str], pointer: str) -> list[FieldError]:
    """Options for moments that a rule does not keep.

    Args:
        given: names of options; others than betas are passed over.
        pointer: where they stand.
    """
    idle = {"beta1", "beta2"} - KEPT[rule]
    return [FieldError(f"{pointer}/{name}", f"rule {rule} has none") for name in sorted(idle.intersection(given))]


def _drawn(dimensions: Sequence[int], rank: int) -> int:
    """Numbers that a tensor takes from its stream (docs/seeds.md)."""
    if rank and len(dimensions) > 1:
        return (dimensions[0] + math.prod(dimensions[1:])) * rank
    return math.prod(dimensions)
