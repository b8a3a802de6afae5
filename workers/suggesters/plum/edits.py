"""How new texts are made of old ones: edits of phrases, crossing, and harmonies of segments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np

from services.domain.llm import LlmRequest, Talk
from workers.models.chunks import Phrases, is_unspaced, split, woven
from workers.models.drafts import Rejected, in_words
from workers.models.meta_prompt import SYSTEM, data, read_list
from workers.models.phrases import by_encoder, by_thesaurus, has_letters
from workers.models.texts import TextRules, text_key

from . import Kind, PlumOptions

PARAPHRASES = 10
MODEL_TRIES = 3


@dataclass(frozen=True)
class Edit:
    """A text on its way.

    Attributes:
        text: as it stands.
        kinds: what was done, in order.
        deleted, added: phrases that the edits of these kinds took out and put in.
        note: why the language model did not paraphrase; empty if it did, or was not to.
    """

    text: str
    kinds: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    note: str = ""

    def then(self, other: Edit) -> Edit:
        """With what came after it; a phrase that was added again is not deleted any more."""
        gone = [p for p in (*self.deleted, *other.deleted) if p not in other.added]
        return Edit(
            other.text, self.kinds + other.kinds, tuple(dict.fromkeys(gone)), self.added + other.added,
            other.note or self.note,
        )  # fmt: skip


class Editor:
    """Edits the texts of one component in one step.

    Args:
        step: its name in the ledger of calls.
        snapshot: of the step.
        asks_model: paraphrases come from the language model; from the table where it does not answer.
    """

    def __init__(self, rules: TextRules, options: PlumOptions, step: str, snapshot: int, asks_model: bool) -> None:
        self._rules, self._options = rules, options
        self._step, self._snapshot, self._asks_model = step, snapshot, asks_model

    def split(self, text: str) -> Phrases:
        """A text as phrases of the level that is edited."""
        return split(text, self._rules.parameter.placeholders, self._options.level)

    def composed(self, text: str, deleted: Sequence[str], rng: np.random.Generator) -> Talk[Edit | None]:
        """Some edits in a row, split again between; None where there was nothing to do.

        Args:
            deleted: phrases that may be added.
        """
        found = Edit(text)
        for _ in range(self._options.compose):
            may_add = [p for p in deleted if p not in found.added]
            following = yield from self.one(self.split(found.text), may_add, rng, found.text)
            if following is not None:
                found = found.then(following)
        return found if found.kinds else None

    def one(self, phrases: Phrases, deleted: Sequence[str], rng: np.random.Generator, whole: str) -> Talk[Edit | None]:
        """One edit of a kind drawn among those that are possible; None if none is.

        Args:
            whole: the text that the phrases are of; a model is shown it.
        """
        kinds = [kind for kind in self._options.edits if self._is_possible(kind, phrases, deleted)]
        if not kinds:
            return None
        kind = kinds[int(rng.integers(len(kinds)))]
        if kind == "substitute":
            return (yield from self.substituted(phrases, rng, whole))
        if kind == "delete":
            i = phrases.free[int(rng.integers(len(phrases.free)))]
            return Edit(phrases.deleted(i), ("delete",), deleted=(phrases.parts[i],))
        if kind == "swap":
            i, j = (int(k) for k in rng.choice(len(phrases), 2, replace=False))
            return Edit(phrases.swapped(i, j), ("swap",))
        phrase = deleted[int(rng.integers(len(deleted)))]
        after = int(rng.integers(-1, len(phrases)))
        return Edit(phrases.added(phrase, after), ("add",), added=(phrase,))

    @staticmethod
    def _is_possible(kind: Kind, phrases: Phrases, deleted: Sequence[str]) -> bool:
        if kind == "add":
            return bool(deleted)
        if kind == "swap":
            return len(phrases) > 1
        return bool(phrases.free) and (kind == "substitute" or len(phrases) > 1)

    def substituted(self, phrases: Phrases, rng: np.random.Generator, whole: str) -> Talk[Edit | None]:
        """A phrase in other words; None where no phrase has any."""
        note = ""
        if self._asks_model:
            i = phrases.free[int(rng.integers(len(phrases.free)))]
            written, note = yield from self._asked(phrases.parts[i], whole)
            if written:
                return Edit(phrases.substituted(i, written[int(rng.integers(len(written)))]), ("substitute",))
        known = [(i, others) for i in phrases.free if (others := self._local(phrases.parts[i]))]
        if not known:
            return None
        i, others = known[int(rng.integers(len(known)))]
        text = phrases.substituted(i, others[int(rng.integers(len(others)))])
        return Edit(text, ("substitute",), note=note)

    def _local(self, phrase: str) -> Sequence[str]:
        if self._options.paraphraser == "encoder":
            return by_encoder(phrase, self._options.encoder)
        return by_thesaurus(phrase)

    def _asked(self, phrase: str, whole: str) -> Talk[tuple[list[str], str]]:
        """The model's paraphrases of a phrase, or why there are none. A step asks for a phrase of a text once."""
        place = sha256(f"{phrase}\n{whole}".encode()).hexdigest()[:16]
        (reply,) = yield [
            LlmRequest(
                key=f"{self._step}/{place}", role="paraphraser", snapshot=self._snapshot, messages=_messages(phrase, whole),
                temperature=1.0,
            )
        ]  # fmt: skip
        if reply.failure is not None:
            return [], in_words(Rejected((), reply.failure))
        longest = max(60, 4 * len(phrase))
        read = [self._rules.clean(text).strip("\"'“”") for text in read_list(reply.text, PARAPHRASES)]
        found = [t for t in read if has_letters(t) and len(t) <= longest and text_key(t) != text_key(phrase)]
        return found, "" if found else in_words(Rejected(("unparsable",)))


