"""A command line as an objective function: placeholders filled, output read, processes stopped."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from typing import IO, Any

import typer

from asktell.errors import NotFinite
from asktell.flows import Json
from asktell.trial import Trial

LAST_WORDS = 20
GRACE_SECONDS = 5.0
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w.\-]*)\}")


class Template:
    """A command with `{parameter}` in its arguments.

    Args:
        arguments: the command; where a parameter is not active in a trial, the argument that names it is left out, and
            so is an option just before it: `--momentum {momentum}`.
        parameters: of the study.

    Raises:
        BadParameter: a placeholder that is no parameter.
    """

    def __init__(self, arguments: Sequence[str], parameters: Sequence[Json]) -> None:
        self._arguments = list(arguments)
        self._names = {parameter["name"] for parameter in parameters}
        for argument in self._arguments:
            for name in _PLACEHOLDER.findall(argument):
                if name not in self._names:
                    known = ", ".join(sorted(self._names))
                    raise typer.BadParameter(f"{{{name}}} is no parameter of the study; there are {known}")

    def fill(self, parameters: Json) -> list[str]:
        """The command for one point."""
        found: list[str] = []
        for argument in self._arguments:
            wanted = [name for name in self._names if f"{{{name}}}" in argument]
            if any(name not in parameters for name in wanted):
                is_bare = len(wanted) == 1 and argument == f"{{{wanted[0]}}}"
                if is_bare and found and found[-1].startswith("-"):
                    found.pop()
                continue
            for name in wanted:
                argument = argument.replace(f"{{{name}}}", _as_text(parameters[name]))
            found.append(argument)
        return found


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else _as_json(value)


def _as_json(value: Any) -> str:
    """Values as JSON, vectors that came packed as their numbers."""
    return json.dumps(value, default=lambda array: array.tolist())


class _Stopped(Exception):
    """The whole run ends: nothing is told."""


class Commands:
    """Evaluates trials by processes; called from many threads.

    Args:
        timeout: seconds a process may take; None: as long as it likes.
        echo: where the processes' output is passed on to.
    """

    def __init__(self, template: Template, timeout: float | None, echo: IO[str] | None) -> None:
        self._template = template
        self._timeout = timeout
        self._echo = echo
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._is_stopped = False
        self._succeeded = self._failed = 0

    @property
    def is_all_failed(self) -> bool:
        """Whether there were commands and none of them worked."""
        return self._failed > 0 and self._succeeded == 0

    def __call__(self, parameters: Json, trial: Trial) -> None:
        """Evaluate one trial and tell its outcome."""
        try:
            Evaluation(self, trial, self._template.fill(parameters)).run()
        except _Stopped:
            return
        except NotFinite as error:  # told here, so that it does not count as failed
            trial.tell(error.metrics, state=error.state, feedback=error.feedback)
        finally:
            # Not finished here means that the outcome was refused: the loop tells it as failed.
            has_worked = trial.is_finished and trial.state != "failed"
            with self._lock:
                self._succeeded += has_worked
                self._failed += not has_worked

    def stop(self) -> None:
        """End every process."""
        with self._lock:
            self._is_stopped = True
            running = list(self._running)
        for process in running:
            end(process)

    def check(self) -> None:
        """Raise where the run was stopped, so that nothing is told."""
        if self._is_stopped:
            raise _Stopped

    def start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        """Start a process, in a group of its own: Ctrl-C comes to us first."""
        with self._lock:
            self.check()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=os.environ | environment,
                start_new_session=True,
            )
            self._running.add(process)
        return process

    def ended(self, process: subprocess.Popen[str]) -> None:
        """A process is over."""
        with self._lock:
            self._running.discard(process)

    def pass_on(self, number: int, line: str) -> None:
        """Show a line of output."""
        if self._echo is not None:
            print(f"[{number}] {line.rstrip()}", file=self._echo, flush=True)

    @property
    def timeout(self) -> float | None:
        """Seconds a process may take."""
        return self._timeout


class Evaluation:
    """One process from its start to the tell."""

    def __init__(self, commands: Commands, trial: Trial, command: list[str]) -> None:
        self._commands = commands
        self._trial = trial
        self._command = command
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._result: Json | None = None
        self._is_pruned = self._is_late = False

    def run(self) -> None:
        """Run the command; tell what came of it."""
        trial = self._trial
        environment = {
            "ASKTELL_STUDY": str(trial.data["study"]),
            "ASKTELL_TRIAL": str(trial.number),
            "ASKTELL_PARAMETERS": _as_json(trial.parameters),
        }
        try:
            process = self._commands.start(self._command, environment)
        except OSError as error:
            trial.fail(f"{self._command[0]}: {error.strerror or error}")
            return
        try:
            self._read(process)
            code = process.wait()
        finally:
            end(process)
            self._commands.ended(process)
        self._commands.check()
        self._tell(code)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None and process.stderr is not None
        errors = threading.Thread(target=self._read_errors, args=(process.stderr,), daemon=True)
        errors.start()
        timer = threading.Timer(self._commands.timeout or 0, self._too_late, (process,))
        timer.daemon = True
        if self._commands.timeout is not None:
            timer.start()
        try:
            for line in process.stdout:
                self._commands.pass_on(self._trial.number, line)
                self._take(line, process)
        finally:
            timer.cancel()
        errors.join(GRACE_SECONDS)

    def _read_errors(self, stream: IO[str]) -> None:
        for line in stream:
            self._commands.pass_on(self._trial.number, line)
            self._last_words.append(line.rstrip())

    def _too_late(self, process: subprocess.Popen[str]) -> None:
        self._is_late = True
        end(process)

    def _take(self, line: str, process: subprocess.Popen[str]) -> None:
        if not line.lstrip().startswith("{"):
            return
        try:
            found = json.loads(line)
        except ValueError:
            return
        self._result = found
        step = found.get("step")
        if type(step) is not int or self._is_pruned:
            return
        metrics, _ = split(found)
        if metrics and self._trial.report(step, metrics):
            self._is_pruned = True
            end(process)

    def _tell(self, code: int) -> None:
        trial = self._trial
        if self._is_pruned:
            trial.prune("stopped early")
        elif self._is_late:
            trial.fail(f"stopped after {self._commands.timeout:g} s\n{self._words()}".strip())
        elif code != 0:
            why = f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"
            trial.fail(f"{why}\n{self._words()}".strip())
        elif self._result is None:
            trial.fail(f"no line of its output is a JSON object with metrics\n{self._words()}".strip())
        else:
            self._tell_result(self._result)

    def _tell_result(self, result: Json) -> None:
        metrics, rest = split(result)
        told = {name: rest.pop(name) for name in ("state", "feedback", "cost", "std", "examples") if name in rest}
        self._trial.tell(metrics, **told)
        if rest:
            self._trial.annotate(metadata=rest)

    def _words(self) -> str:
        return "\n".join(self._last_words)[-4000:]


def split(result: Json) -> tuple[dict[str, float], Json]:
    """A line's metrics, and what else it says: the numbers, or what stands under `metrics`; `step` is neither."""
    result = {name: value for name, value in result.items() if name != "step"}
    if isinstance(result.get("metrics"), dict):
        return result.pop("metrics"), result
    reserved = ("cost", "std", "examples")
    metrics = {
        name: value
        for name, value in result.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in reserved
    }
    return metrics, {name: value for name, value in result.items() if name not in metrics}


def end(process: subprocess.Popen[str]) -> None:
    """End a process and what it started: kindly, then not."""
    if process.poll() is not None:
        return
    for signal_, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal_)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return
