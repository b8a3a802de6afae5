"""Tune a scikit-learn pipeline by cross-validation, four evaluations at a time over HTTP. Needs `asktell serve`.

The space is mixed: logarithmic floats, an integer, categoricals, and parameters that exist for some kernels only.
"""

from __future__ import annotations

import argparse
import warnings

from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

import asktell

SPACE = {
    "scaler": asktell.Categorical(["standard", "minmax"]),
    "components": asktell.Int(2, 30),
    "kernel": asktell.Categorical(["linear", "rbf", "poly"]),
    "C": asktell.Float(1e-3, 1e3, scale="log"),
    "gamma": asktell.Float(1e-5, 1, scale="log", when={"kernel": ["rbf", "poly"]}),
    "degree": asktell.Int(2, 4, when={"kernel": "poly"}),
}
X, y = load_breast_cancer(return_X_y=True)
FOLDS = StratifiedKFold(5, shuffle=True, random_state=0)


def evaluate(p: dict[str, object], trial: asktell.Trial) -> dict[str, float]:
    """Mean accuracy over five folds, in percent."""
    scaler = StandardScaler() if p["scaler"] == "standard" else MinMaxScaler()
    machine = SVC(
        kernel=p["kernel"], C=p["C"], gamma=p.get("gamma", "scale"), degree=p.get("degree", 3), max_iter=20_000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that ends early scores low, which says enough
        scores = cross_val_score(make_pipeline(scaler, PCA(p["components"]), machine), X, y, cv=FOLDS)
    error = float(scores.std(ddof=1) / len(scores) ** 0.5)
    trial.tell({"accuracy": 100 * float(scores.mean())}, std={"accuracy": 100 * error})
    return trial.metrics


def main() -> None:
    """Optimise, and print the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="of the service; else ASKTELL_URL")
    parser.add_argument("--name", default="tune-sklearn")
    parser.add_argument("--trials", type=int, default=40)
    args = parser.parse_args()

    client = asktell.Client(args.url)
    study = client.create_study(args.name, SPACE, maximize="accuracy", seed=1, exist_ok=True)
    study.optimize(evaluate, trials=args.trials, parallel=4)
    best = study.best
    print(
        f"{study.trial_counts['completed']} trials; best accuracy {best.metrics['accuracy']:.2f} % (trial {best.number}):"
    )
    for name, value in best.parameters.items():
        print(f"  {name} = {value:.4g}" if isinstance(value, float) else f"  {name} = {value}")


if __name__ == "__main__":
    main()