def _messages(phrase: str, whole: str) -> tuple[tuple[str, str], ...]:
    asked = (
        f"A text and one of its phrases follow.\n\n{data(whole, 'text')}\n\n{data(phrase, 'phrase')}\n\n"
        f"Write {PARAPHRASES} different phrases that could stand in its place: the same meaning in other words, of about the same "
        "length, so that the sentence around them stays right. Answer with a JSON list of strings and nothing else."
    )
    return ("system", SYSTEM), ("user", asked)


# -- runs of phrases of several texts


@dataclass(frozen=True)
class Run:
    """A stretch of a text, to be joined to stretches of others.

    Attributes:
        text: without the gap after it.
        lead: the gap before it, where it begins its text.
        gap: the gap after it.
        close: the gap that ends its text.
        is_end: whether it ends its text.
    """

    text: str
    lead: str
    gap: str
    close: str
    is_end: bool


def run_of(phrases: Phrases, first: int, end: int) -> Run:
    """Phrases `first` to `end` - 1, at least one."""
    inside = woven(phrases.parts[first:end], ("", *phrases.gaps[first + 1 : end], ""))
    lead = phrases.gaps[0] if first == 0 else ""
    return Run(inside, lead, phrases.gaps[end], phrases.gaps[-1], end == len(phrases))


def joined(runs: Sequence[Run]) -> str:
    """Runs as one text: the last one ends as its own text does; between two there is room."""
    kept = [run for run in runs if run.text]
    found = ""
    for i, run in enumerate(kept):
        gap = run.close if i == len(kept) - 1 else run.gap
        if i < len(kept) - 1 and run.is_end and gap[-1:].strip() == gap[-1:] and not is_unspaced(run.text[-1]):
            gap += " "
        found += (run.lead if i == 0 else "") + run.text + gap
    return found


def crossed(first: Phrases, second: Phrases, cut: int) -> str:
    """The first `cut` phrases of one text, then those of the other from there."""
    runs = [run_of(first, 0, min(cut, len(first)))] if cut and len(first) else []
    if cut < len(second):
        runs.append(run_of(second, cut, len(second)))
    return joined(runs)


def bounds(segment: int, segments: int, count: int) -> tuple[int, int]:
    """The phrases of a segment of `count` phrases, half-open: together the segments hold each phrase once."""
    return math.ceil(segment * count / segments), math.ceil((segment + 1) * count / segments)


def harmony(
    editor: Editor,
    memory: Sequence[tuple[str, Sequence[str]]],
    options: PlumOptions,
    rng: np.random.Generator,
) -> Talk[tuple[Edit, list[int]]]:
    """A text of segments of texts of the memory (Geem et al. 2001), and which ones.

    Args:
        memory: texts with the phrases that may be added to them.
    """
    found, runs, used = Edit(""), list[Run](), list[int]()
    for segment in range(options.segments):
        member = int(rng.integers(len(memory)))
        text, deleted = memory[member]
        phrases = editor.split(text)
        first, end = bounds(segment, options.segments, len(phrases))
        keeps, adjusts = rng.random() < options.keep_rate, rng.random() < options.adjust_rate
        if first == end:
            continue
        used.append(member)
        run, edit = run_of(phrases, first, end), None
        part = Phrases(phrases.parts[first:end], ("", *phrases.gaps[first + 1 : end], ""), phrases.fixed[first:end])
        if keeps and adjusts and part.free:
            edit = yield from editor.substituted(part, rng, text)
        elif not keeps:
            edit = yield from editor.one(part, [p for p in deleted if p not in found.added], rng, text)
        if edit is not None:
            found, run = found.then(edit), replace(run, text=edit.text)
        runs.append(run)
    return replace(found, text=joined(runs)), list(dict.fromkeys(used))
