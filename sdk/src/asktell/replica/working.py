"""A worker of a study whose parameters travel as seeds, with what can go wrong on the way taken care of."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from ..errors import AsktellError, Conflict
from ..study import Study
from ..trial import Trial
from .replica import Replica

PENDING_SECONDS, PAUSE_SECONDS = 30.0, 0.1


Evaluate = Callable[[Any], float]


def work(study: Study, make: Callable[[], Replica], evaluate: Evaluate, trials: int | None = None) -> Replica:
    """Evaluate trials until `trials` are done or the study hands out no more.

    A trial of a generation that is over, which came back from a worker that died, is cancelled. Where an outcome is refused
    because this replica has drifted, it is made anew from theta_0 and the log, and the trial is evaluated once more. A value that
    is not finite tells the trial as infeasible. A trial that somebody else told meanwhile, as after a lost lease, is left.

    Args:
        make: a replica at theta_0, the same at every worker.
        evaluate: the objective of the tensors that `Replica.at` gives.

    Returns:
        The replica, at the newest theta that there is; other workers may still evaluate.

    Raises:
        ValueError: the replica's shape is not the study's.
        Conflict: the outcome was refused again after theta was rebuilt: theta_0 or the noise is not that of most workers. The
            trial was handed back.
        Unavailable: the service stays away.
    """
    replica = make()
    wanted = study.parameters[0].get("shape")
    if replica.shape != wanted:
        raise ValueError(f"the replica has the shape {replica.shape}, the study's parameter {wanted}")
    for trial in study.trials(trials):
        value = next(iter(trial.parameters.values()))
        if value["theta_version"] < replica.version:
            trial.cancel()
            continue
        with trial:
            try:
                _tell(study, trial, replica.follow(study, value["theta_version"]), evaluate)
            except Conflict:
                if not trial.refresh().is_finished:  # else somebody told it first, and nothing is wrong with this theta
                    replica = make().follow(study, value["theta_version"])
                    _tell_or_release(study, trial, replica, evaluate)
    return newest(study, replica)


def newest(study: Study, replica: Replica) -> Replica:
    """Bring a replica to the newest theta, also where its last update is still being made."""
    deadline = time.monotonic() + PENDING_SECONDS
    while True:
        is_pending = study.updates(replica.version, limit=1)["pending"]
        replica.follow(study)
        if not is_pending or time.monotonic() > deadline:
            return replica
        time.sleep(PAUSE_SECONDS)


def _tell_or_release(study: Study, trial: Trial, replica: Replica, evaluate: Evaluate) -> None:
    try:
        _tell(study, trial, replica, evaluate)
    except Conflict:
        with contextlib.suppress(AsktellError):
            trial.release()
        raise


def _tell(study: Study, trial: Trial, replica: Replica, evaluate: Evaluate) -> None:
    value = float(evaluate(replica.at(next(iter(trial.parameters.values())))))
    trial.tell({study.objectives[0]["metric"]: value}, fingerprint=replica.fingerprint())
