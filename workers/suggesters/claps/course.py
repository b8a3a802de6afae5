"""The course of a search: from every token alone to prompts of those that matter, one phase after the other."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import ClapsOptions
from .known import Known
from .layout import Genome, Layout, Vocabulary
from .swarm import OTHER, SAME, Swarm

Generators: TypeAlias = Callable[[int, str], np.random.Generator]
FEWEST = 10


@dataclass(frozen=True)
class Stage:
    """Prompts to be tried beside each other.

    Attributes:
        members: each once.
        vocabulary: for further prompts that are tried meanwhile: token indices by parameter.
        label: for people.
        is_search: its winner is worth a validation.
    """

    members: tuple[Genome, ...]
    vocabulary: Vocabulary
    label: str
    is_search: bool = True


class Phase(Protocol):
    """A stage, and what follows from its outcomes."""

    @property
    def stage(self) -> Stage:
        """What is to be tried."""
        ...

    def after(self, known: Known) -> Phase | None:
        """The next phase, once this one's stage has closed; None where nothing is left to try in order."""
        ...


@dataclass(frozen=True)
class Searcher:
    """What the phases share."""

    layout: Layout
    options: ClapsOptions
    generator: Generators

    def first(self, vocabulary: Vocabulary) -> Phase:
        """Where a search begins."""
        return Alone(self, vocabulary) if self.options.prune else self.searching(vocabulary, 0)

    def searching(self, vocabulary: Vocabulary, index: int) -> Phase:
        """Where the search of prompts begins.

        Args:
            index: of its first stage.
        """
        if self.options.search == "greedy":
            return Greedy(self, vocabulary, self.layout.nothing)
        if self.options.search == "genetic":
            return Genetic(
                self, vocabulary, tuple(self.population(vocabulary, self.generator(0, "claps population"))), 0, index
            )
        rng = self.generator(0, "claps swarm")
        size, places = self.options.population, len(self.layout.owners)
        swarm = Swarm(
            positions=np.array(self.population(vocabulary, rng)),
            velocities=np.repeat(rng.uniform(SAME, OTHER, (size, 1)), places, axis=1),
            mutation=self.options.mutation,
        )
        return Swarming(self, vocabulary, swarm)

    def mutated(self, genome: Genome, vocabulary: Vocabulary, rng: np.random.Generator) -> Genome:
        """Each position changed to another kept token with the chance `mutation`."""
        found = list(genome)
        for place in np.flatnonzero(rng.random(len(genome)) < self.options.mutation):
            tokens = vocabulary[self.layout.owners[place]]
            others = tokens[tokens != found[place]]
            if len(others):
                found[place] = int(others[rng.integers(len(others))])
        return self.layout.packed(found)

    def drawn(self, vocabulary: Vocabulary, rng: np.random.Generator) -> Genome:
        """A prompt of kept tokens."""
        return tuple(int(vocabulary[o][rng.integers(len(vocabulary[o]))]) for o in self.layout.owners)

    def population(self, vocabulary: Vocabulary, rng: np.random.Generator) -> list[Genome]:
        """As many of them as an epoch has."""
        return [self.drawn(vocabulary, rng) for _ in range(self.options.population)]


@dataclass(frozen=True)
class Alone:
    """Every token alone; those that move the metric most are kept."""

    searcher: Searcher
    vocabulary: Vocabulary

    @cached_property
    def alone(self) -> list[list[Genome]]:
        """The prompts of one token, by parameter."""
        layout = self.searcher.layout
        return [
            [layout.with_token(layout.nothing, first, int(token)) for token in tokens]
            for first, tokens in zip(layout.firsts, self.vocabulary, strict=True)
        ]

    @cached_property
    def stage(self) -> Stage:
        """The empty prompt where it is allowed, and every token alone."""
        layout = self.searcher.layout
        is_empty_allowed = all(p.min_length == 0 for p in layout.parameters)
        members = [layout.nothing] * is_empty_allowed + [genome for genomes in self.alone for genome in genomes]
        return Stage(tuple(members), self.vocabulary, "one token alone", is_search=False)

    def after(self, known: Known) -> Phase:
        """The search of what is kept."""
        percentile = self.searcher.options.percentile
        vocabulary = [
            kept(tokens, [self._influence(known, genome) for genome in genomes], percentile)
            for tokens, genomes in zip(self.vocabulary, self.alone, strict=True)
        ]
        return self.searcher.searching(vocabulary, 1)

    def _influence(self, known: Known, genome: Genome) -> float | None:
        """Of a token alone; the empty prompt's metric, which is the same for all, is left out."""
        if self.searcher.options.influence == "reward":
            return known.value(genome)
        with_it, without = known.outputs(genome), known.outputs(self.searcher.layout.nothing)
        return None if with_it is None or without is None else divergence(with_it, without)


