"""Ax through its Client: constraints and several objectives natively, conditions flattened, failures marked."""

import logging
import warnings

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from wire import Codes, serve

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)


class Ax:
    """Ax's own choice of methods, its start replaced by the common one."""

    def __init__(self, task):
        self.task, self.codes = task, Codes(task)
        self.client = Client(random_seed=task.seed)
        self.client.configure_experiment(parameters=[self.parameter(p) for p in task.parameters])
        self.client.configure_optimization(
            objective=", ".join(f"-{name}" for name in task.objectives),
            outcome_constraints=[f"{name} <= 0" for name in task.constraints] or None,
        )
        self.client.configure_generation_strategy(initialize_with_center=False)

    def parameter(self, p):
        kind = self.codes.kind(p)
        if kind[0] == "choice":
            codes = list(range(kind[1]))
            return ChoiceParameterConfig(name=p["name"], values=codes, parameter_type="int", is_ordered=kind[1] == 2)
        scaling = "log" if kind[3] else "linear"
        bounds = (kind[1], kind[2])
        return RangeParameterConfig(name=p["name"], bounds=bounds, parameter_type=kind[0], scaling=scaling)

    def start(self, trials):
        for trial in trials:
            self.put(self.client.attach_trial(self.codes.flat(trial.point)), trial)

    def tell(self, trials):
        for trial in trials:
            self.put(trial.key, trial)

    def put(self, index, trial):
        if trial.values is None:
            self.client.mark_trial_abandoned(index)
            return
        names = [*self.task.objectives, *self.task.constraints]
        data = dict(zip(names, [*trial.values, *trial.violations], strict=True))
        self.client.complete_trial(index, raw_data=data)

    def ask(self, count):
        made = self.client.get_next_trials(max_trials=count)
        return [(index, self.codes.point(codes)) for index, codes in made.items()]


if __name__ == "__main__":
    serve(Ax)
