"""Evolution strategies over a vector that only clients hold: the server keeps seeds, scalars and the update log.

Rows of a generation are antithetic pairs: row r evaluates theta + sigma · noise(pair r // 2) for even r, minus for odd r. A generation
closes with the outcome that completes enough pairs; what comes later is late and changes nothing, a pair that lost a half counts
for nothing, and further rows open further pairs, so that nobody ever waits. Shaped losses become weights, weights an update.

Limits may change at any time, and with them the size that a generation should have and whether the last one is over. What has
closed must stay closed, at the same outcome: rows carry the `pairs` of a generation, and `since` when the one before was closed.

Salimans et al. 2017 (OpenAI-ES); Sarkar et al. 2025 (EGGROLL); Vicol 2023 (ES-Single); Malladi et al. 2023 (MeZO); Wierstra et al.
2014 (SNES); card 6 to 11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.seeds import Noise
from services.domain.suggester import Blob, Problem, Suggestion
from services.domain.updates import Mask, Rule, Update
from workers.models.generations import EVALUATED, ranks
from workers.models.scores import just_behind

Array = NDArray[np.float64]
Shaping = Literal["ranks", "zscore", "sign", "raw"]
VERSION = 1
WORDS = 2**32
LEAST_SIGMA = 1e-9
"""Where decay ends: below it no loss differs any more, and a gradient's 1 / sigma would overflow in the end."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a study searches.

    Attributes:
        pairs: antithetic pairs that a generation hands out, for as long as there are no trials.
        enough: share of them, above 0, that closes it when they are complete.
        sigma: of the perturbations; decay: what it is multiplied by after each generation.
        rank: of the perturbations of matrices, 0 for full; noise: how words become numbers.
        shaping: how losses become weights.
        rule, lr, beta1, beta2, weight_decay: how the direction becomes a step, at the client.
        persistence: generations for which a pair keeps its noise (ES-Single), 1 for none.
        masks: after which generations the search is confined, and to what.
    """

    pairs: int
    enough: float
    sigma: float
    decay: float = 1.0
    rank: int = 0
    noise: Noise = "gauss"
    shaping: Shaping = "ranks"
    rule: Rule = "adam"
    lr: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    persistence: int = 1
    masks: MaskSchedule | None = None


@dataclass(frozen=True, kw_only=True)
class MaskSchedule:
    """Prune again and again: after every `every` generations, `rounds` times, keep the share `keep` of what is left."""

    kind: Literal["random", "magnitude", "snr"]
    keep: float
    rounds: int
    every: int
    rewind: bool

    def after(self, generation: int) -> Mask | None:
        """The mask that the update of a generation carries."""
        number, rest = divmod(generation + 1, self.every)
        if rest or not 1 <= number <= self.rounds:
            return None
        return Mask(kind=self.kind, keep=self.keep**number, rewind=self.rewind)


class SeedSearch:
    """Reads the ledger from the history, turns full generations into updates, names the noise of open rows."""

    def __init__(self, problem: Problem, plan: Plan, blob: Blob | None) -> None:
        parameter = problem.spec.seed_vector
        assert parameter is not None
        self._problem, self._plan, self._name = problem, plan, parameter.name
        key = problem.generator(0, "noise key").integers(0, WORDS, 2)
        self._seed = (int(key[0]), int(key[1]))
        self._generation = self._first = 0
        self._since = self._seen = 0
        self._pairs = 0  # known when the history is
        self._born: list[int] = []
        self._halves: dict[int, Observation] = {}
        self._complete: dict[int, tuple[Observation, Observation]] = {}
        self._updates: dict[int, Update] = {}
        if blob is not None and blob.version == VERSION:
            self._generation = self._first = int(blob.document["generation"])
            self._since = self._seen = int(blob.document["since"])
            self._born = [int(g) for g in blob.document["born"]]

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """`count` seeds: the open rows of this generation, then rows beyond them."""
        self._catch_up(history)
        t = self._generation
        first = max((trial.origin["row"] for trial in history.generation(t)), default=-1) + 1
        reason = f"generation {t}, {self._pairs} pairs"
        ledger = {"generation": t, "since": self._since, "pairs": self._pairs}
        return [
            Suggestion(parameters={self._name: self._value(row)}, reason=reason, origin={**ledger, "row": row})
            for row in range(first, first + count)
        ]

    def updates(self, since: int) -> Sequence[Update]:
        """Updates from a version of theta on.

        Raises:
            LookupError: it was restored from a state beyond `since`.
        """
        if since < self._first < self._generation:
            raise LookupError(f"updates from version {self._first} on are known here, {since} is asked for")
        for version in [v for v in self._updates if v < since]:
            del self._updates[version]
        return list(self._updates.values())

    def state(self) -> Blob:
        """Where the ledger stands; the update log is kept by the service."""
        return Blob(
            version=VERSION, document={"generation": self._generation, "since": self._since, "born": self._born}
        )

    # -- rows

    def _value(self, row: int) -> dict[str, Any]:
        pair, is_odd = divmod(row, 2)
        plan, t = self._plan, self._generation
        born = self._birth(pair)
        return {
            "theta_version": t, "generation": max(born, 0), "pair": pair, "sign": -1 if is_odd else 1, "seed": list(self._seed),
            "sigma": self._sigma(t), "rank": plan.rank, "noise": plan.noise, "step": t - max(born, 0),
        }  # fmt: skip

    def _birth(self, pair: int) -> int:
        return self._born[pair] if pair < len(self._born) else self._generation

    def _sigma(self, generation: int) -> float:
        return max(self._plan.sigma * self._plan.decay**generation, min(self._plan.sigma, LEAST_SIGMA))

    # -- generations

    def _catch_up(self, history: History) -> None:
        self._size(history)
        enough, closed = max(1, math.ceil(self._plan.enough * self._pairs)), self._closed(history)
        for trial in history.finished_after(self._seen):
            while closed is not None and closed < trial.told_seq:
                closed = self._close(history, closed)
            self._seen = trial.told_seq
            if trial.origin.get("generation") == self._generation and trial.state in EVALUATED:
                self._take(trial)
                if closed is None and len(self._complete) >= enough:
                    closed = self._close(history, self._seen)
        while closed is not None or self._generation < history.published:
            closed = self._close(history, self._seen if closed is None else closed)
        if self._complete and self._is_over(history):
            self._close(history, self._seen)

    def _size(self, history: History) -> None:
        """The first trial says how many pairs a generation has."""
        if self._pairs and self._seen:
            return
        first, plan = history.generation(0), self._plan
        self._pairs = first[0].origin["pairs"] if first else plan.pairs
        if not self._generation:
            # Particles that persist begin at different places of their inner run, so that each update sees all places.
            self._born = [-(j * plan.persistence // self._pairs) for j in range(self._pairs)]

    def _closed(self, history: History) -> int | None:
        """At which change the generation was closed, where rows of the next one say so."""
        later = history.generation(self._generation + 1)
        return int(later[0].origin["since"]) if later else None

    def _take(self, trial: Observation) -> None:
        row = trial.origin["row"]
        other = self._halves.pop(row ^ 1, None)
        if other is None:
            self._halves[row] = trial
        else:
            self._complete[row // 2] = (other, trial) if row % 2 else (trial, other)

    def _close(self, history: History, at: int) -> int | None:
        """Go on to the next generation, closed at this change; at which the next one was closed, if it was."""
        if self._generation >= history.published:  # else the log has it, and what the log has stands
            self._updates[self._generation] = self._update(history)
        self._age(set(self._complete))
        self._generation, self._since = self._generation + 1, at
        self._halves, self._complete = {}, {}
        return self._closed(history)

    def _is_over(self, history: History) -> bool:
        """Whether nothing more can come: what was told of the last generation is not wasted."""
        most = self._problem.spec.limits.max_trials
        return most is not None and history.next_number > most and not history.pending

    def _age(self, complete: set[int]) -> None:
        """Pairs whose inner run is over, or that lost a half, begin anew with other noise."""
        t, plan = self._generation, self._plan
        for pair, born in enumerate(self._born):
            if pair not in complete or t + 1 - born >= plan.persistence:
                self._born[pair] = t + 1

    def _update(self, history: History) -> Update:
        plan, t, complete = self._plan, self._generation, self._complete
        pairs = sorted(complete)
        shaped = self._shaped(history, [trial for pair in pairs for trial in complete[pair]])
        weights, sums = shaped[0::2] - shaped[1::2], shaped[0::2] + shaped[1::2]
        is_natural = plan.rule == "snes"
        return Update(
            theta_version=t, rule=plan.rule, lr=plan.lr, beta1=plan.beta1, beta2=plan.beta2, weight_decay=plan.weight_decay,
            sigma=self._sigma(t), rank=plan.rank, noise=plan.noise, seed=self._seed,
            norm=1.0 if is_natural else 1.0 / (2 * len(pairs) * self._sigma(t)),
            generations=tuple(max(self._birth(pair), 0) for pair in pairs), pairs=tuple(pairs),
            weights=tuple(float(weight) for weight in weights),
            sums=tuple(float(s) for s in sums) if is_natural else None,
            mask=None if plan.masks is None else plan.masks.after(t),
        )  # fmt: skip

    def _shaped(self, history: History, trials: list[Observation]) -> Array:
        """(2p,) losses as they count: lower is better, the two of a pair beside each other."""
        places = np.array(ranks(history, trials))
        if self._plan.rule == "snes":
            return _utilities(places)
        if self._plan.shaping == "ranks":
            return places / max(len(places) - 1, 1) - 0.5 if len(set(places)) > 1 else np.zeros(len(places))
        if self._plan.shaping == "sign":
            signs = np.sign(places[0::2] - places[1::2]) / 2
            return np.stack([signs, -signs], axis=1).ravel()
        values = _values(history, trials, places)
        if self._plan.shaping == "raw":
            return values
        centred = values - values.mean()
        largest = np.abs(centred).max() or 1.0  # taken out, so that no square overflows
        spread = math.sqrt(float(np.mean((centred / largest) ** 2))) * largest
        return np.asarray(centred / (spread + 1e-8))


def _utilities(places: Array) -> Array:
    """Losses as SNES counts them, by rank: minus its utilities, which sum to zero."""
    n = len(places)
    raw = np.maximum(0.0, math.log(n / 2 + 1) - np.log(places + 1))
    total = float(raw.sum())
    return -(raw / total - 1.0 / n) if total > 0 and len(set(places)) > 1 else np.zeros(n)


def _values(history: History, trials: list[Observation], places: Array) -> Array:
    """(n,) losses; what has none, or breaks a constraint, counts as worse than the worst, by rank.

    Pruned trials are held back by `just_behind`.
    """
    objective = history.spec.objectives[0]
    sign = 1.0 if objective.goal == "minimize" else -1.0
    found = np.array([sign * t.metrics.get(objective.metric, math.nan) for t in trials])
    bad = np.array([t.state == "infeasible" or t.feasible is False for t in trials]) | np.isnan(found)
    if bad.all():
        return places
    pruned = np.array([t.state == "pruned" for t in trials]) & ~bad
    if pruned.any():
        found[pruned] = np.maximum(found[pruned], just_behind(found[~(pruned | bad)]))
    found = np.clip(found, -1e298, 1e298)  # sums and differences of such values stay numbers
    if not bad.any():
        return found
    best, worst = float(found[~bad].min()), float(found[~bad].max())
    order = places[bad] - places[bad].min() + 1.0
    found[bad] = worst + ((worst - best) or 1.0) * order / len(trials)
    return found
