"""The simplex search of Nelder and Mead 1965 as a coroutine, with the coefficients of Gao, Han 2012.

Gao, Han 2012, "Implementing the Nelder-Mead simplex algorithm with adaptive parameters". Outcomes are only compared, never added:
constraints and failed trials rank where their order puts them. Without bounds in the way the path is that of SciPy's
`minimize(method="Nelder-Mead", options={"adaptive": True})`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.models.local_runs import Outcome, Search, Wish

Array = NDArray[np.float64]
Order = tuple[int, float]

# Smallest singular value of the edges, as a share of the largest: the simplex fills its space no longer. Bounds squeeze it flat.
FLAT, FLAT_AT_BOUNDS = 1e-10, 0.02


@dataclass(frozen=True)
class Coefficients:
    """How far a step goes: reflection 1, then these."""

    expansion: float
    contraction: float
    shrinkage: float

    @classmethod
    def for_dimension(cls, n: int, *, adaptive: bool) -> Coefficients:
        """Those of Gao and Han, else 2, 1/2, 1/2; with one dimension the former would shrink to nothing."""
        if not adaptive or n < 2:
            return cls(2.0, 0.5, 0.5)
        return cls(1 + 2 / n, 0.75 - 1 / (2 * n), 1 - 1 / n)


def nelder_mead(start: Array, edge: float, final: float, *, adaptive: bool = True) -> Search:
    """Minimise in the unit cube; ends when every vertex is within `final` of the best, or nothing differs any more.

    Args:
        start: (n,) in [0, 1]; the first vertex.
        edge: of the first simplex along each axis, towards the farther bound where there is no room, > 0.
        final: > 0.
        adaptive: coefficients that depend on n.
    """
    n = len(start)
    rule = Coefficients.for_dimension(n, adaptive=adaptive)
    vertices, orders = yield from _evaluated(_first_simplex(start, edge), f"first simplex, edge {edge:.3g}")
    flat_at: Order | None = None
    while n:
        place = sorted(range(n + 1), key=lambda i: orders[i])
        vertices, orders = vertices[place], [orders[i] for i in place]
        size = float(np.abs(vertices[1:] - vertices[0]).max())
        if size <= final or orders[0] == orders[-1]:
            return
        if flat_at != orders[0] and _is_flat(vertices):  # once mended it goes on as it is until it has found better
            flat_at = orders[0]
            again = _first_simplex(vertices[0], max(size, 2 * final))
            vertices, orders = yield from _evaluated(again, f"new simplex around the best, edge {size:.3g}")
            continue
        yield from _step(vertices, orders, rule, size)


def _first_simplex(start: Array, edge: float) -> Array:
    simplex = np.tile(start, (len(start) + 1, 1))
    for j in range(len(start)):
        forth = start[j] + edge
        simplex[j + 1, j] = forth if forth <= 1 or start[j] < 0.5 else start[j] - edge
    return np.clip(simplex, 0.0, 1.0)


def _evaluated(rows: Array, note: str) -> Generator[Wish, list[Outcome], tuple[Array, list[Order]]]:
    outcomes = yield Wish(tuple(rows.copy()), note=note)
    return rows, [o.order for o in outcomes]


def _is_flat(vertices: Array) -> bool:
    widths = np.linalg.svd(vertices[1:] - vertices[0], compute_uv=False)
    touches = ((vertices <= 0) | (vertices >= 1)).any()
    return bool(widths[-1] < (FLAT_AT_BOUNDS if touches else FLAT) * widths[0])


def _step(vertices: Array, orders: list[Order], rule: Coefficients, size: float) -> Search:
    """Replace the worst vertex, or draw all towards the best; in place. Vertices are sorted, the best first."""
    centre, worst = vertices[:-1].sum(axis=0) / (len(vertices) - 1), vertices[-1]

    def along(t: float) -> Array:
        return np.asarray(np.clip((1 + t) * centre - t * worst, 0.0, 1.0))

    reflected, expanded = along(1.0), along(rule.expansion)
    outside, inside = along(rule.contraction), along(-rule.contraction)
    order = yield from _asked(reflected, "reflection", size, (expanded, outside, inside))
    if order < orders[0]:
        farther = yield from _asked(expanded, "expansion", size)
        vertices[-1], orders[-1] = (expanded, farther) if farther < order else (reflected, order)
        return
    if order < orders[-2]:
        vertices[-1], orders[-1] = reflected, order
        return
    if order < orders[-1]:
        nearer = yield from _asked(outside, "outside contraction", size)
        point, accepted = outside, nearer <= order
    else:
        nearer = yield from _asked(inside, "inside contraction", size)
        point, accepted = inside, nearer < orders[-1]
    if accepted:
        vertices[-1], orders[-1] = point, nearer
        return
    drawn = np.clip(vertices[0] + rule.shrinkage * (vertices[1:] - vertices[0]), 0.0, 1.0)
    vertices[1:], orders[1:] = yield from _evaluated(drawn, f"shrinkage, simplex {size:.3g}")


def _asked(
    point: Array, what: str, size: float, ahead: tuple[Array, ...] = ()
) -> Generator[Wish, list[Outcome], Order]:
    outcomes = yield Wish((point,), ahead, f"{what}, simplex {size:.3g}")
    return outcomes[0].order
