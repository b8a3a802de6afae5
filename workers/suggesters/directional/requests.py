"""What the two roles are asked: the analyst for one direction, the writer for one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.domain.parameters import TextParameter
from workers.models.meta_prompt import SYSTEM, data
from workers.models.texts import TAG, TextRules

from .course import spelled

Messages = tuple[tuple[str, str], ...]
DIRECTION = "direction"
MOST_REPEATED = 1000
SCALE = "Scores run from 0 to 100; higher is better."


@dataclass(frozen=True)
class Entry:
    """A tried candidate as the model reads it.

    Attributes:
        number: of the trial.
        texts: by component.
        score: 0 to 100.
        is_valid: it could be evaluated and keeps the constraints.
        is_partial: it was stopped early, with its last report as score.
        feedback: what was told about it, empty where it must not be shown.
    """

    number: int
    texts: Mapping[str, str]
    score: int
    is_valid: bool = True
    is_partial: bool = False
    feedback: str = ""


@dataclass(frozen=True)
class Outcome:
    """A direction tried from the base, and by how much the score changed each time, on the scale shown."""

    direction: str
    changes: tuple[int, ...]
    helped: bool


def analysis(
    parameter: TextParameter, component: str, window: Sequence[Entry], base: Entry, tried: Sequence[Outcome]
) -> Messages:
    """For the analyst: the latest trials in the order of time.

    Args:
        component: the part to change; empty where there is only one.
    """
    parts = [
        "A text is being improved for a task, trial by trial. Find out in which direction to change it next.",
        _task(parameter, component),
        "The latest trials in the order of time:",
        *(_entry(e, component) for e in window),
        f"The text to improve is that of trial {base.number}:\n\n{_entry(base, component)}"
        if base not in window
        else "",
        _tried(tried),
        "Say for consecutive texts what was changed and what that did to the score. Then give one direction in which to change "
        f"the text of trial {base.number} so that its score rises: one instruction of one to three sentences, no whole text. "
        f"Put it between <{DIRECTION}> and </{DIRECTION}>.",
    ]
    return _messages(parts)


def rewriting(
    rules: TextRules, component: str, base: Entry | str, direction: str, best: Sequence[Entry], latest: Sequence[Entry],
    tried: Sequence[Outcome], *, may_adopt: bool = False,
) -> Messages:  # fmt: skip
    """For the writer: one new text along the direction.

    Args:
        base: the text to rewrite; before any outcome what the study starts from, which has no score.
        direction: empty where none was found: then only the scores lead.
        best: ascending, the best one last.
        latest: in the order of time.
        may_adopt: a text that stands in the feedback may be taken over.
    """
    parameter = rules.parameter
    adopt = "" if may_adopt else " (if it holds a whole text, do not copy that; write your own)"
    if isinstance(base, str):
        task = "Write a text that is likely to score high."
    elif direction:
        task = f"Rewrite the text of trial {base.number} along the direction; change what the direction asks for."
    else:
        task = f"Rewrite the text of trial {base.number} so that it scores higher."
    parts = [
        "A text is being improved for a task, trial by trial.",
        _task(parameter, component),
        "The best texts, the best one last:" if best else "",
        *(_entry(e, component) for e in best),
        "The latest trials in the order of time:" if latest else "",
        *(_entry(e, component) for e in latest),
        _base(base, component),
        f"The direction in which to change it{adopt}:\n{data(direction, DIRECTION)}" if direction else "",
        _tried(tried),
        f"{task} Say in one sentence what you change and why. Then put the new text, and nothing else, between <{TAG}> and "
        f"</{TAG}>. {_rules(rules)}",
    ]
    return _messages(parts)


def _messages(parts: Sequence[str]) -> Messages:
    return ("system", SYSTEM), ("user", "\n\n".join(part for part in parts if part))


def _task(parameter: TextParameter, component: str) -> str:
    lines = [f"The task:\n{data(parameter.task, 'task')}"] if parameter.task else []
    if component:
        lines.append(f"The text is one of several parts that work together; the part to change is {component!r}.")
    return "\n".join([*lines, SCALE])


def _rules(rules: TextRules) -> str:
    kept = " and ".join(rules.parameter.placeholders)
    lines = [f"It may have at most {rules.parameter.max_length} characters."]
    if kept:
        lines.append(f"It must keep {kept}, as often as the text above does.")
    return " ".join(lines)


def _entry(entry: Entry, component: str) -> str:
    names = sorted(entry.texts, key=lambda name: name != component)
    lines = [data(entry.texts[name], "text" if len(names) == 1 else name) for name in names]
    why = ", for it is not valid" if not entry.is_valid else ", when it was stopped early" if entry.is_partial else ""
    lines.append(f"score: {entry.score}{why}")
    if entry.feedback:
        lines.append(data(spelled(entry.feedback), "feedback"))
    return "\n".join([f"trial {entry.number}", *lines])


def _base(base: Entry | str, component: str) -> str:
    if isinstance(base, Entry):
        return f"The text to rewrite:\n\n{_entry(base, component)}"
    return f"What others began with, not scored yet:\n{data(base, 'text')}" if base else ""


def _tried(tried: Sequence[Outcome]) -> str:
    if not tried:
        return ""
    lines = [
        f"{data(t.direction, DIRECTION, MOST_REPEATED)}\nit {'helped' if t.helped else 'was contradicted'}: "
        f"{', '.join(f'{change:+d}' for change in t.changes)}"
        for t in tried
    ]
    return "Directions already followed from that text:\n" + "\n".join(lines)
