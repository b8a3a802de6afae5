"""What is sent about studies and trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from .errors import Invalid, NotFinite
from .flows import Json
from .space import Space, documents

Names = str | Sequence[str]
Metrics = Mapping[str, float]


class Limits(TypedDict, total=False):
    """Bounds that the service keeps; None means none."""

    max_trials: int | None
    max_running: int | None
    max_failures: int | None
    max_seconds: float | None
    max_attempts: int
    max_cost: float | None
    max_example_evaluations: int | None


def study_document(
    name: str,
    space: Space,
    minimize: Names,
    maximize: Names,
    objectives: Sequence[Mapping[str, Any]],
    suggester: str | Mapping[str, Any] | None,
    limits: Mapping[str, Any],
    rest: Mapping[str, Any],
) -> Json:
    """A study to create; what is None in `rest` is left to the service.

    Raises:
        Invalid: no objective is named, or a parameter has no name.
    """
    wanted = [dict(objective) for objective in objectives]
    wanted += [{"metric": metric, "goal": "minimize"} for metric in _names(minimize)]
    wanted += [{"metric": metric, "goal": "maximize"} for metric in _names(maximize)]
    if not wanted:
        raise Invalid.at("/objectives", "name a metric: minimize=…, maximize=… or objectives=[…]")
    document: Json = {"name": name, "parameters": documents(space), "objectives": wanted}
    if suggester is not None:
        document["suggester"] = {"name": suggester} if isinstance(suggester, str) else dict(suggester)
    if limits:
        document["limits"] = dict(limits)
    return document | {key: value for key, value in rest.items() if value is not None}


def _names(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def numbers(values: Mapping[str, Any], pointer: str = "/metrics") -> dict[str, float]:
    """Metrics as plain numbers; those of NumPy, torch and the like become floats.

    Raises:
        Invalid: a value that is no number.
        NotFinite: one that is NaN or infinite.
    """
    found = {}
    for name, value in values.items():
        try:
            number = value if type(value) is int else float(value)
        except (TypeError, ValueError):
            raise Invalid.at(f"{pointer}/{name}", f"{value!r:.80} is not a number") from None
        found[name] = number
    finite = {name: number for name, number in found.items() if math.isfinite(number)}
    if len(finite) < len(found):
        name = next(name for name in found if name not in finite)
        raise NotFinite(f"{pointer}/{name}", found[name], finite if pointer == "/metrics" else {})
    return found


def outcome(
    metrics: Metrics | None,
    values: Metrics,
    *,
    state: str,
    std: Metrics | None,
    feedback: str | None,
    examples: Sequence[Mapping[str, Any]] | None,
    cost: float | None,
    elapsed_seconds: float | None,
    residual: Sequence[float] | None = None,
    fingerprint: str | None = None,
) -> Json:
    """What is told about a trial.

    Raises:
        Invalid: a metric that is no number.
        NotFinite: one, or an item of `residual`, that is NaN or infinite.
    """
    document: Json = {"state": state, "metrics": numbers({**(metrics or {}), **values})}
    if std is not None:
        document["std"] = numbers(std, "/std")
    if residual is not None:
        residual = residual.tolist() if hasattr(residual, "tolist") else list(residual)
        for place, number in enumerate(residual):
            if isinstance(number, float) and not math.isfinite(number):
                raise NotFinite(f"/residual/{place}", number, document["metrics"])
    rest: Json = {"feedback": feedback, "examples": examples, "cost": cost, "elapsed_seconds": elapsed_seconds}
    rest |= {"residual": residual, "fingerprint": fingerprint}
    return document | {name: value for name, value in rest.items() if value is not None}


def is_better(objective: Mapping[str, Any]) -> Callable[[float, float], bool]:
    """Whether a value beats another, by the objective's goal."""
    if objective["goal"] == "maximize":
        return lambda value, other: value > other
    return lambda value, other: value < other
