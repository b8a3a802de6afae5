"""(1+1) evolution strategies under the one-fifth success rule, told in any order: where each chain stands and how far it steps.

Rechenberg 1973, "Evolutionsstrategie"; the rule told after each outcome: Kern et al. 2004, "Learning probability distributions in
continuous evolutionary algorithms". A trial's origin says of which chain it is and from which trial it was made (`parent`).

Any number of children of one parent may be out: each competes with where its chain stands when its outcome comes, but only those of
the trial that still stands there say something about the step size, so that the share of successes is that of one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from services.domain.history import History, Observation

from .generations import EVALUATED, Key, standings

METHOD = "one-plus-one"
SUCCESS = 1.5
FAILURE = SUCCESS**-0.25
LARGEST = 1.0
LEAST_PATIENCE = 300
PATIENCE = 10


@dataclass
class Chain:
    """One search.

    Attributes:
        sigma: its step size, as a share of each range.
        parent: number of the trial at which it stands; None while nothing of this round was evaluated.
        round: how often it began anew.
        idle: outcomes since it last found something better.
    """

    sigma: float
    parent: int | None = None
    round: int = 0
    idle: int = 0


def is_own(trial: Observation) -> bool:
    """Whether a chain proposed a trial."""
    return trial.origin.get("method") == METHOD


class Chains:
    """The chains of a study.

    Args:
        count: of chains.
        sigma: first step size.
        size: coordinates; a chain begins anew after 300 + 10 * size outcomes without anything better.
        saved: what `document` gave; None to read the history from its beginning.
    """

    def __init__(self, count: int, sigma: float, size: int, saved: dict[str, Any] | None = None) -> None:
        self._sigma, self._patience = sigma, LEAST_PATIENCE + PATIENCE * size
        self._since = 0 if saved is None else saved["since"]
        self.all = [Chain(sigma) for _ in range(count)] if saved is None else [Chain(**c) for c in saved["chains"]]

    def document(self) -> dict[str, Any]:
        """The state as JSON."""
        return {"since": self._since, "chains": [asdict(chain) for chain in self.all]}

    def read(self, history: History) -> None:
        """Take in the outcomes that came since the last call."""
        for trial in history.finished_after(self._since):
            self._since = trial.told_seq
            if trial.state not in EVALUATED:
                continue
            place = trial.origin["chain"] if is_own(trial) else len(self.all)
            chain = self.all[place] if place < len(self.all) else None  # there were more until the option was changed
            if chain is None or trial.origin["round"] != chain.round:
                self._take_foreign(history, trial)
            elif chain.parent is None:
                if _keys(history, [trial])[0][0] < 2:
                    chain.parent = trial.number
            else:
                self._compete(history, trial, chain, chain.parent)

    def _compete(self, history: History, trial: Observation, chain: Chain, parent: int) -> None:
        old, new = _keys(history, [_trial(history, parent), trial])
        if "again" in trial.origin:
            if trial.origin["again"] == parent and new[0] < 2:
                chain.parent = trial.number  # what is newer counts, so that no lucky value stays
            return
        if new <= old:
            chain.parent = trial.number
        if trial.origin["parent"] == parent and trial.origin["tells"]:
            chain.sigma = min(chain.sigma * (SUCCESS if new <= old else FAILURE), max(LARGEST, self._sigma))
        chain.idle = 0 if new < old else chain.idle + 1
        if chain.idle > self._patience:
            self.all[trial.origin["chain"]] = Chain(self._sigma, round=chain.round + 1)

    def _take_foreign(self, history: History, trial: Observation) -> None:
        """A point of the user's own, or of a round that is over: where it is better than all chains, the worst one goes there."""
        lost = next((chain for chain in self.all if chain.parent is None), None)
        standing = [chain for chain in self.all if chain.parent is not None]
        known = [_trial(history, chain.parent) for chain in standing]
        *keys, new = _keys(history, [*known, trial])
        if new[0] == 2 or any(key <= new for key in keys):
            return
        chain = lost or standing[max(range(len(keys)), key=lambda i: keys[i])]
        chain.parent, chain.idle = trial.number, 0


def _trial(history: History, number: int | None) -> Observation:
    found = None if number is None else history.get(number)
    assert found is not None
    return found


def _keys(history: History, trials: Sequence[Observation]) -> list[Key]:
    return standings(history, trials)
