"""SMAC: random forests (`forest`, its facade for tuning) or Gaussian processes (`process`, its BlackBox facade).

Conditions natively; several objectives by ParEGO; constraints and failures by penalty.
"""

import logging
import tempfile
import warnings

from ConfigSpace import (
    AndConjunction,
    CategoricalHyperparameter,
    Configuration,
    ConfigurationSpace,
    InCondition,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from smac import BlackBoxFacade, HyperparameterOptimizationFacade, Scenario
from smac.multi_objective.parego import ParEGO
from smac.runhistory.dataclasses import TrialInfo, TrialValue
from wire import Codes, Penalty, serve

warnings.simplefilter("ignore")


class Smac:
    """SMAC through its ask and tell, warm-started with the start."""

    def __init__(self, task):
        self.task, self.codes = task, Codes(task)
        self.space = ConfigurationSpace(seed=task.seed)
        made = {p["name"]: self.parameter(p) for p in task.parameters}
        self.space.add(list(made.values()))
        for p in task.parameters:
            rules = []
            for parent, allowed in (p.get("when") or {}).items():
                codes = [self.codes.encode(task.by_name[parent], v) for v in allowed]
                rules.append(InCondition(made[p["name"]], made[parent], codes))
            if rules:
                self.space.add([rules[0] if len(rules) == 1 else AndConjunction(*rules)])
        self.asked, self.next = {}, 0

    def parameter(self, p):
        kind = self.codes.kind(p)
        if kind[0] == "choice":
            return CategoricalHyperparameter(p["name"], list(range(kind[1])))
        made = {"float": UniformFloatHyperparameter, "int": UniformIntegerHyperparameter}[kind[0]]
        return made(p["name"], kind[1], kind[2], log=kind[3])

    def config(self, point):
        values = {n: self.codes.encode(self.task.by_name[n], v) for n, v in point.items()}
        return Configuration(self.space, values=values)

    def start(self, trials):
        task, several = self.task, len(self.task.objectives) > 1
        self.penalty = Penalty(trials)
        scenario = Scenario(
            self.space, deterministic=not task.is_noisy, n_trials=task.budget + 1, seed=task.seed,
            objectives=list(task.objectives), output_directory=tempfile.mkdtemp(prefix="smac"),
        )  # fmt: skip
        facade = BlackBoxFacade if task.variant == "process" else HyperparameterOptimizationFacade
        configs = [self.config(t.point) for t in trials]
        more = {"multi_objective_algorithm": ParEGO(scenario)} if several else {}
        self.smac = facade(
            scenario, lambda config, seed=0: 0.0, overwrite=True, logging_level=False,
            intensifier=facade.get_intensifier(scenario, max_config_calls=1),
            initial_design=facade.get_initial_design(scenario, n_configs=0, additional_configs=configs), **more,
        )  # fmt: skip
        logging.disable(logging.CRITICAL)
        for trial, config in zip(trials, configs, strict=True):
            self.put(TrialInfo(config, seed=0 if not task.is_noisy else 1), trial)

    def tell(self, trials):
        for trial in trials:
            self.put(self.asked.pop(trial.key), trial)

    def put(self, info, trial):
        values = self.penalty.values(trial)
        self.smac.tell(info, TrialValue(cost=values if len(values) > 1 else values[0], time=0.1))

    def ask(self, count):
        found = []
        for _ in range(count):
            info = self.smac.ask()
            self.next += 1
            self.asked[self.next] = info
            found.append((self.next, self.codes.point(dict(info.config))))
        return found


if __name__ == "__main__":
    serve(Smac)
