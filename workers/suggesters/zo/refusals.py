"""What a study and its options contradict."""

from __future__ import annotations

from services.domain.errors import FieldError, Invalid
from services.domain.parameters import IntParameter, OrdinalParameter, VectorParameter
from services.domain.study import StudySpec

from .options import MOST_NUMBERS, WITHOUT_RULE, ZoOptions

MOST_ORTHOGONAL = 20_000
MOST_COORDINATES = 1_000_000
MOST_FOLDS = 1000
PAIRED = (None, "spsa", "gauss2", "sphere2", "orth2", "coord")


def refuse(spec: StudySpec, options: ZoOptions) -> list[FieldError]:
    """What speaks against a study."""
    if spec.seed_vector is not None:
        from .seeds import refuse as refuse_seeds

        return refuse_seeds(spec, options)
    if options.model_fields_set & {"noise", "rank"}:
        return [
            _problem("noise" if "noise" in options.model_fields_set else "rank", "goes with a vector of encoding seed")
        ]
    return _carried(spec, options) or _parts(spec, options) or _ahead(spec, options) or _rule(spec, options)


def _carried(spec: StudySpec, options: ZoOptions) -> list[FieldError]:
    by_name = spec.space.by_name
    crn, tangent = by_name.get(options.crn or ""), by_name.get(options.tangent or "")
    problems = []
    if options.crn is not None and (not isinstance(crn, IntParameter) or crn.when):
        problems.append(_problem("crn", "must name an int parameter without conditions"))
    if options.variance_reduction == "svrg" and not (isinstance(crn, IntParameter) and crn.size <= MOST_FOLDS):
        problems.append(
            _problem("crn", f"svrg needs an int parameter of up to {MOST_FOLDS} values: the folds of your data")
        )
    problems += _fidelity(spec, options)
    if (options.tangent is not None) != (options.estimator == "forward-grad"):
        problems.append(_problem("tangent", "goes with estimator forward-grad, and it with a tangent"))
    elif options.tangent is not None:
        moved = _moved_vector(spec, options)
        wide = isinstance(tangent, VectorParameter) and tangent.min <= -1 and tangent.max >= 1
        if moved is None or not isinstance(tangent, VectorParameter) or not wide or tangent.length != moved.length:
            message = "must name a vector from -1 to 1 as long as the one other vector, which is moved"
            problems.append(_problem("tangent", message))
    return problems


def _fidelity(spec: StudySpec, options: ZoOptions) -> list[FieldError]:
    if (options.fidelity is not None) != (options.scheme == "two-losses"):
        return [_problem("fidelity", "goes with scheme two-losses, and it with a fidelity")]
    parameter = spec.space.by_name.get(options.fidelity or "")
    is_one = isinstance(parameter, OrdinalParameter) and set(parameter.choices) == {"proxy", "full"}
    if options.fidelity is not None and (not is_one or parameter is None or parameter.when):
        return [
            _problem("fidelity", "must name an ordinal parameter without conditions, with the choices proxy and full")
        ]
    return []


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
        *_two_losses_checks(spec, options),
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
            scheme == "frank-wolfe" and options.radius is not None,
            "/suggester/options/radius",
            "frank-wolfe has its own radius, which falls with the steps",
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


def _two_losses_checks(spec: StudySpec, options: ZoOptions) -> list[tuple[bool, str, str]]:
    if options.scheme != "two-losses":
        return []
    many = len(spec.objectives) > 1 or bool(spec.constraints)
    return [
        (many, "/suggester/options/scheme", "two-losses serves one objective, no constraints"),
        (
            options.estimator not in PAIRED,
            "/suggester/options/estimator",
            f"two-losses needs differences of pairs: not {options.estimator}",
        ),
        (
            options.rule == "spsa",
            "/suggester/options/rule",
            "spsa has its own gains and goes with scheme plain",
        ),
        (
            options.variance_reduction != "none",
            "/suggester/options/variance_reduction",
            "does not go with two-losses",
        ),
    ]


def _ahead(spec: StudySpec, options: ZoOptions) -> list[FieldError]:
    from .settings import EXACT, Settings

    if options.ahead == 1:
        return []
    settings = Settings.of(spec, options)
    many = len(spec.objectives) > 1 or bool(spec.constraints)
    checks = [
        (
            options.scheme != "plain" or options.variance_reduction != "none",
            "goes with scheme plain, and no other differences",
        ),
        (many, "serves one objective, no constraints"),
        (settings.rule in (None, "spsa"), "predicts the steps of a rule"),
        (not settings.is_exact, f"predicts from exact gradients: {EXACT}"),
        (settings.size * settings.directions * options.ahead > MOST_NUMBERS, "has too many numbers a step"),
    ]
    return [_problem("ahead", message) for bad, message in checks if bad][:1]


def _reduction_checks(spec: StudySpec, options: ZoOptions) -> list[tuple[bool, str, str]]:
    pointer, kind = "/suggester/options/variance_reduction", options.variance_reduction
    if kind == "none":
        return []
    paired = options.estimator in PAIRED
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
    is_one_sided = options.estimator in ("forward", "forward-grad", "residual")
    return is_one_sided or options.scheme == "conservative" or options.ahead > 1


def _moved_vector(spec: StudySpec, options: ZoOptions) -> VectorParameter | None:
    from .coordinates import vector_parameter

    return vector_parameter(spec.space, options.held)


def _problem(option: str, message: str) -> FieldError:
    return FieldError(f"/suggester/options/{option}", message)
