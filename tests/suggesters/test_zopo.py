"""ZOPO: the climb step by step, explorations, jumps, batches, restarts; better than chance and than the nearest text."""

from __future__ import annotations

from base64 import b64encode
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.llm import LlmReply, LlmRequest
from services.domain.suggester import Problem, Suggestion
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support import text_pools
from tests.support.scripted_llm import ScriptedLlm, babble
from tests.support.text_pools import Landscape
from workers.models.tangent_kernel import TangentRegression
from workers.suggesters.registry import get
from workers.suggesters.zopo.climb import Moments
from workers.suggesters.zopo.search import Ascent

ZOPO = get("zopo")
LAND = Landscape.draw(0, members=80, dimensions=10)


@pytest.fixture(autouse=True)
def _decreed(monkeypatch: pytest.MonkeyPatch) -> None:
    text_pools.decree(monkeypatch, LAND.vectors)


def problem(seed: int = 3, goal: str = "maximize", **options: Any) -> Problem:
    """A study over the small landscape."""
    return text_pools.problem(ZOPO, LAND.texts, seed, goal, **{"n_init": 10, **options})


class Walk:
    """A study that is asked and told."""

    def __init__(self, of: Problem, sign: float = 1.0, *, score: Any = None) -> None:
        self.one, self._sign = law.Study(of), sign
        self._score = score or LAND.score
        self.suggester = law.make(ZOPO, of)

    def ask(self, count: int = 1) -> list[Suggestion]:
        """What is proposed, untold."""
        return self.one.ask(self.suggester, count)

    def step(self, value: float | None = None, state: TrialState = TrialState.COMPLETED) -> Suggestion:
        """One trial, told."""
        (given,) = self.ask()
        number = self.one.start(given)
        self.one.tell(number, self._sign * (self._score(given.parameters["prompt"]) if value is None else value), state)
        return given

    def steps(self, count: int) -> list[Suggestion]:
        """Trials, told."""
        return [self.step() for _ in range(count)]


def place(given: Suggestion) -> int:
    """Row of a proposed text."""
    return int(given.parameters["prompt"].split()[-1])


def nearest(to: int, untried: set[int], many: int = 1) -> list[int]:
    """Rows of the texts nearest to one."""
    order = ((LAND.vectors - LAND.vectors[to]) ** 2).sum(axis=1).argsort(kind="stable")
    return [int(i) for i in order if i in untried][:many]


# -- the course


def test_it_starts_at_random_and_then_climbs_from_the_best_and_from_the_latest() -> None:
    walk = Walk(problem(hot_limit=1000, tolerance=1000))
    first = walk.steps(10)
    assert {s.origin["step"] for s in first} == {"start"}
    assert len({place(s) for s in first}) == 10
    best = max(range(10), key=lambda i: LAND.scores[place(first[i])]) + 1
    given = walk.step()
    assert (given.origin["step"], given.origin["at"]) == ("climb", best)
    assert walk.step().origin["at"] == 11
    assert walk.step().origin["at"] == 12


def test_a_proposal_is_the_untried_text_nearest_to_a_step_up_the_slope() -> None:
    walk = Walk(problem(hot_limit=1000, threshold=1e-9))
    tried = [place(s) for s in walk.steps(10)]
    (given,) = walk.ask()
    centre = tried[given.origin["at"] - 1]
    suggester: Any = walk.suggester
    suggester.suggest(walk.one.history(), 1)
    ascent = suggester._ascent
    values = LAND.scores[tried]
    vectors = LAND.vectors[tried].astype(np.float32).astype(float)
    local = TangentRegression(ascent._kernel, vectors, (values - values.mean()) / values.std())
    slope = local.slope(LAND.vectors[centre])
    spacing = ascent.pool.spacing(walk.one.problem.generator(0, "zopo spacing"))
    assert ascent._rate == pytest.approx(0.5 * spacing / np.sqrt(10))
    there = LAND.vectors[centre] + ascent._rate * np.sign(slope)  # Adam's first step has the same length everywhere
    free = [i for i in range(80) if i not in tried]
    assert place(given) == free[int(((LAND.vectors[free] - there) ** 2).sum(axis=1).argmin())]
    assert given.receipt is not None
    assert given.receipt["steps"] == 1


