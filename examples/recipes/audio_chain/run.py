"""Match a chain of audio effects to a reference recording of other material.

ST-ITO: Controlling Audio Effects for Style Transfer with Inference-Time Optimization, 2024.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import asktell

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from chain import CONTROLS, process
from service import Found, command, each, new_study, search
from sounds import embedding, levels, music, similarity

HIDDEN = [0.7, 0.8, 0.35, 0.8, 0.4, 0.2, 0.5, 0.6]
POPULATION = 16


def matched(
    client: asktell.Client, sound: np.ndarray, wanted: np.ndarray, method: Any, trials: int, seed: int
) -> list[float]:
    """The controls whose output sounds most like what is wanted."""

    def score(point: Mapping[str, Any]) -> Mapping[str, float]:
        return {"loss": 1 - similarity(embedding(process(sound, point["controls"])), wanted)}

    space = {"controls": asktell.Vector(len(CONTROLS), 0, 1)}
    study = new_study(client, "audio", space, minimize="loss", suggester=method, max_trials=trials, seed=seed)
    return list(search(study, each(score), batch=POPULATION).best.parameters["controls"])


def run(client: asktell.Client, quick: bool, seed: int) -> Found:
    """Match by CMA-ES and at random, and judge both by the true output, which the search never saw."""
    sound, wanted = music(seed), embedding(process(music(seed + 100), HIDDEN))
    truth = levels(process(sound, HIDDEN))
    trials = POPULATION * (20 if quick else 40)
    options = {"sigma0": 0.33, "popsize": POPULATION, "restarts": "none"}
    controls = {
        "cmaes": matched(client, sound, wanted, {"name": "cmaes", "options": options}, trials, seed),
        "random": matched(client, sound, wanted, "random", trials, seed),
        "untouched": None,
        "hidden": HIDDEN,
    }
    found: Found = {}
    for name, setting in controls.items():
        heard = sound if setting is None else process(sound, setting)
        found[name] = 1 - similarity(embedding(heard), wanted)
        found[f"{name} off"] = float(np.abs(levels(heard) - truth).mean())
        print(f"{name:>10}: 1 - similarity {found[name]:.5f}, {found[f'{name} off']:.1f} dB from the true output")
    for name, value, true in zip(CONTROLS, controls["cmaes"] or [], HIDDEN, strict=True):
        print(f"{name:>16} {value:.2f} (hidden: {true:.2f})")
    return found


if __name__ == "__main__":
    command(run, __doc__)
