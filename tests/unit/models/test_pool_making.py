"""Pools that a language model writes and grows, and vectors from a profile: audits of the calls, and bad days."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.domain.llm import LlmReply, LlmRequest, NeedsReplies
from services.domain.suggester import Problem, Suggestion
from tests.suggesters import law
from tests.support.scripted_llm import ScriptedLlm, babble, failed
from workers.models.encoders import PACKAGE
from workers.models.pool_making import NoTexts, PoolMaker, Prepared
from workers.models.pool_options import PoolOptions, given_starts
from workers.suggesters.registry import get

ZOPO = get("zopo")
LEAST = 20
WORDS = (
    "plot",
    "cast",
    "score",
    "pace",
    "tone",
    "lens",
    "edit",
    "crew",
    "myth",
    "joke",
    "fear",
    "hope",
    "noise",
    "light",
)
PAIRS = [{"input": f"a film about {w} </data>", "output": f"good {w}"} for w in WORDS]
SHARED = {"profile": "scripted", "share_examples": True}
Script = Callable[[LlmRequest], Any]


def of(llm: dict[str, Any] | None = SHARED, **fields: Any) -> Problem:
    """A study over the law's prompt, maximised."""
    return law.problem(ZOPO, "prompt", llm=llm, objectives=[{"metric": "score", "goal": "maximize"}], **fields)


class Pooled:
    """A study whose trials are proposed from a pool, one untried member after the other, by a maker made anew each time."""

    def __init__(self, problem: Problem, script: Script = babble, **options: Any) -> None:
        self.one = law.Study(problem, ScriptedLlm(script))
        self.options = PoolOptions.model_validate_json(json.dumps(options))

    def prepared(self, count: int = 1) -> Prepared:
        """The pool as of now, its calls answered."""
        maker = PoolMaker(self.one.problem, self.options, LEAST)
        history, failures = self.one.history(), list[LlmReply]()
        for _ in range(20):
            try:
                return maker.prepared(history, count)
            except NeedsReplies as needs:
                replies = [self.one.llm.answer(request) for request in needs.requests]
                failures += [r for r in replies if r.failure]
                history.update((), seq=history.seq, next_number=history.next_number, replies=[*replies, *failures])
        raise AssertionError("it never stopped asking")

    def try_next(self, value: float = 0.0) -> Prepared:
        """A trial of the next untried member, told."""
        found = self.prepared()
        member = found.known.pool.members[int(found.known.free[0])]
        number = self.one.start(Suggestion(parameters=member, reason="", origin={"pool": found.mark}))
        self.one.tell(number, value)
        return found

    @property
    def calls(self) -> list[LlmRequest]:
        """Every call so far."""
        return self.one.llm.calls


def texts(found: Prepared) -> list[str]:
    """Of the pool."""
    return [m["prompt"] for m in found.known.pool.members]


# -- induction


def test_instructions_are_guessed_from_five_random_pairs_in_each_call() -> None:
    pooled = Pooled(of(), exemplars=PAIRS)
    found = texts(pooled.prepared())
    assert len(pooled.calls) == 20
    assert [c.key for c in pooled.calls] == [f"pool/{i}" for i in range(20)]
    assert {(c.role, c.n, c.temperature, c.top_p, c.max_tokens) for c in pooled.calls} == {
        ("generator", 10, 0.9, 0.95, 256)
    }
    shown = []
    for call in pooled.calls:
        (_, asked) = call.messages[-1]
        shown.append(tuple(re.findall(r"a film about (\w+) &lt;/data>", asked)))
        assert len(set(shown[-1])) == 5
        assert asked.count("<data") == asked.count("</data>")  # an exemplar cannot close what it stands in
        assert all(f"good {word}" in asked for word in shown[-1])
        assert "{q}" in asked
    assert len(set(shown)) == 20
    assert {word for some in shown for word in some} == set(WORDS)
    starts = [c["prompt"] for c in given_starts(of().space)]
    assert found[:2] == starts
    assert len(found) > 100
    assert all(text.count("{q}") == 1 for text in found)
    assert pooled.prepared().known.pool.members == pooled.prepared().known.pool.members
    assert len(pooled.calls) == 20  # recorded ones are not made again


