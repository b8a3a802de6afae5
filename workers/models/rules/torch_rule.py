"""Update rules of pytorch_optimizer: one tensor of the declared shape, in float64, whose gradient is the estimate."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytorch_optimizer
import torch

from services.domain.document import Document

from .rule import NO_EXTRAS, Array, BadOptions, Rule, Saved, Shape
from .torch_classes import MATRIX, MUON, VALUE, check
from .torch_state import frozen, thawed

# Settings that are callables, devices or names of what only a network has; the others are the class's own keywords.
NOT_OPTIONS = frozenset({
    "params", "model", "named_parameters", "foreach", "fused", "capturable", "compile", "differentiable", "maximize",
    "reduce_func", "clip_lambda", "projection_fn", "momentum_dtype", "data_format",
})  # fmt: skip
FOR_MANY = frozenset({"cautious", "use_gc", "adanorm"})  # taken by classes with open keywords
GIVEN: dict[str, dict[str, Any]] = {
    "AdaFactor": {"momentum_dtype": torch.float64},
    "FAdam": {"momentum_dtype": torch.float64},
}


@contextmanager
def seeded(number: int) -> Iterator[None]:
    """Global generators begin from a number, and are afterwards as they were: some classes draw from them."""
    ours, numpys = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        np.random.seed(number % 2**32)
        random.seed(number)
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(numpys)


class TorchRule(Rule):
    """A class of pytorch_optimizer.

    Args:
        name: of the class.
        size: n.
        keywords: of its constructor.
        shape: of the matrix, or None for a vector.

    Raises:
        ValueError: a class that cannot be served, with the reason; BadOptions: keywords that it does not take.
    """

    summary = "a class of pytorch_optimizer"
    source = "pytorch_optimizer 4.1.0"

    def __init__(self, name: str, size: int, keywords: Mapping[str, Any], shape: Shape | None = None) -> None:
        super().__init__(size, Document(), shape)
        self.name, self._keywords = name, dict(keywords)
        check(name, shape)
        kind = getattr(pytorch_optimizer, name)
        self._parameter = torch.nn.Parameter(torch.zeros(shape or (size,), dtype=torch.float64))
        self._optimizer = _constructed(name, kind, self._parameter, self._keywords)
        self._lr = float(self._optimizer.param_groups[0]["lr"]) if "lr" in self._optimizer.param_groups[0] else None
        self._is_scheduled = False
        self.k = 0
        wants = {"matrix"} if name in MATRIX else set()
        self.wants = frozenset(
            wants | ({"value"} if name in VALUE else set()) | ({"hessian"} if name == "SophiaH" else set())
        )
        if hasattr(self._optimizer, "train"):
            self._optimizer.train()

    @property
    def due(self) -> frozenset[str]:
        if self.name == "SophiaH" and self.k % getattr(self._optimizer, "update_period", 1):
            return self.wants - {"hessian"}
        return self.wants

    def _tensor(self, x: Array) -> torch.Tensor:
        return torch.from_numpy(np.array(x, dtype=np.float64)).reshape(self._parameter.shape)

    def _place(self, x: Array) -> None:
        with torch.no_grad():
            self._parameter.copy_(self._tensor(x))

    def _placed(self) -> Array:
        return np.array(self._parameter.detach().numpy().reshape(-1))

    def _schedule(self) -> None:
        if self._lr is not None and (self._is_scheduled or self.factor != 1.0):
            self._is_scheduled = True
            for group in self._optimizer.param_groups:
                group["lr"] = self._lr * self.factor

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        self._place(x)
        self._parameter.grad = self._tensor(g)
        self._schedule()
        told: dict[str, Any] = {}
        if "hessian" in self.wants:
            if "hessian" in self.due and "hessian" not in extras:
                raise ValueError(f"torch:{self.name} needs the diagonal of the Hessian in this step")
            told["hessian"] = [self._tensor(extras["hessian"])] if "hessian" in self.due else None
        if "value" in self.wants and f is not None:
            told["closure"] = lambda: f
        with seeded(self.k + 1):
            self._optimizer.step(**told)
        self.k += 1
        return self._placed()

    def recommend(self, x: Array) -> Array:
        if not hasattr(self._optimizer, "eval") or self.k == 0:
            return x
        self._place(x)
        self._optimizer.eval()
        found = self._placed()
        for group in self._optimizer.param_groups:  # `train()` would move the parameter back only up to rounding
            group["train_mode"] = True
        self._place(x)
        return found

    # -- state

    def save(self) -> Saved:
        arrays: dict[str, Array] = {}
        optimizer, mine = self._optimizer, self._parameter
        state = {
            "mine": frozen(dict(optimizer.state[mine]) if mine in optimizer.state else {}, "mine", arrays),
            "shared": frozen({k: v for k, v in optimizer.state.items() if k is not mine}, "shared", arrays),
            "group": _frozen_items(optimizer.param_groups[0], {"params"}, "group", arrays),
            "own": _frozen_items(vars(optimizer), {"state", "param_groups", "defaults"}, "own", arrays),
        }
        return {"factor": self.factor, "k": self.k, "is_scheduled": self._is_scheduled, "torch": state}, arrays

    def load(self, scalars: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        self.factor, self.k, self._is_scheduled = scalars["factor"], scalars["k"], scalars["is_scheduled"]
        saved, optimizer = scalars["torch"], self._optimizer
        optimizer.state.clear()
        mine = thawed(saved["mine"], arrays)
        if mine:
            optimizer.state[self._parameter] = mine
        optimizer.state.update(thawed(saved["shared"], arrays))
        optimizer.param_groups[0].update({key: thawed(item, arrays) for key, item in saved["group"].items()})
        for key, item in saved["own"].items():
            setattr(optimizer, key, thawed(item, arrays))


def _frozen_items(items: Mapping[str, Any], left_out: set[str], path: str, arrays: dict[str, Array]) -> dict[str, Any]:
    """What has a plain form; the rest are settings that a new object has too (a test holds every class to that)."""
    found: dict[str, Any] = {}
    for key, item in items.items():
        if key in left_out or key.startswith("_"):
            continue
        some: dict[str, Array] = {}
        try:
            found[key] = frozen(item, f"{path}/{key}", some)
        except TypeError:
            continue
        arrays.update(some)
    return found


def _constructed(name: str, kind: Any, parameter: torch.nn.Parameter, keywords: Mapping[str, Any]) -> Any:
    parameters = inspect.signature(kind).parameters
    is_open = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    known = (set(parameters) | (FOR_MANY if is_open else set())) - NOT_OPTIONS
    unknown = sorted(set(keywords) - known)
    if unknown:
        has = ", ".join(sorted(known))
        raise BadOptions(f"torch:{name}", [(key, f"there is no option {key}; there are {has}") for key in unknown])
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in keywords.items()}
    if "foreach" in parameters:
        given["foreach"] = False
    if "weight_decay" in parameters:  # a pull towards 0 is one towards a corner of the space
        given.setdefault("weight_decay", 0.0)
    from pytorch_optimizer.base.exception import NegativeLRError, NegativeStepError

    params: list[Any] = [{"params": [parameter], "use_muon": True}] if name in MUON else [parameter]

    def made(without: str = "") -> Any:
        with seeded(0):
            return kind(params, **GIVEN.get(name, {}), **{key: given[key] for key in given if key != without})

    errors = (TypeError, ValueError, NegativeLRError, NegativeStepError)
    try:
        return made()
    except errors as error:
        raise BadOptions(f"torch:{name}", [(_culprit(keywords, made, errors), str(error))]) from None


def _culprit(keywords: Mapping[str, Any], made: Callable[[str], Any], errors: tuple[type[Exception], ...]) -> str:
    """The keyword without which an object is made; its class does not say which one it means."""
    for key in keywords:
        try:
            made(key)
        except errors:
            continue
        return key
    return ""
