"""Budgets of studies and projects under concurrency: exceeded by one call at most, whatever calls cost."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from services.ledger import most_tokens
from services.profiles import read_profiles
from services.store.llm import Spending
from tests.integration.llm.support import claimed, project_spending, request, talker, talking, usage
from tests.support.openai_scripts import Answer, Call, Given
from tests.support.openai_server import OpenAiServer
from tests.support.stage import Stage

CALLS, STUDIES, PROFILES = 14, 3, 3


def prices(random_: random.Random) -> dict[str, Any]:
    """Of a profile, with a project's budgets or without."""
    found: dict[str, Any] = {"price_in": random_.choice([0.0, 1e3, 1e6]), "price_out": random_.choice([0.0, 5e3, 3e6])}
    if random_.random() < 0.6:
        found["project_max_tokens"] = random_.randrange(50, 3000)
    if random_.random() < 0.6:
        found["project_max_cost"] = random_.uniform(0, 2000)
    return found | {"concurrency": random_.randrange(2, 20), "timeout_seconds": 60}


def limits(random_: random.Random, profile: str) -> dict[str, Any]:
    """Of a study."""
    found: dict[str, Any] = {"profile": profile, "concurrency": random_.randrange(1, 16)}
    if random_.random() < 0.5:
        found["max_calls"] = random_.randrange(0, CALLS)
    if random_.random() < 0.5:
        found["max_total_tokens"] = random_.randrange(0, 1500)
    if random_.random() < 0.5:
        found["max_cost"] = random_.uniform(0, 1000)
    return found


def spent(stage: Stage, profile: str, calls: list[Call]) -> list[Spending]:
    """What each call came to, as the server counted it."""
    found = []
    for call in calls:
        prompt, completion = len(call.shown.split()), _words(call)
        found.append(Spending(1, prompt + completion, stage.services.profiles[profile].cost(prompt, completion)))
    return found


def _words(call: Call) -> int:
    return 1 + int(call.digest[:4], 16) % 50


def answer(call: Call) -> Given:
    """Of random length, after a random while."""
    return Answer(texts=(" ".join(["word"] * _words(call)),), delay_seconds=int(call.digest[4:6], 16) / 8000)


def check(name: str, limit: float | None, calls: list[float]) -> None:
    """Without the dearest call it stays below the limit."""
    if limit is not None and calls:
        assert sum(calls) - max(calls) < limit, f"{name} of {limit} was exceeded: {sorted(calls)}"
    if limit == 0:
        assert not calls


@pytest.mark.parametrize("seed", range(3))
async def test_budgets_are_exceeded_by_one_call_at_most(empty_database: str, seed: int) -> None:
    random_ = random.Random(seed)
    with OpenAiServer(answer) as server:
        environ: dict[str, str] = {}
        for place in range(PROFILES):
            environ |= server.profile(f"p{place}", **prices(random_))
        async with talking(empty_database, read_profiles(environ)) as stage:
            gateway = stage.gateway()
            studies: list[tuple[str, dict[str, Any], str]] = []

            async def talk(word: str, choice: dict[str, Any]) -> list[str | None]:
                study = await talker(stage, choice)
                studies.append((study, choice, word))
                requests = [
                    request(f"k{i}", f"{word} {i}" + " much" * random_.randrange(20)) for i in range(CALLS)
                ]  # fmt: skip
                replies = await gateway.answer(await claimed(stage, study, word), requests)
                return [reply.failure for reply in replies]

            choices = [(f"s{p}-{s}", limits(random_, f"p{p}")) for p in range(PROFILES) for s in range(STUDIES)]
            failures = await asyncio.gather(*(talk(*choice) for choice in choices))
            await gateway.close()
            assert {failure for found in failures for failure in found} <= {None, "budget"}
            for study, choice, word in studies:
                mine = [call for call in server.calls if f"{word} " in call.shown]
                found = spent(stage, choice["profile"], mine)
                check("max_calls", choice.get("max_calls"), [s.calls for s in found])
                check("max_total_tokens", choice.get("max_total_tokens"), [s.tokens for s in found])
                check("max_cost", choice.get("max_cost"), [s.cost for s in found])
                told = await usage(stage, study)
                assert (told.calls, told.tokens) == (len(mine), sum(s.tokens for s in found))
                assert told.cost == pytest.approx(sum(s.cost for s in found))
            for name, profile in stage.services.profiles.items():
                found = spent(stage, name, [call for call in server.calls if f"s{name[1:]}-" in call.shown])
                check("project_max_tokens", profile.project_max_tokens, [s.tokens for s in found])
                check("project_max_cost", profile.project_max_cost, [s.cost for s in found])
                account = await project_spending(stage, name)
                assert (account.calls, account.tokens) == (len(found), sum(s.tokens for s in found))
            # What is left of a budget is used: nobody is refused while there is more than a call's worth.
            for (_, choice), failed in zip(choices, failures, strict=True):
                if len(choice) == 2 and not _has_project_budget(stage, choice["profile"]):
                    assert failed == [None] * CALLS


def _has_project_budget(stage: Stage, name: str) -> bool:
    profile = stage.services.profiles[name]
    return profile.project_max_tokens is not None or profile.project_max_cost is not None


def test_what_a_call_may_come_to_is_never_less_than_what_it_comes_to() -> None:
    """A token has at least a byte, and every choice may be asked for on its own."""
    (profile,) = read_profiles({"ASKTELL_LLM__P__BASE_URL": "http://x/v1", "ASKTELL_LLM__P__MODEL": "m"}).values()
    assert most_tokens(request(content="äöü", n=3, max_tokens=10), profile) == (3 * (6 + 16), 30)
    assert most_tokens(request(content="x", max_tokens=None), profile) == (17, 4096)
    assert most_tokens(request(content="x", max_tokens=10**6), profile) == (17, 4096)
    assert most_tokens(request(messages=(), texts=("ab", "c")), profile) == (3 + 32, 0)
