"""A study: one optimisation problem, as created and as answered."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from .document import Document, LongText, Name, ShortText
from .errors import Invalid
from .llm import LlmChoice, LlmUsage
from .parameters import ExactInteger, Finite, Parameter, SeedVectorParameter
from .sampling import draw, generator
from .space import Space

MAX_PARAMETERS = 1000
MAX_EXAMPLES = 100_000
LARGEST_SEED = 2**53 - 1

Count = Annotated[int, Field(ge=1, le=10**9)]
ExampleId = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
Labels = dict[Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[^\x00:=]+$")], ShortText]


class StudyState(StrEnum):
    """Where a study stands: only an `active` one hands out trials."""

    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"


class Objective(Document):
    """A metric to drive down or up."""

    metric: Name
    goal: Literal["minimize", "maximize"] = "minimize"
    noisy: bool = Field(
        default=False, description="Repeating a point may give another value: points of finite spaces may come again."
    )


class Constraint(Document):
    """A metric that must stay at or above `min` and at or below `max` for a trial to be feasible."""

    metric: Name
    min: Finite | None = None
    max: Finite | None = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("needs min or max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: no value is feasible")
        return self


class EarlyStopping(Document):
    """When a running trial should give up, judged by its reports. Steps are the client's own numbers."""

    rule: Literal["none", "median", "percentile", "asha", "hyperband", "wilcoxon", "threshold"] = "none"
    metric: Name | None = Field(default=None, description="The reported metric; the first objective if absent.")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(default=0, description="No stop at steps below this.")
    interval_steps: Annotated[int, Field(ge=1)] = Field(default=1, description="Judge at every n-th step only.")
    min_trials: Annotated[int, Field(ge=1)] = Field(
        default=5, description="median, percentile: finished trials needed."
    )
    percentile: Annotated[float, Field(gt=0, lt=100)] = Field(
        default=25.0, description="percentile: keep a trial that is among the best so many percent."
    )
    min_resource: Annotated[int, Field(ge=1)] = Field(default=1, description="asha, hyperband: first rung's step.")
    max_resource: Annotated[int, Field(ge=1)] | None = Field(default=None, description="hyperband: last rung's step.")
    reduction_factor: Annotated[int, Field(ge=2)] = Field(default=4, description="asha, hyperband: 1 of n goes on.")
    p_threshold: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.1, description="wilcoxon: stop below this p.")
    min: Finite | None = Field(default=None, description="threshold: stop when the report is below.")
    max: Finite | None = Field(default=None, description="threshold: stop when the report is above.")

    @model_validator(mode="after")
    def _fits_the_rule(self) -> Self:
        if self.rule == "threshold" and self.min is None and self.max is None:
            raise ValueError("rule threshold needs min or max")
        if self.rule == "hyperband" and self.max_resource is None:
            raise ValueError("rule hyperband needs max_resource")
        if self.max_resource is not None and self.max_resource < self.min_resource:
            raise ValueError("max_resource is below min_resource")
        return self


class SuggesterChoice(Document):
    """The algorithm that proposes trials and its options (their schema is in the catalogue)."""

    name: Name = "auto"
    options: dict[str, Any] = Field(default_factory=dict)


class Limits(Document):
    """Bounds that the service keeps; null means none."""

    max_trials: Count | None = Field(default=None, description="Trials that may exist, of every state.")
    max_running: Count | None = Field(default=None, description="Trials leased at one time.")
    max_failures: Count | None = Field(default=None, description="Failed trials after which the study completes.")
    max_seconds: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        default=None, description="Seconds from creation after which the study completes."
    )
    max_attempts: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=3, description="Leases a trial may lose before it counts as failed."
    )
    max_cost: Annotated[float, Field(gt=0, le=1e300)] | None = Field(
        default=None, description="Sum of the told costs at which the study completes."
    )
    max_example_evaluations: Count | None = Field(default=None, description="Examples that may be evaluated in all.")


class ExampleSets(Document):
    """The ids of the examples that trials are scored on; the examples themselves stay with the client."""

    train: Annotated[tuple[ExampleId, ...], Field(max_length=MAX_EXAMPLES)] = Field(
        default=(), description="What a method learns from."
    )
    validation: Annotated[tuple[ExampleId, ...], Field(max_length=MAX_EXAMPLES)] = Field(
        default=(), description="What decides `best`; the train set does where this is empty."
    )

    @model_validator(mode="after")
    def _no_twins(self) -> Self:
        if not self.train and not self.validation:
            raise ValueError("needs train or validation ids")
        for split in (self.train, self.validation):
            if len(set(split)) != len(split):
                raise ValueError("an id stands twice in a split")
        return self

    def full(self) -> tuple[str, tuple[str, ...]]:
        """The split that decides `best`, and all its ids."""
        return ("validation", self.validation) if self.validation else ("train", self.train)


