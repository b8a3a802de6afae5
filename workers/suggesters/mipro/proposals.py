"""Instructions written from what the data look like: a summary of the examples first, then one call for each instruction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.domain.llm import LlmReply, LlmRequest, Talk
from services.domain.parameters import TextParameter
from workers.models.drafts import Attempts, Rejected
from workers.models.meta_prompt import MOST_SHOWN, SYSTEM, Read, data, read
from workers.models.texts import TextRules

STEP = "mipro-propose"
ROLE = "instructor"
DONE = "COMPLETE"
BATCH = 10
MOST_BATCHES = 10
SHOWN_DEMONSTRATIONS = 3
TIPS = {
    "none": "",
    "creative": "Take an unusual angle; do not stay close to the present wording.",
    "simple": "Use few, plain words.",
    "description": "Describe at length what is to be done, and how.",
    "high_stakes": "Put the reader into a situation where a mistake would be costly.",
    "persona": "Give the reader the role of somebody who does this for a living.",
}


@dataclass(frozen=True)
class Case:
    """An example as far as its text is known here: labelled parts in order."""

    parts: tuple[tuple[str, str], ...]

    def shown(self, most: int) -> str:
        """Its parts as data."""
        return "\n".join(data(text, label, most) for label, text in self.parts)


@dataclass(frozen=True)
class Proposer:
    """Writes instructions for the components of one study.

    Attributes:
        parameters: the components.
        texts: their starting texts.
        program: the client's words on what the prompt is used in.
        cases: what may be shown; empty where examples are not to leave.
        good: of those with a right output.
        snapshot: of the step.
        generator: of the draws for one instruction (its number and a purpose).
    """

    parameters: Mapping[str, TextParameter]
    texts: Mapping[str, str]
    program: str | None
    cases: Sequence[Case]
    good: Sequence[Case]
    snapshot: int
    generator: Callable[[int, str], np.random.Generator]
    temperature: float | None = None
    max_tokens: int | None = None
    rules: Mapping[str, TextRules] = field(default_factory=dict)

    def write(self, component: str, number: int, is_taken: Callable[[str], bool]) -> Talk[tuple[str | None, Rejected]]:
        """The conversation that brings instruction `number` of a component."""
        summary = yield from self._summary()
        attempts = Attempts(
            ask=lambda key, halvings: self._request(
                key, self._wish(component, number, summary, MOST_SHOWN >> halvings)
            ),
            read=self._reader(component, is_taken),
        )
        return (yield from attempts.talk(f"{STEP}/{component}/{number}"))

    # -- what the data look like

    def _summary(self) -> Talk[str]:
        """A few sentences on the examples, from batches of ten; empty where nothing may be shown or nothing came back."""
        notes: list[str] = []
        batches = [self.cases[i : i + BATCH] for i in range(0, len(self.cases), BATCH)][:MOST_BATCHES]
        for number, batch in enumerate(batches):
            (reply,) = yield [self._request(f"{STEP}/summary/{number}", self._look(batch, notes))]
            note = reply.text.strip()
            if reply.failure is not None or DONE in note:
                break
            if note:
                notes.append(note)
        if not notes:
            return ""
        (reply,) = yield [self._request(f"{STEP}/summary/end", self._shorten(notes))]
        return reply.text.strip()

    @staticmethod
    def _look(batch: Sequence[Case], notes: Sequence[str]) -> str:
        most = MOST_SHOWN // BATCH
        shown = [f"Example {n}\n{case.shown(most)}" for n, case in enumerate(batch, 1)]
        before = ["What was noted so far:", *(data(n, "notes", most) for n in notes)] if notes else []
        wish = (
            "Note what these examples have in common: subject, form of inputs and outputs, traps, what a good answer needs. "
            f"Write at most five sentences. If they show nothing that is not noted yet, answer only {DONE}."
        )
        return "\n\n".join(["Examples of a task:", *shown, *before, wish])

    @staticmethod
    def _shorten(notes: Sequence[str]) -> str:
        shown = [data(note, "notes", MOST_SHOWN // MOST_BATCHES) for note in notes]
        return "\n\n".join(["Notes on the examples of a task:", *shown, "Sum them up in two or three sentences."])

    # -- one instruction

    def _wish(self, component: str, number: int, summary: str, most: int) -> str:
        parameter = self.parameters[component]
        rng = self.generator(number, f"mipro tip {component}")
        tip = TIPS[list(TIPS)[int(rng.integers(len(TIPS)))]]
        parts = ["Write an instruction for a language model."]
        if parameter.task:
            parts.append(f"Its task: {parameter.task}")
        if self.program:
            parts.append(f"It is used in this way: {self.program}")
        if summary:
            parts.append("What the examples of the task look like:\n" + data(summary, "summary", most))
        chosen = [self.good[i] for i in rng.permutation(len(self.good))[:SHOWN_DEMONSTRATIONS]]
        if chosen:
            parts.append("Examples that went well:\n" + "\n\n".join(case.shown(most // 4) for case in chosen))
        parts.append("The present instruction:\n" + data(self.texts[component], "present", most))
        others = {name: text for name, text in self.texts.items() if name != component}
        if others:
            parts.append("Instructions of other steps:\n" + "\n".join(data(t, n, most) for n, t in others.items()))
        kept = "".join(f" Keep {p} exactly as often as it stands there now." for p in parameter.placeholders)
        parts.append(
            f"Write a better one, of at most {parameter.max_length} characters.{kept} {tip}".rstrip()
            + " Answer with the instruction alone, between <text> and </text>."
        )
        return "\n\n".join(parts)

    def _request(self, key: str, content: str) -> LlmRequest:
        return LlmRequest(
            key=key, role=ROLE, snapshot=self.snapshot, messages=(("system", SYSTEM), ("user", content)),
            temperature=self.temperature, max_tokens=self.max_tokens,
        )  # fmt: skip

    def _reader(self, component: str, is_taken: Callable[[str], bool]) -> Callable[[LlmReply], str | Read]:
        rules = self.rules[component]

        def found(reply: LlmReply) -> str | Read:
            got = read(reply.text, key="text", whole=True)
            if got.fault is not None:
                return got
            text = rules.clean(got.text)
            fault = rules.fault(text) or ("duplicate" if is_taken(text) else None)
            return text if fault is None else Read(fault=fault)

        return found
