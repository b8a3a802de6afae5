"""Drift: workers that rebuild the same theta from the same log must have the same numbers, and say so by a fingerprint.

What most workers say of a version holds, the earlier among equals; an outcome under another fingerprint is refused, for it was
measured at a point that the log does not know. The refused worker's word counts, so that a wrong first one is outvoted.
Workers without a name cannot be told apart: each of their trials has a word of its own.
"""

from __future__ import annotations

from collections import Counter

from .domain.errors import Conflict
from .domain.trial import Outcome
from .store import updates as store
from .store.records import TrialRecord
from .store.unit_of_work import StudyWork


def check_fingerprint(work: StudyWork, trial: TrialRecord, outcome: Outcome) -> None:
    """Hold an outcome's fingerprint against what the other workers said.

    Raises:
        Conflict: this worker's parameters are not those that most have at this version.
    """
    parameter = work.spec.seed_vector
    if outcome.fingerprint is None or parameter is None:
        return
    version = int(trial.parameters[parameter.name]["theta_version"])
    said = work.fingerprints.get(version)
    if said is None:
        said = work.fingerprints[version] = store.fingerprints(work.connection, work.id, version)
    worker = trial.worker or f"of trial {trial.number}"
    if said.get(worker, ("",))[0] != outcome.fingerprint:
        said[worker] = (outcome.fingerprint, work.progress.seq)
        store.put_fingerprint(work.connection, work.id, version, worker, outcome.fingerprint, work.progress.seq)
    holds = _holding(said)
    if holds != outcome.fingerprint:
        raise Conflict(
            f"the parameters of worker {worker!r} at version {version} have the fingerprint {outcome.fingerprint}, most others "
            f"have {holds}: rebuild them from the update log and evaluate trial {trial.number} again"
        )


def _holding(said: dict[str, tuple[str, int]]) -> str:
    votes = Counter(fingerprint for fingerprint, _ in said.values())
    first = {f: min(seq for other, seq in said.values() if other == f) for f in votes}
    return min(votes, key=lambda f: (-votes[f], first[f]))