def _sure(monkeypatch: pytest.MonkeyPatch, answers: list[bool]) -> None:
    left = list(answers)
    monkeypatch.setattr(Ascent, "_sureness", lambda self, local, x: (left.pop(0), 0.0))


@pytest.mark.parametrize(
    ("answers", "most", "steps"),
    [
        ([True, True, True], 2, 2),
        ([True, False], 2, 1),
        ([False, True], 2, 1),
        ([True] * 4, 3, 3),
        ([True, True], 1, 1),
    ],
)
def test_the_second_step_is_taken_only_where_the_model_is_sure_before_and_after_the_first(
    monkeypatch: pytest.MonkeyPatch, answers: list[bool], most: int, steps: int
) -> None:
    walk = Walk(problem(max_steps=most))
    walk.steps(10)
    _sure(monkeypatch, answers)
    (given,) = walk.ask()
    assert given.receipt is not None
    assert given.receipt["steps"] == steps


def test_after_failures_beyond_the_tolerance_it_returns_to_the_best_with_fresh_moments() -> None:
    walk = Walk(problem(tolerance=2, hot_limit=1000))
    walk.steps(10)
    best = walk.ask()[0].origin["at"]
    walk.step(-50.0)
    for expected in (11, 12):
        given = walk.step(-50.0)
        assert given.origin["at"] == expected
    (given,) = walk.ask()
    assert (given.origin["at"], given.origin["stall"]) == (best, 0)
    assert Moments.read(given.origin["moments"]).steps <= 2
    number = walk.one.start(given)
    walk.one.tell(number, 50.0)
    (given,) = walk.ask()
    assert (given.origin["at"], given.origin["marker"], given.origin["stall"]) == (number, 50.0, 0)


def test_a_study_that_stays_unsure_explores_the_surroundings_of_where_it_stands() -> None:
    walk = Walk(problem(hot_limit=3, threshold=1e-12, tolerance=1000))
    walk.steps(10)
    climbs = walk.steps(2)
    assert [s.origin["hot"] for s in climbs] == [1, 2]
    explored = [walk.step()]
    at = explored[0].origin["at"]
    centre = int(walk.one.trials[at].parameters["prompt"].split()[-1])
    tried = {int(t.parameters["prompt"].split()[-1]) for t in walk.one.trials.values()} - {place(explored[0])}
    around = [i for i in nearest(centre, set(range(80)), 10) if i not in tried]
    explored += walk.steps(len(around) - 1)
    assert [place(s) for s in explored] == around
    assert {s.origin["step"] for s in explored} == {"around"}
    assert {s.origin["at"] for s in explored} == {at}
    after = walk.step()
    assert (after.origin["step"], after.origin["at"], after.origin["hot"]) == ("climb", at, 1)


def test_there_is_no_exploration_that_the_budget_would_cut_off() -> None:
    of = problem(hot_limit=1, threshold=1e-12, tolerance=1000)
    of = Problem(
        study="st",
        spec=of.spec.model_copy(update={"limits": of.spec.limits.model_copy(update={"max_trials": 22})}),
        seed=3,
    )
    walk = Walk(of)
    walk.steps(10)
    assert walk.step().origin["step"] == "around"
    steps = [s.origin["step"] for s in walk.steps(11)]
    assert "climb" in steps
    assert steps[-1] == "climb"


def test_without_a_slope_it_explores_then_jumps_to_the_least_known_text() -> None:
    walk = Walk(problem(), score=lambda text: 1.0)
    walk.steps(10)
    steps = [s.origin["step"] for s in walk.steps(40)]
    assert steps[0] == "around"
    assert "jump" in steps
    assert set(steps) == {"around", "jump"}
    assert all(after == "around" for before, after in pairwise(steps) if before == "jump")


