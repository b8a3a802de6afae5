"""One of nevergrad's optimizers as a function of the asks and tells that it has seen.

What nevergrad draws from NumPy's global generator is drawn from a state that follows from (seed, event); what it runs in a thread (the
"recast" optimizers wrap a blocking solver) runs in a daemon thread that ends with the optimizer.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from bisect import insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec, to_unit
from services.domain.parameters import IntParameter
from services.domain.space import Point
from workers.models.scores import just_behind

Array = NDArray[np.float64]
T = TypeVar("T")

FEW_LEVELS = 64
LARGEST = 4e20  # nevergrad cuts losses at 5e20
_global_state = threading.Lock()


class Parametrization:
    """A space in nevergrad's terms: reals in one array over the unit cube, each discrete parameter one of its own kind.

    Categoricals and booleans are a `Choice`, ordinals a `TransitionChoice`, whole numbers and steps up to 64 levels a whole-number
    `Scalar`; finer ones count as reals.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.reals: list[int] = []
        self.discrete: dict[str, int] = {}
        for j, coordinate in enumerate(codec.coordinates):
            levels = coordinate.levels
            if levels is None or (levels > FEW_LEVELS and not coordinate.is_categorical):
                self.reals.append(j)
            elif levels > 1:
                self.discrete[f"c{j}"] = j

    @property
    def size(self) -> int:
        """Free parameters, a real for each array item."""
        return len(self.reals) + len(self.discrete)

    def make(self, *, noisy: bool) -> Any:
        """The nevergrad parameter."""
        import nevergrad as ng

        parts: dict[str, Any] = {}
        if self.reals:
            parts["x"] = ng.p.Array(init=np.full(len(self.reals), 0.5), lower=0.0, upper=1.0)
        for name, j in self.discrete.items():
            parts[name] = self._discrete(j)
        found = parts["x"] if not self.discrete else ng.p.Dict(**parts)
        found.function.deterministic = not noisy
        return found

    def _discrete(self, j: int) -> Any:
        import nevergrad as ng

        coordinate = self.codec.coordinates[j]
        levels = coordinate.levels or 1
        if coordinate.is_categorical or coordinate.parameter.type == "bool":
            return ng.p.Choice(list(range(levels)))
        if coordinate.parameter.type == "ordinal" or levels < 4:
            return ng.p.TransitionChoice(list(range(levels)))
        return ng.p.Scalar(init=(levels - 1) / 2, lower=0, upper=levels - 1).set_integer_casting()

    def point(self, value: Any) -> Point:
        """The point of a candidate's value."""
        parts = value if self.discrete else {"x": value}
        row = np.full(self.codec.dimensions, 0.5)
        if self.reals:
            row[self.reals] = parts["x"]
        for name, j in self.discrete.items():
            row[j] = self._unit(j, int(parts[name]))
        return self.codec.decode(row)

    def value(self, point: Point) -> Any:
        """A candidate's value for a point."""
        row = self.codec.encode(point)
        x = np.clip(row[self.reals], 0.0, 1.0)
        if not self.discrete:
            return x
        parts: dict[str, Any] = {"x": x} if self.reals else {}
        for name, j in self.discrete.items():
            levels = self.codec.coordinates[j].levels or 1
            parts[name] = int(np.argmin([abs(self._unit(j, i) - row[j]) for i in range(levels)]))
        return parts

    def _unit(self, j: int, level: int) -> float:
        coordinate = self.codec.coordinates[j]
        parameter = coordinate.parameter
        if isinstance(parameter, IntParameter):
            return float(np.ravel(to_unit(parameter, parameter.level(level)))[0])
        return (level + 0.5) / (coordinate.levels or 1)


