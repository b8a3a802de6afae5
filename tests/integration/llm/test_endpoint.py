"""The client of an OpenAI-compatible endpoint against a real server: every trouble has its kind, nothing leaks, costs are counted."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest

from services.domain.llm import LlmRequest
from services.ledger import Answered
from services.profiles import LlmProfile
from tests.support import openai_scripts as scripts
from tests.support.openai_scripts import Answer, Given, in_turn
from tests.support.openai_server import OpenAiServer
from workers.llm.endpoint import CallFailed, Endpoint

KEY = "sk-very-secret-0123456789"
CHAT = LlmRequest(
    key="s-0/0", role="writer", snapshot=1, messages=(("system", "be kind"), ("user", "a b c")), temperature=0.7,
    top_p=0.9, max_tokens=20,
)  # fmt: skip


def profile(server: OpenAiServer, **fields: object) -> LlmProfile:
    given = {"name": "house", "base_url": server.url, "model": "small", "timeout_seconds": 5} | fields
    return LlmProfile.model_validate(given)


async def call(server: OpenAiServer, request: LlmRequest = CHAT, **fields: object) -> Answered:
    endpoint = Endpoint(profile(server, **fields))
    try:
        return await endpoint.call(request)
    finally:
        await endpoint.close()


async def failure(server: OpenAiServer, given: Given, request: LlmRequest = CHAT, **fields: object) -> CallFailed:
    server.script = in_turn(given)
    with pytest.raises(CallFailed) as caught:
        await call(server, request, **fields)
    return caught.value


async def test_a_request_goes_out_as_it_was_made_and_comes_back_counted(server: OpenAiServer) -> None:
    server.script = in_turn("<text>hello there</text>")
    answered = await call(server)
    (seen,) = server.calls
    assert seen.path == "/v1/chat/completions"
    assert seen.body == {
        "model": "small", "temperature": 0.7, "top_p": 0.9, "max_tokens": 20,
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "a b c"}],
    }  # fmt: skip
    assert answered.reply == {"texts": ["<text>hello there</text>"], "cut": [False]}
    assert (answered.prompt_tokens, answered.completion_tokens, answered.estimated) == (5, 2, False)


async def test_a_completion_is_bounded_also_where_the_method_bounds_none(server: OpenAiServer) -> None:
    unbounded = LlmRequest(key="k", role="r", snapshot=0, messages=(("user", "x"),))
    for request, fields in (
        (unbounded, {}),
        (CHAT, {"max_tokens": 7}),
        (CHAT, {"max_tokens_field": "max_completion_tokens"}),
    ):
        await call(server, request, **fields)
    sent = [{name: c.body.get(name) for name in ("max_tokens", "max_completion_tokens")} for c in server.calls]
    assert [(s["max_tokens"], s["max_completion_tokens"]) for s in sent] == [(4096, None), (7, None), (None, 20)]


async def test_a_choice_that_was_cut_is_marked(server: OpenAiServer) -> None:
    server.script = in_turn(scripts.cut_text("half a"))
    assert (await call(server)).reply == {"texts": ["half a"], "cut": [True]}


async def test_uncounted_tokens_are_estimated_from_bytes_and_marked(server: OpenAiServer) -> None:
    server.script = in_turn(scripts.without_usage("grüße an alle"))
    answered = await call(server)
    assert (answered.prompt_tokens, answered.completion_tokens, answered.estimated) == (3, 4, True)  # ⌈12/4⌉, ⌈15/4⌉


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": -5, "completion_tokens": 3}, {"prompt_tokens": 10**30, "completion_tokens": 1}, {}]
)
async def test_senseless_counts_are_not_believed(server: OpenAiServer, usage: dict[str, int]) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "abcd"}}
    server.script = in_turn(Answer(document={"id": "1", "object": "chat.completion", "created": 0, "model": "m",
                                             "choices": [choice], "usage": usage}))  # fmt: skip
    answered = await call(server)
    assert (answered.prompt_tokens, answered.completion_tokens, answered.estimated) == (3, 1, True)


@pytest.mark.parametrize(
    ("given", "kind", "is_paid"),
    [
        (scripts.rate_limited(), "rate_limited", False),
        (scripts.server_error(500), "server", False),
        (scripts.server_error(503), "server", False),
        (scripts.server_error(408), "server", False),
        (scripts.server_error(409), "server", False),
        (scripts.forbidden(401), "not_permitted", False),
        (scripts.forbidden(403), "not_permitted", False),
        (scripts.bad_request(), "bad_request", False),
        (Answer(status=404, document={"error": {"message": "no such model"}}), "bad_request", False),
        (scripts.too_long(), "context_length", False),
        (Answer(status=413, document={}), "context_length", False),
        (Answer(status=400, raw="request (812 tokens) exceeds the available context size"), "context_length", False),
        (scripts.empty_choices(), "empty", True),
        (scripts.no_content(), "empty", True),
        (" \n", "empty", True),
        (scripts.other_json(), "empty", True),
        (scripts.not_json(), "server", True),
        (scripts.cut_body(), "unreachable", True),
    ],
)
async def test_every_trouble_has_its_kind(server: OpenAiServer, given: Given, kind: str, is_paid: bool) -> None:
    failed = await failure(server, given)
    assert (failed.kind, failed.prompt_tokens > 0) == (kind, is_paid)
    assert len(server.calls) == 1  # the library must not try again on its own


async def test_a_server_that_hangs_is_waited_for_so_long_and_no_longer(server: OpenAiServer) -> None:
    started = time.monotonic()
    failed = await failure(server, scripts.hang(), timeout_seconds=0.3)
    assert (failed.kind, failed.prompt_tokens, failed.estimated) == ("timeout", 3, True)
    assert time.monotonic() - started < 15


async def test_a_server_that_drips_is_not_waited_for_longer(server: OpenAiServer) -> None:
    """A timeout of each read alone would never come."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
        while not stop.wait(0.05):
            try:
                connection.sendall(b" ")
            except OSError:
                break
        connection.close()

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    started = time.monotonic()
    try:
        with pytest.raises(CallFailed) as caught:
            await call(server, base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1", timeout_seconds=0.5)
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)
        listener.close()
    assert caught.value.kind == "timeout" and time.monotonic() - started < 15


