"""What a scripted language model server answers: completions, every kind of fault, scripts that choose among them.

A script is a function from a `Call` to an answer: a text, several texts (the choices), or an `Answer`. It may run in several threads
at one time. `tests/support/openai_server.py` serves it.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DIMENSIONS = 8
WORDS = (
    "amber", "basil", "cedar", "delta", "ember", "frost", "grove", "heron", "ivory", "jasper", "karma", "lotus", "mango", "north",
    "olive", "pearl",
)  # fmt: skip


@dataclass
class Call:
    """A request as it arrived.

    Attributes:
        index: from 0, over all paths.
        headers: by lower-case name.
        started, ended: `time.monotonic()`; ended is infinite while it runs.
        status: answered, 0 if the connection was dropped.
    """

    index: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    started: float
    ended: float = float("inf")
    status: int = 0

    @property
    def messages(self) -> list[tuple[str, str]]:
        """(role, content) in order."""
        return [(m["role"], m["content"]) for m in self.body.get("messages", ())]

    @property
    def shown(self) -> str:
        """The contents of all messages, one after the other."""
        return "\n".join(content for _, content in self.messages)

    @property
    def temperature(self) -> float | None:
        """As asked for."""
        return self.body.get("temperature")

    @property
    def n(self) -> int:
        """Choices asked for."""
        return int(self.body.get("n") or 1)

    @property
    def digest(self) -> str:
        """SHA-256 of the body as canonical JSON: equal for equal requests."""
        return hashlib.sha256(json.dumps(self.body, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Answer:
    """What to answer: a completion of `texts`, or anything else.

    Attributes:
        finish: why every choice ended: `stop`, or `length` for one that was cut.
        has_usage: whether tokens are counted (a token a word).
        status, headers, document: another status, more headers, another JSON body in place of the completion.
        raw: a body that is no JSON.
        delay_seconds: before the answer; infinite: until `release` or the server's end, and then nothing.
        is_cut: the connection ends in the middle of the body.
    """

    texts: tuple[str, ...] = ()
    finish: str = "stop"
    has_usage: bool = True
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    document: Any = None
    raw: str | None = None
    delay_seconds: float = 0.0
    is_cut: bool = False


Given = Answer | str | Sequence[str]
Script = Callable[[Call], Given]


def rate_limited(retry_after: str | None = None) -> Answer:
    """429; `retry_after` in either form: seconds, or a date as in HTTP."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Answer(status=429, headers=headers, document=error_document("rate_limit_exceeded", "slow down"))


def server_error(status: int = 500) -> Answer:
    """5xx, or 408 and 409."""
    return Answer(status=status, document=error_document("server_error", "something broke"))


def hang() -> Answer:
    """No answer until the server is told to go on."""
    return Answer(delay_seconds=float("inf"))


def cut_body(text: str = "<text>never arrives</text>") -> Answer:
    """The connection ends in the middle of the body."""
    return Answer(texts=(text,), is_cut=True)


def empty_choices() -> Answer:
    """200 without choices."""
    return Answer(texts=())


def no_content() -> Answer:
    """200 with a choice whose content is null."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None}}
    return Answer(document=completion_document([choice]))


def not_json() -> Answer:
    """200 with a proxy's page."""
    return Answer(raw="<html><body>Bad gateway, have a nice day</body></html>")


def other_json() -> Answer:
    """200 with a JSON document that is no completion."""
    return Answer(document={"result": ["nothing", "of", "the", "kind"]})


def too_long() -> Answer:
    """400: the prompt exceeds the context."""
    return Answer(
        status=400,
        document=error_document("context_length_exceeded", "This model's maximum context length is 512 tokens."),
    )


def forbidden(status: int = 401, message: str = "Incorrect API key provided") -> Answer:
    """401 or 403."""
    return Answer(status=status, document=error_document("invalid_api_key", message))


def bad_request(message: str = "unknown parameter") -> Answer:
    """400 of another kind."""
    return Answer(status=400, document=error_document("invalid_request_error", message))


def without_usage(*texts: str) -> Answer:
    """A completion whose tokens are not counted."""
    return Answer(texts=texts, has_usage=False)


def cut_text(text: str = "<text>this goes on and") -> Answer:
    """A completion that stopped at the token limit, its closing tag missing."""
    return Answer(texts=(text,), finish="length")


def refusal() -> Answer:
    """A completion that apologises."""
    return Answer(texts=("I'm sorry, but I can't help with that.",))


