"""What suggesters believe reaches the study: receipts, diagnosis, the verdict that nothing is feasible, thinking ahead."""

from __future__ import annotations

from typing import Any

import pytest

from services.caller import Caller
from services.container import Services
from services.domain.errors import NotFound
from services.domain.suggester import Suggestion
from services.domain.trial import AskRequest, NewTrial
from services.suggesting import Claim
from tests.support.builders import ADMIN, outcome, study

PLANE = [{"name": n, "type": "float", "min": 0, "max": 1} for n in "xy"]
NOW = AskRequest(worker="w", wait_seconds=0)
MODEL = {
    "n": 4, "checkpoint": 4, "lengthscales": {"x": 0.5, "y": 2.0}, "importances": {"x": 0.9, "y": 0.1},
    "noise_std": {"loss": 0.3}, "output_transform": "standard", "warped": [], "jitter": 0.0,
}  # fmt: skip


async def made(services: Services, **fields: Any) -> str:
    """A study whose suggestions the test makes itself."""
    spec = study(parameters=PLANE, suggester={"name": "gp"}, **fields)
    return (await services.studies.create(ADMIN, spec)).value.id


async def claim(services: Services, name: str) -> Claim:
    found = await services.suggesting.claim(name, "the test")
    assert found is not None
    return found


def believed(mean: float, std: float) -> dict[str, Any]:
    return {
        "mean": {"loss": mean},
        "std": {"loss": std},
        "acquisition": "improvement",
        "log_acquisition": -1.0,
        "model": MODEL,
    }


async def suggest(services: Services, name: str, **fields: Any) -> int:
    """One trial of a suggestion with a receipt; its number."""
    work = await claim(services, name)
    number = work.next_number
    found = Suggestion(parameters={"x": number / 100, "y": 0.5}, reason="the model says so", **fields)
    assert await services.suggesting.commit(work, [found])
    trials = (await services.asks.ask(ADMIN, name, NOW)).value.trials
    return trials[0].number


async def test_predictions_are_held_against_what_was_told(services: Services) -> None:
    name = await made(services)
    for i in range(12):
        number = await suggest(services, name, receipt=believed(10.0 + i, 0.4))
        await services.tells.tell(ADMIN, name, number, outcome(10.0 + i + (-1) ** i * 0.25))
    found = await services.diagnosing.diagnose(ADMIN, name)
    one = found.calibration[0]
    assert (one.metric, one.count, one.verdict) == ("loss", 12, "underconfident")
    assert one.coverage_50 == 0.0 or one.coverage_50 == 1.0
    assert one.predictions[0].std == pytest.approx(0.5)  # 0.4 of the function and 0.3 of noise
    assert one.predictions[0].z == pytest.approx(0.5)
    assert one.rank_correlation == pytest.approx(1.0)
    assert found.model is not None
    assert found.model.importances == {"x": 0.9, "y": 0.1}
    receipt = await services.trials.receipt(ADMIN, name, 12)
    assert receipt.residual["loss"] == pytest.approx(-0.25)
    assert receipt.z["loss"] == pytest.approx(-0.5)
    assert [n.number for n in receipt.nearest] == [11, 10, 9, 8, 7]
    assert receipt.nearest[0].distance == pytest.approx(0.01 / 2**0.5)
    with pytest.raises(NotFound):
        await services.diagnosing.diagnose(Caller("another", ADMIN.role), name)


async def test_what_limits_progress_is_named(services: Services) -> None:
    name = await made(services, limits={"max_trials": 22})
    kinds = {limit.kind for limit in (await services.diagnosing.diagnose(ADMIN, name)).limits}
    assert kinds == {"nothing_told"}
    for i in range(20):
        new = NewTrial.model_validate(
            {"parameters": {"x": 1.0 if i > 8 else i / 20, "y": i / 20}, "metrics": {"loss": -i}}
        )
        await services.trials.create(ADMIN, name, new)
    found = {limit.kind: limit for limit in (await services.diagnosing.diagnose(ADMIN, name)).limits}
    assert set(found) == {"at_bound", "budget"}
    assert found["at_bound"].evidence["parameter"] == "x"
    other = await made(services, name="flat")
    for i in range(10):
        state = "failed" if i % 2 else "completed"
        new = NewTrial.model_validate(
            {"parameters": {"x": i / 20, "y": 0.5}, "state": state, **({"metrics": {"loss": 3}} if i % 2 == 0 else {})}
        )
        await services.trials.create(ADMIN, other, new)
    assert "mostly_failed" in {limit.kind for limit in (await services.diagnosing.diagnose(ADMIN, other)).limits}


