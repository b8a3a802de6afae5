"""The command line's own parts: files, placeholders, results."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from asktell.cli import CLIENT, files
from asktell.cli.commands import Template, split
from asktell.cli.output import text
from asktell.packed import unpacked

PARAMETERS: list[dict[str, Any]] = [{"name": name} for name in ("lr", "momentum", "layers", "flag")]


def test_yaml_is_read_by_the_core_schema(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("a: 1e-5\nb: no\nc: 010\nd: 2026-01-01\ne: [true, null, ~, -3, .5, 1_000]\nf: {x: 'on'}\n")
    assert files.read(str(file)) == {
        "a": 1e-5,
        "b": "no",
        "c": 10,
        "d": "2026-01-01",
        "e": [True, None, None, -3, 0.5, "1_000"],
        "f": {"x": "on"},
    }


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.system [ls]"])
def test_a_file_that_is_no_document_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(typer.BadParameter):
        files.read(str(file))


def test_pairs_are_json_or_text() -> None:
    assert files.pairs(["a=1", "b=adam", "c=[1, 2]", "d=x=y"]) == {"a": 1, "b": "adam", "c": [1, 2], "d": "x=y"}
    with pytest.raises(typer.BadParameter, match="name=value"):
        files.pairs(["a"])


def test_placeholders_are_filled() -> None:
    template = Template(["train", "--lr={lr}", "--layers", "{layers}", "{flag}", '{"keep": 1}'], PARAMETERS)
    filled = template.fill({"lr": 0.1, "layers": [1, 2], "flag": True})
    assert filled == ["train", "--lr=0.1", "--layers", "[1, 2]", "true", '{"keep": 1}']


def test_vectors_that_came_packed_are_filled_in_as_numbers() -> None:
    numbers = unpacked({"float32": "AAAAPwAAAL8="})
    assert not isinstance(numbers, list)  # an array, where there is NumPy
    assert Template(["train", "{layers}"], PARAMETERS).fill({"layers": numbers}) == ["train", "[0.5, -0.5]"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (
            {"theta": {"sign": 1, "seed": [7, 11], "shape": {"w": [3, 2]}}},
            "theta={sign=1, seed=[7, 11], shape={w=[3, 2]}}",
        ),
        ([{"name": "x", "choices": ["a", None]}, {"name": "y"}], "name=x, choices=[a, -]; name=y"),
        ({"w": {"float32": "AAAAPwAAAL8="}}, "w=[0.5, -0.5]"),
        ({"w": list(range(4096))}, f"w=[{', '.join(map(str, range(20)))}, … 4096 in all]"),
        ([1, 2.5], "1, 2.5"),
        ([[1, 2], []], "1, 2; -"),
        ({}, "-"),
        ([], "-"),
    ],
)
def test_values_stand_in_cells(value: object, shown: str) -> None:
    assert text(value) == shown


def test_an_inactive_parameter_takes_its_option_along() -> None:
    template = Template(["train", "--momentum", "{momentum}", "--m={momentum}", "--lr", "{lr}"], PARAMETERS)
    assert template.fill({"lr": 0.1}) == ["train", "--lr", "0.1"]


def test_an_unknown_placeholder_is_named() -> None:
    with pytest.raises(typer.BadParameter, match=r"\{rate\}"):
        Template(["train", "{rate}"], PARAMETERS)


def test_a_line_has_metrics_and_more() -> None:
    assert split({"step": 3, "loss": 0.5, "path": "x", "ok": True}) == ({"loss": 0.5}, {"path": "x", "ok": True})
    assert split({"metrics": {"loss": 1}, "cost": 2}) == ({"loss": 1}, {"cost": 2})
    assert split({"loss": 1, "cost": 2}) == ({"loss": 1}, {"cost": 2})


@pytest.mark.parametrize("name", CLIENT)
def test_every_option_can_be_given_in_the_environment(name: str) -> None:
    command = typer.main.get_command(importlib.import_module(f"asktell.cli.{name}").app)
    commands = list(getattr(command, "commands", {}).values()) or [command]
    options = [option for found in commands for option in found.params if option.param_type_name == "option"]
    options = [option for option in options if not {"help", "install_completion", "show_completion"} & {option.name}]
    assert options
    assert [option.name for option in options if not str(option.envvar).startswith("ASKTELL_")] == []


def test_help_of_the_root_loads_no_command() -> None:
    code = """
import sys
sys.argv = ["asktell", "--help"]
from asktell.cli import main
try:
    main()
finally:
    loaded = [m for m in sys.modules if m.split(".")[0] in ("api", "services", "workers") or m.startswith("asktell.cli.")]
    print("loaded", loaded)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert all(name in found.stdout for name in ("serve", "worker", "migrate", "key", "study", "trial", "run"))
    assert "loaded []" in found.stdout


def test_a_server_command_without_the_server_says_what_to_install() -> None:
    code = """
import sys, importlib.metadata
import asktell.cli as cli
cli.GROUP = "no.such.group"
sys.argv = ["asktell", "serve"]
cli.main()
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 1
    assert "install asktell-server" in found.stderr
