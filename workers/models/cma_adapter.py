"""pycma's CMA-ES with randomness and bounds outside and a state of plain numbers.

pycma updates; a row is drawn here from normal draws that come in as an argument, row by row, so that it depends on them and on the
distribution alone. Everything that an update depends on is saved and put back, so that the next generation is the same to the last bit
(verified for cma 4.5). Rows are unbounded coordinates; `Box` folds them into the bounds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .folding import Box

Array = NDArray[np.float64]

MOST_SPREAD = 1 / 3
_SCALARS = ("sigma", "countiter", "countevals", "_isotropic_mean_shift_iteration")
_SCALARS_SM = ("last_update", "count_tell", "count_eigen")


class CmaAdapter:
    """One run of CMA-ES between two restarts.

    Attributes:
        box: its bounds.
        size: how many coordinates it has.
    """

    def __init__(self, strategy: Any, box: Box) -> None:
        self._es = strategy
        self.box = box
        self.size = int(strategy.N)

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
            start: (n,) mean, in the box.
            sigma: step size in units of `stds`.
            lower, upper: (n,) bounds; stds: (n,) scales.
            popsize: outcomes a generation.
            whole: coordinates that are whole numbers.
            diagonal: learn scales only.
        """
        import cma

        options: dict[str, Any] = {
            "maxstd": list(MOST_SPREAD * (np.asarray(upper) - lower)),
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
            "randn": lambda *shape: np.zeros(shape),  # nothing is drawn inside
        }
        if whole:
            options["integer_variables"] = list(whole)
        box = Box(lower, upper)
        found = cls(cma.CMAEvolutionStrategy(list(box.outside(np.asarray(start))), sigma, options), box)
        es = found._es
        es.ask(1)  # creates what pycma makes on first use
        es.sent_solutions.clear()
        es._round_integer_variables.archive.clear()
        es.mean_old = es.mean.copy()  # an update looks for it also where a plateau came first
        found._settle()
        return found

    # -- what it draws

    @property
    def mean(self) -> Array:
        """(n,) of the distribution."""
        return np.array(self._es.mean, dtype=np.float64)

    @property
    def sigma(self) -> float:
        """The step size."""
        return float(self._es.sigma)

    @property
    def parents(self) -> int:
        """How many of a generation the mean is made of."""
        return int(self._es.sp.weights.mu)

    @property
    def shares(self) -> Array:
        """(parents,) how much each of them, the best first, moves the mean; they sum to 1."""
        return np.array(self._es.sp.weights.positive_weights)

    def row(self, normal: Array) -> Array:
        """(n,) coordinates from (n,) normal draws."""
        es = self._es
        step = normal if getattr(es.sm, "B", None) is None else es.sm.B @ (es.sm.D * normal)
        return np.asarray(es.mean + es.sigma * (es.sigma_vec.scaling * step))

    def towards(self, x: Array, length: float) -> Array | None:
        """Coordinates in the direction of `x`: `x` itself where it is near, else `length` (Mahalanobis) away from the mean."""
        step = np.asarray(x) - self._es.mean
        distance = self.distance(x)
        if not (math.isfinite(distance) and distance > 0):
            return None
        return np.asarray(self._es.mean + step * (1.0 if distance <= math.sqrt(self.size) else length / distance))

    def shortened(self, x: Array) -> Array:
        """Coordinates no further from the mean than a row is plausible (Hansen 2011: sqrt(n) + 2n / (n + 2))."""
        most = math.sqrt(self.size) + 2 * self.size / (self.size + 2)
        distance = self.distance(x)
        return np.asarray(x if distance <= most else self._es.mean + (x - self._es.mean) * (most / distance))

    def distance(self, x: Array) -> float:
        """The Mahalanobis distance of coordinates from the mean; that of a row is about sqrt(n)."""
        return float(self._es.mahalanobis_norm(np.asarray(x) - self._es.mean))

    # -- what it learns

    def tell(self, points: Sequence[Array], ranks: Sequence[float], foreign: Collection[int] = ()) -> None:
        """Update with one generation.

        Args:
            points: (n,) each, at least `parents` of them.
            ranks: lower is better.
            foreign: which points the distribution did not draw: they attract, but never repel.
        """
        es = self._es
        es._flgtelldone = False
        es.number_of_solutions_asked = len(points)
        es._is_independent_sample = [True]
        # pycma changes whole numbers in place and knows a foreign point by its bytes.
        points = [np.array(x, dtype=np.float64) for x in points]
        es._injected_solutions_archive.clear()
        for i in foreign:
            es._injected_solutions_archive[points[i]] = {"iteration": es.countiter, "index": i, "counter": 0}
        with _global_randomness(self._seed()) if es.opts["integer_variables"] else nullcontext():
            es.tell(points, list(ranks), check_points=False)
        self._settle()

    def _seed(self) -> int:
        place = np.asarray(self._es.mean, dtype=np.float64).tobytes() + str(self._es.countiter).encode()
        return int.from_bytes(hashlib.blake2b(place, digest_size=4).digest(), "little")

    def _settle(self) -> None:
        """Decompose the covariance if it is time to, and drop what only plain asking needs."""
        es = self._es
        es._try_update_sm_now()
        es.sent_solutions.clear()
        es.archive.clear()
        es.number_of_solutions_asked = 0

    def widen(self, most: float = 1.0) -> None:
        """A plateau, every value is equal: grow the step size, to `most`, and count the generation."""
        adapt = self._es.adapt_sigma
        self._es.sigma = min(self._es.sigma * math.exp(0.2 + adapt.cs / adapt.damps), max(most, self._es.sigma))
        self._es.countiter += 1

    def retreat(self, best: Array | None) -> None:
        """Hardly a row could be evaluated: halve the step size, move to the best known coordinates, count the generation."""
        self._es.sigma *= 0.5
        self._es.countiter += 1
        if best is not None:
            self.move(best)

    def move(self, x: Array) -> None:
        """Put the mean at coordinates."""
        self._es.mean = np.array(x, dtype=np.float64)
        self._es.mean_old = self._es.mean.copy()

    # -- how far it is

    @property
    def spreads(self) -> Array:
        """(n,) standard deviations of the coordinates."""
        es = self._es
        return np.asarray(es.sigma * np.sqrt(np.asarray(es.sm.variances)) * es.sigma_vec.scaling * np.ones(es.N))

    @property
    def condition(self) -> float:
        """Of the covariance, in units of the first scales."""
        es = self._es
        scales = np.asarray(es.sigma_vec.scaling) / np.asarray(es.sigma_vec0) * np.ones(es.N)
        axes = np.asarray(es.D) * (scales if es.opts["CMA_diagonal"] else 1.0)
        return float(axes.max() / max(axes.min(), 1e-300)) ** 2

    @property
    def growth(self) -> float:
        """The step size over the first one and the longest axis."""
        es = self._es
        return float(es.sigma / es.sigma0 / np.max(es.D))

    # -- the state

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
        self._settle()


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
