"""The catalogue over HTTP."""

from __future__ import annotations

from starlette.responses import Response

from services.answers import SuggesterEntry, SuggesterList

from .calls import Call, Routes, answer

routes = Routes("suggesters")


@routes.add("GET", "/suggesters", answers={200: SuggesterList})
async def list_suggesters(call: Call) -> Response:
    """List the suggesters: what each serves, and its options as JSON Schema."""
    return answer(call.services.catalogue.list())


@routes.add("GET", "/suggesters/{name}", answers={200: SuggesterEntry})
async def get_suggester(call: Call) -> Response:
    """Read one suggester's entry."""
    return answer(call.services.catalogue.get(str(call.request.path_params["name"])))
