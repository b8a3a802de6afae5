"""The contract of docs/seeds.md in plain Python, entry by entry: what other clients must do, and the vectors that they are held to.

`python -m tests.support.seeds` writes docs/noise-vectors.json and docs/update-vectors.json anew, without the SDK.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LOW = 0xFFFFFFFF
DOCS = Path(__file__).parents[2] / "docs"
NOISE_VECTORS, UPDATE_VECTORS = DOCS / "noise-vectors.json", DOCS / "update-vectors.json"
KINDS = ("gauss", "rademacher", "popcount")
COUNT = 1000
STREAMS = [  # key, tensor, pair, generation
    ((0, 0), 0, 0, 0),
    ((7, 11), 0, 3, 5),
    ((LOW, LOW), LOW, LOW - 1, LOW),
    ((0xA4093822, 0x299F31D0), 2, 1, 40),
    ((1, 2**31), 1, 65_536, 1_000_000),
]
ANSWERS = [  # Random123's
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((LOW, LOW, LOW, LOW), (LOW, LOW), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
Tensors = dict[str, tuple[list[int], list[float]]]
"""Shape and entries of each tensor."""


def block(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Philox4x32-10."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & LOW, (p0 >> 32) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + 0x9E3779B9) & LOW, (k1 + 0xBB67AE85) & LOW
    return c0, c1, c2, c3


def words(key: Sequence[int], tensor: int, pair: int, generation: int, count: int) -> list[int]:
    """The first words of a stream."""
    return [word for b in range(-(-count // 4)) for word in block((b, tensor, pair, generation), key)]


def single(number: float) -> float:
    """Rounded to single precision."""
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


def noise(kind: str, key: Sequence[int], tensor: int, pair: int, generation: int, count: int) -> list[float]:
    """The first entries of a tensor's noise."""
    w = words(key, tensor, pair, generation, 2 * count + 2)
    if kind == "rademacher":
        return [2.0 * (w[e // 32] >> e % 32 & 1) - 1 for e in range(count)]
    if kind == "popcount":
        return [(w[2 * e].bit_count() + w[2 * e + 1].bit_count() - 32) / 4 for e in range(count)]
    found = []
    for e in range(count):
        first, second = w[e - e % 2], w[e - e % 2 + 1]
        radius, angle = math.sqrt(-2 * math.log((first + 1) / 2**32)), math.tau * (second / 2**32)
        found.append(single(radius * (math.sin(angle) if e % 2 else math.cos(angle))))
    return found


def perturbation(
    given: Mapping[str, Any], shape: Sequence[int], tensor: int, pair: int, generation: int
) -> list[float]:
    """The noise that a trial or an update means for a tensor: full, or of low rank."""
    size, rank = math.prod(shape), given["rank"]
    if not rank or len(shape) < 2:
        return noise(given["noise"], given["seed"], tensor, pair, generation, size)
    a, b = shape[0], math.prod(shape[1:])
    flat = noise(given["noise"], given["seed"], tensor, pair, generation, (a + b) * rank)
    row = [flat[(b + i) * rank : (b + i + 1) * rank] for i in range(a)]
    column = [flat[j * rank : (j + 1) * rank] for j in range(b)]
    return [
        sum(x * y for x, y in zip(row[i], column[j], strict=True)) / math.sqrt(rank) for i in range(a) for j in range(b)
    ]


class Client:
    """Theta of float32, moved on and perturbed as the contract says; neither `gauss` nor `snes`, whose last bits are not fixed."""

    def __init__(self, theta: Tensors) -> None:
        self.names = sorted(theta)
        self.shape = {name: theta[name][0] for name in self.names}
        self.theta = {name: [single(x) for x in theta[name][1]] for name in self.names}
        self.start = {name: list(entries) for name, entries in self.theta.items()}
        self.active = {name: [True] * len(entries) for name, entries in self.theta.items()}
        self._forget()

    def _forget(self) -> None:
        self.first = {name: [0.0] * len(entries) for name, entries in self.theta.items()}
        self.second = {name: [0.0] * len(entries) for name, entries in self.theta.items()}
        self.powers = [1.0, 1.0]

    def at(self, value: Mapping[str, Any]) -> dict[str, list[float]]:
        """The tensors of a trial."""
        found = {}
        for number, name in enumerate(self.names):
            eps = perturbation(value, self.shape[name], number, value["pair"], value["generation"])
            step = value["sign"] * value["sigma"]
            rows = zip(self.theta[name], eps, self.active[name], strict=True)
            found[name] = [single(x + step * (e if on else 0.0)) for x, e, on in rows]
        return found

    def apply(self, update: Mapping[str, Any]) -> None:
        """Move on."""
        if update["pairs"]:
            self.powers = [p * update[b] for p, b in zip(self.powers, ("beta1", "beta2"), strict=True)]
            for number, name in enumerate(self.names):
                self._step(update, number, name)
        if update["mask"]:
            self._mask(update)

    def _step(self, update: Mapping[str, Any], number: int, name: str) -> None:
        total = [0.0] * len(self.theta[name])
        columns = (update[name] for name in ("generations", "pairs", "weights"))
        for generation, pair, weight in zip(*columns, strict=True):
            eps = perturbation(update, self.shape[name], number, pair, generation)
            total = [t + e * weight for t, e in zip(total, eps, strict=True)]
        decays = len(self.shape[name]) > 1 or all(len(shape) < 2 for shape in self.shape.values())
        for i, is_active in enumerate(self.active[name]):
            if is_active:
                x, step = self.theta[name][i], self._direction(update, name, i, total[i] * update["norm"])
                if update["weight_decay"] and decays:
                    x = x * (1.0 - update["lr"] * update["weight_decay"])
                self.theta[name][i] = single(x - step * update["lr"])

    def _direction(self, update: Mapping[str, Any], name: str, i: int, g: float) -> float:
        beta1, beta2 = float(update["beta1"]), float(update["beta2"])
        first, second = self.first[name], self.second[name]
        if update["rule"] == "sgd":
            return g
        if update["rule"] == "momentum":
            first[i] = single(first[i] * beta1 + g)
            return first[i]
        first[i] = single(first[i] * beta1 + g * (1.0 - beta1))
        second[i] = single(second[i] * beta2 + (g * g) * (1.0 - beta2))
        root = math.sqrt(second[i] / (1.0 - self.powers[1]))
        return first[i] / (1.0 - self.powers[0]) / (root + float(update["epsilon"]))

    def _mask(self, update: Mapping[str, Any]) -> None:
        mask, entries = update["mask"], [(name, i) for name in self.names for i in range(len(self.theta[name]))]
        if mask["kind"] == "random":
            for number, name in enumerate(self.names):
                below = int(mask["keep"] * 2**32)
                stream = words(update["seed"], number, LOW, 0, len(self.theta[name]))
                self.active[name] = [word < below for word in stream[: len(self.theta[name])]]
                if mask["rewind"]:
                    self.theta[name] = list(self.start[name])
        else:
            was = [(name, i) for name, i in entries if self.active[name][i]]
            best = sorted(was, key=lambda e: -abs(self.theta[e[0]][e[1]]))[: math.ceil(mask["keep"] * len(entries))]
            for name, i in was:
                self.active[name][i] = False
            for name, i in best:
                self.active[name][i] = True
            for name, i in was:
                kept = self.start[name][i] if mask["rewind"] else self.theta[name][i]
                self.theta[name][i] = kept if self.active[name][i] else 0.0
        for name, i in entries:
            if not self.active[name][i]:
                self.first[name][i] = self.second[name][i] = 0.0
        if mask["rewind"]:
            self._forget()

    def fingerprint(self) -> str:
        """FNV-1a 64."""
        flat = [x for name in self.names for x in self.theta[name]]
        chosen = flat if len(flat) <= 1024 else [flat[i * len(flat) // 1024] for i in range(1024)]
        found = 0xCBF29CE484222325
        for byte in struct.pack(f"<{len(chosen)}f", *chosen):
            found = (found ^ byte) * 0x100000001B3 % 2**64
        return f"{found:016x}"


def frame(update: Mapping[str, Any], previous: bytes | None = None) -> tuple[bytes, bytes]:
    """An update's binary form after another one, and its head."""
    columns = ("theta_version", "generations", "pairs", "weights", "sums")
    head = {k: v for k, v in update.items() if k not in columns} | {"sums": update["sums"] is not None}
    text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    n, written = len(update["pairs"]), b"" if text == previous else text
    body = struct.pack(
        f"<4sIII{len(written)}s{2 * n}I",
        b"AKU1",
        update["theta_version"],
        len(written),
        n,
        written,
        *update["generations"],
        *update["pairs"],
    )
    return body + struct.pack(f"<{n}d", *update["weights"]) + struct.pack(
        f"<{len(update['sums'] or ())}d", *update["sums"] or ()
    ), text


def update(version: int, *, weights: Sequence[float] | None = None, **changes: Any) -> dict[str, Any]:
    """An update with some pairs, whose weights are no round numbers if they are not given."""
    given = [math.sin(7 * version + j) for j in range(5)] if weights is None else list(weights)
    return {
        "theta_version": version, "rule": "sgd", "lr": 0.05, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-08, "weight_decay": 0.01,
        "sigma": 0.1, "rank": 0, "noise": "popcount", "seed": [7, 4294967295], "norm": 1.25,
        "generations": len(given) * [version], "pairs": list(range(len(given))), "weights": given, "sums": None, "mask": None,
    } | changes  # fmt: skip


def theta() -> Tensors:
    """Some tensors: 40 × 30, a vector, three dimensions, none."""
    shapes = {"w": [40, 30], "b": [30], "conv.k": [3, 4, 5], "scale": []}
    return {
        name: (shape, [math.sin(1 + i + len(name)) for i in range(math.prod(shape))]) for name, shape in shapes.items()
    }


def replays() -> list[dict[str, Any]]:
    """Logs, and what theta and a trial come to."""
    masks: list[Any] = [
        {"kind": "random", "keep": 0.5, "rewind": False},
        {"kind": "magnitude", "keep": 0.4, "rewind": True},
    ]
    logs = [
        [update(t, noise=kind, rule=rule) for t in range(4)]
        for kind in ("rademacher", "popcount")
        for rule in ("sgd", "momentum", "adam")
    ]
    logs += [[update(t, rule="adam", mask=mask if t == 1 else None) for t in range(4)] for mask in masks]
    logs += [[update(t, rank=rank) for t in range(4)] for rank in (1, 3)]
    found = []
    for log in logs:
        client = Client(theta())
        for one in log:
            client.apply(one)
        last = log[-1]
        value = {name: last[name] for name in ("seed", "sigma", "rank", "noise")}
        value |= {"theta_version": 4, "generation": 4, "pair": 2, "sign": -1, "step": 0}
        sums = {name: math.fsum(entries) for name, entries in client.theta.items()}
        at = {name: math.fsum(entries) for name, entries in client.at(value).items()}
        found.append({"updates": log, "fingerprint": client.fingerprint(), "sums": sums, "value": value, "sums_at": at})
    return found


def noise_vectors() -> dict[str, Any]:
    """What docs/noise-vectors.json holds."""
    streams = []
    for key, tensor, pair, generation in STREAMS:
        made = {kind: noise(kind, key, tensor, pair, generation, COUNT) for kind in KINDS}
        short = {
            "gauss": [float(f"{x:.9g}") for x in made["gauss"]],
            "rademacher": [int(x) for x in made["rademacher"]],
        }
        streams.append({"key": list(key), "tensor": tensor, "pair": pair, "generation": generation} | made | short)
    blocks = [{"counter": list(c), "key": list(k), "words": [int(w, 16) for w in a.split()]} for c, k, a in ANSWERS]
    return {"philox4x32-10": blocks, "streams": streams}


def update_vectors() -> dict[str, Any]:
    """What docs/update-vectors.json holds."""
    log = [
        update(0, rule="adam"),
        update(1, rule="adam", weights=[]),
        update(2, rule="snes", sums=[0.5, -0.25, 0.0, 1e-9, -1.0]),
    ]
    log.append(update(3, mask={"kind": "snr", "keep": 0.2, "rewind": True}))
    frames, head = [], None
    for one in log:
        body, head = frame(one, head)
        frames.append(body.hex())
    start = {name: {"shape": shape, "entries": entries} for name, (shape, entries) in theta().items()}
    return {"log": log, "frames": frames, "theta_0": start, "replays": replays()}


if __name__ == "__main__":
    for path, vectors in ((NOISE_VECTORS, noise_vectors()), (UPDATE_VECTORS, update_vectors())):
        path.write_text(json.dumps(vectors, separators=(",", ":")) + "\n")
