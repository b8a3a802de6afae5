"""The client's side of `bbt`: from the low-dimensional vectors of a study to the prompt vectors inside a model.

For layer l the prompt is P_l = A_l z_l, to be added to what the layer sees, or put before it. A_l is fixed by a seed: a client that
starts again injects the same prompts for the same trials. NumPy is imported when something is computed; the SDK does not install it.

Sun, Shao, Qian, Huang, Qiu 2022, "Black-Box Tuning for Language-Model-as-a-Service"; Sun et al. 2022, "BBTv2".
"""

from __future__ import annotations

import importlib
import math
from typing import Any, Literal

__all__ = ["Projection", "clipped_statistics"]


def clipped_statistics(values: Any, *, rounds: int = 5, width: float = 3.0) -> tuple[float, float]:
    """Mean and standard deviation of a layer's hidden states, outliers clipped.

    Args:
        values: an array of any shape: hidden states of a batch, or (with `rounds` 0) the word embeddings, for the input layer.
        rounds: how often values are clipped to mean ± `width` standard deviations, both estimated anew each time.
        width: in standard deviations, > 0.

    Returns:
        Mean and standard deviation after the last round.

    Raises:
        ValueError: there are no values, or some are not finite.
    """
    np = _numpy()
    flat = np.asarray(values, dtype=np.float64).ravel()
    if flat.size == 0 or not np.isfinite(flat).all():
        raise ValueError("needs finite values")
    for _ in range(rounds):
        mean, std = flat.mean(), flat.std()
        flat = np.clip(flat, mean - width * std, mean + width * std)
    return float(flat.mean()), float(flat.std())


class Projection:
    """The fixed random matrix of one layer.

    `Projection(length=500, tokens=50, hidden=1024, std=clipped_statistics(states)[1], seed=1, layer=3)(trial["z3"])` is a prompt.

    Attributes:
        scale: standard deviation of the matrix' entries.
        matrix: (tokens * hidden, length), float32.
    """

    def __init__(
        self,
        *,
        length: int,
        tokens: int,
        hidden: int,
        std: float = 1.0,
        alpha: float = 1.0,
        sigma: float = 1.0,
        seed: int = 0,
        layer: int = 0,
        kind: Literal["normal", "uniform"] = "normal",
    ) -> None:
        """
        Args:
            length: of the study's vector.
            tokens, hidden: shape of the layer's prompt.
            std: of the layer's values (`clipped_statistics`), so that A z has the standard deviation `alpha * std`.
            alpha: how large prompts are beside what the layer is used to; BBT-RGB took 0.5.
            sigma: of the vector's entries at the start: the suggester's option `sigma`.
            seed, layer: layers of one seed have matrices of their own.
            kind: `normal` as above (BBTv2), or `uniform` in ±1 / sqrt(length), whatever the other numbers say (the first BBT).

        Raises:
            ValueError: a size is not positive, or a number not positive and finite.
        """
        if min(length, tokens, hidden) < 1:
            raise ValueError("length, tokens and hidden must be at least 1")
        if not all(math.isfinite(v) and v > 0 for v in (std, alpha, sigma)):
            raise ValueError("std, alpha and sigma must be positive and finite")
        self.shape = (tokens, hidden)
        rng = _numpy().random.default_rng([seed, layer])
        size = (tokens * hidden, length)
        if kind == "uniform":
            bound = 1 / math.sqrt(length)
            self.scale = bound / math.sqrt(3)
            self.matrix = (2 * rng.random(size, dtype="float32") - 1) * bound
        else:
            self.scale = alpha * std / (math.sqrt(length) * sigma)
            self.matrix = rng.standard_normal(size, dtype="float32")
            self.matrix *= self.scale

    def __call__(self, vector: Any) -> Any:
        """The layer's prompt: (tokens, hidden) float32.

        Args:
            vector: (length,) numbers, a trial's value.
        """
        return (self.matrix @ _numpy().asarray(vector, dtype="float32")).reshape(self.shape)


def _numpy() -> Any:
    try:
        return importlib.import_module("numpy")
    except ImportError:
        raise ImportError("soft prompts need NumPy: pip install numpy") from None
