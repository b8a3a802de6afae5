"""What the models believed about a point, for people and for `:diagnose`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.study import StudySpec
from workers.models.gaussian_process import GaussianProcess

from .beliefs import FEASIBILITY_NOISE, Beliefs
from .series import Model

Array = NDArray[np.float64]

MOST_NAMED = 50
BASE_POINTS = 64


def receipt(
    codec: Codec, spec: StudySpec, beliefs: Beliefs, row: Array, value: float, kind: str, *, modelled: bool
) -> dict[str, Any]:
    """Predictions in the client's own units and directions, acquisition value, and a picture of the model.

    Args:
        row: (d,) the point; value: its acquisition; kind: of the acquisition.
        modelled: whether each objective has a model of its own.
    """
    at = row[None, :]
    mean: dict[str, float] = {}
    std: dict[str, float] = {}
    noise: dict[str, float] = {}
    for objective, model in zip(spec.objectives, beliefs.objectives, strict=False) if modelled else ():
        centre, spread = _in_units(model, at)
        mean[objective.metric] = centre if objective.goal == "minimize" else -centre
        std[objective.metric] = spread
        noise[objective.metric] = model.noise_std
    for (metric, sign, bound), model in zip(_bounds(spec), beliefs.constraints, strict=True):
        m, s = model.process.predict(at)
        scale = model.fitted.transform.scale * model.fitted.transform.spread * model.fitted.transform.unit
        ends = _unbilog(np.array([m[0] * scale, (m[0] - s[0]) * scale, (m[0] + s[0]) * scale]))
        mean.setdefault(metric, bound + sign * float(ends[0]))
        std.setdefault(metric, float(ends[2] - ends[1]) / 2)
    found: dict[str, Any] = {"log_acquisition": value, "acquisition": kind, "mean": mean, "std": std}
    chances = _feasible(beliefs, at)
    if chances is not None:
        found["probability_feasible"] = chances
    found["model"] = _picture(codec, beliefs, noise)
    return found


def _in_units(model: Model, at: Array) -> tuple[float, float]:
    """Mean and deviation in the metric's unit: the middle and half the width of the interval of ±1 deviation."""
    mean, std = model.process.predict(at)
    low, middle, high = model.fitted.transform.inverse(np.array([mean[0] - std[0], mean[0], mean[0] + std[0]]))
    return float(middle), float(high - low) / 2


def _unbilog(values: Array) -> Array:
    return np.asarray(np.sign(values) * np.expm1(np.minimum(np.abs(values), 700.0)))


def _bounds(spec: StudySpec) -> list[tuple[str, float, float]]:
    """(metric, sign, bound) of each modelled violation, in the order of `History.violations`."""
    found = []
    for constraint in spec.constraints:
        if constraint.max is not None:
            found.append((constraint.metric, 1.0, constraint.max))
        if constraint.min is not None:
            found.append((constraint.metric, -1.0, constraint.min))
    return found


def _feasible(beliefs: Beliefs, at: Array) -> float | None:
    """The probability that the point can be evaluated and keeps every constraint; None where nothing speaks of it."""
    from scipy.special import ndtr

    if not beliefs.constraints and beliefs.feasibility is None:
        return None
    chance = 1.0
    for model in beliefs.constraints:
        mean, std = model.process.predict(at)
        chance *= float(ndtr(-mean[0] / std[0]))
    if beliefs.feasibility is not None:
        mean, std = beliefs.feasibility.predict(at)
        chance *= float(ndtr((mean[0] + beliefs.evaluable) / np.sqrt(FEASIBILITY_NOISE + std[0] ** 2)))
    return chance


def _picture(codec: Codec, beliefs: Beliefs, noise: dict[str, float]) -> dict[str, Any]:
    """What `:diagnose` shows of the first objective's model."""
    model = beliefs.objectives[0]
    theta, process = model.fitted.theta, model.process
    names = [p.name for p in codec.space.parameters][:MOST_NAMED]
    lengths = theta.lengthscales[process.kernel.groups]
    warped = [] if theta.warp is None else [n for n in names if np.any(theta.warp[:, codec.slices[n]] != 1.0)]
    return {
        "n": len(beliefs.known.x),
        "checkpoint": model.c,
        "lengthscales": {n: float(lengths[codec.slices[n]].min()) for n in names},
        "importances": importances(codec, process, names),
        "noise_std": noise,
        "output_transform": model.fitted.transform.kind,
        "warped": warped,
        "jitter": max(m.process.jitter for m in (*beliefs.objectives, *beliefs.constraints)),
    }


def importances(codec: Codec, process: GaussianProcess, names: list[str]) -> dict[str, float]:
    """Each parameter's share of the total-effect indices of the posterior mean (Jansen 1999), over the same quasi-random points."""
    from scipy.stats import qmc

    d = codec.dimensions
    count = BASE_POINTS if d <= 50 else 16
    unit = np.random.default_rng(0).random((2 * count, d)) if d > 500 else qmc.Sobol(d, seed=0).random(2 * count)
    base, other = codec.snap_many(unit[:count]), codec.snap_many(unit[count:])
    blocks = [base]
    for name in names:
        changed = base.copy()
        changed[:, codec.slices[name]] = other[:, codec.slices[name]]
        blocks.append(codec.snap_many(changed))
    k = process.kernel.squared_distance(
        process.theta.bent(np.vstack(blocks)), process.theta.bent(process.x), process.theta.lengthscales
    )
    mean = (process.kernel.value(k) @ process.alpha).reshape(len(blocks), count)
    effect = ((mean[1:] - mean[0]) ** 2).mean(1)
    total = float(effect.sum())
    return {name: float(e / total) if total > 0 else 0.0 for name, e in zip(names, effect, strict=True)}
