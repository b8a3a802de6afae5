"""A training script that knows nothing of asktell: arguments in, JSON lines out.

asktell study create -f examples/study.yaml
asktell run ridge --parallel 2 --count 20 -- \\
    python examples/train.py --learning-rate {learning_rate} --epochs {epochs} --momentum {momentum}

A line with a `step` is a report, by which the study may stop the run early; the last line has the result. Where `momentum`
is not active, `asktell run` leaves the option out.
"""

from __future__ import annotations

import argparse
import json
import random


def examples(count: int) -> list[tuple[float, float]]:
    """Noisy points of the line y = 2 x + 1."""
    rng = random.Random(7)
    xs = [rng.uniform(-1, 1) for _ in range(count)]
    return [(x, 2 * x + 1 + rng.gauss(0, 0.1)) for x in xs]


def main() -> None:
    """Fit a line by gradient descent."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--momentum", type=float, default=0.0)
    args = parser.parse_args()

    points, slope, offset, speed = examples(64), 0.0, 0.0, [0.0, 0.0]
    for epoch in range(1, args.epochs + 1):
        errors = [(slope * x + offset - y, x) for x, y in points]
        gradient = [2 * sum(e * x for e, x in errors) / len(points), 2 * sum(e for e, _ in errors) / len(points)]
        speed = [args.momentum * v - args.learning_rate * g for v, g in zip(speed, gradient, strict=True)]
        slope, offset = slope + speed[0], offset + speed[1]
        loss = sum((slope * x + offset - y) ** 2 for x, y in points) / len(points)
        print(json.dumps({"step": epoch, "loss": loss}), flush=True)
    print(json.dumps({"loss": loss, "slope": slope, "offset": offset}))


if __name__ == "__main__":
    main()