@pytest.mark.parametrize("score", [LAND.score, lambda text: 1.0, lambda text: (1e300, -1e300)[len(text) % 2]])
@pytest.mark.parametrize("options", [{}, {"faithful": True}])
def test_the_pool_is_used_up_without_repeats_and_then_complete(score: Any, options: dict[str, Any]) -> None:
    walk = Walk(problem(**options), score=score)
    seen = [place(s) for s in walk.steps(80)]
    assert sorted(seen) == list(range(80))
    assert walk.ask(3) == []


def test_failed_and_infeasible_trials_do_not_stop_it() -> None:
    walk = Walk(problem())
    walk.steps(8)
    states = [TrialState.FAILED, TrialState.CANCELLED, TrialState.INFEASIBLE, TrialState.PRUNED, TrialState.COMPLETED]
    given = [walk.step(state=states[i % 5]) for i in range(40)]
    assert len({place(s) for s in given}) == 40
    assert {s.origin["step"] for s in given} >= {"climb"}


# -- batches, restarts, signs


def test_a_batch_is_distinct_and_climbs_on_with_what_is_expected_of_its_members() -> None:
    walk = Walk(problem(hot_limit=1000))
    walk.steps(12)
    given = walk.ask(8)
    assert len({place(s) for s in given}) == 8
    assert {s.origin["step"] for s in given} == {"climb"}
    assert [s.origin["moments"] for s in given] != [given[0].origin["moments"]] * 8
    alone = walk.ask(1)
    assert alone[0].parameters == given[0].parameters
    for suggestion in given[:3]:
        walk.one.start(suggestion)
    assert walk.ask(1)[0].parameters == given[3].parameters  # asked one by one while they run, it is the same batch


def trace(of: Problem, restart: bool, sign: float = 1.0, rounds: int = 24) -> list[int]:
    """Rows proposed by a study told out of order, in batches of one and two."""
    one, suggester, seen, open_trials = law.Study(of), law.make(ZOPO, of), list[int](), list[int]()
    for n in range(rounds):
        if restart:
            suggester = law.make(ZOPO, of)
        given = one.ask(suggester, 1 + n % 2)
        seen += [place(s) for s in given]
        open_trials += [one.start(s) for s in given]
        while len(open_trials) > 2:
            number = open_trials.pop(n % 2)
            value = sign * LAND.score(one.trials[number].parameters["prompt"])
            one.tell(number, value, TrialState.COMPLETED if n % 7 else TrialState.FAILED)
    return seen


def test_a_restart_in_the_climb_changes_nothing_and_neither_does_the_sign_of_the_goal() -> None:
    options: dict[str, Any] = {"hot_limit": 2, "threshold": 0.001}
    told = trace(problem(**options), restart=False)
    assert told == trace(problem(**options), restart=True)
    assert told == trace(problem(goal="minimize", **options), restart=False, sign=-1.0)
    assert told != trace(problem(seed=4, **options), restart=False)


