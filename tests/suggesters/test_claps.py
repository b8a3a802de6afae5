"""Tokens alone, the few that matter, and prompts of those; a pure function of what was told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.suggester import Suggestion
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from workers.models.k_means import nearest_members
from workers.suggesters.claps.course import crossed, divergence, kept
from workers.suggesters.claps.swarm import Swarm
from workers.suggesters.registry import get

Metric = Callable[[list[Any]], float]
EXAMPLES = {"train": ["a", "b"], "validation": ["v", "w", "x"]}


class Landscape:
    """Tokens with weights, a bonus where two of them stand together, next to nothing for the others."""

    def __init__(self, seed: int, size: int = 1000, special: int = 20) -> None:
        rng = np.random.default_rng(seed)
        self.special = [int(t) for t in rng.permutation(size)[:special]]
        self.weights = dict(enumerate(rng.normal(0, 0.01, size).tolist()))
        self.weights |= dict(zip(self.special, np.linspace(0.3, 1, special).tolist(), strict=True))
        self.pair = set(self.special[:2])

    def additive(self, prompt: list[int]) -> float:
        return sum(self.weights[t] for t in set(prompt))

    def __call__(self, prompt: list[int]) -> float:
        return self.additive(prompt) + 0.5 * (self.pair <= set(prompt))


def problem(size: int = 1000, seed: int = 1, goal: str = "maximize", **options: Any) -> law.Problem:
    """One parameter of `size` tokens, five at most; keys of a study among the options go to the study."""
    fields = {k: options.pop(k) for k in ("examples", "parameters", "constraints") if k in options}
    tokens = {"name": "trigger", "type": "tokens", "vocabulary": list(range(size)), "max_length": 5}
    made = study(
        **({"parameters": [tokens]} | fields),
        objectives=[{"metric": "reward", "goal": goal}],
        suggester={"name": "claps", "options": options},
        seed=seed,
    )
    get("claps").check(made)
    return law.Problem(study="s", spec=made, seed=seed)


def run(
    of: law.Problem, metric: Metric, budget: int, batch: int = 50, first: int = 0
) -> tuple[law.Study, list[Suggestion]]:
    """A study asked in batches, of which the first may have a size of its own, and told at once."""
    one, suggester, given = law.Study(of), law.make(get("claps"), of), list[Suggestion]()
    while len(given) < budget:
        count = first if first and not given else min(batch, budget - len(given))
        for suggestion in suggester.suggest(one.history(), count):
            given.append(suggestion)
            one.tell(one.start(suggestion), metric(suggestion.parameters["trigger"]))
    return one, given


def best(one: law.Study) -> float:
    return max(t.metrics["reward"] for t in one.trials.values() if t.metrics)


def searched(given: list[Suggestion]) -> list[Suggestion]:
    return [s for s in given if s.origin.get("stage", 0) > 0]


def used(given: list[Suggestion]) -> set[int]:
    return {t for s in given for t in s.parameters["trigger"]}


# -- pruning


def test_pruning_keeps_the_tokens_that_matter() -> None:
    for seed in range(5):
        landscape = Landscape(seed)
        _, given = run(problem(percentile=98, seed=seed), landscape, 1001 + 128, batch=128, first=1001)
        assert [len(s.parameters["trigger"]) for s in given[:1001]] == [0] + [1] * 1000
        assert len(used(given[:1001])) == 1000
        chosen = used(given[1001:])
        assert len(chosen) == 20
        assert len(chosen & set(landscape.special)) >= 18


def test_a_token_is_kept_strictly_above_the_percentile() -> None:
    tokens = np.arange(200)
    values = [float(v) for v in np.random.default_rng(0).permutation(200)]
    bar = np.percentile(values, 90)
    assert kept(tokens, values, 90).tolist() == [t for t, v in zip(tokens, values, strict=True) if v > bar]
    assert len(kept(tokens, [1.0] * 200, 90)) == 10  # none is strictly above: the first ten
    assert kept(tokens[:4], [None, 2.0, 1.0, None], 99).tolist() == [1, 2]
    assert kept(tokens[:3], [None] * 3, 99).tolist() == [0, 1, 2]


def test_failed_tokens_are_not_kept_and_infeasible_ones_count_as_the_worst() -> None:
    of = problem(40, percentile=50)
    one, suggester = law.Study(of), law.make(get("claps"), of)
    for suggestion in suggester.suggest(one.history(), 41):
        token = next(iter(suggestion.parameters["trigger"]), 0)
        state = {0: TrialState.FAILED, 1: TrialState.INFEASIBLE}.get(token % 4, TrialState.COMPLETED)
        one.tell(one.start(suggestion), 10.0 * token, state)
    chosen = used(suggester.suggest(one.history(), 128))
    assert not chosen & set(range(0, 40, 4))
    assert not chosen & set(range(1, 40, 4))
    assert len(chosen) == 15


def test_divergence_of_label_distributions_can_stand_for_influence() -> None:
    before = [{"id": "a", "output": "[0.5, 0.5]"}, {"id": "b", "output": "[0.9, 0.1]"}]
    with_it = [{"id": "a", "output": "[0.8, 0.2]"}, {"id": "b", "output": "[9, 1]"}, {"id": "c", "output": "oops"}]
    expected = (0.8 * np.log(1.6) + 0.2 * np.log(0.4)) / 2
    assert divergence(with_it, before) == pytest.approx(expected)
    assert divergence(with_it, [{"id": "a", "output": None}]) is None
    of = problem(30, influence="kl", percentile=60, examples={"train": ["a", "b"]})
    one, suggester = law.Study(of), law.make(get("claps"), of)
    for suggestion in suggester.suggest(one.history(), 31):
        token = next(iter(suggestion.parameters["trigger"]), None)
        p = 0.5 if token is None or token % 3 else 0.9  # every third token moves the labels, none moves the metric
        rows = [{"id": i, "score": 0.0, "output": f"[{p}, {1 - p}]"} for i in "ab"]
        one.tell(one.start(suggestion), 1.0, examples=rows)
    assert used(suggester.suggest(one.history(), 128)) == set(range(0, 30, 3))


# -- the three searches


def test_greedy_finds_the_additive_optimum_in_kept_times_five_trials() -> None:
    landscape = Landscape(3, 40, 8)
    one, given = run(problem(40, prune=False, search="greedy"), landscape.additive, 40 * 5, batch=40)
    assert best(one) == pytest.approx(sum(sorted(landscape.weights.values())[-5:]))
    assert [len(s.parameters["trigger"]) for s in given] == [n for n in range(1, 6) for _ in range(40)]
    for n in range(1, 6):
        assert len({t for s in given[40 * (n - 1) : 40 * n] for t in s.parameters["trigger"][-1:]}) == 40
    landscape = Landscape(4)
    budget = 1001 + 20 * 4  # what is tried at the first position is known
    one, given = run(problem(percentile=98, search="greedy"), landscape.additive, budget, batch=20, first=1001)
    assert best(one) == pytest.approx(sum(sorted(landscape.weights.values())[-5:]))
    assert {s.reason for s in searched(given)} == {f"greedy, position {n}" for n in range(2, 6)}


def test_greedy_then_tries_every_position_again_until_none_changes() -> None:
    def metric(prompt: list[int]) -> float:  # greedy is misled at the first position
        return (
            {1: 1.0, 2: 0.5}.get(prompt[0], 0.0)
            + (5.0 if prompt[0] == 2 and 3 in prompt[1:] else 0.0)
            + 0.1 * (3 in prompt)
        )

    one, _ = run(problem(12, prune=False, search="greedy", length=3), metric, 200, batch=12)
    assert best(one) == pytest.approx(5.6)


def test_pruned_search_beats_unpruned_at_equal_budget() -> None:
    wins = 0
    for seed in range(20):
        landscape = Landscape(seed, 400, 12)
        pruned, _ = run(problem(400, percentile=97, seed=seed), landscape, 700, batch=150)
        unpruned, _ = run(problem(400, prune=False, seed=seed), landscape, 700, batch=150)
        wins += best(pruned) > best(unpruned)
    assert wins >= 17  # sign test: p < 0.002


@pytest.mark.parametrize("search", ["genetic", "swarm"])
def test_a_search_beats_prompts_drawn_from_the_same_tokens(search: str) -> None:
    wins = 0
    for seed in range(20):
        landscape = Landscape(seed, 30, 12)
        one, _ = run(problem(30, prune=False, search=search, seed=seed, population=32), landscape, 320, batch=40)
        drawn = np.random.default_rng(seed).integers(0, 30, (320, 5))
        wins += best(one) > max(landscape(row.tolist()) for row in drawn)
    assert wins >= 17


@pytest.mark.parametrize("search", ["genetic", "greedy", "swarm"])
def test_only_the_order_of_values_counts_not_their_sign_or_place(search: str) -> None:
    landscape = Landscape(1, 50, 8)
    landscape.weights = {
        t: round(w * 1024) / 1024 for t, w in landscape.weights.items()
    }  # exact wherever they are moved
    options = {"search": search, "percentile": 80, "population": 20, "seed": 5}
    traces = [
        [s.parameters for s in run(problem(50, **options), landscape, 300, batch=10)[1]],
        [s.parameters for s in run(problem(50, **options), lambda p: landscape(p) - 1000, 300, batch=10)[1]],
        [s.parameters for s in run(problem(50, goal="minimize", **options), lambda p: -landscape(p), 300, batch=10)[1]],
    ]
    assert traces[0] == traces[1] == traces[2]


def test_crossover_takes_each_position_from_either_parent() -> None:
    rng = np.random.default_rng(0)
    children = np.array([crossed((0,) * 5, (1,) * 5, rng) for _ in range(2000)])
    assert abs(children.mean() - 0.5) < 0.02
    assert np.abs(np.corrcoef(children.T) - np.eye(5)).max() < 0.08  # positions independent: never one parent whole
    assert 0.04 < np.mean([len(set(c)) == 1 for c in children.tolist()]) < 0.09


def test_an_epochs_elite_is_taken_before_its_offspring() -> None:
    landscape = Landscape(2, 60, 10)
    of = problem(60, prune=False, population=40)
    one, given = run(of, landscape, 40, batch=40)
    elite = sorted(given, key=lambda s: -landscape(s.parameters["trigger"]))[:4]
    following = law.make(get("claps"), of).suggest(one.history(), 30)
    parents = [set(enumerate(s.parameters["trigger"])) for s in elite]
    for child in following:
        mine = set(enumerate(child.parameters["trigger"]))
        own = [len(mine & p) for p in parents]
        pairs = [len(mine & (p | q)) for p, q in itertools.combinations(parents, 2)]
        assert max(own) >= 2 or max(pairs) == 5  # a mutant of one, or a mix of two


def test_the_swarm_moves_as_the_formulas_say() -> None:
    size, places, epochs = 6, 4, 10
    vocabulary, owners = [np.arange(9)], (0,) * places
    rng = np.random.default_rng(1)
    swarm = Swarm(rng.integers(0, 9, (size, places)), np.repeat(rng.uniform(-3, 3, (size, 1)), places, axis=1), 0.1)
    x, v = swarm.positions.tolist(), swarm.velocities.tolist()
    own, own_values = [list(p) for p in x], [-np.inf] * size
    top, top_value = list(x[0]), -np.inf
    for epoch in range(epochs + 2):
        values = [float(-sum((t - 4) ** 2 for t in p)) for p in x]
        swarm.learn(values)
        for i, value in enumerate(values):
            if value > own_values[i]:
                own[i], own_values[i] = list(x[i]), value
            if value > top_value:
                top, top_value = list(x[i]), value
        t = min(epoch, epochs)
        swarm.move(t, epochs, np.random.default_rng(epoch), vocabulary, owners)
        draws = np.random.default_rng(epoch)
        omega = 0.6 * (epochs - t) / epochs + 0.2
        chance = [[0.0] * places for _ in x]
        for i, j in itertools.product(range(size), range(places)):
            pull = (-3 if x[i][j] == own[i][j] else 3) + (-3 if x[i][j] == top[j] else 3)
            v[i][j] = omega * v[i][j] + (1 - omega) * pull
            chance[i][j] = 1 / (1 + np.exp(-v[i][j]))
        for share, target in ((0.8 - 0.6 * t / epochs, own), (0.2 + 0.6 * t / epochs, [top] * size)):
            whole, each = draws.random((size, 1)), draws.random((size, places))
            for i, j in itertools.product(range(size), range(places)):
                if whole[i][0] < share and each[i][j] < chance[i][j]:
                    x[i][j] = target[i][j]
        for i in np.flatnonzero(draws.random(size) < 0.1):
            place = int(draws.integers(places))
            x[i][place] = int(draws.integers(9))
        np.testing.assert_allclose(swarm.velocities, v)
        assert swarm.positions.tolist() == x
        assert swarm.best.tolist() == top


# -- many workers, failures, restarts


def test_a_stage_waits_for_its_outcomes_and_hands_out_others_meanwhile() -> None:
    of = problem(20, percentile=50)
    one, suggester = law.Study(of), law.make(get("claps"), of)
    numbers = [one.start(s) for s in suggester.suggest(one.history(), 21)]
    for number in numbers[:17]:
        one.tell(number, float(number))
    for missing in range(4):  # as many others as outcomes are missing
        (other,) = suggester.suggest(one.history(), 1)
        assert other.origin["extra"] == missing
        one.start(other)
    assert suggester.suggest(one.history(), 1)[0].origin["stage"] == 1
    patient = problem(20, percentile=50, straggler_fraction=0)
    suggester = law.make(get("claps"), patient)
    assert suggester.suggest(one.history(), 1)[0].origin["stage"] == 0
    for number in numbers[17:]:
        one.tell(number, 0.0)
    assert suggester.suggest(one.history(), 1)[0].origin["stage"] == 1


def trace(options: dict[str, Any], restart: bool) -> list[list[int]]:
    """Prompts of a study told out of order with every kind of outcome."""
    of, landscape = problem(16, percentile=40, population=12, epochs=5, **options), Landscape(0, 16, 5)
    one, suggester, found, running = law.Study(of), law.make(get("claps"), of), [], list[int]()
    for n in range(120):
        if restart:
            suggester = law.make(get("claps"), of, law.save(suggester) if n % 2 else None)
        for suggestion in suggester.suggest(one.history(), 1 + n % 2):
            found.append(suggestion.parameters["trigger"])
            running.append(one.start(suggestion))
        while len(running) > 5:
            number = running.pop((n * 3) % len(running))
            state = TrialState.COMPLETED if number % 7 else list(TrialState)[-1 - number // 7 % 4]
            one.tell(number, landscape(one.trials[number].parameters["trigger"]), state)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"search": "genetic"},
        {"search": "greedy"},
        {"search": "swarm"},
        {"vocabulary_embeddings": [[float(i % 4), i // 4 / 10] for i in range(16)], "clusters": 12},
    ],
    ids=["genetic", "greedy", "swarm", "clusters"],
)
def test_a_kill_between_any_two_calls_changes_nothing(options: dict[str, Any]) -> None:
    assert trace(options, True) == trace(options, False)


def test_equal_values_everywhere_never_end_it() -> None:
    for search in ("genetic", "greedy", "swarm"):
        _, given = run(problem(12, search=search, population=8, percentile=50), lambda p: 1.0, 300, batch=7)
        prompts = [tuple(s.parameters["trigger"]) for s in given]
        assert len(set(prompts)) == len(prompts) == 300


# -- clusters


def blobs(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([centre + 0.05 * rng.normal(size=(30, 3)) for centre in 4 * np.eye(3)])


def test_one_token_of_each_cluster_is_kept_the_nearest_to_its_centre() -> None:
    points = blobs()
    for seed in range(5):
        found = nearest_members(points, 3, np.random.default_rng(seed))
        assert [i // 30 for i in found] == [0, 1, 2]
        for i in found:
            own = points[30 * (i // 30) : 30 * (i // 30) + 30]
            assert np.argmin(((own - own.mean(0)) ** 2).sum(1)) == i % 30
    assert nearest_members(np.zeros((5, 2)), 3, np.random.default_rng(0)) == [0]
    assert nearest_members(points, 90, np.random.default_rng(0)) == list(range(90))


def test_only_clusters_and_label_words_are_tried_and_the_choice_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = blobs().tolist()
    of = problem(90, vocabulary_embeddings=vectors, clusters=3, keep_tokens=[7, 8])
    one, suggester = law.Study(of), law.make(get("claps"), of)
    tokens = used(suggester.suggest(one.history(), 6))
    assert len(tokens) == 5
    assert {7, 8} <= tokens
    saved = law.save(suggester)
    assert saved is not None
    assert suggester.state() is None  # nothing new
    monkeypatch.setattr("workers.models.k_means.nearest_members", None)
    assert used(law.make(get("claps"), of, saved).suggest(one.history(), 6)) == tokens


# -- examples, several parameters, refusals


def test_winners_of_epochs_are_validated_on_the_other_split() -> None:
    landscape = Landscape(1, 20, 6)
    of = problem(20, percentile=50, population=10, examples=EXAMPLES)
    one, suggester = law.Study(of), law.make(get("claps"), of)
    validated: list[list[int]] = []
    for _ in range(90):
        (suggestion,) = suggester.suggest(one.history(), 1)
        prompt = suggestion.parameters["trigger"]
        number = one.start(suggestion)
        if suggestion.evaluate_on is None:
            validated.append(prompt)
            told = [
                t
                for t in one.trials.values()
                if t.evaluate_on["split"] == "train" and t.metrics and t.origin["stage"] > 0
            ]
            latest = max(t.origin["stage"] for t in told)
            top = max(t.metrics["reward"] for t in told if t.origin["stage"] == latest)
            known = {tuple(t.parameters["trigger"]): t.metrics["reward"] for t in one.trials.values() if t.metrics}
            assert known[tuple(prompt)] >= top
        else:
            assert suggestion.evaluate_on == {"split": "train", "ids": ["a", "b"]}
        ids = ["v", "w", "x"] if suggestion.evaluate_on is None else ["a", "b"]
        value = landscape(prompt)
        one.tell(number, value, examples=[{"id": i, "score": value} for i in ids])
    assert len(validated) >= 2
    assert len({tuple(p) for p in validated}) == len(validated)


def test_two_token_parameters_are_searched_together() -> None:
    parameters = [
        {"name": "front", "type": "tokens", "vocabulary": ["a", "b", "c"], "max_length": 2},
        {"name": "back", "type": "tokens", "vocabulary": [1, 2, 3, 4], "max_length": 3},
    ]
    of = problem(parameters=parameters, search="greedy", percentile=0)
    one, suggester, top = law.Study(of), law.make(get("claps"), of), 0.0
    for _ in range(8 + 17):
        for s in suggester.suggest(one.history(), 1):
            value = s.parameters["front"].count("b") + 2.0 * s.parameters["back"].count(3)
            top = max(top, value)
            one.tell(one.start(s), value)
    assert top == 8.0


def refusals() -> Iterator[tuple[dict[str, Any], str]]:
    tokens = {"name": "t", "type": "tokens", "vocabulary": ["a", "b"], "min_length": 2, "max_length": 4}
    yield {"parameters": [tokens]}, "/parameters/0/min_length"
    yield (
        {"parameters": [tokens | {"min_length": 1}], "influence": "kl", "examples": EXAMPLES},
        "/parameters/0/min_length",
    )
    yield (
        {"parameters": [tokens | {"min_length": 1}, tokens | {"name": "u", "min_length": 0}]},
        "/parameters/0/min_length",
    )
    yield {"parameters": [tokens], "prune": False, "length": 5}, "/suggester/options/length"
    yield {"parameters": [{"name": "x", "type": "float", "min": 0, "max": 1}]}, "/parameters"
    yield {"influence": "kl"}, "/suggester/options/influence"
    yield {"vocabulary_embeddings": [[1.0]] * 3}, "/suggester/options/vocabulary_embeddings"
    yield {"keep_tokens": ["what"]}, "/suggester/options/keep_tokens"


@pytest.mark.parametrize(("options", "pointer"), list(refusals()))
def test_what_it_cannot_serve_is_refused(options: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        problem(**options)
    assert error.value.errors[0].pointer == pointer


def test_longer_shortest_prompts_are_searched_without_pruning() -> None:
    tokens = {"name": "trigger", "type": "tokens", "vocabulary": ["a", "b", "c"], "min_length": 3, "max_length": 4}
    _, given = run(problem(parameters=[tokens], prune=False, population=6), lambda p: p.count("b"), 60, batch=3)
    assert max(s.parameters["trigger"].count("b") for s in given) >= 3
    assert {len(s.parameters["trigger"]) for s in given} <= {3, 4}
