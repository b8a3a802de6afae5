"""Events over HTTP: server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from pydantic import Field
from starlette.responses import Response, StreamingResponse

from services.answers import Event
from services.domain.document import Document
from services.domain.errors import Invalid

from .calls import Call, Routes

routes = Routes("events")


class EventsQuery(Document):
    """Where to begin."""

    after: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        default=None,
        description="The last `seq` already seen; the header Last-Event-ID wins. From the first on if absent.",
    )


@routes.add("GET", "/studies/{study}/events", query=EventsQuery, answers={200: None}, media="text/event-stream")
async def stream_events(call: Call) -> Response:
    """Follow what happens in a study as server-sent events; resumes after `Last-Event-ID`."""
    after = call.query(EventsQuery).after
    last = call.request.headers.get("last-event-id")
    if last is not None:
        if not (last.isascii() and last.isdigit() and len(last) < 16):
            raise Invalid("Last-Event-ID is a number of this study's sequence")
        after = int(last)
    events = await call.services.events.open(call.caller, call.study, after)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_lines(events), media_type="text/event-stream", headers=headers)


async def _lines(events: AsyncIterator[Event | None]) -> AsyncIterator[str]:
    yield ": welcome\n\n"
    async for event in events:
        if event is None:
            yield ": still here\n\n"
        else:
            yield f"id: {event.seq}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n"
