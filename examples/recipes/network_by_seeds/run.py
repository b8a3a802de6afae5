"""Train a network from fitness alone with sixteen workers that exchange seeds and losses, no weights: EGGROLL over HTTP.

One worker is killed while it holds trials, one is slow, one loses track of theta, and one comes late and rebuilds theta from the
update log. Evolution Strategies at the Hyperscale, 2025.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import asktell
from asktell.replica import Replica

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from network import accuracy, start
from service import Found, command, new_study

FOLDER = Path(__file__).parent
OPTIONS = {"pairs": 32, "rank": 1, "sigma": 0.1, "lr": 0.1, "noise": "popcount"}
WORKERS, TRAINED_ON, SECONDS = 16, 600, 60


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1797 images of 8 × 8 pixels, shuffled, and their labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return (images[order] / 16 - 0.3).astype(np.float32), labels[order]


class Crew:
    """Worker processes."""

    def __init__(self, client: asktell.Client, study: asktell.Study, data: Path) -> None:
        base = [sys.executable, str(FOLDER / "worker.py"), "--url", client.base_url, "--study", study.id]
        self._command = [*base, "--data", str(data)]
        self._running: list[subprocess.Popen[str]] = []

    def start(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """One more worker."""
        worker = subprocess.Popen([*self._command, "--name", name, *arguments], stdout=subprocess.PIPE, text=True)
        self._running.append(worker)
        return worker

    def results(self) -> list[dict[str, Any]]:
        """What each worker that was not killed did; waits for all to end."""
        outputs = [(worker, worker.communicate(timeout=60)[0]) for worker in self._running]
        failed = [worker.returncode for worker, _ in outputs if worker.returncode not in (0, -9)]
        if failed:
            raise RuntimeError(f"{len(failed)} workers ended with {failed}")
        return [json.loads(output) for worker, output in outputs if worker.returncode == 0]

    def stop(self) -> None:
        """End those that still run."""
        for worker in self._running:
            if worker.poll() is None:
                worker.kill()
                worker.wait()


@contextlib.contextmanager
def crew(client: asktell.Client, study: asktell.Study, images: np.ndarray, labels: np.ndarray) -> Iterator[Crew]:
    """Workers that can read these images, all of them ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="asktell-digits-") as folder:
        np.savez(data := Path(folder) / "digits.npz", images=images, labels=labels)
        found = Crew(client, study, data)
        try:
            yield found
        finally:
            found.stop()


def wait_for_version(study: asktell.Study, version: int) -> None:
    """Until theta has moved on so far.

    Raises:
        TimeoutError: it stands still.
    """
    latest, moved = 0, time.monotonic()
    while latest < version:
        before, latest = latest, int(study.updates(version, limit=1)["latest"])
        moved = time.monotonic() if latest > before else moved
        if time.monotonic() - moved > SECONDS:
            raise TimeoutError(f"theta has stood still at version {latest} for {SECONDS} s")
        time.sleep(0.1)


def wait_for_outcome(study: asktell.Study, worker: str) -> None:
    """Until this worker has told one: on a busy machine the others may be done before its process has started.

    Raises:
        TimeoutError: it tells none.
    """
    end = time.monotonic() + SECONDS
    while not any(study.list_trials(state="completed", worker=worker, page_size=1)):
        if time.monotonic() > end:
            raise TimeoutError(f"worker {worker} told nothing within {SECONDS} s")
        time.sleep(0.1)


def train(study: asktell.Study, workers: Crew, generations: int, seconds: float) -> list[dict[str, Any]]:
    """The whole story; what each worker did.

    Args:
        seconds: that a worker takes for four evaluations, beside the millisecond that this network needs.
    """
    for number in range(WORKERS - 3):
        workers.start(f"worker-{number}", "--delay", str(seconds))
    workers.start("slow", "--delay", "1.5")
    workers.start("drifting", "--drift-at", "4", "--delay", str(seconds))
    doomed = workers.start("doomed", "--delay", "3600")  # it holds trials when it is killed
    wait_for_version(study, 3)
    doomed.kill()
    wait_for_version(study, generations // 2)
    workers.start("late")
    wait_for_version(study, generations)
    wait_for_outcome(study, "late")
    study.complete()
    return workers.results()


def run(client: asktell.Client, quick: bool, seed: int) -> Found:
    """Train, then rebuild theta from the log alone and judge it on images that no worker saw."""
    generations, seconds = (12, 0.5) if quick else (100, 0.0)
    images, labels = digits()
    replica = Replica(start())
    study = new_study(
        client,
        "network",
        {"theta": asktell.SeedVector(shape=replica.shape)},
        minimize="loss",
        suggester={"name": "es", "options": OPTIONS},
        seed=seed,
    )
    unseen = images[TRAINED_ON:], labels[TRAINED_ON:]
    found = {"start": accuracy(replica.theta, *unseen)}
    with crew(client, study, images[:TRAINED_ON], labels[:TRAINED_ON]) as workers:
        results = train(study, workers, generations, seconds)
    replica.follow(study)
    found |= {"trained": accuracy(replica.theta, *unseen), "version": replica.version}
    for result in results:
        found |= {f"{result['name']} {what}": result[what] for what in ("evaluated", "given_up", "refused")}
        print("{name:>10}: {evaluated} evaluated, {given_up} given up as too old, {refused} refused".format(**result))
    print(
        f"accuracy on {len(unseen[1])} unseen images: {found['start']:.3f} at the start, {found['trained']:.3f} after "
        f"{replica.version} generations and {study.refresh().trial_counts['completed']} evaluations"
    )
    return found


if __name__ == "__main__":
    command(run, __doc__)
