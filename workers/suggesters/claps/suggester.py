"""Hands out the prompts of one stage after the other; what each trial was for stands on it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History
from services.domain.parameters import TokensParameter
from services.domain.sampling import draw, unused
from services.domain.space import point_key
from services.domain.suggester import Blob, Problem, Suggestion

from . import ClapsOptions, lengths
from .course import Phase, Searcher, Stage
from .known import METHOD, Known
from .layout import Genome, Layout, Vocabulary

VERSION = 1
MOST_FREE = 20  # stages in a row without a new prompt, after which others are tried
DRAWS = 60


@dataclass(frozen=True)
class _Opened:
    """A stage as it was opened; it follows from the snapshots alone, so that it can be kept from call to call.

    Attributes:
        free: stages in a row before it that had no new prompt.
        phase: None where nothing is left to try in order.
        winner: of the stage before.
    """

    index: int
    snapshot: int
    free: int
    phase: Phase | None
    winner: Genome | None


class Claps:
    """A stage closes when all of its trials are over, or when most are and enough others were tried meanwhile.

    It is opened with a snapshot of the history, which stands on its trials: the stages come out the same whenever they are worked out.
    """

    def __init__(self, problem: Problem, options: ClapsOptions, blob: Blob | None) -> None:
        self._problem, self._options = problem, options
        parameters = tuple(p for p in problem.space.parameters if isinstance(p, TokensParameter))
        self._layout = Layout(parameters, tuple(lengths(problem.spec, options)))
        self._searcher = Searcher(self._layout, options, problem.generator)
        examples = problem.spec.examples
        self._train = examples.train if examples is not None and examples.train and examples.validation else None
        self._vocabulary: Vocabulary | None = None
        self._course: list[_Opened] = []
        self._is_saved = True
        if blob is not None and blob.version == VERSION:
            self._vocabulary = [np.asarray(blob.arrays[str(i)]) for i in range(len(parameters))]

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` prompts; fewer only when a finite space is used up."""
        known = Known(history, self._layout, "train" if self._train is not None else None)
        stage, now, winners = self._open(known)
        given: list[Suggestion] = []
        taken: set[str] = set()
        for suggestion in self._offers(known, stage, now, winners):
            key = point_key(suggestion.parameters)
            if key in taken:
                continue
            taken.add(key)
            given.append(suggestion)
            if len(given) == count:
                return given
        return given + self._leftover(history, taken, count - len(given))

    # -- stages

    def _open(self, known: Known) -> tuple[Stage, _Opened, list[Genome]]:
        """The stage that is open now, how it was opened, and the winners of those before."""
        if not self._course:
            self._course = [_Opened(0, 0, 0, self._searcher.first(self._clustered()), None)]
        winners: list[Genome] = []
        for index in itertools.count():
            now = self._course[index]
            if now.phase is None:
                # Nothing is left to try in order: others around the best, for as long as someone asks.
                last = self._course[index - 1].phase
                assert last is not None
                return Stage((), last.stage.vocabulary, "around the best"), now, winners
            if now.free >= MOST_FREE or not self._is_closed(known, now.phase.stage, index):
                return now.phase.stage, now, winners
            recorded = known.opening(index + 1)
            following = self._following(known, now, known.seq if recorded is None else recorded)
            winners += [] if following.winner is None else [following.winner]
        raise AssertionError("stages never end")

    def _following(self, known: Known, now: _Opened, snapshot: int) -> _Opened:
        """The stage after a closed one: the same as at the last call if it was opened by the same snapshot."""
        index = now.index + 1
        if len(self._course) > index and self._course[index].snapshot == snapshot:
            return self._course[index]
        assert now.phase is not None
        known.reveal(snapshot)
        stage = now.phase.stage
        following = _Opened(
            index,
            snapshot,
            0 if now.index in known.stages else now.free + 1,
            now.phase.after(known),
            known.best(stage.members) if stage.is_search else None,
        )
        self._course[index:] = [following]
        return following

    def _is_closed(self, known: Known, stage: Stage, index: int) -> bool:
        if known.opening(index + 1) is not None:
            return True
        size, ended = len(stage.members), sum(genome in known.ended for genome in stage.members)
        if ended == size:
            return True
        share = self._options.straggler_fraction
        if not share or any(genome not in known.tried for genome in stage.members):
            return False
        return ended >= max(1, math.ceil(share * size)) and len(known.extras(index)) >= size - ended

    # -- what can be handed out

    def _offers(self, known: Known, stage: Stage, now: _Opened, winners: list[Genome]) -> Iterator[Suggestion]:
        """Winners to validate, the stage's own prompts, then others."""
        index, opened = now.index, now.snapshot
        if self._train is not None:
            for genome in dict.fromkeys(winners):
                if genome not in known.validated:
                    yield Suggestion(
                        parameters=self._layout.point(genome),
                        reason="best prompt of an epoch, on the validation examples",
                        origin={"method": METHOD, "validation": index},
                    )
        for slot, genome in enumerate(stage.members):
            if genome not in known.tried:
                yield self._suggestion(genome, stage.label, index, opened, slot=slot)
        known.reveal(known.seq)
        best = known.best(known.everyone())
        number = max((i for kind, i, *_ in known.stages.get(index, []) if kind == "extra"), default=-1)
        tried = set(known.tried)
        while (other := self._other(best, stage.vocabulary, index, number + 1, tried)) is not None:
            number += 1
            tried.add(other)
            yield self._suggestion(other, f"{stage.label}: another meanwhile", index, opened, extra=number)

    def _other(
        self, best: Genome | None, vocabulary: Vocabulary, index: int, number: int, tried: set[Genome]
    ) -> Genome | None:
        """An untried prompt: the best one with a token or more changed, or any."""
        rng = self._problem.generator(index, f"claps extra {number}")
        for attempt in range(DRAWS):
            genome = self._searcher.drawn(vocabulary, rng)
            if best is not None and attempt < DRAWS // 2:
                changes = rng.random(len(genome)) < (1 + attempt // 8) / len(genome)
                genome = self._layout.packed([g if c else b for g, b, c in zip(genome, best, changes, strict=True)])
            if genome not in tried and self._is_allowed(genome):
                return genome
        return None

    def _is_allowed(self, genome: Genome) -> bool:
        point = self._layout.point(genome)
        return all(len(point[p.name]) >= p.min_length for p in self._layout.parameters)

    def _suggestion(self, genome: Genome, label: str, stage: int, opened: int, **place: int) -> Suggestion:
        return Suggestion(
            parameters=self._layout.point(genome),
            reason=label,
            origin={"method": METHOD, "stage": stage, "snapshot": opened, **place},
            evaluate_on=None if self._train is None else {"split": "train", "ids": list(self._train)},
        )

    def _leftover(self, history: History, taken: set[str], count: int) -> list[Suggestion]:
        """Any point that no trial has, where the search knows no further one."""
        space, found = self._problem.space, list[Suggestion]()
        rng = self._problem.generator(history.next_number, "claps leftover")

        def is_known(key: str) -> bool:
            return key in taken or history.has_point(key)

        while len(found) < count:
            point = unused(space, is_known, rng) if space.is_finite else draw(space, rng)
            if point is None:
                break
            taken.add(point_key(point))
            found.append(Suggestion(parameters=point, reason="a point that nobody tried", origin={"leftover": True}))
        return found

    # -- the vocabulary

    def _clustered(self) -> Vocabulary:
        """The tokens that are searched, by parameter."""
        if self._vocabulary is None:
            self._vocabulary = [self._chosen(i, p) for i, p in enumerate(self._layout.parameters)]
            self._is_saved = self._options.vocabulary_embeddings is None
        return self._vocabulary

    def _chosen(self, index: int, parameter: TokensParameter) -> NDArray[np.int64]:
        from workers.models.k_means import nearest_members

        size, vectors = len(parameter.vocabulary), self._options.vocabulary_embeddings
        if vectors is None or size <= self._options.clusters:
            return np.arange(size)
        rng = self._problem.generator(index, "claps clusters")
        chosen = set(nearest_members(np.array(vectors), self._options.clusters, rng))
        kept = set(self._options.keep_tokens)
        return np.array([i for i, token in enumerate(parameter.vocabulary) if i in chosen or token in kept])

    def state(self) -> Blob | None:
        """Which tokens clustering left; None where there is nothing new."""
        if self._is_saved or self._vocabulary is None:
            return None
        self._is_saved = True
        return Blob(version=VERSION, arrays={str(i): tokens for i, tokens in enumerate(self._vocabulary)})
