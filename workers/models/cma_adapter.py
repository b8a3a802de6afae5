"""pycma's CMA-ES with the randomness outside and a state of plain numbers.

pycma draws, updates and keeps its own counters; here the normal draws come in as an argument, and what an update depends on is saved
and put back so that the next generation is the same to the last bit (verified for cma 4.5).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CONVERGED = 1e-9
MOST_CONDITION = 1e14
_SCALARS = ("sigma", "countiter", "countevals", "_isotropic_mean_shift_iteration")
_SCALARS_SM = ("last_update", "count_tell", "count_eigen")


class CmaAdapter:
    """One run of CMA-ES between two restarts."""

    def __init__(self, strategy: Any) -> None:
        self._es = strategy

    @classmethod
    def fresh(
        cls,
        *,
        start: Array,
        sigma: float,
        lower: Array,
        upper: Array,
        stds: Array,
        popsize: int,
        whole: list[int],
        diagonal: bool,
    ) -> Self:
        """A new distribution.

        Args:
            start: (n,) mean.
            sigma: step size in units of `stds`.
            lower, upper: (n,) bounds; stds: (n,) scales.
            popsize: outcomes a generation.
            whole: coordinates that are whole numbers.
            diagonal: learn scales only.
        """
        import cma

        options: dict[str, Any] = {
            "bounds": [list(lower), list(upper)],
            "CMA_stds": list(stds),
            "popsize": popsize,
            "CMA_diagonal": diagonal,
            "CMA_mirrors": 0,
            # From 300 dimensions on pycma would take a rule that needs special first points in every generation.
            "AdaptSigma": cma.sigma_adaptation.CMAAdaptSigmaCSA,
            "seed": math.nan,
            "verbose": -9,
            "verb_log": 0,
            "verb_disp": 0,
            "randn": np.random.standard_normal,
        }
        if whole:
            options["integer_variables"] = whole
        found = cls(cma.CMAEvolutionStrategy(list(start), sigma, options))
        found.sample(np.zeros((1, len(start))))  # creates what pycma makes on first use
        found.forget_asked()
        found._es.mean_old = found._es.mean.copy()  # an update looks for it also where a plateau came first
        return found

    @property
    def sigma(self) -> float:
        """The step size."""
        return float(self._es.sigma)

    def sample(self, normals: Array) -> list[Array]:
        """Points from (m, n) normal draws; row i depends on draw i alone."""
        drawn = np.asarray(normals)
        # pycma reads its source of randomness at each draw; rows come in the order in which it asks.
        taken = iter(drawn)

        def source(*shape: int) -> Array:
            if len(shape) == 1:
                return np.asarray(next(taken))
            return np.array([next(taken) for _ in range(shape[0])])

        self._use(source)
        return [np.asarray(x, dtype=np.float64) for x in self._es.ask(len(drawn))]

    def _use(self, source: Any) -> None:
        self._es.opts["randn"] = source
        self._es.randn = source
        self._es.sm.randn = source

    def tell(self, points: list[Array], ranks: list[float]) -> None:
        """Update with one generation; what it samples since the last `forget_asked` must be the same in every process."""
        with _global_randomness(self._seed()):
            self._es.tell(points, list(ranks))
        self.forget_asked()

    def _seed(self) -> int:
        place = np.asarray(self._es.mean, dtype=np.float64).tobytes() + str(self._es.countiter).encode()
        return int.from_bytes(hashlib.blake2b(place, digest_size=4).digest(), "little")

    def forget_asked(self) -> None:
        """Forget which points were sampled, and from what before whole numbers were rounded."""
        self._es.sent_solutions.clear()
        self._es._round_integer_variables.archive.clear()
        self._es.number_of_solutions_asked = 0

    def widen(self, most: float = 1.0) -> None:
        """Grow the step size by the plateau rule, to `most`, and count the generation."""
        self._es.sigma = min(self._es.sigma * math.exp(0.5), most)
        self._es.countiter += 1
        self.forget_asked()

    def has_converged(self) -> bool:
        """Whether the distribution has become too small or too flat to go on."""
        es = self._es
        scales = np.asarray(es.sigma_vec.scaling) / np.asarray(es.sigma_vec0) * np.ones(es.N)
        widths = es.sigma * scales * np.sqrt(np.asarray(es.sm.variances))
        spread = np.asarray(es.D) * scales if es.opts["CMA_diagonal"] else np.asarray(es.D)
        return bool(widths.max() < CONVERGED or (spread.max() / max(spread.min(), 1e-300)) ** 2 > MOST_CONDITION)

    def save(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """The state as numbers and arrays."""
        es = self._es
        scalars: dict[str, Any] = {name: _number(getattr(es, name)) for name in _SCALARS if hasattr(es, name)}
        scalars |= {f"sm.{name}": _number(getattr(es.sm, name)) for name in _SCALARS_SM if hasattr(es.sm, name)}
        adapt = es.adapt_sigma
        scalars["adapt.delta"] = _number(getattr(adapt, "delta", 1))
        scalars["adapt._ps_updated_iteration"] = _number(getattr(adapt, "_ps_updated_iteration", -1))
        arrays = {
            "mean": np.array(es.mean, dtype=np.float64),
            "pc": np.array(es.pc, dtype=np.float64),
            "ps": np.array(adapt.ps, dtype=np.float64),
            "sigma_vec": np.array(es.sigma_vec.scaling, dtype=np.float64) * np.ones(es.N),
        }
        for name in ("C", "B", "D"):  # none of them where only scales are learned
            if getattr(es.sm, name, None) is not None:
                arrays[name] = np.array(getattr(es.sm, name), dtype=np.float64)
        if getattr(es, "pc2", None) is not None:
            arrays["pc2"] = np.array(es.pc2, dtype=np.float64)
        return scalars, arrays

    def load(self, scalars: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Put a saved state back into a fresh run with the same options."""
        from cma.transformations import DiagonalDecoding

        es = self._es
        for name, value in scalars.items():
            where, _, field = name.rpartition(".")
            target = {"": es, "sm": es.sm, "adapt": es.adapt_sigma}[where]
            setattr(target, field, value)
        es.mean = arrays["mean"].copy()
        es.mean_old = es.mean.copy()
        es.pc = arrays["pc"].copy()
        if "pc2" in arrays:
            es.pc2 = arrays["pc2"].copy()
        es.adapt_sigma.ps = arrays["ps"].copy()
        for name in ("C", "B", "D"):
            if name in arrays:
                # "K" keeps the order in memory: in another one BLAS rounds the last bit differently.
                setattr(es.sm, name, arrays[name].copy(order="K"))
        es.sm._inverse_root_C = None
        es.sigma_vec = DiagonalDecoding(arrays["sigma_vec"].copy())
        if hasattr(es, "_updateBDfromSM"):
            es._updateBDfromSM(es.sm)
        es._flgtelldone = True
        self.forget_asked()


@contextmanager
def _global_randomness(seed: int) -> Iterator[None]:
    """NumPy's global generator at a known place, which pycma's treatment of whole numbers draws from; put back afterwards."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
