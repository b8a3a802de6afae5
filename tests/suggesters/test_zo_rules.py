"""The native update rules go where the libraries go that define them: 100 steps on fixed gradients, to 1e-12."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dadaptation
import dog
import numpy as np
import pytest
import pytorch_optimizer
import schedulefree
import torch

from tests.suggesters.rule_gradients import BARE, START, STEPS, Array, N, assert_close, gradients
from workers.models import rules


def ours(name: str, options: dict[str, Any] | None = None, found: Array | None = None, **more: Any) -> Array:
    """(steps, n) the iterates of a rule on fixed gradients, without projection."""
    rule = rules.make(name, N, BARE | (options or {}), more.get("shape"))
    x, path = START.copy(), []
    for g in gradients() if found is None else found:
        x = rule.step(x, g, None, more.get("extras", {}))
        path.append(x)
    return np.array(path)


def theirs(make: Callable[[list[torch.nn.Parameter]], Any], shape: tuple[int, ...] = (N,)) -> Iterator[Array]:
    """The iterates of a torch optimizer on the same gradients."""
    parameter = torch.nn.Parameter(torch.tensor(START.copy()).reshape(shape))
    optimizer = make([parameter])
    if hasattr(optimizer, "train"):
        optimizer.train()
    for g in gradients():
        parameter.grad = torch.tensor(g.copy()).reshape(shape)
        optimizer.step()
        yield parameter.detach().numpy().reshape(-1).copy()


REFERENCES: dict[str, tuple[str, dict[str, Any], Callable[[Any], Any]]] = {
    "SGD": ("sgd", {"lr": 0.03}, lambda p: torch.optim.SGD(p, lr=0.03, foreach=False)),
    "momentum": ("momentum", {"lr": 0.03}, lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.9, foreach=False)),
    "nesterov": (
        "nesterov",
        {"lr": 0.03},
        lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.9, nesterov=True, foreach=False),
    ),
    "Adam": ("adam", {"lr": 0.01}, lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.9, 0.99), foreach=False)),
    "AdamW": (
        "adamw",
        {"lr": 0.01, "weight_decay": 0.3, "anchor": "zero"},
        lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.9, 0.99), weight_decay=0.3, foreach=False),
    ),
    "AMSGrad": (
        "amsgrad",
        {"lr": 0.01},
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.9, 0.99), amsgrad=True, foreach=False),
    ),
    "SignSGD": ("sign", {}, lambda p: pytorch_optimizer.SignSGD(p, lr=0.003, momentum=0.0)),
    "Lion": ("lion", {}, lambda p: pytorch_optimizer.Lion(p, lr=0.003, foreach=False)),
    "cautious Lion": (
        "cautious(lion)",
        {},
        lambda p: pytorch_optimizer.Lion(p, lr=0.003, cautious=True, foreach=False),
    ),
    "cautious momentum": ("cautious(momentum)", {"lr": 0.02}, lambda p: CautiousMomentum(p, lr=0.02)),
    "DoG": ("dog", {}, lambda p: dog.DoG(p, reps_rel=1e-3)),
    "D-Adapted SGD": ("d-adapt-sgd", {}, lambda p: dadaptation.DAdaptSGD(p, d0=1e-3)),
    "D-Adapted SGD with momentum": (
        "d-adapt-sgd",
        {"momentum": 0.9},
        lambda p: dadaptation.DAdaptSGD(p, d0=1e-3, momentum=0.9),
    ),
    "D-Adapted Adam": ("d-adapt", {}, lambda p: dadaptation.DAdaptAdam(p, betas=(0.9, 0.99), d0=1e-3)),
}


class CautiousMomentum(torch.optim.SGD):
    """torch's momentum with pytorch_optimizer's mask; no library has the pair."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr, momentum=0.9, foreach=False)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        parameter = self.param_groups[0]["params"][0]
        g, before = parameter.grad.clone(), parameter.detach().clone()
        super().step()
        update = before - parameter.detach()
        pytorch_optimizer.Lion.apply_cautious(update, g)
        with torch.no_grad():
            parameter.copy_(before - update)


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_rule_goes_where_the_library_goes(reference: str) -> None:
    name, options, make = REFERENCES[reference]
    assert_close(ours(name, options), np.array(list(theirs(make))))


