"""Pages of lists: opaque tokens that say where the next one begins."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from .domain.document import Document
from .domain.errors import Invalid
from .domain.study import StudyState
from .domain.trial import TrialState

PageSize = Annotated[int, Field(ge=1, le=1000)]
DEFAULT_PAGE = 100


class ListStudies(Document):
    """Which studies to list. `label` is `name:value`; all given ones must match."""

    page_size: PageSize = DEFAULT_PAGE
    page_token: str = ""
    state: StudyState | None = None
    label: tuple[str, ...] = ()
    q: Annotated[str, Field(max_length=256)] | None = None
    order_by: Literal["created_at", "-created_at", "name", "-name"] = "created_at"


class ListTrials(Document):
    """Which trials to list."""

    page_size: PageSize = DEFAULT_PAGE
    page_token: str = ""
    state: TrialState | None = None
    worker: Annotated[str, Field(max_length=256)] | None = None
    order_by: Literal["number", "-number", "created_at", "-created_at"] = "number"


def encode(order_by: str, *place: Any) -> str:
    """A token for the page after `place`; bound to its order."""
    return base64.urlsafe_b64encode(orjson.dumps([order_by, *place])).decode().rstrip("=")


def decode(token: str, order_by: str, *types: type) -> list[Any] | None:
    """The place of a token, None for the first page.

    Raises:
        Invalid: it is not a token that this listing gave.
    """
    if not token:
        return None
    try:
        found = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        order, *place = found
        if order != order_by or len(place) != len(types):
            raise ValueError
        if not all(type(value) is kind for value, kind in zip(place, types, strict=True)):
            raise ValueError
    except (ValueError, TypeError, binascii.Error):
        raise Invalid.at("/page_token", "is not a token that this listing gave; begin without one") from None
    return list(place)


def labels(wanted: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """`name:value` pairs, split.

    Raises:
        Invalid: one has no colon.
    """
    pairs = []
    for item in wanted:
        name, colon, value = item.partition(":")
        if not colon or not name or "\x00" in item or '"' in name:
            raise Invalid.at("/label", f"{item[:100]!r} is not of the form name:value")
        pairs.append((name, value))
    return tuple(pairs)
