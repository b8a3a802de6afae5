"""What makes a proposed text valid: one path for every method that writes texts (card prompt 0.3)."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal

from services.domain.history import History
from services.domain.parameters import TextParameter
from services.domain.space import Space

Fault = Literal["empty", "too_long", "placeholder", "duplicate", "unparsable", "refused", "not_allowed"]

TAG = "text"
_FENCE = re.compile(r"\A```[^\n`]*\n(.*?)\n?```\Z", re.DOTALL)
_TAGS = re.compile(rf"</?\s*(?:{TAG}|candidate|data)\b[^>]*>", re.IGNORECASE)
_SLOT = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
_UNWANTED = {"Cc", "Cs"}  # control characters and lone surrogates, which UTF-8 cannot carry


class TextRules:
    """The rules of one text parameter.

    A declared placeholder stands in a text exactly as often as in the first starting text (once without one); anything else that
    looks like `{a_placeholder}` may only stand there if a starting text has it.
    """

    def __init__(self, parameter: TextParameter) -> None:
        self.parameter = parameter
        seed = parameter.initial[0] if parameter.initial else parameter.default
        self.wanted = {p: 1 if seed is None else max(1, seed.count(p)) for p in parameter.placeholders}
        known = [*parameter.initial, *([parameter.default] if parameter.default else [])]
        self._known_slots = {slot for text in known for slot in _SLOT.findall(text)} | set(parameter.placeholders)

    def clean(self, raw: str) -> str:
        """NFC, without control characters, outer white space, an enclosing code fence and the parser's own tags."""
        text = raw.replace("\r\n", "\n").replace("\r", "\n")
        text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _UNWANTED)
        text = unicodedata.normalize("NFC", text).strip()
        fenced = _FENCE.match(text)
        if fenced:
            text = fenced.group(1).strip()
        return text

    def fault(self, text: str) -> Fault | None:
        """What is wrong with a cleaned text, duplicates aside; None if nothing is."""
        if not any(c.isprintable() and not c.isspace() for c in text):  # nothing, or nothing that can be seen
            return "empty"
        if len(text) > self.parameter.max_length:
            return "too_long"
        if any(text.count(placeholder) != count for placeholder, count in self.wanted.items()):
            return "placeholder"
        if not set(_SLOT.findall(text)) <= self._known_slots:
            return "placeholder"
        return "unparsable" if _TAGS.search(text) else None


@lru_cache(maxsize=4096)
def text_key(text: str) -> str:
    """Equal for texts that differ in case and white space only."""
    return " ".join(text.casefold().split())


def candidate_key(texts: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The same for a candidate of several components."""
    return tuple(sorted((name, text_key(text)) for name, text in texts.items()))


def text_parameters(space: Space) -> tuple[TextParameter, ...]:
    """The text parameters of a space, in its order."""
    return tuple(p for p in space.parameters if isinstance(p, TextParameter))


def components(space: Space, point: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a point by parameter."""
    return {p.name: point[p.name] for p in text_parameters(space) if p.name in point}


def known_keys(history: History) -> set[tuple[tuple[str, str], ...]]:
    """The candidates of every trial, in any state."""
    return {candidate_key(components(history.spec.space, t.parameters)) for t in history.trials}


def starting_candidates(space: Space) -> list[dict[str, str]]:
    """The candidates to try first: the k-th starting text of every component (its last one where it has fewer)."""
    parameters = text_parameters(space)
    starts = [_starts(p) for p in parameters]
    found: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for k in range(max((len(s) for s in starts), default=0)):
        candidate = {p.name: s[min(k, len(s) - 1)] for p, s in zip(parameters, starts, strict=True)}
        found.setdefault(candidate_key(candidate), candidate)
    return list(found.values())


def _starts(parameter: TextParameter) -> list[str]:
    default = [parameter.default] if parameter.default is not None else []
    return list(dict.fromkeys([*default, *parameter.initial])) or [parameter.centre()]


def tally(faults: Iterable[str]) -> dict[str, int]:
    """Rejections counted by reason."""
    return dict(sorted(Counter(faults).items()))
