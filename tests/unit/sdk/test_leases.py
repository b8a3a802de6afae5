"""Who is due for a sign of life."""

from __future__ import annotations

import gc
import threading

import pytest

from asktell.errors import Conflict, Unavailable
from asktell.leases import Leases, LeaseThread


class Held:
    should_stop = False
    is_lost = False
    number = 7


def test_a_trial_is_due_after_a_third_of_its_lease_not_before() -> None:
    leases, soon, late = Leases[Held](), Held(), Held()
    leases.add(soon, 0.0)
    leases.add(late, 3000.0)
    assert leases.due() == [soon]
    leases.drop(soon)
    assert 900 < (leases.wait_seconds() or 0) <= 1000


def test_a_trial_that_nobody_holds_any_more_is_let_go() -> None:
    leases, trial = Leases[Held](), Held()
    leases.add(trial, 0.0)
    del trial
    gc.collect()
    assert leases.due() == []
    assert leases.wait_seconds() is None


def test_a_trial_that_was_taken_away_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    leases, trial = Leases[Held](), Held()
    leases.add(trial, 10.0)
    leases.told(trial, None, Conflict("it is cancelled"))
    assert trial.is_lost
    assert leases.held() == []
    assert "trial 7 was taken away (it is cancelled)" in caplog.text


def test_a_trial_told_before_its_sign_of_life_was_answered_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    leases, trial = Leases[Held](), Held()
    leases.add(trial, 10.0)
    leases.drop(trial)
    leases.told(trial, None, Conflict("it is completed"))
    assert not trial.is_lost
    assert caplog.text == ""


def test_a_failed_sign_of_life_is_repeated_soon() -> None:
    leases, trial = Leases[Held](), Held()
    leases.add(trial, 3000.0)
    leases.told(trial, None, Unavailable())
    assert (leases.wait_seconds() or 0) <= 250
    assert not trial.is_lost


def test_the_thread_says_stop_and_ends_when_nothing_is_held() -> None:
    beaten = threading.Event()

    def beat(trial: Held) -> dict[str, bool]:
        beaten.set()
        return {"should_stop": True}

    before = set(threading.enumerate())
    thread, trial = LeaseThread[Held](beat), Held()
    thread.add(trial, 0.03)
    assert beaten.wait(30)
    running = set(threading.enumerate()) - before
    thread.drop(trial)
    for found in running:
        found.join(30)
    assert trial.should_stop
    assert len(running) == 1
    assert not any(found.is_alive() for found in running)
    thread.close()