# -- libraries whose iterates must be set up otherwise


def test_gravity_is_the_librarys_from_the_same_velocity() -> None:
    parameter = torch.nn.Parameter(torch.tensor(START.copy()))
    optimizer = pytorch_optimizer.Gravity([parameter], lr=0.02, alpha=0.01, beta=0.9, foreach=False)
    parameter.grad = torch.zeros(N, dtype=torch.float64)
    optimizer.init_group(optimizer.param_groups[0])
    rule = rules.make("gravity", N, BARE)
    rule.load(rule.save()[0], {"velocity": optimizer.state[parameter]["v"].numpy().copy()})
    x = START.copy()
    for g in gradients():
        parameter.grad = torch.tensor(g.copy())
        optimizer.step()
        x = rule.step(x, g)
        assert_close(x, parameter.detach().numpy())


def test_gravity_begins_with_the_spread_that_the_paper_gives_its_velocity() -> None:
    arrays = rules.make("gravity", 20_000, BARE).save()[1]
    assert np.std(arrays["velocity"]) == pytest.approx(0.01 / 0.02, rel=0.02)


def test_sophia_is_sophia_h_with_the_same_diagonals() -> None:
    parameter = torch.nn.Parameter(torch.tensor(START.copy()))
    optimizer = pytorch_optimizer.SophiaH(
        [parameter], lr=0.02, betas=(0.96, 0.99), p=1.0, update_period=10, foreach=False
    )
    rule = rules.make("sophia-zo", N, BARE | {"gamma": 1.0})
    diagonals = np.random.default_rng(1).normal(1.0, 1.0, (STEPS, N))
    x = START.copy()
    for k, g in enumerate(gradients()):
        assert ("hessian" in rule.due) == (k % 10 == 0)
        parameter.grad = torch.tensor(g.copy())
        optimizer.step(hessian=[torch.tensor(diagonals[k])] if k % 10 == 0 else None)
        x = rule.step(x, g, None, {"hessian": diagonals[k]})
        assert_close(x, parameter.detach().numpy())


@pytest.mark.parametrize("is_adam", [False, True])
def test_schedule_free_is_the_librarys_in_all_three_sequences(is_adam: bool) -> None:
    parameter = torch.nn.Parameter(torch.tensor(START.copy()))
    optimizer = (
        schedulefree.AdamWScheduleFree([parameter], lr=0.05, betas=(0.9, 0.99), foreach=False)
        if is_adam
        else schedulefree.SGDScheduleFree([parameter], lr=0.05, momentum=0.9, foreach=False)
    )
    rule = rules.make("schedule-free" if is_adam else "schedule-free-sgd", N, BARE)
    z = START.copy()
    optimizer.train()
    for g in gradients():
        parameter.grad = torch.tensor(g.copy())
        optimizer.step()
        z = rule.step(z, g)
        assert_close(z, optimizer.state[parameter]["z"].numpy())
        assert_close(rule.probe_at(z), parameter.detach().numpy())
        optimizer.eval()
        assert_close(rule.recommend(z), parameter.detach().numpy())
        optimizer.train()


def test_dog_recommends_the_librarys_average() -> None:
    model = torch.nn.Linear(N, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor(START)[None])
    optimizer, averager = dog.DoG(model.parameters(), reps_rel=1e-3), dog.PolynomialDecayAverager(model, gamma=8.0)
    rule, x = rules.make("dog", N, BARE), START.copy()
    for g in gradients():
        model.weight.grad = torch.tensor(g.copy())[None]
        optimizer.step()
        averager.step()
        x = rule.step(x, g)
        assert_close(rule.recommend(x), averager.averaged_model.weight.detach().numpy()[0])


