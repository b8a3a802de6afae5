"""What came of a search, in GEPA's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..fields import TrialFields
from ..study import Study
from ..trial import Trial
from .adapters import SCORE, Examples

if TYPE_CHECKING:
    from gepa.core.result import GEPAResult


@dataclass(frozen=True, kw_only=True)
class Result:
    """The candidates that were scored on all examples, in the order in which they were found; 0 is the seed.

    Names and shapes are those of `gepa.GEPAResult`; example ids are the user's own (positions in a list, or a loader's ids).

    Attributes:
        candidates: `{component: text}` each.
        parents: index of the candidate that each one was made from, `[None]` where that is not known.
        val_aggregate_scores: mean score of each.
        val_subscores: `{example id: score}` of each.
        per_val_instance_best_candidates: per example the candidates that reach the best score on it.
        discovery_eval_counts: example evaluations spent before each.
        val_aggregate_subscores: further objectives of the adapter, as means; None without.
        best_outputs_valset: per example `[(candidate, output)]` of the best ones, as far as this process evaluated them.
        total_metric_calls: example evaluations in all.
        num_full_val_evals: evaluations on all examples.
        study_name: where the rest is: `client.study(result.study_name)`.
    """

    study_name: str
    candidates: list[dict[str, Any]]
    parents: list[list[int | None]]
    val_aggregate_scores: list[float]
    val_subscores: list[dict[Any, float]]
    per_val_instance_best_candidates: dict[Any, set[int]]
    discovery_eval_counts: list[int]
    val_aggregate_subscores: list[dict[str, float]] | None = None
    best_outputs_valset: dict[Any, list[tuple[int, Any]]] | None = None
    total_metric_calls: int = 0
    num_full_val_evals: int = 0
    seed: int | None = None
    run_dir: None = field(default=None, init=False)

    @property
    def num_candidates(self) -> int:
        """How many candidates."""
        return len(self.candidates)

    @property
    def num_val_instances(self) -> int:
        """How many examples decide."""
        return len(self.per_val_instance_best_candidates)

    @property
    def best_idx(self) -> int:
        """The candidate with the best mean, the first of equals.

        Raises:
            ValueError: none was scored on all examples.
        """
        scores = self.val_aggregate_scores
        if not scores:
            raise ValueError(f"no trial of study {self.study_name!r} was scored on all examples yet")
        return max(range(len(scores)), key=scores.__getitem__)

    @property
    def best_candidate(self) -> dict[str, Any]:
        """Its texts.

        Raises:
            ValueError: none was scored on all examples.
        """
        return self.candidates[self.best_idx]

    def to_gepa(self) -> GEPAResult[Any, Any]:
        """The same as GEPA's own class, for its trees and files.

        Raises:
            ImportError: `pip install gepa`.
        """
        from .gepa import needed

        names = (
            "candidates", "parents", "val_aggregate_scores", "val_subscores", "per_val_instance_best_candidates",
            "discovery_eval_counts", "val_aggregate_subscores", "best_outputs_valset", "total_metric_calls",
            "num_full_val_evals", "seed",
        )  # fmt: skip
        made: GEPAResult[Any, Any] = needed("gepa.core.result").GEPAResult(
            **{name: getattr(self, name) for name in names}
        )
        return made


def read(
    study: Study,
    examples: Examples,
    candidate: Callable[[Mapping[str, Any]], dict[str, Any]],
    outputs: Mapping[int, Mapping[Any, Any]] | None,
) -> Result:
    """What a study has come to."""
    told = [trial for trial in study.list_trials() if trial.state == "completed" and trial.examples]
    full = [trial for trial in told if _is_full(trial, examples)]
    subscores = [{examples.key(examples.full, row["id"]): row["score"] for row in t.examples or ()} for t in full]
    further = [{name: value for name, value in t.metrics.items() if name != SCORE} for t in full]
    fronts = _fronts(subscores)
    return Result(
        study_name=study.name,
        candidates=[candidate(trial.parameters) for trial in full],
        parents=_parents(full),
        val_aggregate_scores=[fmean(scores.values()) for scores in subscores],
        val_subscores=subscores,
        per_val_instance_best_candidates=fronts,
        discovery_eval_counts=[sum(_size(other) for other in told if other.number < t.number) for t in full],
        val_aggregate_subscores=further if any(further) else None,
        best_outputs_valset=None if outputs is None else _best_outputs(full, fronts, outputs),
        total_metric_calls=sum(map(_size, told)),
        num_full_val_evals=len(full),
        seed=study.data.get("seed"),
    )


def _parents(full: list[Trial]) -> list[list[int | None]]:
    """By the receipts of the trials; a suggester that names no parents leaves them unknown."""
    places = {trial.number: place for place, trial in enumerate(full)}
    named = [trial.receipt()["believed"].get("parents") or () for trial in full]
    known: list[list[int | None]] = [[places[n] for n in numbers if n in places] for numbers in named]
    return [parents or [None] for parents in known]


def _size(trial: TrialFields) -> int:
    return len(trial.examples or ())


def _is_full(trial: TrialFields, examples: Examples) -> bool:
    wanted = trial.evaluate_on or {}
    return wanted.get("split") == examples.full and len(wanted["ids"]) == len(examples.ids[examples.full])


def _fronts(subscores: list[dict[Any, float]]) -> dict[Any, set[int]]:
    tops = {key: max(scores[key] for scores in subscores) for key in (subscores[0] if subscores else ())}
    return {key: {i for i, scores in enumerate(subscores) if scores[key] == top} for key, top in tops.items()}


def _best_outputs(
    full: list[Trial], fronts: Mapping[Any, set[int]], outputs: Mapping[int, Mapping[Any, Any]]
) -> dict[Any, list[tuple[int, Any]]]:
    return {
        key: [(i, outputs[full[i].number][key]) for i in sorted(front) if full[i].number in outputs]
        for key, front in fronts.items()
    }
