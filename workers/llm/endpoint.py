"""One OpenAI-compatible endpoint: a request becomes an HTTP call, its troubles become kinds."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
import time
from typing import TYPE_CHECKING, Any

from services.domain.llm import LlmRequest
from services.ledger import Answered
from services.profiles import LlmProfile

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MOST_LOOPS = 4
MOST_DETAIL = 300
EMBEDDED_AT_ONCE = 64
_TOO_LONG = ("context_length", "context length", "maximum context", "too many tokens", "context window")


class CallFailed(Exception):
    """A call brought no reply.

    Attributes:
        kind: one of `services.domain.llm.FAILURES`.
        detail: for people, without secrets.
        retry_after: seconds that the server asked to wait, None without.
        prompt_tokens, completion_tokens: that it cost nevertheless.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        retry_after: float | None = None,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens


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
        started = time.monotonic()
        try:
            answered = await (self._embed(request) if request.kind == "embedding" else self._chat(request))
        except CallFailed:
            raise
        except Exception as error:  # whatever a stranger's server makes a library raise ends here
            raise await asyncio.to_thread(self._failure, error) from None
        return Answered(
            reply=answered.reply, prompt_tokens=answered.prompt_tokens, completion_tokens=answered.completion_tokens,
            estimated=answered.estimated, seconds=time.monotonic() - started,
        )  # fmt: skip

    async def _chat(self, request: LlmRequest) -> Answered:
        """Servers may answer fewer choices than asked for: asked again for the rest."""
        client = await self._connected()
        texts: list[str] = []
        cut: list[bool] = []
        prompt = completion = 0
        estimated = False
        for _ in range(MOST_LOOPS if request.n > 1 else 1):
            body: dict[str, Any] = dict(request.body)
            if request.n > 1:
                body["n"] = request.n - len(texts)
            answer = await client.chat.completions.create(model=self._profile.model, **body)
            choices = list(answer.choices or ())
            found = [getattr(choice.message, "content", None) or "" for choice in choices if choice.message]
            used, is_counted = _usage(answer, request, found)
            prompt, completion, estimated = prompt + used[0], completion + used[1], estimated or not is_counted
            texts += found
            cut += [choice.finish_reason == "length" for choice in choices if choice.message]
            if len(texts) >= request.n or not found:
                break
        if not any(text.strip() for text in texts):
            raise CallFailed("empty", "the server answered no text", prompt_tokens=prompt, completion_tokens=completion)
        reply = {"texts": texts[: request.n], "cut": cut[: request.n]}
        return Answered(reply=reply, prompt_tokens=prompt, completion_tokens=completion, estimated=estimated)

    async def _embed(self, request: LlmRequest) -> Answered:
        client = await self._connected()
        rows: list[list[float]] = []
        prompt, estimated = 0, False
        for first in range(0, len(request.texts), EMBEDDED_AT_ONCE):
            batch = list(request.texts[first : first + EMBEDDED_AT_ONCE])
            answer = await client.embeddings.create(model=self._profile.model, input=batch, encoding_format="float")
            data = sorted(answer.data or (), key=lambda item: item.index)
            if len(data) != len(batch) or len({len(item.embedding) for item in data}) != 1:
                raise CallFailed("empty", "the server did not answer one vector a text")
            rows += [item.embedding for item in data]
            counted = getattr(answer.usage, "prompt_tokens", None)
            prompt += counted if counted is not None else sum(len(t.encode()) for t in batch) // 4
            estimated = estimated or counted is None
        packed = b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)
        reply = {"vectors": base64.b64encode(packed).decode(), "dimensions": len(rows[0])}
        return Answered(reply=reply, prompt_tokens=prompt, estimated=estimated)

    async def _connected(self) -> AsyncOpenAI:
        """The client with the key as the environment has it now."""
        name = self._profile.api_key_env
        key = os.environ.get(name, "") if name else "none"
        if not key:
            raise CallFailed("not_permitted", f"the environment variable {name} is not set")
        if self._client is None:
            openai = await asyncio.to_thread(__import__, "openai")
            self._client = openai.AsyncOpenAI(
                base_url=self._profile.base_url, api_key=key, timeout=self._profile.timeout_seconds, max_retries=0
            )
        self._client.api_key = key
        return self._client

    def _failure(self, error: Exception) -> CallFailed:
        """An exception of the client library as one of our kinds."""
        import openai

        detail = self._safe(str(error))
        if isinstance(error, openai.APITimeoutError):
            return CallFailed("timeout", f"no answer within {self._profile.timeout_seconds:g} s")
        if isinstance(error, openai.APIStatusError):
            return CallFailed(_kind(error.status_code, detail), detail, _retry_after(error.response.headers))
        if isinstance(error, openai.APIConnectionError):
            return CallFailed("unreachable", self._safe(repr(error.__cause__ or error)))
        # An answer that does not parse: a proxy's page, a cut stream.
        return CallFailed("server", f"{type(error).__name__}: {detail}"[:MOST_DETAIL])

    def _safe(self, text: str) -> str:
        """Without the key and the address, in one line."""
        key = os.environ.get(self._profile.api_key_env or "", "")
        for secret in (key, self._profile.base_url):
            if secret:
                text = text.replace(secret, "***")
        return " ".join(text.split())[:MOST_DETAIL]


def _usage(answer: Any, request: LlmRequest, texts: list[str]) -> tuple[tuple[int, int], bool]:
    usage = getattr(answer, "usage", None)
    prompt, completion = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    if isinstance(prompt, int) and isinstance(completion, int):
        return (prompt, completion), True
    asked = sum(len(content.encode()) for _, content in request.messages)
    return (-(-asked // 4), sum(-(-len(text.encode()) // 4) for text in texts)), False


def _kind(status: int, detail: str) -> str:
    if status == 429:
        return "rate_limited"
    if status in (408, 409) or status >= 500:
        return "server"
    if status in (401, 403):
        return "not_permitted"
    return "context_length" if any(words in detail.casefold() for words in _TOO_LONG) else "bad_request"


def _retry_after(headers: Any) -> float | None:
    """Seconds to wait, from the header in either of its forms."""
    from email.utils import parsedate_to_datetime

    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
