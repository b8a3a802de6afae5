"""A suggester's saved state as bytes: a JSON document and plain arrays. Never pickle, whoever wrote the bytes.

Layout: `AKB1`, length of the JSON part (4 bytes, little endian), the JSON part, the arrays as npz if there are any.
"""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np

from .suggester import Blob

MAGIC = b"AKB1"
PREFIX = "a_"  # no name of an array is an argument of savez
_HEAD = struct.Struct("<4sI")


def dumps(blob: Blob) -> bytes:
    """The state as bytes.

    Raises:
        TypeError: the document is not JSON.
        ValueError: it holds NaN or infinity, or an array holds Python objects.
    """
    arrays = {name: np.asarray(array) for name, array in blob.arrays.items()}
    objects = [name for name, array in arrays.items() if array.dtype.hasobject]
    if objects:
        raise ValueError(f"array {objects[0]!r} holds Python objects")
    document = {"version": blob.version, "document": dict(blob.document)}
    text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    return _HEAD.pack(MAGIC, len(text)) + text + (_npz(arrays) if arrays else b"")


def loads(data: bytes) -> Blob:
    """The state from bytes.

    Raises:
        ValueError: these are not the bytes of a state.
    """
    magic, length = _HEAD.unpack_from(data) if len(data) >= _HEAD.size else (b"", 0)
    if magic != MAGIC:
        raise ValueError("not a saved state")
    text, packed = data[_HEAD.size : _HEAD.size + length], data[_HEAD.size + length :]
    document: dict[str, Any] = json.loads(text)
    arrays = {}
    if packed:
        with np.load(io.BytesIO(packed), allow_pickle=False) as found:
            arrays = {name.removeprefix(PREFIX): found[name] for name in found.files}
    return Blob(version=document["version"], document=document["document"], arrays=arrays)


def _npz(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{PREFIX + name: array for name, array in arrays.items()})
    return buffer.getvalue()