class Portfolio:
    """A nevergrad optimizer whose every event is repeatable.

    Args:
        parametrization: of the space; at least one free parameter.
        name: in nevergrad's registry.
        seed: of all its draws.
        budget: trials that it plans for.
        workers: trials that it expects to run at one time.
        noisy: whether repeating a point may give another value.
    """

    def __init__(
        self, parametrization: Parametrization, name: str, *, seed: int, budget: int, workers: int, noisy: bool
    ) -> None:
        import nevergrad as ng

        self.parametrization = parametrization
        self._seed, self._events = seed, 0
        self._awaited: dict[str, Any] = {}  # by candidate: the solver that waits for its value

        def create(told: int) -> Any:
            with self._repeatable():
                parameter = parametrization.make(noisy=noisy)
                parameter.random_state = np.random.RandomState(seed % 2**32)
                return ng.optimizers.registry[name](parametrization=parameter, budget=budget, num_workers=told)

        self.workers = workers
        self._optimizer = create(workers)
        self._end = weakref.finalize(self, _stop, self._optimizer)
        if self._uses_clock():
            # With one worker NGOpt may choose CmaFmin2, which takes its seed from the clock; with two it does not.
            self.workers = 2
            self.end()
            self._optimizer = create(self.workers)
            self._end = weakref.finalize(self, _stop, self._optimizer)
            if self._uses_clock():
                raise RuntimeError(f"nevergrad's {name} uses CmaFmin2 here, which cannot be resumed")

    # -- what it is made of

    def _uses_clock(self) -> bool:
        with self._repeatable():
            getattr(self._optimizer, "optim", None)  # a choosing optimizer chooses now
        return any(getattr(part, "method", "") == "CmaFmin2" for part in _parts(self._optimizer))

    @property
    def is_sequential(self) -> bool:
        """Whether it wraps a blocking solver: an ask before the last tell would never return."""
        return any(getattr(part, "recast", False) for part in _parts(self._optimizer))

    def chosen(self) -> str:
        """What a choosing optimizer has chosen; empty for one that does not choose."""
        with self._repeatable():
            part = getattr(self._optimizer, "optim", None)
        found = [] if part is None else [str(part.name)]
        return "" if not found or found[0] == self._optimizer.name else found[0]

    def end(self) -> None:
        """Let go of its threads; it is of no use afterwards."""
        self._end()

    # -- its events

    @contextmanager
    def _repeatable(self) -> Iterator[None]:
        """NumPy's global generator in a state of our own for the time being."""
        with _global_state:
            before = np.random.get_state()
            np.random.seed((self._seed * 1_000_003 + self._events) % 2**32)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    yield
            finally:
                np.random.set_state(before)

    def ask(self) -> Any:
        """The next candidate."""
        self._events += 1
        with self._repeatable():
            candidate = self._optimizer.ask()
        starved = [part for part in _parts(self._optimizer) if _is_starved(part)]
        self._awaited = {candidate.uid: starved[0]} if starved else {}
        return candidate

    def tell(self, candidate: Any, value: float) -> None:
        """The outcome of a candidate that was asked."""
        self._events += 1
        value = min(max(value, -LARGEST), LARGEST)
        with self._repeatable():
            self._optimizer.tell(candidate, value)
        part = self._awaited.pop(candidate.uid, None)
        if part is not None and _is_starved(part):
            # A chain counts every tell, those of users' points too, and may think that the solver's turn is over.
            part._messaging_thread.messages_tell.put(value)

    def tell_point(self, point: Point, value: float) -> None:
        """The outcome of a point that was not asked; optimizers that cannot use it go without."""
        from nevergrad.common.errors import TellNotAskedNotSupportedError

        self._events += 1
        with self._repeatable():
            candidate = self._optimizer.parametrization.spawn_child(new_value=self.parametrization.value(point))
            try:
                self._optimizer.tell(candidate, min(max(value, -LARGEST), LARGEST))
            except TellNotAskedNotSupportedError:
                return


def _parts(optimizer: Any) -> Iterator[Any]:
    """An optimizer and every optimizer inside it."""
    from nevergrad.optimization.base import Optimizer

    seen: set[int] = set()
    left: list[Any] = [optimizer]
    while left:
        part = left.pop()
        if isinstance(part, (list, tuple)):
            left += [v for v in part if isinstance(v, Optimizer)]
        elif id(part) not in seen:
            seen.add(id(part))
            yield part
            left += [v for v in vars(part).values() if isinstance(v, (list, tuple, Optimizer))]


def _is_starved(part: Any) -> bool:
    """Whether a blocking solver has handed out a point and has no value for it yet."""
    thread = getattr(part, "_messaging_thread", None)
    if thread is None or not thread.is_alive():
        return False
    # `unfinished_tasks` counts what was ever put: points on one side, values on the other.
    given, told = thread.messages_ask.unfinished_tasks, thread.messages_tell.unfinished_tasks
    return bool(given > told and thread.messages_ask.empty())


def _stop(optimizer: Any) -> None:
    """End the threads of blocking solvers: each waits for a value, and None tells it to go."""
    for part in _parts(optimizer):
        if getattr(part, "_messaging_thread", None) is not None:
            part._messaging_thread.stop()


@dataclass
class ToldValues:
    """What was told so far, for outcomes that are no numbers."""

    ordered: list[float] = field(default_factory=list)

    def note(self, value: float) -> None:
        """A completed, feasible trial's value."""
        insort(self.ordered, value)

    @property
    def behind(self) -> float:
        """What a pruned trial's value is at least."""
        half = len(self.ordered) // 2  # the median of what is in order stands there: nothing else needs to be looked at
        return float(just_behind(np.array(self.ordered[half : half + 1])))

    def beyond(self, by: float = 1.0) -> float:
        """Worse than the worst, by a multiple of the spread."""
        if not self.ordered:
            return by
        spread = self.ordered[-1] / 2 - self.ordered[0] / 2
        return self.ordered[-1] + by * (2 * spread or 1.0)


def in_daemon(work: Callable[[], T]) -> T:
    """Run in a daemon thread: threads that a library starts there are daemons too and keep no process alive."""
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # handed to the caller, whatever it is
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
