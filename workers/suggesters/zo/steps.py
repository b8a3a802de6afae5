"""The steps taken so far, read from the history in the order in which outcomes came."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.suggester import Blob, Problem
from services.domain.trial import TrialState
from workers.models.estimators.directions import guiding_basis

from . import outcomes, reported
from .ahead import Ahead, Place
from .coordinates import Coordinates
from .late import Latecomers, own, under
from .learner import Learner, Learnt
from .options import PROXY
from .outcomes import Told, closed, evaluated
from .probes import Probes
from .rows import Known, Rows
from .schemes import Conservative, Scheme
from .settings import PILOT, STEPS_AT_LEAST, Settings

Array = NDArray[np.float64]
GUIDES = 5
MOST_IDLE = 30


class Steps:
    """Where the descent stands.

    Attributes:
        generation: of the ledger; step: gradient steps taken (a scheme that compares candidates uses a further generation).
        scheme: holds the iterate; candidates: to be compared before the next step.
    """

    def __init__(self, problem: Problem, settings: Settings, coordinates: Coordinates) -> None:
        self._problem, self._settings, self._coordinates = problem, settings, coordinates
        self.generation, self.step, self._since = 0, 0, 0
        self.scheme = settings.scheme(coordinates.start(), coordinates.projected)
        self._learner = Learner(settings)
        self._feasible = self.scheme.x
        self._late = Latecomers(coordinates.size, self._again)
        self._moves = np.empty((0, coordinates.size))
        self.wanted = self._directions()
        self._open: Probes | None = None
        self.rows = Rows(problem, settings, coordinates)
        self._known = Known() if problem.space.is_finite and not problem.spec.is_noisy else None
        self._idle = 0  # steps in a row that needed no trial
        self._ahead = Ahead(coordinates.size, settings.options.ahead)
        self._ahead_open: list[Place] = []

    # -- the open step

    @property
    def candidates(self) -> list[Array]:
        """(n,) points to compare before the next step."""
        return self.scheme.candidates() if isinstance(self.scheme, Conservative) else []

    @property
    def radius(self) -> float:
        """Smoothing radius of the open step."""
        return self.scheme.radius(self.step, self._learner.radius)

    @property
    def probes(self) -> Probes:
        """Of the open step."""
        if self._open is None:
            here = self.scheme.probe_at(self.step, self._problem.generator)
            beside, cheap = self._learner.beside(here)
            self._ahead_open = self._ahead.places(self._copy, self.step, self._problem.generator)
            bases = [here, *beside, *(place.at for place in self._ahead_open)]
            lead = self._settings.estimator.lead or self.scheme.wants_hessian()
            self._open = self._probes(self.step, self.wanted, self.radius, bases, lead, cheap)
        return self._open

    def _copy(self) -> Scheme:
        """The scheme where it stands, to try steps with."""
        found = self._settings.scheme(self.scheme.x, self._coordinates.projected)
        found.load(*self.scheme.save())
        return found

    def _probes(
        self, step: int, block: int, radius: float, bases: list[Array], lead: bool, cheap: frozenset[int] = frozenset()
    ) -> Probes:
        is_guided = self._settings.estimator.family == "guided"
        return Probes(
            self._coordinates, self._settings.estimator, self._problem.generator, step=step, block=block, lead=lead,
            radius=radius, bases=bases, cheap=cheap, basis=guiding_basis(self._moves) if is_guided else None,
            domain=None if self._settings.domain.kind == "box" else self._settings.domain,
        )  # fmt: skip

    def _directions(self) -> int:
        settings = self._settings
        if self._learner.reduction is not None:
            return self._learner.reduction.directions
        if self.step > 0 or not settings.has_pilot:
            return settings.directions
        most = settings.spec.limits.max_trials
        pilot = PILOT if most is None else max(1, min(PILOT, most // (2 * STEPS_AT_LEAST)))
        return max(pilot, settings.directions)

    # -- reading

    def trials(self, history: History) -> list[Observation]:
        """Trials of the open generation, by number; those of another suggester that the study had before are none."""
        return own(history, self.generation)

    def catch_up(self, history: History) -> None:
        """Close every step that is full."""
        if self._known is not None:
            self._known.read(history)
        while self._closed(history):
            self._open = None

    def _closed(self, history: History) -> bool:
        trials = self.trials(history)
        if isinstance(self.scheme, Conservative) and self.candidates:
            return self._judged(history, trials, self.scheme)
        # An open step keeps the number of directions that it was begun with, whatever the study's limits are now.
        wanted = int(trials[0].origin["directions"]) if trials else self._directions()
        if wanted != self.wanted:
            self.wanted, self._open = wanted, None
        standing_in = self.stand_ins(trials)
        told = closed([*standing_in, *trials], self.probes, wanted, self._is_usable)
        if told is None:
            return False
        self._idle = self._idle + 1 if told.seq <= self._since else 0
        seq = max(told.seq, self._since)
        self._take(history, told, seq)
        self.generation, self.step, self._since = self.generation + 1, self.step + 1, seq
        self.wanted = self._directions()
        return True

    def stand_ins(self, trials: list[Observation]) -> list[Observation]:
        """In a finite space: other trials whose points are those of rows; none after many steps that found nothing new."""
        if self._known is None or self._idle >= MOST_IDLE:
            return []
        return self._known.stand_ins(self.rows, self.probes, trials, self.wanted)

    def _is_usable(self, trial: Observation) -> bool:
        slope, done = self._settings.estimator.slope, trial.state is TrialState.COMPLETED
        if slope in ("told", "residual"):
            return trial.state is TrialState.INFEASIBLE or reported.is_known(trial, slope, self._coordinates.size)
        place = self.probes.place(trial.origin["row"])
        if done and place.base in self.probes.cheap and PROXY not in trial.metrics:
            return False
        return place.direction is None or self.probes.direction(place.direction) is not None

    def _take(self, history: History, told: Told, seq: int) -> None:
        before, probes = self.scheme.x, self.probes
        if self._settings.estimator.slope in ("told", "residual"):
            self._take_reported(history, told)
        else:
            late = self._late.slopes(history, self._learner, probes, self._since, seq)
            learnt = self._learner.learn(history, probes, told, late)
            if learnt is None:
                self._retreat()
            else:
                self._feasible = self._evaluable(told)
                self._move(learnt, probes)
        self._remember(before, probes)

    def _take_reported(self, history: History, told: Told) -> None:
        """A step whose gradient was told: every trial of it stands at the iterate."""
        slope, size = self._settings.estimator.slope, self._coordinates.size
        trials = [(i, told.rows[self.probes.row(i, 0, 0)]) for i in told.directions]
        known = [(i, t) for i, t in trials if reported.is_known(t, slope, size)]
        self._learner.dampen(not known)
        if not known:
            self._retreat()
            return
        width = self._settings.domain.width
        if slope == "residual":
            g = reported.residual(known[0][1], width)
        else:
            g = reported.gradient(history, [(self.probes.direction(i), t) for i, t in known], width)
        f = reported.value(history, [t for _, t in known])
        self._feasible, self._learner.previous = self.scheme.x, np.array([f])
        self.scheme.move(g, f, self.step, self._learner.damping, {"slope": np.array(np.abs(g).mean())})

    def _retreat(self) -> None:
        """No probe of this step could be evaluated: back to where some could; where none ever could, to anywhere."""
        if self._learner.previous is not None:
            self.scheme.x = self._settings.domain.inside(self._feasible)
            return
        anywhere = self._problem.generator(self.step, "start").random(self._coordinates.size)
        projected = self._coordinates.projected
        self.scheme = self._settings.scheme(projected(anywhere, self.scheme.x), projected)
        self._feasible = self.scheme.x

    def _move(self, learnt: Learnt, probes: Probes) -> None:
        """The rule's step, and those from the points ahead, each with its own gradient."""
        damping = self._learner.damping
        self.scheme.move(learnt.g, learnt.f, self.step, damping, learnt.extras)
        if self._settings.options.ahead == 1:
            return
        self._ahead.remember(probes.bases[0], learnt.g)
        for place, at, (g, f) in zip(self._ahead_open, probes.bases[1:], learnt.further, strict=True):
            self.scheme.x = place.x
            self.scheme.move(g, f, self.step, damping, learnt.extras)
            self._ahead.remember(at, g)

    def _evaluable(self, told: Told) -> Array:
        """(n,) the iterate; where some of its probes were infeasible, one of those that were not."""
        if all(t.state is not TrialState.INFEASIBLE for t in told.rows.values()):
            return self.scheme.x
        rows = (row for row, t in told.rows.items() if t.state is not TrialState.INFEASIBLE)
        found = self.probes.coordinates(self.probes.place(min(rows)))
        return self.scheme.x if found is None else found

    # -- candidates of a careful scheme

    def _judged(self, history: History, trials: list[Observation], scheme: Conservative) -> bool:
        count = len(scheme.candidates())
        first: dict[int, Observation] = {}
        for trial in evaluated(trials):
            first.setdefault(trial.origin["row"] % count, trial)
            if len(first) == count:
                break
        if len(first) < count:
            return False
        values = outcomes.values_of(history, first, np.zeros(len(history.spec.objectives)))
        found = [np.inf if i in values.infeasible else float(values.objectives[i][0]) for i in range(count)]
        metric = self._problem.spec.objectives[0].metric
        stds = [t.std[metric] for t in first.values() if metric in t.std]
        scheme.judge(found, float(np.mean(stds)) if stds else 0.0)
        self.generation, self._since = self.generation + 1, max(t.told_seq for t in first.values())
        self.wanted = self._directions()
        return True

    # -- what comes late

    @property
    def _counts_late(self) -> bool:
        kind = self._settings.estimator
        learner = self._learner
        options = self._settings.options
        is_plain = options.scheme == "plain" and options.ahead == 1
        is_plain = is_plain and learner.reduction is None and learner.prices is None
        return kind.is_paired and kind.slope == "value" and kind.family != "guided" and is_plain

    def _remember(self, before: Array, probes: Probes) -> None:
        if self._settings.estimator.family == "guided":
            self._moves = np.concatenate([self._moves, (self.scheme.x - before)[None]])[-GUIDES:]
        if self._counts_late and not probes.lead:
            self._late.remember(self.generation, probes, self.radius)

    def _again(self, step: int, block: int, radius: float, bases: list[Array]) -> Probes:
        return self._probes(step, block, radius, bases, lead=False)

    # -- the state

    def _about(self) -> list[Any]:
        settings = self._settings
        return [settings.name, settings.rule, settings.options.model_dump(mode="json", exclude={"evaluate"})]

    def saved(self, version: int) -> Blob:
        """Everything that the next step depends on."""
        scheme, arrays = self.scheme.save()
        learner, memories = self._learner.save()
        earlier, places = self._late.save()
        document = {
            "settings": self._about(), "generation": self.generation, "step": self.step, "since": self._since, "idle": self._idle,
            "scheme": scheme, "learner": learner, "earlier": earlier,
        }  # fmt: skip
        found = {f"scheme/{name}": a for name, a in arrays.items()} | {f"learner/{n}": a for n, a in memories.items()}
        found |= {"feasible": self._feasible, "moves": self._moves, "recommended": self.scheme.recommend()}
        found |= {"places": places, "at": self._ahead.at, "gradients": self._ahead.gradients}
        return Blob(version=version, document=document, arrays=found)

    def restore(self, blob: Blob) -> None:
        """Continue from a saved state; where options or limits chose another method since, that one begins at the iterate."""
        saved, place = blob.document, blob.arrays["recommended"]
        if len(place) != len(self.scheme.x):
            return
        self.generation, self.step, self._since = saved["generation"], saved["step"], saved["since"]
        self._idle = saved["idle"]
        if saved["settings"] != self._about():
            self.generation, self.step = self.generation + 1, 0
            self.scheme = self._settings.scheme(place, self._coordinates.projected)
            self._feasible = self.scheme.x
            return
        self.scheme.load(saved["scheme"], under("scheme/", blob.arrays))
        self._learner.load(saved["learner"], under("learner/", blob.arrays))
        self._feasible, self._moves = blob.arrays["feasible"], blob.arrays["moves"]
        self._late.load(saved["earlier"], blob.arrays["places"])
        self._ahead.at, self._ahead.gradients = blob.arrays["at"], blob.arrays["gradients"]
        self.wanted = self._directions()
