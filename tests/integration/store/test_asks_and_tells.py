"""The law of stores: asking and telling keep their promises on SQLite and on Postgres alike."""

from __future__ import annotations

import asyncio

import pytest

from services.container import Services
from services.domain.errors import Conflict, Invalid, NotActive, NotFound
from services.domain.trial import AskRequest, HeartbeatRequest, NewTrial, Report, TellMany, TrialState
from services.idempotency import Idempotency
from services.pages import ListTrials
from tests.support.builders import ADMIN, EVERY_TYPE, EVERY_VALUE, outcome, study

NOW = AskRequest(worker="w", wait_seconds=0)


async def test_a_trial_goes_from_ask_to_tell(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study())).value
    trial = (await services.asks.ask(ADMIN, made.name, NOW)).value.trials[0]
    assert (trial.number, trial.state, trial.worker, trial.attempt) == (1, TrialState.RUNNING, "w", 1)
    assert trial.lease_expires_at is not None
    told = (await services.tells.tell(ADMIN, made.id, 1, outcome(0.25))).value
    assert (told.state, told.metrics, told.feasible) == (TrialState.COMPLETED, {"loss": 0.25}, True)
    read = await services.trials.get(ADMIN, made.name, 1)
    assert read.model_dump_json() == told.model_dump_json()
    assert (await services.studies.get(ADMIN, made.name)).trial_counts.completed == 1


async def test_the_same_outcome_twice_changes_nothing_and_another_is_refused(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study())).value
    await services.asks.ask(ADMIN, made.name, NOW)
    first = (await services.tells.tell(ADMIN, made.name, 1, outcome(0.5))).value
    again = (await services.tells.tell(ADMIN, made.name, 1, outcome(0.5))).value
    assert again == first
    with pytest.raises(Conflict):
        await services.tells.tell(ADMIN, made.name, 1, outcome(0.6))
    assert (await services.trials.get(ADMIN, made.name, 1)).metrics == {"loss": 0.5}


async def test_many_askers_get_different_trials_and_never_too_many(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study(limits={"max_trials": 50, "max_running": 20}))).value

    async def work() -> list[int]:
        numbers = []
        while True:
            try:
                trials = (await services.asks.ask(ADMIN, made.name, NOW)).value.trials
            except NotActive as error:
                if "max_running" in error.detail:
                    continue
                return numbers
            for trial in trials:
                numbers.append(trial.number)
                await services.tells.tell(ADMIN, made.name, trial.number, outcome(trial.parameters["x"]))

    found = await asyncio.gather(*(work() for _ in range(12)))
    assert sorted(number for numbers in found for number in numbers) == list(range(1, 51))
    after = await services.studies.get(ADMIN, made.name)
    assert after.trial_counts.completed == 50
    assert (after.state, after.state_reason) == ("completed", "limits.max_trials of 50 is reached")


async def test_two_servers_on_one_database_share_numbers_without_gaps(services: Services, database: str) -> None:
    from services.store.engine import Database
    from services.wakeups import LocalWakeups
    from workers.suggesters.registry import specs

    other = Services(Database(database), LocalWakeups(), specs())
    made = (await services.studies.create(ADMIN, study(limits={"max_trials": 40}))).value

    async def work(server: Services) -> list[int]:
        numbers = []
        for _ in range(10):
            trial = (await server.asks.ask(ADMIN, made.name, NOW)).value.trials[0]
            numbers.append(trial.number)
            await server.tells.tell(ADMIN, made.name, trial.number, outcome())
        return numbers

    found = await asyncio.gather(*(work(s) for s in (services, other, services, other)))
    assert sorted(n for numbers in found for n in numbers) == list(range(1, 41))
    await other.close()


async def test_a_lost_lease_returns_the_trial_and_a_late_tell_counts(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study(limits={"max_attempts": 2}))).value
    ask = AskRequest(worker="slow", wait_seconds=0, lease_seconds=1)
    first = (await services.asks.ask(ADMIN, made.name, ask)).value.trials[0]
    await asyncio.sleep(1.1)
    again = (await services.asks.ask(ADMIN, made.name, ask.model_copy(update={"worker": "other"}))).value.trials[0]
    assert (again.number, again.attempt, again.worker) == (first.number, 2, "other")
    assert again.parameters == first.parameters
    await asyncio.sleep(1.1)
    await services.sweeper.sweep()
    lost = await services.trials.get(ADMIN, made.name, first.number)
    assert lost.state is TrialState.FAILED
    late = (await services.tells.tell(ADMIN, made.name, first.number, outcome(0.1))).value
    assert late.state is TrialState.COMPLETED
    assert (await services.studies.get(ADMIN, made.name)).trial_counts.failed == 0


