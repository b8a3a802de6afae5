"""Replicas: the same theta at every client, whatever the library, the chunk, the share of the work; restored to the last bit."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch

from asktell.replica import Replica
from tests.support.seeds import UPDATE_VECTORS, Client, theta, update

VECTORS = json.loads(UPDATE_VECTORS.read_text())
THETA = {name: np.array(entries).reshape(shape) for name, (shape, entries) in theta().items()}
FLAT = np.linspace(-1, 1, 100)


def value(version: int, **changes: Any) -> dict[str, Any]:
    """A trial's value."""
    return {
        "theta_version": version, "generation": version, "pair": 3, "sign": 1, "seed": [7, 11], "sigma": 0.3, "rank": 0,
        "noise": "popcount", "step": 0,
    } | changes  # fmt: skip


def snes(version: int, **changes: Any) -> dict[str, Any]:
    """An update that learns deviations."""
    return update(version, rule="snes", sums=[0.3, -0.1, 0.2, -0.5, 0.1], norm=1.0) | changes


def entries(found: Any) -> dict[str, np.ndarray]:
    """Tensors of either library as NumPy's."""
    return {name: np.asarray(tensor) for name, tensor in found.items()}


def same(left: Any, right: Any) -> bool:
    """Whether tensors agree to the last bit."""
    return all(np.array_equal(a, entries(right)[name], equal_nan=True) for name, a in entries(left).items())


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("replay", VECTORS["replays"])
def test_replays_come_to_the_vectors(replay: dict[str, Any], backend: str) -> None:
    replica = Replica(THETA, backend=backend)
    for one in replay["updates"]:
        replica.apply(one)
    assert replica.fingerprint() == replay["fingerprint"]
    for found, sums in ((replica.theta, replay["sums"]), (replica.at(replay["value"]), replay["sums_at"])):
        for name, tensor in entries(found).items():
            assert math.fsum(tensor.ravel().tolist()) == pytest.approx(sums[name], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("noise", ["rademacher", "popcount"])
def test_theta_is_that_of_the_contract_entry_by_entry(noise: str, rule: str) -> None:
    replica, client = Replica(THETA), Client(theta())
    masks = {
        2: {"kind": "magnitude", "keep": 0.7, "rewind": False},
        4: {"kind": "random", "keep": 0.3, "rewind": False},
    }
    for t in range(6):
        one = update(t, rule=rule, noise=noise, mask=masks.get(t))
        replica.apply(one)
        client.apply(one)
    expected = client.at(value(6, noise=noise))
    for name, tensor in entries(replica.theta).items():
        assert tensor.ravel().tolist() == client.theta[name]
        assert entries(replica.at(value(6, noise=noise)))[name].ravel().tolist() == expected[name]
    assert replica.fingerprint() == client.fingerprint()


@pytest.mark.parametrize("noise", ["gauss", "rademacher", "popcount"])
@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam", "snes"])
def test_two_libraries_reproduce_theta_after_20_updates(rule: str, noise: str) -> None:
    ours, theirs = Replica(THETA), Replica(THETA, backend="torch")
    for t in range(20):
        one = snes(t, noise=noise) if rule == "snes" else update(t, rule=rule, noise=noise)
        ours.apply(one)
        theirs.apply(one)
    found, expected = ours.theta, entries(theirs.theta)
    if noise == "gauss" or rule == "snes":
        for name in found:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-7)
    else:
        assert same(found, expected)
        assert ours.fingerprint() == theirs.fingerprint()


@pytest.mark.parametrize("one", [update(0), update(0, rule="adam"), snes(0), update(0, noise="gauss")])
def test_chunks_change_no_bit(one: dict[str, Any]) -> None:
    whole = Replica(THETA)
    whole.apply(one)
    for chunk in (1, 97, 1200):
        tensors = {"b": THETA["b"]} if chunk == 1 else THETA
        pieces, expected = Replica(tensors, chunk=chunk), Replica(tensors)
        for replica in (pieces, expected):
            replica.apply(one)
        assert same(pieces.theta, expected.theta)
        assert same(pieces.at(value(1)), expected.at(value(1)))


