"""Tune a controller that must not overshoot or overdrive its motor: constraints that are measured, not known.

Constrained Efficient Global Optimization of Expensive Black-box Functions (CONFIG), 2023.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asktell

sys.path.append(str(Path(__file__).parents[1]))
from service import Found, command, each, new_study, search

STEP, SECONDS, LOAD_FROM, LOAD = 0.005, 5.0, 2.5, 2.0
HIGHEST, STRONGEST = 1.05, 6.0
CAREFUL = {"p": 1.0, "i": 0.05, "d": 0.6}


def step_response(gains: Mapping[str, float]) -> dict[str, float]:
    """A motor with inertia and a lagging drive is told to turn by 1 rad, with a PID controller; later a load pulls it back.

    Returns:
        `error`, the time integral of t · |error|, and its logarithm; `peak`, the largest angle; `effort`, the largest voltage.
    """
    angle = speed = drive = integral = error_sum = peak = effort = 0.0
    for number in range(int(SECONDS / STEP)):
        error = 1.0 - angle
        integral += error * STEP
        # The derivative is of the angle, not of the error: no kick at the start.
        voltage = gains["p"] * error + gains["i"] * integral - gains["d"] * speed
        drive += STEP * (voltage - drive) / 0.05
        load = LOAD if number * STEP >= LOAD_FROM else 0.0
        speed += STEP * (4.0 * drive - 1.5 * speed - load)
        angle = max(-1e3, min(1e3, angle + STEP * speed))
        error_sum += STEP * number * STEP * abs(error)
        peak, effort = max(peak, angle), max(effort, abs(voltage))
    # Gains that swing out of control say no more than that they do: numbers without end would be all that a model sees.
    error_sum, peak, effort = min(error_sum, 20.0), min(peak, 2.0), min(effort, 30.0)
    return {"error": error_sum, "log_error": math.log(error_sum), "peak": peak, "effort": effort}


def tuned(client: asktell.Client, method: str, trials: int, seed: int) -> tuple[asktell.Trial, int]:
    """The best gains that keep both constraints, and how many of the tries broke one."""
    study = new_study(
        client,
        "controller",
        {
            "p": asktell.Float(0.5, 20, scale="log", default=CAREFUL["p"]),
            "i": asktell.Float(0.05, 5, scale="log", default=CAREFUL["i"]),
            "d": asktell.Float(0.1, 5, scale="log", default=CAREFUL["d"]),
        },
        minimize="log_error",
        constraints=[{"metric": "peak", "max": HIGHEST}, {"metric": "effort", "max": STRONGEST}],
        suggester=method,
        max_trials=trials,
        seed=seed,
    )
    search(study, each(step_response))
    broken = sum(trial.feasible is False for trial in study.list_trials(state="completed"))
    return study.best, broken


def run(client: asktell.Client, quick: bool, seed: int) -> Found:
    """Tune with CONFIG and at random, from gains that are careful."""
    trials = 30 if quick else 50
    careful: dict[str, Any] = step_response(CAREFUL)
    found: Found = {"careful": careful["error"]}
    print(f"careful: error {careful['error']:.3f}, peak {careful['peak']:.3f}, effort {careful['effort']:.1f}")
    for method in ("config", "random"):
        best, broken = tuned(client, method, trials, seed)
        found |= {
            method: best.metrics["error"],
            f"{method} broken": broken,
            f"{method} feasible": float(bool(best.feasible)),
        }
        gains = ", ".join(f"{name} {value:.2f}" for name, value in best.parameters.items())
        print("{}: error {error:.3f}, peak {peak:.3f}, effort {effort:.1f}".format(method, **best.metrics), end="")
        print(f" with {gains}; {broken} of {trials} tries broke a limit")
    return found


if __name__ == "__main__":
    command(run, __doc__)