async def test_nobody_there_costs_nothing(server: OpenAiServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    failed = await failure(server, "x", base_url=url)
    assert (failed.kind, failed.prompt_tokens) == ("unreachable", 0)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("3", 3, 3), ("0.5", 0.5, 0.5), ("-4", 0, 0), ("in 10 s", 20, 30), ("past", 0, 0)],
)
async def test_retry_after_is_read_in_both_forms(server: OpenAiServer, header: str, least: float, most: float) -> None:
    moment = datetime.now(UTC) + timedelta(seconds={"in 10 s": 30, "past": -100}.get(header, 0))
    value = header if header[-1].isdigit() else format_datetime(moment, usegmt=True)
    found = (await failure(server, scripts.rate_limited(value))).retry_after
    assert found is not None and least <= found <= most


@pytest.mark.parametrize("header", [None, "soon", "nan", ""])
async def test_a_senseless_retry_after_is_none(server: OpenAiServer, header: str | None) -> None:
    assert (await failure(server, scripts.rate_limited(header))).retry_after is None


# -- several choices


async def test_a_server_that_answers_one_choice_is_asked_for_the_rest(server: OpenAiServer) -> None:
    server.script = in_turn("a", ("b", "c"), "d")
    answered = await call(server, LlmRequest(key="k", role="r", snapshot=0, messages=(("user", "x"),), n=4))
    assert answered.reply is not None and answered.reply["texts"] == ["a", "b", "c", "d"]
    assert [c.body["n"] for c in server.calls] == [4, 3, 1]
    assert (answered.prompt_tokens, answered.completion_tokens) == (3, 4)


async def test_more_choices_than_asked_for_are_paid_and_left(server: OpenAiServer) -> None:
    server.script = in_turn(("a", "b", "c"))
    answered = await call(server, LlmRequest(key="k", role="r", snapshot=0, messages=(("user", "x"),), n=2))
    assert answered.reply == {"texts": ["a", "b"], "cut": [False, False]}
    assert answered.completion_tokens == 3