def test_a_perturbation_is_theta_plus_sigma_noise_and_its_mirror() -> None:
    replica = Replica(FLAT, dtype="float64")
    plus, minus = replica.at(value(0)), replica.at(value(0, sign=-1))
    np.testing.assert_allclose((plus + minus) / 2, FLAT, atol=1e-15)
    quarters = (plus - FLAT) / 0.3 * 4
    np.testing.assert_allclose(quarters, np.round(quarters), atol=1e-9)
    assert 4 <= np.abs(quarters).max() <= 32
    assert np.array_equal(replica.at(value(0, sign=0)), FLAT)
    assert np.array_equal(replica.theta, FLAT)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("sigma", [1e-300, 1e-3, 0.3, 1e6])
def test_a_perturbation_in_place_leaves_no_trace(sigma: float, rank: int, backend: str) -> None:
    replica = Replica(THETA, backend=backend, chunk=64)
    before, wanted = replica.at(value(0, sign=0)), value(0, sigma=sigma, rank=rank, noise="gauss")
    expected = replica.at(wanted)
    with replica.perturbed(wanted) as tensors:
        assert same(tensors, expected)
    assert same(replica.theta, before)
    with pytest.raises(ZeroDivisionError), replica.perturbed(wanted):
        raise ZeroDivisionError
    assert same(replica.theta, before)


def test_noise_is_never_whole_in_memory() -> None:
    theta = np.random.default_rng(0).normal(size=4_000_000).astype("float32")
    replica = Replica(theta, copy=False, keep_start=False)
    tracemalloc.start()
    replica.apply(update(0, noise="rademacher", weights=[1.0, 1.0]))
    with replica.perturbed(value(1, noise="rademacher", sigma=1e-3)):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < theta.nbytes / 2


def test_a_models_own_parameters_move() -> None:
    model = torch.nn.Linear(5, 3)
    replica = Replica(dict(model.named_parameters()), backend="torch", copy=False)
    assert replica.shape == {"bias": [3], "weight": [3, 5]}
    replica.apply(update(0))
    with replica.perturbed(value(1)) as tensors:
        assert torch.equal(model.weight, tensors["weight"])
    assert torch.equal(model.weight, replica.theta["weight"])
    with pytest.raises(ValueError, match="contiguous"):
        Replica(np.zeros((3, 4), np.float32).T, copy=False)
    with pytest.raises(ValueError, match="float32"):
        Replica(np.zeros(3), copy=False)


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("noise", ["gauss", "rademacher", "popcount"])
def test_everything_stays_on_the_device_of_theta(noise: str, rank: int) -> None:
    # torch's meta device refuses what comes from another one, as a GPU does.
    replica = Replica({name: torch.zeros(t.shape, device="meta") for name, t in THETA.items()}, backend="torch")
    for t, rule in enumerate(("sgd", "momentum", "adam")):
        replica.apply(update(t, rule=rule, noise=noise, rank=rank))
    assert {tensor.device.type for tensor in replica.at(value(3, noise=noise, rank=rank)).values()} == {"meta"}


def test_factors_make_the_same_outputs_as_the_written_out_matrix() -> None:
    replica, wanted = Replica(THETA), value(0, rank=3, sign=-1, noise="gauss")
    found, factors = replica.at(wanted), replica.factors(wanted)
    assert set(factors) == {"w", "conv.k"}
    x, (a, b) = np.random.default_rng(0).normal(size=30).astype("float32"), factors["w"]
    np.testing.assert_allclose(found["w"] @ x, THETA["w"] @ x + a @ (b.T @ x), rtol=1e-4, atol=1e-5)
    a, b = factors["conv.k"]
    np.testing.assert_allclose(found["conv.k"].reshape(3, 20), THETA["conv.k"].reshape(3, 20) + a @ b.T, atol=1e-6)
    with pytest.raises(ValueError, match="rank 0"):
        replica.factors(value(0))
    replica.apply(update(0, mask={"kind": "random", "keep": 0.5}))
    with pytest.raises(ValueError, match="use `at`"):
        replica.factors(value(1, rank=1))


def test_updates_come_in_order_or_not_at_all() -> None:
    replica = Replica(FLAT)
    replica.apply(update(0))
    before = replica.theta.copy()
    for wrong in (update(0), update(2), update(1, rule="muon"), update(1, norm=math.nan), {"theta_version": 1}):
        with pytest.raises(ValueError, match=r"."):
            replica.apply(wrong)
    assert replica.version == 1
    assert np.array_equal(replica.theta, before)
    with pytest.raises(ValueError, match="of version 0, the replica at 1"):
        replica.at(value(0))
    with pytest.raises(ValueError, match="not the value"):
        replica.at({"theta_version": 1})


