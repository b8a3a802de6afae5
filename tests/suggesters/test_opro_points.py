"""OPRO over numbers, vectors and orders: lists with their losses, the best one last, and points inside the space in any case."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.llm import LlmRequest
from services.domain.sampling import generator
from tests.suggesters import law
from tests.support.builders import study
from tests.support.scripted_llm import ScriptedLlm
from workers.models.meta_prompt import Read
from workers.suggesters.opro.lists import Lists
from workers.suggesters.registry import get

SPEC = get("opro")


def begin(
    script: Callable[[LlmRequest], Any], options: dict[str, Any] | None = None, **fields: Any
) -> tuple[law.Study, Any]:
    spec = study(suggester={"name": "opro", "options": options or {}}, llm={"profile": "p"}, seed=3, **fields)
    SPEC.check(spec)
    of = law.Problem(study="s", spec=spec, seed=3)
    return law.Study(of, ScriptedLlm(script)), law.make(SPEC, of)


def user(request: LlmRequest) -> str:
    return request.messages[-1][1]


def tried(request: LlmRequest) -> list[tuple[list[int], float]]:
    found = re.findall(r"^\[(.+?)\] loss (\S+)$", user(request), re.MULTILINE)
    return [([int(v) for v in values.split(",")], float(loss)) for values, loss in found]


PAIR = [{"name": n, "type": "int", "min": -20, "max": 60} for n in "wb"]


def regression(point: dict[str, Any]) -> float:
    """50 points of y = 15 x + 14 + noise, as published."""
    x = np.arange(1, 51)
    y = 15 * x + 14 + np.random.default_rng(0).normal(size=50)
    return float(((point["w"] * x + point["b"] - y) ** 2).sum())


def mean_of_two(seed: int) -> Callable[[LlmRequest], str]:
    """The mean of the two best pairs shown, give or take one."""

    def script(request: LlmRequest) -> str:
        rng = generator(seed, 0, request.key)
        (first, _), (second, _) = tried(request)[-2:]
        w, b = (round((p + q) / 2) + int(rng.integers(-1, 2)) for p, q in zip(first, second, strict=True))
        return f"The slope should be near. [w={w}, b={b}]"

    return script


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_the_mean_of_the_two_best_pairs_reaches_the_true_line(goal: str) -> None:
    sign = 1.0 if goal == "minimize" else -1.0
    one, suggester = begin(mean_of_two(1), parameters=PAIR, objectives=[{"metric": "m", "goal": goal}])
    seen: list[tuple[int, int]] = []
    for _ in range(60):
        for suggestion in one.ask(suggester, 8):
            seen.append((suggestion.parameters["w"], suggestion.parameters["b"]))
            one.tell(one.start(suggestion), sign * regression(suggestion.parameters))
        if (15, 14) in seen:
            break
    assert (15, 14) in seen
    assert len(seen) == len(set(seen))


def test_points_are_shown_with_their_losses_descending_twenty_at_most_and_goals_do_not_matter() -> None:
    def requests(goal: str, sign: float) -> list[LlmRequest]:
        one, suggester = begin(mean_of_two(2), parameters=PAIR, objectives=[{"metric": "m", "goal": goal}])
        for count in (5, 8, 8, 8):
            for suggestion in one.ask(suggester, count):
                one.tell(one.start(suggestion), sign * regression(suggestion.parameters))
        return one.llm.calls

    calls = requests("minimize", 1.0)
    losses = [loss for _, loss in tried(calls[-1])]
    assert len(losses) == 20 and losses == sorted(losses, reverse=True)
    assert len(tried(calls[0])) == 5  # the random starts
    assert [c.digest for c in calls] == [c.digest for c in requests("maximize", -1.0)]


@pytest.mark.parametrize(
    ("reply", "point"),
    [
        ("[15, 14]", {"w": 15, "b": 14}),
        ("I tried [1, 2] before; now [w=15.4, b: 13.6]", {"w": 15, "b": 14}),
        ('{"x": 1} then (15, 14)', {"w": 15, "b": 14}),
        ("w = 15, b = 14", {"w": 15, "b": 14}),
        ("[900, -900]", {"w": 60, "b": -20}),
        ("[15, 14, 13]", "unparsable"),
        ("[a, b]", "not_allowed"),
        ("[NaN, 1]", "not_allowed"),
        (f"[1{'0' * 400}, 1]", "not_allowed"),
        ("[" * 5000, "unparsable"),
        ("", "empty"),
        ("I'm sorry, I can't", "refused"),
    ],
)
def test_lists_are_read(reply: str, point: Any) -> None:
    found = Lists(study(parameters=PAIR).space).read(reply)
    assert (found.fault if isinstance(found, Read) else found) == point


def test_every_kind_of_value_can_be_written_and_read_again() -> None:
    parameters = [
        {"name": "lr", "type": "float", "min": 1e-5, "max": 1, "scale": "log"},
        {"name": "q", "type": "float", "min": 0, "max": 1, "step": 0.25},
        {"name": "w", "type": "vector", "length": 2, "min": -1, "max": 1},
        {"name": "kind", "type": "categorical", "choices": ["a, b", "[c]", None, 3, "x=1"]},
        {"name": "size", "type": "ordinal", "choices": ["s", "m"]},
        {"name": "on", "type": "bool"},
        {"name": "order", "type": "permutation", "items": ["n", 2, 3]},
    ]
    space = study(parameters=parameters).space
    lists = Lists(space)
    for kind in ("a, b", "[c]", None, 3, "x=1"):
        point = {
            "lr": 0.00125,
            "q": 0.75,
            "w": [0.5, -0.125],
            "kind": kind,
            "size": "m",
            "on": True,
            "order": [3, "n", 2],
        }
        assert lists.read(f"Take {lists.shown(point)}") == point
    assert isinstance(lists.read("[0.1, 0.5, 0, 0, 3, m, true, 3, 3, 2]"), Read)


def test_orders_are_sampled_again_a_bounded_number_of_times_and_ten_are_shown() -> None:
    cities = np.random.default_rng(3).integers(-100, 101, size=(6, 2))

    def length(order: list[int]) -> float:
        tour = cities[[0, *order, 0]]
        return float(np.linalg.norm(np.diff(tour, axis=0), axis=1).sum())

    def swapping(request: LlmRequest) -> str:
        rng = generator(1, 0, request.key)
        if rng.random() < 0.4:
            return "[1, 1, 2, 3, 4]"
        best = list(tried(request)[-1][0])
        i, j = rng.integers(5, size=2)
        best[i], best[j] = best[j], best[i]
        return str(best)

    order = [{"name": "tour", "type": "permutation", "items": [1, 2, 3, 4, 5]}]
    one, suggester = begin(swapping, parameters=order)
    lengths = []
    for _ in range(8):
        for suggestion in one.ask(suggester, 8):
            lengths.append(length(suggestion.parameters["tour"]))
            one.tell(one.start(suggestion), lengths[-1])
    assert len(tried(one.llm.calls[-1])) == 10
    assert min(lengths) == min(length(list(p)) for p in permutations([1, 2, 3, 4, 5]))
    assert max(int(c.key.split("/")[2]) for c in one.llm.calls) == 2


def test_parameter_constraints_are_told_and_kept_whatever_the_model_writes() -> None:
    square = [{"name": n, "type": "float", "min": 0, "max": 1} for n in "xy"]
    one, suggester = begin(lambda r: "[0.9, 0.9]", parameters=square, parameter_constraints=["x + y <= 1"])
    for _ in range(4):
        for suggestion in one.ask(suggester, 4):
            assert suggestion.parameters["x"] + suggestion.parameters["y"] <= 1
            one.tell(one.start(suggestion), 1.0)
    assert "every list keeps x + y <= 1" in user(one.llm.calls[-1])


@pytest.mark.parametrize(
    ("parameters", "options", "pointer"),
    [
        ([{"name": "t", "type": "tokens", "vocabulary": ["a"], "max_length": 3}], {}, "/parameters/0/type"),
        ([PAIR[0], {"name": "on", "type": "bool"}, PAIR[1] | {"when": {"on": [True]}}], {}, "/parameters/2/when"),
        ([{"name": "v", "type": "vector", "length": 501, "min": 0, "max": 1}], {}, "/parameters"),
        (PAIR, {"fallback": "none"}, "/suggester/options/fallback"),
        (PAIR, {"optimizer": "base"}, "/suggester/options/optimizer"),
        (PAIR, {"score_range": [1, 1]}, "/suggester/options/score_range"),
    ],
)
def test_what_is_not_served_without_texts_is_refused_by_name(parameters: Any, options: Any, pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        begin(str, options, parameters=parameters)
    assert error.value.errors[0].pointer == pointer
