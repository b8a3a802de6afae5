"""Texts as phrases: a shallow chunker in place of a parser (card prompt 5).

Sentences, their clauses at punctuation and conjunctions, runs of at most five words: constituents without a model (Prasad et al. 2023,
"GrIPS", and Pan et al. 2023, "Plum", parse). What stands between phrases (white space, punctuation, quotes) is a gap and stays where
it is when phrases change places. Placeholders are never split.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Literal

Level = Literal["phrase", "word", "sentence", "span"]
LONGEST_RUN = 5
_SLOT = r"\{[A-Za-z_][A-Za-z0-9_]*\}"
_SCRIPTS_WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
SENTENCE_ENDS = re.compile(r"[.!?…。！？｡।؟]")
_CLAUSE_MARKS = re.compile(r"[^\w\s'’\"“”]")
_CONJUNCTIONS = frozenset(
    (
        "after", "although", "and", "because", "before", "but", "if", "or", "since", "so", "that", "then", "unless", "until", "when",
        "whether", "which", "while",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Word:
    """A word of a text, or a placeholder in it: `text[start:end]`."""

    start: int
    end: int
    is_fixed: bool = False


@dataclass(frozen=True)
class Phrases:
    """A text as disjoint phrases and what stands around them.

    Attributes:
        parts: n phrases in order.
        gaps: n + 1, before the first phrase, between two, after the last one.
        fixed: which phrases hold a placeholder: they may be moved, never deleted or replaced.
    """

    parts: tuple[str, ...]
    gaps: tuple[str, ...]
    fixed: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def text(self) -> str:
        """The whole text."""
        return woven(self.parts, self.gaps)

    @property
    def free(self) -> list[int]:
        """The phrases that may be deleted or replaced."""
        return [i for i, is_fixed in enumerate(self.fixed) if not is_fixed]

    def deleted(self, i: int) -> str:
        """The text without phrase `i`; of the gaps around it the stronger one stays."""
        before, after = self.gaps[i], self.gaps[i + 1]
        if i == len(self) - 1 and i > 0:
            gap = after
        elif i == 0:
            gap = before
        else:
            gap = max(before, after, key=_strength)
        return woven(self.parts[:i] + self.parts[i + 1 :], (*self.gaps[:i], gap, *self.gaps[i + 2 :]))

    def swapped(self, i: int, j: int) -> str:
        """The text with phrases `i` and `j` in each other's places."""
        parts = list(self.parts)
        parts[i], parts[j] = parts[j], parts[i]
        return woven(parts, self.gaps)

    def substituted(self, i: int, phrase: str) -> str:
        """The text with another phrase in place `i`."""
        return woven((*self.parts[:i], phrase, *self.parts[i + 1 :]), self.gaps)

    def added(self, phrase: str, after: int) -> str:
        """The text with one phrase more, after phrase `after`; -1 is the front."""
        if not self.parts:
            return self.text + phrase
        i = after + 1
        beside = self.parts[max(after, 0)]
        gap = "" if is_unspaced(phrase[-1:]) and is_unspaced(beside[-1:]) else " "
        gaps = (*self.gaps[:i], gap, *self.gaps[i:]) if after >= 0 else (self.gaps[0], gap, *self.gaps[1:])
        return woven((*self.parts[:i], phrase, *self.parts[i:]), gaps)


def split(text: str, placeholders: Sequence[str] = (), level: Level = "phrase") -> Phrases:
    """A text as phrases of a level.

    Args:
        placeholders: never split; on the levels `phrase` and `word` each is a phrase of its own. What looks like `{a_slot}` counts
            as one.
        level: `phrase`: runs of at most five words within clauses; `word`; `sentence`; `span`: each sentence in two to four chunks
            of nearly equal length.
    """
    return _split(text, tuple(placeholders), level)


@lru_cache(256)
def _split(text: str, placeholders: tuple[str, ...], level: Level) -> Phrases:
    words = words_of(text, placeholders)
    runs = _runs(text, words, level)
    parts = tuple(text[words[a].start : words[b - 1].end] for a, b in runs)
    edges = [0, *(edge for a, b in runs for edge in (words[a].start, words[b - 1].end)), len(text)]
    gaps = tuple(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))
    return Phrases(parts, gaps, tuple(any(w.is_fixed for w in words[a:b]) for a, b in runs))


# -- the chunker