async def test_a_heartbeat_keeps_the_lease(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study())).value
    await services.asks.ask(ADMIN, made.name, AskRequest(wait_seconds=0, lease_seconds=2))
    for _ in range(12):
        await asyncio.sleep(0.2)
        await services.leases.heartbeat(ADMIN, made.name, 1, HeartbeatRequest())
    await services.sweeper.sweep()
    assert (await services.trials.get(ADMIN, made.name, 1)).state is TrialState.RUNNING
    await services.tells.tell(ADMIN, made.name, 1, outcome())
    with pytest.raises(Conflict):
        await services.leases.heartbeat(ADMIN, made.name, 1, HeartbeatRequest())


async def test_release_hands_the_same_point_to_another_worker(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study())).value
    first = (await services.asks.ask(ADMIN, made.name, NOW)).value.trials[0]
    assert (await services.leases.release(ADMIN, made.name, 1)).value.state is TrialState.WAITING
    again = (await services.asks.ask(ADMIN, made.name, NOW)).value.trials[0]
    assert (again.number, again.parameters) == (1, first.parameters)
    assert (await services.leases.cancel(ADMIN, made.name, 1)).value.state is TrialState.CANCELLED
    with pytest.raises(Conflict):
        await services.tells.tell(ADMIN, made.name, 1, outcome())


async def test_resume_gives_a_worker_what_it_already_holds(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study())).value
    first = (await services.asks.ask(ADMIN, made.name, NOW)).value.trials[0]
    again = (await services.asks.ask(ADMIN, made.name, NOW.model_copy(update={"resume": True}))).value.trials[0]
    assert (again.number, again.attempt) == (first.number, 1)


async def test_an_idempotency_key_replays_the_first_answer_also_in_a_race(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study())).value
    key = Idempotency.of("k1", "POST", "/ask", b"{}")
    replies = await asyncio.gather(*(services.asks.ask(ADMIN, made.name, NOW, key) for _ in range(8)))
    assert {r.value.trials[0].number for r in replies} == {1}
    assert sorted(r.replayed for r in replies) == [False] + [True] * 7
    with pytest.raises(Conflict):
        await services.asks.ask(ADMIN, made.name, NOW, Idempotency.of("k1", "POST", "/ask", b'{"count": 2}'))
    assert (await services.studies.get(ADMIN, made.name)).trial_counts.running == 1


async def test_one_key_for_two_creations_in_a_race_makes_one_study(services: Services) -> None:
    for attempt in range(20):
        spec = study()
        key = Idempotency.of(f"race-{attempt}", "POST", "/v1/studies", b"{}")
        replies = await asyncio.gather(*(services.studies.create(ADMIN, spec, key) for _ in range(6)))
        assert len({r.value.id for r in replies}) == 1
    with pytest.raises(Conflict):
        await services.studies.create(ADMIN, spec)


async def test_every_parameter_type_is_stored_as_it_came(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study(parameters=EVERY_TYPE))).value
    sent = (await services.trials.create(ADMIN, made.name, NewTrial(parameters=EVERY_VALUE))).value
    read = await services.trials.get(ADMIN, made.name, sent.number)
    assert read.parameters == EVERY_VALUE
    assert isinstance(read.parameters["weights"][2], float)


async def test_enqueued_trials_come_first_and_imports_teach(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study())).value
    await services.trials.create(ADMIN, made.name, NewTrial(parameters={"x": 0.125}))
    imported = (
        await services.trials.create(ADMIN, made.name, NewTrial(parameters={"x": 1}, metrics={"loss": 3}))
    ).value
    assert imported.state is TrialState.COMPLETED
    asked = (await services.asks.ask(ADMIN, made.name, NOW)).value.trials[0]
    assert (asked.parameters, asked.suggested_by.suggester) == ({"x": 0.125}, "user")


async def test_many_trials_at_once_are_all_or_none(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study())).value
    bad = [NewTrial(parameters={"x": 0.5}), NewTrial(parameters={"x": 7})]
    with pytest.raises(Invalid) as error:
        await services.trials.create_many(ADMIN, made.name, bad)
    assert error.value.errors[0].pointer == "/trials/1/parameters/x"
    assert (await services.trials.list(ADMIN, made.name, ListTrials())).trials == ()
    good = [NewTrial(parameters={"x": i / 10}) for i in range(5)]
    assert len((await services.trials.create_many(ADMIN, made.name, good)).value.trials) == 5


