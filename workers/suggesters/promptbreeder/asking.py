"""What Promptbreeder asks the language model for, in our own words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workers.models.meta_prompt import data, is_refusal, read
from workers.models.texts import TAG, TextRules
from workers.models.variations import ASK, Messages, messages, purpose

MOST_SHOWN_EACH = 2000
LONGEST_MUTATION = 300


def initial(mutation: str, style: str, text: str, rules: TextRules) -> Messages:
    """A founder: a mutation prompt and a thinking style applied to the problem."""
    return messages(
        f"{mutation} {style}", purpose(rules), _given(text, rules),
        f"Write the prompt that comes of it. {ASK}",
    )  # fmt: skip


def hint(text: str, rules: TextRules) -> Messages:
    """Zero order: a fresh prompt from what the problem is."""
    return messages(
        "Here is a problem. Give one hint that leads to its solution, as a prompt.",
        purpose(rules),
        _given(text, rules),
        ASK,
    )


def applied(mutation: str, text: str, rules: TextRules) -> Messages:
    """First order: a mutation prompt applied to a prompt."""
    return messages(mutation, purpose(rules), data(text, "the prompt"), ASK)


def continued(texts: Sequence[str], rules: TextRules) -> Messages:
    """The next one of a list of diverse members."""
    return messages(
        "Continue this list of prompts by one that fits in, yet resembles none of them.",
        purpose(rules),
        *_listed(texts),
        ASK,
    )


def continued_ranked(texts: Sequence[str], rules: TextRules) -> Messages:
    """The next one of a list that rises in merit and is told to fall, which keeps the answer from copying the last ones."""
    last = len(texts)
    return messages(
        f"These prompts stand in descending order of merit. Number {last + 1}, which is still to be written, is the best of all; it "
        f"is more like number {last} than like number 1. Write number {last + 1}.",
        purpose(rules), *_listed(texts), ASK,
    )  # fmt: skip


def continued_lineage(texts: Sequence[str], rules: TextRules) -> Messages:
    """The next one of the prompts that were once the best, in the order in which they came."""
    return messages(
        "Each of these prompts was better than all before it. Write the one that comes next.",
        purpose(rules), *_listed(texts), ASK,
    )  # fmt: skip


def explained(answers: Iterable[Mapping[str, Any]], rules: TextRules) -> Messages:
    """Lamarckian: the prompt that worked answers seem to follow."""
    shown = [data(str(row["output"]), "a right answer", MOST_SHOWN_EACH) for row in answers]
    return messages(
        "Somebody got one prompt and, following it, gave these answers, which are right. What was the prompt?",
        *shown, purpose(rules), ASK,
    )  # fmt: skip


def new_mutation(style: str, text: str, rules: TextRules) -> Messages:
    """Zero order hyper-mutation: a mutation prompt from a thinking style."""
    return messages(
        f"{style} With that in mind, write one instruction that tells how to change a prompt for the better.",
        purpose(rules), _given(text, rules), _ONE_SENTENCE,
    )  # fmt: skip


def better_mutation(mutation: str) -> Messages:
    """First order hyper-mutation: an improved mutation prompt."""
    return messages(
        "This instruction tells how to change a prompt. Sum it up and improve it.",
        data(mutation, "the instruction"),
        _ONE_SENTENCE,
    )


_ONE_SENTENCE = f"Answer with the instruction, in at most two sentences, between <{TAG}> and </{TAG}>."


def read_mutation(reply: str) -> str | None:
    """A mutation prompt in a reply: one line without marks, since it will stand outside of delimiters; None if there is none."""
    found = read(reply, whole=True)
    text = " ".join(found.text.split())
    if found.fault or not text or len(text) > LONGEST_MUTATION or set("<>{}") & set(text) or is_refusal(text):
        return None
    return text


def _given(text: str, rules: TextRules) -> str:
    """Where no task is declared, a starting text says what the problem is."""
    if rules.parameter.task or not any(c.isalpha() for c in text):
        return ""
    return data(text, "a prompt for the problem")


def _listed(texts: Sequence[str]) -> list[str]:
    return [data(text, f"prompt {i}", MOST_SHOWN_EACH) for i, text in enumerate(texts, 1)]
