"""Tuning real scikit-learn models: mixed and conditional spaces; the loss is a cross-validated cross-entropy or error.

The seed decides which rows and columns of a data set there are and how they are split; given that, a point always has the
same value. An evaluation takes some 20 to 200 ms.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .instance import Instance, Parameters
from .synthetic import ackley, rotation

Array = NDArray[np.float64]


def number(name: str, low: float, high: float, scale: str = "log", **more: Any) -> dict[str, Any]:
    """A float parameter."""
    return {"name": name, "type": "float", "min": low, "max": high, "scale": scale, **more}


def whole(name: str, low: int, high: int, scale: str = "linear", **more: Any) -> dict[str, Any]:
    """An int parameter."""
    return {"name": name, "type": "int", "min": low, "max": high, "scale": scale, **more}


def choice(name: str, *choices: Any, **more: Any) -> dict[str, Any]:
    """A categorical parameter."""
    return {"name": name, "type": "categorical", "choices": list(choices), **more}


def flag(name: str, **more: Any) -> dict[str, Any]:
    """A bool parameter."""
    return {"name": name, "type": "bool", **more}


def sampled(name: str, rng: np.random.Generator, rows: int, columns: int) -> tuple[Array, Array]:
    """Some rows and columns of one of scikit-learn's own data sets."""
    from sklearn import datasets

    data = getattr(datasets, f"load_{name}")()
    x, y = np.asarray(data.data, dtype=float), np.asarray(data.target)
    if len(np.unique(y)) > 20:
        y = (y - y.mean()) / y.std()
    picked = rng.permutation(len(x))[:rows]
    kept = rng.permutation(x.shape[1])[:columns]
    return x[np.ix_(picked, kept)], y[picked]


def validated(make: Callable[[dict[str, Any]], Any], x: Array, y: Array, seed: int, worst: float) -> Callable[..., Any]:
    """The loss of a model by 3-fold cross-validation; `worst` where it does not come to a finite one."""
    from sklearn.base import is_classifier
    from sklearn.metrics import log_loss
    from sklearn.model_selection import KFold, StratifiedKFold

    def value(point: dict[str, Any]) -> dict[str, float]:
        model, losses = make(point), []
        kind = StratifiedKFold if is_classifier(model) else KFold
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for train, test in kind(3, shuffle=True, random_state=seed).split(x, y):
                fitted = make(point).fit(x[train], y[train])
                if is_classifier(fitted):
                    p = np.clip(np.nan_to_num(fitted.predict_proba(x[test]), nan=0.0), 1e-3, 1.0)
                    losses.append(log_loss(y[test], p / p.sum(1, keepdims=True), labels=np.unique(y)))
                else:
                    difference = np.nan_to_num(fitted.predict(x[test]), nan=1e3, posinf=1e3, neginf=-1e3) - y[test]
                    losses.append(float(np.sqrt(np.mean(np.clip(difference, -1e3, 1e3) ** 2))))
        return {"loss": float(min(np.mean(losses), worst))}

    return value


def boosting(rng: np.random.Generator) -> Instance:
    """Gradient boosting, seven parameters."""
    from sklearn.ensemble import GradientBoostingClassifier

    x, y = sampled("breast_cancer", rng, 180, 8)
    seed = int(rng.integers(2**31))
    parameters: Parameters = [
        number("learning_rate", 0.005, 1.0), whole("n_estimators", 5, 60, "log"), whole("max_depth", 1, 6),
        number("subsample", 0.3, 1.0, "linear"), whole("min_samples_leaf", 1, 40, "log"),
        choice("max_features", "sqrt", "log2", None), number("ccp_alpha", 1e-6, 0.1),
    ]  # fmt: skip
    make = lambda point: GradientBoostingClassifier(random_state=seed, **point)  # noqa: E731
    return Instance(parameters, validated(make, x, y, seed, 5.0))


