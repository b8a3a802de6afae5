"""How a prompt of the beam is expanded: reasons for its errors, rewrites for the reasons, paraphrases of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from services.domain.llm import LlmRequest, Talk
from services.domain.suggester import Problem
from workers.models.meta_prompt import Read, data, read_list
from workers.models.phrases import neighbour
from workers.models.texts import TAG, TextRules, text_key
from workers.models.variations import Messages, in_other_words, judged, messages, purpose, read_child

from . import ProtegiOptions

Row = Mapping[str, Any]
EDITS = 4
SHOWN = 2000


class Expansion:
    """Writes the successors of one text; all that it says depends on the text and on its errors alone.

    Args:
        rules: of the component.
        name: of the expansion in the ledger.
        snapshot: the `seq` that its calls are made from.
    """

    def __init__(self, problem: Problem, options: ProtegiOptions, rules: TextRules, name: str, snapshot: int) -> None:
        self._problem, self._options, self._rules, self._name, self._snapshot = problem, options, rules, name, snapshot

    def write(self, text: str, errors: Sequence[Row], is_known: Callable[[str], bool]) -> Talk[list[str]]:
        """Distinct valid texts that are not known, rewrites first; edits where the model wrote none."""
        written = _Written(self._rules, text, is_known)
        reasons = yield from self._reasons(text, errors)
        if reasons:
            asks = [
                self._request("rewrite", f"rewrite/{i}", self._rewrite(text, *reason))
                for i, reason in enumerate(reasons)
            ]
            for reply in (yield asks):
                for raw in read_list(reply.text, self._options.rewrites):
                    written.take(raw)
        if self._options.paraphrases:
            sources = [*written.texts, text]
            replies = yield [
                self._request(
                    "paraphrase", f"paraphrase/{i}", in_other_words(source, self._rules), self._options.paraphrases
                )
                for i, source in enumerate(sources)
            ]
            for choice in (choice for reply in replies for choice in reply.texts):
                found = read_child(choice)
                if found.fault is None:
                    written.take(found.text)
        if not written.texts and self._options.fallback == "edit":
            self._edit(text, written)
        return written.texts

    def _reasons(self, text: str, errors: Sequence[Row]) -> Talk[list[tuple[str, list[Row]]]]:
        """Reasons with the errors that they were found from."""
        if not errors:
            return []
        groups = []
        for g in range(self._options.groups):
            order = self._rng(f"group {g}").permutation(len(errors))[: self._options.group_errors]
            groups.append([errors[int(i)] for i in order])
        replies = yield [
            self._request("gradient", f"gradient/{g}", self._gradient(text, group)) for g, group in enumerate(groups)
        ]
        found = []
        for group, reply in zip(groups, replies, strict=True):
            found += [(reason, group) for reason in read_list(reply.text, self._options.reasons)]
        return found

    def _rng(self, what: str) -> np.random.Generator:
        return self._problem.generator(0, f"{self._name} {what}")

    def _edit(self, text: str, written: _Written) -> None:
        rng = self._rng("edit")
        for _ in range(EDITS):
            edited = neighbour(text, self._rules, rng, written.is_taken)
            if edited is None:
                return
            written.take(edited)

    # -- requests

    def _request(self, role: str, place: str, asked: Messages, n: int = 1) -> LlmRequest:
        return LlmRequest(
            key=f"{self._name}/{place}", role=role, snapshot=self._snapshot, messages=asked, n=n,
            temperature=self._options.temperature, max_tokens=self._options.max_tokens,
        )  # fmt: skip

    def _gradient(self, text: str, group: Sequence[Row]) -> Messages:
        count = self._options.reasons
        return messages(
            "A prompt fails on some examples. Say why.", purpose(self._rules), data(text, "the prompt"), _errors(group),
            f"Name {_number(count, 'reason')} why the prompt could have led to these errors, each between <{TAG}> and </{TAG}>.",
        )  # fmt: skip

    def _rewrite(self, text: str, reason: str, group: Sequence[Row]) -> Messages:
        count = self._options.rewrites
        return messages(
            "A prompt fails on some examples for a known reason. Write it anew so that it does not.", purpose(self._rules),
            data(text, "the prompt"), _errors(group), data(reason, "the reason", SHOWN),
            f"Write {_number(count, 'improved prompt')}, each between <{TAG}> and </{TAG}>.",
        )  # fmt: skip


class _Written:
    """Distinct texts that may stand in the study, in the order in which they came."""

    def __init__(self, rules: TextRules, base: str, is_known: Callable[[str], bool]) -> None:
        self._rules, self._keys, self._is_known = rules, {text_key(base)}, is_known
        self.texts: list[str] = []

    def is_taken(self, text: str) -> bool:
        """Whether it is the old text, one of those written, or known."""
        return text_key(text) in self._keys or self._is_known(text)

    def take(self, raw: str) -> None:
        """Keep a text if it is valid and new."""
        found = judged(raw, self._rules, self.is_taken)
        if not isinstance(found, Read):
            self._keys.add(text_key(found))
            self.texts.append(found)


def _errors(group: Sequence[Row]) -> str:
    """What went wrong, example by example."""
    shown = []
    for row in group:
        parts = [("output", row.get("output")), ("expected", row.get("expected")), ("feedback", row.get("feedback"))]
        told = [data(str(value), label, SHOWN) for label, value in parts if value]
        shown.append(f"Example {data(row['id'], 'id', 200)}\n" + "\n".join(told))
    return "\n\n".join(shown)


def _number(count: int, what: str) -> str:
    return f"one {what}" if count == 1 else f"{count} {what}s"
