"""Pools: what is alike, what trials say, where candidates come from, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.suggester import Problem
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support import text_pools
from workers.models import text_pool
from workers.models.pool_making import PoolMaker, Prepared
from workers.models.pool_options import PoolOptions, given_starts
from workers.models.text_pool import Evaluations, Pool, distinct, side_by_side, standardised, strangers
from workers.suggesters.registry import get

ZOPO = get("zopo")
LEAST = 20


def of(**fields: Any) -> Problem:
    """A study over one text, maximised."""
    document = {"objectives": [{"metric": "score", "goal": "maximize"}], "llm": None} | fields
    return law.problem(ZOPO, "prompt", **document)


def prepared(one: law.Study, count: int = 1, **options: Any) -> Prepared:
    """What a maker that begins from nothing prepares."""
    return PoolMaker(one.problem, PoolOptions.model_validate_json(json.dumps(options)), LEAST).prepared(
        one.history(), count
    )


# -- likeness and numbers


def test_of_texts_that_mean_nearly_the_same_the_first_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 30))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    near = x + 0.003 * rng.standard_normal((50, 30))
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    assert ((x * near).sum(axis=1) > 0.999).all()
    both = np.concatenate([x, near])[rng.permutation(100)]
    likeness = both @ both.T > text_pool.ALIKE
    expected = [i for i in range(100) if not likeness[i, :i].any()]
    assert distinct(both) == expected
    assert len(expected) == 50
    monkeypatch.setattr(text_pool, "ROWS_AT_ONCE", 7)
    assert distinct(both) == expected


def test_a_pool_drops_twins_and_knows_its_starting_texts() -> None:
    vectors = np.eye(6)[[0, 0, 1, 2, 2, 3]]
    pool = Pool.of([{"prompt": f"text {i}"} for i in range(6)], vectors, starts=3)
    assert [m["prompt"] for m in pool.members] == ["text 0", "text 2", "text 3", "text 5"]
    assert pool.starts == 2
    for seed in range(5):
        order = pool.order(np.random.default_rng(seed))
        assert order[:2] == [0, 1]
        assert sorted(order) == [0, 1, 2, 3]
    assert {tuple(pool.order(np.random.default_rng(s), starts_first=False)[:1]) for s in range(30)} == {
        (0,),
        (1,),
        (2,),
        (3,),
    }
    assert pool.spacing(np.random.default_rng(0)) == pytest.approx(np.sqrt(2))


def test_the_vectors_of_components_stand_side_by_side_at_unit_length() -> None:
    first, second = np.eye(3, dtype=np.float32)[:2], np.eye(3, dtype=np.float32)[[2, 2]]
    found = side_by_side(np.concatenate([first, second]), 2)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0)
    np.testing.assert_allclose(found[1] * np.sqrt(2), [0, 1, 0, 0, 0, 1])


def test_values_are_standardised_whatever_their_size() -> None:
    for scale in (1e-300, 1.0, 1e300):
        values, centre, deviation = standardised(np.array([1.0, 2.0, 4.0]) * scale)
        assert values.mean() == pytest.approx(0)
        assert values.std() == pytest.approx(1)
        np.testing.assert_allclose(centre + deviation * values, np.array([1.0, 2.0, 4.0]) * scale)
    values, centre, deviation = standardised(np.full(3, 5.0))
    assert (values.tolist(), centre, deviation) == ([0, 0, 0], 5.0, 0.0)
    assert np.isfinite(standardised(np.array([1e300, -1e300, 0.0]))[0]).all()


# -- what trials say


def test_trials_are_read_as_evaluations() -> None:
    one = law.Study(of(suggester={"name": "zopo"}))
    texts = [f"Say {{q}} in way {i}" for i in range(6)]
    pool = Pool(tuple({"prompt": t} for t in texts[:4]), np.eye(6)[:4])
    for text, value in (
        (texts[0], 1.0),
        (texts[1], 5.0),
        (texts[0].upper().replace("{Q}", "{q}"), 2.0),
        (texts[4], 7.0),
    ):
        one.tell(one.add({"prompt": text}), value)
    one.tell(one.add({"prompt": texts[2]}), 0.0, TrialState.FAILED)
    one.add({"prompt": texts[5]})
    history = one.history()
    beside = strangers(pool, history)
    assert [c["prompt"] for c in beside.values()] == texts[4:]
    known = Evaluations(pool, history, dict(zip(beside, np.eye(6)[4:], strict=True)))
    assert known.merits.tolist() == [1.5, 5.0, 7.0]  # told twice but for its case: the mean
    np.testing.assert_array_equal(known.vectors.argmax(axis=1), [0, 1, 4])
    assert known.rows == {1: 0, 2: 1, 3: 0, 4: 2}
    assert [v.argmax() for v in known.pending] == [5]
    assert known.free.tolist() == [3]  # failed ones are not tried again
    assert {n: int(v.argmax()) for n, v in known.places.items()} == {1: 0, 2: 1, 3: 0, 4: 4, 6: 5}
    known.take(3)
    assert (known.free.tolist(), known.evaluated) == ([], 5)


def test_only_full_runs_count_where_examples_are_declared() -> None:
    one = law.Study(of(suggester={"name": "zopo"}, examples={"train": ["a", "b"]}))
    pool = Pool(({"prompt": "Say {q} now"}, {"prompt": "Say {q} later"}), np.eye(2))
    part = one.add({"prompt": "Say {q} now"})
    one.trials[part] = replace(one.trials[part], evaluate_on={"split": "train", "ids": ["a"]})
    one.tell(part, 9.0)
    one.tell(one.add({"prompt": "Say {q} later"}), 3.0)
    assert Evaluations(pool, one.history(), {}).merits.tolist() == [3.0]


# -- where candidates come from


def test_a_clients_list_stands_after_the_starting_texts_without_twins() -> None:
    pool = [f"Please judge {{q}} by its {w}" for w in ("plot", "cast", "PLOT", "score")]
    known = prepared(law.Study(of()), pool=pool).known
    starts = [c["prompt"] for c in given_starts(of().space)]
    assert [m["prompt"] for m in known.pool.members] == [*starts, pool[0], pool[1], pool[3]]
    assert known.pool.starts == 2


def test_edits_are_valid_distinct_and_the_same_in_every_process() -> None:
    known = prepared(law.Study(of()), pool_size=120).known
    texts = [m["prompt"] for m in known.pool.members]
    assert 60 < len(texts) <= 122  # edits that mean nearly the same are left out
    assert all(text.count("{q}") == 1 and len(text) <= 300 for text in texts)
    assert len({" ".join(t.casefold().split()) for t in texts}) == len(texts)
    from workers.models import pool_edits

    pool_edits._kept.cache_clear()
    assert [m["prompt"] for m in prepared(law.Study(of()), pool_size=120).known.pool.members] == texts
    assert [m["prompt"] for m in prepared(law.Study(of(seed=4)), pool_size=120).known.pool.members] != texts


def test_a_text_that_allows_few_edits_ends_soon() -> None:
    tight = of(parameters=[{"name": "prompt", "type": "text", "initial": ["go on"], "max_length": 6}])
    assert len(prepared(law.Study(tight)).known.pool) < 20


def test_components_are_edited_in_turn() -> None:
    two = of(
        parameters=[{"name": n, "type": "text", "initial": [f"Answer the {n} question with great care."]} for n in "ab"]
    )
    known = prepared(law.Study(two), pool_size=60).known
    assert known.pool.vectors.shape[1] == 512
    for name in "ab":
        assert len({m[name] for m in known.pool.members}) > 10


# -- what is refused


PAIR = {"input": "a dull film", "output": "bad"}
LLM = {"profile": "scripted", "share_examples": True}


@pytest.mark.parametrize(
    ("fields", "options", "pointer"),
    [
        ({}, {"pool": [f"{{q}} {w}" for w in "abcdefgh"]}, "/suggester/options/pool"),
        ({}, {"pool": ["no placeholder"]}, "/suggester/options/pool/0"),
        ({}, {"pool": [{"other": "{q}"}]}, "/suggester/options/pool/0"),
        ({}, {"encoder": "nowhere"}, "/suggester/options/encoder"),
        ({}, {"exemplars": [PAIR]}, "/llm/profile"),
        ({"llm": {"encoder": "mini"}}, {"exemplars": [PAIR]}, "/llm/profile"),
        ({"llm": {"profile": "scripted"}}, {"exemplars": [PAIR]}, "/llm/share_examples"),
        ({"llm": LLM}, {"exemplars": [PAIR], "subsets": 1, "samples": 5}, "/suggester/options/samples"),
        ({"llm": LLM}, {"exemplars": [PAIR] * 51}, "/suggester/options/exemplars"),
        ({"parameters": [{"name": "p", "type": "text"}]}, {}, "/suggester/options/pool"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_by_pointer(fields: dict[str, Any], options: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        ZOPO.check(of(suggester={"name": "zopo", "options": options}, **fields).spec)
    assert error.value.errors[0].pointer == pointer


def test_texts_that_mean_the_same_do_not_make_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    text_pools.decree(monkeypatch, vectors[[i % 15 for i in range(40)]])
    texts = [f"text {i}" for i in range(40)]
    with pytest.raises(Invalid, match="15 distinct texts, at least 20"):
        ZOPO.check(text_pools.problem(ZOPO, texts).spec)
    ZOPO.check(text_pools.problem(ZOPO, texts, neighbours=7).spec)
