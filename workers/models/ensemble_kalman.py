"""Ensembles of interacting particles: Kalman inversion, Langevin sampling, and how much an experiment would tell.

Iglesias, Law, Stuart 2013, "Ensemble Kalman methods for inverse problems"; Iglesias, Yang 2021 (step sizes); Garbuno-Inigo, Nüsken,
Reich 2020, "Affine invariant interacting Langevin dynamics for Bayesian inference" (ALDI); Gruhlke, Hanu, Schillings, Wacker 2025,
"Gradient-Free Sequential Bayesian Experimental Design via Interacting Particle Systems" (bounds and their use).

Particles z are (J, D) under a standard normal prior; residuals r are (J, M) in units of their noise, so that the posterior is
exp(-(‖r‖² + ‖z‖²)/2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LARGEST_RESIDUAL = 1e8


def step_size(r: Array, most: float) -> float:
    """How far to trust a linear step, in units of the likelihood's exponent (Iglesias, Yang 2021, eq. 13).

    Args:
        r: (J, M) residuals.
        most: upper bound; what is left up to the posterior, or infinity.
    """
    misfits, size = 0.5 * np.square(r).sum(axis=1), r.shape[1]
    mean, variance = float(misfits.mean()), float(misfits.var())
    if mean <= 0:
        return min(most, 1.0)
    trusted = max(size / (2 * mean), np.sqrt(size / (2 * variance)) if variance > 0 else 0.0)
    return float(min(trusted, most))


def kalman_step(z: Array, r: Array, h: float, noise: Array) -> Array:
    """One ensemble Kalman step with perturbed observations: (J, D).

    z ← z − C_zr (C_rr + I/h)⁻¹ (r + ξ/√h), solved in the space of the ensemble, so that M may be large.

    Args:
        h: step size > 0.
        noise: (J, M) standard normals.
    """
    j = len(z)
    dz, dr = z - z.mean(axis=0), r - r.mean(axis=0)
    inner = dr @ dr.T / j + np.eye(j) / h
    weights = np.linalg.solve(inner, dr @ (r + noise / np.sqrt(h)).T)
    return np.asarray(z - (dz.T @ weights / j).T)


def langevin_step(z: Array, r: Array, noise: Array, longest: float = 0.5) -> Array:
    """One step of ALDI: (J, D).

    Drift −C_zr r − C_zz z + (D + 1)/J (z − z̄), diffusion √2 C^{1/2}. With the ensemble's covariance C at the posterior's, a linear
    problem is an Ornstein-Uhlenbeck process of unit rate; the step is exact for it, whatever its length. Shorter while C is wider.

    Args:
        noise: (J, J) standard normals.
        longest: length of a step in time, > 0.
    """
    j, d = z.shape
    dz, dr = z - z.mean(axis=0), r - r.mean(axis=0)
    stiffness = float(np.linalg.eigvalsh((dr @ dr.T + dz @ dz.T) / j)[-1])
    time = longest / max(1.0, stiffness)
    drift = -(r @ dr.T + z @ dz.T) @ dz / j + (d + 1) / j * dz
    diffusion = noise @ dz / np.sqrt(j)
    return np.asarray(z - np.expm1(-time) * drift + np.sqrt(-np.expm1(-2 * time)) * diffusion)


def spread_out(normals: Array) -> Array:
    """(J, D) standard normals with mean zero and, where J allows, covariance one in the sample too."""
    j, d = normals.shape
    centred = normals - normals.mean(axis=0)
    if j < d + 2:
        return np.asarray(centred)
    lower = np.linalg.cholesky(centred.T @ centred / j)
    return np.asarray(np.linalg.solve(lower, centred.T).T)


def information_bounds(z: Array, g: Array) -> tuple[float, float]:
    """Lower and upper Gaussian bound of what an observation tells about z, in nats; equal for linear models and normal z.

    Args:
        z: (J, D) particles.
        g: (J, M) predicted observations in units of their noise.

    The lower one takes the entropy of z as that of a normal of the same covariance.
    """
    j, d = z.shape
    dz, dg = z - z.mean(axis=0), g - g.mean(axis=0)
    seen = dg.T @ dg / j + np.eye(g.shape[1])
    ridge = 1e-10 * np.eye(d)
    prior, cross = dz.T @ dz / j + ridge, dz.T @ dg / j
    left = prior - cross @ np.linalg.solve(seen, cross.T)
    upper = 0.5 * np.linalg.slogdet(seen)[1]
    lower = 0.5 * (np.linalg.slogdet(prior)[1] - np.linalg.slogdet(left + ridge)[1])
    return float(lower), float(upper)


def climb(designs: Array, gains: Array, noise: Array, inflation: float = 0.03) -> Array:
    """One Kalman step of designs towards a gain beyond the best: (K, D) in the unit cube.

    Args:
        designs: (K, D).
        gains: (K,) what each would tell.
        noise: (K, D) standard normals.
        inflation: their share of the cube.
    """
    dx, du = designs - designs.mean(axis=0), gains - gains.mean()
    variance = float(du @ du) / len(gains)
    if variance <= 0:
        return np.clip(designs + inflation * noise, 0.0, 1.0)
    slope = dx.T @ du / len(gains) / (1.1 * variance)  # (D,), the tolerance a tenth of the variance
    target = gains.max() + np.sqrt(variance)
    moved: Array = designs + (target - gains)[:, None] * slope + inflation * noise
    return np.clip(moved, 0.0, 1.0)


def emulator(z: Array, g: Array) -> tuple[Array, Array]:
    """Least squares g ≈ a + B z: (M,) and (M, D)."""
    centre, level = z.mean(axis=0), g.mean(axis=0)
    slopes = np.linalg.lstsq(z - centre, g - level, rcond=1e-8)[0].T
    return np.asarray(level - slopes @ centre), np.asarray(slopes)


def conditioned(offsets: Array, matrix: Array, normals: Array) -> Array:
    """(J, D) particles of the posterior exp(-(‖a + B z‖² + ‖z‖²)/2), with its mean and covariance in the sample too.

    Args:
        offsets: a, (M,).
        matrix: B, (M, D).
        normals: (J, D) standard normals.
    """
    covariance = np.linalg.inv(np.eye(matrix.shape[1]) + matrix.T @ matrix)
    mean = -covariance @ matrix.T @ offsets
    return np.asarray(mean + spread_out(normals) @ np.linalg.cholesky(covariance).T)
