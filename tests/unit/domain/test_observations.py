"""Observations that are kept as columns until somebody looks."""

from __future__ import annotations

import pickle

import orjson

from services.domain.history import Observation, Observations
from services.domain.trial import TrialState

COLUMNS = [
    (1, 2), (3, 4), (None, 7), ("running", "completed"), ('{"x":[1,0.5]}', '{"x":[]}'), ("{}", '{"loss":0.5}'), (None, '{"loss":1.0}'),
    (None, 1), ('{"row":0}', "{}"), ("es", "user"), (None, "words"), (None, '[{"id":"a"}]'), (None, '{"ids":["a"]}'), (None, "[1.5]"),
]  # fmt: skip
TEXTS = [(place, orjson.loads) for place in (4, 5, 6, 8, 11, 12, 13)]
EXPECTED = [
    Observation(number=1, told_seq=3, state=TrialState.RUNNING, parameters={"x": [1, 0.5]}, origin={"row": 0}, suggester="es"),
    Observation(
        number=2, told_seq=7, state=TrialState.COMPLETED, parameters={"x": []}, metrics={"loss": 0.5}, std={"loss": 1.0},
        feasible=True, suggester="user", feedback="words", examples=({"id": "a"},), evaluate_on={"ids": ["a"]}, residual=(1.5,),
    ),
]  # fmt: skip


def test_they_are_what_the_columns_say() -> None:
    found = Observations(COLUMNS, [*TEXTS, (7, bool)])
    assert list(found) == EXPECTED
    assert (len(found), found[1]) == (2, EXPECTED[1])
    assert found[1].feasible is True
    sent = pickle.loads(pickle.dumps(found))  # noqa: S301 - as the pools do
    assert list(sent) == EXPECTED


def test_nothing_found() -> None:
    empty = Observations([()] * len(Observations.FIELDS), TEXTS)
    assert (len(empty), list(empty)) == (0, [])