async def test_the_verdict_of_infeasibility_is_kept_told_once_and_withdrawn(services: Services) -> None:
    name = await made(services, constraints=[{"metric": "c", "max": 0}])
    verdict = {"kind": "infeasible_suspected", "trial": 7, "evidence": {"lowest": 0.4}}

    async def tell(number: int, c: float) -> None:
        await services.tells.tell(ADMIN, name, number, outcome(metrics={"loss": 1.0, "c": c}))

    await tell(await suggest(services, name), 1.0)
    assert (await services.studies.get(ADMIN, name)).infeasible_suspected is None
    for _ in range(2):
        await tell(await suggest(services, name, finding=verdict), 1.0)
    found = (await services.studies.get(ADMIN, name)).infeasible_suspected
    assert found is not None
    assert (found.trial, found.evidence) == (7, {"lowest": 0.4})
    kinds = {limit.kind for limit in (await services.diagnosing.diagnose(ADMIN, name)).limits}
    assert "infeasible_suspected" in kinds
    await tell(await suggest(services, name), -1.0)
    assert (await services.studies.get(ADMIN, name)).infeasible_suspected is None
    told = [event.type async for event in _events(services, name)]
    assert told.count("study.infeasible_suspected") == 1
    assert told.count("study.infeasible_withdrawn") == 1


async def _events(services: Services, name: str) -> Any:
    from services.store import events as event_store

    records = await services.transactions.read(lambda c: event_store.after(c, name, 0, 1000))
    for record in records:
        yield record


async def test_after_a_tell_the_next_suggestions_are_wanted_without_an_ask(services: Services) -> None:
    name = await made(services)
    work = await claim(services, name)  # before anyone asked
    first = [Suggestion(parameters={"x": 0.1, "y": 0.1}, reason="ahead")]
    await services.suggesting.commit(work, first)
    assert await services.suggesting.due() == []
    trial = (await services.asks.ask(ADMIN, name, NOW)).value.trials[0]
    await services.tells.tell(ADMIN, name, trial.number, outcome(1.0))
    assert await services.suggesting.due() == [name]


async def test_a_fresh_ask_never_gets_what_has_not_seen_the_latest_outcome(services: Services) -> None:
    name = await made(services)

    async def ready(reason: str) -> None:
        work = await claim(services, name)
        points = [{"x": work.next_number / 100, "y": i / 100} for i in range(work.count)]
        assert await services.suggesting.commit(work, [Suggestion(parameters=p, reason=reason) for p in points])

    async def learn() -> None:
        new = NewTrial.model_validate({"parameters": {"x": 0.7, "y": 0.7}, "metrics": {"loss": 1.0}})
        await services.trials.create(ADMIN, name, new)

    async def ask(fresh: bool) -> str:
        trial = (await services.asks.ask(ADMIN, name, AskRequest(wait_seconds=0, fresh=fresh))).value.trials[0]
        await services.tells.tell(ADMIN, name, trial.number, outcome(1.0))
        return trial.suggested_by.reason

    await ready("old")
    await learn()
    assert await ask(fresh=False) == "old"
    await ready("older")
    await learn()
    assert await ask(fresh=True) != "older"
    await ready("new")
    assert await ask(fresh=True) == "new"


async def test_the_buffer_fits_the_number_of_running_trials(services: Services) -> None:
    name = await made(services)
    for i in range(4):
        await services.trials.create(ADMIN, name, NewTrial.model_validate({"parameters": {"x": i / 10, "y": 0.5}}))
    await services.asks.ask(ADMIN, name, AskRequest(count=4, worker="w", wait_seconds=0))
    for number in (1, 2, 3):
        await services.tells.tell(ADMIN, name, number, outcome(1.0))
    assert (await services.suggesting.due()) == [name]
    assert (await claim(services, name)).count == 3


async def test_a_feasible_trial_refutes_the_verdict_at_once(services: Services) -> None:
    name = await made(services, constraints=[{"metric": "c", "max": 0}])
    verdict = {"kind": "infeasible_suspected", "trial": 3, "evidence": {"lowest": 0.4}}
    await told(services, name, await suggest(services, name), 1.0)
    running = await suggest(services, name, finding=verdict)
    assert (await services.studies.get(ADMIN, name)).infeasible_suspected is not None
    await told(services, name, running, -1.0)
    found = await services.studies.get(ADMIN, name)
    assert (found.infeasible_suspected, found.state) == (None, "active")
    withdrawn = [event async for event in _events(services, name) if event.type == "study.infeasible_withdrawn"]
    assert [event.data["feasible_trial"] for event in withdrawn] == [running]
    await suggest(services, name, finding=verdict)  # computed by a method that does not know of it
    assert (await services.studies.get(ADMIN, name)).infeasible_suspected is None


async def told(services: Services, name: str, number: int, c: float) -> None:
    await services.tells.tell(ADMIN, name, number, outcome(metrics={"loss": 1.0, "c": c}))


async def test_a_suggestion_of_the_safety_net_says_nothing_about_the_verdict(services: Services) -> None:
    name = await made(services, constraints=[{"metric": "c", "max": 0}])
    verdict = {"kind": "infeasible_suspected", "trial": "?", "evidence": None}
    await told(services, name, await suggest(services, name, finding=verdict), 1.0)
    found = (await services.studies.get(ADMIN, name)).infeasible_suspected
    assert found is not None
    assert (found.trial, found.evidence) == (1, {})
    await told(services, name, await suggest(services, name, fallback=True), 1.0)
    assert (await services.studies.get(ADMIN, name)).infeasible_suspected == found
