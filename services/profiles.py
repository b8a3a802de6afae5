"""The operator's language model profiles: `ASKTELL_LLM__<NAME>__<FIELD>` in the environment.

A study names one; nobody sends an address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .domain.errors import Invalid

PREFIX = "ASKTELL_LLM__"
DEFAULT = "default"
_NAME = re.compile(r"\A[A-Z0-9][A-Z0-9_-]{0,63}\Z")


class LlmProfile(BaseModel):
    """An OpenAI-compatible endpoint and its limits.

    Prices are per million tokens, in any unit. The key itself is read from the environment at each call and kept nowhere.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    base_url: str = Field(pattern=r"^https?://[^\s/]+\S*$", description="Up to and with /v1.")
    model: str = Field(min_length=1)
    api_key_env: str | None = Field(None, description="The environment variable that holds the key.")
    timeout_seconds: float = Field(60.0, gt=0, le=3600, description="From a request to the end of its answer.")
    max_retries: int = Field(5, ge=0, le=20)
    max_tokens: int = Field(
        4096,
        ge=1,
        le=10**6,
        description="Of a completion: the most a method may ask for, and where it names no number.",
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="What the endpoint calls it."
    )
    concurrency: int = Field(8, ge=1, le=256, description="Calls at one time, for all studies of one dispatcher.")
    project_concurrency: int = Field(
        256, ge=1, le=256, description="Calls at one time for the studies of one project, in one dispatcher."
    )
    price_in: float = Field(0.0, ge=0, description="Of a million prompt tokens.")
    price_out: float = Field(0.0, ge=0, description="Of a million completion tokens.")
    project_max_tokens: int | None = Field(None, ge=0, description="Tokens in all that a project may spend here.")
    project_max_cost: float | None = Field(None, ge=0, description="Cost in all that a project may spend here.")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.price_in + completion_tokens * self.price_out) / 1e6

    def completion_tokens(self, wanted: int | None) -> int:
        """The most that a completion may have where a method asks for so many."""
        return self.max_tokens if wanted is None else min(wanted, self.max_tokens)


def read_profiles(environ: Mapping[str, str]) -> dict[str, LlmProfile]:
    """The profiles that an environment defines, by name in lower case. An empty variable counts as absent.

    Raises:
        Invalid: a variable that no profile has, or a bad value; the message names the variable, never its value.
    """
    fields: dict[str, dict[str, str]] = {}
    for variable, value in environ.items():
        if variable.startswith(PREFIX) and value.strip():
            name, _, field = variable.removeprefix(PREFIX).rpartition("__")
            if not _NAME.match(name) or field == "NAME":
                raise Invalid(f"{variable} is not of the form {PREFIX}<NAME>__<FIELD>")
            fields.setdefault(name, {})[field.lower()] = value.strip()
    return {name.lower(): _profile(name, found) for name, found in sorted(fields.items())}


def _profile(name: str, found: dict[str, str]) -> LlmProfile:
    try:
        return LlmProfile.model_validate(found | {"name": name.lower()})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = str(first["loc"][0]).upper() if first["loc"] else ""
        raise Invalid(f"{PREFIX}{name}__{field}: {first['msg']}") from None


def default_profile(profiles: Mapping[str, LlmProfile]) -> str | None:
    """The profile of studies that name none: `default`, or the only one."""
    if DEFAULT in profiles:
        return DEFAULT
    return next(iter(profiles)) if len(profiles) == 1 else None
