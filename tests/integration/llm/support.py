"""What the tests of gateway and ledger share: a stage with profiles, studies that talk, claims on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text

from services.domain.llm import LlmRequest, LlmUsage
from services.domain.trial import AskRequest
from services.profiles import LlmProfile, read_profiles
from services.store.llm import Spending, account
from services.suggesting import Claim
from tests.support.builders import ADMIN, study
from tests.support.openai_server import OpenAiServer
from tests.support.stage import Stage, staged
from tests.support.talkative import SPECS, talkative

NOWHERE = {"ASKTELL_LLM__DEFAULT__BASE_URL": "http://127.0.0.1:9/v1", "ASKTELL_LLM__DEFAULT__MODEL": "none"}


@asynccontextmanager
async def talking(
    address: str, profiles: Mapping[str, LlmProfile] | OpenAiServer | None = None, **fields: Any
) -> AsyncIterator[Stage]:
    """A stage whose studies may talk: to a server (more fields of its profile by name), or to nobody."""
    if isinstance(profiles, OpenAiServer):
        profiles = read_profiles(profiles.profile(**({"timeout_seconds": 20} | fields)))
    found = read_profiles(NOWHERE | {f"ASKTELL_LLM__DEFAULT__{k.upper()}": str(v) for k, v in fields.items()})
    async with staged(address, SPECS, profiles or found) as stage:
        yield stage


async def talker(stage: Stage, llm: dict[str, Any] | None = None, **options: Any) -> str:
    """A study of the talkative suggester with an ask that waits; its id."""
    made = (await stage.services.studies.create(ADMIN, study(**talkative(llm, **options)))).value.id
    await stage.services.asks.ask(ADMIN, made, AskRequest(count=1, worker="w", wait_seconds=0))
    return made


async def claimed(stage: Stage, study_id: str, owner: str = "one") -> Claim:
    """A claim on a study, with its whole history."""
    found = await stage.services.suggesting.claim(study_id, owner)
    assert found is not None
    return found


async def usage(stage: Stage, study_id: str) -> LlmUsage:
    """What a client reads."""
    return (await stage.services.studies.get(ADMIN, study_id)).llm_usage or LlmUsage()


async def project_spending(stage: Stage, profile: str = "default") -> Spending:
    """What the default project has spent on a profile."""
    return await stage.services.transactions.write(lambda connection: account(connection, "default", profile))


def request(key: str = "s-0/0", content: str = "write", **fields: Any) -> LlmRequest:
    """A call."""
    usual: dict[str, Any] = {"role": "writer", "snapshot": 1, "messages": (("user", content),), "max_tokens": 50}
    return LlmRequest(key=key, **(usual | fields))


async def rows(stage: Stage, columns: str = "*") -> list[Any]:
    """The ledger."""
    query = text(f"select {columns} from llm_calls order by created_at, key")
    return await stage.services.transactions.read(lambda connection: list(connection.execute(query)))


async def dump(stage: Stage) -> str:
    """Every row of every table, as text."""
    from services.store.tables import Base

    def read(connection: Any) -> str:
        return "\n".join(
            str(row) for table in Base.metadata.sorted_tables for row in connection.execute(table.select())
        )

    return await stage.services.transactions.read(read)


async def until_recorded(stage: Stage, replies: int) -> None:
    """Until so many calls are done."""
    async with asyncio.timeout(60):
        while [state for (state,) in await rows(stage, "state")].count("done") < replies:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def until_counted(stage: Stage, query: str, count: int) -> None:
    """Until a query finds so many rows."""
    async with asyncio.timeout(60):
        while len(await stage.services.transactions.read(lambda c: list(c.exec_driver_sql(query)))) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def until_idle(stage: Stage) -> None:
    """Until no study wants anything."""
    await until_counted(stage, "select 1 from study_progress where wants", 0)
