"""Chooses the suggester by the study: types, dimension, budget, noise, constraints, goals, what has been told; says why on each trial.

The policy in one look (`choose`):

- texts, beside whatever else: without a language model `plum`; with one `gepa` where examples are declared and may be shared,
  `directional` once the first outcomes carry feedback that may be shared, else `opro`. The other parameters go to this policy again.
- a vector that stays with its clients as seeds: `es`.
- token sequences too long to model: `claps`. Orders too long to model: `annealing` for few workers, `ga` for many, `nsga2` for several
  goals. Conditional texts, texts with several goals: `random`.
- several vectors with over 300 numbers together and nothing else, one goal: `bbt`, block by block.
- over 300 dimensions, numbers only, one goal, no constraints: `one-plus-one` for the first 10 trials a dimension, unless outcomes are
  noisy, then `cmaes` with scales alone, over 2000 dimensions `snes`: from the best point known.
- over 1000 dimensions otherwise: `one-plus-one`, and `sobol` for several goals: no model here would learn anything in time.
- 2 to 100 dimensions, numbers only, one goal, no noise nor constraints, where trials are cheap (a budget of 50 a dimension and 100 at
  least, or none and 30 a dimension and 100 told): `cmaes` with its quadratic surrogate and BIPOP restarts, from the best point known.
  In 2 dimensions `gp` has the first 20 trials a dimension, in more `cobyla` the first 5. From 100 trials a dimension on, unless
  the budget ends before 300 a dimension, `step` searches the coordinates one by one for as long as that brings something.
- over 100 dimensions, or over 2000 told trials, one goal: `turbo`.
- 21 to 100 dimensions, one goal, more than 300 told: `gp` or `turbo`, whichever gained more lately, decided again every 50 trials.
- several goals, over 500 told trials: `nsga2`, where models of every goal cost more than they bring.
- everything else, and that is most: `gp`. A categorical parameter, a failed trial, a constraint or a second goal is no reason to leave
  it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.domain.errors import FieldError, Invalid
from services.domain.history import History
from services.domain.study import StudySpec
from services.domain.suggester import (
    EVERY_TYPE,
    SEED,
    Blob,
    Honours,
    NoOptions,
    Problem,
    Publisher,
    Resources,
    Spec,
    Suggester,
    Suggestion,
)
from services.domain.updates import Update
from workers.models.cheap_trials import SWEPT, for_cheap_trials, is_swept

VERSION = 1
FEW_PARAMETERS = 100
MOST_CORRELATED = 300
MOST_DIMENSIONS = 1000
MOST_SCALES = 2000
ONE_POINT_FIRST = 10
MOST_EXACT = 2000
MOST_FOR_GOALS = 500
MOST_CHAINS = 8
HIGH_DIMENSION = 20
CONTEST_FROM = 300
CONTEST_EVERY = 50
FEWEST_JUDGED = 20
FIRST_OUTCOMES = 3
FEWEST_IDLE = 3


class Auto:
    """Delegates to one suggester at a time. All of them are pure functions of the history, so a switch loses nothing."""

    def __init__(self, problem: Problem, blob: Blob | None) -> None:
        self._problem = problem
        self._made: dict[str, Suggester] = {}
        self._blobs: dict[str, Blob] = {}
        self._latest = ""
        if blob is not None and blob.version == VERSION:
            name = str(blob.document["name"])
            self._blobs[name] = Blob(
                version=blob.document["version"], document=blob.document["state"], arrays=blob.arrays
            )
            self._latest = name

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points of the suggester that fits now."""
        name, why = choose(self._problem.spec, history)
        found: list[Suggestion] = []
        swept = is_swept(history)
        if name == "step":
            found = self._sweep(history, count, why)
            if len(found) == count:
                return found
            is_out = any(t.suggester == "step" for t in history.pending)
            swept = not found and not is_out
            name, why = "cmaes", "the coordinates are done" if swept else "the trials of step are out"
        self._latest = name
        mark = {SWEPT: True} if swept else {}
        return found + [
            replace(s, suggester=name, reason=f"{s.reason} (auto: {why})", origin={**s.origin, **mark})
            for s in self._get(name).suggest(history, count - len(found))
        ]

    def _sweep(self, history: History, count: int, why: str) -> list[Suggestion]:
        """What the first search of `step` wants, and nothing of a later one."""
        found: list[Suggestion] = []
        for s in self._get("step").suggest(history, count):
            if s.origin.get("round") != 0:
                break
            found.append(replace(s, suggester="step", reason=f"{s.reason} (auto: {why})"))
        return found

    def updates(self, since: int) -> Sequence[Update]:
        """The update log of a seed-encoded vector, as `es` goes on with it."""
        inner = self._made.get("es")
        return inner.updates(since) if isinstance(inner, Publisher) else ()

    def _get(self, name: str) -> Suggester:
        from .registry import get

        if name not in self._made:
            spec = get(name)
            problem = self._problem
            options = _OPTIONS[name](problem.spec) if name in _OPTIONS else {}
            self._made[name] = spec.create(problem, spec.parse_options(options), self._blobs.get(name))
        return self._made[name]

    def state(self) -> Blob | None:
        """The state of the suggester that was used last, of those that keep one."""
        inner = self._blobs.get(self._latest)
        if self._latest in self._made:
            inner = self._made[self._latest].state()
        if inner is None:
            return None
        document = {"name": self._latest, "version": inner.version, "state": dict(inner.document)}
        return Blob(version=VERSION, document=document, arrays=inner.arrays)


