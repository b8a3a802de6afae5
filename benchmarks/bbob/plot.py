"""Empirical distribution of run times: share of targets hit over evaluations a dimension, one panel a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .functions import TARGETS
from .report import Results
from .runs import OURS


def draw(path: Path, results: Results, dimensions: Sequence[int]) -> None:
    """Write the picture; each curve ends where its runs end."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(dimensions), figsize=(4.2 * len(dimensions), 4.4), squeeze=False, sharey=True)
    for axis, dimension in zip(axes[0], dimensions, strict=True):
        for i, name in enumerate(results.algorithms):
            rows = list(results.longest(name, dimension).values())
            if not rows:
                continue
            # Runs of unequal length would make a curve of its own kind: it ends with the shortest.
            end = min(int(r["budget"]) for r in rows)
            hits = np.sort([h / dimension for r in rows for h in r["hits"]])
            grid = np.geomspace(1, end, 200)
            share = np.searchsorted(hits, grid, side="right") / (len(rows) * len(TARGETS))
            axis.semilogx(grid, share, label=name, color=f"C{i % 10}", lw=2.4 if name.startswith(OURS) else 1.2)
        axis.set_title(f"{dimension}-D")
        axis.set_xlabel("evaluations / dimension")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("share of targets hit")
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
