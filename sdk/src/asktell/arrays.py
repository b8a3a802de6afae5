"""NumPy and torch behind the few operations in which they differ; whatever both write alike is used as it is.

Neither comes with the SDK: they are imported when something is computed (`pip install 'asktell[noise]'` brings NumPy).
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

DTYPES = ("float32", "float64")


class Arrays(Protocol):
    """One library, on one device.

    Attributes:
        xp: the module; `stack`, `log`, `sqrt`, `cos`, `sin`, `exp`, `where` and the operators mean the same in both.
    """

    xp: Any

    def integers(self, numbers: Sequence[int] | range) -> Any:
        """An int64 array."""

    def doubles(self, numbers: Sequence[float]) -> Any:
        """A float64 array."""

    def zeros(self, size: int, dtype: str) -> Any:
        """A one-dimensional array of `float32`, `float64` or `bool`."""

    def cast(self, array: Any, dtype: str) -> Any:
        """The array in another type, rounded to nearest; the same array if it has it."""

    def flat(self, array: Any, dtype: str, copy: bool) -> Any:
        """The array in one dimension, C order; a view of its memory unless `copy`.

        Raises:
            ValueError: not `copy`, and it has another type or is not contiguous.
        """

    def largest(self, scores: Any, count: int) -> Any:
        """The `count`-th largest of a one-dimensional array, as an array without dimensions."""

    def places(self, flags: Any) -> Any:
        """Where a one-dimensional bool array is true."""


class NumpyArrays:
    """NumPy."""

    def __init__(self) -> None:
        self.xp = _library("numpy", "pip install 'asktell[noise]'")

    def integers(self, numbers: Sequence[int] | range) -> Any:
        if isinstance(numbers, range):
            return self.xp.arange(numbers.start, numbers.stop, dtype="int64")
        return self.xp.asarray(numbers, dtype="int64")

    def doubles(self, numbers: Sequence[float]) -> Any:
        return self.xp.asarray(numbers, dtype="float64")

    def zeros(self, size: int, dtype: str) -> Any:
        return self.xp.zeros(size, dtype=dtype)

    def cast(self, array: Any, dtype: str) -> Any:
        return array.astype(dtype, copy=False)

    def flat(self, array: Any, dtype: str, copy: bool) -> Any:
        array = self.xp.asarray(array)
        if copy:
            return self.xp.array(array, dtype=dtype, order="C", copy=True).reshape(-1)
        _usable(array.dtype == dtype, array.flags.c_contiguous and array.flags.writeable, dtype)
        return array.reshape(-1)

    def largest(self, scores: Any, count: int) -> Any:
        place = scores.shape[0] - count
        return self.xp.partition(scores, place)[place]

    def places(self, flags: Any) -> Any:
        return self.xp.nonzero(flags)[0]


class TorchArrays:
    """torch, on the CPU or on a GPU: element-wise operations alone, but for the products of low-rank factors."""

    def __init__(self, device: Any = None) -> None:
        self.xp = _library("torch", "pip install torch")
        self._device = device

    def integers(self, numbers: Sequence[int] | range) -> Any:
        if isinstance(numbers, range):
            return self.xp.arange(numbers.start, numbers.stop, dtype=self.xp.int64, device=self._device)
        return self.xp.tensor(list(numbers), dtype=self.xp.int64, device=self._device)

    def doubles(self, numbers: Sequence[float]) -> Any:
        return self.xp.tensor(list(numbers), dtype=self.xp.float64, device=self._device)

    def zeros(self, size: int, dtype: str) -> Any:
        return self.xp.zeros(size, dtype=getattr(self.xp, dtype), device=self._device)

    def cast(self, array: Any, dtype: str) -> Any:
        return array.to(getattr(self.xp, dtype))

    def flat(self, array: Any, dtype: str, copy: bool) -> Any:
        array = self.xp.as_tensor(array).detach()
        wanted = getattr(self.xp, dtype)
        if copy:
            return array.to(dtype=wanted, device=self._device, copy=True).contiguous().reshape(-1)
        _usable(array.dtype == wanted, array.is_contiguous(), dtype)
        return array.reshape(-1)

    def largest(self, scores: Any, count: int) -> Any:
        return self.xp.kthvalue(scores, scores.shape[0] - count + 1).values

    def places(self, flags: Any) -> Any:
        return self.xp.nonzero(flags)[:, 0]


def arrays_of(backend: str, device: Any = None) -> Arrays:
    """The library by its name.

    Raises:
        ImportError: it is not installed.
        ValueError: the name is neither `numpy` nor `torch`, or NumPy was given a device.
    """
    if backend == "torch":
        return TorchArrays(device)
    if backend != "numpy" or device is not None:
        raise ValueError(f"backend {backend!r} on device {device!r}: there are 'numpy', and 'torch' with a device")
    return NumpyArrays()


def float32_bytes(numbers: Iterable[float]) -> bytes:
    """Numbers of single precision as little endian bytes; every NaN is written as 7fc00000."""
    return b"".join(struct.pack("<f", x) if x == x else b"\x00\x00\xc0\x7f" for x in numbers)


def _usable(right_dtype: bool, contiguous: bool, dtype: str) -> None:
    if not (right_dtype and contiguous):
        raise ValueError(f"copy=False needs contiguous, writable arrays of {dtype}")


def _library(name: str, remedy: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(f"seeds need {name}: {remedy}") from None
