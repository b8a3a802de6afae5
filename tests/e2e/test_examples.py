"""The examples run as they stand."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import asktell
from tests.support.servers import Server

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(server: Server, *command: str) -> str:
    environment = {**os.environ, "ASKTELL_URL": server.url, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=EXAMPLES.parent)
    assert found.returncode == 0, found.stderr
    return found.stdout


def example(server: Server, name: str, *arguments: str) -> str:
    return run(server, sys.executable, str(EXAMPLES / name), *arguments)


def test_the_quick_start_finds_a_low_point(server: Server) -> None:
    assert example(server, "quickstart.py").startswith("loss ")
    with asktell.Client(server.url) as client:
        assert client.study("quickstart").best.metrics["loss"] < 10


def test_the_asyncio_quick_start_runs(server: Server) -> None:
    assert "at rate" in example(server, "async_quickstart.py")


def test_the_training_script_is_run_from_the_command_line(server: Server) -> None:
    cli = (sys.executable, "-m", "asktell.cli")
    run(server, *cli, "study", "create", "-f", str(EXAMPLES / "study.yaml"))
    train = [sys.executable, str(EXAMPLES / "train.py")]
    options = ["--learning-rate", "{learning_rate}", "--epochs", "{epochs}", "--momentum", "{momentum}"]
    run(server, *cli, "run", "ridge", "--count", "6", "--parallel", "2", "--", *train, *options)
    with asktell.Client(server.url) as client:
        study = client.study("ridge")
        assert study.trial_counts["failed"] == 0
        assert study.trial_counts["completed"] + study.trial_counts["pruned"] == 6
        assert all(trial.measurements for trial in study.list_trials())


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_protocol_by_hand(server: Server) -> None:
    assert run(server, "bash", str(EXAMPLES / "curl.sh"), "by-hand").count("completed") >= 6


@pytest.mark.slow
def test_the_demo_starts_a_service_of_its_own_tunes_a_pipeline_and_stops_it(server: Server) -> None:
    pytest.importorskip("sklearn")
    assert "12 trials; best accuracy 9" in example(server, "demo.py", "12")


def test_every_example_says_what_it_shows() -> None:
    for file in EXAMPLES.glob("*.py"):
        assert ast.get_docstring(ast.parse(file.read_text())), file.name