def dimensions(spec: StudySpec) -> int:
    """How many numbers a point has, an item of a vector being one."""
    return sum(getattr(p, "length", 1) for p in spec.parameters)


def _cmaes_options(spec: StudySpec) -> dict[str, Any]:
    """Beyond a quadratic model of everything, one of squares; beyond correlations, scales alone."""
    d = dimensions(spec)
    if d > MOST_CORRELATED:
        return {"diagonal": True}
    return {"surrogate": "lq"} if d > HIGH_DIMENSION and not spec.space.is_finite else {}


def _step_options(spec: StudySpec) -> dict[str, Any]:
    """A patience that grows with the coordinates: `cmaes` was there, so that several in a row may be in their best valleys."""
    return {"chains": 1, "patience": max(FEWEST_IDLE, dimensions(spec) // 4)}


_OPTIONS = {"cmaes": _cmaes_options, "step": _step_options}


def choose(spec: StudySpec, history: History) -> tuple[str, str]:
    """The suggester for a study with this history, and why: a pure function of both."""
    from workers.models.sequence_codec import SEQUENCES, SequenceCodec, too_long

    if spec.seed_vector is not None:
        return "es", "the numbers stay with the clients"
    if any(p.type == "text" for p in spec.parameters):
        return _for_texts(spec, history)
    foreign = sorted({p.type for p in spec.parameters} - SequenceCodec.encodable)
    if foreign:
        return "random", f"parameters of type {foreign[0]} are drawn"
    if too_long(spec):
        if _serves("claps", spec):
            return "claps", "few of so many tokens matter"
        return _for_long_sequences(spec)
    d, n = dimensions(spec), history.completed_count
    plain = all(p.type in ("float", "int", "vector") and not p.when for p in spec.parameters)
    free = sum(getattr(p, "length", 1) for p in spec.parameters if getattr(p, "min", 0) != getattr(p, "max", 1))
    single = len(spec.objectives) == 1 and not any(p.type in SEQUENCES for p in spec.parameters)
    vectors = len(spec.parameters) > 1 and all(p.type == "vector" for p in spec.parameters)
    if single and d > MOST_CORRELATED and vectors and _serves("bbt", spec):
        return "bbt", f"{len(spec.parameters)} vectors are taken one after the other"
    if single and plain and not spec.constraints and d > MOST_CORRELATED:
        return _for_very_many(spec, d, n)
    if single and plain and 2 <= d <= FEW_PARAMETERS and free >= 2 and not spec.is_noisy and not spec.constraints:
        cheap = for_cheap_trials(spec, history, d, n)
        if cheap is not None:
            return cheap
    if d > MOST_DIMENSIONS:
        name = "one-plus-one" if _serves("one-plus-one", spec) else "sobol"
        return name, f"{d} dimensions are too many for a model"
    if single and d > FEW_PARAMETERS:
        return "turbo", f"{d} dimensions ask for a trust region"
    if single and n > MOST_EXACT:
        return "turbo", f"{n} trials are many for one model of everything"
    if single and d > HIGH_DIMENSION and n > CONTEST_FROM:
        return _contest(history)
    if len(spec.objectives) > 1 and n > MOST_FOR_GOALS and _serves("nsga2", spec):
        return "nsga2", f"{n} trials are many for a model of every goal"
    return "gp", "trials are dear"


def _for_very_many(spec: StudySpec, d: int, n: int) -> tuple[str, str]:
    """Numbers in so many dimensions that scales are all that can be learned of them."""
    if n < ONE_POINT_FIRST * d and not spec.is_noisy:
        return "one-plus-one", f"{n} trials are few for {d} dimensions"
    return "cmaes" if d <= MOST_SCALES else "snes", f"{d} dimensions are many for a model of everything"


def _for_long_sequences(spec: StudySpec) -> tuple[str, str]:
    wide = (spec.limits.max_running or 1) > MOST_CHAINS
    for name, why in (
        ("ga" if wide else "annealing", "sequences this long are searched by moves"),
        ("nsga2", "several goals over sequences this long"),
    ):
        if _serves(name, spec):
            return name, why
    return "random", "sequences this long are drawn"


def _for_texts(spec: StudySpec, history: History) -> tuple[str, str]:
    """The method for a study with texts: what the client can tell and who may read it decide."""
    return _text_method(spec, says_why=any(t.feedback for t in history.finished[:FIRST_OUTCOMES]))


def _text_method(spec: StudySpec, *, says_why: bool) -> tuple[str, str]:
    asked = spec.llm is not None and spec.llm.profile is not None
    wishes = [
        ("gepa", asked and spec.examples is not None, "outcomes come by example"),
        ("directional", asked and spec.shares_examples and says_why, "the first outcomes say why"),
        ("opro", asked, "a language model is there"),
        ("plum", True, "no language model is there"),
    ]
    for name, fits, why in wishes:
        if fits and _serves(name, spec):
            return name, why
    return "random", "these texts are drawn"


def _serves(name: str, spec: StudySpec) -> bool:
    """Whether a suggester takes the study."""
    from .registry import get

    try:
        get(name).check(spec)
    except Invalid:
        return False
    return True


def _contest(history: History) -> tuple[str, str]:
    """`gp` or `turbo`: by what the latest trials of each gained, judged at every fiftieth outcome; who was not tried is tried."""
    done = sorted(history.completed, key=lambda t: t.told_seq)
    judged = done[: len(done) - len(done) % CONTEST_EVERY]
    gains: dict[str, float] = {}
    for name in ("gp", "turbo"):
        places = [i for i, t in enumerate(judged) if t.suggester == name][-CONTEST_EVERY:]
        if len(places) < FEWEST_JUDGED:
            return name, f"in many dimensions gp and turbo take turns, and {name} is tried"
        ours = set(places)
        before = min((history.values(t)[0] for i, t in enumerate(judged[: places[-1]]) if i not in ours), default=0.0)
        gains[name] = before - min(history.values(judged[i])[0] for i in places)
    best = max(gains, key=lambda name: gains[name])
    return best, f"in many dimensions gp and turbo take turns, and {best} gained more lately"


def _refuse(spec: StudySpec, _: NoOptions) -> list[FieldError]:
    if spec.seed_vector is not None:
        from workers.models.seed_spaces import stands_alone

        if problems := stands_alone(spec):
            return problems
        from .registry import get

        try:
            get("es").check(spec)
        except Invalid as error:
            return list(error.errors)
    if spec.llm is not None and not any(p.type == "text" for p in spec.parameters):
        return [FieldError("/llm", "nothing here is for a language model: there is no text parameter")]
    return []


def _exhausts(spec: StudySpec) -> bool:
    """Where there are texts, whether the method for them runs out: what the outcomes say chooses only between two that do not."""
    from .registry import get

    return any(p.type == "text" for p in spec.parameters) and get(_text_method(spec, says_why=False)[0]).runs_out(spec)


def _create(problem: Problem, _: NoOptions, blob: Blob | None) -> Suggester:
    return Auto(problem, blob)


SPEC = Spec(
    name="auto",
    summary="Picks and switches by types, dimension, budget and objectives; the reason stands on every trial.",
    reference="the policy of this page",
    honours=Honours(types=EVERY_TYPE | {SEED}, max_objectives=10, examples=True, feedback=True, llm="preferred"),
    create=_create,
    refuse=_refuse,
    exhausts=_exhausts,
    resources=Resources(timeout_seconds=120.0),
)
