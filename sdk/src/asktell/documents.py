"""Studies, trials and events as the service writes them, and what is sent about them."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, TypeGuard

from .errors import Ended, Invalid, NotFinite
from .flows import Json
from .packed import CODES, packed, unpacked
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


def time_of(text: str | None) -> datetime | None:
    """A point in time as the service writes it."""
    return None if text is None else datetime.fromisoformat(text)


class StudyFields:
    """What is known of a study, as of the latest answer. `refresh()` reads it anew.

    Attributes:
        data: the whole document.
    """

    data: Json

    @property
    def id(self) -> str:
        """The service's name for it; never given twice."""
        return str(self.data["id"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.data["name"])

    @property
    def state(self) -> str:
        """`active`, `paused` or `completed`."""
        return str(self.data["state"])

    @property
    def state_reason(self) -> str | None:
        """Why it is paused or completed."""
        return self.data.get("state_reason")

    @property
    def infeasible_suspected(self) -> Json | None:
        """The suggester's verdict that no point keeps the constraints: `trial`, `evidence`, `at`; None while it holds none."""
        return self.data.get("infeasible_suspected")

    @property
    def examples(self) -> Json | None:
        """The ids of the examples that trials are scored on, by `train` and `validation`; None where it declares none."""
        return self.data.get("examples")

    @property
    def llm(self) -> Json | None:
        """Its language model: `profile`, budgets, `share_examples`; None where it uses none."""
        return self.data.get("llm")

    @property
    def llm_usage(self) -> Json | None:
        """What its language model calls have come to: `calls`, tokens, `cost`; None before the first."""
        return self.data.get("llm_usage")

    @property
    def parameters(self) -> list[Json]:
        """The search space."""
        return list(self.data["parameters"])

    @property
    def objectives(self) -> list[Json]:
        """What is driven down or up."""
        return list(self.data["objectives"])

    @property
    def limits(self) -> Json:
        """The bounds that the service keeps."""
        return dict(self.data["limits"])

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self.data.get("labels") or {})

    @property
    def metadata(self) -> Json:
        """Anything of its owner's."""
        return dict(self.data.get("metadata") or {})

    @property
    def trial_counts(self) -> dict[str, int]:
        """How many trials stand in each state."""
        return dict(self.data["trial_counts"])

    def _sent(self, trial: Mapping[str, Any], pointer: str = "") -> Json:
        """A trial to create as it travels: vectors that the space wants as bytes are packed, None is left out.

        Raises:
            Invalid: one has a number that is not finite.
        """
        document = {name: value for name, value in trial.items() if value is not None}
        given = document.get("parameters")
        if isinstance(given, Mapping):
            document["parameters"] = dict(given)
            for parameter in self.data.get("parameters") or ():
                name, encoding = parameter["name"], parameter.get("encoding")
                if name in given and encoding in CODES:
                    document["parameters"][name] = packed(given[name], encoding, f"{pointer}/parameters/{name}")
        return document

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.state}>"


