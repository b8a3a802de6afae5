"""Who takes part: our suggesters by name, and the peers, each in an environment of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .instance import Instance

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("ASKTELL_BENCH_CACHE", ROOT / ".bench"))
SCRIPTS = Path(__file__).resolve().parent / "peers"
SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
CODE = ("workers", "services")


@dataclass(frozen=True)
class Peer:
    """An optimiser of others.

    Attributes:
        script: in `peers/`.
        environment: whose requirements it needs; ours if empty.
        variant: what the script is told.
        most_objectives: more are not served.
        serves_constraints: told constraints natively; penalised otherwise, which the script does.
        is_slow: takes seconds for a suggestion, so only the short problems are run.
    """

    script: str
    environment: str = ""
    variant: str = ""
    most_objectives: int = 20
    is_slow: bool = False


PEERS: dict[str, Peer] = {
    "random": Peer("random_peer.py"),
    "optuna-tpe": Peer("optuna_peer.py", "optuna", "tpe"),
    "optuna-tpe-mv": Peer("optuna_peer.py", "optuna", "tpe-mv"),
    "nevergrad": Peer("nevergrad_peer.py", "nevergrad"),
    "smac": Peer("smac_peer.py", "smac", "forest"),
    "optuna-gp": Peer("optuna_peer.py", "optuna", "gp"),
    "smac-blackbox": Peer("smac_peer.py", "smac", "process", is_slow=True),
    "ax": Peer("ax_peer.py", "ax", is_slow=True),
    "hebo": Peer("hebo_peer.py", "hebo", most_objectives=1, is_slow=True),
}
BY_RULE = "optuna-auto"
CHEAP = ("random", "optuna-tpe", "nevergrad", "optuna-gp", BY_RULE, "smac")


def automatic(instance: Instance) -> str:
    """What Optuna's AutoSampler would pick below 250 trials.

    Multivariate TPE where a parameter is categorical (a bool counts as one) or conditional, or there are four objectives or
    more; GPSampler otherwise (OptunaHub, samplers/auto_sampler, read in November 2026).
    """
    has_choices = any(p["type"] in ("categorical", "bool", "ordinal") or p.get("when") for p in instance.parameters)
    return "optuna-tpe-mv" if has_choices or len(instance.objectives) >= 4 else "optuna-gp"


@dataclass(frozen=True)
class Solver:
    """A solver as named on the command line: a peer, or `asktell:gp`, `asktell:gp{"option": 1}`.

    Attributes:
        name: as named.
        label: of our code, empty for peers.
        code: folder with the copy of our code that is run.
    """

    name: str
    label: str = ""
    code: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is a suggester of this repository."""
        return self.name.startswith("asktell:")

    @property
    def is_slow(self) -> bool:
        """Whether it takes seconds for a suggestion."""
        return not self.is_ours and self.name != BY_RULE and PEERS[self.name].is_slow

    def resolved(self, instance: Instance) -> Solver:
        """The solver that does the work: AutoSampler's rule is one of two others."""
        return Solver(automatic(instance)) if self.name == BY_RULE else self

    def serves(self, instance: Instance) -> bool:
        """Whether it takes such problems."""
        return self.is_ours or len(instance.objectives) <= PEERS[self.name].most_objectives

    @cached_property
    def ours(self) -> tuple[str, dict[str, Any]]:
        """Suggester and options of one of ours."""
        text = self.name.removeprefix("asktell:")
        name, brace, rest = text.partition("{")
        return name, json.loads(brace + rest) if brace else {}

    def command(self) -> tuple[list[str], dict[str, str], str, dict[str, Any]]:
        """Command line, environment variables, variant and options of its process."""
        variables = {**os.environ, **SINGLE, "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"}
        if self.is_ours:
            variables["PYTHONPATH"] = self.code
            name, options = self.ours
            return [sys.executable, str(SCRIPTS / "asktell_peer.py")], variables, name, options
        peer = PEERS[self.name]
        python = str(python_of(peer.environment)) if peer.environment else sys.executable
        return [python, str(SCRIPTS / peer.script)], variables, peer.variant, {}


