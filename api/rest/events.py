"""Events over HTTP: server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from services.answers import Event
from services.domain.errors import Invalid
from services.requests import EventsQuery

from .calls import Call, Routes

routes = Routes("events")


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
