"""Small edits of texts: what the methods that write without a language model move by (card prompt 5).

The edits of phrases are those of GrIPS (Prasad et al. 2023): delete, swap, substitute, add. Alternatives for words come from an own
table or from an encoder. Placeholders are never deleted or replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from .chunks import SENTENCE_ENDS, Level, split, words_of, woven
from .encoders import PACKAGE, pool_vectors
from .texts import TextRules, text_key
from .thesaurus import additions, alternatives, vocabulary

Paraphrase = Callable[[str], Sequence[str]]
TRIES = 80
NEAREST_WORDS = 10


def has_letters(text: str) -> bool:
    """Whether a text says anything: some letter of any script."""
    return any(c.isalpha() for c in text)


# -- paraphrases


def by_thesaurus(phrase: str) -> list[str]:
    """The phrase with one of its words, or runs of up to three words, replaced by each of its alternatives; empty if none has any."""
    return _with_others(phrase, lambda words: alternatives().get(words, ()), 3)


def by_encoder(phrase: str, encoder: str = PACKAGE) -> list[str]:
    """The phrase with one of its words replaced by each of the instruction words nearest to it.

    Raises:
        EncoderError: the encoder is not there.
    """
    return _with_others(phrase, lambda word: _nearest(word, encoder), 1)


def _with_others(phrase: str, others: Callable[[str], Sequence[str]], longest: int) -> list[str]:
    words = words_of(phrase)
    found: dict[str, None] = {}
    for first in range(len(words)):
        for last in range(first, min(first + longest, len(words))):
            start, end = words[first].start, words[last].end
            if words[first].is_fixed or words[last].is_fixed:
                continue
            run = phrase[start:end]
            for other in others(text_key(run)):
                found[phrase[:start] + _like(run, other) + phrase[end:]] = None
    return list(found)


def _like(old: str, new: str) -> str:
    """A word or phrase with the capitals of the one that it replaces."""
    if len(old) > 1 and old.isupper():
        return new.upper()
    return new[:1].upper() + new[1:] if old[:1].isupper() else new


@lru_cache(4096)
def _nearest(word: str, encoder: str) -> tuple[str, ...]:
    known = vocabulary()
    (vector,) = pool_vectors([word], encoder)
    if not vector.any():
        return ()
    likeness = pool_vectors(known, encoder) @ vector
    order = np.argsort(-likeness, kind="stable")
    return tuple(known[i] for i in order if known[i] != word)[:NEAREST_WORDS]


# -- one step from a text


def neighbour(
    text: str,
    rules: TextRules,
    rng: np.random.Generator,
    is_taken: Callable[[str], bool],
    paraphrase: Paraphrase = by_thesaurus,
) -> str | None:
    """A valid text one edit away (two, where single ones keep failing) that is not taken; None if 80 tries bring none.

    Edits: replace, delete or swap words or phrases, add a short instruction.
    """
    for attempt in range(TRIES):
        edited = _edited(text, rules, rng, paraphrase)
        if attempt >= TRIES // 2:
            edited = _edited(edited, rules, rng, paraphrase)
        edited = rules.clean(edited)
        if (
            text_key(edited) == text_key(text)
            or not has_letters(edited)
            or rules.fault(edited) is not None
            or is_taken(edited)
        ):
            continue
        return edited
    return None


def _edited(text: str, rules: TextRules, rng: np.random.Generator, paraphrase: Paraphrase) -> str:
    """One edit of a kind drawn at random; the text itself where that kind finds nothing to do."""
    kind = rng.choice(("substitute", "add", "delete", "swap"), p=(0.4, 0.25, 0.2, 0.15))
    if kind == "add" or not text.strip():
        return _instructed(text, rules, rng)
    # Swapped words would mostly be nonsense.
    level: Level = "word" if kind != "swap" and rng.random() < 0.5 else "phrase"
    phrases = split(text, rules.parameter.placeholders, level)
    free = phrases.free
    if kind == "swap" and len(phrases) > 1:
        i, j = rng.choice(len(phrases), 2, replace=False)
        return phrases.swapped(int(i), int(j))
    if kind == "delete" and free and len(phrases) > 1:
        return phrases.deleted(free[int(rng.integers(len(free)))])
    if kind == "substitute":
        replaceable = [(i, others) for i in free if (others := paraphrase(phrases.parts[i]))]
        if replaceable:
            i, others = replaceable[int(rng.integers(len(replaceable)))]
            return phrases.substituted(i, others[int(rng.integers(len(others)))])
    return text


def _instructed(text: str, rules: TextRules, rng: np.random.Generator) -> str:
    """The text with a short instruction before one of the sentences, or after the last one where that is ended."""
    sentence = additions()[int(rng.integers(len(additions())))] + "."
    if text_key(sentence) in text_key(text):
        return text
    phrases = split(text, rules.parameter.placeholders, "sentence")
    if not len(phrases):
        return f"{text.strip()} {sentence}".strip()
    place = int(rng.integers(len(phrases) + 1))
    if place == len(phrases):
        if not SENTENCE_ENDS.search(phrases.gaps[-1]):
            place = 0
        else:
            return f"{text.rstrip()} {sentence}"
    return woven(
        phrases.parts, (*phrases.gaps[:place], f"{phrases.gaps[place]}{sentence} ", *phrases.gaps[place + 1 :])
    )
