"""Studies of evolution strategies by seeds, without a service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from asktell.replica import Replica
from services.domain.suggester import Problem, Publisher, Suggester
from services.domain.updates import Update
from tests.suggesters import law
from tests.support.builders import study
from workers.suggesters.registry import get

Loss = Callable[[dict[str, Any]], float]


def problem(shape: list[int] | None = None, limits: dict[str, Any] | None = None, **options: Any) -> Problem:
    """The problem of theta with `shape` and the options of `es`."""
    spec = study(
        parameters=[{"name": "theta", "type": "vector", "encoding": "seed", "shape": shape or [4]}],
        suggester={"name": "es", "options": options}, limits=limits or {}, seed=5,
    )  # fmt: skip
    get("es").check(spec)
    return Problem(study="st", spec=spec, seed=5)


def fresh(of: Problem, saved: bytes | None = None) -> Suggester:
    """The suggester, from nothing or from a saved state."""
    return law.make(get("es"), of, saved)


def log(suggester: Suggester, since: int = 0) -> list[Update]:
    """Its updates."""
    assert isinstance(suggester, Publisher)
    return list(suggester.updates(since))


def ask(one: law.Study, suggester: Suggester, count: int = 1) -> list[int]:
    """Numbers of trials that it made."""
    return [one.start(s) for s in one.ask(suggester, count)]


def value(one: law.Study, number: int) -> dict[str, Any]:
    """What a trial says of theta."""
    found: dict[str, Any] = one.trials[number].parameters["theta"]
    return found


def run(of: Problem, loss: Loss, trials: int, replica: Replica | None = None) -> tuple[law.Study, list[Update]]:
    """One worker after another, theta kept by a replica."""
    one, suggester, replica = law.Study(of), fresh(of), replica or Replica(np.zeros(4))
    updates: list[Update] = []
    for _ in range(trials):
        (number,) = ask(one, suggester)
        for update in log(suggester, len(updates)):
            replica.apply(update.wire())
            updates.append(update)
        one.tell(number, loss({"theta": replica.at(value(one, number)), **value(one, number)}))
    return one, updates
