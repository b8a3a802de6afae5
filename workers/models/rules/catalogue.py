"""Which rules there are, and how one is made from its name and options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from services.domain.document import Document

from . import adaptive, averaging, curvature, descent, parameter_free, scaled, torch_classes, wrappers
from .rule import BadOptions, Rule, Shape, Wrapper

RULES: dict[str, type[Rule]] = {
    "sgd": descent.Plain,
    "momentum": descent.Momentum,
    "nesterov": descent.Nesterov,
    "sign": descent.Sign,
    "lion": descent.Lion,
    "adam": adaptive.Adam,
    "adamw": adaptive.AdamW,
    "amsgrad": adaptive.AmsGrad,
    "opt-amsgrad": adaptive.OptimisticAmsGrad,
    "gravity": adaptive.Gravity,
    "schedule-free": averaging.ScheduleFreeAdam,
    "schedule-free-sgd": averaging.ScheduleFree,
    "dog": parameter_free.DoG,
    "u-dog": parameter_free.UDoG,
    "d-adapt": parameter_free.DAdaptAdam,
    "d-adapt-sgd": parameter_free.DAdaptSgd,
    "polyak": scaled.Polyak,
    "induced-metric": scaled.InducedMetric,
    "sophia-zo": curvature.SophiaZo,
    "oasis": curvature.Oasis,
    "asgo": curvature.Asgo,
    "m-fac": curvature.MFac,
    "lbfgs": curvature.Lbfgs,
}
WRAPPERS: dict[str, type[Wrapper]] = {
    "cautious": wrappers.Cautious,
    "cosine": wrappers.Cosine,
    "sgdr": wrappers.Restarts,
    "plateau": wrappers.Plateau,
    "averaged": averaging.Averaged,
    "clipped": wrappers.Clipped,
}
REFUSED: dict[str, str] = {
    "gauss-newton": "needs the vector of residuals of each trial; `eki` serves studies that report it",
    "shampoo": "is `asgo` here, on one side of the matrix; on both sides it is `torch:Shampoo`",
    "psgd": "is `torch:Kron`",
    "fosi": "needs products with the Hessian along Lanczos vectors: two gradients for each, exact ones",
    "adahessian": "differentiates the gradient; `sophia-zo` and `oasis` take the diagonal from values",
}

_COMPOSITION = re.compile(r"([a-z-]+)\((.*)\)")


def names() -> dict[str, str]:
    """Native rules and wrappers by name, each in one sentence."""
    return {name: kind.summary for name, kind in RULES.items()} | {
        f"{name}(…)": kind.summary for name, kind in WRAPPERS.items()
    }


def schema() -> dict[str, dict[str, Any]]:
    """The JSON Schema of each native rule's and wrapper's options."""
    return {name: kind.Options.model_json_schema() for name, kind in (RULES | WRAPPERS).items()}


def make(name: str, size: int, options: Mapping[str, Any] | None = None, shape: Shape | None = None) -> Rule:
    """A rule by name.

    Args:
        name: see the module `rules`.
        size: n, at least 1.
        options: flat; of the rule and of its wrappers together. Every rule is wrapped in `clipped` unless `clip` is 0.
        shape: (a, b) with a·b = n where the parameter is a matrix.

    Raises:
        ValueError: no such rule, or one that a gradient estimate cannot serve; BadOptions: it does not know or cannot take these.
    """
    rest, asked = dict(options or {}), name.strip()
    if rest.get("clip") == 0:
        del rest["clip"]
        name = name.removeprefix("clipped(").removesuffix(")") if name.startswith("clipped(") else name
    elif "clipped(" not in name:
        name = f"clipped({name})"
    if size < 1 or (shape is not None and shape[0] * shape[1] != size):
        raise ValueError(f"a rule needs a size of at least 1 that agrees with its shape: {size}, {shape}")
    rule = _made(name.strip(), size, rest, shape)
    if rest:
        known = ", ".join(sorted(_known(rule)))
        unknown = [(key, f"{asked} has no option {key}; it has {known}") for key in sorted(rest)]
        raise BadOptions(f"rule {asked!r}", unknown)
    return rule


def _known(rule: Rule) -> set[str]:
    return set(type(rule.options).model_fields) | (_known(rule.inner) if isinstance(rule, Wrapper) else set())


def _made(name: str, size: int, rest: dict[str, Any], shape: Shape | None) -> Rule:
    """The rule; options that it takes leave `rest`."""
    composed = _COMPOSITION.fullmatch(name)
    if composed is not None and composed[1] in WRAPPERS:
        kind = WRAPPERS[composed[1]]
        chosen = _options(kind, rest, name)
        return kind(_made(composed[2].strip(), size, rest, shape), chosen)
    if name.startswith("torch:"):
        torch_classes.check(name.removeprefix("torch:"), shape)
        try:
            from .torch_rule import TorchRule  # torch loads only where it is used
        except ImportError:
            raise torch_classes.NotInstalled("rules torch:<Class> need the package pytorch-optimizer") from None
        keywords = dict(rest)
        rest.clear()
        return TorchRule(name.removeprefix("torch:"), size, keywords, shape)
    if name in REFUSED:
        raise ValueError(f"rule {name!r}: {REFUSED[name]}")
    if name not in RULES:
        raise ValueError(f"no rule {name!r}; there are {', '.join(names())} and torch:<Class> of pytorch_optimizer")
    return RULES[name](size, _options(RULES[name], rest, name), shape)


def _options(kind: type[Rule], rest: dict[str, Any], name: str) -> Document:
    """The options of one layer, taken out of `rest`."""
    mine = {key: rest.pop(key) for key in list(rest) if key in kind.Options.model_fields}
    try:
        return kind.Options.model_validate(mine)
    except ValidationError as error:
        found = [(str(item["loc"][0]), f"{item['msg']} ({name})") for item in error.errors()]
        raise BadOptions(f"rule {name!r}", found) from None