def words_of(text: str, placeholders: tuple[str, ...] = ()) -> list[Word]:
    """The words of a text, punctuation around them left out; placeholders whole."""
    found: list[Word] = []
    end = 0
    for match in _fixed_pattern(placeholders).finditer(text):
        found += _plain_words(text, end, match.start())
        found.append(Word(match.start(), match.end(), True))
        end = match.end()
    return found + _plain_words(text, end, len(text))


@cache
def _fixed_pattern(placeholders: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(placeholders, key=len, reverse=True)
    return re.compile("|".join([*map(re.escape, longest_first), _SLOT]))


def _plain_words(text: str, start: int, end: int) -> list[Word]:
    found: list[Word] = []
    for run in re.finditer(r"\S+", text[start:end]):
        a, b = start + run.start(), start + run.end()
        while a < b and _is_mark(text[a]):
            a += 1
        while b > a and _is_mark(text[b - 1]):
            b -= 1
        if a < b:
            found += _script_words(text, a, b)
    return found


def _script_words(text: str, start: int, end: int) -> list[Word]:
    """A run without white space as words: one, or one a character in scripts that put no spaces between words."""
    run = text[start:end]
    if run.isascii() or not any(map(is_unspaced, run)):
        return [Word(start, end)]
    found: list[Word] = []
    for i in range(start, end):
        character = text[i]
        if _is_mark(character):
            continue
        joins = found and found[-1].end == i
        is_combining = unicodedata.category(character).startswith("M")
        if joins and (is_combining or not (is_unspaced(character) or is_unspaced(text[i - 1]))):
            found[-1] = Word(found[-1].start, i + 1)
        else:
            found.append(Word(i, i + 1))
    return found


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


@cache
def is_unspaced(character: str) -> bool:
    """Whether a character is of a script that puts no spaces between words."""
    return bool(character) and unicodedata.name(character, "").startswith(_SCRIPTS_WITHOUT_SPACES)


def _runs(text: str, words: Sequence[Word], level: Level) -> list[tuple[int, int]]:
    """Phrases as half-open ranges of words."""
    if level == "word":
        return [(i, i + 1) for i in range(len(words))]
    sentences = _cut(len(words), lambda i: _ends_sentence(text, words, i))
    if level == "sentence":
        return sentences
    if level == "span":
        return [chunk for a, b in sentences for chunk in _chunks(a, b, min(4, max(2, -(-(b - a) // LONGEST_RUN))))]
    clauses = _cut(len(words), lambda i: _ends_sentence(text, words, i) or _ends_clause(text, words, i))
    return [chunk for a, b in clauses for chunk in _chunks(a, b, -(-(b - a) // LONGEST_RUN))]


def _cut(count: int, is_end: Callable[[int], bool]) -> list[tuple[int, int]]:
    """Ranges of `count` words, cut before each word `i` > 0 for which `is_end(i)`."""
    edges = [0, *(i for i in range(1, count) if is_end(i)), count]
    return [(a, b) for a, b in pairwise(edges) if a < b]


def _chunks(first: int, end: int, count: int) -> list[tuple[int, int]]:
    """A range in `count` nearly equal ones, fewer where it is shorter."""
    edges = [first + (end - first) * k // count for k in range(count + 1)]
    return [(a, b) for a, b in pairwise(edges) if a < b]


def _ends_sentence(text: str, words: Sequence[Word], i: int) -> bool:
    gap = text[words[i - 1].end : words[i].start]
    if "\n" in gap:
        return True
    return bool(SENTENCE_ENDS.search(gap)) and not text[words[i].start].islower()


def _ends_clause(text: str, words: Sequence[Word], i: int) -> bool:
    if words[i - 1].is_fixed or words[i].is_fixed:
        return True
    gap = text[words[i - 1].end : words[i].start]
    return bool(_CLAUSE_MARKS.search(gap)) or text[words[i].start : words[i].end].casefold() in _CONJUNCTIONS


# -- gaps


def woven(parts: Sequence[str], gaps: Sequence[str]) -> str:
    """n parts with n + 1 gaps around them."""
    return gaps[0] + "".join(part + gap for part, gap in zip(parts, gaps[1:], strict=True))


def _strength(gap: str) -> tuple[bool, bool, bool, bool]:
    """How much a gap separates: a new line, the end of a sentence, another mark, white space."""
    return "\n" in gap, bool(SENTENCE_ENDS.search(gap)), any(_is_mark(c) for c in gap), bool(gap.strip() != gap or gap)
