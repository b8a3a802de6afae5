"""Running programs of GEPA against asktell: what needs no service."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from asktell.integrations import gepa
from asktell.integrations.adapters import Examples, cut, parameter_names, rendered


class Silent:
    """An adapter that nobody gets to call."""

    def evaluate(self, batch: list[Any], candidate: dict[str, Any], capture_traces: bool = False) -> Any:
        raise AssertionError("is not called")

    def make_reflective_dataset(self, candidate: Any, eval_batch: Any, components_to_update: Any) -> Any:
        raise AssertionError("is not called")


def test_the_package_is_needed_only_where_it_is_used() -> None:
    code = (
        "import sys; sys.modules['gepa'] = None; from asktell.integrations import gepa;"
        "print('imported'); gepa.optimize(seed_candidate={'a': 'b'}, trainset=[1], task_lm=print, max_metric_calls=3)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "imported"
    assert found.stderr.splitlines()[-1].endswith("pip install gepa")


def test_arguments_that_cannot_be_meant_are_refused() -> None:
    given: dict[str, Any] = {
        "seed_candidate": {"prompt": "Answer."},
        "trainset": ["x"],
        "adapter": Silent(),
        "max_metric_calls": 3,
    }
    for change, message in (
        ({"seed_candidate": {}}, "seed_candidate"),
        ({"trainset": []}, "trainset"),
        ({"valset": []}, "valset"),
        ({"max_metric_calls": None}, "max_metric_calls or max_trials"),
        ({"reflection_lm": print}, "names a profile"),
        ({"adapter": None}, "task_lm"),
    ):
        with pytest.raises(ValueError, match=message):
            gepa.optimize("http://127.0.0.1:1", **given | change)


def test_names_ids_and_words() -> None:
    assert parameter_names(["a b", "a_b", "..x", ""]) == {"a b": "a_b", "a_b": "a_b-2", "..x": "x", "": "text"}
    one, two = Examples("xy"), Examples("xy", "z")
    assert one.ids == {"train": ["train-0", "train-1"]} and one.full == "train"
    assert two.ids["validation"] == ["validation-0"] and two.full == "validation"
    assert two.fetch("train", ["train-1", "train-0"]) == ["y", "x"]
    assert Examples(data := ["x"], data).ids == {"train": ["train-0"]}, "the same list twice is one set"
    assert (
        rendered({"Inputs": {"a": 1, "b": [2, 3]}, "Feedback": " x "})
        == "Inputs / a: 1\nInputs / b: 2\n\nInputs / b: 3\nFeedback: x"
    )
    assert cut("lone \ud800") == "lone ?"
    assert cut("a\x00b") == "a\ufffdb" and len(cut("x" * 20_000)) == 10_000
