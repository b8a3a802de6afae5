"""What calls take beside studies, trials and outcomes: batches and queries. The same for every edge."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .domain.document import Document
from .domain.trial import MAX_BATCH, NewTrial


class NewTrials(Document):
    """Many trials: all or none."""

    trials: Annotated[tuple[NewTrial, ...], Field(min_length=1, max_length=MAX_BATCH)]


class WaitQuery(Document):
    """How long to wait."""

    wait_seconds: Annotated[float, Field(ge=0, le=600)] = 0.0


class ExportQuery(Document):
    """How to write the trials."""

    format: Literal["json", "csv", "parquet"] = "json"


class EventsQuery(Document):
    """Where to begin."""

    after: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        default=None,
        description="The last `seq` already seen; the header Last-Event-ID wins. From the first on if absent.",
    )


class UpdatesQuery(Document):
    """Which part of an update log."""

    from_: Annotated[int, Field(ge=0, le=2**32 - 1, alias="from")] = Field(
        default=0, description="The version of theta that the client has: the first update leads on from there."
    )
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
