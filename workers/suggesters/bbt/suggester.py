"""Divide and conquer over blocks: whose turn it is, where the others are held, what closes a turn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.parameters import VectorParameter
from services.domain.space import Point
from services.domain.suggester import Blob, Problem, Suggestion
from workers.models.cobyla import Asks, cobyla

from . import BbtOptions
from .block import Best, Block
from .ledger import METHOD, Ledger

Array = NDArray[np.float64]
VERSION = 1
MOST_SAVED = 1_000_000  # numbers of distributions in a saved state: 8 MB
FINEST = 1e-4  # COBYLA ends at this share of its first radius


class Bbt:
    """A round gives every block one generation of its CMA-ES; after the last round every block gets its turn with COBYLA.

    Which block varies and where the others are held changes only when a generation or turn closes, with the outcome that fills it.
    """

    def __init__(self, problem: Problem, options: BbtOptions, blob: Blob | None) -> None:
        self._problem, self._options = problem, options
        vectors = [p for p in problem.space.parameters if isinstance(p, VectorParameter)]
        self._blocks = [
            Block(
                parameter,
                sigma=options.step_size(i, len(vectors)),
                popsize=options.popsize,
                is_diagonal=options.covariance == "diagonal",
                normals=partial(self._normals, parameter.length),
            )
            for i, parameter in enumerate(vectors)
        ]
        self._last = options.generations(problem.spec)
        self._generation, self._turn, self._since = 0, 0, 0
        self._search: tuple[int, Asks, Array, int] | None = None  # turn, coroutine, its next point, which step that is
        self._is_saved = True
        if blob is not None and blob.version == VERSION:
            self._restore(blob)

    def _normals(self, length: int, generation: int, row: int) -> Array:
        return self._problem.generator(generation, f"bbt {row}").standard_normal(length)

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """`count` points that differ in one block from where the others are held (one in none, where the best is measured again)."""
        ledger = Ledger(history, self._options.popsize)
        self._catch_up(ledger)
        return [self._next(ledger) for _ in range(count)]

    def _next(self, ledger: Ledger) -> Suggestion:
        if self._generation >= self._last:
            return self._refining(ledger)
        round_, place = divmod(self._generation, len(self._blocks))
        if self._options.remeasure and place == 0 and round_ > 0 and ("round", round_) not in ledger.taken:
            ledger.taken.add(("round", round_))
            return self._suggestion(self._point(), f"the best of all blocks once more, round {round_}", round=round_)
        row = next(k for k in range(10**9) if ("generation", self._generation, k) not in ledger.taken)
        ledger.taken.add(("generation", self._generation, row))
        block, closed = self._blocks[place], self._closed(place)
        value = block.row(ledger, closed, self._generation, row)
        reason = f"block {block.name}, round {round_}, step size {block.step_size(ledger, closed):.3g}"
        if self._options.dev is not None and closed and block.best.dev == -math.inf:
            reason += f"; nothing is taken over while {self._options.dev} is not told"
        return self._suggestion(self._point(place, value), reason, generation=self._generation, row=row)

    def _refining(self, ledger: Ledger) -> Suggestion:
        turn, place = self._turn, self._turn % len(self._blocks)
        block = self._blocks[place]
        _, _, value, step = self._advance(ledger)
        reason = f"block {block.name}, COBYLA, step {step}"
        place_of: dict[str, int] = {"turn": turn, "step": step}
        if ("step", turn, step) in ledger.taken:
            # COBYLA knows its next point only when this one is told: other workers look around the best meanwhile.
            extra = next(k for k in range(10**9) if ("extra", turn, k) not in ledger.taken)
            normals = self._problem.generator(turn, f"bbt extra {extra}").standard_normal(block.length)
            value = block.best.point + self._radius(turn) / math.sqrt(block.length) * normals
            value = np.clip(value, block.lower, block.upper)
            reason, place_of = f"block {block.name}, near its best while COBYLA waits", {"turn": turn, "extra": extra}
        kind = "step" if "step" in place_of else "extra"
        ledger.taken.add((kind, turn, place_of[kind]))
        return self._suggestion(self._point(place, value), reason, **place_of)

    @staticmethod
    def _suggestion(point: Point, reason: str, **origin: int) -> Suggestion:
        return Suggestion(parameters=point, reason=reason, origin={"method": METHOD, **origin})

    def _point(self, place: int = -1, value: Array | None = None) -> Point:
        """Every block at its best, the one at `place` at `value`."""
        return {
            block.name: block.parameter.written(block.best.point if i != place or value is None else value)
            for i, block in enumerate(self._blocks)
        }

    def _closed(self, place: int) -> range:
        """The generations of a block that are closed."""
        return range(place, self._generation, len(self._blocks))

    # -- the ledger

    def _catch_up(self, ledger: Ledger) -> None:
        size = self._options.popsize
        while self._generation < self._last and len(told := ledger.generations[self._generation]) == size:
            place = self._generation % len(self._blocks)
            seq = told[-1].told_seq
            again = ledger.rounds.get(self._generation // len(self._blocks)) if place == 0 else None
            if again is not None and again.told_seq <= seq:
                self._remeasured(ledger, again)
            self._improve(ledger, self._blocks[place], told)
            for trial in ledger.late:  # too late for the distribution, not for the best
                if self._since < trial.told_seq <= seq and trial.origin["generation"] < self._generation:
                    self._improve(ledger, self._blocks[trial.origin["generation"] % len(self._blocks)], [trial])
            self._close(ledger, seq)
            self._generation += 1
        while self._generation >= self._last and self._is_refined(ledger):
            self._turn, self._search = self._turn + 1, None

    def _close(self, ledger: Ledger, seq: int) -> None:
        """Take a user's own point in whole where it beats what every block is held for, and go on."""
        own = [t for t in ledger.foreign if self._since < t.told_seq <= seq]
        for value, trial in ledger.best(own):
            if all(self._is_better(value, trial, block.best) for block in self._blocks):
                for block in self._blocks:
                    block.best = Best(block.parameter.numbers(trial.parameters[block.name]), value, self._dev(trial))
        self._since, self._is_saved = seq, False

    def _remeasured(self, ledger: Ledger, trial: Observation) -> None:
        for value, _ in ledger.best([trial]):
            for block in self._blocks:
                block.best = Best(block.best.point, value, self._dev(trial, block.best.dev))

    def _improve(self, ledger: Ledger, block: Block, told: Iterable[Observation]) -> None:
        for value, trial in ledger.best(told):
            if self._is_better(value, trial, block.best):
                block.best = Best(block.parameter.numbers(trial.parameters[block.name]), value, self._dev(trial))

    def _is_better(self, value: float, trial: Observation, best: Best) -> bool:
        return value < best.value and (self._options.dev is None or self._dev(trial) > best.dev)

    def _dev(self, trial: Observation, missing: float = -math.inf) -> float:
        """The second metric, higher is better."""
        if self._options.dev is None or self._options.dev not in trial.metrics:
            return missing
        value = trial.metrics[self._options.dev]
        return value if self._options.dev_goal == "maximize" else -value

    # -- COBYLA

    def _radius(self, turn: int) -> float:
        sweep, place = divmod(turn, len(self._blocks))
        return self._blocks[place].sigma * self._options.radius * 0.5 ** min(sweep, 10)

    def _advance(self, ledger: Ledger) -> tuple[int, Asks, Array, int]:
        """The search of this turn, fed with all that is told."""
        turn = self._turn
        if self._search is None or self._search[0] != turn:
            block, radius = self._blocks[turn % len(self._blocks)], self._radius(turn)
            search = cobyla(block.best.point, radius, FINEST * radius, block.lower, block.upper)
            self._search = (turn, search, next(search), 0)
        _, search, value, step = self._search
        while (trial := ledger.steps.get((turn, step))) is not None and step < self._share():
            try:
                value = search.send(self._cost(ledger, turn, trial))
            except StopIteration:
                return turn, search, value, self._share()
            step += 1
            self._search = (turn, search, value, step)
        return turn, search, value, step

    def _share(self) -> int:
        return max(1, self._options.refine // len(self._blocks))

    def _cost(self, ledger: Ledger, turn: int, trial: Observation) -> float:
        """A step's value; for one that did not hold, the worst of the turn until then, and no better than the block's best."""
        value = ledger.value(trial)
        if value is not None:
            return value
        before = [ledger.steps[turn, k] for k in range(trial.origin["step"])]
        best = self._blocks[turn % len(self._blocks)].best.value
        return max([v for v, _ in ledger.best(before)] + [best] * math.isfinite(best), default=0.0)

    def _is_refined(self, ledger: Ledger) -> bool:
        """Whether the block's turn is over; if so, its best is taken over."""
        *_, step = self._advance(ledger)
        if step < self._share():
            return False
        told = [ledger.steps[self._turn, k] for k in range(self._share()) if (self._turn, k) in ledger.steps]
        seq, block = max(t.told_seq for t in told), self._blocks[self._turn % len(self._blocks)]
        first = next(iter(ledger.best(told[:1])), None)
        if first is not None:  # the block's best, measured with the others where they are now
            block.best = Best(block.best.point, first[0], self._dev(first[1], block.best.dev))
        self._improve(ledger, block, told[1:])
        self._improve(ledger, block, [t for t in ledger.extras[self._turn] if t.told_seq <= seq])
        self._close(ledger, seq)
        return True

    # -- the state

    def state(self) -> Blob | None:
        """Where the ledger has been read to, and the distributions needed next as far as they fit; None if nothing changed."""
        if self._is_saved:
            return None
        self._is_saved = True
        arrays: dict[str, Array] = {}
        saved: dict[str, Any] = {}
        room = MOST_SAVED
        for k in range(len(self._blocks)):
            place = (self._generation + k) % len(self._blocks)
            block = self._blocks[place]
            room -= block.size()
            found = block.save() if room >= 0 and self._generation < self._last else None
            if found is not None:
                saved[str(place)] = found[0]
                arrays |= {f"{place} {name}": array for name, array in found[1].items()}
        for place, block in enumerate(self._blocks):
            arrays[f"{place} best"] = block.best.point
        arrays["values"] = np.array([(b.best.value, b.best.dev) for b in self._blocks])
        document = {"generation": self._generation, "turn": self._turn, "since": self._since, "blocks": saved}
        return Blob(version=VERSION, document=document, arrays=arrays)

    def _restore(self, blob: Blob) -> None:
        saved = blob.document
        self._generation, self._turn, self._since = saved["generation"], saved["turn"], saved["since"]
        for place, block in enumerate(self._blocks):
            value, dev = blob.arrays["values"][place]
            block.best = Best(np.array(blob.arrays[f"{place} best"]), float(value), float(dev))
            if str(place) in saved["blocks"]:
                own = _of(blob.arrays, place)
                block.load(saved["blocks"][str(place)], own)


def _of(arrays: Any, place: int) -> dict[str, Array]:
    head = f"{place} "
    return {name.removeprefix(head): array for name, array in arrays.items() if name.startswith(head)}
