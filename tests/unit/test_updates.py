"""The update log of a seed-encoded vector: server and SDK read and write the same documents and bytes (docs/update-vectors.json)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from asktell import updates as sdk
from services.domain import updates as server
from services.domain.errors import Invalid
from tests.support.seeds import UPDATE_VECTORS, update, update_vectors

VECTORS = json.loads(UPDATE_VECTORS.read_text())
LOG, FRAMES = VECTORS["log"], [bytes.fromhex(text) for text in VECTORS["frames"]]


def test_the_vectors_are_those_of_the_reference() -> None:
    expected = json.loads(json.dumps(update_vectors()))
    assert {k: VECTORS[k] for k in ("log", "frames", "theta_0")} == {
        k: expected[k] for k in ("log", "frames", "theta_0")
    }


def test_both_sides_write_the_vectors() -> None:
    assert server.encode([server.Update.read(json.dumps(d)) for d in LOG]) == b"".join(FRAMES)
    assert sdk.encode_updates([sdk.Update.read(d) for d in LOG]) == b"".join(FRAMES)


def test_both_sides_read_the_vectors() -> None:
    assert [u.wire() for u in server.decode(b"".join(FRAMES))] == LOG
    assert [u.wire() for u in sdk.decode_updates(b"".join(FRAMES))] == LOG
    assert server.decode(b"") == sdk.decode_updates(b"") == []


@pytest.mark.parametrize("document", LOG)
def test_one_update_survives_alone(document: dict[str, Any]) -> None:
    ours, theirs = sdk.Update.read(document), server.Update.read(json.dumps(document))
    assert theirs.encode() == sdk.encode_update(ours)
    assert sdk.decode_update(theirs.encode()) == ours
    assert server.Update.decode(sdk.encode_update(ours)) == theirs


def test_a_log_of_single_pairs_costs_32_bytes_a_step() -> None:
    log = [sdk.Update.read(update(t, weights=[0.1 * t])) for t in range(1000)]
    data = sdk.encode_updates(log)
    assert len(data) < 32 * 1000 + 300
    assert sdk.decode_updates(data) == log


@pytest.mark.parametrize(
    "data",
    [
        b"AKU",
        b"nonsense that is long enough",
        FRAMES[0][:-1],
        FRAMES[0] + b"x",
        FRAMES[1],  # its head is that of the frame before
        FRAMES[0][:20] + b"\xff" * 8 + FRAMES[0][28:],
        FRAMES[0][:-8] + b"\x00\x00\x00\x00\x00\x00\xf8\x7f",  # a weight that is NaN
        FRAMES[0].replace(b'"adam"', b'"eve" '),
        FRAMES[0].replace(b'"sums":false', b'"sums": 1234'),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        server.decode(data)
    with pytest.raises(ValueError, match=r"."):
        sdk.decode_updates(data)


def test_exactly_one_frame_is_one_update() -> None:
    for data in (b"", b"".join(FRAMES[:2])):
        with pytest.raises(Invalid, match="where one should be"):
            server.Update.decode(data)
        with pytest.raises(ValueError, match="where one should be"):
            sdk.decode_update(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": "muon"},
        {"noise": "pink"},
        {"mask": {"kind": "snr", "keep": 0.0}},
        {"mask": {"kind": "lottery", "keep": 0.5}},
        {"sums": [1.0]},
        {"rule": "snes", "rank": 1},
        {"generations": [0]},
        {"seed": [1]},
        {"momentum": 0.9},
    ],
)
def test_what_is_no_update_is_refused(changes: dict[str, Any]) -> None:
    document = update(0, **changes)
    with pytest.raises(Invalid):
        server.Update.read(json.dumps(document))
    with pytest.raises(ValueError, match=r"."):
        sdk.Update.read(document)


def test_what_is_left_out_has_the_same_defaults() -> None:
    document = {"theta_version": 0, "lr": 0.1, "sigma": 0.1, "seed": [1, 2], "norm": 1.0}
    assert server.Update.read(json.dumps(document)).wire() == sdk.Update.read(document).wire()


def test_the_sdk_reads_updates_without_numpy() -> None:
    code = "import sys; sys.modules['numpy'] = None; from asktell.updates import *; print(decode_updates(bytes.fromhex(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", code, FRAMES[0].hex()], capture_output=True, text=True, check=True)
    assert "rule='adam'" in done.stdout
