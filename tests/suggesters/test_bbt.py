"""Black-box tuning: pycma per block in turns, then COBYLA; whoever asks in whatever order, however often it is restarted."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.domain.errors import Invalid
from services.domain.history import History
from services.domain.suggester import Suggester, Suggestion
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from workers.suggesters.registry import get

Array = NDArray[np.float64]
BLOCKS, LENGTH, POPSIZE = 4, 10, 8
TARGETS = np.random.default_rng(0).normal(size=(BLOCKS, LENGTH)) * 0.5
SCALES = 10.0 ** np.linspace(0, 1, LENGTH)


def vectors(blocks: int = BLOCKS, length: int = LENGTH) -> list[dict[str, Any]]:
    return [{"name": f"z{i}", "type": "vector", "length": length, "min": -10, "max": 10} for i in range(blocks)]


def problem(blocks: int = BLOCKS, length: int = LENGTH, seed: int = 5, **options: Any) -> law.Problem:
    options = {"popsize": POPSIZE} | options
    fields = {"suggester": {"name": "bbt", "options": options}, "seed": seed}
    return law.Problem(study="s", spec=study(parameters=vectors(blocks, length), **fields), seed=seed)


def matrix(point: dict[str, Any]) -> Array:
    return np.array(list(point.values()))


def separable(point: dict[str, Any]) -> float:
    """A quadratic for each block, nothing between them."""
    z = matrix(point)
    return float((SCALES[: z.shape[1]] * (z - TARGETS[: len(z), : z.shape[1]]) ** 2).sum())


def coupled(point: dict[str, Any]) -> float:
    """The same with a weak spring between neighbours."""
    z = matrix(point)
    return separable(point) + 0.1 * float((z[1:] * z[:-1]).sum())


class Walk:
    """A study that is asked one by one and told at once."""

    def __init__(self, of: law.Problem, f: Callable[[dict[str, Any]], float]) -> None:
        self.of, self.f = of, f
        self.one, self.suggester, self.known = law.Study(of), law.make(get("bbt"), of), History(of.spec)
        self.given: list[Suggestion] = []

    def go(self, steps: int, state: Callable[[int], TrialState] = lambda n: TrialState.COMPLETED) -> Walk:
        for _ in range(steps):
            for suggestion in self.suggester.suggest(self.known, 1):
                self.given.append(suggestion)
                number = self.one.start(suggestion)
                self.one.tell(number, self.f(suggestion.parameters), state(number))
                self.known.update([self.one.trials[number]], seq=self.one.seq, next_number=number + 1)
        return self

    def best(self) -> float:
        return min(t.metrics["loss"] for t in self.one.trials.values() if t.metrics)


@pytest.mark.parametrize("f", [separable, coupled])
def test_every_block_takes_the_path_of_plain_pycma_in_turns(f: Callable[[dict[str, Any]], float]) -> None:
    import cma

    of, rounds = problem(sigma=0.7), 6
    walk = Walk(of, f).go(rounds * BLOCKS * POPSIZE)
    options = {
        "bounds": [-10, 10],
        "CMA_stds": [0.7] * LENGTH,
        "popsize": POPSIZE,
        "CMA_mirrors": 0,
        "seed": np.nan,
        "verbose": -9,
    }
    peers = [cma.CMAEvolutionStrategy([0.0] * LENGTH, 1.0, options) for _ in range(BLOCKS)]
    held = {f"z{i}": [0.0] * LENGTH for i in range(BLOCKS)}
    values = [np.inf] * BLOCKS
    for generation in range(rounds * BLOCKS):
        block = generation % BLOCKS
        peer = peers[block]
        rows = [of.generator(generation, f"bbt {k}").standard_normal(LENGTH) for k in range(POPSIZE)]
        peer.opts["randn"] = peer.randn = peer.sm.randn = lambda *shape, rows=rows: np.array(rows[: shape[0]])
        asked = peer.ask()
        ours = walk.given[generation * POPSIZE : (generation + 1) * POPSIZE]
        points = [held | {f"z{block}": x.tolist()} for x in asked]
        for k in range(POPSIZE):
            np.testing.assert_allclose(matrix(ours[k].parameters), matrix(points[k]), rtol=1e-9, atol=1e-12)
        told = [f(p) for p in points]
        peer.tell(asked, told)
        if min(told) < values[block]:
            values[block] = min(told)
            held[f"z{block}"] = points[int(np.argmin(told))][f"z{block}"]


def test_blocks_take_turns_and_only_one_varies_in_a_generation() -> None:
    given = Walk(problem(), coupled).go(3 * BLOCKS * POPSIZE).given
    for generation in range(3 * BLOCKS):
        rows = [matrix(s.parameters) for s in given[generation * POPSIZE : (generation + 1) * POPSIZE]]
        varies = [not np.array_equal(row[i], rows[0][i]) for row in rows[1:] for i in range(BLOCKS)]
        assert varies == [i == generation % BLOCKS for _ in rows[1:] for i in range(BLOCKS)]


def test_a_block_is_held_at_its_best_ever_point() -> None:
    walk = Walk(problem(), separable).go(5 * BLOCKS * POPSIZE + 1)
    trials = [walk.one.trials[n] for n in sorted(walk.one.trials)]
    for block in range(1, BLOCKS):
        own = [t for t in trials[:-1] if t.origin["generation"] % BLOCKS == block]
        best = min(own, key=lambda t: t.metrics["loss"])
        assert trials[-1].parameters[f"z{block}"] == best.parameters[f"z{block}"]


def test_divide_and_conquer_beats_random_search_and_gets_there() -> None:
    rng = np.random.default_rng(1)
    wins = 0
    for seed in range(20):
        walk = Walk(problem(seed=seed), coupled).go(6 * BLOCKS * POPSIZE)
        other = min(coupled(dict(enumerate(rng.normal(size=(BLOCKS, LENGTH))))) for _ in range(6 * BLOCKS * POPSIZE))
        wins += walk.best() < other
    assert wins >= 17  # sign test: p < 0.002


# -- failures, limits, others' points


def test_half_of_a_generation_may_fail_and_is_replaced() -> None:
    def state(n: int) -> TrialState:
        return (TrialState.COMPLETED, TrialState.FAILED)[n % 2]

    walk = Walk(problem(), separable).go(2 * POPSIZE, state)
    assert {s.origin["generation"] for s in walk.given} == {0}
    assert [s.origin["row"] for s in walk.given] == list(range(2 * POPSIZE))
    assert walk.go(1).given[-1].origin == {"method": "bbt", "generation": 1, "row": 0}


def test_infeasible_outcomes_rank_last() -> None:
    """Infeasible ones fill the generation as if they had been told the worst value."""

    def f(point: dict[str, Any]) -> float:
        return 1e6 if point["z0"][0] > 0 else separable(point)

    def run(infeasible: bool) -> list[Array]:
        of = problem()
        one, suggester, found = law.Study(of), law.make(get("bbt"), of), []
        for _ in range(3 * POPSIZE * BLOCKS):
            (suggestion,) = suggester.suggest(one.history(), 1)
            found.append(matrix(suggestion.parameters))
            bad = f(suggestion.parameters) == 1e6
            state = TrialState.INFEASIBLE if bad and infeasible else TrialState.COMPLETED
            one.tell(one.start(suggestion), f(suggestion.parameters), state)
        return found

    assert np.array_equal(run(True), run(False))


def test_more_than_a_generation_in_flight_gets_further_rows_of_the_same_block() -> None:
    of = problem()
    one, suggester = law.Study(of), law.make(get("bbt"), of)
    numbers = [one.start(s) for s in suggester.suggest(one.history(), POPSIZE + 5)]
    assert [one.trials[n].origin["row"] for n in numbers] == list(range(POPSIZE + 5))
    for n in numbers[5:]:
        one.tell(n, separable(one.trials[n].parameters))
    (following,) = suggester.suggest(one.history(), 1)
    assert following.origin["generation"] == 1
    late = numbers[0]
    one.tell(late, -1.0)  # the generation is closed: too late for the distribution, in time for the best
    for s in suggester.suggest(one.history(), POPSIZE):
        assert s.parameters["z0"] == following.parameters["z0"]  # held until the next closing
        one.tell(one.start(s), 1e3)
    (after,) = suggester.suggest(one.history(), 1)
    assert after.parameters["z0"] == one.trials[late].parameters["z0"]


def test_a_users_better_point_is_taken_whole() -> None:
    walk = Walk(problem(), separable).go(POPSIZE - 1)
    own = {f"z{i}": TARGETS[i].tolist() for i in range(BLOCKS)}
    walk.one.tell(walk.one.add(own), separable(own))
    walk.known = walk.one.history()
    walk.go(2)
    assert all(walk.given[-1].parameters[f"z{i}"] == own[f"z{i}"] for i in (0, 2, 3))


def test_trials_of_another_suggester_are_points_like_a_users() -> None:
    of = problem()
    one = law.Study(of)
    (other,) = law.make(get("bbt"), problem(seed=9)).suggest(one.history(), 1)
    foreign = Suggestion(parameters=other.parameters, reason="", origin={"generation": 0, "row": 0})
    one.tell(one.start(foreign), 1.0)
    assert law.make(get("bbt"), of).suggest(one.history(), 1)[0].origin["row"] == 0


# -- remeasuring, the second metric, schedules


def test_remeasure_asks_for_the_incumbent_once_a_round_and_believes_it() -> None:
    noise = random.Random(0)
    walk = Walk(problem(remeasure=True), lambda p: separable(p) + noise.uniform(0, 50)).go(3 * BLOCKS * POPSIZE + 3)
    again = [k for k, s in enumerate(walk.given) if "round" in s.origin]
    assert [k - i for i, k in enumerate(again)] == [BLOCKS * POPSIZE, 2 * BLOCKS * POPSIZE, 3 * BLOCKS * POPSIZE]
    first = walk.given[again[0]].parameters
    generation = walk.given[again[0] + 1 : again[0] + 1 + POPSIZE]
    assert all(s.parameters[f"z{i}"] == first[f"z{i}"] for s in generation for i in (1, 2, 3))

    def held_after(told: float) -> list[float]:
        """Where block 0 is held when the incumbent turned out to be worth `told`, and its next generation is worth 5."""
        next_walk = Walk(problem(remeasure=True), lambda p: 1.0 + abs(p["z0"][0])).go(BLOCKS * POPSIZE)
        next_walk.f = lambda p: told
        next_walk.go(1)
        next_walk.f = lambda p: 5.0 + abs(p["z0"][0])
        return next_walk.go(POPSIZE + 1).given[-1].parameters["z0"]

    assert held_after(0.0) != held_after(100.0)


def test_a_best_needs_a_better_second_metric_too() -> None:
    def run(goal: str) -> tuple[law.Study, list[float]]:
        of = problem(1, 3, dev="accuracy", dev_goal=goal)
        one, suggester = law.Study(of), law.make(get("bbt"), of)
        for n in range(3 * POPSIZE):
            (s,) = suggester.suggest(one.history(), 1)
            extra = {} if n % 4 == 3 else {"accuracy": float((7 * n) % 13)}
            one.tell(one.start(s), float((5 * n) % 17) - n, **extra)
        blob = suggester.state() if suggester.suggest(one.history(), 1) else None
        assert blob is not None
        return one, blob.arrays["0 best"].tolist()

    for goal, sign in (("maximize", 1), ("minimize", -1)):
        one, held = run(goal)
        best, loss, dev = None, np.inf, -np.inf
        for t in one.trials.values():
            told = sign * t.metrics.get("accuracy", -sign * np.inf)
            if t.metrics["loss"] < loss and told > dev:
                best, loss, dev = t, t.metrics["loss"], told
        assert best is not None
        assert held == best.parameters["z0"]


def test_a_second_metric_that_nobody_tells_is_named() -> None:
    given = Walk(problem(1, 3, dev="accuracy"), separable).go(POPSIZE + 1).given
    assert "accuracy is not told" in given[-1].reason
    assert "accuracy" not in given[0].reason


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("first", [1, 0.2, 0.2, 0.2]),
        ("linear", [1, 1 - 0.8 / 3, 1 - 1.6 / 3, 0.2]),
        ("exponential", [0.2 + 0.8 * np.exp(-i / 5) for i in range(4)]),
    ],
)
def test_first_steps_follow_the_schedule(schedule: str, expected: list[float]) -> None:
    given = Walk(problem(sigma_schedule=schedule, popsize=200), separable).go(BLOCKS * 200).given
    spread = [np.std([s.parameters[f"z{i}"] for s in given[200 * i : 200 * (i + 1)]]) for i in range(BLOCKS)]
    np.testing.assert_allclose(spread, expected, rtol=0.06)


# -- COBYLA


def refined(seed: int = 5, rounds: int = 3, share: int = 40, **options: Any) -> law.Problem:
    budget = rounds * BLOCKS * POPSIZE
    return problem(seed=seed, sigma_schedule="first", budget=budget, refine=share * BLOCKS, **options)


@pytest.mark.parametrize("seed", range(5))
def test_cobyla_takes_the_blocks_in_order_and_never_worsens_the_best(seed: int) -> None:
    rounds, share = 3, 40
    walk = Walk(refined(seed), coupled).go(rounds * BLOCKS * POPSIZE)
    before = walk.best()
    walk.go(BLOCKS * share + 1)
    stage = walk.given[rounds * BLOCKS * POPSIZE :]
    turns = [s.origin["turn"] for s in stage]
    assert turns == sorted(turns)
    assert set(turns[:-1]) == set(range(BLOCKS))
    incumbents = [
        coupled(stage[turns.index(turn)].parameters) for turn in sorted(set(turns))
    ]  # a turn starts at what is held
    assert incumbents == sorted(incumbents, reverse=True)
    assert walk.best() == incumbents[-1] < before
    for turn in range(BLOCKS):
        own = [matrix(s.parameters) for s in stage if s.origin["turn"] == turn]
        assert len(own) == share
        assert all(np.array_equal(np.delete(z, turn, 0), np.delete(own[0], turn, 0)) for z in own)


def test_while_cobyla_waits_others_look_around_the_best() -> None:
    walk = Walk(refined(), coupled).go(3 * BLOCKS * POPSIZE)
    one, suggester = walk.one, walk.suggester
    found = suggester.suggest(one.history(), 3)
    assert ["step" in s.origin for s in found] == [True, False, False]
    assert all(np.array_equal(matrix(s.parameters)[1:], matrix(found[0].parameters)[1:]) for s in found)
    numbers = [one.start(s) for s in found]
    one.tell(numbers[1], -1e3)
    assert "extra" in suggester.suggest(one.history(), 1)[0].origin
    one.tell(numbers[0], 1.0)
    assert suggester.suggest(one.history(), 1)[0].origin == {"method": "bbt", "turn": 0, "step": 1}


def test_a_step_that_fails_is_tried_again_and_at_last_counts_as_the_worst() -> None:
    walk = Walk(refined(), coupled).go(3 * BLOCKS * POPSIZE + 3)
    walk.go(3, lambda n: TrialState.FAILED)
    assert [s.origin["step"] for s in walk.given[-3:]] == [3, 3, 3]
    assert len({str(s.parameters) for s in walk.given[-3:]}) == 1
    assert walk.go(1).given[-1].origin["step"] == 4
    walk.go(200)
    assert walk.given[-1].origin["turn"] >= 4


# -- restarts


def trace(options: dict[str, Any], restart: str) -> list[bytes]:
    """Points of a study told out of order with every kind of outcome, killed between any two calls."""
    of = problem(3, 4, popsize=5, **options)
    one, suggester, found, running = law.Study(of), law.make(get("bbt"), of), [], list[int]()
    history: History | None = None
    saved: bytes | None = None
    for n in range(100):
        if restart == "saved":
            saved = law.save(suggester) or saved  # as the database: nothing new leaves what was there
            suggester, history = law.make(get("bbt"), of, saved), None
        elif restart == "lost" and n % 7 == 0:
            suggester, history = law.make(get("bbt"), of), None
        history = one.history() if history is None else history
        history.update(one.trials.values(), seq=one.seq, next_number=len(one.trials) + 1)
        for suggestion in suggester.suggest(history, 1 + n % 3 // 2):
            found.append(matrix(suggestion.parameters).tobytes())
            running.append(one.start(suggestion))
        while len(running) > 6:
            number = running.pop((n * 5) % len(running))
            state = TrialState.COMPLETED if number % 7 else list(TrialState)[-1 - number // 7 % 4]
            value = 1.0 if number < 15 else coupled(one.trials[number].parameters)
            one.tell(number, value, state, **({"dev": float(number % 11)} if "dev" in options else {}))
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"remeasure": True},
        {"covariance": "diagonal"},
        {"sigma_schedule": "first", "budget": 60, "refine": 45, "dev": "dev"},
    ],
    ids=["v2", "remeasure", "diagonal", "rgb"],
)
def test_a_kill_between_any_two_calls_changes_no_bit(options: dict[str, Any]) -> None:
    unbroken = trace(options, "never")
    assert trace(options, "saved") == unbroken
    assert trace(options, "lost") == unbroken


def test_a_state_keeps_only_what_fits_and_is_needed_next(monkeypatch: pytest.MonkeyPatch) -> None:
    import workers.suggesters.bbt.suggester as module

    monkeypatch.setattr(module, "MOST_SAVED", 2 * 2 * LENGTH**2)  # the distributions of two blocks
    walk = Walk(problem(), coupled).go(5 * POPSIZE + 1)
    blob = walk.suggester.state()
    assert blob is not None
    assert set(blob.document["blocks"]) == {"1", "2"}
    again: Suggester = get("bbt").create(walk.of, get("bbt").parse_options(walk.of.spec.suggester.options), blob)
    walk.go(4 * BLOCKS * POPSIZE)
    replayed = Walk(walk.of, coupled)
    replayed.suggester = again
    replayed.one.trials = {n: t for n, t in walk.one.trials.items() if n <= 5 * POPSIZE + 1}
    replayed.one.seq, replayed.known = 10**6, replayed.one.history()
    replayed.go(4 * BLOCKS * POPSIZE)
    assert [s.parameters for s in replayed.given] == [s.parameters for s in walk.given[5 * POPSIZE + 1 :]]


# -- creation, and other parameters beside


@pytest.mark.parametrize(
    ("parameters", "options", "pointer"),
    [
        ([{"name": "x", "type": "float", "min": 0, "max": 1}], {}, "/parameters"),
        (vectors(1, 1), {}, "/parameters/0/length"),
        (vectors(1, 3000), {}, "/parameters/0/length"),
        ([{"name": "z", "type": "vector", "length": 3, "min": 1, "max": 1}], {}, "/parameters/0/max"),
        (vectors(1, 3), {"dev": "loss"}, "/suggester/options/dev"),
        (vectors(1, 3), {"popsize": 1}, "/suggester/options/popsize"),
    ],
)
def test_what_it_cannot_serve_is_refused(
    parameters: list[dict[str, Any]], options: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(Invalid) as error:
        get("bbt").check(study(parameters=parameters, suggester={"name": "bbt", "options": options}))
    assert error.value.errors[0].pointer == pointer


def test_other_parameters_may_stand_beside_the_vectors() -> None:
    parameters = [*vectors(2, 4), {"name": "t", "type": "float", "min": 0, "max": 2}]
    made = study(parameters=parameters, suggester={"name": "bbt", "options": {"popsize": 4}}, seed=2)
    get("bbt").check(made)
    of = law.Problem(study="s", spec=made, seed=2)

    def run(restart: bool) -> list[dict[str, Any]]:
        one, suggester, found = law.Study(of), law.make(get("bbt"), of), []
        for n in range(40):
            suggester = law.make(get("bbt"), of, law.save(suggester)) if restart and n % 2 else suggester
            for s in suggester.suggest(one.history(), 1):
                found.append(s.parameters)
                z = {k: v for k, v in s.parameters.items() if k != "t"}
                one.tell(one.start(s), separable(z) + (s.parameters["t"] - 1) ** 2)
        return found

    found = run(False)
    assert found == run(True)
    assert len({p["t"] for p in found}) > 5
    assert len({str(p["z1"]) for p in found}) > 4
