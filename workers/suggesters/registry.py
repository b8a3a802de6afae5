"""Finds the suggesters by their files: every module or package here that has a `SPEC` is in the catalogue."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from functools import cache

from services.domain.suggester import Spec


@cache
def specs() -> dict[str, Spec]:
    """Every suggester by name. Loads no heavy library: those load when a suggester is made."""
    package = importlib.import_module(__package__ or "workers.suggesters")
    found: dict[str, Spec] = {}
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda item: item.name):
        spec = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "SPEC", None)
        if isinstance(spec, Spec):
            found[spec.name] = spec
    return dict(sorted(found.items()))


@cache
def get(name: str) -> Spec:
    """One suggester. Where its file has its name nothing else is loaded: a process that computes needs no more.

    Raises:
        KeyError: there is none of this name.
    """
    file = name.replace("-", "_")
    if file.isidentifier() and importlib.util.find_spec(f"{__package__}.{file}") is not None:
        spec = getattr(importlib.import_module(f"{__package__}.{file}"), "SPEC", None)
        if isinstance(spec, Spec) and spec.name == name:
            return spec
    return specs()[name]