async def test_what_came_before_a_failure_is_kept(server: OpenAiServer) -> None:
    server.script = in_turn(("a", "b"), scripts.server_error())
    answered = await call(server, LlmRequest(key="k", role="r", snapshot=0, messages=(("user", "x"),), n=4))
    assert answered.reply is not None and answered.reply["texts"] == ["a", "b"]
    assert answered.estimated and len(server.calls) == 2


async def test_asking_for_the_rest_ends_when_nothing_more_comes(server: OpenAiServer) -> None:
    server.script = in_turn("a", scripts.empty_choices())
    answered = await call(server, LlmRequest(key="k", role="r", snapshot=0, messages=(("user", "x"),), n=50))
    assert answered.reply is not None and answered.reply["texts"] == ["a"]
    assert len(server.calls) == 2


# -- embeddings


async def test_texts_are_embedded_in_their_order_in_batches(server: OpenAiServer) -> None:
    texts = tuple(f"word{i} and more" for i in range(150))
    answered = await call(server, LlmRequest(key="e", role="encoder", snapshot=0, texts=texts))
    assert answered.reply is not None
    found = np.frombuffer(base64.b64decode(answered.reply["vectors"]), "<f4").reshape(150, answered.reply["dimensions"])
    expected = np.array([scripts.counting_vector(text) for text in texts], np.float32)
    assert np.array_equal(found, expected)
    assert [len(c.body["input"]) for c in server.calls] == [64, 64, 22]
    assert (answered.prompt_tokens, answered.completion_tokens, answered.estimated) == (450, 0, False)


@pytest.mark.parametrize("rows", [[[1.0, 2.0]], [[1.0], [1.0, 2.0]], [["a"], ["b"]], [[1e999], [0.0]], []])
async def test_vectors_that_are_none_are_refused(server: OpenAiServer, rows: list[list[object]]) -> None:
    data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
    server.embeddings = in_turn(Answer(document={"object": "list", "model": "m", "data": data}))
    with pytest.raises(CallFailed) as caught:
        await call(server, LlmRequest(key="e", role="encoder", snapshot=0, texts=("a", "b")))
    assert caught.value.kind in ("empty", "server")


# -- secrets


async def test_the_key_is_the_one_of_this_moment(server: OpenAiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(profile(server, api_key_env="HOUSE_KEY"))
    with pytest.raises(CallFailed) as caught:
        await endpoint.call(CHAT)
    assert (caught.value.kind, caught.value.detail) == (
        "not_permitted",
        "the environment variable HOUSE_KEY is not set",
    )
    for key in ("first", "second"):
        monkeypatch.setenv("HOUSE_KEY", key)
        await endpoint.call(CHAT)
    await endpoint.close()
    assert [c.headers["authorization"] for c in server.calls] == ["Bearer first", "Bearer second"]


async def test_keys_of_other_endpoints_do_not_go_along(server: OpenAiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, KEY)
    await call(server)
    assert KEY not in str(server.calls[0].headers)


@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_neither_key_nor_address_stands_in_a_failure_or_a_log(
    server: OpenAiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    monkeypatch.setenv("HOUSE_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    place = f"127.0.0.1:{server.port}"
    echo = f"Incorrect key {KEY}\0 at {server.url}/chat/completions,\n host {place} \ud800" + "x" * 1000
    answer = Answer(status=status, document={"error": {"message": echo}})
    failed = await failure(server, answer, api_key_env="HOUSE_KEY")
    told = failed.detail + repr(failed) + str(failed.__cause__) + caplog.text
    assert KEY not in told and place not in told and "127.0.0.1" not in failed.detail
    assert "Incorrect key ***" in failed.detail and len(failed.detail) <= 300
    assert failed.detail.isprintable()


async def test_what_a_database_cannot_carry_is_left_out_of_a_reply(server: OpenAiServer) -> None:
    server.script = in_turn("a\0b\ud800c" + "x" * 300_000)
    answered = await call(server)
    assert answered.reply is not None
    (text,) = answered.reply["texts"]
    assert text.startswith("abcxx") and len(text) <= 200_000
