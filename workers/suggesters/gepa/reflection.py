"""The one call of an iteration: a model reads what happened on a few examples, and writes the component anew."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.domain.llm import LlmReply, LlmRequest
from services.domain.parameters import TextParameter
from workers.models.meta_prompt import MOST_SHOWN, SYSTEM, Read, data, is_refusal, read
from workers.models.texts import TextRules

ROLE = "reflector"
_FENCES = re.compile(r"`{3,}")
_LANGUAGE = re.compile(r"\A[^\s`]*[ \t]*\n")
_PARTS = (("output", "what came out"), ("expected", "what was expected"), ("feedback", "feedback"))


@dataclass(frozen=True)
class Shown:
    """An example as the model sees it.

    Attributes:
        row: as told by the client.
        score: 0 to 100, higher is better.
    """

    row: Mapping[str, Any]
    score: int


@dataclass(frozen=True)
class Reflection:
    """What is asked about one component of a candidate.

    Attributes:
        parameter: the component.
        text: as it is.
        others: the candidate's other components.
        examples: what happened on the minibatch.
        feedback: on the minibatch as a whole.
        snapshot: of the iteration.
    """

    parameter: TextParameter
    text: str
    others: Mapping[str, str]
    examples: Sequence[Shown]
    feedback: str | None
    snapshot: int

    def request(self, key: str, halvings: int, temperature: float | None, max_tokens: int | None) -> LlmRequest:
        """The call; each halving shows half of each part."""
        return LlmRequest(
            key=key, role=ROLE, snapshot=self.snapshot, temperature=temperature, max_tokens=max_tokens,
            messages=(("system", SYSTEM), ("user", self._message(MOST_SHOWN >> halvings))),
        )  # fmt: skip

    def _message(self, most: int) -> str:
        parts = [self._opening(), fenced(self.text)]
        if self.others:
            parts.append("It works together with these texts, which stay as they are:")
            parts += [data(text, name, most) for name, text in self.others.items()]
        parts.append(
            f"It was used on {len(self.examples)} examples. Scores run from 0 to 100, higher is better. This is what happened."
        )
        parts += [self._example(n, example, most) for n, example in enumerate(self.examples, 1)]
        if self.feedback:
            parts.append("On these examples as a whole:\n" + data(self.feedback, "feedback", most))
        return "\n\n".join([*parts, self._wish()])

    def _opening(self) -> str:
        task = f" Its task: {self.parameter.task}" if self.parameter.task else ""
        return (
            f"The text `{self.parameter.name}` steers a system that you cannot see.{task} This is its present wording:"
        )

    def _example(self, number: int, example: Shown, most: int) -> str:
        lines = [f"# Example {number}", f"Score: {example.score}"]
        for field, label in _PARTS:
            lines += _part(example.row.get(field), label, self.parameter.name if field == "feedback" else "", most)
        return "\n".join(lines)

    def _wish(self) -> str:
        rules = [f"at most {self.parameter.max_length} characters"]
        rules += [f"{p} must stand in it exactly as often as now" for p in self.parameter.placeholders]
        return (
            "Write the whole text anew so that the system does better on examples of this kind, not only on these. "
            "Work out what the task is and which form its inputs and outputs have. Whatever the feedback reveals about the subject, "
            "and every way of working that proved itself, belongs into the text: the system will see nothing else. "
            f"Keep to this: {'; '.join(rules)}. Answer with the full new text between one pair of ``` fences."
        )


def _part(told: str | None, label: str, component: str, most: int) -> list[str]:
    """The labelled part; of feedback that is a JSON object with the component's name only what is under it."""
    if not told:
        return []
    named = _named(told, component) if component else None
    if isinstance(named, dict):
        return [data(v if isinstance(v, str) else json.dumps(v), _label(k), most) for k, v in named.items()]
    return [data(told if named is None else str(named), label, most)]


def _named(told: str, component: str) -> Any:
    if not told.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(told)
    except (ValueError, RecursionError):
        return None
    return found.get(component) if isinstance(found, dict) else None


def _label(key: str) -> str:
    return re.sub(r"[^\w .-]", " ", key)[:60]


def fenced(text: str) -> str:
    """A text in a fence longer than any inside."""
    fence = "`" * max([3, *(len(f) + 1 for f in _FENCES.findall(text))])
    return f"{fence}\n{text}\n{fence}"


def read_fenced(reply: LlmReply) -> Read:
    """The text between the first and the last fence, without a language word; a missing closer is forgiven.

    A reply without any fence is read as other methods' replies are (tags, JSON).
    """
    text = reply.text
    fences = list(_FENCES.finditer(text))
    if not fences:
        return read(text, key="text")
    if len(fences) == 1 and not text[fences[0].end() :].strip():
        found = text[: fences[0].start()]  # only the closer is there
    else:
        end = fences[-1].start() if len(fences) > 1 else len(text)
        found = _LANGUAGE.sub("", text[fences[0].end() : end], count=1)
    found = found.strip()
    if is_refusal(found):
        return Read(fault="refused")
    return Read(found) if found else Read(fault="empty")


def reader(
    rules: TextRules, rewrite: Callable[[str], dict[str, str]], is_taken: Callable[[dict[str, str]], bool]
) -> Callable[[LlmReply], str | Read]:
    """Reads a reply into a text that may be tried, or into what is wrong with it."""

    def found(reply: LlmReply) -> str | Read:
        got = read_fenced(reply)
        if got.fault is not None:
            return got
        text = rules.clean(got.text)
        fault = rules.fault(text) or ("duplicate" if is_taken(rewrite(text)) else None)
        return text if fault is None else Read(fault=fault)

    return found
