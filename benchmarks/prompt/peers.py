"""GEPA and DSPy's MIPROv2 with the same scripted optimiser and the same meter, and random edits as the floor."""

from __future__ import annotations

import io
import logging
import math
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import numpy as np

from . import optimiser
from .landscapes import Landscape
from .meter import BudgetSpent, Meter


def gepa(landscape: Landscape, budget: int, seed: int) -> Meter:
    """`gepa.optimize` with its defaults; feedback through the reflective data set."""
    import gepa as library
    from gepa.core.adapter import EvaluationBatch

    meter = Meter(landscape, budget)

    class Adapter:
        propose_new_texts = None

        def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:
            found = meter.rows(candidate["prompt"], batch)
            return EvaluationBatch(
                outputs=[row["output"] for row in found],
                scores=[row["score"] for row in found],
                trajectories=found if capture_traces else None,
            )

        def make_reflective_dataset(self, candidate: Any, eval_batch: Any, components_to_update: Any) -> Any:
            rows = [
                {"Inputs": row["id"], "Generated Outputs": row["output"], "Feedback": row["feedback"]}
                for row in eval_batch.trajectories
            ]
            return dict.fromkeys(components_to_update, rows)

    def reflect(prompt: Any) -> str:
        meter.calls += 1
        text = prompt if isinstance(prompt, str) else "\n\n".join(m["content"] for m in prompt)
        return optimiser.reply(text, choice=meter.calls)

    class Silent:
        def log(self, message: str) -> None:
            """GEPA's own progress is not for this table."""

    try:
        library.optimize(
            seed_candidate={"prompt": landscape.seed_text}, trainset=list(landscape.train),
            valset=list(landscape.validation), adapter=Adapter(), reflection_lm=reflect, max_metric_calls=budget,
            seed=seed, logger=Silent(),
        )  # fmt: skip
    except BudgetSpent:
        return meter
    return meter


def mipro(landscape: Landscape, budget: int, seed: int) -> Meter:
    """DSPy's `MIPROv2`, instructions alone, every trial on all validation examples (there are too few for its minibatches)."""
    import dspy

    logging.getLogger("dspy").setLevel(logging.CRITICAL)
    meter = Meter(landscape, budget)

    class Scripted(dspy.BaseLM):  # type: ignore[misc]
        def forward(self, prompt: Any = None, messages: Any = None, **options: Any) -> Any:
            from types import SimpleNamespace as Part

            meter.calls += 1
            text = prompt or "\n\n".join(str(m["content"]) for m in messages)
            message = Part(content=optimiser.reply(text, choice=meter.calls), tool_calls=None)
            choice = Part(message=message, finish_reason="stop")
            return Part(choices=[choice], usage={}, model="scripted")

    class Prompted(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.answer = dspy.Predict(dspy.Signature("example -> answer", landscape.seed_text))

        def forward(self, example: str) -> Any:
            (row,) = meter.rows(self.answer.signature.instructions, [example])
            return dspy.Prediction(answer=row["output"], score=row["score"])

    def metric(example: Any, prediction: Any, trace: Any = None) -> float:
        return float(prediction.score)

    def examples(ids: tuple[str, ...]) -> list[Any]:
        return [dspy.Example(example=i, answer="complete").with_inputs("example") for i in ids]

    trials = max(1, math.floor(budget / len(landscape.validation)) - 1)
    candidates = max(2, min(trials, 18))
    # Its progress bars go nowhere; what comes after the budget fails example by example, and counts as nothing.
    silence = io.StringIO()
    with (
        redirect_stdout(silence),
        redirect_stderr(silence),
        dspy.context(lm=Scripted(model="scripted", cache=False)),
    ):
        teleprompter = dspy.MIPROv2(
            metric=metric, auto=None, num_candidates=candidates, max_bootstrapped_demos=0, max_labeled_demos=0,
            num_threads=1, seed=seed, max_errors=10**6,
        )  # fmt: skip
        try:
            teleprompter.compile(
                Prompted(), trainset=examples(landscape.train), valset=examples(landscape.validation),
                num_trials=trials, minibatch=False, seed=seed,
            )  # fmt: skip
        except BudgetSpent:
            return meter
    return meter


def random_edits(landscape: Landscape, budget: int, seed: int) -> Meter:
    """The optimiser's edits of random earlier prompts, without regard to scores: what selection has to beat."""
    meter = Meter(landscape, budget)
    rng = np.random.default_rng(seed)
    family = [landscape.seed_text]
    try:
        meter.rows(landscape.seed_text, landscape.validation)
        while True:
            parent = family[int(rng.integers(len(family)))]
            child = optimiser.edited(parent, rng)
            if child not in family:
                family.append(child)
                meter.rows(child, landscape.validation)
    except BudgetSpent:
        return meter


PEERS = {"GEPA (gepa)": gepa, "MIPROv2 (dspy)": mipro, "random edits": random_edits}
