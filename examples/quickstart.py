"""The first five minutes: a study, an objective, the best point. Needs a service: `asktell serve`."""

import asktell


def branin(p: dict[str, float]) -> dict[str, float]:
    """A function of two variables with three minima of 0.397887."""
    from math import cos, pi

    x, y = p["x"], p["y"]
    return {"loss": (y - 5.1 / (4 * pi**2) * x**2 + 5 / pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * pi)) * cos(x) + 10}


def main() -> None:
    """Optimise, in four threads; then by hand."""
    client = asktell.Client()
    space = {"x": asktell.Float(-5, 10), "y": asktell.Float(0, 15)}
    study = client.create_study("quickstart", space, minimize="loss", seed=7, exist_ok=True)

    study.optimize(branin, trials=20, parallel=4)

    for trial in study.trials(5):
        with trial:
            trial.tell(branin(trial.parameters))

    best = study.best
    print(f"loss {best.metrics['loss']:.4f} at x={best.parameters['x']:.3f}, y={best.parameters['y']:.3f}")


if __name__ == "__main__":
    main()
