"""Dual descent beside the exact Gaussian process: processor seconds, residual, and how far predictions are apart.

`python benchmarks/reproduce_sdd.py [--sizes 2000 5000 10000]` writes `benchmarks/results/reproduce_sdd.json`.
Eight dimensions, Matérn-3/2, lengthscale 0.5, noise variance 0.01, eight functions drawn beside the mean, at most 5000 iterations.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from services.domain.sampling import generator  # noqa: E402
from workers.models.dual_descent import DualDescent, Plan  # noqa: E402
from workers.models.gaussian_process import Hyperparameters  # noqa: E402
from workers.models.kernels import Kernel  # noqa: E402
from workers.models.torch_process import TorchProcess  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results" / "reproduce_sdd.json"
D = 8


def draws(purpose: str) -> np.random.Generator:
    """A fresh generator for each purpose, always the same."""
    return generator(0, 0, purpose)


def measured(n: int) -> dict[str, Any]:
    """One size: cold, then warm with a twentieth more rows."""
    rng = np.random.default_rng(n)
    x = rng.random((n + n // 20, D))
    y = np.sin(6 * x[:, :4]).sum(1) + x[:, 4] * x[:, 5] + 0.1 * rng.standard_normal(len(x))
    y = (y - y.mean()) / y.std()
    theta, kernel = Hyperparameters(np.full(D, 0.5), 0.01, 0.0), Kernel.ard(np.zeros(D, dtype=bool), "matern32")
    at = rng.random((500, D))
    start = time.process_time()
    cold = DualDescent(x[:n], y[:n], theta, kernel, draws, samples=8, plan=Plan())
    took = time.process_time() - start
    start = time.process_time()
    warm = DualDescent(x, y, theta, kernel, draws, samples=8, plan=Plan(iterations=2000), start=cold.solution)
    warm_took = time.process_time() - start
    found: dict[str, Any] = {
        "device": cold.where, "seconds": round(took, 2), "iterations": cold.iterations, "step": cold.step,
        "residual": round(cold.residual, 5), "accepted": cold.is_accepted, "warm_seconds": round(warm_took, 2),
        "warm_iterations": warm.iterations, "warm_residual": round(warm.residual, 5),
    }  # fmt: skip
    if n <= 5000:
        start = time.process_time()
        exact = TorchProcess(x[:n], y[:n], theta, kernel)
        mean, std = exact.predict(at)
        found["exact_seconds"] = round(time.process_time() - start, 2)
        away = np.abs(cold.predict(at)[0] - mean)
        found["largest_difference_in_deviations"] = round(float((away / std).max()), 4)
        found["largest_difference"] = round(float(away.max()), 5)
    print(n, found, flush=True)
    return found


def main() -> None:
    """Every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 5000, 10_000])
    torch.set_num_threads(1)
    found = {str(n): measured(n) for n in parser.parse_args().sizes}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
