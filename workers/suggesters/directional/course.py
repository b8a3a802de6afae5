"""The course so far, read from the trials: which text is the base, and what each direction brought."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from services.domain.history import Observation
from workers.models.merit import Scored, merged
from workers.models.texts import candidate_key

Source = Literal["feedback", "synthesis", "none"]
METHOD = "directional"
MOST_EXAMPLES = 10
KINDS = {
    "r": "result",
    "hp": "why it was right",
    "hn": "why it was wrong",
    "fp": "what to do next",
    "fn": "what to avoid",
}
"""Labels that a client may put before its lines: `[fp] make it shorter`."""

_LABEL = re.compile(r"^[ \t]*\[(r|hp|hn|fp|fn)\][ \t]*", re.IGNORECASE | re.MULTILINE)
_CHANGE = re.compile(
    r"\b(more|less|fewer|shorter|longer|larger|smaller|bigger|higher|lower|increase|decrease|reduce|raise|add|remove|drop|replace|use|"
    r"avoid|include|mention|ask|tell|state|should|must|needs?|try|instead|without|don't|do not|stop|keep|change|make|move|"
    r"too (?:\w+))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Tried:
    """A direction that was followed from the base.

    Attributes:
        direction: in words.
        gain: merit of what came of it less the base's.
        is_told: it is the client's feedback word by word.
    """

    direction: str
    gain: float
    is_told: bool = False


@dataclass(frozen=True)
class Course:
    """Where the search stands.

    Attributes:
        base: the text to improve; None before any outcome.
        tried: directions followed from it, in the order in which the outcomes came.
        ranked: every distinct text, best first.
    """

    base: Scored | None
    tried: tuple[Tried, ...]
    ranked: tuple[Scored, ...]


def course(found: Sequence[Scored], patience: int) -> Course:
    """Replay the outcomes in the order in which they came.

    A better text becomes the base at once, a worse one never; after `patience` own steps in a row without success the best text
    that has not stalled yet is taken (the second best, the first time). Rewritings along one direction fail as one.
    """
    keys = {s.trial.number: _key(s.trial) for s in found}
    worth = {keys[s.trial.number]: s for s in merged(found, lambda t: keys[t.number])}
    base: Scored | None = None
    seen: dict[object, Scored] = {}
    stalled: set[object] = set()
    failed: set[object] = set()
    for outcome in found:
        key = keys[outcome.trial.number]
        is_new = key not in seen
        if is_new:
            seen[key] = replace(worth[key], trial=outcome.trial)
        if is_new and (base is None or _rank(seen[key]) > _rank(base)):
            base, failed = seen[key], set()
        elif outcome.trial.origin.get("method") == METHOD:
            failed.add(outcome.trial.origin["step"])
        if len(failed) >= patience and base is not None:
            stalled.add(keys[base.trial.number])
            if len(stalled) == len(seen):
                stalled.clear()
            base = max((s for k, s in seen.items() if k not in stalled), key=_rank)
            failed = set()
    ranked = sorted(seen.values(), key=_rank, reverse=True)
    return Course(base, () if base is None else _tried(found, base), tuple(ranked))


def _rank(entry: Scored) -> tuple[bool, float]:
    return entry.is_valid, entry.merit


def _tried(found: Sequence[Scored], base: Scored) -> tuple[Tried, ...]:
    own = [s for s in found if s.trial.origin.get("base") == base.trial.number and s.trial.origin.get("direction")]
    return tuple(
        Tried(str(s.trial.origin["direction"]), s.merit - base.merit, s.trial.origin.get("by") == "feedback")
        for s in own
    )


def _key(trial: Observation) -> tuple[tuple[str, str], ...]:
    return candidate_key({name: value for name, value in trial.parameters.items() if isinstance(value, str)})


def told(trial: Observation, sign: float) -> str:
    """What a client said about a trial: its feedback, else that of its examples, the worst ones first.

    Args:
        sign: 1 where a higher score of an example is better, -1 where a lower one is.
    """
    if trial.feedback:
        return trial.feedback
    rows = sorted((row for row in trial.examples or () if row.get("feedback")), key=lambda row: sign * row["score"])
    return "\n".join(f"{row['id']}: {row['feedback']}" for row in rows[:MOST_EXAMPLES])


def kinds(feedback: str) -> set[str]:
    """The labels in a feedback."""
    return {label.lower() for label in _LABEL.findall(feedback)}


def is_directional(feedback: str) -> bool:
    """Whether a feedback says how to change the text: by its labels if it has any, else by its words (English ones)."""
    labels = kinds(feedback)
    return bool(labels & {"fp", "fn"}) if labels else _CHANGE.search(feedback) is not None


def spelled(feedback: str) -> str:
    """The feedback with its labels in words."""
    return _LABEL.sub(lambda found: f"{KINDS[found.group(1).lower()]}: ", feedback)