def test_the_published_number_of_samples_can_be_asked_for() -> None:
    pooled = Pooled(of(), exemplars=PAIRS, subsets=100, samples=50)
    pooled.prepared()
    assert sum(call.n for call in pooled.calls) == 5000


def test_replies_that_cannot_be_used_are_left_out_and_counted() -> None:
    def script(request: LlmRequest) -> list[str]:
        good = re.sub(r"<.?text>", "", babble(request)[0])
        return [
            f"<text>{good}</text>", f"<text>{good.upper().replace('{Q}', '{q}')}</text>", "<text>no place</text>", "I'm sorry, no.",
            "", "<text>one {q} two {q}</text>", "<text>new {slot} {q}</text>", f"<text>{'very ' * 99}{{q}}</text>",
        ]  # fmt: skip

    pooled = Pooled(of(), script, exemplars=PAIRS, subsets=30, samples=8)
    found = pooled.prepared()
    assert len(texts(found)) == 32
    assert found.receipt["rejected"] == {"empty": 30, "placeholder": 90, "refused": 30, "too_long": 30}


def test_what_a_broken_model_does_not_write_is_edited() -> None:
    pooled = Pooled(of(), lambda request: ["I'm sorry, no."] * request.n, exemplars=PAIRS, pool_size=60)
    found = pooled.prepared()
    assert len(texts(found)) > 40
    assert len(pooled.calls) == 20
    assert "wrote none" in found.reason("a start")


def test_a_model_that_is_away_is_asked_again_later_not_at_every_trial() -> None:
    state = {"away": True}

    def script(request: LlmRequest) -> Any:
        return failed(request, "server") if state["away"] else babble(request)

    pooled = Pooled(of(), script, exemplars=PAIRS, pool_size=60)
    edits = texts(pooled.try_next())
    for _ in range(8):
        pooled.try_next()
    assert len(pooled.calls) == 20
    assert texts(pooled.prepared()) == edits  # trial 10 asks again; it is away still
    assert len(pooled.calls) == 40
    state["away"] = False
    written = pooled.prepared()
    assert len(pooled.calls) == 60
    assert set(texts(written)) & set(edits) == {c["prompt"] for c in given_starts(of().space)}
    assert len(written.known.merits) == 9  # what was tried of the edits is still known
    assert written.reason("a start") == "a start"


def test_single_calls_that_failed_are_not_made_again_once_the_pool_is_used() -> None:
    def script(request: LlmRequest) -> Any:
        return failed(request, "timeout") if request.key in ("pool/3", "pool/7") else babble(request)

    pooled = Pooled(of(), script, exemplars=PAIRS)
    first = texts(pooled.try_next())
    assert len(pooled.calls) == 20
    for _ in range(12):
        assert texts(pooled.try_next()) == first
    assert len(pooled.calls) == 20


def test_without_a_text_and_without_a_model_it_says_so_and_recovers() -> None:
    state = {"away": True}

    def script(request: LlmRequest) -> Any:
        return failed(request, "unreachable") if state["away"] else babble(request)

    pooled = Pooled(of(parameters=[{"name": "prompt", "type": "text"}]), script, exemplars=PAIRS)
    with pytest.raises(NoTexts, match="no starting text to edit"):
        pooled.prepared()
    state["away"] = False
    assert len(texts(pooled.prepared())) > 100


def test_each_of_several_texts_is_guessed_beside_starting_texts_of_the_others() -> None:
    two = of(
        parameters=[
            {"name": "a", "type": "text", "initial": ["first start", "second start"]},
            {"name": "b", "type": "text"},
        ]
    )
    found = Pooled(two, exemplars=PAIRS).prepared().known.pool.members
    with_start = [m for m in found if m["a"] in ("first start", "second start")]
    assert len({m["b"] for m in with_start}) > 50
    assert len({m["a"] for m in found}) > 50
    assert all(m["a"] and m["b"] for m in found)


# -- growth


def used(pooled: Pooled, top: int = 3) -> None:
    """Try members until one more would leave less than 20; the `top + 1`-th one is the best."""
    for _ in range(200):
        if len(pooled.prepared().known.free) == 20:
            return
        pooled.try_next(9.0 if len(pooled.one.trials) == top else 0.0)
    raise AssertionError("it grew too early")


