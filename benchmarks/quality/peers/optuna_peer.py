"""Optuna's samplers: `tpe` (as it comes), `tpe-mv` (multivariate, constant liar), `gp`."""

import warnings

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from wire import Codes, serve

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)


class Optuna:
    """A study in memory; conditions by asking for the active parameters only, as Optuna's users do."""

    def __init__(self, task):
        self.task, self.codes = task, Codes(task)
        more = {}
        if task.constraints:
            more["constraints_func"] = lambda trial: trial.user_attrs.get("violations", [1.0] * len(task.constraints))
        if task.variant == "gp":
            sampler = optuna.samplers.GPSampler(seed=task.seed, deterministic_objective=not task.is_noisy, **more)
        elif task.variant == "tpe-mv":
            sampler = optuna.samplers.TPESampler(
                seed=task.seed, multivariate=True, constant_liar=True, warn_independent_sampling=False, **more
            )
        else:
            sampler = optuna.samplers.TPESampler(seed=task.seed, constant_liar=task.batch > 1, **more)
        self.study = optuna.create_study(sampler=sampler, directions=["minimize"] * len(task.objectives))
        self.spaces = {p["name"]: self.distribution(p) for p in task.parameters}
        self.asked = {}

    def distribution(self, p):
        kind = self.codes.kind(p)
        if kind[0] == "choice":
            return CategoricalDistribution(list(range(kind[1])))
        return {"float": FloatDistribution, "int": IntDistribution}[kind[0]](kind[1], kind[2], log=kind[3])

    def start(self, trials):
        for trial in trials:
            params = {n: self.codes.encode(self.task.by_name[n], v) for n, v in trial.point.items()}
            spaces = {n: self.spaces[n] for n in params}
            if trial.values is None:
                made = create_trial(params=params, distributions=spaces, state=TrialState.FAIL)
            else:
                attrs = {"constraints": trial.violations} if self.task.constraints else {}
                made = create_trial(
                    params=params, distributions=spaces, values=trial.values, system_attrs=attrs,
                    user_attrs={"violations": trial.violations},
                )  # fmt: skip
            self.study.add_trial(made)

    def tell(self, trials):
        for trial in trials:
            own = self.asked.pop(trial.key)
            if trial.values is None:
                self.study.tell(own, state=TrialState.FAIL)
            else:
                own.set_user_attr("violations", trial.violations)
                self.study.tell(own, trial.values)

    def ask(self, count):
        return [self.one() for _ in range(count)]

    def one(self):
        trial = self.study.ask()
        point = {}
        for p in self.task.parameters:
            if all(n in point and point[n] in allowed for n, allowed in (p.get("when") or {}).items()):
                point[p["name"]] = self.codes.decode(p, trial._suggest(p["name"], self.spaces[p["name"]]))
        self.asked[trial.number] = trial
        return trial.number, point


if __name__ == "__main__":
    serve(Optuna)
