"""The recipes run as they stand, each on its smaller case against a real server, and find what they say they find."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import asktell
from tests.support.servers import Server

FOLDER = Path(__file__).parents[2] / "examples" / "recipes"
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/run.py"))
SEED = 1


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[asktell.Client]:
    with asktell.Client(server.url) as found:
        yield found


def quick(client: asktell.Client, name: str) -> dict[str, float]:
    """What a recipe finds on its smaller case."""
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", FOLDER / name / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    found: dict[str, float] = module.run(client, True, SEED)
    return found


def test_every_recipe_says_what_it_is_and_is_in_the_index() -> None:
    index = (FOLDER.parents[1] / "docs" / "recipes.md").read_text()
    assert len(NAMES) == 10
    for name in NAMES:
        assert ast.get_docstring(ast.parse((FOLDER / name / "run.py").read_text())), name
        readme = (FOLDER / name / "README.md").read_text()
        assert f"python examples/recipes/{name}/run.py" in readme
        assert f"examples/recipes/{name}" in index


@pytest.mark.slow
def test_a_recipe_starts_and_stops_a_service_of_its_own() -> None:
    command = [sys.executable, str(FOLDER / "model_merging" / "run.py"), "--quick"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert found.returncode == 0, found.stderr
    assert "error on the probes: base" in found.stdout


@pytest.mark.slow
def test_singular_values_of_an_adapter_are_searched(client: asktell.Client) -> None:
    pytest.importorskip("sklearn")
    found = quick(client, "lora_singular_values")
    assert found["cmaes"] > found["warm start"] + 0.02
    assert found["cmaes last"] > found["cmaes first"] + 0.05, "the median reward of the generations rises"


@pytest.mark.slow
def test_sixteen_workers_train_a_network_from_fitness_alone(client: asktell.Client) -> None:
    pytest.importorskip("sklearn")
    found = quick(client, "network_by_seeds")
    assert found["start"] < 0.2 and found["trained"] > 0.5, "one digit in ten is right by chance"
    assert found["version"] >= 12
    assert sum(name.endswith(" evaluated") for name in found) == 16, "the killed worker is not among them"
    assert found["slow evaluated"] > 0
    assert found["late evaluated"] > 0 and found["late refused"] == 0, (
        "its theta is that of the others, to the last bit"
    )
    assert found["drifting refused"] > 0 and found["drifting evaluated"] > 0, "it is found out, and goes on"
    others = sum(found[name] for name in found if name.endswith(" refused")) - found["drifting refused"]
    assert others <= 4, (
        "who says a version's fingerprint first is believed until two say otherwise: one batch of the first of them"
    )


@pytest.mark.slow
def test_the_models_that_matter_and_their_signs_are_found(client: asktell.Client) -> None:
    found = quick(client, "model_merging")
    assert found["recovered"] == 1
    assert found["merged"] < 0.5 * found["base"] < found["random"]


@pytest.mark.slow
def test_an_audio_chain_is_matched_to_a_reference(client: asktell.Client) -> None:
    found = quick(client, "audio_chain")
    assert found["cmaes"] < 0.1 * found["untouched"] and found["cmaes"] < found["random"]
    assert found["cmaes off"] < 0.25 * found["untouched off"], "it sounds right too on what the search did not hear"


@pytest.mark.slow
def test_thresholds_are_moved_within_one_training_run(client: asktell.Client) -> None:
    found = quick(client, "reward_thresholds")
    assert found["nelder-mead"] > found["free best"] + 0.2 > found["free"] + 0.2
    assert found["nelder-mead"] > found["random"]
    assert found["gp"] > found["random"]


@pytest.mark.slow
def test_plans_swing_a_pendulum_up_and_keep_its_speed_limit(client: asktell.Client) -> None:
    found = quick(client, "planning")
    for method in ("cem", "mppi"):
        assert found[method] < 0.9 * found["random"] < found["still"]
        assert found[f"{method} speed"] <= 6.5
        assert found[f"{method} angle"] < 0.5


@pytest.mark.slow
def test_a_sampler_is_tuned_and_a_flow_inverted(client: asktell.Client) -> None:
    found = quick(client, "sampler_guidance")
    assert found["gp"] < 0.2 * found["usual"] and found["gp"] < found["random"]
    assert found["inverted"] < 0.5 * found["eta 1"] and found["eta"] > 1


@pytest.mark.slow
def test_a_controller_keeps_its_limits(client: asktell.Client) -> None:
    found = quick(client, "controller_tuning")
    assert found["config feasible"] == 1
    assert found["config"] < 0.3 * found["careful"]


@pytest.mark.slow
def test_a_simulator_is_fitted_to_a_measured_curve(client: asktell.Client) -> None:
    found = quick(client, "simulator_fit")
    assert found["gp off"] < 0.1 and found["gp"] < 2
    assert found["eki off"] < 0.2 and found["eki"] < 0.1 * found["random"]


@pytest.mark.slow
def test_demonstrations_are_chosen_and_ordered(client: asktell.Client) -> None:
    pytest.importorskip("sklearn")
    found = quick(client, "demonstrations")
    assert found["annealing searched"] < found["random searched"]
    assert found["annealing"] < 0.9 * found["first"]
