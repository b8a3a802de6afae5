"""nevergrad's NGOpt: conditions flattened, constraints as violations told, several objectives natively."""

import warnings

import nevergrad as ng
from wire import Codes, Penalty, serve

warnings.simplefilter("ignore")


class Nevergrad:
    """One optimizer over a dictionary of scalars and choices."""

    def __init__(self, task):
        self.task, self.codes = task, Codes(task)
        space = ng.p.Dict(**{p["name"]: self.parameter(p) for p in task.parameters})
        space.random_state.seed(task.seed)
        self.optimizer = ng.optimizers.NGOpt(space, budget=task.budget, num_workers=task.batch)
        self.asked, self.next = {}, 0

    def parameter(self, p):
        kind = self.codes.kind(p)
        if kind[0] == "choice":
            return ng.p.Choice(list(range(kind[1])))
        made = ng.p.Log(lower=kind[1], upper=kind[2]) if kind[3] else ng.p.Scalar(lower=kind[1], upper=kind[2])
        return made.set_integer_casting() if kind[0] == "int" else made

    def start(self, trials):
        self.penalty = Penalty(trials)
        for trial in trials:
            flat = self.codes.flat(trial.point)
            self.put(self.optimizer.parametrization.spawn_child(new_value=flat), trial)

    def tell(self, trials):
        for trial in trials:
            self.put(self.asked.pop(trial.key), trial)

    def put(self, candidate, trial):
        values = self.penalty.values(trial) if trial.values is None else trial.values
        loss = values if len(values) > 1 else values[0]
        if trial.violations:
            self.optimizer.tell(candidate, loss, constraint_violation=[max(v, 0.0) for v in trial.violations])
        else:
            self.optimizer.tell(candidate, loss)

    def ask(self, count):
        found = []
        for _ in range(count):
            candidate = self.optimizer.ask()
            self.next += 1
            self.asked[self.next] = candidate
            found.append((self.next, self.codes.point(dict(candidate.value))))
        return found


if __name__ == "__main__":
    serve(Nevergrad)
