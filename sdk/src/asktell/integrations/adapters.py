"""What an adapter written for GEPA promises, and how its evaluations become outcomes of trials."""

from __future__ import annotations

import copy
import json
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal, Protocol

from ..trial import FEEDBACK_CHARACTERS, Trial

SCORE = "score"
"""The metric of the studies: the mean score, driven up."""
GENERATED = "Generated Outputs"
"""What a component answered, in GEPA's reflective datasets."""

Tells = Literal["train", "all", "none"]
_log = logging.getLogger(__name__)


class EvaluationBatch(Protocol):
    """What `evaluate` answers: lists of the batch's length; `objective_scores` may be absent."""

    outputs: list[Any]
    scores: list[float]
    trajectories: list[Any] | None


class Adapter(Protocol):
    """The part of `gepa.GEPAAdapter` that is called. Scores: higher is better."""

    def evaluate(self, batch: list[Any], candidate: dict[str, Any], capture_traces: bool = False) -> Any:
        """Run the system with the candidate's texts on a batch; an `EvaluationBatch`."""

    def make_reflective_dataset(
        self, candidate: dict[str, Any], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """What there is to learn from the traces of a batch, component by component."""


class Examples:
    """A user's data under the ids that the service knows; the data itself is never sent.

    Args:
        trainset, valset: lists, or GEPA's `DataLoader`s; without a `valset` the train examples decide as well.
    """

    def __init__(self, trainset: Any, valset: Any = None) -> None:
        given = (
            {"train": trainset} if valset is None or valset is trainset else {"train": trainset, "validation": valset}
        )
        self._loaders = {split: data for split, data in given.items() if hasattr(data, "fetch")}
        self._lists = {split: list(data) for split, data in given.items() if split not in self._loaders}
        self._keys = {split: {f"{split}-{key}": key for key in self._all(split)} for split in given}

    def _all(self, split: str) -> Iterable[Any]:
        return self._loaders[split].all_ids() if split in self._loaders else range(len(self._lists[split]))

    @property
    def ids(self) -> dict[str, list[str]]:
        """As a study declares them."""
        return {split: list(keys) for split, keys in self._keys.items()}

    @property
    def full(self) -> str:
        """The split that decides."""
        return "validation" if "validation" in self._keys else "train"

    def key(self, split: str, id: str) -> Any:
        """The user's own id: an index, or the loader's."""
        return self._keys[split][id]

    def fetch(self, split: str, ids: Sequence[str]) -> list[Any]:
        """The examples themselves, in the order of the ids."""
        keys = [self.key(split, id) for id in ids]
        return (
            list(self._loaders[split].fetch(keys)) if split in self._loaders else [self._lists[split][k] for k in keys]
        )


def parameter_names(components: Iterable[str]) -> dict[str, str]:
    """`{component: parameter}`: names that the service takes, as near as may be to those of the components."""
    found: dict[str, str] = {}
    for component in components:
        base = re.sub(r"[^A-Za-z0-9_.\-]", "_", component).lstrip(".-")[:100] or "text"
        name, twins = base, 1
        while name in found.values():
            twins += 1
            name = f"{base}-{twins}"
        found[component] = name
    return found


class Evaluation:
    """Evaluates trials with an adapter and tells them.

    Args:
        names: parameter of each component.
        components: those whose texts are searched.
        tells: of which examples outputs and feedback are told; scores always are.
        keeps_outputs: keep the raw outputs of full evaluations in `outputs`, by trial number and the user's ids.
    """

    def __init__(
        self,
        adapter: Adapter,
        examples: Examples,
        names: Mapping[str, str],
        components: Sequence[str],
        tells: Tells,
        keeps_outputs: bool,
    ) -> None:
        self._adapter = adapter
        self._examples = examples
        self._names = names
        self._components = components
        self._tells = tells
        self._keeps_outputs = keeps_outputs
        self.outputs: dict[int, dict[Any, Any]] = {}

    def candidate(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """A point of the study in the adapter's words."""
        return {component: parameters[name] for component, name in self._names.items() if name in parameters}

    def evaluate(self, parameters: Mapping[str, Any], trial: Trial) -> None:
        """Evaluate a trial on the examples that it asks for.

        Raises:
            ValueError: the adapter broke its promise.
        """
        assert trial.evaluate_on is not None
        split, ids = trial.evaluate_on["split"], trial.evaluate_on["ids"]
        candidate = self.candidate(parameters)
        is_told = self._tells == "all" or self._tells == split
        batch = self._examples.fetch(split, ids)
        found = self._adapter.evaluate(batch, dict(candidate), capture_traces=is_told)
        scores = _scores(found, len(ids))
        rows: list[dict[str, Any]] = [{"id": id, "score": score} for id, score in zip(ids, scores, strict=True)]
        feedback = self._add_words(rows, candidate, found) if is_told else None
        if self._keeps_outputs and split == self._examples.full and len(ids) == len(self._examples.ids[split]):
            self.outputs[trial.number] = {
                self._examples.key(split, id): output for id, output in zip(ids, found.outputs, strict=True)
            }
        trial.tell({SCORE: fmean(scores), **_objectives(found)}, examples=rows, feedback=feedback)

    def _add_words(self, rows: list[dict[str, Any]], candidate: dict[str, Any], found: Any) -> str | None:
        """Outputs and feedback into the rows; feedback that belongs to no single row is answered."""
        for row, output in zip(rows, found.outputs, strict=True):
            if output is not None:
                row["output"] = cut(rendered(output))
        traces = found.trajectories
        if traces is None or len(traces) != len(rows):
            # Some adapters leave examples out that failed: nobody can say which trace belongs to which row.
            return self._feedback(candidate, found)
        for index, row in enumerate(rows):
            if traces[index] is None:
                continue
            if words := self._feedback(candidate, _single(found, index), row.get("output", "")):
                row["feedback"] = words
        return None

    def _feedback(self, candidate: dict[str, Any], found: Any, output: str = "") -> str | None:
        """Words on the one component, or a JSON object with the words on each, by the names of their parameters.

        What a component generated is left out where the told output says it already.
        """

        def said(name: str, value: Any) -> bool:
            return name == GENERATED and rendered(value) in output

        records = {
            component: [
                {name: value for name, value in record.items() if not said(name, value)}
                for record in self._records(component, candidate, found)
            ]
            for component in self._components
        }
        told = {self._names[component]: cut(rendered(rows)) for component, rows in records.items() if rows}
        if not told:
            return None
        return json.dumps(told, ensure_ascii=False) if len(self._components) > 1 else next(iter(told.values()))

    def _records(self, component: str, candidate: dict[str, Any], found: Any) -> list[Mapping[str, Any]]:
        try:
            made = self._adapter.make_reflective_dataset(dict(candidate), found, [component])
        except Exception as error:
            # GEPA goes on without the reflection as well; adapters raise where a component left no trace.
            _log.info("make_reflective_dataset had nothing on %s: %s", component, error)
            return []
        return list(made.get(component, ()))


def _scores(found: Any, count: int) -> list[float]:
    if len(found.scores) != count or len(found.outputs) != count:
        raise ValueError(
            f"the adapter answered {len(found.outputs)} outputs and {len(found.scores)} scores for {count} examples"
        )
    scores = [float(score) for score in found.scores]
    for index, score in enumerate(scores):
        if not math.isfinite(score):
            raise ValueError(f"the adapter's score of example {index} of the batch is {score}")
    return scores


def _objectives(found: Any) -> dict[str, float]:
    rows = getattr(found, "objective_scores", None) or []
    names = dict.fromkeys(name for row in rows for name in row)
    metrics = parameter_names([SCORE, *names])
    return {metrics[name]: fmean(row[name] for row in rows if name in row) for name in names if name != SCORE}


def _single(found: Any, index: int) -> Any:
    """The evaluation of one example alone."""
    part = copy.copy(found)
    for name in ("outputs", "scores", "trajectories", "objective_scores"):
        if getattr(found, name, None) is not None:
            setattr(part, name, [getattr(found, name)[index]])
    return part


def cut(text: str) -> str:
    """At most `FEEDBACK_CHARACTERS`, without what the service refuses."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()[:FEEDBACK_CHARACTERS]


def rendered(value: Any, heading: str = "") -> str:
    """Outputs and records of a reflective dataset as lines: `Feedback: …`; nested ones with the path before the colon."""
    if hasattr(value, "items"):
        under = f"{heading} / " if heading else ""
        return "\n".join(rendered(item, f"{under}{name}") for name, item in value.items())
    if isinstance(value, list | tuple):
        return "\n\n".join(rendered(item, heading) for item in value)
    return f"{heading}: {str(value).strip()}" if heading else str(value).strip()
