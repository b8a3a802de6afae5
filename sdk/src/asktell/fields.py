"""Studies and trials as the service writes them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeGuard

from .errors import Ended, NotFinite
from .flows import Json
from .packed import CODES, packed, unpacked


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
