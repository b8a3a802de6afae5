"""A DSPy optimiser whose search is done by asktell.

    from asktell.integrations.dspy import AsktellOptimizer

    optimizer = AsktellOptimizer(metric=metric, url="http://127.0.0.1:8000", max_metric_calls=300, share_examples=True)
    better = optimizer.compile(program, trainset=train, valset=validation)

The program runs here, with the language model that DSPy is configured for; the service proposes instructions, with the language
model of its operator. Needs `pip install dspy`.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping
from typing import Any

from ..client import Client
from ..space import Categorical
from . import gepa
from .results import Result

try:
    import dspy
    from dspy.teleprompt.gepa.gepa_utils import DspyAdapter
    from dspy.teleprompt.teleprompt import Teleprompter
    from dspy.teleprompt.utils import create_n_fewshot_demo_sets
except ImportError as error:
    raise ImportError(f"{error}: pip install dspy") from error

__all__ = ["AsktellOptimizer"]

DEMOS = ".demos"


class ProgramAdapter(DspyAdapter):  # type: ignore[misc]  # untyped
    """DSPy's own adapter for GEPA, with traces in the order of the batch and with sets of demonstrations to choose from.

    Args:
        demo_sets: `{predictor: [demonstrations, …]}`; a candidate names the set by its index, as `<predictor>.demos`.
    """

    propose_new_texts = None  # the service proposes

    def __init__(self, *args: Any, demo_sets: Mapping[str, list[list[Any]]], **more: Any) -> None:
        super().__init__(*args, **more)
        self._demo_sets = demo_sets

    def build_program(self, candidate: dict[str, Any]) -> Any:
        """The student with the candidate's instructions and demonstrations."""
        program = super().build_program(candidate)
        for name, predictor in program.named_predictors():
            if (chosen := candidate.get(name + DEMOS)) is not None:
                predictor.demos = list(self._demo_sets[name][int(chosen)])
        return program

    def evaluate(
        self, batch: list[Any], candidate: dict[str, Any], capture_traces: bool = False, num_threads: int | None = None
    ) -> Any:
        """As DSPy's, with one trace or None for each example: those whose program raised leave none."""
        found = super().evaluate(batch, candidate, capture_traces, num_threads)
        if found.trajectories is not None:
            by_place = {trace["example_ind"]: trace for trace in found.trajectories}
            found.trajectories = [by_place.get(place) for place in range(len(batch))]
        return found


