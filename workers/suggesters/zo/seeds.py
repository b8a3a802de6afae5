"""Descent over a vector that stays with its clients (MeZO): differences of losses along directions that seeds name.

Malladi et al. 2023 (MeZO); Wang et al. 2025 (ZO2, the same steps with the parameters offloaded at the client); zeroth_order card 4.2.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationError

from services.domain.document import Document, invalid_from
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from workers.models.seed_search import Plan, Shaping
from workers.models.seed_spaces import KEPT, idle_betas, stands_alone, too_long

from .options import ZoOptions

SHAPINGS: dict[str, Shaping] = {"gauss2": "raw", "es-rank": "ranks", "sign": "sign"}
Rule = Literal["sgd", "momentum", "adam"]
USED = frozenset({"estimator", "rule", "rule_options", "lr", "directions", "radius", "noise", "rank"})
ENOUGH = 0.75
RADIUS = 1e-3
LR = 1e-4


class RuleOptions(Document):
    """What clients' rules can be told; weight decay acts on matrices."""

    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 0.0


def refuse(spec: StudySpec, options: ZoOptions) -> list[FieldError]:
    """What speaks against a study of seeds."""
    found = stands_alone(spec) or too_long(spec, options.noise, options.rank)
    if len(spec.objectives) > 1:
        found.append(FieldError("/objectives", "a vector with encoding seed has one objective"))
    for name in sorted(options.model_fields_set - USED):
        found.append(FieldError(f"/suggester/options/{name}", "does not go with encoding seed"))
    for name, value, known in (
        ("estimator", options.estimator or "gauss2", tuple(SHAPINGS)),
        ("rule", options.rule or "sgd", get_args(Rule)),
    ):
        if value not in known:
            message = f"clients of encoding seed know {', '.join(known)}, not {value}"
            found.append(FieldError(f"/suggester/options/{name}", message))
    try:
        RuleOptions.model_validate(options.rule_options)
    except ValidationError as error:
        found += invalid_from(error, options.rule_options, "/suggester/options/rule_options").errors
    for rule in KEPT:
        if rule == (options.rule or "sgd"):
            found += idle_betas(rule, options.rule_options, "/suggester/options/rule_options")
    return found


def plan(spec: StudySpec, options: ZoOptions) -> Plan:
    """How a study of seeds descends; everything has been checked."""
    of_rule = RuleOptions.model_validate(options.rule_options)
    rule: Rule = next((r for r in get_args(Rule) if r == options.rule), "sgd")
    pairs = options.directions or max(1, math.ceil((spec.limits.max_running or 0) / 2))
    return Plan(
        pairs=pairs, enough=ENOUGH, sigma=RADIUS if options.radius is None else options.radius,
        rank=options.rank, noise=options.noise, shaping=SHAPINGS[options.estimator or "gauss2"], rule=rule,
        lr=LR if options.lr is None else options.lr, beta1=of_rule.beta1, beta2=of_rule.beta2, weight_decay=of_rule.weight_decay,
    )  # fmt: skip
