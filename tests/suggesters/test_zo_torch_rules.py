"""Rules of pytorch_optimizer: every offered class is restored bit for bit, draws nothing from outside, and is the class itself."""

from __future__ import annotations

import inspect
import json
import random
from typing import Any

import numpy as np
import pytest
import pytorch_optimizer
import torch
from numpy.typing import NDArray

from services.domain.blob import dumps, loads
from services.domain.suggester import Blob
from workers.models import rules
from workers.models.rules.torch_classes import MATRIX, MUON, REFUSED, VALUE, allowed
from workers.models.rules.torch_state import frozen, thawed

Array = NDArray[np.float64]
N, SHAPE = 12, (3, 4)
START = np.linspace(0.2, 0.8, N)
NEEDED: dict[str, dict[str, Any]] = {"Ranger21": {"num_iterations": 100}, "AdaShift": {"keep_num": 3}}


def gradients(steps: int = 10) -> Array:
    return np.random.default_rng(0).standard_t(4, (steps, N))


def restored(rule: rules.Rule, name: str, shape: tuple[int, int] | None) -> rules.Rule:
    scalars, arrays = rule.save()
    assert all(array.dtype == np.float64 for array in arrays.values())
    blob = loads(dumps(Blob(version=1, document=scalars, arrays=arrays)))
    copy = rules.make(f"torch:{name}", N, NEEDED.get(name, {}), shape)
    copy.load(blob.document, blob.arrays)
    return copy


def journey(name: str, shape: tuple[int, int] | None, *saved_after: int) -> Array:
    rule = rules.make(f"torch:{name}", N, NEEDED.get(name, {}), shape)
    x, path = START.copy(), []
    for k, g in enumerate(gradients()):
        if k in saved_after:
            rule = restored(rule, name, shape)
        np.random.random(), torch.rand(1), random.random()  # whatever others draw in between
        x = np.clip(rule.step(x, g, float(k), {"hessian": np.abs(g)}), 0, 1)
        path += [x, rule.probe_at(x), rule.recommend(x)]
    assert np.all(np.isfinite(path)) and not np.array_equal(path[0], path[-1])
    return np.array(path)


@pytest.mark.parametrize("name", sorted(allowed()))
def test_a_restored_class_goes_on_bit_for_bit(name: str) -> None:
    for shape in (SHAPE,) if name in MATRIX else (SHAPE, None):
        assert np.array_equal(journey(name, shape), journey(name, shape, 0, 5, 6))


def test_every_optimizer_of_the_package_is_offered_or_refused_with_a_reason() -> None:
    found = {
        name
        for name, kind in vars(pytorch_optimizer).items()
        if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)
    }
    assert found <= allowed() | set(REFUSED)
    assert allowed() <= found
    assert not allowed() & set(REFUSED)
    assert len(allowed()) == 115


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_served_is_refused_with_its_reason(name: str) -> None:
    with pytest.raises(ValueError, match=f"torch:{name}: ") as refused:
        rules.make(f"torch:{name}", N, {}, SHAPE)
    assert REFUSED[name] in str(refused.value)


@pytest.mark.parametrize("name", ["Adam", "AdaBelief", "Lion", "Prodigy", "Kron", "SOAP", "ScheduleFreeAdamW", "Muon"])
def test_a_rule_is_the_class_itself(name: str) -> None:
    parameter = torch.nn.Parameter(torch.tensor(START.copy()).reshape(SHAPE))
    kind = getattr(pytorch_optimizer, name)
    flags = {"foreach": False} if "foreach" in inspect.signature(kind).parameters else {}
    params: Any = [{"params": [parameter], "use_muon": True}] if name in MUON else [parameter]
    rule, x = rules.make(f"torch:{name}", N, {"lr": 0.03, "clip": 0}, SHAPE), START.copy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        optimizer = kind(params, lr=0.03, weight_decay=0.0, **flags)
        if hasattr(optimizer, "train"):
            optimizer.train()
        for k, g in enumerate(gradients(60)):
            parameter.grad = torch.tensor(g.copy()).reshape(SHAPE)
            torch.manual_seed(k + 1)
            np.random.seed(k + 1)
            optimizer.step()
            x = rule.step(x, g)
            assert np.array_equal(x, parameter.detach().numpy().reshape(-1))


def test_schedule_free_classes_recommend_their_average() -> None:
    for name in ("ScheduleFreeSGD", "ScheduleFreeAdamW", "ScheduleFreeRAdam"):
        rule, x = rules.make(f"torch:{name}", N, {"lr": 0.05, "clip": 0}), START.copy()
        zs = []
        for g in gradients(30):
            x = rule.step(x, g)
            zs.append(rule.save()[1]["mine/z"].reshape(-1))
            before = rule.save()
            recommended = rule.recommend(x)
            after = rule.save()
            assert json.dumps(before[0]) == json.dumps(after[0])
            assert all(np.array_equal(before[1][key], after[1][key]) for key in before[1])
        if name == "ScheduleFreeSGD":
            np.testing.assert_allclose(recommended, np.mean(zs, axis=0), atol=1e-12)
        assert not np.allclose(recommended, x)


