"""Rules, masks and shares of updates, as replicas apply them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asktell.replica import Replica
from tests.support.seeds import theta, update

THETA = {name: np.array(entries).reshape(shape) for name, (shape, entries) in theta().items()}
FLAT = np.linspace(-1, 1, 100)


def value(version: int, **changes: Any) -> dict[str, Any]:
    """A trial's value."""
    return {
        "theta_version": version, "generation": version, "pair": 3, "sign": 1, "seed": [7, 11], "sigma": 0.3, "rank": 0,
        "noise": "popcount", "step": 0,
    } | changes  # fmt: skip


def entries(found: Any) -> dict[str, np.ndarray]:
    """Tensors of either library as NumPy's."""
    return {name: np.asarray(tensor) for name, tensor in found.items()}


def test_random_masks_confine_noise_and_steps_and_nest() -> None:
    replica, kept = Replica(FLAT.repeat(100)), []
    for t, keep in enumerate((0.5, 0.1)):
        before = replica.theta.copy()
        replica.apply(update(t, weights=[], mask={"kind": "random", "keep": keep}))
        assert np.array_equal(replica.theta, before)
        kept.append(replica.at(value(t + 1, noise="rademacher")) != before)
        assert kept[-1].mean() == pytest.approx(keep, abs=0.02)
    assert not (kept[1] & ~kept[0]).any()
    replica.apply(update(2, noise="rademacher"))
    assert np.array_equal(replica.theta != before, kept[1])


def test_pruned_entries_are_zero_and_survivors_rewind() -> None:
    replica = Replica(FLAT)
    replica.apply(update(0, rule="adam"))
    theta_1 = replica.theta.copy()
    replica.apply(update(1, weights=[], mask={"kind": "magnitude", "keep": 0.25, "rewind": True}))
    best = np.sort(np.argsort(-np.abs(theta_1), kind="stable")[:25])
    assert np.flatnonzero(replica.theta).tolist() == best.tolist()
    assert np.array_equal(replica.theta[best], FLAT.astype("float32")[best])
    replica.apply(update(2, weights=[], mask={"kind": "magnitude", "keep": 1.0}))
    assert np.flatnonzero(replica.theta).tolist() == best.tolist()
    with pytest.raises(ValueError, match="keep_start"):
        Replica(FLAT, keep_start=False).apply(update(0, mask={"kind": "random", "keep": 0.5, "rewind": True}))


def test_equal_scores_keep_the_first_entries() -> None:
    for backend in ("numpy", "torch"):
        replica = Replica({"a": np.ones(4), "b": np.ones(6)}, backend=backend)
        replica.apply(update(0, weights=[], mask={"kind": "magnitude", "keep": 0.55}))
        assert entries(replica.theta)["a"].tolist() == [1, 1, 1, 1]
        assert entries(replica.theta)["b"].tolist() == [1, 1, 0, 0, 0, 0]


def test_weight_decay_spares_vectors_beside_matrices() -> None:
    replica, alone = Replica({"w": np.ones((2, 2)), "b": np.ones(3)}), Replica(np.ones(3))
    one = update(0, lr=0.1, weight_decay=0.5, weights=[0.0])
    replica.apply(one)
    alone.apply(one)
    assert np.allclose(replica.theta["w"], 0.95)
    assert np.array_equal(replica.theta["b"], np.ones(3))
    assert np.allclose(alone.theta, 0.95)


def test_another_rule_forgets_the_moments() -> None:
    one, fresh = Replica(FLAT, dtype="float64"), Replica(FLAT, dtype="float64")
    one.apply(update(0, rule="momentum"))
    fresh.apply(update(0, weights=[]))
    fresh.theta[:] = one.theta
    for replica in (one, fresh):
        replica.apply(update(1, rule="adam"))
    assert np.array_equal(one.theta, fresh.theta)


def test_an_update_without_pairs_changes_nothing_but_the_version() -> None:
    one, other = Replica(FLAT), Replica(FLAT)
    one.apply(update(0, rule="adam"))
    other.apply(update(0, rule="adam"))
    one.apply(update(1, rule="adam", weights=[]))
    assert np.array_equal(one.theta, other.theta)
    one.apply(update(2, rule="adam"))
    other.apply(update(2, rule="adam") | {"theta_version": 1})
    assert np.array_equal(one.theta, other.theta)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
@pytest.mark.parametrize("rank", [0, 2])
def test_shares_together_are_the_whole(rule: str, rank: int) -> None:
    whole, clients = Replica(THETA, chunk=50), [Replica(THETA) for _ in range(3)]
    for t in range(3):
        one = update(t, rule=rule, rank=rank, noise="rademacher")
        whole.apply(one)
        for i, client in enumerate(clients):
            client.apply(one, part=(i, 3))
            with pytest.raises(ValueError, match="still to be filled"):
                client.at(value(t + 1))
        for i, client in enumerate(clients):
            for j, other in enumerate(clients):
                if i != j:
                    client.fill((j, 3), other.part((j, 3)))
    for client in clients:
        for name, tensor in entries(client.theta).items():
            np.testing.assert_allclose(tensor, whole.theta[name], rtol=0 if rank == 0 else 1e-6)
    with pytest.raises(ValueError, match="not awaited"):
        clients[0].fill((1, 3), clients[1].part((1, 3)))
    if rule == "adam":
        with pytest.raises(ValueError, match="moments are those of part"):
            clients[0].apply(update(3, rule="adam"))


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_diverged_theta_does_not_stop_anything() -> None:
    replica = Replica(FLAT)
    replica.apply(update(0, lr=1e6, norm=1e300))
    assert not np.isfinite(replica.theta).any()
    with replica.perturbed(value(1)) as tensor:
        assert not np.isfinite(tensor).any()
    assert len(replica.fingerprint()) == 16
    replica.apply(update(1, mask={"kind": "magnitude", "keep": 0.5, "rewind": True}))
    assert np.isfinite(replica.theta).all()
