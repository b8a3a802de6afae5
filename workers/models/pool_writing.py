"""What a pool asks a language model for: instructions guessed from exemplars (Zhou et al. 2022), variations of a text."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from services.domain.history import History
from services.domain.llm import LlmReply, LlmRequest
from services.domain.suggester import Problem

from .pool_options import PoolOptions
from .text_pool import Candidate, Key
from .texts import TextRules, candidate_key, text_parameters
from .variations import Messages, drawn, in_other_words, induced, judged, read_child

STEP = "pool"
ROLE = "generator"


class PoolWriter:
    """Makes the calls of a study's pool, and reads their replies. Components take turns, call by call."""

    def __init__(self, problem: Problem, options: PoolOptions) -> None:
        self._options = options
        self._rules = [TextRules(p) for p in text_parameters(problem.space)]
        calls = options.subsets if options.exemplars else 0
        self._inductions = [
            induced(drawn(options.exemplars, problem.generator(i, "pool exemplars")), self._rules[i % len(self._rules)])
            for i in range(calls)
        ]

    def _request(self, key: str, messages: Messages, snapshot: int) -> LlmRequest:
        options = self._options
        return LlmRequest(
            key=key, role=ROLE, snapshot=snapshot, messages=messages, n=options.samples,
            temperature=options.temperature, top_p=options.top_p, max_tokens=options.max_tokens,
        )  # fmt: skip

    # -- from exemplars

    def inductions(self, history: History) -> list[LlmRequest]:
        """One call for each subset of the exemplars; none without exemplars."""
        recorded = history.replies.snapshot(STEP)
        snapshot = history.seq if recorded is None else recorded
        return [self._request(f"{STEP}/{i}", m, snapshot) for i, m in enumerate(self._inductions)]

    def induced(self, replies: Sequence[LlmReply]) -> tuple[list[Candidate], list[str]]:
        """The candidates in the replies, and why others were not taken.

        A text is for one component: the others have their starting texts in turn, or texts written for them where they have none.
        """
        texts: dict[str, list[str]] = {rules.parameter.name: [] for rules in self._rules}
        rejected: list[str] = []
        for reply in replies:
            rules = self._rules[int(reply.key.split("/")[1]) % len(self._rules)]
            for raw in reply.texts:
                found = _read(raw, rules)
                texts[rules.parameter.name].append(found[0]) if found[0] else rejected.append(found[1])
        return self._combined({name: list(dict.fromkeys(own)) for name, own in texts.items()}), rejected

    def _combined(self, texts: dict[str, list[str]]) -> list[Candidate]:
        fillers = {}
        for rules in self._rules:
            parameter = rules.parameter
            given = [text for text in (parameter.default, *parameter.initial) if text]
            fillers[parameter.name] = given or texts[parameter.name]
        if not all(fillers.values()):
            return []
        return [
            {other: text if other == name else found[i % len(found)] for other, found in fillers.items()}
            for name, own in texts.items()
            for i, text in enumerate(own)
        ]

    # -- around a text

    def variations(self, parent: Candidate, step: str, snapshot: int) -> list[LlmRequest]:
        """Calls for a text in other words, enough for a refill."""
        calls = max(len(self._rules), -(-self._options.refill_size // self._options.samples))
        return [
            self._request(f"{step}/{i}", in_other_words(parent[rules.parameter.name], rules), snapshot)
            for i, rules in ((i, self._rules[i % len(self._rules)]) for i in range(calls))
        ]

    def varied(
        self, parent: Candidate, replies: Sequence[LlmReply], known: Collection[Key]
    ) -> tuple[list[Candidate], list[str]]:
        """The new candidates in the replies, and why others were not taken."""
        found: list[Candidate] = []
        keys, rejected = set(known), list[str]()
        for reply in replies:
            rules = self._rules[int(reply.key.split("/")[1]) % len(self._rules)]
            for raw in reply.texts:
                text, fault = _read(raw, rules)
                candidate = {**parent, rules.parameter.name: text}
                fault = fault or ("duplicate" if candidate_key(candidate) in keys else "")
                if fault:
                    rejected.append(fault)
                    continue
                keys.add(candidate_key(candidate))
                found.append(candidate)
        return found, rejected


def _read(raw: str, rules: TextRules) -> tuple[str, str]:
    """The text in a reply, or what is wrong with it."""
    found = read_child(raw)
    if found.fault is not None:
        return "", found.fault
    text = judged(found.text, rules, lambda _: False)
    return (text, "") if isinstance(text, str) else ("", text.fault or "unparsable")