def vector_machine(rng: np.random.Generator) -> Instance:
    """A support vector machine: gamma, degree and coef0 exist for some kernels only."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
    from sklearn.svm import SVR

    x, y = sampled("diabetes", rng, 160, 8)
    seed = int(rng.integers(2**31))
    bent = {"kernel": ["poly", "sigmoid"]}
    parameters: Parameters = [
        choice("scaler", "standard", "robust", "range"), choice("kernel", "linear", "rbf", "poly", "sigmoid"),
        number("C", 1e-3, 1e2), number("epsilon", 1e-3, 1.0),
        number("gamma", 1e-4, 10.0, when={"kernel": ["rbf", "poly", "sigmoid"]}),
        whole("degree", 2, 4, when={"kernel": ["poly"]}), number("coef0", 0.0, 2.0, "linear", when=bent),
    ]  # fmt: skip

    def make(point: dict[str, Any]) -> Any:
        scalers = {"standard": StandardScaler, "robust": RobustScaler, "range": MinMaxScaler}
        rest = {k: v for k, v in point.items() if k != "scaler"}
        return make_pipeline(scalers[point["scaler"]](), SVR(max_iter=20_000, cache_size=20, **rest))

    return Instance(parameters, validated(make, x, y, seed, 3.0))


def forest(rng: np.random.Generator) -> Instance:
    """A random forest, its bootstrap fraction only with bootstrap."""
    from sklearn.ensemble import RandomForestClassifier

    x, y = sampled("wine", rng, 150, 5)
    y = np.where(rng.random(len(y)) < 0.1, rng.permutation(y), y)
    seed = int(rng.integers(2**31))
    parameters: Parameters = [
        whole("n_estimators", 3, 40, "log"), whole("max_depth", 1, 12), whole("min_samples_split", 2, 40, "log"),
        number("max_features", 0.1, 1.0, "linear"), choice("criterion", "gini", "entropy"), flag("bootstrap"),
        number("max_samples", 0.2, 1.0, "linear", when={"bootstrap": [True]}),
    ]  # fmt: skip
    make = lambda point: RandomForestClassifier(random_state=seed, **point)  # noqa: E731
    return Instance(parameters, validated(make, x, y, seed, 5.0))


def network(rng: np.random.Generator) -> Instance:
    """A small neural network; momentum exists only with plain gradient descent."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = sampled("digits", rng, 200, 40)
    seed = int(rng.integers(2**31))
    parameters: Parameters = [
        whole("first", 4, 48, "log"), flag("deep"), whole("second", 4, 48, "log", when={"deep": [True]}),
        choice("activation", "relu", "tanh", "logistic"), choice("solver", "adam", "sgd"),
        number("learning_rate_init", 1e-4, 0.5), number("alpha", 1e-6, 1.0), whole("batch_size", 8, 64, "log"),
        number("momentum", 0.1, 0.99, "logit", when={"solver": ["sgd"]}),
    ]  # fmt: skip

    def make(point: dict[str, Any]) -> Any:
        layers = (point["first"], point["second"]) if point["deep"] else (point["first"],)
        rest = {k: v for k, v in point.items() if k not in ("first", "second", "deep")}
        return make_pipeline(StandardScaler(), MLPClassifier(layers, max_iter=8, random_state=seed, **rest))

    return Instance(parameters, validated(make, x, y, seed, 5.0))


def linear(rng: np.random.Generator) -> Instance:
    """A linear model of one of three kinds, with products of columns if wanted."""
    from sklearn.linear_model import ElasticNet, HuberRegressor, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, QuantileTransformer, StandardScaler

    x, y = sampled("diabetes", rng, 220, 7)
    seed = int(rng.integers(2**31))
    parameters: Parameters = [
        choice("model", "ridge", "elastic", "huber"), flag("quantiles"), flag("products"),
        flag("squares", when={"products": [False]}), number("alpha", 1e-4, 1e3),
        number("l1_ratio", 0.0, 1.0, "linear", when={"model": ["elastic"]}),
        number("epsilon", 1.01, 5.0, when={"model": ["huber"]}), number("power", 0.3, 3.0),
    ]  # fmt: skip

    def make(point: dict[str, Any]) -> Any:
        model = {
            "ridge": lambda: Ridge(alpha=point["alpha"]),
            "elastic": lambda: ElasticNet(alpha=point["alpha"] / 100, l1_ratio=point["l1_ratio"], max_iter=500),
            "huber": lambda: HuberRegressor(alpha=point["alpha"], epsilon=point["epsilon"], max_iter=60),
        }[point["model"]]()
        steps: list[Any] = [QuantileTransformer(n_quantiles=50, random_state=0)] if point["quantiles"] else []
        steps += [StandardScaler(), Bent(point["power"])]
        if point["products"]:
            steps += [PolynomialFeatures(2, include_bias=False), StandardScaler()]
        elif point["squares"]:
            steps += [Squares(), StandardScaler()]
        return make_pipeline(*steps, model)

    return Instance(parameters, validated(make, x, y, seed, 3.0))


class Step:
    """A step of a pipeline that learns nothing."""

    def fit(self, x: Array, y: Any = None) -> Step:
        """Nothing to learn."""
        return self

    def fit_transform(self, x: Array, y: Any = None, **_: Any) -> Array:
        """The transform."""
        return self.transform(x)

    def transform(self, x: Array) -> Array:
        """The columns as they are."""
        return x


