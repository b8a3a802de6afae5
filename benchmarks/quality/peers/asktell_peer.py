"""A suggester of ours over a simulated study: histories grow as in the service, without its database."""

import json

from wire import serve

from services.domain.history import History, Observation
from services.domain.study import StudySpec
from services.domain.suggester import Problem
from services.domain.trial import TrialState
from workers.suggesters.registry import get


class Asktell:
    """The suggester named by the variant."""

    def __init__(self, task):
        self.task = task
        document = {
            "name": "quality",
            "parameters": task.parameters,
            "objectives": [{"metric": name, "noisy": task.is_noisy} for name in task.objectives],
            "constraints": [{"metric": name, "max": 0.0} for name in task.constraints],
            "suggester": {"name": task.variant, "options": task.options},
            "limits": {"max_trials": task.budget},
            "seed": task.seed,
        }
        self.spec = StudySpec.read(json.dumps(document))
        self.spec.check()
        entry = get(task.variant)
        entry.check(self.spec)
        problem = Problem(study="quality", spec=self.spec, seed=task.seed)
        self.suggester = entry.create(problem, entry.parse_options(task.options), None)
        self.history = History(self.spec)
        self.seq = 0

    def put(self, number, point, state, metrics=None, origin=None, suggester="user"):
        self.seq += 1
        trial = Observation(
            number=number, told_seq=self.seq, state=state, parameters=point, metrics=metrics or {},
            feasible=self.spec.is_feasible(metrics) if metrics else None, origin=origin or {}, suggester=suggester,
        )  # fmt: skip
        self.history.update([trial], seq=self.seq, next_number=max(self.history.next_number, number + 1))

    def finish(self, number, trial, origin, suggester):
        point = self.spec.space.point(trial.point)
        if trial.values is None:
            self.put(number, point, TrialState.INFEASIBLE, None, origin, suggester)
            return
        names = [*self.task.objectives, *self.task.constraints]
        metrics = dict(zip(names, [*trial.values, *trial.violations], strict=True))
        self.put(number, point, TrialState.COMPLETED, metrics, origin, suggester)

    def start(self, trials):
        for number, trial in enumerate(trials, start=1):
            self.finish(number, trial, {}, "user")

    def tell(self, trials):
        for trial in trials:
            known = self.history.get(trial.key)
            self.finish(trial.key, trial, known.origin, known.suggester)

    def ask(self, count):
        found = []
        suggestions = self.suggester.suggest(self.history, count)
        if not suggestions:
            raise RuntimeError("the suggester has no further point")
        for suggestion in suggestions:
            number = self.history.next_number
            name = suggestion.suggester or self.task.variant
            self.put(number, suggestion.parameters, TrialState.RUNNING, None, suggestion.origin, name)
            found.append((number, suggestion.parameters))
        return found


if __name__ == "__main__":
    serve(Asktell)
