"""Texts as vectors: a static table of token vectors that comes inside an ordinary package, so that nothing is downloaded.

A text's vector is the mean of its tokens' rows at unit length; the order of its words does not count. The table is the one of the
package `wordllama` (Miller 2024: token vectors distilled from large language models). Its files are read directly: its own loader asks
the network for a tokenizer. Further local encoders are added with `register`; `profile_vectors` asks an embeddings endpoint.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.domain.llm import LlmReply, LlmRequest, Talk

Array = NDArray[np.float32]
PACKAGE = "wordllama"
MOST_REMEMBERED = 20_000
TEXTS_AT_ONCE = 256
TEXTS_A_CALL = 64


class EncoderError(ValueError):
    """An encoder that is not there; the message says what to do."""


class Encoder(Protocol):
    """What turns texts into vectors; equal texts get equal vectors in every process."""

    @property
    def dimensions(self) -> int:
        """Length of each vector."""
        ...

    def vectors(self, texts: Sequence[str]) -> Array:
        """(n, dimensions) vectors of n texts: unit length, zero for a text that says nothing to the encoder."""
        ...


_makers: dict[str, Callable[[], Encoder]] = {}


def register(name: str, make: Callable[[], Encoder]) -> None:
    """Offer an encoder under a name, in place of any that had it; it is made when it is first used."""
    _makers[name] = make
    load_encoder.cache_clear()


@cache
def load_encoder(name: str = PACKAGE) -> Encoder:
    """The encoder of a name, one for the process.

    Raises:
        EncoderError: there is none of this name, or its package is missing.
    """
    if name not in _makers:
        raise EncoderError(f"there is no encoder {name!r}; there are {', '.join(sorted(_makers))}")
    return _makers[name]()


def pool_vectors(texts: Sequence[str], encoder: str = PACKAGE) -> Array:
    """The vectors of n texts, (n, d): the one door through which suggesters get them.

    Raises:
        EncoderError: the encoder is not there.
    """
    return load_encoder(encoder).vectors(texts)


@dataclass(frozen=True)
class Away:
    """Vectors that did not come.

    Attributes:
        failure: one of `services.domain.llm.FAILURES`, or `unusable`: not one finite vector a text, all of one length.
    """

    failure: str


def profile_vectors(texts: Sequence[str], key: str, snapshot: int, at_once: int = TEXTS_A_CALL) -> Talk[Array | Away]:
    """The vectors of n texts, (n, d), from the study's profile for embeddings: unit length, zero for a blank text.

    The same texts in the same order make the same calls, so that recorded ones are never paid for again. One call goes first: an
    endpoint that is away is not asked for all the rest.

    Args:
        key: of the calls in the ledger; their numbers are added.
        snapshot: the `seq` that they are made from.
        at_once: texts of a call.
    """
    rows = {text: row for row, text in enumerate(dict.fromkeys(t for t in texts if t.strip()))}
    asked = list(rows)
    requests = [
        LlmRequest(
            key=f"{key}/{start // at_once}",
            role="encoder",
            snapshot=snapshot,
            texts=tuple(asked[start : start + at_once]),
        )
        for start in range(0, len(asked), at_once)
    ]
    found: list[Array | None] = []
    for part in (requests[:1], requests[1:]):
        replies = (yield part) if part else ()
        failure = next((reply.failure for reply in replies if reply.failure), None)
        if failure is not None:
            return Away(failure)
        found += [_unpacked(reply, len(request.texts)) for reply, request in zip(replies, part, strict=True)]
    tables = [table for table in found if table is not None]
    if len(tables) < len(found) or len({table.shape[1] for table in tables}) > 1:
        return Away("unusable")
    table = np.concatenate([*tables, np.zeros((1, tables[0].shape[1] if tables else 0), np.float32)])
    return np.asarray(table[[rows.get(text, -1) for text in texts]])


def _unpacked(reply: LlmReply, count: int) -> Array | None:
    """The `count` vectors of a reply at unit length, None if they are not that."""
    packed = np.frombuffer(b64decode(reply.vectors), "<f4")
    if reply.dimensions < 1 or packed.size != count * reply.dimensions or not np.isfinite(packed).all():
        return None
    table = packed.reshape(count, reply.dimensions).astype(np.float64)
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return np.asarray(table / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


class StaticTable:
    """Means of the rows of a table of token vectors.

    Args:
        table: (tokens, d).
        tokenize: the token numbers of each text.
        remembered: vectors kept by text, the latest used ones.
    """

    def __init__(
        self, table: NDArray[Any], tokenize: Callable[[list[str]], list[list[int]]], remembered: int = MOST_REMEMBERED
    ) -> None:
        self._table, self._tokenize, self._most = table, tokenize, remembered
        self._known: OrderedDict[str, Array] = OrderedDict()
        self._lock = Lock()

    @property
    def dimensions(self) -> int:
        """d."""
        return int(self._table.shape[1])

    def vectors(self, texts: Sequence[str]) -> Array:
        """(n, d) unit vectors; zero for a text without tokens."""
        found: dict[str, Array] = {}
        with self._lock:
            for text in texts:
                if text in self._known:
                    self._known.move_to_end(text)
                    found[text] = self._known[text]
        missing = list(dict.fromkeys(t for t in texts if t not in found))
        for start in range(0, len(missing), TEXTS_AT_ONCE):
            part = missing[start : start + TEXTS_AT_ONCE]
            found |= zip(part, map(self._mean, self._tokenize(part)), strict=True)
        with self._lock:
            self._known |= {text: found[text] for text in missing}
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return np.array([found[t] for t in texts], dtype=np.float32).reshape(len(texts), self.dimensions)

    def _mean(self, tokens: list[int]) -> Array:
        if not tokens:
            return np.zeros(self.dimensions, np.float32)
        mean = self._table[tokens].astype(np.float64).mean(axis=0)
        length = float(np.linalg.norm(mean))
        return np.asarray(mean / length if length > 0 else mean, dtype=np.float32)


def read_table(path: Path) -> NDArray[Any]:
    """The first tensor of a safetensors file, (rows, columns), mapped rather than read: processes of a machine share it.

    Raises:
        EncoderError: the file holds no matrix of 16 or 32 bit numbers.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(size))
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    kinds = {"F16": "<f2", "F32": "<f4"}
    if not tensors or tensors[0]["dtype"] not in kinds or len(tensors[0]["shape"]) != 2:
        raise EncoderError(f"{path.name} holds no table of token vectors")
    entry = tensors[0]
    start = 8 + size + int(entry["data_offsets"][0])
    return np.memmap(path, dtype=kinds[entry["dtype"]], mode="r", offset=start, shape=tuple(entry["shape"]))


def _wordllama() -> Encoder:
    folder = _folder()
    tables, tokenizers = sorted(folder.glob("weights/*.safetensors")), sorted(folder.glob("tokenizers/*.json"))
    if not tables or not tokenizers:
        raise EncoderError(f"this version of {PACKAGE} carries no table and tokenizer file")
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise EncoderError(f"the encoder {PACKAGE!r} needs the package tokenizers") from None
    tokenizer = Tokenizer.from_file(str(tokenizers[0]))
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def tokenize(texts: list[str]) -> list[list[int]]:
        return [list(found.ids) for found in tokenizer.encode_batch(texts, add_special_tokens=False)]

    return StaticTable(read_table(tables[0]), tokenize)


def _folder() -> Path:
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise EncoderError(f"the encoder {PACKAGE!r} needs the package {PACKAGE}: pip install {PACKAGE}")
    return Path(next(iter(found.submodule_search_locations)))


register(PACKAGE, _wordllama)
