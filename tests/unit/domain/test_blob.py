"""Saved state as bytes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from services.domain.blob import dumps, loads
from services.domain.suggester import Blob


def test_state_comes_back_as_it_was_saved() -> None:
    arrays = {"file": np.arange(6.0).reshape(2, 3), "empty": np.zeros((0, 4)), "flags": np.array([True, False])}
    blob = Blob(version=3, document={"a": [1, None, "ü"], "b": {"c": 0.1}}, arrays=arrays)
    found = loads(dumps(blob))
    assert (found.version, found.document) == (3, blob.document)
    assert set(found.arrays) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype


def test_equal_states_are_equal_bytes() -> None:
    blob = Blob(version=1, document={"a": 1}, arrays={"x": np.ones(3)})
    assert dumps(blob) == dumps(loads(dumps(blob)))


@pytest.mark.parametrize("document", [{"a": float("nan")}, {"a": float("inf")}, {"a": object()}])
def test_what_is_not_json_is_refused(document: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        dumps(Blob(version=1, document=document))


def test_objects_are_neither_saved_nor_read() -> None:
    with pytest.raises(ValueError, match="Python objects"):
        dumps(Blob(version=1, arrays={"x": np.array([object()])}))
    for data in (pickle.dumps([1]), b"", b"AKB", b"AKB1\xff\xff\xff\xff{"):
        with pytest.raises(ValueError):
            loads(data)