def test_a_theta_of_no_version_is_not_used() -> None:
    replica = Replica({"a": np.zeros(5), "b": np.zeros((1000, 1000))})
    state = replica.state()
    with replica.perturbed(value(0)), pytest.raises(ValueError, match="perturbed now"):
        replica.fingerprint()
    with pytest.raises(ValueError, match="outside a stream"):
        replica.apply(update(0, rank=2**30))  # `a` has moved when `b` turns out to have no such noise
    for use in (lambda: replica.at(value(0)), lambda: replica.apply(update(0)), replica.fingerprint, replica.state):
        with pytest.raises(ValueError, match="of no version"):
            use()
    replica.load(state)
    assert not replica.theta["a"].any()
    replica.apply(update(0))
    assert replica.version == 1


class Log:
    """A study that has so many updates and hands out some at a time."""

    def __init__(self, length: int, page: int = 2) -> None:
        self.updated = [snes(t) if t == 2 else update(t, rule="adam") for t in range(length)]
        self.page, self.asked = page, list[int]()

    def updates(self, since: int) -> dict[str, Any]:
        self.asked.append(since)
        return {"updates": self.updated[since : since + self.page], "latest": len(self.updated)}


def test_a_replica_follows_its_study() -> None:
    study, replica = Log(5), Replica(FLAT)
    assert replica.follow(study, 0).version == 0
    assert study.asked == []
    assert replica.follow(study, 3).version == 3
    assert replica.follow(study).version == 5
    assert study.asked == [0, 2, 3, 5]
    by_hand = Replica(FLAT)
    for one in study.updated:
        by_hand.apply(one)
    assert np.array_equal(replica.theta, by_hand.theta)
    for wrong in (4, 6):
        with pytest.raises(ValueError, match="cannot be brought"):
            replica.follow(study, wrong)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_checkpoint_goes_on_to_the_same_bits(backend: str, tmp_path: Any) -> None:
    log = [update(t, rule="adam", mask={"kind": "magnitude", "keep": 0.5} if t == 1 else None) for t in range(3)]
    log += [snes(t) for t in range(3, 5)]
    straight, first, second = (Replica(THETA, backend=backend) for _ in range(3))
    for one in log:
        straight.apply(one)
    for number, replica in ((2, first), (4, second)):
        for one in log[replica.version : number]:
            replica.apply(one)
        state = replica.state()
        if backend == "numpy":
            np.savez(tmp_path / "state.npz", **state)
            state = dict(np.load(tmp_path / "state.npz"))
        else:
            torch.save(state, tmp_path / "state.pt")
            state = torch.load(tmp_path / "state.pt")
        later = Replica(THETA, backend=backend)
        later.load(state)
        for one in log[later.version :]:
            later.apply(one)
        assert same(later.theta, straight.theta)
        assert same(later.at(value(5)), straight.at(value(5)))
    with pytest.raises(ValueError, match="other tensors"):
        Replica({"w": FLAT}).load(state)


def test_one_lost_update_shows_in_the_fingerprint() -> None:
    big, lost = Replica(np.ones(5000)), Replica(np.ones(5000))
    big.apply(update(0))
    lost.apply(update(0, weights=[]))
    assert big.fingerprint() != lost.fingerprint()
    assert Replica(np.ones(5000)).fingerprint() == Replica({"a": np.ones(4000), "b": np.ones(1000)}).fingerprint()


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in ({}, {"a": np.zeros(0)}):
        with pytest.raises(ValueError, match="needs tensors"):
            Replica(wrong)
    with pytest.raises(ValueError, match="less precision"):
        Replica(FLAT, dtype="bfloat16")
    with pytest.raises(ValueError, match="chunk"):
        Replica(FLAT, chunk=0)
    for part in ((3, 3), (-1, 3)):
        with pytest.raises(ValueError, match="from 0 to below"):
            Replica(FLAT).apply(update(0), part=part)
    with pytest.raises(ValueError, match="all of theta at once"):
        Replica(FLAT).apply(snes(0), part=(0, 2))
