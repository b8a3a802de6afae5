"""One told quantity (an objective, a constraint) as a growing series of outcomes, and the model of it.

Hyperparameters and the transform of the targets are fitted at checkpoints only, each from the checkpoint before, and afresh at
some of them; between checkpoints outcomes are appended. So a model is a function of the outcomes alone, whoever computes it, and what
is saved only spares the climbing (docs/decisions/state-is-a-cache.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workers.models.fitting import Fit, Priors, fit_with_evidence
from workers.models.gaussian_process import GaussianProcess, Hyperparameters
from workers.models.kernels import Kernel
from workers.models.warping import NO_CEILING, Transform, bending, standardising

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST_FITTED = 256
MOST_MODELLED = 2000
OUTLIER = 5.0
COLD = (2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536)
STEPS = ((64, 1), (128, 2), (256, 4), (512, 16), (1024, 64))
LAST_STEP = 128
WARM_EVALUATIONS = 12
BEND_MARGIN = 2.0
WARP_MARGIN = 4.0
MOST_WARPED = 30


def checkpoint(n: int) -> int:
    """The number of outcomes that hyperparameters are fitted to when n are known: all of them at first, then ever rarer."""
    step = next((step for most, step in STEPS if n <= most), LAST_STEP)
    return n - n % step


def is_cold(c: int) -> bool:
    """Whether hyperparameters at a checkpoint are found afresh rather than from those of the one before."""
    return c <= 8 or c in COLD or (c > COLD[-1] and c % 1024 == 0)


def before(c: int) -> int:
    """The checkpoint before one."""
    return checkpoint(c - 1)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a checkpoint found."""

    theta: Hyperparameters
    transform: Transform

    def document(self) -> dict[str, Any]:
        """As JSON."""
        t, h = self.transform, self.theta
        return {
            "theta": [*map(float, h.lengthscales), h.noise, h.mean, h.output_scale],
            "warp": None if h.warp is None else h.warp.tolist(),
            "transform": [t.kind, t.unit, t.ceiling, t.centre, t.spread, t.power, t.shift, t.scale],
        }

    @staticmethod
    def of(document: Mapping[str, Any]) -> Fitted:
        """From `document`."""
        *lengths, noise, mean, scale = document["theta"]
        warp = None if document["warp"] is None else np.array(document["warp"])
        return Fitted(Hyperparameters(np.array(lengths), noise, mean, scale, warp), Transform(*document["transform"]))


@dataclass(frozen=True, slots=True)
class Manner:
    """How a quantity is modelled.

    Attributes:
        kernel: compares rows.
        priors: on its hyperparameters.
        warpable: (d,) columns whose input warping may be learned; none: none is.
        transform: `auto` bends the targets where that explains them better; `zero` keeps the sign of the values.
        warping: `auto` where it explains the targets better.
        is_chained: False for values that are new at every suggestion, so that no earlier checkpoint is of use.
    """

    kernel: Kernel
    priors: Priors
    warpable: Mask
    transform: Literal["auto", "standard", "power", "zero"] = "auto"
    warping: Literal["auto", "on", "off"] = "auto"
    is_chained: bool = True


@dataclass(frozen=True, slots=True)
class Model:
    """A process over targets and the way back to the metric's unit.

    Attributes:
        fitted: at the checkpoint; c: how many outcomes it had seen.
        key: of the checkpoint, the same wherever the same outcomes were fitted in the same manner.
    """

    process: GaussianProcess
    fitted: Fitted
    c: int
    key: str

    @property
    def noise_std(self) -> float:
        """Standard deviation of the learned noise in the metric's unit (to first order about the mean)."""
        t = self.fitted.transform
        return float(self.fitted.theta.noise**0.5 * t.scale * t.spread * t.unit)