class Bent(Step):
    """sign(x) |x|^power."""

    def __init__(self, power: float) -> None:
        self.power = power

    def transform(self, x: Array) -> Array:
        """The powers."""
        return np.asarray(np.sign(x) * np.abs(x) ** self.power)


class Squares(Step):
    """The columns and their squares."""

    def transform(self, x: Array) -> Array:
        """Twice as many columns."""
        return np.hstack([x, x**2])


def pipeline(rng: np.random.Generator) -> Instance:
    """Which model at all, each with parameters of its own: sixteen parameters, three to seven of them active."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.feature_selection import SelectKBest
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler
    from sklearn.svm import SVC

    x, y = sampled("digits", rng, 180, 24)
    y = (y % 4).astype(int)
    seed = int(rng.integers(2**31))

    def only(*models: str) -> dict[str, Any]:
        return {"when": {"model": list(models)}}

    parameters: Parameters = [
        choice("model", "logistic", "svm", "trees", "neighbours", "bayes"), choice("scaler", "standard", "range"),
        whole("columns", 3, 24), number("logistic_C", 1e-4, 1e2, **only("logistic")),
        choice("weight", "balanced", None, **only("logistic", "svm")),
        number("svm_C", 1e-2, 1e3, **only("svm")), number("svm_gamma", 1e-5, 1.0, **only("svm")),
        whole("trees", 4, 40, "log", **only("trees")), whole("depth", 1, 15, **only("trees")),
        number("share", 0.05, 1.0, **only("trees")), choice("criterion", "gini", "entropy", **only("trees")),
        whole("k", 1, 60, "log", **only("neighbours")), choice("weights", "uniform", "distance", **only("neighbours")),
        number("p", 1.0, 4.0, "linear", **only("neighbours")), number("smoothing", 1e-10, 10.0, **only("bayes")),
    ]  # fmt: skip

    def make(point: dict[str, Any]) -> Any:
        model = {
            "logistic": lambda: LogisticRegression(C=point["logistic_C"], class_weight=point["weight"], max_iter=60),
            "svm": lambda: Scored(
                SVC(C=point["svm_C"], gamma=point["svm_gamma"], class_weight=point["weight"], cache_size=20)
            ),
            "trees": lambda: ExtraTreesClassifier(
                point["trees"], max_depth=point["depth"], max_features=point["share"], criterion=point["criterion"],
                random_state=seed,
            ),
            "neighbours": lambda: KNeighborsClassifier(point["k"], weights=point["weights"], p=point["p"]),
            "bayes": lambda: GaussianNB(var_smoothing=point["smoothing"]),
        }[point["model"]]()  # fmt: skip
        scaler = StandardScaler() if point["scaler"] == "standard" else MinMaxScaler()
        return make_pipeline(scaler, SelectKBest(k=point["columns"]), model)

    return Instance(parameters, validated(make, x, y, seed, 5.0))


def Scored(machine: Any) -> Any:
    """A support vector classifier whose distances become probabilities by a softmax."""
    from scipy.special import softmax
    from sklearn.base import BaseEstimator, ClassifierMixin

    class _Scored(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def fit(self, x: Array, y: Array) -> Any:
            self.inner.fit(x, y)
            self.classes_ = self.inner.classes_
            return self

        def predict_proba(self, x: Array) -> Array:
            return np.asarray(softmax(2 * np.atleast_2d(self.inner.decision_function(x)), axis=1))

        def predict(self, x: Array) -> Array:
            return np.asarray(self.inner.predict(x))

    return _Scored(machine)


def switches(rng: np.random.Generator) -> Instance:
    """`ackley` whose basin moves with two choices and a flag, in the manner of Ru et al. 2020; least 0."""
    parameters: Parameters = [
        choice("a", "u", "v", "w", "x"), choice("b", 1, 2, 3), flag("c"), whole("n", 0, 20),
        *[number(f"x{i}", -1.0, 1.0, "linear") for i in range(4)],
    ]  # fmt: skip
    centres, turn = rng.uniform(-0.7, 0.7, (4, 3, 2, 4)), rotation(rng, 4)
    lift = rng.permutation(24).reshape(4, 3, 2) / 6.0
    low, wanted = np.unravel_index(int(np.argmin(lift)), lift.shape), int(rng.integers(21))
    assert lift[low] == 0

    def value(point: dict[str, Any]) -> dict[str, float]:
        at = ("uvwx".index(point["a"]), point["b"] - 1, int(point["c"]))
        x = np.array([point[f"x{i}"] for i in range(4)])
        inner = np.append(turn @ (x - centres[at]) * 3, (point["n"] - wanted) / 10)
        return {"loss": ackley(inner) + float(lift[at])}

    return Instance(parameters, value, optimum=0.0)