def test_a_polynomial_average_of_power_zero_is_the_mean_of_the_iterates() -> None:
    rule = rules.make("averaged(sgd)", N, BARE | {"averaging_gamma": 0.0})
    x, path = START.copy(), []
    assert np.array_equal(rule.recommend(x), x)
    for g in gradients():
        x = rule.step(x, g)
        path.append(x)
        assert_close(rule.recommend(x), np.mean(path, axis=0))


def test_restarts_follow_torchs_schedule() -> None:
    parameter = torch.nn.Parameter(torch.tensor(START.copy()))
    optimizer = torch.optim.Adam([parameter], lr=0.05, betas=(0.9, 0.99), foreach=False)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=7, T_mult=2, eta_min=0.005)
    rule = rules.make("sgdr(adam)", N, BARE | {"lr": 0.05, "restart_period": 7, "restart_growth": 2, "lr_floor": 0.1})
    x = START.copy()
    for g in gradients():
        parameter.grad = torch.tensor(g.copy())
        optimizer.step()
        schedule.step()
        x = rule.step(x, g)
        assert_close(x, parameter.detach().numpy())


def test_a_cosine_follows_torchs_schedule_and_stays_at_its_end() -> None:
    parameter = torch.nn.Parameter(torch.tensor(START.copy()))
    optimizer = torch.optim.SGD([parameter], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=60, eta_min=0.005)
    rule = rules.make("cosine(sgd)", N, BARE | {"lr": 0.05, "total_steps": 60, "lr_floor": 0.1})
    x = START.copy()
    for k, g in enumerate(gradients()):
        before = x
        x = rule.step(x, g)
        if k < 60:
            np.testing.assert_allclose(before - x, optimizer.param_groups[0]["lr"] * g, rtol=1e-10)
            optimizer.step()
            schedule.step()
        else:
            np.testing.assert_allclose(before - x, 0.005 * g, rtol=1e-10)
    assert parameter.shape == (N,)


def test_plateau_decay_follows_torchs_schedule() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=3, threshold=1e-4)
    rule = rules.make("plateau(sgd)", N, BARE | {"lr": 1.0, "plateau_patience": 3, "plateau_floor": 1e-6})
    values = np.abs(np.random.default_rng(2).normal(1.0, 0.5, 60)) + 3 / np.arange(1, 61)
    seen = set()
    for f in values:
        schedule.step(float(f))
        assert (START - rule.step(START, np.ones(N), float(f)))[0] == pytest.approx(optimizer.param_groups[0]["lr"])
        seen.add(optimizer.param_groups[0]["lr"])
    assert len(seen) > 4


def test_lbfgs_is_torchs_without_line_search() -> None:
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.standard_normal((N, N)))[0]
    hessian = basis @ np.diag(np.geomspace(1, 30, N)) @ basis.T
    parameter = torch.nn.Parameter(torch.tensor(START.copy()))
    optimizer = torch.optim.LBFGS([parameter], lr=0.5, max_iter=1, history_size=5)
    rule = rules.make("lbfgs", N, BARE | {"lr": 0.5, "memory": 5, "longest": 100.0})

    def loss() -> torch.Tensor:
        parameter.grad = torch.tensor(hessian) @ parameter.detach()
        return 0.5 * parameter.detach() @ parameter.grad

    x = START.copy()
    for _ in range(20):  # later torch's absolute bound on the curvature leaves pairs out
        optimizer.step(loss)  # type: ignore[no-untyped-call]
        x = rule.step(x, hessian @ x)
        np.testing.assert_allclose(x, parameter.detach().numpy(), rtol=1e-7, atol=1e-9)
    assert np.linalg.norm(x) < 0.1 * np.linalg.norm(START)
