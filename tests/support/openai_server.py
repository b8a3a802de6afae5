"""A real OpenAI-compatible HTTP server on loopback that answers as a script says, and remembers every call.

    with OpenAiServer(in_turn(rate_limited("1"), "<text>be brief</text>")) as server:
        client = openai.OpenAI(base_url=server.url, api_key="any")
        ...
        assert [call.temperature for call in server.chats] == [1.0, 1.0]

Scripts and faults: `tests/support/openai_scripts.py`. Nothing here needs pytest.
"""

from __future__ import annotations

import base64
import json
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.openai_scripts import (
    Answer,
    Call,
    Script,
    answer_of,
    babble,
    completed,
    counting_vector,
    error_document,
)


class OpenAiServer:
    """Listens on loopback from its construction on, until `stop` (or the end of its `with` block).

    Args:
        script: answers chat completions; may be exchanged at any time.
        embeddings: answers embeddings where something else than vectors is wanted; a text it returns is ignored.
        vector: of a text.
        port: 0 takes a free one.

    Attributes:
        calls: every request, in the order in which they arrived.
    """

    def __init__(
        self,
        script: Script = babble,
        *,
        embeddings: Script | None = None,
        vector: Callable[[str], list[float]] = counting_vector,
        port: int = 0,
    ) -> None:
        self.script = script
        self.embeddings = embeddings
        self.vector = vector
        self.calls: list[Call] = []
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server = _Listener(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                server._serve(self)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing on the console."""

        return Handler

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The base URL, up to and with /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def chats(self) -> list[Call]:
        """The calls of chat completions."""
        with self._lock:
            return [call for call in self.calls if call.path.endswith("/chat/completions")]

    def profile(self, name: str = "default", **more: Any) -> dict[str, str]:
        """The environment of a profile that leads here: `ASKTELL_LLM__<NAME>__…`, more fields by their lower-case names."""
        fields = {"base_url": self.url, "model": "scripted"} | more
        return {f"ASKTELL_LLM__{name.upper()}__{field.upper()}": str(value) for field, value in fields.items()}

    def release(self) -> None:
        """Let every call that hangs now end, without an answer."""
        self._released.set()
        self._released = threading.Event()

    def stop(self) -> None:
        """End it and whatever hangs."""
        self._server.shutdown()
        self._released.set()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> OpenAiServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            body = json.loads(content) if content else {}
            call = Call(len(self.calls), handler.path, headers, body, time.monotonic())
            self.calls.append(call)
        try:
            self._send(handler, call, self._answer(call))
        except (BrokenPipeError, ConnectionResetError):  # the client gave up waiting
            handler.close_connection = True
        finally:
            call.ended = min(call.ended, time.monotonic())

    def _answer(self, call: Call) -> Answer:
        if call.path.endswith("/models"):
            return Answer(
                document={"object": "list", "data": [{"id": "scripted", "object": "model", "owned_by": "tests"}]}
            )
        if call.path.endswith("/embeddings"):
            given = answer_of(self.embeddings(call)) if self.embeddings else Answer()
            plain = given.status == 200 and given.document is None and given.raw is None
            return Answer(
                document=self._vectors(call, given.has_usage), delay_seconds=given.delay_seconds, is_cut=given.is_cut
            ) if plain else given  # fmt: skip
        if not call.path.endswith("/chat/completions"):
            return Answer(status=404, document=error_document("not_found", f"no such path {call.path}"))
        return answer_of(self.script(call))

    def _vectors(self, call: Call, has_usage: bool) -> dict[str, Any]:
        given = call.body["input"]
        texts = [given] if isinstance(given, str) else given
        data: list[dict[str, Any]] = []
        for index, text in enumerate(texts):
            row: Any = self.vector(text)
            if call.body.get("encoding_format") == "base64":
                row = base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()
            data.append({"object": "embedding", "index": index, "embedding": row})
        tokens = sum(len(text.split()) for text in texts)
        usage = {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}} if has_usage else {}
        return {"object": "list", "model": call.body.get("model", ""), "data": data, **usage}

    def _send(self, handler: BaseHTTPRequestHandler, call: Call, answer: Answer) -> None:
        released = self._released
        if answer.delay_seconds and released.wait(
            None if answer.delay_seconds == float("inf") else answer.delay_seconds
        ):
            handler.close_connection = True
            return
        if answer.raw is not None:
            content, kind = answer.raw.encode(), "text/html"
        else:
            document = answer.document if answer.document is not None else completed(call, answer)
            content, kind = json.dumps(document).encode(), "application/json"
        call.status = 0 if answer.is_cut else answer.status
        handler.send_response(answer.status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        call.ended = time.monotonic()  # before the client can know it, so that calls overlap only where they do
        handler.wfile.write(content[: len(content) // 2] if answer.is_cut else content)
        handler.close_connection = handler.close_connection or answer.is_cut


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed in the middle of a call is what these tests are about."""
