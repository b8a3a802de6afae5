"""The quality benchmark: its problems are what they say, its arithmetic is right, its command goes on where it stopped."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from benchmarks.quality import engineering, report, synthetic
from benchmarks.quality.cli import listed, main, seeds_of
from benchmarks.quality.execute import trace
from benchmarks.quality.problems import SUITE, chosen, sobol
from benchmarks.quality.solvers import automatic
from benchmarks.quality.store import Store
from benchmarks.quality.volume import growth, volume
from services.domain.pareto import hypervolume
from services.domain.study import StudySpec

KNOWN = {
    "ellipsoid": (synthetic.ellipsoid, np.zeros(8), 0.0),
    "rosenbrock": (synthetic.rosenbrock, np.ones(6), 0.0),
    "styblinski": (synthetic.styblinski, np.full(5, -2.903534027771), -39.16616570377 * 5),
    "levy": (synthetic.levy, np.ones(10), 0.0),
    "dixon-price": (synthetic.dixon_price, synthetic.dixon_price_optimum(8), 0.0),
    "zakharov": (synthetic.zakharov, np.zeros(12), 0.0),
    "hartmann6": (synthetic.hartmann6, synthetic.HARTMANN_OPTIMUM, -3.32236801),
    "shekel": (synthetic.shekel, synthetic.SHEKEL_OPTIMUM, -10.53644315),
    "ackley": (synthetic.ackley, np.zeros(8), 0.0),
    "rastrigin": (synthetic.rastrigin, np.zeros(6), 0.0),
    "griewank": (synthetic.griewank, np.zeros(10), 0.0),
    "schwefel": (synthetic.schwefel, np.zeros(5), 0.0),
    "lunacek": (synthetic.lunacek, np.full(6, 2.5), 0.0),
    "schaffer": (synthetic.schaffer, np.zeros(6), 0.0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_known_optimum_has_the_known_value_and_nothing_near_it_is_better(name: str) -> None:
    f, at, least = KNOWN[name]
    assert f(at) == pytest.approx(least, abs=1e-5)
    rng = np.random.default_rng(0)
    assert min(f(at + 0.1 * rng.standard_normal(len(at))) for _ in range(300)) >= least - 1e-6


@pytest.mark.parametrize("name", [n for n, p in SUITE.items() if p.group in ("smooth", "rugged") and "/" not in n])
def test_instances_move_with_the_seed_and_their_optimum_lies_inside(name: str) -> None:
    here, there = (SUITE[name].at(seed).instance for seed in (1, 2))
    points = sobol(here.parameters, 0, 64)
    values = [here.evaluate(p) for p in points]
    assert values != [there.evaluate(p) for p in points]
    assert values == [SUITE[name].at(1).instance.evaluate(p) for p in points]
    assert here.optimum is not None
    assert min(v["loss"] for v in values if v) >= here.optimum


@pytest.mark.parametrize("name", ["hartmann6", "rosenbrock6", "dixonprice8", "scales5"])
def test_the_optimum_of_an_instance_can_be_reached_inside_its_box(name: str) -> None:
    instance = SUITE[name].at(3).instance
    units = [f"u{i}" for i in range(len(instance.parameters))]
    from services.domain.codec import Codec

    spec = StudySpec.read(
        json.dumps({"name": "s", "parameters": instance.parameters, "objectives": [{"metric": "loss"}]})
    )
    codec = Codec(spec.space)

    def loss(row: np.ndarray[Any, Any]) -> float:
        metrics = instance.evaluate(codec.decode(row))
        assert metrics is not None
        return metrics["loss"]

    best = min(
        minimize(loss, start, method="L-BFGS-B", bounds=[(0, 1)] * len(units)).fun
        for start in np.random.default_rng(1).random((12, len(units)))
    )
    assert instance.optimum is not None
    assert best == pytest.approx(instance.optimum, abs=5e-3)


def test_engineering_designs_from_the_literature_are_feasible_and_cost_what_is_reported() -> None:
    rng = np.random.default_rng(0)
    designs: list[tuple[Any, dict[str, float]]] = [
        (engineering.welded_beam, {"h": 0.205730, "l": 3.470489, "t": 9.036624, "b": 0.205730}),
        (engineering.pressure_vessel, {"shell": 13, "head": 7, "radius": 42.098446, "length": 176.636596}),
        (
            engineering.speed_reducer,
            {"b": 3.5, "m": 0.7, "teeth": 17, "l1": 7.3, "l2": 7.715320, "d1": 3.350215, "d2": 5.286654},
        ),
    ]
    for make, design in designs:
        instance = make(rng)
        metrics = instance.evaluate(design)
        assert metrics["loss"] == pytest.approx(instance.optimum, rel=1e-3)
        assert max(metrics[c] for c in instance.constraints) < 1e-3


def test_every_problem_starts_inside_its_space_and_has_all_its_metrics() -> None:
    for problem in SUITE.values():
        if problem.group == "mixed" and problem.name != "svm7":
            continue  # the other models take long to evaluate
        task = problem.at(0)
        spec = StudySpec.read(
            json.dumps({"name": "s", "parameters": task.instance.parameters, "objectives": [{"metric": "loss"}]})
        )
        for point in task.start[:2]:
            assert spec.space.point(point) == point
            metrics = task.instance.evaluate(point)
            assert metrics is None or set(metrics) == {*task.instance.objectives, *task.instance.constraints}
            assert metrics is None or all(math.isfinite(v) for v in metrics.values())
        assert len(task.start) == task.start_size < problem.budget


def test_a_model_is_as_good_the_second_time() -> None:
    instance = SUITE["pipeline15"].at(4).instance
    point = SUITE["pipeline15"].at(4).start[0]
    assert instance.evaluate(point) == instance.evaluate(point)


def test_noise_is_the_same_for_every_solver_and_never_reaches_the_score() -> None:
    task = SUITE["hartmann6/noise10"].at(0)
    true = [task.instance.evaluate(p) for p in task.start]
    told = [task.tell(m, i) for i, m in enumerate(true)]
    assert told == [task.tell(m, i) for i, m in enumerate(true)]
    assert told != true
    taken = min(range(len(told)), key=lambda i: told[i]["loss"])  # type: ignore[index]
    assert trace(task, true, told)[-1] == true[taken]["loss"]  # type: ignore[index]


def test_the_score_waits_for_something_feasible() -> None:
    task = SUITE["gardner4"].at(0)
    metrics: list[dict[str, float] | None] = [
        {"loss": -9.0, "c1": 1.0, "c2": 0.0},
        None,
        {"loss": 2.0, "c1": 0.0, "c2": -1.0},
        {"loss": 3.0, "c1": -1.0, "c2": -1.0},
    ]
    assert trace(task, metrics, metrics) == [None, None, 2.0, 2.0]


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_volume_is_that_of_the_service(k: int) -> None:
    points = np.random.default_rng(k).random((12, k)) * 1.2
    corner = np.ones(k)
    assert volume(points, corner) == pytest.approx(hypervolume(points, corner))
    rows = [[float(v) for v in p] for p in points]
    grown = growth([*rows[:5], None, *rows[5:]], (1.0,) * k)
    assert grown[-1] == pytest.approx(hypervolume(points, corner))
    assert all(b >= a for a, b in itertools.pairwise(grown))


def test_ranks_share_ties() -> None:
    assert report.ranks({"a": 0.9, "b": 0.5, "c": 0.5, "d": 0.1}) == {"a": 1, "b": 2.5, "c": 2.5, "d": 4}
    assert report.ranks({"a": 0.5, "b": 0.5 + 1e-8}) == {"a": 1.5, "b": 1.5}


@pytest.mark.parametrize(
    ("wins", "losses", "p"), [(5, 0, 0.0625), (0, 5, 0.0625), (3, 3, 1.0), (0, 0, 1.0), (8, 2, 0.109375)]
)
def test_the_sign_test_is_the_binomial_one(wins: int, losses: int, p: float) -> None:
    assert report.sign_test(wins, losses) == pytest.approx(p)


def row(who: str, seed: int, values: list[float | None], **more: Any) -> dict[str, Any]:
    """A run of four trials, two of them the start."""
    return {
        "solver": who, "label": "", "problem": "hartmann6", "group": "smooth", "seed": seed, "budget": 4, "start": 2,
        "optimum": 0.0, "several": False, "trace": values, "seconds": [1.0, 3.0], "at": 0.0, **more,
    }  # fmt: skip


def test_gaps_go_from_the_best_of_the_start_to_the_reference() -> None:
    rows = [row("a", 0, [12, 10, 5, 1]), row("b", 0, [12, 10, 10, 10]), row("c", 0, [12, 10, 8, 5])]
    found = report.summary(report.selected(rows))
    solvers = found["groups"]["smooth"]["solvers"]
    assert list(solvers) == ["a", "c", "b"]
    assert solvers["a"] == {"rank": 1.0, "gap": {"25%": 0.0, "50%": 0.0, "100%": 0.9}}
    assert solvers["c"]["gap"]["100%"] == 0.5
    assert found["duels"]["asktell:auto"] == {
        who: {"wins": 0, "losses": 0, "ties": 0, "p": 1.0} for who in ("a", "b", "c")
    }


def test_nothing_feasible_is_worse_than_no_progress() -> None:
    rows = [row("a", 0, [None, None, 6, 6]), row("b", 0, [None, None, None, None]), row("c", 0, [None, None, 6, 0])]
    solvers = report.summary(report.selected(rows))["groups"]["smooth"]["solvers"]
    assert [(who, s["rank"], s["gap"]["100%"]) for who, s in solvers.items()] == [
        ("c", 1, 1.0),
        ("a", 2, 0.0),
        ("b", 3, 0.0),
    ]


def test_only_shared_instances_are_compared_and_few_runs_get_their_own_table() -> None:
    rows = [row(who, seed, [4, 4, 4, 4 - value]) for who, value in (("a", 3), ("b", 2)) for seed in range(5)]
    rows.append(row("few", 0, [4, 4, 4, 0]))
    found = report.summary(report.selected(rows))
    assert found["groups"]["smooth"]["instances"] == 5
    assert "few" not in found["groups"]["smooth"]["solvers"]
    few = found["few"]["smooth"]["few"]
    assert few["instances"] == 1
    assert list(few["solvers"]) == ["few", "a", "b"]


def test_duels_count_pairs_and_drop_ties() -> None:
    rows = [row("asktell:gp", seed, [4, 4, 4, 1.0]) for seed in range(6)]
    rows += [row("x", seed, [4, 4, 4, 1.0 if seed == 0 else 2.0]) for seed in range(6)]
    duel = report.summary(report.selected(rows))["duels"]["asktell:gp"]["x"]
    assert (duel["wins"], duel["losses"], duel["ties"], duel["p"]) == (5, 0, 1, 0.0625)


def test_the_newest_code_is_reported_and_older_code_on_demand() -> None:
    rows = [
        row("asktell:gp", 0, [4, 4, 4, 2], label="old", at=1.0),
        row("asktell:gp", 0, [4, 4, 4, 1], label="new", at=2.0),
        row("x", 0, [4, 4, 4, 3]),
    ]
    assert [r["trace"][-1] for r in report.selected(rows)] == [1, 3]
    assert {r["who"] for r in report.selected(rows, ["all"])} == {"asktell:gp@old", "asktell:gp", "x"}


def test_optuna_by_its_own_rule_takes_its_process_for_numbers_only() -> None:
    assert automatic(SUITE["hartmann6"].at(0).instance) == "optuna-gp"
    assert automatic(SUITE["svm7"].at(0).instance) == "optuna-tpe-mv"
    assert automatic(SUITE["dtlz2of7x4"].at(0).instance) == "optuna-tpe-mv"


def test_words_of_the_command_line() -> None:
    assert listed('asktell:gp{"a": 1, "b": 2},random') == ['asktell:gp{"a": 1, "b": 2}', "random"]
    assert seeds_of("3", 5) == [0, 1, 2]
    assert seeds_of("2-4", 5) == [2, 3, 4]
    assert seeds_of("7,9", 5) == [7, 9]
    assert [p.name for p in chosen(["hartmann6*"], ["batch"], False)] == ["hartmann6/q4"]
    with pytest.raises(ValueError, match="nothere"):
        chosen(["nothere"], [], False)


def test_runs_end_to_end_and_go_on_where_they_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs.jsonl"
    base = ["--problems", "hartmann6,crashes5", "--budget", "12", "--out", str(out)]
    assert main([*base, "--jobs", "1", "--seeds", "1", "--solvers", "random"]) == 0
    first = out.read_text()
    out.write_text(first + '{"solver": "cut off in the mid')  # as a crash leaves it
    out.write_text(out.read_text() + "\n")
    assert main([*base, "--jobs", "1", "--seeds", "1", "--solvers", "random,asktell:sobol"]) == 0
    rows = Store(out).rows()
    assert out.read_text().startswith(first)
    assert sorted((r["solver"], r["problem"]) for r in rows) == sorted(
        itertools.product(["asktell:sobol", "random"], ["crashes5", "hartmann6"])
    )
    for problem in ("hartmann6", "crashes5"):
        starts = [r["trace"][: r["start"]] for r in rows if r["problem"] == problem]
        assert starts[0] == starts[1]
    assert all(len(r["trace"]) == 12 and len(r["seconds"]) == 2 for r in rows)
    shown = capsys.readouterr()
    assert "4 runs, 2 of them done before" in shown.err
    assert "| asktell:sobol" in shown.out
