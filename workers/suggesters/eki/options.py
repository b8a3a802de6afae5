"""What the ensemble method can be told, and what of it a study contradicts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from services.domain.document import Document, Name
from services.domain.errors import FieldError
from services.domain.parameters import CategoricalParameter, Finite, FloatParameter, Parameter, VectorParameter
from services.domain.space import Point
from services.domain.study import StudySpec
from services.domain.trial import Outcome
from workers.models.latent import Normal

MOST = 2000
KINDS = {"simulate", "experiment"}
Positive = Annotated[Finite, Field(gt=0)]


class EkiOptions(Document):
    """Options of `eki`."""

    mode: Literal["inversion", "posterior"] = Field(
        default="inversion", description="Drive the residual down, or sample what the data leave possible."
    )
    residual: Literal["told"] | Annotated[tuple[Name, ...], Field(max_length=MOST)] = Field(
        default=(),
        description="Metrics that are predicted observations, the objectives if absent; "
        "`told`: the vector `residual` that each tell brings.",
    )
    targets: Annotated[tuple[Finite, ...], Field(max_length=MOST)] = Field(
        default=(), description="What was observed, for each item of the residual; zero if absent."
    )
    noise: Positive | Annotated[tuple[Positive, ...], Field(max_length=MOST)] = Field(
        default=1.0, description="Standard deviation of the observations, one for all or one each."
    )
    prior: dict[Name, Normal] = Field(default_factory=dict, description="Normal priors; the others are uniform.")
    ensemble: int | None = Field(default=None, ge=4, le=10_000, description="Particles; max(12, 2d + 2) if absent.")
    kind: Name | None = Field(
        default=None, description="Design of experiments: the categorical with choices `simulate`, `experiment`."
    )
    designs: int = Field(default=8, ge=4, le=1000, description="Design of experiments: designs compared at a time.")
    design_steps: int = Field(default=8, ge=1, le=100, description="Design of experiments: times they are moved.")

    def metrics(self, spec: StudySpec) -> tuple[str, ...]:
        """The metrics that form the residual; none where it is told as a vector."""
        return () if self.residual == "told" else self.residual or tuple(o.metric for o in spec.objectives)


def unknowns(spec: StudySpec, options: EkiOptions) -> tuple[Parameter, ...]:
    """In the design of experiments: the parameters that only a simulation has."""
    return tuple(p for p in spec.parameters if p.when and options.kind in p.when)


def numbers(parameter: Parameter, value: Any) -> Any:
    """A value as a number or, of a vector in whatever form, as an array."""
    return parameter.numbers(value) if isinstance(parameter, VectorParameter) else value


def refuse(spec: StudySpec, options: EkiOptions) -> list[FieldError]:
    """What speaks against a study."""
    problems = _refuse_lengths(spec, options)
    real = {p.name for p in spec.parameters if isinstance(p, (FloatParameter, VectorParameter)) and p.size is None}
    problems += [_problem(f"prior/{name}", "is not a real parameter") for name in options.prior if name not in real]
    if options.kind is None:
        foreign = [i for i, p in enumerate(spec.parameters) if p.type not in ("float", "int", "vector") or p.when]
        message = "eki moves float, int and vector parameters without conditions"
        return problems + [FieldError(f"/parameters/{i}", message) for i in foreign]
    return problems + _refuse_design(spec, options, real)


def _refuse_lengths(spec: StudySpec, options: EkiOptions) -> list[FieldError]:
    is_told = options.residual == "told"  # how long it is only the tells show
    count, what = len(options.metrics(spec)), "metrics"
    if is_told and isinstance(options.noise, tuple):
        count, what = len(options.noise), "items of noise"
    elif is_told:
        count = len(options.targets)
    problems = []
    if options.targets and len(options.targets) != count:
        problems.append(_problem("targets", f"has {len(options.targets)} items for {count} {what}"))
    if isinstance(options.noise, tuple) and len(options.noise) != count:
        problems.append(_problem("noise", f"has {len(options.noise)} items for {count} {what}"))
    return problems


def _refuse_design(spec: StudySpec, options: EkiOptions, real: set[str]) -> list[FieldError]:
    kind = spec.space.by_name.get(options.kind or "")
    if not isinstance(kind, CategoricalParameter) or set(kind.choices) != KINDS:
        return [_problem("kind", "must name a categorical parameter with the choices simulate and experiment")]
    if options.residual == "told":
        return [_problem("residual", "must name metrics in the design of experiments")]
    free = [p for p in spec.parameters if p is not kind]
    wrong = [p.name for p in free if p.name not in real or (p.when and dict(p.when) != {kind.name: ("simulate",)})]
    if wrong:
        return [_problem("kind", f"{wrong[0]} must be real, and unconditional or only of simulate")]
    if not any(p.when for p in free) or all(p.when for p in free):
        return [_problem("kind", "needs designs (no condition) and unknowns (when kind is simulate)")]
    if spec.parameter_constraints or spec.constraints:
        return [_problem("kind", "no constraints are honoured in the design of experiments")]
    return []


def lacks(spec: StudySpec, point: Point, outcome: Outcome) -> list[FieldError]:
    """What a completed outcome does not bring: without its residual a trial cannot move the ensemble."""
    options = spec.suggester.options
    if options.get("kind") is not None:
        return []
    if options.get("residual") != "told":
        missing = [name for name in options.get("residual", ()) if name not in outcome.metrics]
        return [
            FieldError(f"/metrics/{name}", "is missing: it is part of the residual that eki drives down")
            for name in missing
        ]
    if outcome.residual is None:
        return [FieldError("/residual", "is missing: eki drives down the vector that you tell")]
    lengths = [len(v) for name in ("targets", "noise") if isinstance(v := options.get(name), (list, tuple)) and v]
    if lengths and lengths[0] != len(outcome.residual):
        return [FieldError("/residual", f"has {len(outcome.residual)} items; targets and noise have {lengths[0]}")]
    return []


def _problem(option: str, message: str) -> FieldError:
    return FieldError(f"/suggester/options/{option}", message)
