"""Jobs for a pool, as a dispatcher would send them."""

from __future__ import annotations

from typing import Any

from services.domain.history import Observation
from services.domain.trial import TrialState
from tests.support.builders import study
from tests.support.troublesome import SPECS
from workers.pools.pool import Job


def told(number: int, loss: float, seq: int) -> Observation:
    """A completed trial."""
    return Observation(
        number=number, told_seq=seq, state=TrialState.COMPLETED, parameters={"x": 0.5}, metrics={"loss": loss}
    )


def job(study_id: str = "s1", suggester: str = "steady", **fields: Any) -> Job:
    """A job for the troublesome suggester; `trouble`, `at` and `marker` are its options."""
    options = {name: fields.pop(name) for name in ("trouble", "at", "marker") if name in fields}
    spec = study(name="pooled", suggester={"name": suggester, "options": options})
    usual: dict[str, Any] = {
        "study": study_id,
        "suggester": suggester,
        "spec": spec.model_dump_json(exclude={"labels", "metadata"}),
        "seed": 7,
        "known_seq": 0,
        "observations": (),
        "seq": 1,
        "next_number": 1,
        "count": 1,
        "resources": SPECS[suggester].resources,
    }
    return Job(**(usual | fields))
