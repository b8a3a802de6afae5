"""The loop that asks, evaluates and tells, in tasks of one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .async_trial import AsyncTrial
from .errors import AsktellError, Conflict, Invalid
from .flows import Wish
from .optimizing import Count, metrics_of, shown, takes_trial
from .trial import told_by

if TYPE_CHECKING:
    from .async_study import AsyncStudy


class AsyncLoop:
    """Evaluates trials in tasks."""

    def __init__(
        self,
        study: AsyncStudy,
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
        self._is_over = False

    async def run(self, is_shown: bool) -> None:
        """Until enough are done, the study hands out no more, or something breaks that is not to be caught."""
        with shown(self._study, self._count, is_shown) as show:
            tasks = [asyncio.create_task(self._work(show)) for _ in range(self._parallel)]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    # Once only: a second time would break off the handing back that follows the first.
                    if not task.done() and not task.cancelling():
                        task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, show: Callable[[], None]) -> None:
        while not self._is_over and self._count.begin():
            trial = await self._study._next(self._wish, self._count.others_running)
            if trial is None:
                self._count.give_back()
                self._is_over = True
                return
            try:
                await self._evaluate(trial)
            except BaseException:
                self._is_over = True
                await self._release(trial)
                raise
            self._count.end(trial)
            show()

    async def _evaluate(self, trial: AsyncTrial) -> None:
        try:
            answer = await self._call(trial)
            if not trial.is_finished:
                await trial.tell(metrics_of(answer, self._study.objectives))
        except Exception as error:
            if not trial._is_ended_by(error):
                await self._fail(trial, error)
            elif not trial.is_finished:
                await trial.tell(error.metrics, state=error.state, feedback=error.feedback)

    async def _call(self, trial: AsyncTrial) -> Any:
        arguments = (trial.parameters, trial) if self._takes_trial else (trial.parameters,)
        if inspect.iscoroutinefunction(self._function):
            return await self._function(*arguments)
        answer = await asyncio.to_thread(self._function, *arguments)
        return await answer if inspect.isawaitable(answer) else answer

    async def _fail(self, trial: AsyncTrial, error: Exception) -> None:
        if isinstance(error, Conflict) and not trial.is_finished:
            await trial.refresh()
            if trial.state != "running" or trial.worker != self._wish.worker:
                # Cancelled, told by another, or its lease ran out: it is not ours any more, and no reason to stop.
                self._study._client._leases.drop(trial)
                return
        elif isinstance(error, AsktellError) and not isinstance(error, Invalid):
            raise error
        if not trial.is_finished:
            await trial.fail(told_by(error))
        if not isinstance(error, self._catch):
            raise error

    @staticmethod
    async def _release(trial: AsyncTrial) -> None:
        if not trial.is_finished:
            with contextlib.suppress(AsktellError):
                await trial.release()
