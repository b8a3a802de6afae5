"""What a study comes to with its options: every choice that was left open, made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.errors import FieldError
from services.domain.parameters import IntParameter
from services.domain.study import StudySpec
from workers.models import rules
from workers.models.estimators import ESTIMATORS, Estimator
from workers.models.estimators.directions import LARGEST_BLOCK

from .coordinates import moved_columns, vector_parameter
from .domains import Domain
from .options import MOST_NUMBERS, WITHOUT_RULE, ZoOptions
from .schemes import Conservative, Gains, Projection, Ruled, Scheme
from .special import Accelerated, FixedPoint, FrankWolfe, OnlineToNonconvex

Array = NDArray[np.float64]
EXACT_RADIUS = 1e-3
NOISY_RADIUS = 0.02
SMOOTH_RADIUS = 0.1
PILOT = 5
USUAL_STEPS = 1000.0
FIRST_MOVE = 0.1
REDUCED_LR, REDUCED_RADIUS = 0.005, 0.01
SVRG_LR = 0.1
STEPS_AT_LEAST = 4
EXACT = "estimator coord or orth2, with as many directions as coordinates"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The choices of a study.

    Attributes:
        size: n; estimator, name: what makes gradients; rule: its name, None where the scheme is its own.
        directions: wanted in a step; small: in a step between two large ones of a recursive estimator.
        radius: fixed; None to take it from the noise.
        steps: expected in all.
        crn: name, lowest value, step and count of the integer parameter for common random numbers.
    """

    spec: StudySpec
    options: ZoOptions
    size: int
    name: str
    rule: str | None
    directions: int
    radius: float | None
    steps: float
    crn: tuple[str, int, int, int] | None

    @classmethod
    def of(cls, spec: StudySpec, options: ZoOptions) -> Settings:
        """The choices for a study."""
        size = len(moved_columns(Codec(spec.space), options.held))
        name = options.estimator or _estimator(spec, options, size)
        per = len(ESTIMATORS[name].signs) * (options.ahead if options.variance_reduction == "none" else 2)
        directions = _directions(spec, options, size, per, name)
        most = spec.limits.max_trials
        crn = spec.space.by_name.get(options.crn or "")
        return cls(
            spec=spec,
            options=options,
            size=size,
            name=name,
            rule=_rule(spec, options, name),
            directions=directions,
            radius=options.radius,
            steps=USUAL_STEPS
            if most is None
            else max(1.0, options.ahead * most / _trials_a_step(options, per * directions)),
            crn=(crn.name, crn.min, crn.step, crn.size) if isinstance(crn, IntParameter) else None,
        )

    @property
    def estimator(self) -> Estimator:
        """How values become a gradient."""
        return ESTIMATORS[self.name]

    @property
    def is_noisy(self) -> bool:
        """Whether the smoothing radius has to stand out of the noise."""
        return self.spec.is_noisy and self.options.crn is None

    @property
    def has_pilot(self) -> bool:
        """Whether the first step measures slope and noise with more directions."""
        return self.rule == "spsa" or (self.is_noisy and self.radius is None)

    def first_radius(self) -> float:
        """Before anything is known of the noise."""
        if self.radius is not None:
            return self.radius
        if self.options.scheme == "smooth-acceleration":
            return SMOOTH_RADIUS
        if self.options.variance_reduction in ("spider", "sarah"):
            return REDUCED_RADIUS
        return NOISY_RADIUS if self.is_noisy or self.rule == "spsa" else EXACT_RADIUS

    def made_rule(self) -> rules.Rule:
        """The rule.

        Raises:
            ValueError: there is none of this name, or it does not take these options.
        """
        assert self.rule is not None
        chosen = dict(self.options.rule_options)
        if self.options.lr is not None:
            chosen.setdefault("lr", self.options.lr)
        elif self.options.rule is None and self.options.variance_reduction != "none":
            is_svrg = self.options.variance_reduction == "svrg"
            chosen.setdefault("lr", SVRG_LR / math.sqrt(self.size) if is_svrg else REDUCED_LR)
        if self.rule.startswith("cosine(") and self.options.rule is None:
            chosen.setdefault("total_steps", self.steps)
        return rules.make(self.rule, self.size, chosen, self._shape())

    def _shape(self) -> tuple[int, int] | None:
        """Rows and columns, where what is moved is a matrix."""
        vector = vector_parameter(self.spec.space, self.options.held)
        if self.options.shape is not None or vector is None or vector.shape is None or len(vector.shape) != 2:
            return self.options.shape
        return vector.shape[0], vector.shape[1]

    def check_rule(self) -> list[FieldError]:
        """What speaks against the rule."""
        try:
            rule = self.made_rule()
        except rules.NotInstalled:  # an API server without torch: its workers have it
            return []
        except rules.BadOptions as error:
            return [FieldError(self._place(option), message) for option, message in error.errors]
        except ValueError as error:
            return [FieldError("/suggester/options/rule", str(error))]
        wants = rule.wants
        if "hessian" in wants and self.name not in ("gauss2", "coord"):
            message = f"{self.rule} wants second differences: use estimator gauss2 or coord, not {self.name}"
        elif "hessian" in wants and (self.options.ahead > 1 or self.options.scheme == "two-losses"):
            message = f"{self.rule} wants second differences, which are taken at one point and of one loss only"
        elif wants & {"value", "target"} and self.options.scheme == "two-losses":
            message = f"{self.rule} wants values of one loss, and most steps of two-losses see the proxy only"
        elif wants & {"value", "target"} and self.options.ahead > 1:
            message = f"{self.rule} wants values, and ahead predicts gradients only"
        elif "exact" in wants and not self.is_exact:
            message = f"{self.rule} wants exact gradients: {EXACT}"
        else:
            return []
        return [FieldError("/suggester/options/rule", message)]

    @property
    def beside(self) -> str:
        """What points are probed for beside the iterate."""
        if self.options.scheme == "two-losses":
            return "the proxy"
        return "steps ahead" if self.options.ahead > 1 else "variance reduction"

    @property
    def is_exact(self) -> bool:
        """Whether a step sees the gradient itself, up to curvature: as many orthogonal directions as coordinates."""
        is_whole = self.directions % self.size == 0
        return is_whole and (self.name == "coord" or (self.name == "orth2" and self.size <= LARGEST_BLOCK))

    def _place(self, option: str) -> str:
        if option == "lr" and "lr" not in self.options.rule_options:
            return "/suggester/options/lr"
        name = option.replace("~", "~0").replace("/", "~1")
        return f"/suggester/options/rule_options/{name}" if option else "/suggester/options/rule_options"

    def scheme(self, x: Array, projected: Projection) -> Scheme:
        """The scheme at its start."""
        options, lr = self.options, self.options.lr
        if self.name == "residual":
            return FixedPoint(x, projected, 0.1 if lr is None else lr)
        match options.scheme:
            case "frank-wolfe":
                return self._frank_wolfe(x, projected)
            case "online-to-nonconvex":
                return OnlineToNonconvex(x, projected, 0.02 if lr is None else lr)
            case "smooth-acceleration":
                return Accelerated(x, projected, 0.1 if lr is None else lr)
            case "conservative":
                return Conservative(x, projected, self.made_rule())
        if self.rule == "spsa":
            return Gains(x, projected, self.steps, FIRST_MOVE if lr is None else lr)
        return Ruled(x, projected, self.made_rule())

    def _frank_wolfe(self, x: Array, projected: Projection) -> Scheme:
        return FrankWolfe(
            self.domain.inside(x), projected, domain=self.domain, directions=self.directions,
            is_coordinate=self.estimator.family == "coordinate",
        )  # fmt: skip

    @cached_property
    def domain(self) -> Domain:
        """The set that iterates must not leave; a box except for `frank-wolfe`."""
        low, width = self._range()
        return Domain(self.options.domain, self.options.domain_size, low, width, is_noisy=self.spec.is_noisy)

    def _range(self) -> tuple[float, float]:
        """Lowest value and width of the one vector that is moved; of the cube where there is none."""
        vector = vector_parameter(self.spec.space, self.options.held)
        return (0.0, 1.0) if vector is None else (vector.min, vector.max - vector.min)