class TrialFields:
    """What is known of a trial, as of the latest answer.

    Attributes:
        data: the whole document.
        should_stop: the service said that it may give up.
        is_lost: its lease ran out, or it was ended by another; a tell still counts if it has no outcome yet.
    """

    data: Json
    should_stop: bool = False
    is_lost: bool = False

    @property
    def number(self) -> int:
        """Its number inside its study, from 1."""
        return int(self.data["number"])

    @property
    def parameters(self) -> Json:
        """The point to evaluate; vectors that travel packed as NumPy arrays, or lists where there is no NumPy."""
        return {name: unpacked(value) for name, value in self.data["parameters"].items()}

    @property
    def state(self) -> str:
        """`waiting`, `running`, `completed`, `pruned`, `infeasible`, `failed` or `cancelled`."""
        return str(self.data["state"])

    @property
    def is_finished(self) -> bool:
        """Whether it has an outcome."""
        return self.state not in ("waiting", "running")

    @property
    def metrics(self) -> dict[str, float]:
        """What was told."""
        return dict(self.data.get("metrics") or {})

    @property
    def std(self) -> dict[str, float] | None:
        """The told standard errors."""
        return self.data.get("std") or None

    @property
    def feasible(self) -> bool | None:
        """Whether it keeps the study's constraints; None while unknown."""
        return self.data.get("feasible")

    @property
    def worker(self) -> str | None:
        """Who evaluates it, or did last."""
        return self.data.get("worker")

    @property
    def attempt(self) -> int:
        """How often it was handed out."""
        return int(self.data.get("attempt") or 0)

    @property
    def lease_expires_at(self) -> datetime | None:
        """When it goes to another worker, unless a sign of life comes before."""
        return time_of(self.data.get("lease_expires_at"))

    @property
    def suggested_by(self) -> Json:
        """Who proposed it and why."""
        return dict(self.data["suggested_by"])

    @property
    def measurements(self) -> list[Json]:
        """Its reports."""
        return list(self.data.get("measurements") or ())

    @property
    def evaluate_on(self) -> Json | None:
        """The examples to score it on: `split` and `ids`."""
        return self.data.get("evaluate_on")

    @property
    def examples(self) -> list[Json] | None:
        """What each example gave."""
        return self.data.get("examples") or None

    @property
    def feedback(self) -> str | None:
        """What happened, in words."""
        return self.data.get("feedback")

    @property
    def elapsed_seconds(self) -> float | None:
        """How long the evaluation took."""
        return self.data.get("elapsed_seconds")

    @property
    def cost(self) -> float | None:
        """What the evaluation cost, in the study's own unit."""
        return self.data.get("cost")

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self.data.get("labels") or {})

    @property
    def metadata(self) -> Json:
        """Anything of its owner's."""
        return dict(self.data.get("metadata") or {})

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return datetime.fromisoformat(self.data["created_at"])

    @property
    def finished_at(self) -> datetime | None:
        """When it ended."""
        return time_of(self.data.get("finished_at"))

    @contextlib.contextmanager
    def _measured(self) -> Iterator[None]:
        """What is not finite in here was measured for this trial."""
        try:
            yield
        except NotFinite as error:
            error.trial = self
            raise

    def _is_ended_by(self, error: BaseException | None) -> TypeGuard[Ended]:
        """Whether an exception that leaves the evaluation says how it ended: not if a value of another trial is at fault."""
        return isinstance(error, Ended) and (not isinstance(error, NotFinite) or error.trial is self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} of {self.data['study']!r} {self.state}>"


@dataclass(frozen=True, slots=True)
class Event:
    """What happened in a study.

    Attributes:
        seq: its place in the study's sequence.
        type: such as `trial.completed`.
        number: the trial's, if it is about one.
    """

    seq: int
    type: str
    study: str
    number: int | None
    data: Json
    created_at: datetime


class EventReader:
    """Server-sent events from the pieces of a stream."""

    def __init__(self) -> None:
        self._text = b""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that this piece completes."""
        self._text = (self._text + chunk).replace(b"\r\n", b"\n")
        while b"\n\n" in self._text:
            block, _, self._text = self._text.partition(b"\n\n")
            lines = [line[5:].lstrip() for line in block.split(b"\n") if line.startswith(b"data:")]
            if lines:
                found = json.loads(b"\n".join(lines))
                yield Event(
                    found["seq"],
                    found["type"],
                    found["study"],
                    found.get("number"),
                    found.get("data") or {},
                    datetime.fromisoformat(found["created_at"]),
                )


def is_better(objective: Mapping[str, Any]) -> Callable[[float, float], bool]:
    """Whether a value beats another, by the objective's goal."""
    if objective["goal"] == "maximize":
        return lambda value, other: value > other
    return lambda value, other: value < other