class AsktellOptimizer(Teleprompter):  # type: ignore[misc]  # untyped
    """Searches the instructions of a program's predictors, and which demonstrations they show if wanted.

    Args:
        metric: as `dspy.GEPA` takes it: `(gold, pred, trace, pred_name, pred_trace)` answers a score or
            `dspy.Prediction(score=…, feedback=…)`; plain metrics of fewer parameters do too.
        url: the service's address, or a `Client`; None for ASKTELL_URL.
        max_metric_calls, max_full_evals: the budget, one of them: program runs, or passes over all examples.
        num_threads: in which DSPy evaluates a batch; `parallel` batches are evaluated at one time.
        failure_score: of an example on which the program raised.
        add_format_failure_as_feedback: let replies that did not parse be feedback.
        demo_sets: how many sets of demonstrations to choose from, each predictor its own; 0 leaves the program's.
            Set 0 has none, set 1 labelled examples, the others traces that DSPy bootstraps from the trainset.
        max_bootstrapped_demos, max_labeled_demos: in a set.
        track_stats: leave the `Result` on the program, as `detailed_results`.
        seed: of the study and of the demonstrations.
        search: further arguments of `asktell.integrations.gepa.optimize`, such as `suggester`, `study_name`, `share_examples`,
            `reflection_lm`.

    Raises:
        ValueError: no budget or two.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        *,
        url: Client | str | None = None,
        max_metric_calls: int | None = None,
        max_full_evals: int | None = None,
        num_threads: int | None = None,
        parallel: int = 1,
        failure_score: float = 0.0,
        add_format_failure_as_feedback: bool = False,
        demo_sets: int = 0,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 4,
        track_stats: bool = False,
        seed: int = 0,
        **search: Any,
    ) -> None:
        super().__init__()
        if (max_metric_calls is None) == (max_full_evals is None):
            raise ValueError("give max_metric_calls or max_full_evals")
        self.metric = accepting_five(metric)
        self.url = url
        self.max_metric_calls = max_metric_calls
        self.max_full_evals = max_full_evals
        self.num_threads = num_threads
        self.parallel = parallel
        self.failure_score = failure_score
        self.add_format_failure_as_feedback = add_format_failure_as_feedback
        self.demo_sets = demo_sets
        self.max_bootstrapped_demos = max_bootstrapped_demos
        self.max_labeled_demos = max_labeled_demos
        self.track_stats = track_stats
        self.seed = seed
        self.search = search

    def compile(
        self, student: Any, *, trainset: list[Any], teacher: Any = None, valset: list[Any] | None = None, **more: Any
    ) -> Any:
        """A copy of the program with the best instructions found.

        Args:
            trainset, valset: `dspy.Example`s; without a `valset` the train examples decide as well.
            teacher: bootstraps the demonstrations; the student itself if absent.
            more: as `search`, for this call.

        Raises:
            ValueError: the program has no predictor.
        """
        predictors = dict(student.named_predictors())
        if not predictors:
            raise ValueError("the program has no predictor to give instructions to")
        demo_sets = self._demo_sets(student, teacher, trainset)
        adapter = ProgramAdapter(
            student,
            self.metric,
            {name: self._feedback_of(name, predictor) for name, predictor in predictors.items()},
            failure_score=self.failure_score,
            num_threads=self.num_threads,
            add_format_failure_as_feedback=self.add_format_failure_as_feedback,
            rng=random.Random(self.seed),
            demo_sets=demo_sets,
        )
        found = gepa.optimize(
            self.url,
            seed_candidate={name: predictor.signature.instructions for name, predictor in predictors.items()},
            trainset=trainset,
            valset=valset,
            adapter=adapter,
            max_metric_calls=self._budget(trainset, valset),
            parallel=self.parallel,
            seed=self.seed,
            parameters={
                name + DEMOS: Categorical([str(index) for index in range(len(sets))])
                for name, sets in demo_sets.items()
            },
            **{**self.search, **more},
        )
        return self._compiled(adapter, found)

    def _budget(self, trainset: list[Any], valset: list[Any] | None) -> int:
        if self.max_metric_calls is not None:
            return self.max_metric_calls
        assert self.max_full_evals is not None
        return self.max_full_evals * (len(trainset) + len(valset or ()))

    def _demo_sets(self, student: Any, teacher: Any, trainset: list[Any]) -> dict[str, list[list[Any]]]:
        if self.demo_sets == 0:
            return {}
        by_place = create_n_fewshot_demo_sets(
            student,
            self.demo_sets,
            trainset,
            self.max_labeled_demos,
            self.max_bootstrapped_demos,
            self._is_right,
            {},
            teacher=teacher,
            seed=self.seed,
        )
        return {name: by_place[place] for place, (name, _) in enumerate(student.named_predictors())}

    def _is_right(self, gold: Any, pred: Any, trace: Any = None) -> float:
        """The metric as bootstrapping asks it: a trace that scores 0 makes no demonstration."""
        return score_of(self.metric(gold, pred, trace, None, None))

    def _feedback_of(self, name: str, predictor: Any) -> Callable[..., Any]:
        """What the metric says about one predictor, as DSPy's adapter asks for it."""

        def feedback(
            predictor_output: Any, predictor_inputs: Any, module_inputs: Any, module_outputs: Any, captured_trace: Any
        ) -> Any:
            trace = [(predictor, predictor_inputs, predictor_output)]
            judged = self.metric(module_inputs, module_outputs, captured_trace, name, trace)
            score = score_of(judged)
            words = getattr(judged, "feedback", None)
            return {"score": score, "feedback": words or f"This run got a score of {score}."}

        return feedback

    def _compiled(self, adapter: ProgramAdapter, found: Result) -> Any:
        program = adapter.build_program(found.best_candidate)
        program._compiled = True
        if self.track_stats:
            program.detailed_results = found
        return program


def score_of(judged: Any) -> float:
    """The number in what a metric answered."""
    return float(judged["score"] if isinstance(judged, dspy.Prediction) else judged)


def accepting_five(metric: Callable[..., Any]) -> Callable[..., Any]:
    """A metric that takes DSPy's five arguments or, as DSPy calls it for a score alone, the first two or three of them.

    Raises:
        TypeError: it takes fewer than two.
    """
    for count in range(5, 1, -1):
        try:
            inspect.signature(metric).bind(*range(count))
        except TypeError:
            continue
        break
    else:
        raise TypeError("the metric takes (gold, pred, trace, pred_name, pred_trace), or the first two to four of them")

    def judge(gold: Any, pred: Any, trace: Any = None, pred_name: str | None = None, pred_trace: Any = None) -> Any:
        return metric(*(gold, pred, trace, pred_name, pred_trace)[:count])

    return judge
