"""What is known of prompts at a moment, and whose trial was for what."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

from services.domain.history import History, Observation
from workers.models.merit import scored

from .layout import Genome, Layout

METHOD = "claps"
Outputs = tuple[Mapping[str, Any], ...]


class Known:
    """The outcomes of a history by prompt, revealed up to a `seq` that only grows; the first outcome of a prompt counts.

    Attributes:
        tried: prompts with a trial on the search's own examples, in any state.
        ended: those whose trial is over, whatever came of it.
        validated: prompts with a trial on the validation examples.
        stages: slots and extras that were handed out, by stage: (kind, index, genome, snapshot).
    """

    def __init__(self, history: History, layout: Layout, split: str | None) -> None:
        """
        Args:
            split: of the examples that the search uses; None where all trials are alike.
        """
        self.seq = history.seq
        self.tried: set[Genome] = set()
        self.ended: set[Genome] = set()
        self.validated: set[Genome] = set()
        self.stages: dict[int, list[tuple[str, int, Genome, int]]] = {}
        self._values: dict[Genome, float | None] = {}
        self._outputs: dict[Genome, Outputs] = {}
        self._worst, self._next = 0.0, 0
        self._has_valid = False
        own: dict[int, Genome] = {}
        for trial in history.trials:
            genome = layout.genome(trial.parameters)
            if genome is not None and self._note(trial, genome, split):
                own[trial.number] = genome
        self._order = sorted(self.stages)
        self._told = [(s, own[s.trial.number]) for s in scored(history) if s.trial.number in own]

    def _note(self, trial: Observation, genome: Genome, split: str | None) -> bool:
        if split is not None and (trial.evaluate_on is None or trial.evaluate_on["split"] != split):
            self.validated.add(genome)
            return False
        self.tried.add(genome)
        if not trial.is_pending:
            self.ended.add(genome)
        origin = trial.origin
        if origin.get("method") == METHOD:
            kind = "slot" if "slot" in origin else "extra"
            self.stages.setdefault(origin["stage"], []).append((kind, origin[kind], genome, origin["snapshot"]))
        return True

    def reveal(self, until: int) -> None:
        """Take in what was told up to a `seq`."""
        while self._next < len(self._told) and self._told[self._next][0].trial.told_seq <= until:
            found, genome = self._told[self._next]
            self._next += 1
            if found.is_valid:
                self._worst = min(self._worst, found.merit) if self._has_valid else found.merit
                self._has_valid = True
            if genome not in self._values:
                self._values[genome] = found.merit if found.is_valid else None
                if found.trial.examples is not None:
                    self._outputs[genome] = found.trial.examples

    def value(self, genome: Genome) -> float | None:
        """What a prompt is worth, higher is better, the worst so far for an infeasible one; None if nothing is known."""
        if genome not in self._values:
            return None
        value = self._values[genome]
        return self._worst if value is None else value

    def outputs(self, genome: Genome) -> Outputs | None:
        """What was told of a prompt by example."""
        return self._outputs.get(genome)

    def best(self, genomes: Iterable[Genome]) -> Genome | None:
        """The best of some prompts, the latest among equals; None if nothing is known of any."""
        found: tuple[float, Genome] | None = None
        for genome in genomes:
            value = self.value(genome)
            if value is not None and (found is None or value >= found[0]):
                found = (value, genome)
        return None if found is None else found[1]

    def everyone(self) -> list[Genome]:
        """The prompts that something is known of, in the order in which it came."""
        return list(self._values)

    def extras(self, stage: int) -> list[Genome]:
        """The further prompts that were handed out in a stage."""
        return [genome for kind, _, genome, _ in self.stages.get(stage, []) if kind == "extra"]

    def opening(self, stage: int) -> int | None:
        """When a stage opened: the snapshot on its trials, or on those of the next stage that has any; None if none has."""
        after = bisect_left(self._order, stage)
        return min(snapshot for *_, snapshot in self.stages[self._order[after]]) if after < len(self._order) else None