@dataclass(frozen=True)
class Greedy:
    """Position by position every kept token; after the last position the first one again, until none changes any more.

    Attributes:
        best: so far: the prefix at first.
        place: positions tried before.
        unchanged: how many in a row brought nothing.
    """

    searcher: Searcher
    vocabulary: Vocabulary
    best: Genome
    place: int = 0
    unchanged: int = 0

    @cached_property
    def stage(self) -> Stage:
        """The best with every kept token at one position."""
        layout = self.searcher.layout
        at = self.place % len(layout.owners)
        members = [layout.with_token(self.best, at, int(t)) for t in self.vocabulary[layout.owners[at]]]
        return Stage(tuple(members), self.vocabulary, f"greedy, position {at + 1}")

    def after(self, known: Known) -> Phase | None:
        """The next position."""
        places = len(self.searcher.layout.owners)
        # The first among equals, as an argmax has it; when positions come again, what is there already.
        rivals = [*reversed(self.stage.members), *([self.best] if self.place >= places else [])]
        found = known.best(rivals) or self.best
        unchanged = self.unchanged + 1 if found == self.best and self.place >= places else 0
        return None if unchanged == places else replace(self, best=found, place=self.place + 1, unchanged=unchanged)


@dataclass(frozen=True)
class Genetic:
    """An epoch of a population: its elite and their offspring."""

    searcher: Searcher
    vocabulary: Vocabulary
    population: tuple[Genome, ...]
    epoch: int
    index: int

    @cached_property
    def stage(self) -> Stage:
        """The population, each prompt once."""
        return Stage(tuple(dict.fromkeys(self.population)), self.vocabulary, f"genetic, epoch {self.epoch}")

    def after(self, known: Known) -> Phase:
        """The next epoch. Its elite is taken from the epoch that was told, before any offspring."""
        searcher, options = self.searcher, self.searcher.options
        pool = list(dict.fromkeys([*self.population, *known.extras(self.index)]))
        valued = [(value, g) for g in pool if (value := known.value(g)) is not None]
        rng = searcher.generator(self.epoch + 1, "claps genetic")
        if not valued:
            return replace(
                self,
                population=tuple(searcher.population(self.vocabulary, rng)),
                epoch=self.epoch + 1,
                index=self.index + 1,
            )
        valued.sort(key=lambda pair: -pair[0])
        elites = [g for _, g in valued[: max(1, int(options.elite_fraction * len(valued)))]]
        half = options.population // 2
        mutants = [searcher.mutated(elites[int(rng.integers(len(elites)))], self.vocabulary, rng) for _ in range(half)]
        pairs = rng.integers(len(elites), size=(half, 2))
        children = [searcher.layout.packed(crossed(elites[a], elites[b], rng)) for a, b in pairs]
        return replace(self, population=(*elites, *mutants, *children), epoch=self.epoch + 1, index=self.index + 1)


@dataclass(frozen=True)
class Swarming:
    """An epoch of a swarm."""

    searcher: Searcher
    vocabulary: Vocabulary
    swarm: Swarm
    epoch: int = 0

    @cached_property
    def genomes(self) -> list[Genome]:
        """The particles' prompts."""
        return [tuple(int(t) for t in row) for row in self.swarm.positions]

    @cached_property
    def stage(self) -> Stage:
        """The particles' prompts, each once."""
        return Stage(tuple(dict.fromkeys(self.genomes)), self.vocabulary, f"swarm, epoch {self.epoch}")

    def after(self, known: Known) -> Phase:
        """The particles moved."""
        swarm, epochs = copy.deepcopy(self.swarm), self.searcher.options.epochs
        swarm.learn([known.value(g) for g in self.genomes])
        rng = self.searcher.generator(self.epoch + 1, "claps swarm")
        swarm.move(min(self.epoch, epochs), epochs, rng, self.vocabulary, self.searcher.layout.owners)
        return replace(self, swarm=swarm, epoch=self.epoch + 1)


def crossed(one: Genome, other: Genome, rng: np.random.Generator) -> Genome:
    """Each position from either parent."""
    takes = rng.random(len(one)) < 0.5
    return tuple(a if take else b for a, b, take in zip(one, other, takes, strict=True))


def kept(tokens: NDArray[np.int64], influence: Sequence[float | None], percentile: float) -> NDArray[np.int64]:
    """The tokens strictly above the percentile of influence, and as many of the next as make `FEWEST`."""
    known = [(value, token) for value, token in zip(influence, tokens, strict=True) if value is not None]
    if not known:
        return tokens
    bar = np.percentile([value for value, _ in known], percentile)
    order = sorted(range(len(known)), key=lambda i: -known[i][0])
    count = max(min(FEWEST, len(known)), sum(bool(value > bar) for value, _ in known))
    return np.array([known[i][1] for i in sorted(order[:count])])


def divergence(with_it: Sequence[Mapping[str, Any]], without: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean over examples of KL(with | without); None if no example tells both distributions."""
    before = {row["id"]: distribution(row.get("output")) for row in without}
    found = []
    for row in with_it:
        p, q = distribution(row.get("output")), before.get(row["id"])
        if p is not None and q is not None and len(p) == len(q):
            found.append(float((p * np.log(p / q)).sum()))
    return sum(found) / len(found) if found else None


def distribution(output: str | None) -> NDArray[np.float64] | None:
    """Probabilities, told as a JSON list of numbers >= 0; None for anything else."""
    try:
        values = np.array(json.loads(output or ""), dtype=np.float64)
    except (ValueError, TypeError):
        return None
    if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any() or values.sum() <= 0:
        return None
    values = np.maximum(values / values.sum(), 1e-12)
    return np.asarray(values / values.sum())
