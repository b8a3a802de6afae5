"""What the zeroth-order descent can be told, and what of it a study contradicts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from services.domain.document import Document, Name
from services.domain.errors import FieldError, Invalid
from services.domain.parameters import IntParameter, VectorParameter
from services.domain.seeds import MOST_RANK, Noise
from services.domain.study import StudySpec

EstimatorName = Literal[
    "spsa", "gauss2", "sphere2", "orth2", "coord", "forward", "one-point", "es-rank", "sign", "guided",
    "forward-grad", "residual",
]  # fmt: skip
SchemeName = Literal["plain", "conservative", "frank-wolfe", "online-to-nonconvex", "smooth-acceleration"]
WITHOUT_RULE = frozenset({"frank-wolfe", "online-to-nonconvex", "smooth-acceleration"})
MOST_ORTHOGONAL = 20_000
MOST_COORDINATES = 1_000_000
MOST_NUMBERS = 20_000_000
JVP = "jvp"


class ZoOptions(Document):
    """Options of `zo`."""

    estimator: EstimatorName | None = Field(
        default=None,
        description="coord where values have levels, spsa where noisy, orth2 for 4 directions and more, else sphere2.",
    )
    rule: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="spsa (Spall's gains), a native rule, a composition such as cautious(adam), or torch:<Class>. "
        "spsa where noisy, cosine(adam) where max_trials is known, else schedule-free.",
    )
    rule_options: dict[Name, Any] = Field(default_factory=dict, description="Options of the rule and its wrappers.")
    lr: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        default=None, description="Learning rate, in shares of each range; the rule's own if absent."
    )
    directions: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="Directions a step; half of max_running if absent, 1 without it."
    )
    radius: Annotated[float, Field(ge=1e-9, le=0.5)] | None = Field(
        default=None, description="Smoothing radius a coordinate, in shares of each range; from the noise if absent."
    )
    scheme: SchemeName = Field(default="plain", description="How an estimate becomes a step.")
    domain: Literal["box", "simplex", "l1"] = Field(default="box", description="frank-wolfe: the set of the iterates.")
    domain_size: Annotated[float, Field(gt=0, le=1e300)] = Field(
        default=1.0, description="frank-wolfe: sum of a simplex, radius of an l1 ball."
    )
    variance_reduction: Literal["none", "spider", "sarah", "storm"] = Field(
        default="none", description="Differences to the point before, at the same directions and random numbers."
    )
    crn: Name | None = Field(
        default=None, description="Integer parameter that carries common random numbers: seed your noise with it."
    )
    tangent: Name | None = Field(
        default=None, description="forward-grad: vector parameter that carries the direction of the told derivative."
    )
    shape: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = Field(
        default=None,
        description="Rows and columns of the moved coordinates, for rules over a matrix; the vector's own if absent.",
    )
    aggregator: Literal["upgrad", "mgda", "mean"] = Field(
        default="upgrad", description="Several objectives: how their gradients become one."
    )
    constraint_method: Literal["augmented", "dual"] = Field(
        default="augmented", description="Constraints: augmented Lagrangian, or plain dual ascent."
    )
    penalty: Annotated[float, Field(gt=0, le=1e6)] = Field(
        default=10.0, description="Constraints: how fast prices grow, and the weight of the augmented term."
    )
    evaluate: Annotated[int, Field(ge=0, le=10**6)] = Field(
        default=10, description="Every so many steps one trial is spent at the recommended point; 0: never."
    )

    noise: Noise = Field(default="gauss", description="Vectors with encoding seed: how words become directions.")
    rank: Annotated[int, Field(ge=0, le=MOST_RANK)] = Field(
        default=0, description="Vectors with encoding seed: of the directions of matrices; 0: full."
    )

    @property
    def held(self) -> frozenset[str]:
        """Parameters that are not moved."""
        return frozenset(name for name in (self.crn, self.tangent) if name is not None)


def refuse(spec: StudySpec, options: ZoOptions) -> list[FieldError]:
    """What speaks against a study."""
    if spec.seed_vector is not None:
        from .seeds import refuse as refuse_seeds

        return refuse_seeds(spec, options)
    if options.model_fields_set & {"noise", "rank"}:
        return [
            _problem("noise" if "noise" in options.model_fields_set else "rank", "goes with a vector of encoding seed")
        ]
    return _carried(spec, options) or _parts(spec, options) or _rule(spec, options)


def _carried(spec: StudySpec, options: ZoOptions) -> list[FieldError]:
    by_name = spec.space.by_name
    crn, tangent = by_name.get(options.crn or ""), by_name.get(options.tangent or "")
    problems = []
    if options.crn is not None and (not isinstance(crn, IntParameter) or crn.when):
        problems.append(_problem("crn", "must name an int parameter without conditions"))
    if (options.tangent is not None) != (options.estimator == "forward-grad"):
        problems.append(_problem("tangent", "goes with estimator forward-grad, and it with a tangent"))
    elif options.tangent is not None:
        moved = _moved_vector(spec, options)
        wide = isinstance(tangent, VectorParameter) and tangent.min <= -1 and tangent.max >= 1
        if moved is None or not isinstance(tangent, VectorParameter) or not wide or tangent.length != moved.length:
            message = "must name a vector from -1 to 1 as long as the one other vector, which is moved"
            problems.append(_problem("tangent", message))
    return problems


def _parts(spec: StudySpec, options: ZoOptions) -> list[FieldError]:
    from services.domain.codec import Codec

    from .coordinates import moved_columns

    size = len(moved_columns(Codec(spec.space), options.held))
    many, estimator = len(spec.objectives) > 1, options.estimator
    checks = [
        (size == 0, "/parameters", "nothing to move: every parameter has one value"),
        (
            size > MOST_COORDINATES,
            "/parameters",
            f"zo serves up to {MOST_COORDINATES} coordinates, not {size}; a vector with encoding seed has no limit",
        ),
        (
            size * (options.directions or 1) > MOST_NUMBERS,
            "/suggester/options/directions",
            f"directions times coordinates may be {MOST_NUMBERS} at most; use max_running workers over several steps",
        ),
        (
            estimator == "orth2" and size > MOST_ORTHOGONAL,
            "/suggester/options/estimator",
            f"orth2 serves up to {MOST_ORTHOGONAL} coordinates, not {size}; use sphere2",
        ),
        (
            estimator in ("forward-grad", "residual") and (many or bool(spec.constraints)),
            "/suggester/options/estimator",
            f"{estimator} serves one objective and no constraints",
        ),
        (
            estimator == "residual" and (options.scheme != "plain" or options.rule is not None),
            "/suggester/options/rule",
            "residual is its own step, x - lr·residual: it takes no rule and no scheme",
        ),
        (
            estimator == "residual" and _moved_vector(spec, options) is None,
            "/suggester/options/estimator",
            "residual moves one vector parameter, as long as the residual that is told",
        ),
        (
            estimator == "one-point" and bool(spec.constraints),
            "/suggester/options/estimator",
            "one-point serves no constraints: the slopes that price them need two values",
        ),
        (
            spec.space.is_finite and not spec.is_noisy and _repeats(options),
            "/suggester/options/estimator",
            "evaluates some points again, which a finite space without noise does not allow; use a two-point estimator",
        ),
        *_scheme_checks(spec, options, size),
        *_reduction_checks(spec, options),
    ]
    return [FieldError(pointer, message) for bad, pointer, message in checks if bad]


def _scheme_checks(spec: StudySpec, options: ZoOptions, size: int) -> list[tuple[bool, str, str]]:
    scheme, vector = options.scheme, _moved_vector(spec, options)
    many = len(spec.objectives) > 1
    is_set = scheme == "frank-wolfe" and options.domain != "box"
    found = [
        (
            scheme in WITHOUT_RULE and (options.rule is not None or bool(options.rule_options)),
            "/suggester/options/rule",
            f"scheme {scheme} has its own step and takes no rule",
        ),
        (
            scheme == "frank-wolfe" and options.lr is not None,
            "/suggester/options/lr",
            "frank-wolfe has its own step lengths",
        ),
        (
            options.domain != "box" and scheme != "frank-wolfe",
            "/suggester/options/domain",
            "goes with scheme frank-wolfe",
        ),
        (is_set and vector is None, "/suggester/options/domain", f"{options.domain} is a set of one vector parameter"),
        (is_set and bool(spec.parameter_constraints), "/parameter_constraints", f"{options.domain} is the constraint"),
        (
            scheme == "conservative" and options.rule == "spsa",
            "/suggester/options/rule",
            "spsa has its own gains and goes with scheme plain",
        ),
        (scheme == "conservative" and many, "/suggester/options/scheme", "conservative compares one objective"),
    ]
    if is_set and vector is not None:
        low = 0.0 if options.domain == "simplex" else -options.domain_size
        fits = vector.min <= low and vector.max >= options.domain_size
        message = f"{options.domain} needs a range of [{low:g}, {options.domain_size:g}] or more"
        found.append((not fits, "/suggester/options/domain", message))
    return found


def _reduction_checks(spec: StudySpec, options: ZoOptions) -> list[tuple[bool, str, str]]:
    pointer, kind = "/suggester/options/variance_reduction", options.variance_reduction
    if kind == "none":
        return []
    paired = options.estimator in (None, "spsa", "gauss2", "sphere2", "orth2", "coord")
    return [
        (not paired, pointer, f"{kind} needs differences of pairs: not {options.estimator}"),
        (
            spec.is_noisy and options.crn is None,
            pointer,
            f"{kind} on a noisy objective needs `crn`: without common random numbers it adds noise",
        ),
        (len(spec.objectives) > 1 or bool(spec.constraints), pointer, f"{kind} serves one objective, no constraints"),
        (options.scheme in ("conservative", "smooth-acceleration"), pointer, f"{kind} does not go with this scheme"),
    ]


def _rule(spec: StudySpec, options: ZoOptions) -> list[FieldError]:
    from .settings import Settings

    problems = []
    try:
        settings = Settings.of(spec, options)
        if settings.rule is not None and settings.rule != "spsa":
            problems += settings.check_rule()
        elif options.rule_options:
            problems.append(_problem("rule_options", f"{settings.rule or options.scheme} takes none"))
    except Invalid as error:
        return list(error.errors)
    return problems


def _repeats(options: ZoOptions) -> bool:
    return options.estimator in ("forward", "forward-grad", "residual") or options.scheme == "conservative"


def _moved_vector(spec: StudySpec, options: ZoOptions) -> VectorParameter | None:
    from .coordinates import vector_parameter

    return vector_parameter(spec.space, options.held)


def _problem(option: str, message: str) -> FieldError:
    return FieldError(f"/suggester/options/{option}", message)
