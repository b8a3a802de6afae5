"""Updates of a theta that the client holds: their documents, and their binary form. Needs no NumPy.

What they mean is docs/seeds.md; `asktell.replica` applies them.
"""

from __future__ import annotations

import json
import math
import struct
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["Mask", "Update", "decode_update", "decode_updates", "encode_update", "encode_updates"]

RULES = ("sgd", "momentum", "adam", "snes")
NOISES = ("gauss", "rademacher", "popcount")
MASKS = ("random", "magnitude", "snr")
MAGIC = b"AKU1"
_HEAD = struct.Struct("<4sIII")
_COLUMNS = ("theta_version", "generations", "pairs", "weights", "sums")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """Which entries take part from the next version on: a share `keep` of all; `rewind` takes them back to theta_0."""

    kind: str
    keep: float
    rewind: bool = False

    def __post_init__(self) -> None:
        _known("mask", self.kind, MASKS)
        if not 0 < self.keep <= 1:
            raise ValueError(f"a mask cannot keep {self.keep!r} of the entries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One step, from `theta_version` to the next.

    Attributes:
        pairs: generation, pair and weight each (columns in the JSON form); none: theta stays.
        sums: for `snes`, s⁺ + s⁻ of each pair.
        mask: None: it stays as it is.
    """

    theta_version: int
    lr: float
    sigma: float
    seed: tuple[int, int]
    norm: float
    rule: str = "sgd"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    rank: int = 0
    noise: str = "gauss"
    pairs: tuple[tuple[int, int, float], ...] = ()
    sums: tuple[float, ...] | None = None
    mask: Mask | None = None

    def __post_init__(self) -> None:
        _known("rule", self.rule, RULES)
        _known("noise", self.noise, NOISES)
        numbers = (self.lr, self.sigma, self.norm, self.beta1, self.beta2, self.epsilon, self.weight_decay)
        if not all(map(math.isfinite, numbers)) or not all(math.isfinite(w) for _, _, w in self.pairs):
            raise ValueError(f"update {self.theta_version} holds a number that is not finite")
        if self.sums is not None and (len(self.sums) != len(self.pairs) or not all(map(math.isfinite, self.sums))):
            raise ValueError(f"update {self.theta_version} needs one finite sum for each pair")
        if self.rule == "snes" and self.rank:
            raise ValueError("the rule snes needs rank 0")

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Update:
        """From the JSON form.

        Raises:
            ValueError: it is not an update, or one that this client does not know how to apply.
        """
        given = dict(document)
        try:
            given["seed"] = (int(given["seed"][0]), int(given["seed"][1]))
            columns = [given.pop(name, None) or () for name in ("generations", "pairs", "weights")]
            given["pairs"] = tuple((int(g), int(p), float(w)) for g, p, w in zip(*columns, strict=True))
            given["sums"] = None if given.get("sums") is None else tuple(map(float, given["sums"]))
            given["mask"] = None if given.get("mask") is None else Mask(**given["mask"])
            return cls(**given)
        except (TypeError, KeyError, IndexError, ValueError) as error:
            raise ValueError(f"not an update that this client knows: {error}") from None

    def wire(self) -> dict[str, Any]:
        """The JSON form."""
        document = {field.name: getattr(self, field.name) for field in fields(self)}
        document["mask"] = None if self.mask is None else asdict(self.mask)
        document["seed"] = list(self.seed)
        for place, name in enumerate(("generations", "pairs", "weights")):
            document[name] = [pair[place] for pair in self.pairs]
        document["sums"] = None if self.sums is None else list(self.sums)
        return document


def encode_update(update: Update) -> bytes:
    """The binary form of one update."""
    return encode_updates([update])


def decode_update(data: bytes) -> Update:
    """One update from its binary form.

    Raises:
        ValueError: it is not exactly one frame of an update.
    """
    found = decode_updates(data)
    if len(found) != 1:
        raise ValueError(f"{len(found)} updates where one should be")
    return found[0]


def encode_updates(updates: Sequence[Update]) -> bytes:
    """The binary form: frames one after another, equal heads written once."""
    frames, previous = [], None
    for update in updates:
        head = {name: value for name, value in update.wire().items() if name not in _COLUMNS}
        head["sums"] = update.sums is not None
        text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        written = b"" if text == previous else text
        frames += [_HEAD.pack(MAGIC, update.theta_version, len(written), len(update.pairs)), written]
        generations, pairs, weights = zip(*update.pairs, strict=True) if update.pairs else ((), (), ())
        frames += [
            _column("I", generations),
            _column("I", pairs),
            _column("d", weights),
            _column("d", update.sums or ()),
        ]
        previous = text
    return b"".join(frames)


def decode_updates(data: bytes) -> list[Update]:
    """Updates from their binary form.

    Raises:
        ValueError: these are not whole frames of updates.
    """
    found: list[Update] = []
    place, head = 0, None
    while place < len(data):
        if len(data) - place < _HEAD.size or data[place : place + 4] != MAGIC:
            raise ValueError(f"no update begins at byte {place}")
        _, version, length, count = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        if length:
            head = json.loads(data[place : place + length])
            place += length
        if not isinstance(head, dict) or not isinstance(head.get("sums"), bool):
            raise ValueError(f"the head of update {version} is missing")
        size = count * (24 if head["sums"] else 16)
        if len(data) - place < size:
            raise ValueError(f"update {version} is cut off")
        columns = {
            "generations": _numbers("I", data, place, count).tolist(),
            "pairs": _numbers("I", data, place + 4 * count, count).tolist(),
            "weights": _numbers("d", data, place + 8 * count, count).tolist(),
            "sums": _numbers("d", data, place + 16 * count, count).tolist() if head["sums"] else None,
        }
        place += size
        found.append(Update.read({**head, "theta_version": version, **columns}))
    return found


def _known(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"this client does not know the {what} {value!r}; a newer asktell may")


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
