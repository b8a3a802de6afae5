"""`:diagnose`: whether the model's predictions hold, what it believes matters, and what limits progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection

from .answers import Diagnosis, Limitation, ModelPicture
from .beliefs import number_in, spread
from .caller import Caller
from .domain.calibration import Calibration, calibrate
from .domain.study import StudySpec
from .domain.trial import TrialState
from .limitations import Facts, limitations
from .store import studies as study_store
from .store import trials as store
from .store.finished import FinishedTrial, latest
from .studies import clean, no_study
from .transactions import Transactions

MOST_TRIALS = 10_000
MODEL_PARTS = frozenset(ModelPicture.model_fields) - {"trial", "suggester"}


class Diagnosing:
    """Reads what trials and their receipts say together. Nothing is computed anew, so it costs no suggester's time."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def diagnose(self, caller: Caller, study: str) -> Diagnosis:
        """A study's health, from its latest 10 000 finished trials.

        Raises:
            NotFound: the caller's project has no such study.
        """

        def run(connection: Connection) -> Diagnosis:
            found = study_store.get(connection, caller.project, clean(study), self._transactions.specs)
            if found is None:
                raise no_study(study)
            record, progress = found
            finished = latest(connection, record.id, MOST_TRIALS)
            running = store.running(connection, record.id) if progress.running else []
            calibration = _calibrations(record.spec, finished)
            facts = Facts(record.spec, progress, finished, running, calibration, self._transactions.now())
            limits = tuple(Limitation(kind=k, message=m, evidence=e) for k, m, e in limitations(facts))
            return Diagnosis(
                study=record.name,
                trials=progress.trials,
                calibration=calibration,
                model=_picture(finished),
                limits=limits,
            )

        return await self._transactions.read(run)


def _calibrations(spec: StudySpec, finished: Sequence[FinishedTrial]) -> tuple[Calibration, ...]:
    found = []
    for metric in spec.required_metrics:
        rows = [row for trial in finished if (row := _prediction(trial, metric)) is not None]
        found.append(calibrate(metric, rows))
    return tuple(found)


def _prediction(trial: FinishedTrial, metric: str) -> tuple[int, float, float, float] | None:
    """(number, mean, std with noise, told value) of a trial proposed with a prediction and completed since."""
    believed = trial.receipt or {}
    mean, std = number_in(believed, "mean", metric), number_in(believed, "std", metric)
    value = trial.metrics.get(metric)
    if trial.state is not TrialState.COMPLETED or mean is None or std is None or value is None:
        return None
    return trial.number, mean, spread(believed, metric, trial.std), value


def _picture(finished: Sequence[FinishedTrial]) -> ModelPicture | None:
    """The newest trial's model, as its suggester described it; parts that are of another type are left out."""
    for trial in reversed(finished):
        model = (trial.receipt or {}).get("model")
        if model and isinstance(model, Mapping):
            known = {name: model[name] for name in MODEL_PARTS if model.get(name) is not None}
            return ModelPicture.model_validate(
                {"trial": trial.number, "suggester": trial.suggester} | {n: v for n, v in known.items() if _fits(n, v)}
            )
    return None


def _fits(name: str, value: Any) -> bool:
    try:
        ModelPicture.model_validate({"trial": 1, "suggester": "", name: value})
    except ValidationError:
        return False
    return True