class Fits:
    """Fits by what they were fitted to, and processes as far as they have grown. Spares work; decides nothing."""

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        self._known: dict[str, Fitted] = {key: Fitted.of(document) for key, document in (saved or {}).items()}
        self._used: dict[str, Fitted] = {}
        self._grown: dict[str, tuple[str, GaussianProcess]] = {}

    def document(self) -> dict[str, Any]:
        """What the latest suggestion used, as JSON."""
        return {key: fitted.document() for key, fitted in self._used.items()}

    def forget_unused(self) -> None:
        """Keep only what the latest suggestion used."""
        self._known, self._used = dict(self._used), {}

    def model(self, name: str, x: Array, raw: Array, noise: Array | None, manner: Manner) -> Model:
        """The model of a series.

        Args:
            name: of the quantity.
            x: (n, d) rows in the order in which the outcomes came; raw: (n,) values to be minimised.
            noise: (n,) told standard errors, 0 where none was told; None where none was told at all.

        Raises:
            np.linalg.LinAlgError: no jitter makes the covariance positive definite.
        """
        n, c = len(x), checkpoint(len(x))
        key, fitted = self._at(name, c, x, raw, noise, manner)
        kept = choose(fitted.transform(raw[:c]), MOST_MODELLED)
        variances = _variances(noise, fitted.transform, n)
        targets = fitted.transform(raw)
        done = len(kept)
        process = self._grown_to(name, key, x[c:], targets[c:], done)
        if process is None:
            process = GaussianProcess(
                x[kept], targets[kept], fitted.theta, manner.kernel, None if variances is None else variances[kept]
            )
        for place in range(c + len(process.x) - done, n):
            one = slice(place, place + 1)
            process = process.appended(x[one], targets[one], None if variances is None else variances[one])
        self._grown[name] = (key, process)
        return Model(process, fitted, c, key)

    def fitted(self, name: str, x: Array, raw: Array, noise: Array | None, manner: Manner) -> Fitted:
        """Transform and hyperparameters of the latest checkpoint; the arguments are those of `model`."""
        return self._at(name, checkpoint(len(x)), x, raw, noise, manner)[1]

    def _grown_to(self, name: str, key: str, x: Array, targets: Array, done: int) -> GaussianProcess | None:
        """The process of the latest model of this checkpoint, if it has seen nothing but the outcomes that came since."""
        old_key, process = self._grown.get(name, ("", None))
        if process is None or old_key != key:
            return None
        added = len(process.x) - done
        same = added <= len(x) and np.array_equal(process.x[done:], x[:added])
        return process if same and np.array_equal(process.y[done:], targets[:added]) else None

    def _at(self, name: str, c: int, x: Array, raw: Array, noise: Array | None, manner: Manner) -> tuple[str, Fitted]:
        """The checkpoint at the first c outcomes, by way of those it starts from."""
        if not manner.is_chained:
            key = _digest(name, x[:c], raw[:c], None if noise is None else noise[:c])
            if key not in self._known:
                self._known[key] = _afresh(x[:c], raw[:c], None if noise is None else noise[:c], manner)
            self._used[key] = self._known[key]
            return key, self._known[key]
        todo: list[tuple[str, int]] = []
        place = c
        while True:
            key = _digest(name, x[:place], raw[:place], None if noise is None else noise[:place])
            if key in self._known or key in self._used:
                fitted = self._known.get(key) or self._used[key]
                break
            if is_cold(place):
                fitted = _afresh(x[:place], raw[:place], None if noise is None else noise[:place], manner)
                break
            todo.append((key, place))
            place = before(place)
        self._known[key] = fitted
        for key, place in reversed(todo):
            fitted = _onwards(fitted, x[:place], raw[:place], None if noise is None else noise[:place], manner)
            self._known[key] = fitted
        self._used[key] = fitted
        return key, fitted


def _digest(name: str, x: Array, raw: Array, noise: Array | None) -> str:
    digest = hashlib.blake2b(name.encode(), digest_size=12)
    for part in (x, raw, np.zeros(0) if noise is None else noise):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _variances(noise: Array | None, transform: Transform, n: int) -> Array | None:
    return None if noise is None else transform.variances(noise[:n])


