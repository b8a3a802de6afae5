"""A language model that answers as a script says, without a wire; for tests of methods as pure functions of recorded replies."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from services.domain.history import History
from services.domain.llm import LlmReply, LlmRequest, NeedsReplies
from services.domain.suggester import Suggester, Suggestion

Script = Callable[[LlmRequest], "str | Sequence[str] | LlmReply"]
MOST_TALKS = 200
WORDS = (
    "amber", "basil", "cedar", "delta", "ember", "frost", "grove", "heron", "ivory", "jasper", "karma", "lotus", "mango", "north",
    "olive", "pearl",
)  # fmt: skip


def failed(request: LlmRequest, failure: str) -> LlmReply:
    """A call that brought nothing: one of `services.domain.llm.FAILURES`."""
    return request.failed(failure)


def babble(request: LlmRequest) -> list[str]:
    """A pure function of the request: words drawn by its digest, the placeholders that were shown kept."""
    shown = "".join(content for _, content in request.messages)
    kept = " ".join(dict.fromkeys(re.findall(r"\{[A-Za-z_]+\}", shown)))
    found = []
    for n in range(request.n):
        start = int(request.digest[n % 32 : n % 32 + 8], 16)
        words = " ".join(WORDS[(start >> (4 * i)) % 16] for i in range(6))
        found.append(f"<text>{words} {n} {kept}</text>".replace(" </text>", "</text>"))
    return found


class ScriptedLlm:
    """Answers requests and remembers them.

    Attributes:
        calls: every request that was answered, in order; a recorded one is not asked for again.
        log: replies as the ledger would hold them, failures left out.
    """

    def __init__(self, script: Script = babble) -> None:
        self.script = script
        self.calls: list[LlmRequest] = []
        self.log: list[LlmReply] = []

    def answer(self, request: LlmRequest) -> LlmReply:
        """One call."""
        self.calls.append(request)
        found = self.script(request)
        if isinstance(found, LlmReply):
            reply = found
        else:
            texts = (found,) if isinstance(found, str) else tuple(found)
            reply = LlmReply(
                key=request.key,
                digest=request.digest,
                snapshot=request.snapshot,
                texts=texts,
                cut=(False,) * len(texts),
            )
        if reply.failure is None:
            self.log.append(reply)
        return reply

    def suggest(self, suggester: Suggester, history: History, count: int) -> list[Suggestion]:
        """What the suggester proposes once all its requests are answered, as the dispatcher leads it."""
        failures: list[LlmReply] = []
        for _ in range(MOST_TALKS):
            try:
                return list(suggester.suggest(history, count))
            except NeedsReplies as needs:
                replies = [self.answer(request) for request in needs.requests]
                failures += [reply for reply in replies if reply.failure is not None]
                history.update((), seq=history.seq, next_number=history.next_number, replies=[*replies, *failures])
        raise AssertionError(f"asked {MOST_TALKS} times in a row")
