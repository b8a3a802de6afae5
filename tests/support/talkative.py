"""A tiny suggester that asks a language model, for tests of gateway, ledger and dispatcher. Runners find it by `SOURCE`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from services.domain.document import Document
from services.domain.history import History
from services.domain.llm import LlmRequest, Talk, converse
from services.domain.suggester import Blob, Honours, Problem, Spec, Suggestion
from tests.support.troublesome import SPECS as TROUBLESOME

SOURCE = "tests.support.talkative:get"
PARAMETERS = [{"name": "prompt", "type": "text", "initial": ["say it"], "max_length": 2000}]


class Options(Document):
    """How it talks.

    Attributes:
        beside: calls for each trial that may run beside each other.
        rounds: calls after each other, each showing the reply before it.
        n: choices of a call.
        max_tokens: of a completion.
        padding: bytes that every request is longer.
        edits: propose an edit where a call fails, else nothing.
        word: stands in every request, so that a server can tell studies apart.
    """

    beside: int = Field(1, ge=1)
    rounds: int = Field(1, ge=1)
    n: int = 1
    max_tokens: int | None = 50
    padding: int = 0
    edits: bool = True
    word: str = ""


class Talkative:
    """Proposes what the model answered for the trial's number, or an edit that names the failure."""

    def __init__(self, problem: Problem, options: Options, blob: Blob | None) -> None:
        self._options = options

    def suggest(self, history: History, count: int) -> Sequence[Suggestion]:
        """Candidates; `NeedsReplies` until what they need is recorded."""
        numbers = range(history.next_number, history.next_number + count)
        talks = [self._talk(history.seq, number, i) for number in numbers for i in range(self._options.beside)]
        found = converse(talks, history.replies)
        given = []
        for place, number in enumerate(numbers):
            texts, failures = zip(*found[place * self._options.beside :][: self._options.beside], strict=True)
            failed = [failure for failure in failures if failure]
            if failed and not self._options.edits:
                break
            prompt = f"edit {number}" if failed else f"{number} {' '.join(texts)}"[:2000]
            reason = f"edited: {', '.join(failed)}" if failed else "from the language model"
            given.append(Suggestion(parameters={"prompt": prompt}, reason=reason, origin={"failed": len(failed)}))
        return given

    def _talk(self, seq: int, number: int, place: int) -> Talk[tuple[str, str | None]]:
        text = ""
        for round_ in range(self._options.rounds):
            asked = f"{self._options.word} trial {number} call {place} round {round_} after {text}"
            messages = (("system", "write a text"), ("user", asked + " " * self._options.padding))
            key = f"talk-{number}/{place}/{round_}"
            (reply,) = yield [
                LlmRequest(
                    key=key, role="writer", snapshot=seq, messages=messages, n=self._options.n,
                    max_tokens=self._options.max_tokens,
                )
            ]  # fmt: skip
            if reply.failure is not None:
                return "", reply.failure
            text = reply.text
        return text, None

    def state(self) -> None:
        """Nothing."""


TALKATIVE = Spec(
    name="talkative",
    summary="Asks a language model.",
    reference="none",
    honours=Honours(types=frozenset({"text"}), llm="required"),
    options=Options,
    create=Talkative,
)
SPECS = {"talkative": TALKATIVE, **TROUBLESOME}


def get(name: str) -> Spec:
    """A spec by name."""
    return SPECS[name]


def talkative(llm: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """The fields of a study that uses it."""
    fields: dict[str, Any] = {"parameters": PARAMETERS, "suggester": {"name": "talkative", "options": options}}
    return fields if llm is None else fields | {"llm": llm}
