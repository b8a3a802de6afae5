"""Update rules: a gradient estimate becomes a step (zeroth-order methods bring the estimate).

    rule = rules.make("sgdr(adam)", n, {"lr": 0.05})
    x = project(rule.step(x, gradient(rule.probe_at(x)), value))   # as often as rule.gradients_per_step makes one full step
    best = rule.recommend(x)

A name is a native rule, `torch:<Class>` of pytorch_optimizer, or a composition such as `cautious(lion)` or `averaged(sgdr(adam))`.
Options are flat: each layer takes those that it knows, and what nobody knows is refused.
"""

from __future__ import annotations

from .catalogue import make, names, schema
from .rule import Array, BadOptions, Rule
from .torch_classes import NotInstalled

__all__ = ["Array", "BadOptions", "NotInstalled", "Rule", "make", "names", "schema"]
