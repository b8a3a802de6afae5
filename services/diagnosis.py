"""`:diagnose`: whether the model's predictions hold, what it believes matters, and what limits progress."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from .answers import Diagnosis, Limitation, ModelPicture
from .caller import Caller
from .domain.calibration import Calibration, calibrate
from .domain.study import StudySpec
from .limitations import Facts, limitations
from .store import studies as study_store
from .store import trials as store
from .store.records import TrialRecord
from .studies import clean, no_study
from .transactions import Transactions

MOST_TRIALS = 1000


class Diagnosing:
    """Reads what trials and their receipts say together. Nothing is computed anew, so it costs no suggester's time."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def diagnose(self, caller: Caller, study: str) -> Diagnosis:
        """A study's health, from its latest 1000 finished trials.

        Raises:
            NotFound: the caller's project has no such study.
        """

        def run(connection: Connection) -> Diagnosis:
            found = study_store.get(connection, caller.project, clean(study), self._transactions.specs)
            if found is None:
                raise no_study(study)
            record, progress = found
            finished = store.latest_finished(connection, record.id, MOST_TRIALS)
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


def _calibrations(spec: StudySpec, finished: list[TrialRecord]) -> tuple[Calibration, ...]:
    found = []
    for metric in spec.required_metrics:
        rows = [row for trial in finished if (row := _prediction(trial, metric)) is not None]
        found.append(calibrate(metric, rows))
    return tuple(found)


def _prediction(trial: TrialRecord, metric: str) -> tuple[int, float, float, float] | None:
    """(number, mean, std with noise, told value) of a trial proposed with a prediction and told since."""
    believed = trial.receipt or {}
    mean, std = (believed.get("mean") or {}).get(metric), (believed.get("std") or {}).get(metric)
    value = trial.metrics.get(metric)
    if mean is None or std is None or value is None:
        return None
    return trial.number, mean, spread(believed, metric), value


def spread(believed: dict[str, Any], metric: str) -> float:
    """The predicted deviation of a told value: of the function and of its noise."""
    std = float((believed.get("std") or {}).get(metric) or 0.0)
    noise = float(((believed.get("model") or {}).get("noise_std") or {}).get(metric) or 0.0)
    return float((std**2 + noise**2) ** 0.5)


def _picture(finished: list[TrialRecord]) -> ModelPicture | None:
    """The newest trial's model, as its suggester described it."""
    for trial in sorted(finished, key=lambda t: -t.number):
        model = (trial.receipt or {}).get("model")
        if model:
            known = {name: model[name] for name in ModelPicture.model_fields if name in model}
            return ModelPicture.model_construct(trial=trial.number, suggester=trial.suggester, **known)
    return None
