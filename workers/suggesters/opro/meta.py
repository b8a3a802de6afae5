"""The meta-prompts: what the model is told about the task, the texts tried so far, the exemplars and the request, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.domain.parameters import TextParameter
from workers.models.exemplars import Exemplar
from workers.models.meta_prompt import SYSTEM, data, escaped
from workers.models.texts import TAG

Messages = tuple[tuple[str, str], ...]
SLOT = "[TEXT]"
PLACES = {
    "before_question": "before the question",
    "question_begin": "at the beginning of the question",
    "question_end": "at the end of the question",
    "answer_begin": "at the beginning of the answer",
}


@dataclass(frozen=True)
class Shown:
    """A tried candidate as the model reads it.

    Attributes:
        texts: by component.
        score: 0 to the number of buckets.
        is_valid: it could be evaluated and keeps the constraints.
        is_partial: it was stopped early, with its last report as score.
        feedback: why not, where it may be shown.
    """

    texts: Mapping[str, str]
    score: int
    is_valid: bool = True
    is_partial: bool = False
    feedback: str = ""


@dataclass(frozen=True)
class Meta:
    """What stays the same for every meta-prompt of a study.

    Attributes:
        parameters: the components.
        buckets: highest score shown.
        longest: characters allowed, by component.
        start: the starting text, by component.
        place: where a text without placeholders is put, one of `PLACES`.
        exemplars_first: exemplars before the tried texts.
        forbid_digits: texts must not have digits.
    """

    parameters: Mapping[str, TextParameter]
    buckets: int
    longest: Mapping[str, int]
    start: Mapping[str, str]
    place: str
    exemplars_first: bool = False
    forbid_digits: bool = False

    def tuned(self, component: str, shown: Sequence[Shown], exemplars: Sequence[Exemplar]) -> Messages:
        """For a model that follows instructions."""
        blocks = [self._tried(component, shown), self._exemplars(component, exemplars)]
        if self.exemplars_first:
            blocks.reverse()
        parts = [self._instruction(component), *blocks, self._request(component, shown)]
        return ("system", SYSTEM), ("user", "\n\n".join(part for part in parts if part))

    def base(self, component: str, shown: Sequence[Shown]) -> Messages:
        """For a model that only continues: scores and texts, the last of them open."""
        parameter = self.parameters[component]
        lines = [f"{s.score} <{TAG}>{escaped(s.texts[component])}</{TAG}>" for s in shown]
        task = " ".join(escaped(parameter.task or "a text").split())
        head = f"Texts for this task: {task}. Each stands {self._position(component)}, after its score."
        return (("user", "\n".join([head, *lines, f"{self.buckets} <{TAG}>"])),)

    # -- the parts

    def _position(self, component: str) -> str:
        placeholders = self.parameters[component].placeholders
        if placeholders:
            return f"as a template in which {' and '.join(placeholders)} will be replaced"
        return PLACES[self.place]

    def _instruction(self, component: str) -> str:
        parameter = self.parameters[component]
        lines = ["A text is to be found that works as well as possible for a task; each text is tried out and scored."]
        if parameter.task:
            lines.append(f"The task:\n{data(parameter.task, 'task')}")
        lines.append(f"The text will be used {self._position(component)}.")
        if len(self.parameters) > 1:
            lines.append(f"It is one of several parts that work together; the one to improve is {component!r}.")
        lines.append(f"Scores run from 0 to {self.buckets}; higher is better.")
        return "\n".join(lines)

    def _tried(self, component: str, shown: Sequence[Shown]) -> str:
        if not shown:
            start = self.start[component]
            return f"What others began with, not scored yet:\n{data(start, 'text')}" if start else ""
        head = "Texts tried so far, from the lowest score to the highest, the best one last:"
        return "\n\n".join([head, *(self._entry(component, s) for s in shown)])

    def _entry(self, component: str, shown: Shown) -> str:
        names = sorted(shown.texts, key=lambda name: name != component)
        texts = "\n".join(data(shown.texts[name], "text" if len(names) == 1 else name) for name in names)
        if shown.is_valid:
            return f"{texts}\nscore: {shown.score}{', when it was stopped early' if shown.is_partial else ''}"
        why = f", because\n{data(shown.feedback, 'feedback')}" if shown.feedback else ""
        return f"{texts}\nscore: {shown.score}, for it is not valid{why}"

    def _exemplars(self, component: str, exemplars: Sequence[Exemplar]) -> str:
        if not exemplars:
            return ""
        is_template = bool(self.parameters[component].placeholders)
        head = "Examples of the task" + ("" if is_template else f", with {SLOT} where the text will stand") + ":"
        return "\n\n".join([head, *(self._exemplar(e, is_template) for e in exemplars)])

    def _exemplar(self, exemplar: Exemplar, is_template: bool) -> str:
        place, question = "" if is_template else self.place, exemplar.input
        asked = {"question_begin": f"{SLOT} {question}", "question_end": f"{question} {SLOT}"}.get(place, question)
        before = f"{SLOT}\n" if place == "before_question" else ""
        answer = f"A: {SLOT}" if place == "answer_begin" else "A:"
        whole = f"{before}Q: {asked}\n{answer}"
        return f"{data(whole, 'input')}\n{data(exemplar.output, 'expected output')}"

    def _request(self, component: str, shown: Sequence[Shown]) -> str:
        parameter = self.parameters[component]
        what = "one new text" if len(self.parameters) == 1 else f"one new text for {component!r}"
        lines = [
            f"Write {what} that differs from all of these and scores higher."
            if shown
            else f"Write {what} that is likely to score high.",
            f"It may have at most {self.longest[component]} characters.",
        ]
        if parameter.placeholders:
            lines.append(f"It must keep {' and '.join(parameter.placeholders)}, as often as the texts above do.")
        if self.forbid_digits:
            lines.append("It must not contain digits.")
        lines.append(f"Put it between <{TAG}> and </{TAG}>.")
        return "\n".join(lines)
