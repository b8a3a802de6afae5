"""The candidates of an iteration: sampled from pairs at first, later the best ones and other wordings of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.domain.llm import LlmReply, LlmRequest, Talk
from services.domain.suggester import Problem
from workers.models.drafts import TRIES, Texts
from workers.models.meta_prompt import Read, read
from workers.models.texts import TextRules, candidate_key, starting_candidates, text_parameters
from workers.models.variations import INDUCTION, drawn, in_other_words, induced, judged

from . import ApeOptions

NAME = "ape"


@dataclass(frozen=True)
class Sampled:
    """What one call brought.

    Attributes:
        texts: valid candidates, repeats included.
        rejected: why replies were not taken.
        failure: why it brought none, if it did not.
    """

    texts: tuple[Texts, ...] = ()
    rejected: tuple[str, ...] = ()
    failure: str | None = None


class Sampling:
    """Leads the conversations that bring candidates."""

    def __init__(self, problem: Problem, options: ApeOptions) -> None:
        self._problem, self._options = problem, options
        self._rules = {p.name: TextRules(p) for p in text_parameters(problem.space)}
        self._base = starting_candidates(problem.space)[0]

    def talks(self, iteration: int, opened: int, kept: Sequence[Texts]) -> list[Talk[Sampled]]:
        """One for each call that may be made beside the others.

        Args:
            opened: the `seq` up to which outcomes were known when the iteration began.
            kept: the best candidates then; the first iteration samples from the exemplars instead.
        """
        component = list(self._rules)[iteration % len(self._rules)]
        if iteration:
            return [self._varied(f"{NAME}-{iteration}/{i}", opened, component, texts) for i, texts in enumerate(kept)]
        if not self._problem.spec.shares_examples:
            return []
        return [self._sampled(subset, opened, component) for subset in range(self._options.subsets)]

    def _sampled(self, subset: int, opened: int, component: str) -> Talk[Sampled]:
        shown = drawn(self._options.exemplars, self._problem.generator(subset, f"{NAME} pairs"))
        asked = induced(shown, self._rules[component])
        request = LlmRequest(
            key=f"{NAME}-0/{subset}",
            role="induction",
            snapshot=opened,
            messages=asked,
            n=self._options.samples,
            **INDUCTION,
        )
        return (yield from self._collected(request, component, self._base))

    def _varied(self, key: str, opened: int, component: str, texts: Texts) -> Talk[Sampled]:
        request = LlmRequest(
            key=key, role="variation", snapshot=opened, messages=in_other_words(texts[component], self._rules[component]),
            n=self._options.variations, temperature=INDUCTION["temperature"], top_p=INDUCTION["top_p"],
        )  # fmt: skip
        return (yield from self._collected(request, component, texts))

    def _collected(self, request: LlmRequest, component: str, base: Texts) -> Talk[Sampled]:
        """The valid ones of the replies, asked again, twice at most, for those that a server does not give at once."""
        texts: list[Texts] = []
        rejected: list[str] = []
        missing, failure = request.n, None
        for attempt in range(TRIES):
            (reply,) = yield [replace(request, key=f"{request.key}/{attempt}", n=missing)]
            failure = reply.failure
            for found in self._read(reply, component):
                if isinstance(found, Read):
                    rejected.append(found.fault or "unparsable")
                else:
                    texts.append({**base, component: found})
            missing -= len(reply.texts)
            if missing <= 0 or not reply.texts:
                break
        return Sampled(tuple(texts), tuple(rejected), failure)

    def _read(self, reply: LlmReply, component: str) -> list[str | Read]:
        """Whole replies count, since an instruction is all that was asked for; missing placeholders are put at the end."""
        found = [read(raw, loose=True) for raw in reply.texts]
        rules = self._rules[component]
        return [r if r.fault else judged(r.text, rules, lambda _: False, completes=True) for r in found]


def distinct(candidates: Iterable[Texts]) -> list[Texts]:
    """The candidates without those that differ in case and white space only from an earlier one."""
    found: dict[Any, Texts] = {}
    for texts in candidates:
        found.setdefault(candidate_key(texts), texts)
    return list(found.values())
