"""What scattered forest search asks a language model, and how it reads the replies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from services.domain.history import Observation
from services.domain.llm import LlmReply, LlmRequest, Talk
from services.domain.parameters import TextParameter
from workers.models.drafts import HALVINGS, Rejected
from workers.models.meta_prompt import MOST_SHOWN, SYSTEM, Read, data, is_refusal, read_list, shortened

T = TypeVar("T")
Messages = tuple[tuple[str, str], ...]
TRIES = 2
MOST_ROWS = 5
LONGEST_DIRECTION = 600
LONGEST_LESSON = 300
THEMES = (
    "the plainest solution that can work",
    "take care of unusual and extreme inputs first",
    "another representation of the problem than the first that comes to mind",
    "split the work into small steps, each easy to check",
    "work backwards from what the result must look like",
    "as general as possible, without special cases",
    "start from a known method for problems of this kind",
    "spend effort on checking the result before it is given",
    "as short as possible",
    "spell out every assumption, and what to do where it fails",
)
STOCK = (
    "Handle the inputs on which it fails or would fail, without touching the others.",
    "Replace its central idea by a different one.",
    "Make it simpler and more exact, step by step.",
    "Reconsider how it reads its input and how it states its result.",
    "Add a check that catches a wrong result, and a second way where it strikes.",
)
_COMPLAINTS = {
    "empty": "There was nothing in your answer.",
    "unparsable": "Your answer could not be read.",
    "refused": "That was not what was asked for.",
    "too_long": "It is longer than what is allowed.",
    "placeholder": "The placeholders do not stand in it exactly as they must.",
    "duplicate": "That text was tried already. It has to be another one.",
}


@dataclass(frozen=True)
class Told:
    """An outcome as the model sees it.

    Attributes:
        text: of the component in question.
        score: 0 to 100, higher is better.
        trial: for its feedback and examples, None where they must not be shown.
    """

    text: str
    score: int
    trial: Observation | None

    def shown(self, label: str, sign: float, most: int) -> str:
        """The text, its score, and what the client said about it."""
        # A text that is to be written anew must be seen whole, unless that was too much.
        whole = len(self.text) if most >= MOST_SHOWN else most
        parts = [f"{data(self.text, label, whole)}\nScore: {self.score}"]
        if self.trial is not None and self.trial.feedback:
            parts.append("What its tests said:\n" + data(self.trial.feedback, "feedback", most))
        if self.trial is not None:
            parts += [_row(row, most) for row in _worst(self.trial, sign)]
        return "\n\n".join(parts)


def _worst(trial: Observation, sign: float) -> list[Mapping[str, Any]]:
    """The tests that went worst; none of those that went best, unless all went alike."""
    rows = sorted(trial.examples or (), key=lambda row: sign * row["score"])
    if rows and rows[0]["score"] != rows[-1]["score"]:
        rows = [row for row in rows if row["score"] != rows[-1]["score"]]
    return rows[:MOST_ROWS]


def _row(row: Mapping[str, Any], most: int) -> str:
    labels = (("output", "what came out"), ("expected", "what was expected"), ("feedback", "feedback"))
    parts = [data(str(row[field]), label, most // MOST_ROWS) for field, label in labels if row.get(field)]
    return "\n".join(["A test that failed or did worst:", *parts]) if parts else "A test did badly, without words."


@dataclass(frozen=True)
class Desk:
    """Writes the messages about one text parameter.

    Attributes:
        sign: of the metric: 1 where higher is better.
        others: the candidate's other texts.
    """

    parameter: TextParameter
    sign: float

    def _purpose(self) -> str:
        task = f" Its task: {self.parameter.task}" if self.parameter.task else ""
        return f"A text, `{self.parameter.name}`, is tested by a system that you cannot see; it may be a program.{task}"

    def _rules(self) -> str:
        rules = [f"at most {self.parameter.max_length} characters"]
        rules += [f"{p} must stand in it exactly as often as it does now" for p in self.parameter.placeholders]
        return f"Rules: {'; '.join(rules)}. Answer with the whole text in one block between ``` fences, and nothing else in fences."

    @staticmethod
    def _beside(others: Mapping[str, str], most: int) -> list[str]:
        if not others:
            return []
        return [
            "It works together with these, which stay as they are:",
            *(data(t, name, most) for name, t in others.items()),
        ]

    def seed(self, theme: str, start: str | None, others: Mapping[str, str], most: int) -> Messages:
        """A root of its own."""
        parts = [self._purpose(), *self._beside(others, most)]
        if start:
            parts.append(
                "One that exists, for its form; yours is to be independent of it:\n" + data(start, "text", most)
            )
        parts.append(f"Write one from scratch. Its guiding idea: {theme}.")
        return _messages([*parts, self._rules()])

    def scatter(self, told: Told, lessons: Sequence[str], others: Mapping[str, str], count: int, most: int) -> Messages:
        """Different directions in which a text could be changed."""
        parts = [
            self._purpose(),
            *self._beside(others, most),
            "Scores run from 0 to 100, higher is better.",
            told.shown("text", self.sign, most),
        ]
        if lessons:
            parts.append("Lessons from earlier changes, oldest first:\n" + data("\n".join(lessons), "lessons", most))
        parts.append(
            f"Name {count} directions in which this text could be changed for a better score. They must differ in kind, not in "
            "degree: each from another idea of what is wrong or missing. Do not repeat what is known to hurt. One or two sentences "
            f"each, no new text yet. Answer with a JSON list of {count} strings."
        )
        return _messages(parts)

    def implement(self, told: Told, direction: str, others: Mapping[str, str], most: int) -> Messages:
        """The text, changed along one direction."""
        parts = [
            self._purpose(),
            *self._beside(others, most),
            told.shown("text", self.sign, most),
            "Change it in this direction, and leave alone what has nothing to do with it:",
            data(direction, "direction"),
            self._rules(),
        ]
        return _messages(parts)

    def scout(self, before: Told, direction: str, after: Told, most: int) -> Messages:
        """The lesson of a change."""
        half = most // 2
        parts = [
            self._purpose(),
            "Scores run from 0 to 100, higher is better. Before:\n" + before.shown("before", self.sign, half),
            "The change that was wanted:\n" + data(direction, "direction", half),
            "After:\n" + after.shown("after", self.sign, half),
            "In one line: what does this teach about changing such texts, so that others need not try it again? Answer with that "
            "line only.",
        ]
        return _messages(parts)


def _messages(parts: Sequence[str]) -> Messages:
    return (("system", SYSTEM), ("user", "\n\n".join(parts)))


def asked(
    make: Callable[[str, Messages], LlmRequest],
    messages: Callable[[int], Messages],
    read: Callable[[LlmReply], T | Read],
    key: str,
) -> Talk[tuple[T | None, Rejected]]:
    """Ask, and once again with the complaint where the reply cannot be used; halve what is shown where it was too long.

    Args:
        make: a request of a key and messages.
        messages: with so much shown of each part.
        read: what was asked for, or what is wrong with the reply.
    """
    rejected: list[str] = []
    halvings, complaint = 0, Messages()
    while len(rejected) < TRIES:
        place = f"{key}/{len(rejected)}.{halvings}" if halvings else f"{key}/{len(rejected)}"
        (reply,) = yield [make(place, messages(MOST_SHOWN >> halvings) + complaint)]
        if reply.failure == "context_length" and halvings < HALVINGS:
            halvings += 1
            continue
        if reply.failure is not None:
            return None, Rejected(tuple(rejected), reply.failure)
        found = read(reply)
        if not isinstance(found, Read):
            return found, Rejected(tuple(rejected))
        fault = found.fault or "unparsable"
        rejected.append(fault)
        words = _COMPLAINTS.get(fault, _COMPLAINTS["unparsable"])
        complaint = (
            ("assistant", shortened(reply.text, 2000)),
            ("user", f"{words} Please answer again, in the form asked for."),
        )
    return None, Rejected(tuple(rejected))


def read_directions(reply: LlmReply, most: int) -> tuple[str, ...] | Read:
    """The different directions of a reply, `most` at most."""
    found = (shortened(d, LONGEST_DIRECTION) for d in read_list(reply.text, 4 * most))
    directions = tuple({" ".join(d.casefold().split()): d for d in found}.values())[:most]
    if directions:
        return directions
    return Read(fault="refused" if is_refusal(reply.text) else "unparsable")


def read_lesson(reply: LlmReply) -> str | None:
    """The first line of a reply that says something."""
    lines = [line.strip(" -*`\t") for line in reply.text.splitlines()]
    line = next((line for line in lines if any(c.isalpha() for c in line)), "")
    return None if not line or is_refusal(reply.text) else line[:LONGEST_LESSON]
