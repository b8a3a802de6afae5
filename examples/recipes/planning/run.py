"""Plan in a simulator: swing a pendulum up with too weak a motor, replanning as it moves (model predictive control).

Cross-entropy planning with a constraint (Safe Learning-based Gradient-free MPC Based on the Cross-entropy Method, 2022), and MPPI
(Williams et al. 2017), the baselines of Gradient-based Planning with World Models, 2023.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import asktell

sys.path.append(str(Path(__file__).parents[1]))
from service import Found, command, new_study, search

STEP, TORQUE, FASTEST = 0.05, 2.0, 6.5
HORIZON, COMMITTED, POPULATION, GENERATIONS = 30, 5, 32, 4
METHODS: dict[str, Any] = {
    "cem": {"name": "cem", "options": {"population": POPULATION, "sigma0": 0.25, "colour": 1.0, "keep_elites": 0.3}},
    "mppi": {"name": "cem", "options": {"mode": "mppi", "population": POPULATION, "sigma0": 0.25, "colour": 1.0}},
    "random": "random",
}


def simulate(state: np.ndarray, torques: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pendulums side by side.

    Args:
        state: angle (0 is upright) and speed.
        torques: (n, steps).

    Returns:
        States (n, 2) after the last step, the summed costs (n,), and the highest speeds (n,).
    """
    angle, speed = (np.full(len(torques), part) for part in state)
    cost, fastest = np.zeros(len(torques)), np.zeros(len(torques))
    for torque in torques.T:
        speed = speed + STEP * (15 * np.sin(angle) + 3 * torque)
        angle = angle + STEP * speed
        cost += (np.mod(angle + np.pi, 2 * np.pi) - np.pi) ** 2 + 0.1 * speed**2 + 0.001 * torque**2
        fastest = np.maximum(fastest, np.abs(speed))
    return np.stack([angle, speed], axis=1), cost, fastest


def plan(client: asktell.Client, method: Any, state: np.ndarray, previous: np.ndarray, seed: int) -> np.ndarray:
    """The best torques found for the next steps: a study of corrections to what the plan before has left."""

    def torques_of(points: Sequence[Mapping[str, Any]]) -> np.ndarray:
        return np.clip(previous + np.array([point["change"] for point in points]), -TORQUE, TORQUE)

    def evaluate(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        _, costs, speeds = simulate(state, torques_of(points))
        return [{"metrics": {"cost": c, "speed": s}} for c, s in zip(costs.tolist(), speeds.tolist(), strict=True)]

    study = new_study(
        client,
        "planning",
        {"change": asktell.Vector(HORIZON, -2 * TORQUE, 2 * TORQUE, default=[0.0] * HORIZON)},
        minimize="cost",
        constraints=[{"metric": "speed", "max": FASTEST}],
        suggester=method,
        max_trials=POPULATION * GENERATIONS,
        seed=seed,
    )
    best = search(study, evaluate, batch=POPULATION).best
    return torques_of([best.parameters])[0]


def episode(client: asktell.Client, method: Any, steps: int, seed: int) -> tuple[float, float, float]:
    """Swing up from hanging; the total cost, the highest speed, and the mean angle from upright in the last second."""
    state, left = np.array([np.pi, 0.0]), np.zeros(HORIZON)
    total, fastest, angles = 0.0, 0.0, []
    for number in range(steps // COMMITTED):
        torques = plan(client, method, state, left, 1000 * seed + number)
        for torque in torques[:COMMITTED]:
            states, cost, speed = simulate(state, torque[None, None])
            state, total, fastest = states[0], total + float(cost[0]), max(fastest, float(speed[0]))
            angles.append(abs(float(np.mod(state[0] + np.pi, 2 * np.pi) - np.pi)))
        left = np.concatenate([torques[COMMITTED:], np.zeros(COMMITTED)])
    return total, fastest, float(np.mean(angles[-20:]))


def run(client: asktell.Client, quick: bool, seed: int) -> Found:
    """One episode with each method, the same number of simulations for each plan."""
    found: Found = {}
    steps = 90 if quick else 150
    still = float(simulate(np.array([np.pi, 0.0]), np.zeros((1, steps)))[1][0])
    print(
        f"doing nothing costs {still:.0f}; {POPULATION * GENERATIONS} simulations a plan, a plan each {COMMITTED} steps"
    )
    for name, method in METHODS.items():
        cost, fastest, angle = episode(client, method, steps, seed)
        found |= {name: cost, f"{name} speed": fastest, f"{name} angle": angle}
        print(
            f"{name:>6}: cost {cost:.0f}, highest speed {fastest:.1f} (allowed {FASTEST}), at the end {angle:.2f} rad off"
        )
    return found | {"still": still}


if __name__ == "__main__":
    command(run, __doc__)
