"""The conversation between the harness and a solver: JSON lines over standard input and output, one process a run.

The harness sends `{"do": "start", …}` once, then `{"do": "tell", "trials": [...]}` and `{"do": "ask", "count": n}`; each is
answered with one line. Needs the standard library only, for a peer's environment holds the peer and nothing of ours.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
import traceback


class Task:
    """What a solver is told at the start."""

    def __init__(self, document):
        self.parameters = document["parameters"]
        self.objectives = document["objectives"]
        self.constraints = document["constraints"]
        self.seed = document["seed"]
        self.budget = document["budget"]
        self.batch = document["batch"]
        self.is_noisy = document["is_noisy"]
        self.options = document["options"]
        self.variant = document["variant"]
        self.by_name = {p["name"]: p for p in self.parameters}

    def active(self, point):
        """The names of the parameters that belong to a point with these values, parents before children."""
        found = []
        for p in self.parameters:
            when = p.get("when") or {}
            if all(parent in found and point[parent] in allowed for parent, allowed in when.items()):
                found.append(p["name"])
        return found


class Trial:
    """A told trial: values to minimise and violations (feasible <= 0), both None where it could not be evaluated."""

    def __init__(self, task, document):
        self.key = document["key"]
        self.point = document["parameters"]
        metrics = document["metrics"]
        self.values = None if metrics is None else [metrics[name] for name in task.objectives]
        self.violations = None if metrics is None else [metrics[name] for name in task.constraints]


class Codes:
    """Parameters as plain numbers for solvers with simpler spaces: places of choices, logit scales undone.

    `kind(p)` is ("float", low, high, is_log), ("int", low, high, is_log) or ("choice", how many).
    """

    def __init__(self, task):
        self.task = task

    def choices(self, p):
        """The values of a parameter with choices."""
        return [False, True] if p["type"] == "bool" else p["choices"]

    def kind(self, p):
        """How a parameter is coded."""
        scale = p.get("scale", "linear")
        if p["type"] == "float":
            if scale == "logit":
                return ("float", _logit(p["min"]), _logit(p["max"]), False)
            return ("float", p["min"], p["max"], scale == "log")
        if p["type"] == "int":
            return ("int", p["min"], p["max"], scale == "log")
        return ("choice", len(self.choices(p)))

    def middle(self, p):
        """A code for a parameter that is not active."""
        kind = self.kind(p)
        if kind[0] == "choice":
            return 0
        middle = math.sqrt(kind[1] * kind[2]) if kind[3] else (kind[1] + kind[2]) / 2
        return round(middle) if kind[0] == "int" else middle

    def encode(self, p, value):
        """A value's code."""
        if self.kind(p)[0] == "choice":
            return next(i for i, c in enumerate(self.choices(p)) if type(c) is type(value) and c == value)
        if p.get("scale") == "logit":
            return min(max(_logit(value), _logit(p["min"])), _logit(p["max"]))
        return value

    def decode(self, p, code):
        """The value of a code."""
        if self.kind(p)[0] == "choice":
            return self.choices(p)[int(code)]
        if p["type"] == "int":
            return min(max(round(float(code)), p["min"]), p["max"])
        value = 1 / (1 + math.exp(-code)) if p.get("scale") == "logit" else float(code)
        return min(max(value, p["min"]), p["max"])

    def flat(self, point):
        """Codes of every parameter, inactive ones at their middle."""
        return {
            p["name"]: self.encode(p, point[p["name"]]) if p["name"] in point else self.middle(p)
            for p in self.task.parameters
        }

    def point(self, codes):
        """The point of codes by name; those of inactive parameters are left out."""
        full = {p["name"]: self.decode(p, codes[p["name"]]) for p in self.task.parameters if p["name"] in codes}
        return {name: full[name] for name in self.task.active(full)}

    def draw(self, rng):
        """A point at random."""
        codes = {}
        for p in self.task.parameters:
            kind = self.kind(p)
            if kind[0] == "choice":
                codes[p["name"]] = rng.randrange(kind[1])
            elif kind[3]:
                edge = 0.5 if kind[0] == "int" else 0.0
                codes[p["name"]] = math.exp(rng.uniform(math.log(kind[1] - edge), math.log(kind[2] + edge)))
            else:
                codes[p["name"]] = rng.randint(*kind[1:3]) if kind[0] == "int" else rng.uniform(*kind[1:3])
        return self.point(codes)


class Penalty:
    """One number for solvers that know no constraints and no failures.

    A feasible trial keeps its value. An infeasible one gets the worst value of the start plus its violations, each in units of
    its mean over the start, times the spread of the start; one that could not be evaluated gets the worst told so far.
    """

    def __init__(self, start):
        told = [t for t in start if t.values is not None]
        columns = list(zip(*[t.values for t in told], strict=True)) if told else [[0.0, 1.0]]
        self.worst = [max(c) for c in columns]
        self.spread = [(max(c) - min(c)) or 1.0 for c in columns]
        rows = list(zip(*[t.violations for t in told], strict=True)) if told else []
        self.units = [sum(abs(v) for v in row) / len(row) or 1.0 for row in rows]

    def values(self, trial):
        """The values to tell."""
        if trial.values is None:
            return list(self.worst)
        over = sum(max(v, 0.0) / unit for v, unit in zip(trial.violations, self.units, strict=True))
        if over > 0:
            return [w + s * over for w, s in zip(self.worst, self.spread, strict=True)]
        self.worst = [max(w, v) for w, v in zip(self.worst, trial.values, strict=True)]
        return list(trial.values)


def generator(task):
    """A generator of the standard library."""
    return random.Random(task.seed)


def _logit(x):
    return math.log(x / (1 - x))


def serve(create):
    """Speak the protocol for a solver made by `create(task)`, with `start(trials)`, `tell(trials)` and `ask(count)`.

    `ask` returns (key, point) pairs; the key comes back with the outcome.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries that print do not disturb the conversation
    task, solver, is_started, spent = None, None, False, 0.0
    for line in sys.stdin:
        request = json.loads(line)
        answer = {}
        try:
            began = time.perf_counter()
            if request["do"] == "start":
                task = Task(request)
                solver = create(task)
            elif request["do"] == "tell":
                trials = [Trial(task, t) for t in request["trials"]]
                if is_started:
                    solver.tell(trials)
                    spent = time.perf_counter() - began
                else:
                    solver.start(trials)
                    is_started = True
            elif request["do"] == "ask":
                found = solver.ask(request["count"])
                answer["points"] = [{"key": key, "parameters": point} for key, point in found]
                answer["seconds"] = time.perf_counter() - began + spent
                spent = 0.0
        except Exception:
            answer = {"error": traceback.format_exc()[-3000:]}
        out.write(json.dumps(answer) + "\n")
        out.flush()
