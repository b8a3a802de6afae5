"""The noise contract: known answers, a plain reference in integers, moments, parts, low rank, two libraries.

`python -m tests.support.seeds` writes docs/noise-vectors.json anew, from that reference and not from the SDK.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from asktell.noise import LOW, Noise, philox, popcount
from tests.support.seeds import ANSWERS, COUNT, KINDS, NOISE_VECTORS, block, noise_vectors


@pytest.mark.parametrize(("counter", "key", "answer"), ANSWERS)
def test_philox_gives_the_known_answers(counter: tuple[int, ...], key: tuple[int, int], answer: str) -> None:
    expected = [int(word, 16) for word in answer.split()]
    assert [int(word[0]) for word in philox([np.array([c]) for c in counter], key)] == expected
    assert [int(word[0]) for word in philox([torch.tensor([c]) for c in counter], key)] == expected
    assert list(block(counter, key)) == expected


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_that_of_the_vectors(kind: str, backend: str) -> None:
    streams = json.loads(NOISE_VECTORS.read_text())["streams"]
    assert len(streams) == 5
    for stream in streams:
        noise = Noise(kind, stream["key"], backend=backend)
        where = {name: stream[name] for name in ("tensor", "pair", "generation")}
        found = np.asarray(noise.part(count=COUNT, **where))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, np.float32(stream[kind]), rtol=2e-7 if kind == "gauss" else 0, atol=0)


def test_the_vectors_are_those_of_the_reference() -> None:
    found, expected = json.loads(NOISE_VECTORS.read_text()), noise_vectors()
    for stream, reference in zip(found["streams"], expected["streams"], strict=True):
        # The last digit of `gauss` is that of the machine's logarithm and cosine.
        np.testing.assert_allclose(stream.pop("gauss"), reference.pop("gauss"), rtol=2e-7)
    assert found == expected


@pytest.mark.parametrize("kind", KINDS)
def test_two_libraries_agree(kind: str) -> None:
    where = {"generation": 2, "pair": 9, "tensor": 4, "count": 100_003}
    ours, theirs = Noise(kind, (3, 4)).part(**where), Noise(kind, (3, 4), backend="torch").part(**where).numpy()
    if kind == "gauss":
        np.testing.assert_allclose(ours, theirs, rtol=2e-7)
    else:
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(("kind", "kurtosis"), [("gauss", 3.0), ("rademacher", 1.0), ("popcount", 2.97)])
def test_noise_has_mean_0_and_variance_1(kind: str, kurtosis: float) -> None:
    x = Noise(kind, (1, 2)).part(generation=0, pair=0, count=400_000).astype(np.float64)
    assert abs(x.mean()) < 4 / math.sqrt(x.size)
    assert x.var() == pytest.approx(1, abs=0.01)
    assert (x**4).mean() == pytest.approx(kurtosis, abs=0.05)
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 4 / math.sqrt(x.size)


@pytest.mark.parametrize("kind", KINDS)
def test_any_part_can_be_made_alone(kind: str) -> None:
    noise, where = Noise(kind, (5, 6)), {"generation": 1, "pair": 2, "tensor": 3}
    whole = noise.part(count=3000, **where)
    for start, count in [(0, 1), (1, 1), (31, 34), (63, 2), (999, 1001), (2999, 1), (7, 0)]:
        assert np.array_equal(noise.part(start=start, count=count, **where), whole[start : start + count])


def test_several_draws_at_once_are_the_same_draws() -> None:
    noise, draws = Noise("gauss", (5, 6)), [(1, 2), (1, 3), (9, 2)]
    rows = noise.parts(draws, 0, 5, 77)
    for row, (generation, pair) in zip(rows, draws, strict=True):
        assert np.array_equal(row, noise.part(generation=generation, pair=pair, start=5, count=77))
    assert len({tuple(row) for row in rows}) == 3


def test_entries_beyond_two_to_the_32_have_noise_of_their_own() -> None:
    noise, far = Noise("popcount", (5, 6)), 2**33 - 4
    tail = noise.part(generation=0, pair=0, start=far, count=4)
    assert not np.array_equal(tail, noise.part(generation=0, pair=0, start=far - 2**32, count=4))
    with pytest.raises(ValueError, match="outside a stream"):
        noise.part(generation=0, pair=0, start=far, count=5)


def test_popcount_counts_bits() -> None:
    words = [0, 1, LOW, 0x80000000, 0x0F0F1234]
    assert popcount(np.array(words)).tolist() == [w.bit_count() for w in words]
    assert popcount(torch.tensor(words)).tolist() == [w.bit_count() for w in words]


@pytest.mark.parametrize("rank", [1, 4])
def test_low_rank_noise_has_entries_of_variance_1(rank: int) -> None:
    noise = Noise("gauss", (1, 1))
    draws = [noise.matrix(generation=0, pair=j, tensor=0, shape=(64, 48), rank=rank) for j in range(200)]
    values = np.array(draws)
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.var() == pytest.approx(1, abs=0.05)
    assert {np.linalg.matrix_rank(e) for e in draws[:3]} == {rank}


@pytest.mark.parametrize("kind", KINDS)
def test_factors_draw_b_before_a(kind: str) -> None:
    noise, shape, rank = Noise(kind, (1, 1)), (5, 7), 3
    flat = noise.part(generation=4, pair=2, tensor=6, count=(5 + 7) * rank)
    a, b = noise.factors([(4, 2)], 6, shape, rank)
    assert np.array_equal(b[0], flat[:21].reshape(7, 3))
    assert np.array_equal(a[0], flat[21:].reshape(5, 3))
    whole = noise.matrix(generation=4, pair=2, tensor=6, shape=shape, rank=rank)
    np.testing.assert_allclose(whole, a[0].astype(float) @ b[0].astype(float).T / math.sqrt(3), rtol=1e-12)
    some = noise.matrix(generation=4, pair=2, tensor=6, shape=shape, rank=rank, rows=(2, 4))
    np.testing.assert_allclose(some, whole[2:4], rtol=1e-12)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="does not know the noise 'pink'"):
        Noise("pink", (1, 1))
    with pytest.raises(ValueError, match="two words"):
        Noise("gauss", (1, 2**32))
    with pytest.raises(ValueError, match="'numpy', and 'torch'"):
        Noise("gauss", (1, 1), backend="jax")


def test_the_sdk_stays_light() -> None:
    code = "import sys, asktell.noise, asktell.replica, asktell.updates; sys.exit(bool({'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import sys; sys.modules['numpy'] = None; from asktell.noise import Noise; Noise('gauss', (1, 1))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'asktell[noise]'" in done.stderr