def test_schedules_and_cautious_updates_work_around_a_class() -> None:
    parameter = torch.nn.Parameter(torch.tensor(START.copy()))
    optimizer = pytorch_optimizer.Lion([parameter], lr=0.01, cautious=True, foreach=False)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=7, T_mult=2)
    options = {"lr": 0.01, "restart_period": 7, "clip": 0}
    native, x = rules.make("sgdr(cautious(torch:Lion))", N, options), START.copy()
    keyword, y = rules.make("sgdr(torch:Lion)", N, options | {"cautious": True}), START.copy()
    for g in gradients(40):
        parameter.grad = torch.tensor(g.copy())
        optimizer.step()
        schedule.step()
        x, y = native.step(x, g), keyword.step(y, g)
        np.testing.assert_allclose(x, parameter.detach().numpy(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(y, parameter.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_a_step_leaves_the_global_generators_as_they_were() -> None:
    rule = rules.make("torch:Kron", N, {}, SHAPE)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    rule.step(START, gradients()[0])
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]
    assert before[2] == random.getstate()


def test_sophia_takes_the_diagonal_when_it_is_due() -> None:
    rule = rules.make("torch:SophiaH", N, {"update_period": 4})
    assert "hessian" in rule.wants
    due = []
    for g in gradients():
        due.append("hessian" in rule.due)
        rule.step(START, g, None, {"hessian": np.ones(N)} if due[-1] else {})
    assert due == [True, False, False, False, True, False, False, False, True, False]
    with pytest.raises(ValueError, match="diagonal"):
        rules.make("torch:SophiaH", N).step(START, gradients()[0])


def test_classes_that_follow_the_values_are_given_them() -> None:
    for name in sorted(VALUE):
        paths = []
        for slope in (0.0, -1.0):
            rule, x = rules.make(f"torch:{name}", N, {}, SHAPE), START.copy()
            assert "value" in rule.wants
            for k, g in enumerate(gradients(40)):
                x = rule.step(x, g, 50 + slope * k)
            paths.append(x)
        assert not np.array_equal(paths[0], paths[1]), name


@pytest.mark.parametrize(
    ("name", "options", "shape", "reason"),
    [
        ("Adan2", {}, None, "no rule torch:Adan2"),
        ("Muon", {}, None, "matrix"),
        ("Adam", {"momentum": 0.9}, None, "no option momentum"),
        ("Lion", {"lr": -1.0}, None, "torch:Lion"),
        ("Lion", {"foreach": True}, None, "no option foreach"),
        ("AdaShift", {"reduce_func": "max"}, None, "no option reduce_func"),
        ("Ranger21", {}, None, "num_iterations"),
    ],
)
def test_options_are_the_keywords_of_the_class(name: str, options: dict[str, Any], shape: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        rules.make(f"torch:{name}", N, options, shape)


def test_nothing_pulls_to_the_corner_unless_asked_for() -> None:
    still = rules.make("torch:AdamW", N, {"clip": 0})
    assert np.array_equal(still.step(START, np.zeros(N)), START)
    pulled = rules.make("torch:AdamW", N, {"clip": 0, "lr": 0.1, "weight_decay": 0.5})
    np.testing.assert_allclose(pulled.step(START, np.zeros(N)), 0.95 * START)


def test_a_state_without_a_plain_form_is_refused() -> None:
    with pytest.raises(TypeError, match="plain form"):
        frozen({"what": object()}, "state", {})
    with pytest.raises(TypeError, match=r"2\^53"):
        frozen(torch.tensor([2**60]), "state", {})


def test_every_kind_of_state_comes_back_as_it_was() -> None:
    from collections import deque

    value: dict[Any, Any] = {
        "a": (1, 2.5, None, True, "x"), "b": [float("inf"), -float("inf")], 3: deque([1, 2], maxlen=4), 0.5: {},
        "t": torch.tensor([1, 2], dtype=torch.int64), "h": torch.tensor(1.25, dtype=torch.bfloat16), "d": torch.float32,
        "m": torch.tensor([[True, False]]),
    }  # fmt: skip
    arrays: dict[str, Array] = {}
    document = json.loads(json.dumps(frozen(value, "v", arrays), allow_nan=False))
    back = thawed(document, arrays)
    assert list(back) == list(value) and back[3].maxlen == 4
    for key in ("a", "b", 3, 0.5, "d"):
        assert back[key] == value[key] and type(back[key]) is type(value[key])
    for key in ("t", "h", "m"):
        assert torch.equal(back[key], value[key]) and back[key].dtype == value[key].dtype
