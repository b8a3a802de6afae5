"""The history of a study, as it grows."""

from __future__ import annotations

import random

from services.domain.history import History, Observation
from services.domain.trial import TrialState
from tests.support.builders import study


def test_counts_and_orders_hold_however_trials_change() -> None:
    rng, history = random.Random(4), History(study())
    known: dict[int, Observation] = {}
    for seq in range(1, 400):
        number = rng.randint(1, 60)
        state = rng.choice(list(TrialState))
        known[number] = Observation(
            number=number, told_seq=seq, state=state, parameters={"x": number / 60}, metrics={"loss": 1.0},
            origin={"generation": number % 3}, suggester="random", feasible=True,
        )  # fmt: skip
        history.update([known[number]], seq=seq, next_number=61)
        assert history.completed_count == len(history.completed)
    assert [t.number for t in history.trials] == sorted(known)
    assert history.finished == sorted((t for t in known.values() if not t.is_pending), key=lambda t: t.told_seq)
    assert history.generation(1) == [known[n] for n in sorted(known) if n % 3 == 1]
    assert history.finished_after(200) == [t for t in history.finished if t.told_seq > 200]
