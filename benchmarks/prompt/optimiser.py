"""The optimiser language model of the benchmark: a pure function of what it is asked, the same for every method and peer.

It finds the prompts in the request by their stem, takes the one that stands last (where methods show the best or the present one), and
edits it: it adds what feedback asks for, else a word of the vocabulary, and at times drops one or mixes two prompts. It answers in the
form that the request shows.
"""

from __future__ import annotations

import hashlib
import re

import numpy as np

from .landscapes import STEM, VOCABULARY

MOODS = (
    "One word.", "Think of stars.", "Happy or sad?", "Positive is good.", "Negative is bad.", "Look for praise.",
    "Look for complaints.",
    "Ignore politeness.", "Mind the word not.", "Trust the ending.", "Be strict.", "Be fair.", "Answer positive or negative.",
    "Sentiment analysis.", "Customer review.", "Five stars are positive.", "One star is negative.", "The writer decides.",
)  # fmt: skip
_PROMPT = re.compile(re.escape(STEM) + r"[^\n<`\"'\[\]{}]*")
_MISSING = re.compile(r"should mention (\w+)")
_HARMFUL = re.compile(r"should not have (\w+)")
_FIELDS = re.compile(r"Your output fields are:(.*?)(?:\n\n|All interactions|\Z)", re.DOTALL)
_FIELD = re.compile(r"`(\w+)`")
ADDED = 2


def reply(request: str, choice: int = 0) -> str:
    """The reply to a request; another one for each choice asked for."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{choice}\n{request}".encode()).digest()[:8], "little"))
    text = edited(request, rng)
    fields = _FIELDS.findall(request)
    if fields and "[[ ## " in request:
        named = _FIELD.findall(fields[-1])
        return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name in named) + "\n\n[[ ## completed ## ]]"
    if "<text>" in request:
        return f"<text>{text}</text>"
    return f"```\n{text}\n```"


def edited(request: str, rng: np.random.Generator) -> str:
    """A new prompt from those in a request."""
    shown = [found.strip() for found in _PROMPT.findall(request)] or [STEM]
    text = shown[-1]
    if len(set(shown)) > 1 and rng.random() < 0.3:
        other = [s for s in dict.fromkeys(shown) if s != text][-1]
        text = _mixed(text, other, rng)
    missing = [word for word in dict.fromkeys(_MISSING.findall(request)) if word not in text]
    for word in dict.fromkeys(_HARMFUL.findall(request)):
        text = re.sub(rf"\s*Mention {word}\.|\b{word}\b", "", text)
    if missing:
        chosen = [f"Mention {word}." for word in rng.permutation(missing)[:ADDED]]
    else:
        chosen = [str(rng.choice(MOODS)) if "review" in text else f"Mention {rng.choice(VOCABULARY)}."]
        if rng.random() < 0.3:
            text = _without_one(text, rng)
    return " ".join([text, *(sentence for sentence in chosen if sentence not in text)])


def _parts(text: str) -> list[str]:
    return [part.strip() for part in re.findall(r"[^.]+\.?", text.removeprefix(STEM)) if part.strip()]


def _mixed(one: str, other: str, rng: np.random.Generator) -> str:
    parts = list(dict.fromkeys(_parts(one) + _parts(other)))
    return " ".join([STEM, *(part for part in parts if rng.random() < 0.7)])


def _without_one(text: str, rng: np.random.Generator) -> str:
    parts = _parts(text)
    if parts:
        del parts[int(rng.integers(len(parts)))]
    return " ".join([STEM, *parts])
