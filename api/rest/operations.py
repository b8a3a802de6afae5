"""Operations over HTTP."""

from __future__ import annotations

from starlette.responses import Response

from services.answers import Operation
from services.requests import WaitQuery

from .calls import Call, Routes, answer

routes = Routes("operations")


@routes.add("GET", "/operations/{id}", query=WaitQuery, answers={200: Operation})
async def get_operation(call: Call) -> Response:
    """Follow an operation; waits up to `wait_seconds` for it to be done."""
    wait_seconds = call.query(WaitQuery).wait_seconds
    operation_id = str(call.request.path_params["id"])
    return answer(await call.services.operations.get(call.caller, operation_id, wait_seconds))