def named(names: list[str], label: str) -> list[Solver]:
    """The solvers by name, ours with a copy of the code as it is now.

    Raises:
        ValueError: nobody is called so.
    """
    found = []
    for name in names:
        if name.startswith("asktell:"):
            digest, code = snapshot()
            found.append(Solver(name, label or digest, code))
        elif name in PEERS or name == BY_RULE:
            found.append(Solver(name))
        else:
            known = ", ".join([*PEERS, BY_RULE])
            raise ValueError(f"no solver is called {name!r}: asktell:SUGGESTER, {known}")
    return found


def snapshot() -> tuple[str, str]:
    """Digest of our code as it is now, and a copy of it, so that a run is not disturbed by edits."""
    files = sorted(f for top in CODE for f in (ROOT / top).rglob("*.py"))
    contents = [(str(f.relative_to(ROOT)), f.read_bytes()) for f in files]
    matters = [(name, text) for name, text in contents if name.startswith(("workers/", "services/domain/"))]
    digest = hashlib.sha256(repr(matters).encode()).hexdigest()[:10]
    folder = CACHE / "code" / digest
    if not folder.exists():
        draft = folder.with_name(f"{digest}.{os.getpid()}")
        for name, text in contents:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(text)
        try:
            draft.rename(folder)
        except OSError:  # another command was faster
            shutil.rmtree(draft)
    return digest, str(folder)


def python_of(environment: str) -> Path:
    """The interpreter of a peer's environment."""
    return CACHE / "envs" / environment / "bin" / "python"


@dataclass
class Environments:
    """Makes the environments that solvers need, once; those that cannot be made are reported and left out."""

    missing: dict[str, str] = field(default_factory=dict)

    def prepare(self, solvers: list[Solver]) -> list[Solver]:
        """The solvers that can run."""
        wanted = [n for s in solvers if not s.is_ours for n in self._needed(s)]
        for environment in dict.fromkeys(wanted):
            ready = python_of(environment).parent.parent / "ready"
            if not ready.exists():
                problem = _install(environment)
                if problem:
                    self.missing[environment] = problem
                else:
                    ready.touch()
        return [s for s in solvers if s.is_ours or not set(self._needed(s)) & set(self.missing)]

    @staticmethod
    def _needed(solver: Solver) -> list[str]:
        if solver.name == BY_RULE:
            return ["optuna"]
        environment = PEERS[solver.name].environment
        return [environment] if environment else []


def _install(environment: str) -> str:
    """Make an environment with uv, with pip where uv is not to be had; returns what went wrong, empty if nothing."""
    folder, requirements = CACHE / "envs" / environment, ROOT / "benchmarks" / "peers" / f"{environment}.txt"
    print(f"installing {environment} …", flush=True)
    uv = Path(sys.executable).parent / "uv"
    variables = {**os.environ, "UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
    python = str(folder / "bin" / "python")
    ways = [
        [
            [str(uv), "venv", "-q", "--allow-existing", "--python", sys.executable, str(folder)],
            [str(uv), "pip", "install", "-q", "--python", python, "-r", str(requirements)],
        ],
        [
            [sys.executable, "-m", "venv", str(folder)],
            [python, "-m", "pip", "install", "-q", "--prefer-binary", "-r", str(requirements)],
        ],
    ]
    problem = ""
    for way in ways:
        try:
            for command in way:
                subprocess.run(command, check=True, env=variables, capture_output=True, text=True, timeout=1800)
            return ""
        except (OSError, subprocess.SubprocessError) as error:
            problem = str(getattr(error, "stderr", "") or error)[-500:]
            shutil.rmtree(folder, ignore_errors=True)
    return problem