async def test_each_outcome_of_a_batch_is_judged_on_its_own(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study())).value
    await services.asks.ask(ADMIN, made.name, AskRequest(count=3, wait_seconds=0))
    batch = [
        {"number": 1, "metrics": {"loss": 1.0}},
        {"number": 9, "metrics": {"loss": 1.0}},
        {"number": 2, "metrics": {}},
        {"number": 3, "state": "infeasible"},
        {"number": 3, "metrics": {"loss": 2.0}},
        {"number": 1, "bogus": 1},
    ]
    answer = (await services.tells.tell_many(ADMIN, made.name, TellMany(outcomes=tuple(batch)))).value
    assert [r.status for r in answer.results] == [200, 404, 422, 200, 409, 422]
    counts = (await services.studies.get(ADMIN, made.name)).trial_counts
    assert (counts.completed, counts.infeasible, counts.running) == (1, 1, 1)


async def test_the_sequence_has_no_gaps_and_tells_the_whole_story(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study())).value
    await asyncio.gather(*(services.asks.ask(ADMIN, made.name, NOW) for _ in range(5)))
    for number in range(1, 6):
        await services.tells.tell(ADMIN, made.name, number, outcome())
    last = (await services.studies.get(ADMIN, made.name)).seq
    seen = []
    async for event in await services.events.open(ADMIN, made.name):
        assert event is not None
        seen.append(event)
        if event.seq == last:
            break
    assert [event.seq for event in seen] == list(range(1, last + 1))
    kinds = [event.type for event in seen]
    assert (kinds.count("trial.created"), kinds.count("trial.started"), kinds.count("trial.completed")) == (5, 5, 5)


async def test_pages_cover_every_trial_once(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study())).value
    await services.asks.ask(ADMIN, made.name, AskRequest(count=25, wait_seconds=0))
    for order in ("number", "-number", "-created_at"):
        seen, token = [], ""
        while True:
            page = await services.trials.list(
                ADMIN, made.name, ListTrials(page_size=7, page_token=token, order_by=order, state=TrialState.RUNNING)
            )
            seen += [t.number for t in page.trials]
            token = page.next_page_token
            if not token:
                break
        assert seen == sorted(range(1, 26), reverse=order.startswith("-"))
    with pytest.raises(Invalid):
        await services.trials.list(ADMIN, made.name, ListTrials(page_token="bogus"))


async def test_a_finite_space_repeats_nothing_and_completes(services: Services) -> None:
    made = (
        await services.studies.create(ADMIN, study(parameters=[{"name": "n", "type": "int", "min": 1, "max": 6}]))
    ).value
    seen = set()
    for _ in range(6):
        trial = (await services.asks.ask(ADMIN, made.name, NOW)).value.trials[0]
        seen.add(trial.parameters["n"])
        await services.tells.tell(ADMIN, made.name, trial.number, outcome(trial.parameters["n"]))
    assert seen == set(range(1, 7))
    after = await services.studies.get(ADMIN, made.name)
    assert (after.state, after.state_reason) == ("completed", "every point of the space is told")
    with pytest.raises(NotActive):
        await services.asks.ask(ADMIN, made.name, NOW)


async def test_the_best_is_feasible_and_the_pareto_set_is_not_dominated(services: Services) -> None:
    spec = study(
        objectives=[{"metric": "a"}, {"metric": "b", "goal": "maximize"}], constraints=[{"metric": "c", "max": 1}]
    )
    made = (await services.studies.create(ADMIN, spec)).value
    values = [(1, 1, 0), (2, 2, 0), (2, 1, 0), (0, 9, 5)]
    for a, b, c in values:
        new = NewTrial(parameters={"x": 0.5}, metrics={"a": a, "b": b, "c": c})
        await services.trials.create(ADMIN, made.name, new)
    best = await services.trials.best(ADMIN, made.name)
    assert best.feasible
    assert [t.number for t in best.trials] == [1, 2]


async def test_while_nothing_is_feasible_the_least_violating_trial_is_shown(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study(constraints=[{"metric": "c", "max": 1}]))).value
    assert (await services.trials.best(ADMIN, made.name)).trials == ()
    for c in (9.0, 2.0, 5.0):
        await services.trials.create(ADMIN, made.name, NewTrial(parameters={"x": 0.5}, metrics={"loss": 0, "c": c}))
    best = await services.trials.best(ADMIN, made.name)
    assert (best.feasible, [t.number for t in best.trials]) == (False, [2])


