"""The loop that asks, evaluates and tells: what it needs to know, and its blocking form in threads."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .documents import is_better
from .errors import AsktellError, Conflict, Invalid
from .fields import StudyFields, TrialFields
from .flows import Json, Wish
from .trial import Trial, told_by

if TYPE_CHECKING:
    from .study import Study


def takes_trial(function: Callable[..., Any]) -> bool:
    """Whether a function has a second parameter without a default, for the trial."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins do not say
        return False
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    return len(places) >= 2


def metrics_of(answer: Any, objectives: list[Json]) -> dict[str, Any]:
    """What a function answered, as metrics.

    Raises:
        Invalid: a single number where the study has several objectives, or nothing.
    """
    if isinstance(answer, Mapping):
        return dict(answer)
    if answer is None:
        raise Invalid.at("/metrics", "the function answered None: return a mapping of metrics, or a number")
    if len(objectives) > 1:
        names = ", ".join(o["metric"] for o in objectives)
        raise Invalid.at("/metrics", f"the study has several objectives ({names}): return a mapping")
    return {objectives[0]["metric"]: answer}


def full_set(examples: Json | None) -> tuple[str, int]:
    """The split of a study's examples that decides its best trial, and how many they are."""
    split = "validation" if examples and examples.get("validation") else "train"
    return split, len((examples or {}).get(split) or ())


def to_come(study: StudyFields, most: int | None) -> int | None:
    """How many trials the loop may get: `most`, or what the study's limit leaves, whichever is less; None without either."""
    limit = study.limits.get("max_trials")
    if limit is None:
        return most
    left = max(0, int(limit) - sum(count for state, count in study.trial_counts.items() if state != "waiting"))
    return left if most is None else min(most, left)


class Count:
    """How many trials were begun, run and ended, and which is best; used by many threads."""

    def __init__(self, most: int | None, objectives: list[Json], examples: Json | None = None) -> None:
        self.most = most
        self._full = full_set(examples)
        self.begun = self.running = self.ended = self.failed = 0
        self.best: TrialFields | None = None
        self._objective = objectives[0] if len(objectives) == 1 else None
        self._lock = threading.Lock()

    def begin(self) -> bool:
        """Take the right to one more trial."""
        with self._lock:
            if self.most is not None and self.begun >= self.most:
                return False
            self.begun += 1
            self.running += 1
            return True

    def give_back(self) -> None:
        """No trial came of it."""
        with self._lock:
            self.begun -= 1
            self.running -= 1

    def end(self, trial: TrialFields) -> None:
        """A trial came to its end."""
        with self._lock:
            self.running -= 1
            self.ended += 1
            self.failed += trial.state == "failed"
            if self._objective is None or trial.state != "completed" or trial.feasible is False:
                return
            if (
                trial.evaluate_on is not None
                and full_set({trial.evaluate_on["split"]: trial.evaluate_on["ids"]}) != self._full
            ):
                return  # a score on some of the examples is not to be compared with one on all
            metric = self._objective["metric"]
            beats = is_better(self._objective)
            if self.best is None or beats(trial.metrics[metric], self.best.metrics[metric]):
                self.best = trial

    def others_running(self) -> int:
        """Trials that are evaluated beside the one that is asked for."""
        with self._lock:
            return self.running - 1

    def text(self) -> str:
        """The best so far, in words."""
        failed = f" · {self.failed} failed" if self.failed else ""
        if self.best is None or self._objective is None:
            return failed.removeprefix(" · ")
        metric = self._objective["metric"]
        return f"best {metric} {self.best.metrics[metric]:.6g} (trial {self.best.number}){failed}"


@contextlib.contextmanager
def shown(study: StudyFields, count: Count, is_shown: bool) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error; what is yielded brings it up to date."""
    if not is_shown:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[best]}"),
    ]
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(study.name, total=to_come(study, count.most), best="")
        yield lambda: bar.update(task, completed=count.ended, best=count.text())


class Loop:
    """Evaluates trials in threads of this process."""

    def __init__(
        self,
        study: Study,
        function: Callable[..., Any],
        most: int | None,
        parallel: int,
        catch: tuple[type[Exception], ...],
        wish: Wish,
    ) -> None:
        if parallel < 1:
            raise ValueError("parallel is at least 1")
        self._study = study
        self._function = function
        self._takes_trial = takes_trial(function)
        self._parallel = parallel
        self._catch = catch
        self._wish = wish
        self._count = Count(most, study.objectives, study.examples)
        self._is_over = threading.Event()
        self._held: dict[int, Trial] = {}
        self._broke: BaseException | None = None
        self._lock = threading.Lock()

    def run(self, is_shown: bool) -> None:
        """Until enough are done, the study hands out no more, or something breaks that is not to be caught."""
        with shown(self._study, self._count, is_shown) as show:
            try:
                if self._parallel == 1:
                    self._work(show)
                else:
                    self._work_in_threads(show)
            except BaseException:
                self._is_over.set()
                self._release()
                raise
        if self._broke is not None:
            self._release()
            raise self._broke

    def _work_in_threads(self, show: Callable[[], None]) -> None:
        # Daemons: a function that never returns must not keep an interrupted program from ending.
        threads = [
            threading.Thread(target=self._work_or_tell, args=(show,), name=f"asktell-{n}", daemon=True)
            for n in range(self._parallel)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)  # in short pieces, so that Ctrl-C comes through on every system
                if self._broke is not None:
                    return

    def _work_or_tell(self, show: Callable[[], None]) -> None:
        try:
            self._work(show)
        except BaseException as error:
            self._broke = self._broke or error
            self._is_over.set()

    def _work(self, show: Callable[[], None]) -> None:
        while not self._is_over.is_set() and self._count.begin():
            trial = self._study._next(self._wish, self._count.others_running)
            if trial is None:
                self._count.give_back()
                self._is_over.set()
                return
            if not self._take(trial):
                return
            self._evaluate(trial)  # what breaks it leaves the trial held, to be handed back
            with self._lock:
                self._held.pop(trial.number, None)
            self._count.end(trial)
            show()

    def _take(self, trial: Trial) -> bool:
        with self._lock:
            if self._broke is None:
                self._held[trial.number] = trial
                return True
        trial.release()
        return False

    def _evaluate(self, trial: Trial) -> None:
        try:
            arguments = (trial.parameters, trial) if self._takes_trial else (trial.parameters,)
            answer = self._function(*arguments)
            if not trial.is_finished and not self._is_given_up():
                trial.tell(metrics_of(answer, self._study.objectives))
        except Exception as error:
            if not trial._is_ended_by(error):
                self._fail(trial, error)
            elif not trial.is_finished:
                trial.tell(error.metrics, state=error.state, feedback=error.feedback)

    def _fail(self, trial: Trial, error: Exception) -> None:
        if self._is_given_up():
            return
        if isinstance(error, Conflict) and not trial.is_finished:
            trial.refresh()
            if trial.state != "running" or trial.worker != self._wish.worker:
                # Cancelled, told by another, or its lease ran out: it is not ours any more, and no reason to stop.
                self._study._client._leases.drop(trial)
                return
        elif isinstance(error, AsktellError) and not isinstance(error, Invalid):
            raise error
        if not trial.is_finished:
            trial.fail(told_by(error))
        if not isinstance(error, self._catch):
            raise error

    def _is_given_up(self) -> bool:
        return self._broke is not None

    def _release(self) -> None:
        self._broke = self._broke or KeyboardInterrupt()
        with self._lock:
            held = list(self._held.values())
        for trial in held:
            if not trial.is_finished:
                with contextlib.suppress(AsktellError):
                    trial.release()