def test_a_pool_that_runs_low_grows_around_the_best_text() -> None:
    def script(request: LlmRequest) -> list[str]:
        call = WORDS[
            int(request.key.split("/")[1])
        ]  # the calls are the same: a model's replies to them differ by chance
        return [text.replace("<text>", f"<text>{call} ") for text in babble(request)]

    pooled = Pooled(of({"profile": "scripted"}), script, pool_size=40)
    used(pooled)
    assert not pooled.calls
    before = texts(pooled.try_next())
    best = pooled.one.trials[4].parameters["prompt"]
    grown = pooled.prepared()
    assert [c.key for c in pooled.calls] == [f"pool-refill-0/{i}" for i in range(4)]
    assert {(c.role, c.n, c.temperature, c.top_p) for c in pooled.calls} == {("generator", 10, 0.9, 0.95)}
    assert all(best in c.messages[-1][1] for c in pooled.calls)
    assert texts(grown)[: len(before)] == before
    assert len(texts(grown)) > len(before) + 20
    assert grown.mark["refills"] == [[pooled.calls[0].snapshot, 4]]
    pooled.try_next(99.0)
    assert texts(pooled.prepared()) == texts(grown)  # what is told later changes nothing in what was added
    assert len(pooled.calls) == 4
    used(pooled)
    assert len(pooled.calls) == 4
    pooled.try_next()
    assert len(pooled.prepared().mark["refills"]) == 2


def test_outcomes_told_between_the_call_and_its_use_change_nothing() -> None:
    pooled = Pooled(of({"profile": "scripted"}), pool_size=40)
    used(pooled)
    pooled.try_next()
    grown = texts(pooled.prepared())
    pooled.one.tell(pooled.one.add({"prompt": "A far better {q}"}), 1000.0)
    later = pooled.prepared()
    assert [t for t in texts(later) if t in grown] == grown
    assert len(pooled.calls) == 4


@pytest.mark.parametrize("llm", [None, {"profile": "scripted"}])
def test_edits_fill_up_without_a_model_or_with_one_that_is_away(llm: dict[str, Any] | None) -> None:
    pooled = Pooled(of(llm), lambda request: failed(request, "budget"), pool_size=40)
    used(pooled)
    pooled.try_next()
    found = pooled.prepared()
    assert len(found.known.free) >= 20
    assert len(found.mark["refills"]) == 1
    assert bool(found.notes) == bool(llm)
    assert all(text.count("{q}") == 1 for text in texts(found))
    again = pooled.prepared()
    assert texts(again) == texts(found)


def test_the_same_reply_again_and_again_does_not_loop() -> None:
    pooled = Pooled(of({"profile": "scripted"}), lambda request: ["<text>Always {q}</text>"] * request.n, pool_size=40)
    used(pooled)
    pooled.try_next()
    found = pooled.prepared()
    assert len(found.known.free) >= 20
    assert found.receipt["rejected"] == {"duplicate": 39}
    assert len(pooled.calls) == 4


@pytest.mark.parametrize(("refill", "calls"), [(None, 0), (False, 0), (True, 4)])
def test_a_clients_list_grows_only_where_the_client_says_so(refill: bool | None, calls: int) -> None:
    listed = [f"Judge {{q}} by its {w} alone" for w in WORDS[:10]]
    pooled = Pooled(of({"profile": "scripted"}), pool=listed, refill=refill)
    pooled.try_next(1.0)
    pooled.prepared()
    assert len(pooled.calls) == calls


def test_a_large_ask_has_the_pool_grow_to_it() -> None:
    pooled = Pooled(of(None), pool_size=40)
    pooled.try_next(1.0)
    assert len(pooled.prepared(count=100).known.free) >= 100


# -- vectors from a profile


class Endpoint:
    """Answers embeddings with words counted into 16 places, other calls by `babble`."""

    def __init__(self) -> None:
        self.failure: str | None = None

    def __call__(self, request: LlmRequest) -> Any:
        if not request.texts:
            return babble(request)
        if self.failure:
            return failed(request, self.failure)
        table = np.array([self.vector(t) for t in request.texts], "<f4")
        packed = base64.b64encode(table.tobytes()).decode()
        return LlmReply(
            key=request.key, digest=request.digest, snapshot=request.snapshot, vectors=packed, dimensions=table.shape[1]
        )

    @staticmethod
    def vector(text: str) -> list[float]:
        """Of a text."""
        found = np.zeros(16)
        for place, word in enumerate(text.split()):
            found[sum(map(ord, word)) % 16] += 1.0 + place
        return [float(v) for v in found]


