"""A study: ask, tell, look."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import flows
from .documents import numbers, outcome
from .errors import Invalid, NotFound, Unavailable
from .events import Event, EventReader
from .fields import StudyFields
from .flows import ConnectionBroke, Json, Wish, get, patch, post, study_path, trial_path
from .trial import Trial

if TYPE_CHECKING:
    from .client import Client

LEASE_SECONDS = 120.0
"""Lease of trials that a loop of ours evaluates: a sign of life comes each 40 s, so a dead worker's trials move on soon."""


class Study(StudyFields):
    """One optimisation problem of the service. Made by `Client.create_study` and `Client.study`."""

    def __init__(self, client: Client, data: Json) -> None:
        self._client = client
        self.data = data

    # ---- ask and tell

    def ask(
        self,
        count: int = 1,
        *,
        wait_seconds: float = 30.0,
        fresh: bool = True,
        lease_seconds: float = 3600.0,
        worker: str | None = None,
        resume: bool = False,
        timeout: float | None = None,
    ) -> list[Trial]:
        """Take trials to evaluate; their leases are kept while they are referred to and not ended.

        Args:
            wait_seconds: 0 to 600; where a suggestion takes longer, a quasi-random trial comes instead, and in spaces
                that have none (text) the ask goes on as an operation, which is followed.
            fresh: wait for suggestions that have seen every outcome told before.
            worker: who evaluates; the client's own name if absent.
            resume: take up the running trials of this worker, if there are any.
            timeout: seconds to follow an operation; None: to its end.

        Raises:
            NotActive: the study is paused or completed, or a limit is reached.
            Unavailable: the service was away, or the operation was not done in time.
        """
        name = self._client.worker if worker is None else worker
        wish = Wish(name, count, wait_seconds, lease_seconds, fresh, resume, timeout)
        found = self._client._run(flows.ask(self._client._retrying, self._ref, wish))
        return [self._hold(data, lease_seconds) for data in found]

    def tell(self, number: int, metrics: Mapping[str, float] | None = None, **rest: Any) -> Trial:
        """Tell the outcome of a trial by its number; as `Trial.tell`.

        Raises:
            Invalid: a metric is missing or no number.
            NotFinite: one is NaN or infinite; nothing was sent.
            NotFound: no such trial.
            Conflict: another outcome was told before.
        """
        names = ("std", "feedback", "examples", "cost", "elapsed_seconds", "residual", "fingerprint")
        wanted = {name: rest.pop(name, None) for name in names}
        document = outcome(metrics, rest, state=rest.pop("state", "completed"), **wanted)
        return self._trial(self._client._json(post(trial_path(self._ref, number, ":tell"), document)))

    def tell_many(self, outcomes: Sequence[Mapping[str, Any]], *, brief: bool = False) -> list[Json]:
        """Tell many outcomes in one call; each is judged on its own.

        Args:
            outcomes: `{"number": 3, "metrics": {…}, …}` each.
            brief: leave the trials out of the answer, which cost most where thousands are told.

        Returns:
            `{"number", "status", "trial" or "error"}` each, in the same order.
        """
        document = {"outcomes": [dict(item) for item in outcomes], "brief": brief}
        return list(self._client._json(post(study_path(self._ref, "/trials:tell"), document))["results"])

    def enqueue(
        self,
        parameters: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Trial:
        """Have a point of your own tried next.

        Raises:
            Invalid: it is not in the space.
            NotActive: there is no room for it.
        """
        return self._create({"parameters": dict(parameters), "labels": labels, "metadata": metadata})

    def import_trial(
        self,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        *,
        state: str = "completed",
        std: Mapping[str, float] | None = None,
        feedback: str | None = None,
        elapsed_seconds: float | None = None,
        cost: float | None = None,
        residual: Sequence[float] | None = None,
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Trial:
        """Bring a trial that was evaluated elsewhere."""
        told = {"metrics": numbers(metrics or {}), "state": state, "std": std, "feedback": feedback}
        rest: Json = {"elapsed_seconds": elapsed_seconds, "cost": cost, "residual": residual}
        rest |= {"labels": labels, "metadata": metadata}
        return self._create({"parameters": dict(parameters)} | told | rest)

    def import_trials(self, trials: Sequence[Mapping[str, Any]]) -> list[Trial]:
        """Bring many trials in one call, all or none.

        Args:
            trials: `{"parameters": {…}}` each, for a point to try next; with `metrics`, `state` or what else
                `import_trial` takes, for one that was evaluated elsewhere.

        Raises:
            Invalid: one of them is not in the space, or lacks a metric; none is stored.
            NotActive: there is no room for all of them.
        """
        document = {"trials": [self._sent(trial, f"/trials/{place}") for place, trial in enumerate(trials)]}
        answer = self._client._json(post(study_path(self._ref, "/trials"), document))
        return [self._trial(data) for data in answer["trials"]]

    def trials(
        self,
        count: int | None = None,
        *,
        wait_seconds: float = 30.0,
        fresh: bool = True,
        lease_seconds: float = LEASE_SECONDS,
        worker: str | None = None,
    ) -> Iterator[Trial]:
        """Take trials one after another, at most `count`, until the study hands out no more.

        Example:
            for trial in study.trials(50):
                with trial:
                    trial.tell(loss=evaluate(trial.parameters))
        """
        taken = 0
        while count is None or taken < count:
            trial = self._next(
                Wish(worker or self._client.worker, 1, wait_seconds, lease_seconds, fresh), own_running=lambda: 0
            )
            if trial is None:
                return
            taken += 1
            yield trial
            del trial

    def optimize(
        self,
        function: Callable[..., Any],
        trials: int | None = None,
        *,
        parallel: int = 1,
        progress: bool = True,
        catch: tuple[type[Exception], ...] = (Exception,),
        wait_seconds: float = 30.0,
        fresh: bool = True,
        lease_seconds: float = LEASE_SECONDS,
        worker: str | None = None,
    ) -> Study:
        """Evaluate trials until `trials` are done or the study hands out no more.

        Args:
            function: takes the parameters and answers the metrics as a mapping, or the one objective as a number. With
                two parameters it gets the trial too, to report or to raise `Pruned`.
            parallel: threads that evaluate at one time.
            progress: show a bar and the best value on standard error.
            catch: exceptions that fail their trial only; others end the loop.

        Returns:
            The study, as it stands afterwards.

        Raises:
            KeyboardInterrupt: running trials were handed back.
        """
        from .optimizing import Loop

        wish = Wish(worker or self._client.worker, 1, wait_seconds, lease_seconds, fresh)
        Loop(self, function, trials, parallel, catch, wish).run(progress)
        return self.refresh()

    # ---- look

    def diagnose(self) -> Json:
        """How well the model predicts, what it believes matters, and what limits progress (`:diagnose`)."""
        found: Json = self._client._json(get(study_path(self._ref, ":diagnose")))
        return found

    def updates(self, since: int = 0, limit: int = 1000) -> Json:
        """How a vector that travels as seeds moves on from a version of theta; see `asktell.replica`.

        Returns:
            `{"updates": […], "latest": version, "pending": bool}`; the log never changes; pending: one more may come in a moment.

        Raises:
            Invalid: the study has no such vector.
        """
        query = {"from": since, "limit": limit}
        found: Json = self._client._json(get(study_path(self._ref, "/updates"), query, patience=flows.PATIENCE))
        return found

    @property
    def best(self) -> Trial:
        """The best feasible trial; where none is feasible yet, the one that breaks the constraints least.

        Raises:
            NotFound: no trial is completed yet.
            Invalid: the study has several objectives; see `pareto`.
        """
        if len(self.objectives) > 1:
            raise Invalid(f"study {self.name!r} has several objectives: `pareto` has its best trials")
        found = self.pareto
        if not found:
            raise NotFound(f"no trial of study {self.name!r} is completed yet")
        return found[0]

    @property
    def pareto(self) -> list[Trial]:
        """The trials that no other beats in every objective."""
        return [self._trial(data) for data in self._client._json(get(study_path(self._ref, "/best")))["trials"]]

    def trial(self, number: int) -> Trial:
        """Read one trial."""
        return self._trial(self._client._json(get(trial_path(self._ref, number))))

    def list_trials(
        self, *, state: str | None = None, worker: str | None = None, order_by: str = "number", page_size: int = 1000
    ) -> Iterator[Trial]:
        """Every trial, read page by page.

        Args:
            order_by: `number`, `-number`, `created_at` or `-created_at`.
        """
        query = {"state": state, "worker": worker, "order_by": order_by, "page_size": page_size}
        for data in self._client._list(study_path(self._ref, "/trials"), query, "trials"):
            yield self._trial(data)

    def events(self, after: int | None = None) -> Iterator[Event]:
        """What happens, as it happens, until the study is deleted; broken connections are taken up where they broke.

        Args:
            after: the last `seq` already seen; None: from the first on.

        Raises:
            Unavailable: the service stays away.
        """
        retrying, failures = self._client._retrying, 0
        while True:
            with contextlib.suppress(ConnectionBroke, Unavailable):
                headers = {} if after is None else {"Last-Event-ID": str(after)}
                request = flows.Request("GET", study_path(self.id, "/events"), headers=headers)
                try:
                    with self._client._wire.stream(request) as chunks:
                        reader = EventReader()
                        for chunk in chunks:
                            for event in reader.feed(chunk):
                                after, failures = event.seq, 0
                                yield event
                except NotFound:
                    if after is None:
                        raise
                    return
            failures += 1
            if failures > retrying.retries:
                raise Unavailable(f"the events of study {self.name!r} broke off {failures} times in a row")
            time.sleep(retrying._pause(failures - 1, None))

    def export(self, format: str = "json") -> bytes:
        """Every trial as `json`, `csv` or `parquet`."""
        with self._client._stream(get(study_path(self._ref, "/export"), {"format": format})) as chunks:
            return b"".join(chunks)

    def export_to(self, path: str | Path, format: str | None = None) -> Path:
        """Write every trial to a file; the format is the name's suffix, if absent."""
        target = Path(path)
        request = get(study_path(self._ref, "/export"), {"format": format or target.suffix.lstrip(".") or "json"})
        with self._client._stream(request) as chunks, target.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
        return target

    # ---- change

    def refresh(self) -> Study:
        """Read it anew."""
        self.data = self._client._json(get(study_path(self._ref)))
        return self

    def patch(self, *, if_unchanged: bool = False, **changes: Any) -> Study:
        """Change `suggester`, `limits`, `early_stopping`, `llm`, `labels` or `metadata` by a JSON merge patch: None removes.

        Args:
            if_unchanged: only if nobody changed the study since it was read.

        Raises:
            Invalid: a field that does not exist or may not change.
            Stale: `if_unchanged`, and it has changed.
        """
        etag = self.data["etag"] if if_unchanged else None
        self.data = self._client._json(patch(study_path(self._ref), changes, flows.MERGE_PATCH, etag))
        return self

    def pause(self) -> Study:
        """Hand out no more trials until resumed."""
        return self._turn(":pause")

    def resume(self) -> Study:
        """Hand out trials again."""
        return self._turn(":resume")

    def complete(self) -> Study:
        """End it; running trials may still be told."""
        return self._turn(":complete")

    def delete(self) -> None:
        """Delete it with its trials."""
        self._client._run(flows.delete(self._client._retrying, study_path(self._ref)))

    # ---- inside

    @property
    def _ref(self) -> str:
        # The id, not the name: a study deleted and made anew under the same name is another one.
        return self.id

    def _turn(self, verb: str) -> Study:
        self.data = self._client._json(post(study_path(self._ref, verb)))
        return self

    def _create(self, document: Json) -> Trial:
        return self._trial(self._client._json(post(study_path(self._ref, "/trials"), self._sent(document))))

    def _trial(self, data: Json) -> Trial:
        return Trial(self._client, data)

    def _hold(self, data: Json, lease_seconds: float) -> Trial:
        trial = self._trial(data)
        self._client._leases.add(trial, lease_seconds)
        return trial

    def _next(self, wish: Wish, own_running: Callable[[], int]) -> Trial | None:
        flow = flows.next_trial(self._client._retrying, self._ref, wish, own_running)
        data = self._client._run(flow)
        return None if data is None else self._hold(data, wish.lease_seconds)
