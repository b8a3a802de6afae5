"""HEBO: one objective, conditions flattened, constraints and failures by penalty."""

import random
import warnings

import numpy as np
import pandas as pd
import torch
from hebo.design_space.design_space import DesignSpace
from hebo.optimizers.hebo import HEBO
from wire import Codes, Penalty, serve

warnings.simplefilter("ignore")


class Hebo:
    """HEBO as it comes, its start replaced by the common one."""

    def __init__(self, task):
        self.task, self.codes = task, Codes(task)
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(task.seed)
        self.space = DesignSpace().parse([self.parameter(p) for p in task.parameters])
        self.asked, self.next = {}, 0

    def parameter(self, p):
        kind, name = self.codes.kind(p), p["name"]
        if kind[0] == "choice":
            return {"name": name, "type": "cat", "categories": [str(i) for i in range(kind[1])]}
        types = {("float", False): "num", ("float", True): "pow", ("int", False): "int", ("int", True): "pow_int"}
        return {"name": name, "type": types[kind[0], kind[3]], "lb": kind[1], "ub": kind[2], "base": 10}

    def frame(self, points):
        rows = []
        for point in points:
            flat = self.codes.flat(point)
            choices = {p["name"] for p in self.task.parameters if self.codes.kind(p)[0] == "choice"}
            rows.append({n: str(v) if n in choices else v for n, v in flat.items()})
        return pd.DataFrame(rows)

    def start(self, trials):
        self.penalty = Penalty(trials)
        self.solver = HEBO(self.space, rand_sample=len(trials), scramble_seed=self.task.seed)
        self.put(self.frame([t.point for t in trials]), trials)

    def tell(self, trials):
        self.put(pd.concat([self.asked.pop(t.key) for t in trials], ignore_index=True), trials)

    def put(self, frame, trials):
        self.solver.observe(frame, np.array([self.penalty.values(t) for t in trials]))

    def ask(self, count):
        frame, found = self.solver.suggest(n_suggestions=count), []
        for i in range(len(frame)):
            self.next += 1
            self.asked[self.next] = frame.iloc[[i]]
            found.append((self.next, self.codes.point(frame.iloc[i].to_dict())))
        return found


if __name__ == "__main__":
    serve(Hebo)