def choose(y: Array, most: int) -> NDArray[np.int64]:
    """Places of at most `most` outcomes: the best half, and the newest of the others; ascending."""
    n = len(y)
    if n <= most:
        return np.arange(n)
    best = np.argsort(y, kind="stable")[: most // 2]
    rest = np.setdiff1d(np.arange(n), best)
    return np.sort(np.concatenate([best, rest[-(most - len(best)) :]]))


def _zeroed(raw: Array) -> Transform:
    """Scaled, not shifted: a value's sign stays."""
    unit = max(float(np.abs(raw).max()), 1e-300)
    spread = float(np.sqrt(((raw / unit) ** 2).mean()))
    return Transform("standard", unit, NO_CEILING, 0.0, spread if spread > 1e-12 else 1.0, 1.0, 0.0, 1.0)


def _transforms(raw: Array, noise: Array | None, manner: Manner) -> list[Transform]:
    """What may be tried, the plainest first."""
    if manner.transform == "zero":
        return [_zeroed(raw)]
    plain = standardising(raw, OUTLIER)
    if manner.transform == "standard" or noise is not None or len(raw) < 6:
        return [plain]
    bent = [bending(raw, plain, "yeo-johnson"), bending(raw, plain, "box-cox")]
    found = [t for t in bent if t is not None]
    return found[:1] or [plain] if manner.transform == "power" else [plain, *found]


def _part(transform: Transform, x: Array, raw: Array, noise: Array | None) -> tuple[Array, Array, Array | None, Array]:
    """What hyperparameters are fitted to: rows, targets, variances, raw values."""
    targets = transform(raw)
    part = choose(targets, MOST_FITTED)
    variances = _variances(noise, transform, len(raw))
    return x[part], targets[part], None if variances is None else variances[part], raw[part]


def _afresh(x: Array, raw: Array, noise: Array | None, manner: Manner) -> Fitted:
    """Transform, warping and hyperparameters by evidence, from fixed starts."""
    n = len(x)
    most = 60 if n <= 128 else 30
    candidates = _transforms(raw, noise, manner)
    best: tuple[float, Fit, Transform] | None = None
    for transform in candidates:
        rows, targets, variances, values = _part(transform, x, raw, noise)
        start = None if best is None else best[1].theta
        found = fit_with_evidence(
            rows, targets, manner.kernel, variances, priors=manner.priors, start=start,
            evaluations=most if best is None else most // 2,
        )  # fmt: skip
        score = found.evidence + float(transform.log_slope(values).sum()) - (BEND_MARGIN if best is not None else 0.0)
        if best is None or score > best[0]:
            best = (score, found, transform)
    assert best is not None
    _, plain, transform = best
    return Fitted(_warped(plain, transform, x, raw, noise, manner, most), transform)


def _warped(
    plain: Fit, transform: Transform, x: Array, raw: Array, noise: Array | None, manner: Manner, most: int
) -> Hyperparameters:
    """The plain fit, or one with warped inputs where those are wanted or explain the targets clearly better."""
    columns = int(manner.warpable.sum())
    if manner.warping == "off" or not columns or columns > MOST_WARPED or (len(x) < 12 and manner.warping == "auto"):
        return plain.theta
    rows, targets, variances, _ = _part(transform, x, raw, noise)
    found = fit_with_evidence(
        rows, targets, manner.kernel, variances, priors=manner.priors, start=plain.theta, evaluations=most // 2,
        warped=manner.warpable,
    )  # fmt: skip
    return found.theta if manner.warping == "on" or found.evidence > plain.evidence + WARP_MARGIN else plain.theta


def _onwards(earlier: Fitted, x: Array, raw: Array, noise: Array | None, manner: Manner) -> Fitted:
    """The same kind of transform and warping, a few steps further on more outcomes."""
    if manner.transform == "zero":
        transform = _zeroed(raw)
    else:
        plain = standardising(raw, OUTLIER)
        kind = earlier.transform.kind
        transform = plain if kind == "standard" else bending(raw, plain, kind) or plain
    rows, targets, variances, _ = _part(transform, x, raw, noise)
    found = fit_with_evidence(
        rows, targets, manner.kernel, variances, priors=manner.priors, start=earlier.theta,
        evaluations=WARM_EVALUATIONS, warped=None if earlier.theta.warp is None else manner.warpable,
    )  # fmt: skip
    return Fitted(found.theta, transform)