async def test_a_report_extends_the_lease_and_a_bad_one_is_told_to_stop(services: Services) -> None:
    rule = {"rule": "threshold", "max": 10}
    made = (await services.studies.create(ADMIN, study(early_stopping=rule))).value
    await services.asks.ask(ADMIN, made.name, AskRequest(wait_seconds=0, lease_seconds=30))
    before = (await services.trials.get(ADMIN, made.name, 1)).lease_expires_at
    good = (await services.tells.report(ADMIN, made.name, 1, Report(step=0, metrics={"loss": 1.0}))).value
    assert not good.should_stop
    assert good.lease_expires_at > before
    bad = (await services.tells.report(ADMIN, made.name, 1, Report(step=1, metrics={"loss": 11.0}))).value
    assert bad.should_stop
    assert (await services.leases.heartbeat(ADMIN, made.name, 1, HeartbeatRequest())).value.should_stop
    same = (await services.tells.report(ADMIN, made.name, 1, Report(step=1, metrics={"loss": 11.0}))).value
    assert same.should_stop
    with pytest.raises(Conflict):
        await services.tells.report(ADMIN, made.name, 1, Report(step=1, metrics={"loss": 12.0}))
    told = (await services.tells.tell(ADMIN, made.name, 1, outcome(state="pruned", metrics={}))).value
    assert told.metrics == {"loss": 11.0}
    assert [m.step for m in told.measurements] == [0, 1]


async def test_trials_of_a_study_with_examples_say_what_to_score_on(services: Services) -> None:
    sets = {"train": ["t1", "t2"], "validation": ["v1", "v2"]}
    made = (await services.studies.create(ADMIN, study(examples=sets, limits={"max_example_evaluations": 4}))).value
    trial = (await services.asks.ask(ADMIN, made.name, NOW)).value.trials[0]
    assert trial.evaluate_on is not None
    assert (trial.evaluate_on.split, trial.evaluate_on.ids) == ("validation", ("v1", "v2"))
    results = [{"id": "v1", "score": 1.0}, {"id": "t1", "score": 0.0}]
    with pytest.raises(Invalid) as error:
        await services.tells.tell(ADMIN, made.name, 1, outcome(examples=results))
    assert {e.pointer for e in error.value.errors} == {"/examples/1/id", "/examples"}
    results = [{"id": "v1", "score": 1.0}, {"id": "v2", "score": 0.0, "output": "no", "expected": "yes"}]
    told = (await services.tells.tell(ADMIN, made.name, 1, outcome(examples=results))).value
    assert told.examples is not None
    assert told.examples[1].expected == "yes"
    await services.asks.ask(ADMIN, made.name, NOW)
    with pytest.raises(NotActive):
        await services.asks.ask(ADMIN, made.name, NOW)


async def test_a_deleted_study_is_gone_with_everything(services: Services) -> None:
    made = (await services.studies.create(ADMIN, study())).value
    await services.asks.ask(ADMIN, made.name, NOW)
    await services.studies.delete(ADMIN, made.name)
    with pytest.raises(NotFound):
        await services.asks.ask(ADMIN, made.name, NOW)
    with pytest.raises(NotFound):
        await services.studies.get(ADMIN, made.id)
    again = (await services.studies.create(ADMIN, study(name=made.name))).value
    assert (await services.asks.ask(ADMIN, made.name, NOW)).value.trials[0].number == 1
    assert again.id != made.id


async def test_the_declared_defaults_are_tried_first(services: Services) -> None:
    parameters = [{"name": "x", "type": "float", "min": 0, "max": 1, "default": 0.3}, {"name": "b", "type": "bool"}]
    made = (await services.studies.create(ADMIN, study(parameters=parameters))).value
    trial = (await services.asks.ask(ADMIN, made.name, NOW)).value.trials[0]
    assert (trial.number, trial.parameters) == (1, {"x": 0.3, "b": False})


async def test_a_clock_that_jumps_back_keeps_the_order_of_times(database: str) -> None:
    from datetime import timedelta

    from services.store.engine import Database
    from services.store.unit_of_work import utc_now
    from services.wakeups import LocalWakeups
    from workers.suggesters.registry import specs

    offset = timedelta()
    services = Services(Database(database), LocalWakeups(), specs(), clock=lambda: utc_now() + offset)
    made = (await services.studies.create(ADMIN, study())).value
    await services.asks.ask(ADMIN, made.name, AskRequest(wait_seconds=0, lease_seconds=60))
    offset = timedelta(hours=-3)
    told = (await services.tells.tell(ADMIN, made.name, 1, outcome())).value
    assert told.started_at is not None
    assert told.finished_at is not None
    assert told.finished_at >= told.started_at
    offset = timedelta(hours=3)
    await services.asks.ask(ADMIN, made.name, AskRequest(wait_seconds=0, lease_seconds=60))
    assert (await services.studies.get(ADMIN, made.name)).trial_counts.running == 1
    await services.close()