class StudySpec(Document):
    """A study as a client creates it."""

    name: Name
    parameters: Annotated[tuple[Parameter, ...], Field(min_length=1, max_length=MAX_PARAMETERS)]
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1, max_length=20)]
    constraints: Annotated[tuple[Constraint, ...], Field(max_length=100)] = ()
    parameter_constraints: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    early_stopping: EarlyStopping = EarlyStopping()
    suggester: SuggesterChoice = SuggesterChoice()
    limits: Limits = Limits()
    examples: ExampleSets | None = Field(
        default=None,
        description="Trials are scored on these: each names some in `evaluate_on`, its tell brings a row for each.",
    )
    llm: LlmChoice | None = Field(
        default=None, description="Whether and how the suggester may use a language model of the operator's."
    )
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = Field(
        default=None, description="Same seed, same suggestions. The server draws one if absent."
    )
    labels: Annotated[Labels, Field(max_length=64)] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict, description="Anything of the client's own.")

    @field_validator("objectives")
    @classmethod
    def _metrics_differ(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
        if len({o.metric for o in objectives}) != len(objectives):
            raise ValueError("two objectives have the same metric")
        return objectives

    @field_validator("constraints")
    @classmethod
    def _constraint_metrics_differ(cls, constraints: tuple[Constraint, ...]) -> tuple[Constraint, ...]:
        if len({c.metric for c in constraints}) != len(constraints):
            raise ValueError("two constraints have the same metric: give one min and max")
        return constraints

    def check(self) -> None:
        """What single fields cannot show: the space as a whole.

        Raises:
            Invalid: names, conditions or expressions that do not fit together.
        """
        if self.parameter_constraints and draw(self.space, generator(0, 0, "check")) is None:
            raise Invalid.at("/parameter_constraints", "no point was found that keeps them all")
        for index, parameter in enumerate(self.parameters):
            if parameter.type == "text" and not parameter.initial and len(parameter.centre()) > parameter.max_length:
                raise Invalid.at(f"/parameters/{index}/max_length", "leaves no room for the placeholders")
        most = self.limits.max_example_evaluations
        if most is not None and self.examples is None:
            raise Invalid.at("/limits/max_example_evaluations", "counts examples, and the study declares none")
        if most is not None and self.examples is not None and most < len(self.examples.full()[1]):
            message = f"one evaluation in full takes {len(self.examples.full()[1])}: nothing could become the best"
            raise Invalid.at("/limits/max_example_evaluations", message)
        if self.early_stopping.rule == "wilcoxon" and self.examples is None and len(self.objectives) > 1:
            raise Invalid.at("/early_stopping/rule", "wilcoxon judges one objective")

    @cached_property
    def seed_vector(self) -> SeedVectorParameter | None:
        """The vector that travels as seeds, if there is one."""
        return next((p for p in self.parameters if isinstance(p, SeedVectorParameter)), None)

    @cached_property
    def space(self) -> Space:
        """The search space.

        Raises:
            Invalid: see `Space`.
        """
        return Space(self.parameters, self.parameter_constraints)

    @cached_property
    def required_metrics(self) -> tuple[str, ...]:
        """What a completed trial must tell: every objective and constraint."""
        names = [o.metric for o in self.objectives] + [c.metric for c in self.constraints]
        return tuple(dict.fromkeys(names))

    @property
    def is_noisy(self) -> bool:
        """Whether a point may be worth a second trial."""
        return any(o.noisy for o in self.objectives)

    @property
    def shares_examples(self) -> bool:
        """Whether told examples and feedback, and declared exemplars, may leave for the language model."""
        return self.llm is not None and self.llm.share_examples

    def is_feasible(self, metrics: dict[str, float]) -> bool | None:
        """Whether the constraints hold; None while a constrained metric is unknown."""
        if not self.constraints:
            return True
        if any(c.metric not in metrics for c in self.constraints):
            return None
        return all(
            (c.min is None or metrics[c.metric] >= c.min) and (c.max is None or metrics[c.metric] <= c.max)
            for c in self.constraints
        )


class TrialCounts(Document):
    """How many trials stand in each state."""

    waiting: int = 0
    running: int = 0
    completed: int = 0
    pruned: int = 0
    infeasible: int = 0
    failed: int = 0
    cancelled: int = 0


class InfeasibleSuspected(Document):
    """The suggester's verdict that no point keeps the constraints; it may err, and the study goes on."""

    trial: int = Field(description="The trial that was about to be made when the verdict fell.")
    evidence: dict[str, Any] = Field(description="What the models say, by name.")
    at: datetime


class Study(StudySpec):
    """A study as the service answers it."""

    id: str
    state: StudyState
    state_reason: str | None = Field(default=None, description="Why it is paused or completed.")
    seq: int = Field(description="Number of the latest change of the study or its trials.")
    trial_counts: TrialCounts
    etag: str
    created_at: datetime
    updated_at: datetime
    infeasible_suspected: InfeasibleSuspected | None = Field(
        default=None, description="Set while the suggester believes that no point keeps the constraints."
    )
    llm_usage: LlmUsage | None = Field(default=None, description="What its language model calls have come to.")


__all__ = [
    "Constraint",
    "EarlyStopping",
    "ExactInteger",
    "ExampleSets",
    "InfeasibleSuspected",
    "Limits",
    "LongText",
    "Objective",
    "Study",
    "StudySpec",
    "StudyState",
    "SuggesterChoice",
    "TrialCounts",
]