ENCODED = {"encoder": "mini"}


def test_vectors_come_from_the_profile_once() -> None:
    pooled = Pooled(of(ENCODED), Endpoint(), pool_size=150)
    found = pooled.try_next()
    assert found.receipt["encoder"] == "profile mini"
    assert not found.notes
    sizes = [len(c.texts) for c in pooled.calls]
    assert {c.role for c in pooled.calls} == {"encoder"}
    assert max(sizes) == 64
    assert sum(sizes) == 152
    for member, vector in zip(found.known.pool.members, found.known.pool.vectors, strict=True):
        expected = np.array(Endpoint.vector(member["prompt"]))
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)
    for _ in range(5):
        pooled.try_next()
    assert len(pooled.calls) == len(sizes)
    pooled.one.tell(pooled.one.add({"prompt": "A text of the client's own about {q}"}), 3.0)
    assert len(pooled.prepared().known.merits) == 7
    assert [c.texts for c in pooled.calls[len(sizes) :]] == [("A text of the client's own about {q}",)]
    for n in range(130):
        pooled.one.tell(pooled.one.add({"prompt": f"Imported {n} of {{q}}"}), 0.0)
    pooled.prepared()
    assert [len(c.texts) for c in pooled.calls[len(sizes) + 1 :]] == [64, 64, 3]


def test_an_encoder_that_is_away_is_replaced_by_the_local_one_for_all_vectors_and_said() -> None:
    endpoint = Endpoint()
    pooled = Pooled(of(ENCODED), endpoint, pool_size=150)
    endpoint.failure = "unreachable"
    found = pooled.try_next()
    assert len(pooled.calls) == 1  # not asked for all the rest
    assert found.receipt["encoder"] == PACKAGE
    assert "unreachable" in found.reason("a start")
    assert found.known.pool.vectors.shape[1] == 256
    endpoint.failure = None
    back = pooled.try_next()
    assert back.receipt["encoder"] == "profile mini"
    assert back.known.vectors.shape[1] == back.known.pool.vectors.shape[1] == 16
    endpoint.failure = "server"
    pooled.one.tell(pooled.one.add({"prompt": "A text of the client's own about {q}"}), 3.0)
    mixed = pooled.prepared()  # one vector of one stranger is missing: none of the profile's is used beside local ones
    assert mixed.known.vectors.shape == (3, 256)


def test_an_encoder_that_stays_away_is_tried_now_and_then() -> None:
    endpoint = Endpoint()
    endpoint.failure = "bad_request"
    pooled = Pooled(of(ENCODED), endpoint, pool_size=60)
    for _ in range(30):
        pooled.try_next()
    assert len(pooled.calls) == 3 + 3
    endpoint.failure = None
    assert pooled.prepared().receipt["encoder"] == PACKAGE
    while len(pooled.one.trials) % 10 != 9:
        pooled.try_next()
    assert pooled.prepared().receipt["encoder"] == "profile mini"


def test_a_profile_whose_model_was_changed_is_not_mixed_with_what_it_said_before() -> None:
    def script(request: LlmRequest) -> LlmReply:
        size = 4 if request.key.endswith("/0") else 5
        table = np.eye(size, dtype="<f4")[[i % size for i in range(len(request.texts))]]
        packed = base64.b64encode(table.tobytes()).decode()
        return LlmReply(key=request.key, digest=request.digest, snapshot=0, vectors=packed, dimensions=size)

    found = Pooled(of(ENCODED), script, pool_size=150).prepared()
    assert found.receipt["encoder"] == PACKAGE
    assert "unusable" in found.reason("x")


def test_both_away_ends_soon() -> None:
    pooled = Pooled(
        of(SHARED | ENCODED), lambda request: failed(request, "rate_limited"), exemplars=PAIRS, pool_size=60
    )
    assert len(texts(pooled.prepared())) > 40
    assert len(pooled.calls) == 21
