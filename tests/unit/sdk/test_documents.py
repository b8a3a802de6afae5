"""What is told, and what is read from a stream."""

from __future__ import annotations

import numpy as np
import pytest

from asktell.bodies import encode
from asktell.documents import numbers, study_document
from asktell.errors import Invalid
from asktell.events import EventReader


def test_numbers_of_numpy_become_plain() -> None:
    assert numbers({"a": np.float32(0.5), "b": np.int64(3), "c": 2}) == {"a": 0.5, "b": 3.0, "c": 2}
    assert encode({"x": np.array([1.0, 2.0]), "n": np.int64(3)}) == b'{"x":[1.0,2.0],"n":3}'


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "high", None])
def test_what_is_no_finite_number_is_named(value: object) -> None:
    with pytest.raises(Invalid, match="/metrics/loss"):
        numbers({"loss": value})


def test_objectives_come_from_all_three_places() -> None:
    found = study_document("s", {}, "a", ["b", "c"], [{"metric": "d", "noisy": True}], "gp", {}, {"seed": None})
    assert [objective["metric"] for objective in found["objectives"]] == ["d", "a", "b", "c"]
    assert found["objectives"][2] == {"metric": "b", "goal": "maximize"}
    assert found["suggester"] == {"name": "gp"}
    assert "seed" not in found


def test_a_study_without_objective_is_refused_before_it_is_sent() -> None:
    with pytest.raises(Invalid, match="/objectives"):
        study_document("s", {}, (), (), (), None, {}, {})


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_are_read_however_the_stream_is_cut(size: int) -> None:
    stream = "".join(
        f': still here\r\n\r\nid: {n}\r\ndata: {{"seq": {n}, "type": "t",\r\ndata: "study": "ü", '
        f'"created_at": "2026-01-01T00:00:00Z"}}\r\n\r\n'
        for n in (1, 2)
    ).encode()
    reader = EventReader()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    found = [event for piece in pieces for event in reader.feed(piece)]
    assert [(event.seq, event.study) for event in found] == [(1, "ü"), (2, "ü")]
