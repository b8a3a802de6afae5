"""Plots and JSON of a report: regret curves with quartiles, and how much was solved to which precision and when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .report import Scores, scored

Row = dict[str, Any]
GRID = np.linspace(0.02, 1.0, 50)
LEAST = 1e-4
TARGETS = (0.5, 0.9, 0.99)


def save(folder: Path, found: dict[str, Any], rows: Sequence[Row]) -> None:
    """Write `quality.json`, `quality-regret.png`, `quality-data.png` and `quality-profile.png`."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1, sort_keys=False)
    (folder / "quality.json").write_text(text + "\n")
    places = list(scored(rows).values())
    solvers = list(found["all"]["solvers"])
    groups = list(found["groups"])
    _regret(folder / "quality-regret.png", places, solvers, groups)
    _data(folder / "quality-data.png", places, solvers)
    _profile(folder / "quality-profile.png", places, solvers, groups)


def _shared(places: Sequence[Scores], solvers: Sequence[str], group: str | None = None) -> list[Scores]:
    return [s for s in places if (group is None or s.group == group) and set(solvers) <= s.gaps.keys()]


def _style(solvers: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {
        who: {"color": f"C{i % 10}", "lw": 2.2 if who.startswith("asktell") else 1.2, "label": who}
        for i, who in enumerate(solvers)
    }


def _panels(groups: Sequence[str], height: float) -> tuple[Any, list[Any]]:
    from matplotlib import pyplot

    columns = min(4, len(groups))
    lines = -(-len(groups) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(4.2 * columns, height * lines), squeeze=False)
    flat = list(axes.ravel())
    for axis in flat[len(groups) :]:
        axis.axis("off")
    return figure, flat


def _finish(figure: Any, axes: Sequence[Any], path: Path) -> None:
    from matplotlib import pyplot

    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=min(6, max(1, len(labels))), frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _regret(path: Path, places: Sequence[Scores], solvers: Sequence[str], groups: Sequence[str]) -> None:
    figure, axes = _panels(groups, 3.2)
    for axis, group in zip(axes, groups, strict=False):
        scores = _shared(places, solvers, group)
        for who, style in _style(solvers).items():
            if scores:
                curves = np.array([[max(1 - max(s.at(who, t), 0.0), LEAST) for t in GRID] for s in scores])
                low, middle, high = np.quantile(curves, [0.25, 0.5, 0.75], axis=0)
                axis.plot(GRID, middle, **style)
                axis.fill_between(GRID, low, high, color=style["color"], alpha=0.08, lw=0)
        axis.set(title=f"{group} ({len(scores)})", xlabel="share of the budget", ylabel="gap left", yscale="log")
    _finish(figure, axes, path)


def _data(path: Path, places: Sequence[Scores], solvers: Sequence[str]) -> None:
    figure, axes = _panels([str(t) for t in TARGETS], 3.4)
    scores = _shared(places, solvers)
    for axis, target in zip(axes, TARGETS, strict=False):
        for who, style in _style(solvers).items():
            if scores:
                axis.plot(GRID, [np.mean([s.at(who, t) >= target for s in scores]) for t in GRID], **style)
        axis.set(title=f"{target:.0%} of the gap closed", xlabel="share of the budget", ylabel="share of instances")
    _finish(figure, axes, path)


def _profile(path: Path, places: Sequence[Scores], solvers: Sequence[str], groups: Sequence[str]) -> None:
    figure, axes = _panels(groups, 3.2)
    factors = np.logspace(0, 3, 60)
    for axis, group in zip(axes, groups, strict=False):
        scores = _shared(places, solvers, group)
        for who, style in _style(solvers).items():
            if scores:
                left = np.array([[max(1 - max(s.at(w, 1.0), 0.0), LEAST) for w in solvers] for s in scores])
                ratio = left[:, list(solvers).index(who)] / left.min(axis=1)
                axis.plot(factors, [np.mean(ratio <= f) for f in factors], **style)
        axis.set(title=f"{group} ({len(scores)})", xlabel="gap left over the best's", ylabel="share", xscale="log")
    _finish(figure, axes, path)