def test_moments_read_as_they_were_written() -> None:
    rng = np.random.default_rng(0)
    kept, read = Moments.zero(5), Moments.zero(5)
    for _ in range(20):
        slope = rng.standard_normal(5)
        kept, step = kept.after(slope)
        read, again = Moments.read(read.wire()).after(slope)
        np.testing.assert_array_equal(step, again)
    plain, square = np.zeros(5), np.zeros(5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        slope = rng.standard_normal(5)
        plain, square = 0.9 * plain + 0.1 * slope, 0.999 * square + 0.001 * slope**2
    np.testing.assert_allclose(step, plain / (1 - 0.9**20) / (np.sqrt(square / (1 - 0.999**20)) + 1e-8), rtol=1e-4)


# -- as published, and what is refused


def test_faithful_takes_the_published_numbers() -> None:
    walk = Walk(problem(faithful=True))
    walk.steps(10)
    walk.ask()
    suggester: Any = walk.suggester
    ascent, options = suggester._ascent, walk.suggester.__dict__["_options"]
    assert ascent._rate == 0.01
    assert (options.threshold, options.tolerance, options.max_steps, options.nearest) == (0.01, 2, 2, 20)
    assert (options.neighbours, options.hot_limit, options.learning_rate) == (10, 5, None)
    assert ZOPO.parse_options({}).model_dump()["n_init"] == 40
    assert [w.shape for w, _ in ascent._kernel.layers] == [(32, 10), (32, 32), (1, 32)]
    local = ascent._fit(LAND.vectors[0], LAND.vectors[:30], LAND.scores[:30])
    assert (local.centre, local.scale) == (0.0, 1.0)
    np.testing.assert_allclose(local.merits(LAND.vectors[:5]), LAND.scores[:5], atol=2.0)
    variance, prior = local.model.variance(LAND.vectors[70:71])
    assert ascent._sureness(local, LAND.vectors[70])[0] == (variance[0] < 0.01)
    assert prior[0] > 100  # of an unscaled kernel: hence a share of it elsewhere


def test_a_pool_of_less_than_twice_the_neighbours_is_refused() -> None:
    with pytest.raises(Invalid) as error:
        ZOPO.check(text_pools.problem(ZOPO, LAND.texts[:39], neighbours=20).spec)
    assert error.value.errors[0].pointer == "/suggester/options/pool"
    ZOPO.check(text_pools.problem(ZOPO, LAND.texts[:40], neighbours=20).spec)


def test_a_language_model_writes_the_pool_and_nothing_else() -> None:
    pairs = [{"input": f"film {i}", "output": "good"} for i in range(7)]
    options = {"exemplars": pairs, "n_init": 10, "refill": False}
    of = law.problem(ZOPO, "prompt", suggester={"name": "zopo", "options": options})
    one, suggester = law.Study(of), law.make(ZOPO, of)
    for n in range(20):
        (given,) = one.ask(suggester, 1)
        one.tell(one.start(given), float(n % 5))
    assert len(one.llm.calls) == 20
    assert {c.role for c in one.llm.calls} == {"generator"}
    assert given.origin["step"] in ("climb", "around")


def test_moments_of_another_encoder_are_dropped() -> None:
    state = {"away": True}

    def script(request: LlmRequest) -> Any:
        if not request.texts:
            return babble(request)
        if state["away"]:
            return request.failed("server")
        table = np.random.default_rng(1).standard_normal((len(request.texts), 12)).astype("<f4")
        vectors = b64encode(table.tobytes()).decode()
        return LlmReply(
            key=request.key, digest=request.digest, snapshot=request.snapshot, vectors=vectors, dimensions=12
        )

    options = {"n_init": 4, "pool_size": 60, "hot_limit": 1000, "tolerance": 1000}
    of = law.problem(ZOPO, "prompt", llm={"encoder": "mini"}, suggester={"name": "zopo", "options": options})
    one = law.Study(of, ScriptedLlm(script))
    suggester = law.make(ZOPO, of)
    given = None
    for n in range(6):
        (given,) = one.ask(suggester, 1)
        one.tell(one.start(given), float(n))
    assert given is not None
    assert given.origin["pool"]["encoder"] == "wordllama"
    assert "fails (" in given.reason
    before = Moments.read(given.origin["moments"])
    state["away"] = False
    for n in range(5):
        (given,) = one.ask(suggester, 1)
        one.tell(one.start(given), float(n))
        if given.origin["pool"]["encoder"] == "profile mini":
            break
    after = Moments.read(given.origin["moments"])
    assert (len(before.first), len(after.first)) == (256, 12)
    assert after.steps <= 2


# -- how good


def test_it_beats_chance_and_is_no_worse_than_the_nearest_text(monkeypatch: pytest.MonkeyPatch) -> None:
    found, chance, near = [], [], []
    for seed in range(20):
        land = Landscape.draw(seed)
        text_pools.decree(monkeypatch, land.vectors)
        of = text_pools.problem(ZOPO, land.texts, seed)
        found.append(max(text_pools.run(ZOPO, of, land.score, 165)))
        chance.append(text_pools.at_random(land.scores, 165, seed))
        near.append(text_pools.nearest_first(land, 165, seed))
    assert np.median(found) > np.median(chance)
    assert np.median(found) >= np.median(near)
    wins, losses = (
        sum(a > b for a, b in pairs) for pairs in (zip(found, chance, strict=True), zip(chance, found, strict=True))
    )
    assert wins >= 9
    assert losses <= 1  # at 9 to 1 the p of a sign test is 0.01
