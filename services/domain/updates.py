"""Updates of a theta that no server holds: immutable documents that, replayed in order on theta_0, give every client the same theta.

The contract is docs/seeds.md; what clients do with an update is there too. The binary form is a sequence of frames, little endian:

    4 bytes   `AKU1`
    u32       theta_version
    u32       bytes of the head; 0: the head of the frame before
    u32       number of pairs, n
    …         the head: JSON of every other field, `sums` there as true or false, spaces up to a multiple of eight
    u32 × n   generations;  u32 × n  pairs;  f64 × n  weights;  f64 × n  sums, where the head says so
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from .document import Document, canonical, invalid_from
from .errors import Invalid
from .seeds import MOST_RANK, Noise, Word

MAGIC = b"AKU1"
COLUMNS = frozenset({"generations", "pairs", "weights", "sums"})
_HEAD = struct.Struct("<4sIII")

Rule = Literal["sgd", "momentum", "adam", "snes"]
Finite = Annotated[float, Field(ge=-1e300, le=1e300)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Mask(Document):
    """Which entries take part from the next version on."""

    kind: Literal["random", "magnitude", "snr"]
    keep: Annotated[float, Field(gt=0, le=1, description="The share of all entries that stays active.")]
    rewind: bool = Field(default=False, description="Active entries go back to theta_0, moments are forgotten.")


class Update(Document):
    """One step, from `theta_version` to the next: theta ← rule(theta, norm · Σ weight · noise), then the mask.

    Weights are of losses, lower is better: theta goes against the direction that they give.
    """

    theta_version: Word = Field(description="What the update is applied to; it makes the next one.")
    rule: Rule = "sgd"
    lr: Annotated[float, Field(ge=0, le=1e6)]
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    sigma: Annotated[float, Field(ge=0, le=1e6, description="Of the trials; `snes` steps in this unit.")]
    rank: Annotated[int, Field(ge=0, le=MOST_RANK)] = 0
    noise: Noise = "gauss"
    seed: tuple[Word, Word]
    norm: Finite
    pairs: Annotated[tuple[Word, ...], Field(max_length=1_000_000, description="None: theta stays.")] = ()
    generations: tuple[Word, ...] = Field(default=(), description="Of each pair's noise.")
    weights: tuple[Finite, ...] = Field(default=(), description="s⁺ - s⁻ of each pair.")
    sums: tuple[Finite, ...] | None = Field(
        default=None, description="For `snes`: s⁺ + s⁻ of each pair, from which deviations learn; null: they stay."
    )
    mask: Mask | None = Field(default=None, description="null: the mask stays as it is.")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        columns = (self.generations, self.weights, self.pairs if self.sums is None else self.sums)
        if any(len(column) != len(self.pairs) for column in columns):
            raise ValueError("generations, weights and sums must have one number for each pair")
        if self.sums is not None and self.rule != "snes":
            raise ValueError("only the rule snes takes sums")
        if self.rule == "snes" and self.rank:
            raise ValueError("the rule snes needs rank 0")
        return self

    def encode(self) -> bytes:
        """The update as one frame."""
        return encode([self])

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The update from one frame.

        Raises:
            Invalid: it is not exactly one frame of an update.
        """
        found = list(_documents(data))
        if len(found) != 1:
            raise Invalid(f"{len(found)} updates where one should be")
        return cls._from(found[0])

    @classmethod
    def _from(cls, document: dict[str, Any]) -> Self:
        try:
            return cls.model_validate_json(canonical(document))
        except ValidationError as error:
            raise invalid_from(error, document) from None
        except ValueError as error:  # NaN or infinity in a column
            raise Invalid(f"not an update: {error}") from None


def encode(updates: Sequence[Update]) -> bytes:
    """Updates as frames, one after another; equal heads are written once."""
    frames, previous = [], None
    for update in updates:
        head = update.model_dump(mode="json", exclude={"theta_version", *COLUMNS})
        text = canonical(head | {"sums": update.sums is not None}).encode()
        text += b" " * (-len(text) % 8)
        written = b"" if text == previous else text
        frames += [_HEAD.pack(MAGIC, update.theta_version, len(written), len(update.pairs)), written]
        frames += [
            _column("I", update.generations),
            _column("I", update.pairs),
            _column("d", update.weights),
            _column("d", update.sums or ()),
        ]
        previous = text
    return b"".join(frames)


def joined(frames: Sequence[bytes]) -> bytes:
    """Frames of one update each, one after another; heads equal to the one before are left out."""
    found, previous = [], b""
    for frame in frames:
        magic, version, length, count = _HEAD.unpack_from(frame)
        head, columns = frame[_HEAD.size : _HEAD.size + length], frame[_HEAD.size + length :]
        is_new = head != previous
        found += [_HEAD.pack(magic, version, length if is_new else 0, count), head if is_new else b"", columns]
        previous = head
    return b"".join(found)


def decode(data: bytes) -> list[Update]:
    """Updates from frames.

    Raises:
        Invalid: these are not whole frames of updates.
    """
    return [Update._from(document) for document in _documents(data)]


def _documents(data: bytes) -> Iterable[dict[str, Any]]:
    place, head = 0, None
    while place < len(data):
        if len(data) - place < _HEAD.size or data[place : place + 4] != MAGIC:
            raise Invalid(f"no update begins at byte {place}")
        _, version, length, count = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        if length:
            head = _head(data[place : place + length])
            place += length
        if head is None:
            raise Invalid("the first update has no head")
        size = count * (24 if head["sums"] else 16)
        if len(data) - place < size:
            raise Invalid("the last update is cut off")
        generations, pairs = _numbers("I", data, place, count), _numbers("I", data, place + 4 * count, count)
        weights = _numbers("d", data, place + 8 * count, count)
        sums = list(_numbers("d", data, place + 16 * count, count)) if head["sums"] else None
        place += size
        columns = {"generations": list(generations), "pairs": list(pairs), "weights": list(weights), "sums": sums}
        yield {**head, "theta_version": version, **columns}


def _head(text: bytes) -> dict[str, Any]:
    try:
        head = json.loads(text)
    except ValueError:
        head = None
    if not isinstance(head, dict) or not isinstance(head.get("sums"), bool):
        raise Invalid("the head of an update cannot be read")
    return head


def _column(kind: str, numbers: Iterable[float]) -> bytes:
    column = array(kind, numbers)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _numbers(kind: str, data: bytes, place: int, count: int) -> array[Any]:
    column = array(kind)
    column.frombytes(data[place : place + count * column.itemsize])
    if sys.byteorder == "big":
        column.byteswap()
    return column
