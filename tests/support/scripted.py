"""A small real HTTP server that answers what a test tells it to, for stories that a healthy service never tells."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Answer:
    """What to answer; `status` 0 hangs up without a word, `cut` hangs up in the middle of the body."""

    status: int = 200
    document: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    cut: bool = False


class Scripted:
    """Gives its answers one after another, the last one for ever, and remembers the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers) or [Answer()]
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                scripted._serve(self)

            do_GET = do_POST = do_PATCH = do_DELETE = _answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            self.seen.append(Seen(handler.command, handler.path, headers, json.loads(body) if body else None))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.status == 0:
            handler.close_connection = True
            return
        content = (answer.text if answer.text is not None else json.dumps(answer.document)).encode()
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content) + (10 if answer.cut else 0)))
        handler.end_headers()
        handler.wfile.write(content)
        if answer.cut:
            handler.close_connection = True


def problem(kind: str, status: int, **more: Any) -> Answer:
    """An error as the service answers it."""
    headers = more.pop("headers", {})
    document = {"type": f"https://asktell.dev/problems/{kind}", "title": kind, "status": status, "detail": f"{kind}!"}
    return Answer(status, document | more, {"Content-Type": "application/problem+json", **headers})
