"""What population methods ask a language model for: a new text, one in other words, two crossed, the rule behind answers.

The words are our own; what is shown follows the cards prompt 10, 12 and 13.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from services.domain.llm import LlmReply

from .exemplars import Exemplar, pairs
from .meta_prompt import SYSTEM, Read, data, read
from .texts import TAG, Fault, TextRules

Messages = tuple[tuple[str, str], ...]
_QUOTED = re.compile(r"\"([^\"\n]+)\"|“([^”\n]+)”")
PAIRS = 5
INDUCTION: dict[str, Any] = {"temperature": 0.9, "top_p": 0.9, "max_tokens": 50}
"""How instructions are sampled from answers (Zhou et al. 2022)."""
ASK = f"Answer with the new text between <{TAG}> and </{TAG}>, and nothing else between them."


def messages(*parts: str) -> Messages:
    """A request of these paragraphs, empty ones left out."""
    return (("system", SYSTEM), ("user", "\n\n".join(part for part in parts if part)))


def purpose(rules: TextRules) -> str:
    """What the text is for and what it must keep, as far as the study says it."""
    parameter = rules.parameter
    lines = []
    if parameter.task:
        lines.append(f"The text is a prompt for this task:\n{data(parameter.task, 'the task')}")
    if rules.wanted:
        kept = ", ".join(f"{slot} ({count} times)" if count > 1 else slot for slot, count in rules.wanted.items())
        lines.append(f"The text must contain, letter by letter and as often as said: {kept}.")
    lines.append(f"It may have at most {parameter.max_length} characters.")
    return "\n".join(lines)


def fresh(rules: TextRules) -> Messages:
    """Write a text from the task alone."""
    return messages("Write a prompt that makes a language model do its task well.", purpose(rules), ASK)


def in_other_words(text: str, rules: TextRules) -> Messages:
    """Write a variation that means the same; one from the task where there is no text yet."""
    if not any(c.isalpha() for c in text):
        return fresh(rules)
    return messages(
        "Say the text below in other words. Its meaning must stay; its wording should be clearly another.",
        purpose(rules), data(text, "the text"), ASK,
    )  # fmt: skip


def crossed(first: str, second: str, rules: TextRules) -> Messages:
    """Cross two texts, then mutate what came of it."""
    return messages(
        "Two texts are to have a child. First cross them: write one text that joins parts of both. Then mutate it: change its "
        "wording or an idea in it here and there. The child is what stands after both steps.",
        purpose(rules), data(first, "the first text"), data(second, "the second text"), ASK,
    )  # fmt: skip


def drawn(exemplars: Sequence[Exemplar], rng: np.random.Generator) -> list[Exemplar]:
    """Five of them, or all where there are fewer, in random order."""
    return [exemplars[int(i)] for i in rng.permutation(len(exemplars))[:PAIRS]]


def induced(shown: Sequence[Exemplar], rules: TextRules) -> Messages:
    """Name the instruction that answers follow."""
    return messages(
        "Somebody was given one instruction and, following it, wrote these outputs for these inputs.",
        pairs(shown), purpose(rules),
        f"Which instruction was it? Answer with the instruction between <{TAG}> and </{TAG}>, and nothing else between them.",
    )  # fmt: skip


def read_child(reply: str) -> Read:
    """The text in a reply; without tags what was quoted last, else the last line (card prompt 10)."""
    found = read(reply)
    if found.fault != "unparsable":
        return found
    quoted = [one or other for one, other in _QUOTED.findall(reply)]
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    return Read((quoted or lines)[-1])


def completed(text: str, rules: TextRules) -> str:
    """A text with the placeholders that it lacks put at its end."""
    missing = [slot for slot, count in rules.wanted.items() for _ in range(count - text.count(slot))]
    return f"{text}\n{' '.join(missing)}" if missing else text


def accepting(
    rules: TextRules,
    is_taken: Callable[[str], bool],
    *,
    completes: bool = False,
) -> Callable[[LlmReply], str | Read]:
    """A reader of replies: the valid new text, or what is wrong.

    Args:
        completes: put missing placeholders at the end rather than reject.
    """

    def accept(reply: LlmReply) -> str | Read:
        found = read_child(reply.text)
        if found.fault is not None:
            return found
        return judged(found.text, rules, is_taken, completes=completes)

    return accept


def judged(raw: str, rules: TextRules, is_taken: Callable[[str], bool], *, completes: bool = False) -> str | Read:
    """A text as it would be proposed, or what is wrong with it."""
    text = rules.clean(raw)
    if completes and text:
        text = completed(text, rules)
    fault: Fault | None = rules.fault(text) or ("duplicate" if is_taken(text) else None)
    return text if fault is None else Read(fault=fault)
