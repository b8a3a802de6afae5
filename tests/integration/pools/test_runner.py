"""The runner: what it keeps, what it asks for, and what it lets nobody see."""

from __future__ import annotations

import pytest

from tests.support.jobs import job, told
from tests.support.troublesome import get
from workers.pools.pool import Job, NeedsHistory, Result, SuggesterRaised
from workers.pools.runner import Runner


def answered(runner: Runner, wanted: Job) -> Result:
    """The result of a job that must succeed."""
    answer = runner.run(wanted)
    assert isinstance(answer, Result)
    return answer


def xs(result: Result) -> list[float]:
    """The proposed values."""
    return [s.parameters["x"] for s in result.suggestions]


HISTORY = tuple(told(n, n / 7, n + 1) for n in range(1, 5))


def test_changes_after_a_known_seq_are_as_good_as_the_whole_history() -> None:
    warm, cold = Runner(get), Runner(get)
    answered(warm, job(observations=HISTORY[:2], seq=3, next_number=3))
    late = answered(warm, job(known_seq=3, observations=HISTORY[2:], seq=5, next_number=5, count=3))
    assert xs(late) == xs(answered(cold, job(observations=HISTORY, seq=5, next_number=5, count=3)))


def test_saved_state_continues_elsewhere_with_the_same_points() -> None:
    first = answered(Runner(get), job(observations=HISTORY[:3], seq=4, next_number=4))
    later = job(observations=HISTORY, seq=5, next_number=5, blob=first.blob, count=2)
    plain = job(observations=HISTORY, seq=5, next_number=5, count=2)
    assert xs(answered(Runner(get), later)) == xs(answered(Runner(get), plain))


def test_what_it_does_not_know_it_asks_for() -> None:
    runner = Runner(get)
    assert runner.run(job(known_seq=3, seq=4)) == NeedsHistory()
    answered(runner, job(seq=4))
    assert isinstance(runner.run(job(known_seq=4, seq=5)), Result)
    assert runner.run(job(known_seq=9, seq=10)) == NeedsHistory()


def test_a_forgotten_study_and_the_longest_unused_ones_must_be_told_again() -> None:
    runner = Runner(get, warm_studies=2)
    for study in ("a", "b", "c"):
        answered(runner, job(study))
    assert runner.run(job("a", known_seq=1)) == NeedsHistory()
    assert isinstance(runner.run(job("b", known_seq=1)), Result)
    runner.forget("b")
    assert runner.run(job("b", known_seq=1)) == NeedsHistory()
    runner.shrink()
    assert runner.run(job("c", known_seq=1)) == NeedsHistory()


def test_other_options_make_another_suggester_that_keeps_the_history_and_refuses_the_old_state() -> None:
    runner = Runner(get)
    old = answered(runner, job(observations=HISTORY, seq=5, next_number=5))
    changed = answered(runner, job(at=99, known_seq=5, seq=6, next_number=5))
    assert xs(changed) == xs(old)
    elsewhere = answered(Runner(get), job(at=99, blob=old.blob, seq=6, next_number=5))
    assert elsewhere.suggestions[0].reason == "sum 0"


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("raise", "RuntimeError: this suggester is broken"),
        ("outside", "outside the space (/parameters/x)"),
        ("too_many", "answered 2 suggestions where 1 were asked for"),
        ("not_json", "TypeError"),
    ],
)
def test_what_breaks_the_law_ends_as_an_error_and_is_not_kept(trouble: str, said: str) -> None:
    runner = Runner(get)
    with pytest.raises(SuggesterRaised) as error:
        runner.run(job(trouble=trouble))
    assert said in str(error.value)
    assert runner.run(job(trouble=trouble, known_seq=1)) == NeedsHistory()


def test_state_that_is_not_ours_is_an_error_of_that_study_only() -> None:
    runner = Runner(get)
    with pytest.raises(SuggesterRaised):
        runner.run(job("broken", blob=b"\x80\x04whatever"))
    answered(runner, job("well"))
