"""What an outcome must bring beside its values for the estimators and schemes that learn from nothing else."""

from __future__ import annotations

from services.domain.errors import FieldError
from services.domain.parameters import VectorParameter
from services.domain.space import Point
from services.domain.study import StudySpec
from services.domain.trial import Outcome

from .options import JVP, PROXY


def lacks(spec: StudySpec, point: Point, outcome: Outcome) -> list[FieldError]:
    """What a completed outcome does not bring; without it the step would never close."""
    options = spec.suggester.options
    who = f"estimator {options.get('estimator')} of zo"
    if options.get("estimator") == "forward-grad":
        message = f"is missing: {who} learns from the derivative along {options.get('tangent')!r} that you tell"
        return [] if JVP in outcome.metrics else [FieldError(f"/metrics/{JVP}", message)]
    if options.get("estimator") == "residual":
        length = next(p.length for p in spec.parameters if isinstance(p, VectorParameter))
        count = None if outcome.residual is None else len(outcome.residual)
        message = "is missing" if count is None else f"has {count} items"
        message += f": {who} learns from the vector F(x) - y that you tell, as long as x: {length} numbers"
        return [] if count == length else [FieldError("/residual", message)]
    if options.get("scheme") == "two-losses" and point[options["fidelity"]] == "proxy":
        message = "is missing: this trial is of the proxy; tell this metric alone with the state pruned"
        return [] if PROXY in outcome.metrics else [FieldError(f"/metrics/{PROXY}", message)]
    return []
