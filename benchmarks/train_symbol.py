"""Learn which formula `symbol` follows when: `python -m benchmarks.train_symbol --generations 80` writes the suggester's table.

CMA-ES (pycma) over the weights of the linear score, on shifted and rotated test functions in ten dimensions; each generation draws new
shifts, rotations and populations. The formulas are made by hand; only the weights are learned. About one second a generation.
`--check` compares the table with each of its formulas alone, on functions and seeds that were not trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.models.move_rules import Rule, parse
from workers.models.rule_choice import FEATURES, chosen, features
from workers.suggesters.symbol import table

Array = NDArray[np.float64]
Function = Callable[[Array], Array]
SIZE, MEMBERS, ROUNDS, PER_RULE = 10, 100, 100, 5
FLOOR = 1e-6
FORMULAS = (
    "0.7*(gb + -x) + 0.6*(randx + -randx)",
    "0.7*dx + 0.6*((gb + pb) + -(x + x))",
    "0.8*dx + 0.5*((gb + pb) + -(x + x))",
    "0.8*dx + 0.7*(pb + -x) + 0.3*(gb + -x)",
    "0.5*(gb + -x) + 0.5*(pb + -x) + 0.5*(randx + -randx)",
    "0.3*(gb + -x) + 0.4*(pb + -x) + 0.4*(randx + -randx)",
    "0.2*(gb + -x) + 0.6*(pb + -x) + 0.4*(randx + -randx)",
    "0.2*(gb + -x) + 0.8*(pb + -x) + 0.3*(randx + -randx)",
)


def sphere(z: Array) -> Array:
    """(N,) of (N, n); all of these have minimum 0 at 0."""
    return np.asarray((z**2).sum(axis=1))


def ellipsoid(z: Array) -> Array:
    """Condition 10^4."""
    return np.asarray((10.0 ** (4 * np.arange(z.shape[1]) / (z.shape[1] - 1)) * z**2).sum(axis=1))


def rosenbrock(z: Array) -> Array:
    """A bent valley."""
    y = z + 1
    return np.asarray((100 * (y[:, 1:] - y[:, :-1] ** 2) ** 2 + (1 - y[:, :-1]) ** 2).sum(axis=1))


def rastrigin(z: Array) -> Array:
    """A grid of minima."""
    return np.asarray((z**2 - 10 * np.cos(2 * np.pi * z) + 10).sum(axis=1))


def ackley(z: Array) -> Array:
    """A funnel with ripples."""
    far, ripples = np.sqrt((z**2).mean(axis=1)), np.cos(2 * np.pi * z).mean(axis=1)
    return np.asarray(20 - 20 * np.exp(-0.2 * far) + np.e - np.exp(ripples))


def kinks(z: Array) -> Array:
    """Sum of absolute values and steps."""
    return np.asarray((np.abs(z) + np.floor(np.abs(z))).sum(axis=1))


def griewank(z: Array) -> Array:
    """Held out: ripples that fade with distance."""
    y = 20 * z
    waves = np.cos(y / np.sqrt(np.arange(1, z.shape[1] + 1))).prod(axis=1)
    return np.asarray(1 + (y**2).sum(axis=1) / 4000 - waves)


def levy(z: Array) -> Array:
    """Held out: a rugged valley."""
    w = 1 + z / 4
    middle = (w[:, :-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:, :-1] + 1) ** 2)
    ends = np.sin(np.pi * w[:, 0]) ** 2 + (w[:, -1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[:, -1]) ** 2)
    return np.asarray(ends + middle.sum(axis=1))


TRAINED = (sphere, ellipsoid, rosenbrock, rastrigin, ackley, kinks)
HELD_OUT = (griewank, levy)


def task(function: Function, rng: np.random.Generator, is_turned: bool) -> Function:
    """A function moved to a place of the unit cube, ten wide, and turned or not."""
    shift = rng.uniform(0.2, 0.8, SIZE)
    turn = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0] if is_turned else np.eye(SIZE)
    return lambda x: function((10 * (x - shift)) @ turn)


def reached(function: Function, rules: Sequence[Rule], weights: Array, rounds: int, rng: np.random.Generator) -> float:
    """log10 of the last best over the first one: the synchronous form of the suggester."""
    x = rng.random((MEMBERS, SIZE))
    dx, costs = np.zeros_like(x), function(x)
    own, own_costs = x.copy(), costs.copy()
    first = best = worst = 0.0
    improved_at, improved, rule = 0, True, chosen(np.array(table.START), weights.tolist())
    for number in range(1, rounds):
        leader, worst_now = int(np.argmin(own_costs)), int(np.argmax(costs))
        if number == 1:
            first, worst, last = float(own_costs[leader]), float(costs[worst_now]), x[worst_now]
        elif costs[worst_now] > worst:
            worst, last = float(costs[worst_now]), x[worst_now]
        if number == 1 or own_costs[leader] < best:
            improved, improved_at = True, number
        best = float(own_costs[leader])
        if number % PER_RULE == 0:
            state = features(
                x, costs, (own[leader], best), worst, 1 - number / rounds, (number - improved_at) / rounds, improved
            )
            rule, improved = chosen(state, weights.tolist()), False
        leaves = {"x": x, "gb": np.broadcast_to(own[leader], x.shape), "gw": np.broadcast_to(last, x.shape)}
        leaves |= {"dx": dx, "pb": own}
        moved = np.clip(x + rules[rule](leaves, partial(_others, x, rng)), 0.0, 1.0)
        x, dx, costs = moved, moved - x, function(moved)
        is_better = costs <= own_costs
        own[is_better], own_costs[is_better] = x[is_better], costs[is_better]
    return float(np.log10((own_costs.min() + FLOOR * first) / (first * (1 + FLOOR))))


def _others(x: Array, rng: np.random.Generator) -> Array:
    """For each member a random other one."""
    count = len(x)
    return np.asarray(x[(np.arange(count) + rng.integers(1, count, count)) % count])


def loss(weights: Array, rules: Sequence[Rule], functions: Sequence[Function], seed: int) -> float:
    """Mean over functions, half of them turned, each with a short or a long budget."""
    found = []
    for i, function in enumerate(functions):
        rng = np.random.default_rng([seed, i])
        rounds = (ROUNDS // 3, ROUNDS)[int(rng.integers(2))]
        found.append(reached(task(function, rng, bool(rng.integers(2))), rules, weights, rounds, rng))
    return float(np.mean(found))


def train(generations: int, popsize: int) -> Array:
    """(formulas, features + 1) weights."""
    import cma

    rules = [parse(text) for text in FORMULAS]
    shape = (len(rules), FEATURES + 1)
    search = cma.CMAEvolutionStrategy(
        np.zeros(shape[0] * shape[1]), 0.5, {"popsize": popsize, "seed": 1, "verbose": -9}
    )
    for generation in range(generations):
        candidates = search.ask()
        losses = [loss(c.reshape(shape), rules, TRAINED, generation) for c in candidates]
        search.tell(candidates, losses)
        print(
            generation, f"best {min(losses):.3f}, median {np.median(losses):.3f}, step {search.sigma:.3f}", flush=True
        )
    return np.asarray(search.result.xfavorite.reshape(shape))


def write(weights: Array) -> None:
    """The table, as Python."""
    rules = "\n".join(f'    "{text}",' for text in FORMULAS)
    rows = "\n".join("    (" + ", ".join(f"{v:.3f}" for v in row) + ")," for row in weights)
    start = ", ".join(str(v) for v in table.START)
    Path(table.__file__).write_text(
        f'"""{table.__doc__}"""\n\nfrom __future__ import annotations\n\nSTART = ({start})\n'
        f"RULES = (\n{rules}\n)\nWEIGHTS = (\n{rows}\n)\n"
    )


def check(seeds: int) -> None:
    """Medians of log10(last best / first best) over seeds: the table, and each formula alone."""
    rules, weights = [parse(text) for text in table.RULES], np.array(table.WEIGHTS)
    alone = [
        np.where(np.arange(len(rules))[:, None] == i, np.eye(1, FEATURES + 1, FEATURES)[0], 0.0)
        for i in range(len(rules))
    ]
    for function in TRAINED + HELD_OUT:
        found = []
        for row in (weights, *alone):
            drawn = [np.random.default_rng([10_000 + s, 7]) for s in range(seeds)]
            found.append(np.median([reached(task(function, g, True), rules, row, ROUNDS, g) for g in drawn]))
        print(
            f"{function.__name__:12}",
            f"table {found[0]:6.2f}",
            "alone",
            " ".join(f"{v:6.2f}" for v in found[1:]),
            flush=True,
        )


def main() -> None:
    """Train and write, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generations", type=int, default=80)
    parser.add_argument("--popsize", type=int, default=14)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--seeds", type=int, default=11)
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.seeds)
    else:
        write(train(arguments.generations, arguments.popsize))


if __name__ == "__main__":
    main()