def _trials_a_step(options: ZoOptions, probes: int) -> float:
    beside = 2.0 if options.scheme == "conservative" else 0.0
    return probes + beside + (1 / options.evaluate if options.evaluate else 0.0)


def _estimator(spec: StudySpec, options: ZoOptions, size: int) -> str:
    if options.scheme == "frank-wolfe":
        return "gauss2"
    if options.scheme == "smooth-acceleration" or options.variance_reduction in ("spider", "sarah", "storm"):
        return "sphere2"
    codec = Codec(spec.space)
    if any(codec.coordinates[j].levels is not None for j in moved_columns(codec, options.held)):
        return "coord"  # a jump between levels would drown what other coordinates say in the same difference
    if options.variance_reduction == "svrg":
        return "orth2" if size <= LARGEST_BLOCK else "coord"  # a look at every fold is to be exact
    if options.rule == "spsa" or (spec.is_noisy and options.rule is None):
        return "spsa"
    many = (options.directions or -(-(spec.limits.max_running or 1) // 2)) >= 4
    return "orth2" if many and size <= 2000 else "sphere2"


def _rule(spec: StudySpec, options: ZoOptions, name: str) -> str | None:
    if options.scheme in WITHOUT_RULE or name == "residual":
        return None
    if options.rule is not None:
        return options.rule.strip()
    if options.variance_reduction != "none":
        return "sgd"
    if spec.is_noisy and options.crn is None and options.scheme == "plain":
        return "spsa"
    return "schedule-free" if spec.limits.max_trials is None else "cosine(adam)"


def _directions(spec: StudySpec, options: ZoOptions, size: int, per: int, name: str) -> int:
    """Directions of a step: as many as keep the workers busy, and few enough for some steps within `max_trials`."""
    if name == "residual":
        return 1
    wanted = options.directions
    if wanted is None:
        wanted = -(-(spec.limits.max_running or 1) // per)
        if options.variance_reduction in ("spider", "sarah"):
            wanted = max(8, size // 4, wanted)
        if options.variance_reduction == "svrg":
            wanted = size * (spec.space.by_name[options.crn or ""].size or 1)
        if options.scheme == "frank-wolfe" and name == "coord":
            wanted = size
    wanted = min(wanted, max(1, MOST_NUMBERS // size))
    most = spec.limits.max_trials
    return wanted if most is None else max(1, min(wanted, math.ceil(most / (STEPS_AT_LEAST * per))))
