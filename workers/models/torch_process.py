"""The exact Gaussian process of `gaussian_process` in torch, float64: on the accelerator where the worker has one.

For histories of thousands of trials and climbs from many starts, where the O(n² m) of m predictions is what one waits for. Same
kernel, hyperparameters, jitter and formulas, so the same results but for rounding. `TorchKernel` also serves `dual_descent`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from .gaussian_process import JITTERS, LEAST_VARIANCE, Hyperparameters
from .kernels import SQRT3, SQRT5, Kernel
from .warping import TINY

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]

CHUNK = 4096


def chosen_device(name: str = "auto") -> torch.device:
    """`auto`: the accelerator if there is one and torch was built for it, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


class TorchKernel:
    """A kernel under its hyperparameters, on a device."""

    def __init__(self, kernel: Kernel, theta: Hyperparameters, device: torch.device) -> None:
        self.shape, self.scale, self.device = kernel.shape, theta.output_scale, device
        self.numeric = self.tensor(np.flatnonzero(~kernel.categorical))
        self.categorical = [int(j) for j in np.flatnonzero(kernel.categorical)]
        self.widths = self.tensor(theta.lengthscales[kernel.groups])
        self.warp = None if theta.warp is None else self.tensor(theta.warp)

    def tensor(self, values: NDArray[np.generic]) -> Tensor:
        """On the device, in the array's own type."""
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def bent(self, x: Tensor) -> Tensor:
        """(n, d) rows as the kernel sees them."""
        if self.warp is None:
            return x
        return 1.0 - (1.0 - x.clamp(TINY, 1.0 - TINY) ** self.warp[0]) ** self.warp[1]

    def bent_slopes(self, x: Tensor) -> Tensor | None:
        """(n, d) derivatives of `bent`; None where nothing is bent."""
        if self.warp is None:
            return None
        a, b = self.warp[0], self.warp[1]
        inside = x.clamp(TINY, 1.0 - TINY)
        power = inside**a
        return b * (1.0 - power) ** (b - 1.0) * a * power / inside

    def squared_distance(self, left: Tensor, right: Tensor) -> Tensor:
        """(n, m) values of r² between bent rows."""
        a = left[:, self.numeric] / self.widths[self.numeric]
        b = right[:, self.numeric] / self.widths[self.numeric]
        found = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2.0 * (a @ b.T)
        found.clamp_(min=0.0)
        for j in self.categorical:
            found += (left[:, j][:, None] != right[:, j][None, :]).to(found.dtype) / self.widths[j] ** 2
        return found

    def value(self, left: Tensor, right: Tensor) -> Tensor:
        """(n, m) covariances between bent rows."""
        return self.value_and_slope(left, right)[0]

    def value_and_slope(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Covariances, and -2 d/d(r²) of them."""
        r2 = self.squared_distance(left, right)
        if self.shape == "rbf":
            value = self.scale * torch.exp(-0.5 * r2)
            return value, value
        if self.shape == "matern32":
            r = SQRT3 * r2.sqrt()
            decay = self.scale * torch.exp(-r)
            return (1.0 + r) * decay, 3.0 * decay
        r = SQRT5 * r2.sqrt()
        decay = self.scale * torch.exp(-r)
        slope = (1.0 + r) * decay
        return slope + (5.0 / 3.0) * r2 * decay, (5.0 / 3.0) * slope

    def pulled(self, points: Tensor, bent: Tensor, data: Tensor, weights: Tensor) -> Tensor:
        """(m, d) gradient by the points of Σ_i (weights/slope)_i k(x, x_i): weights already times the slope; 0 along categories."""
        found = -(bent * weights.sum(1)[:, None] - weights @ data) / self.widths**2
        slopes = self.bent_slopes(points)
        if slopes is not None:
            found = found * slopes
        found[:, self.categorical] = 0.0
        return found


@dataclass(frozen=True, slots=True)
class TorchTrace:
    """What a prediction leaves behind for its derivatives."""

    points: Tensor
    bent: Tensor
    slope: Tensor
    half: Tensor
    std: Tensor


@dataclass(eq=False)
class TorchProcess:
    """A belief over functions given data and hyperparameters; arrays in and out, tensors inside.

    Attributes:
        x: (n, d) in the unit cube; y: (n,) targets, or (n, s) samples of them.
        theta, kernel, fixed_noise: as in `GaussianProcess`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, ….
        jitter: what the factorisation took to succeed.

    Raises:
        np.linalg.LinAlgError: the covariance is not positive definite whatever the jitter.
    """

    x: Array
    y: Array
    theta: Hyperparameters
    kernel: Kernel
    fixed_noise: Array | None = None
    device: str = "auto"
    jitter: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._k = TorchKernel(self.kernel, self.theta, chosen_device(self.device))
        self._bent = self._k.bent(self._k.tensor(self.x))
        covariance = self._k.value(self._bent, self._bent)
        covariance.diagonal().add_(self.theta.noise)
        if self.fixed_noise is not None:
            covariance.diagonal().add_(self._k.tensor(self.fixed_noise))
        self._lower = self._factor(covariance)
        residual = self._k.tensor((self.y if self.y.ndim == 2 else self.y[:, None]) - self.theta.mean)
        self._alpha = torch.cholesky_solve(residual, self._lower)

    def _factor(self, covariance: Tensor) -> Tensor:
        scale = float(covariance.diagonal().mean())
        plain = covariance.diagonal().clone()
        for jitter in JITTERS:
            covariance.diagonal().copy_(plain + jitter * scale)
            lower: Tensor
            lower, failed = torch.linalg.cholesky_ex(covariance)
            if not int(failed):
                self.jitter = jitter
                return lower
        raise np.linalg.LinAlgError("not positive definite")

    @property
    def where(self) -> str:
        """The device that is used."""
        return str(self._k.device)

    @property
    def alpha(self) -> Array:
        """covariance⁻¹ (y - mean), shaped like y."""
        return np.asarray(self._alpha.cpu().numpy()).reshape(self.y.shape)

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Means (m,) or (m, s), and standard deviations (m,), at (m, d) points, of the function itself (without noise)."""
        parts = [self._look(points[i : i + CHUNK]) for i in range(0, max(1, len(points)), CHUNK)]
        mean = np.concatenate([p[0].cpu().numpy() for p in parts])
        return self._shaped(mean), np.concatenate([p[1].std.cpu().numpy() for p in parts])

    def _shaped(self, mean: Array) -> Array:
        return mean if self.y.ndim == 2 else mean[:, 0]

    def _look(self, points: Array) -> tuple[Tensor, TorchTrace]:
        at = self._k.tensor(points)
        bent = self._k.bent(at)
        k, slope = self._k.value_and_slope(bent, self._bent)
        half = torch.linalg.solve_triangular(self._lower, k.T, upper=False)
        std = (self.theta.output_scale - (half**2).sum(0)).clamp(min=LEAST_VARIANCE).sqrt()
        return self.theta.mean + k @ self._alpha, TorchTrace(at, bent, slope, half, std)

    def traced(self, points: Array) -> tuple[Array, Array, TorchTrace]:
        """`predict`, and what `pull_back` needs."""
        mean, trace = self._look(points)
        return self._shaped(mean.cpu().numpy()), trace.std.cpu().numpy(), trace

    def pull_back(self, trace: TorchTrace, d_mean: Array, d_std: Array) -> Array:
        """(m, d) gradient by the points of a quantity whose derivatives by `traced`'s means and deviations are given."""
        by_mean = self._k.tensor(d_mean.reshape(len(d_mean), -1)) @ self._alpha.T
        explained = torch.linalg.solve_triangular(self._lower.T, trace.half, upper=True).T
        weights = trace.slope * (by_mean - (self._k.tensor(d_std) / trace.std)[:, None] * explained)
        return np.asarray(self._k.pulled(trace.points, trace.bent, self._bent, weights).cpu().numpy())

    def predict_many_with_gradient(self, points: Array) -> tuple[Array, Array, Array, Array]:
        """Means (m,), deviations (m,) and their (m, d) gradients; targets being (n,)."""
        mean, std, trace = self.traced(points)
        ones, zeros = np.ones(len(points)), np.zeros(len(points))
        return mean, std, self.pull_back(trace, ones, zeros), self.pull_back(trace, zeros, ones)

    def covariance(self, a: Array, b: Array) -> Array:
        """(m, l) posterior covariance of the function between (m, d) and (l, d) points."""
        left, right = self._k.bent(self._k.tensor(a)), self._k.bent(self._k.tensor(b))
        halves = [
            torch.linalg.solve_triangular(self._lower, self._k.value(self._bent, side), upper=False)
            for side in (left, right)
        ]
        return np.asarray((self._k.value(left, right) - halves[0].T @ halves[1]).cpu().numpy())
