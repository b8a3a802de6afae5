"""One OpenAI-compatible endpoint: a request becomes an HTTP call, its troubles become kinds."""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import os
import struct
import time
from collections.abc import Awaitable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from services.domain.llm import LlmRequest
from services.ledger import Answered
from services.profiles import LlmProfile

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")
MOST_DETAIL = 300
MOST_TEXT = 200_000
MOST_COUNTED = 10**9
EMBEDDED_AT_ONCE = 64
BYTES_A_TOKEN = 4
_TOO_LONG = (
    "context_length",
    "context length",
    "context_size",
    "context size",
    "context window",
    "maximum context",
    "too many tokens",
)
_CHATTY = ("httpx", "httpx2", "httpcore", "httpcore2", "openai")


class CallFailed(Exception):
    """A call brought no reply.

    Attributes:
        kind: one of `services.domain.llm.FAILURES`.
        detail: for people, without secrets.
        retry_after: seconds that the server asked to wait, None without.
        prompt_tokens, completion_tokens: that it may have cost nevertheless.
        estimated: they were not counted by the server.
    """

    def __init__(
        self, kind: str, detail: str, *, retry_after: float | None = None, prompt_tokens: int = 0, completion_tokens: int = 0,
        estimated: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(kind)
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens
        self.estimated = estimated


class Endpoint:
    """Calls one profile's endpoint. The client library loads with the first call."""

    def __init__(self, profile: LlmProfile) -> None:
        self._profile = profile
        self._client: AsyncOpenAI | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    async def call(self, request: LlmRequest) -> Answered:
        """Make a call once.

        Raises:
            CallFailed: it brought nothing.
        """
        client = await self._connected()
        try:
            return await (self._embed(client, request) if request.texts else self._chat(client, request))
        except CallFailed:
            raise
        except Exception as error:  # whatever a stranger's server makes a library raise ends here
            raise self._failure(error, request) from None

    async def _chat(self, client: AsyncOpenAI, request: LlmRequest) -> Answered:
        """Servers may answer fewer choices than asked for: asked again for the rest."""
        body = request.body | {self._profile.max_tokens_field: self._profile.completion_tokens(request.max_tokens)}
        if self._profile.max_tokens_field != "max_tokens":
            body.pop("max_tokens", None)
        texts: list[str] = []
        cut: list[bool] = []
        prompt = completion = 0
        estimated = False
        for _ in range(request.n):
            if request.n > 1:
                body["n"] = request.n - len(texts)
            try:
                answer = await self._in_time(client.chat.completions.create(model=self._profile.model, **body))
            except Exception:  # of any kind: without a text it is raised, else the texts before it count
                if not texts:
                    raise
                prompt, estimated = prompt + _estimated(request), True
                break  # what came before is paid, and better than nothing
            found = [choice for choice in answer.choices or () if choice.message]
            said = [_clean(choice.message.content) for choice in found]
            counted = _counted(answer.usage, "prompt_tokens", "completion_tokens")
            estimated = estimated or counted is None
            used = counted or (_estimated(request), sum(-(-len(text.encode()) // BYTES_A_TOKEN) for text in said))
            prompt, completion = prompt + used[0], completion + used[1]
            texts += said
            cut += [choice.finish_reason == "length" for choice in found]
            if len(texts) >= request.n or not said:
                break
        if not any(text.strip() for text in texts):
            raise CallFailed(
                "empty", "the server answered no text", prompt_tokens=prompt, completion_tokens=completion, estimated=estimated
            )  # fmt: skip
        reply = {"texts": texts[: request.n], "cut": cut[: request.n]}
        return Answered(reply=reply, prompt_tokens=prompt, completion_tokens=completion, estimated=estimated)

    async def _embed(self, client: AsyncOpenAI, request: LlmRequest) -> Answered:
        rows: list[list[float]] = []
        prompt, estimated = 0, False
        for first in range(0, len(request.texts), EMBEDDED_AT_ONCE):
            batch = list(request.texts[first : first + EMBEDDED_AT_ONCE])
            answer = await self._in_time(
                client.embeddings.create(model=self._profile.model, input=batch, encoding_format="float")
            )
            data = sorted(answer.data or (), key=lambda item: item.index or 0)
            rows += [[float(x) for x in item.embedding] for item in data]
            counted = _counted(answer.usage, "prompt_tokens")
            prompt += counted[0] if counted else sum(-(-len(text.encode()) // BYTES_A_TOKEN) for text in batch)
            estimated = estimated or counted is None
            if (
                len(data) != len(batch)
                or len({len(row) for row in rows}) != 1
                or not all(math.isfinite(x) for row in rows for x in row)
            ):
                detail = "the server did not answer one vector of numbers a text"
                raise CallFailed("empty", detail, prompt_tokens=prompt, estimated=estimated)
        packed = b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)
        reply = {"vectors": base64.b64encode(packed).decode(), "dimensions": len(rows[0])}
        return Answered(reply=reply, prompt_tokens=prompt, estimated=estimated)

    async def _in_time(self, call: Awaitable[T]) -> T:
        """The library's own timeout is for each read: a server that drips would never reach it."""
        async with asyncio.timeout(self._profile.timeout_seconds):
            return await call

    async def _connected(self) -> AsyncOpenAI:
        """The client with the key as the environment has it now."""
        name = self._profile.api_key_env
        key = os.environ.get(name, "") if name else "none"
        if not key:
            raise CallFailed("not_permitted", f"the environment variable {name} is not set")
        openai = await asyncio.to_thread(__import__, "openai")
        if self._client is None:
            for chatty in _CHATTY:  # at level info they log addresses
                logging.getLogger(chatty).setLevel(logging.WARNING)
            self._client = openai.AsyncOpenAI(
                base_url=self._profile.base_url, api_key=key, timeout=self._profile.timeout_seconds, max_retries=0
            )
            # Taken from the environment if absent, where they are meant for another endpoint.
            self._client.organization = self._client.project = None
        self._client.api_key = key
        return self._client

    def _failure(self, error: Exception, request: LlmRequest) -> CallFailed:
        """An exception of the client library as one of our kinds. Where the server may have done its work, it may have to be paid."""
        import openai

        paid = _estimated(request)
        if isinstance(error, (openai.APITimeoutError, TimeoutError)):
            return CallFailed(
                "timeout", f"no answer within {self._profile.timeout_seconds:g} s", prompt_tokens=paid, estimated=True
            )
        if isinstance(error, openai.APIStatusError):
            status, said = error.status_code, error.response.text
            wait = _retry_after(error.response.headers.get("retry-after"))
            return CallFailed(_kind(status, said), self._safe(f"{status} {said}"), retry_after=wait)
        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__ or error
            if type(cause).__name__ == "ConnectError":  # it was never sent
                paid = 0
            detail = self._safe(f"{type(cause).__name__}: {cause}")
            return CallFailed("unreachable", detail, prompt_tokens=paid, estimated=paid > 0)
        # An answer that does not parse: a proxy's page, a cut stream.
        detail = f"the answer cannot be read ({type(error).__name__})"
        return CallFailed("server", detail, prompt_tokens=paid, estimated=True)

    def _safe(self, text: str) -> str:
        """Without the key and the address, in one line."""
        key = os.environ.get(self._profile.api_key_env or "", "")
        place = urlsplit(self._profile.base_url)
        for secret in (key, self._profile.base_url, place.netloc, place.hostname):
            if secret:
                text = text.replace(secret, "***")
        return " ".join(_clean(text).split())[:MOST_DETAIL]


def _clean(text: object) -> str:
    """What a database and JSON can carry, within bounds."""
    found = text[:MOST_TEXT] if isinstance(text, str) else ""
    return found.replace("\0", "").encode("utf-8", "ignore").decode()


def _estimated(request: LlmRequest) -> int:
    """Prompt tokens where the server counts none."""
    return -(-sum(len(content.encode()) for content in request.shown) // BYTES_A_TOKEN)


def _counted(usage: Any, *names: str) -> tuple[int, ...] | None:
    """The server's own counts, None if one of them is missing or senseless."""
    found = [getattr(usage, name, None) for name in names]
    counts = tuple(count for count in found if isinstance(count, int) and 0 <= count <= MOST_COUNTED)
    return counts if len(counts) == len(names) else None


def _kind(status: int, detail: str) -> str:
    if status == 429:
        return "rate_limited"
    if status in (408, 409) or status >= 500:
        return "server"
    if status in (401, 402, 403):
        return "not_permitted"
    too_long = status == 413 or any(words in detail.casefold() for words in _TOO_LONG)
    return "context_length" if too_long else "bad_request"


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from the header in either of its forms."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)