FAULTS: tuple[Callable[[], Given], ...] = (
    rate_limited, server_error, cut_body, empty_choices, no_content, not_json, other_json, refusal, cut_text,
    lambda: "no marks at all, and\nmore than two lines\nof them", lambda: "<text></text>", lambda: "<text>",
)  # fmt: skip
"""Everything that may come in place of a usable reply within a moment: `hang` and `too_long` are left out."""


def in_turn(*answers: Given) -> Script:
    """One answer after the other, the last one for ever."""
    left, lock = list(answers), threading.Lock()

    def script(call: Call) -> Given:
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    return script


def babble(call: Call) -> list[str]:
    """A pure function of the request: words drawn by its digest, placeholders that were shown kept; as many choices as asked for."""
    kept = " ".join(dict.fromkeys(re.findall(r"\{[A-Za-z_]+\}", call.shown)))
    found = []
    for n in range(call.n):
        start = int(call.digest[n % 32 : n % 32 + 8], 16)
        words = " ".join(WORDS[(start >> (4 * i)) % 16] for i in range(6))
        found.append(f"<text>{words} {n} {kept}".rstrip() + "</text>")
    return found


def hill_climber(words: Sequence[str] = WORDS) -> Script:
    """Reads the trajectory, in which the best text stands last, and adds one of the words to it."""

    def script(call: Call) -> Given:
        texts = re.findall(r"<data[^>]*>\n(.*?)\n</data>", call.shown, re.DOTALL) or [""]
        best = next((text for text in reversed(texts) if text.strip()), "")
        missing = [word for word in words if word not in best.split()] or list(words)
        return [f"<text>{best} {missing[(int(call.digest[:8], 16) + n) % len(missing)]}</text>" for n in range(call.n)]

    return script


def reflector(base: str, pattern: str = r"needs the rule: ([^\n<]+)") -> Script:
    """Reads feedback and answers the text with every rule that was named there."""

    def script(call: Call) -> Given:
        rules = dict.fromkeys(rule.strip() for rule in re.findall(pattern, call.shown))
        return f"<text>{' '.join([base, *rules])}</text>"

    return script


def broken(script: Script, faults: Sequence[Callable[[], Given]] = FAULTS, share: float = 0.5, seed: int = 0) -> Script:
    """A share of the calls gets one of the faults, by the request and how often it was made: a retry may go well."""
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def mixed(call: Call) -> Given:
        with lock:
            seen[call.digest] += 1
            often = seen[call.digest]
        draw = int(hashlib.sha256(f"{seed} {call.digest} {often}".encode()).hexdigest()[:12], 16)
        if draw % 1000 < 1000 * share:
            return faults[draw // 1000 % len(faults)]()
        return script(call)

    return mixed


def counting_vector(text: str) -> list[float]:
    """A unit vector by a text's words: equal texts are equal, texts with common words are near."""
    found = [0.0] * DIMENSIONS
    for word in text.casefold().split() or [""]:
        found[hashlib.sha256(word.encode()).digest()[0] % DIMENSIONS] += 1.0
    length = sum(x * x for x in found) ** 0.5
    return [x / length for x in found]


def most_at_once(calls: Iterable[Call]) -> int:
    """How many of these calls ran at one time at most."""
    edges = sorted(edge for call in calls for edge in ((call.started, 1), (call.ended, -1)))
    running = most = 0
    for _, step in edges:
        running += step
        most = max(most, running)
    return most


def answer_of(given: Given) -> Answer:
    """What a script returned, as an answer."""
    if isinstance(given, Answer):
        return given
    return Answer(texts=(given,) if isinstance(given, str) else tuple(given))


def error_document(code: str, message: str) -> dict[str, Any]:
    """An error as such servers write it."""
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


def completion_document(
    choices: list[dict[str, Any]], usage: dict[str, int] | None = None, model: str = "scripted"
) -> dict[str, Any]:
    """A completion as such servers write it."""
    document = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": model, "choices": choices}
    return document if usage is None else document | {"usage": usage}


def completed(call: Call, answer: Answer) -> dict[str, Any]:
    """The completion of an answer; a token is a word."""
    choices = [
        {"index": index, "finish_reason": answer.finish, "message": {"role": "assistant", "content": text}}
        for index, text in enumerate(answer.texts)
    ]
    prompt, completion = len(call.shown.split()), sum(len(text.split()) for text in answer.texts)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return completion_document(choices, usage if answer.has_usage else None, str(call.body.get("model", "scripted")))
