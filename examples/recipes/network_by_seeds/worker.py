"""One worker of many: evaluates perturbed networks until the study is over, and prints what it did as JSON.

python examples/recipes/network_by_seeds/worker.py --url URL --study STUDY --data digits.npz --name worker-1
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")  # many workers on one machine: a thread each

import numpy as np
from network import loss, start

import asktell
from asktell.replica import Replica

BATCH, LEASE_SECONDS = 4, 10.0


class Worker:
    """A replica of theta, and the loop around it."""

    def __init__(self, study: asktell.Study, given: argparse.Namespace) -> None:
        self._study, self._given = study, given
        with np.load(given.data) as data:
            self._images, self._labels = data["images"], data["labels"]
        self._replica, self._has_drifted = Replica(start()), False
        self.done = {"name": given.name, "evaluated": 0, "given_up": 0, "refused": 0}

    def work(self) -> None:
        """Until the study hands out no more."""
        while True:
            try:
                trials = self._study.ask(BATCH, lease_seconds=LEASE_SECONDS)
            except asktell.NotActive:
                return
            outcomes = [outcome for trial in trials if (outcome := self._outcome(trial)) is not None]
            time.sleep(self._given.delay)
            answers = self._study.tell_many(outcomes, brief=True) if outcomes else []
            # Another refusal than for the fingerprint: somebody else had told it, for this worker's lease had run out.
            refused = sum("fingerprint" in answer["error"]["detail"] for answer in answers if answer["status"] == 409)
            self.done["evaluated"] += sum(answer["status"] == 200 for answer in answers)
            self.done["refused"] += refused
            if refused:  # this replica has other numbers than most, so it is made anew from theta_0 and the log
                self._replica = Replica(start())

    def _outcome(self, trial: asktell.Trial) -> dict[str, object] | None:
        """What to tell of a trial; None where theta has moved on beyond it."""
        value = trial.parameters["theta"]
        if value["theta_version"] < self._replica.version:
            with contextlib.suppress(asktell.Conflict):  # somebody else has told it meanwhile
                trial.cancel()
            self.done["given_up"] += 1
            return None
        self._replica.follow(self._study, value["theta_version"])
        self._drift()
        measured = loss(self._replica.at(value), self._images, self._labels)
        return {"number": trial.number, "metrics": {"loss": measured}, "fingerprint": self._replica.fingerprint()}

    def _drift(self) -> None:
        """For the demonstration: lose track of theta once, as a worker does that misses an update."""
        if self._given.drift_at is not None and self._replica.version >= self._given.drift_at and not self._has_drifted:
            self._replica.theta["w1"][:] *= 1.01
            self._has_drifted = True


def main() -> None:
    """Work for a study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of the service; else ASKTELL_URL")
    parser.add_argument("--study", required=True)
    parser.add_argument("--data", required=True, help="digits.npz, as run.py writes it")
    parser.add_argument("--name", required=True)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each tell, to be slow")
    parser.add_argument("--drift-at", type=int, help="the version at which to spoil theta")
    given = parser.parse_args()
    with asktell.Client(given.url, worker=given.name) as client:
        worker = Worker(client.study(given.study), given)
        worker.work()
    print(json.dumps(worker.done))


if __name__ == "__main__":
    main()
