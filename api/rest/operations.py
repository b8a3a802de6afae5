"""Operations over HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from services.answers import Operation
from services.domain.document import Document

from .calls import Call, Routes, answer

routes = Routes("operations")


class WaitQuery(Document):
    """How long to wait."""

    wait_seconds: Annotated[float, Field(ge=0, le=600)] = 0.0


@routes.add("GET", "/operations/{id}", query=WaitQuery, answers={200: Operation})
async def get_operation(call: Call) -> Response:
    """Follow an operation; waits up to `wait_seconds` for it to be done."""
    wait_seconds = call.query(WaitQuery).wait_seconds
    operation_id = str(call.request.path_params["id"])
    return answer(await call.services.operations.get(call.caller, operation_id, wait_seconds))
