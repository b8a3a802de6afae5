"""A stranger's journeys on the command line, to a service in a process of its own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import asktell
from asktell.cli import main
from tests.support.servers import Server, wait_for

Run = Callable[..., subprocess.CompletedProcess[str]]
"""Arguments, `code` that is expected and `input` → what was printed."""
COMMAND = [sys.executable, "-m", "asktell.cli"]
SHOW = "import json, sys; print('epoch 1'); print(json.dumps({'loss': float(sys.argv[1]) ** 2, 'file': 'a.bin'}))"


@pytest.fixture
def environment(server: Server) -> dict[str, str]:
    return {**os.environ, "ASKTELL_URL": server.url, "COLUMNS": "200"}


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def call(*arguments: str, code: int = 0, **more: Any) -> subprocess.CompletedProcess[str]:
        found = subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, **more)
        assert found.returncode == code, found.stderr
        return found

    return call


@pytest.fixture
def call(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The same in this process, for commands that start none: a command takes a second to start."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str, code: int = 0, input: str = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["asktell", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(input))
        with pytest.raises(SystemExit) as ended:
            main()
        printed, said = capsys.readouterr()
        if isinstance(ended.value.code, str):  # as Python ends with a sentence
            said, ended.value.code = f"{said}{ended.value.code}\n", 1
        assert (ended.value.code or 0) == code, said
        return subprocess.CompletedProcess(arguments, code, printed, said)

    return call


@pytest.fixture
def study(call: Run, tmp_path: Path) -> str:
    """A study made from a file."""
    file, name = tmp_path / "study.yaml", f"cli-{uuid.uuid4().hex[:12]}"
    document = {
        "name": name,
        "parameters": [{"name": "x", "type": "float", "min": -5, "max": 5}],
        "objectives": [{"metric": "loss"}],
        "suggester": {"name": "sobol"},
        "limits": {"max_trials": 20},
    }
    file.write_text(yaml.safe_dump(document))
    call("study", "create", "-f", str(file))
    return name


def test_a_study_is_created_listed_shown_and_deleted(call: Run, study: str) -> None:
    assert study in call("study", "list", "-q", study).stdout
    shown = json.loads(call("study", "show", study, "-o", "json").stdout)
    assert shown["limits"]["max_trials"] == 20
    assert yaml.safe_load(call("study", "show", study, "-o", "yaml").stdout) == shown
    assert "paused" in call("study", "pause", study).stdout
    assert "active" in call("study", "resume", study).stdout
    assert "completed" in call("study", "complete", study).stdout
    call("study", "delete", study, code=1, input="n\n")
    call("study", "delete", study, "--yes")
    assert "no study" in call("study", "show", study, code=1).stderr


def test_a_name_on_the_command_line_wins_and_a_taken_one_is_refused(call: Run, study: str) -> None:
    document = json.dumps(
        {"parameters": [{"name": "b", "type": "bool"}], "objectives": [{"metric": "loss"}], "name": "x"}
    )
    assert "taken" in call("study", "create", "-f", "-", "--name", study, code=1, input=document).stderr
    call("study", "create", "-f", "-", "--name", f"{study}-2", input=document)
    call("study", "create", "-f", "-", "--name", f"{study}-2", "--exist-ok", input=document)


def test_an_error_names_each_place(call: Run) -> None:
    document = json.dumps({"name": "bad", "parameters": [{"name": "x", "type": "float", "min": 1}], "objectives": []})
    found = call("study", "create", "-f", "-", code=1, input=document)
    assert "/parameters/0/max" in found.stderr
    assert "/objectives" in found.stderr


def test_trials_are_enqueued_told_listed_and_exported(call: Run, study: str, tmp_path: Path) -> None:
    assert "waiting" in call("trial", "enqueue", study, "x=1.5").stdout
    call("trial", "tell", study, "1", "loss=2.25", "--feedback", "by hand")
    told = json.loads(call("trial", "show", study, "1", "-o", "json").stdout)
    assert (told["metrics"], told["feedback"]) == ({"loss": 2.25}, "by hand")
    assert "user" in call("trial", "show", study, "1", "--receipt").stdout
    assert "completed" in call("trial", "list", study, "--state", "completed").stdout
    assert "none" in call("trial", "list", study, "--state", "failed").stderr
    assert json.loads(call("study", "best", study, "-o", "json").stdout)[0]["number"] == 1
    found = json.loads(call("study", "diagnose", study, "-o", "json").stdout)
    assert [c["predictions"] for c in found["calibration"]] == [[]]
    table = call("study", "diagnose", study).stdout
    assert found["limits"][0]["kind"] in table
    assert "predictions" not in table
    assert call("study", "export", study, "--format", "csv").stdout.splitlines()[1].startswith("1,completed")
    call("study", "export", study, "--to", str(tmp_path / "trials.json"))
    assert json.loads((tmp_path / "trials.json").read_text())[0]["number"] == 1
    assert "outside" in call("trial", "enqueue", study, "x=99", code=1).stderr


def test_the_catalogue_is_shown(run: Run) -> None:
    assert "sobol" in run("suggesters").stdout
    assert json.loads(run("suggesters", "sobol", "-o", "json").stdout)["name"] == "sobol"
    assert "there are" in run("suggesters", "nobody", code=1).stderr


def test_a_command_is_run_for_each_trial(run: Run, call: Run, study: str) -> None:
    found = run("run", study, "--parallel", "2", "--count", "4", "-o", "json", "--", sys.executable, "-c", SHOW, "{x}")
    trials = json.loads(call("trial", "list", study, "-o", "json").stdout)
    assert [trial["state"] for trial in trials] == ["completed"] * 4
    assert all(trial["metrics"]["loss"] == trial["parameters"]["x"] ** 2 for trial in trials)
    assert trials[0]["metadata"] == {"file": "a.bin"}
    best = min(trials, key=lambda trial: trial["metrics"]["loss"])
    assert json.loads(found.stdout)[0]["number"] == best["number"]


def test_a_command_that_fails_has_its_last_words_told(run: Run, call: Run, study: str) -> None:
    code = "import sys; print('out of memory', file=sys.stderr); sys.exit(3)"
    run("run", study, "--count", "1", "--", sys.executable, "-c", code, code=1)
    run("run", study, "--count", "1", "--", sys.executable, "-c", "print('no metrics')", code=1)
    run(
        "run",
        study,
        "--count",
        "1",
        "--timeout",
        "0.5",
        "--",
        sys.executable,
        "-c",
        "input(__import__('time').sleep(60))",
        code=1,
    )
    first, second, third = json.loads(call("trial", "list", study, "-o", "json", "--state", "failed").stdout)
    assert first["feedback"] == "exit code 3\nout of memory"
    assert "JSON object with metrics" in second["feedback"]
    assert "stopped after 0.5 s" in third["feedback"]


def test_a_command_is_stopped_early_by_its_reports(run: Run, server: Server) -> None:
    name, code = (
        f"cli-{uuid.uuid4().hex[:12]}",
        (
            "import json, time\n"
            "for step in range(1, 600):\n"
            "    print(json.dumps({'step': step, 'loss': step}), flush=True)\n"
            "    time.sleep(0.1)\n"
        ),
    )
    with asktell.Client(server.url) as client:
        stopping = {"rule": "threshold", "max": 2.5}
        space = {"x": asktell.Float(0, 1)}
        study = client.create_study(name, space, minimize="loss", suggester="random", early_stopping=stopping)
        run("run", name, "--count", "1", "--", sys.executable, "-c", code)
        trial = study.trial(1)
    assert trial.state == "pruned"
    assert [m["step"] for m in trial.measurements] == [1, 2, 3]


def test_mistakes_are_found_before_a_trial_is_taken(run: Run, call: Run, study: str) -> None:
    assert "{y}" in run("run", study, "--", "echo", "{y}", code=2).stderr
    assert "no program" in run("run", study, "--", "no-such-program", code=2).stderr
    assert json.loads(call("trial", "list", study, "-o", "json").stdout) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_commands_and_hands_trials_back(
    environment: dict[str, str], server: Server, study: str, tmp_path: Path, how: signal.Signals
) -> None:
    code = f"import os, time; open(os.path.join({str(tmp_path)!r}, str(os.getpid())), 'w'); time.sleep(60)"
    command = [*COMMAND, "run", study, "--parallel", "2", "--", sys.executable, "-c", code]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: sum(path.name.isdigit() for path in tmp_path.iterdir()) == 2, what="two commands")
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "handed back" in said
    with asktell.Client(server.url) as client:
        assert client.study(study).trial_counts["waiting"] == 2
    for path in tmp_path.iterdir():
        if path.name.isdigit():
            with pytest.raises(ProcessLookupError):
                os.kill(int(path.name), 0)


def test_the_environment_stands_in_for_options(environment: dict[str, str], study: str) -> None:
    more = {"ASKTELL_STUDY": study, "ASKTELL_OUTPUT": "json"}
    found = subprocess.run(
        [*COMMAND, "study", "show"], env=environment | more, capture_output=True, text=True, check=True
    )
    assert json.loads(found.stdout)["name"] == study
