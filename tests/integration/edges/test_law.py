"""The law of edges: the same story, told to REST and to gRPC, has the same answers, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.caller import Caller, Role
from services.limits import LocalLimits
from tests.support.builders import EVERY_TYPE, EVERY_VALUE
from tests.support.edges import Answer

# What no two worlds have in common: times, and ids that are drawn.
OWN = {"id", "created_at", "updated_at", "started_at", "finished_at", "lease_expires_at"}


@dataclass(frozen=True)
class Step:
    """A request, and the kind of error that is expected (none, if empty)."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    kind: str = ""
    key: str = ""
    etag: str = ""
    places: Sequence[str] = ()
    replayed: bool = False
    secret: str = field(default="", repr=False)


def plain(value: Any, name: str = "") -> Any:
    if name == "next_page_token":
        return bool(value)  # it holds an id
    if isinstance(value, dict):
        return {key: plain(item, key) for key, item in value.items() if key not in OWN}
    if isinstance(value, list):
        return sorted(value) if name == "types" else [plain(item) for item in value]  # a set has no order
    return value


def study(name: str = "s", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "parameters": [{"name": "x", "type": "float", "min": 0, "max": 1}],
        "objectives": [{"metric": "loss"}],
        "suggester": {"name": "random"},
        "seed": 7,
    } | fields


def create(name: str = "s", **fields: Any) -> Step:
    return Step("POST", "/studies", study(name, **fields))


def ask(count: int = 1, **fields: Any) -> Step:
    return Step("POST", "/studies/s/trials:ask", {"count": count, "worker": "w", "wait_seconds": 0, **fields})


def tell(number: int, loss: float, kind: str = "", **fields: Any) -> Step:
    return Step("POST", f"/studies/s/trials/{number}:tell", {"metrics": {"loss": loss}, **fields}, kind)


TYPES = [p for p in EVERY_TYPE if p["type"] != "text"]
POINT = {name: value for name, value in EVERY_VALUE.items() if name != "prompt"}
PROMPT = next(p for p in EVERY_TYPE if p["type"] == "text")
TWO = [{"metric": "loss"}, {"metric": "size", "goal": "maximize"}]
ONE_OUTCOME = {"number": 1, "metrics": {"loss": 1.5}}

PACKED = {"name": "w", "type": "vector", "length": 2, "min": -1, "max": 1, "shape": [1, 2], "encoding": "float32"}
HALVES = {"float32": "AAAAPwAAAL8="}
THETA = {"name": "theta", "type": "vector", "encoding": "seed", "shape": {"w": [3, 2], "b": [3]}}
SEED = {"theta_version": 0, "generation": 0, "pair": 0, "sign": 0, "seed": [1, 4294967295], "sigma": 0.1}
UPDATES = "/studies/s/updates"

STORIES: dict[str, list[Step]] = {
    "packed vectors": [
        create(parameters=[PACKED, {"name": "x", "type": "float", "min": 0, "max": 1}]),
        ask(2),
        Step("POST", "/studies/s/trials", {"parameters": {"w": [0.5, -0.5], "x": 0}}),
        Step("POST", "/studies/s/trials", {"parameters": {"w": HALVES, "x": 0}, "metrics": {"loss": 1}}),
        Step("POST", "/studies/s/trials", {"parameters": {"w": {"float64": "AA=="}, "x": 0}}, "invalid"),
        Step("POST", "/studies/s/trials", {"parameters": {"w": {"float32": "AAAAPw=="}, "x": 0}}, "invalid"),
        Step("POST", "/studies/s/trials", {"parameters": {"w": {"float32": "AADAfwAAAAA="}, "x": 0}}, "invalid"),
        Step("POST", "/studies/s/trials", {"parameters": {"w": [3, 0], "x": 0}}, "invalid"),
        Step("GET", "/studies/s"),
        Step("GET", "/studies/s/trials"),
    ],
    "vectors that stay with the client": [
        create(parameters=[THETA], suggester={"name": "es", "options": {"pairs": 4, "noise": "popcount"}}),
        Step("GET", UPDATES),
        Step("GET", f"{UPDATES}?from=3&limit=5"),
        Step("GET", f"{UPDATES}?from=-1", kind="invalid"),
        Step("GET", f"{UPDATES}?limit=0", kind="invalid"),
        Step("GET", "/studies/nobody/updates", kind="not-found"),
        Step("POST", "/studies/s/trials", {"parameters": {"theta": SEED}, "metrics": {"loss": 1}}),
        Step("POST", "/studies/s/trials", {"parameters": {"theta": {**SEED, "pair": -1}}}, "invalid"),
        Step("POST", "/studies/s/trials", {"parameters": {"theta": SEED}}),
        Step("POST", "/studies/s/trials", {"parameters": {"theta": SEED}}),
        tell(2, 0.5, fingerprint="0123456789abcdef"),
        tell(3, 0.5, "invalid", fingerprint="short"),
        Step("PATCH", "/studies/s", {"suggester": {"options": {"pairs": 8}}}, "conflict"),
        Step("POST", "/studies", study("t", parameters=[THETA], suggester={"name": "random"}), "invalid"),
        Step("POST", "/studies", study("t", parameters=[{**THETA, "shape": [0]}], suggester={"name": "es"}), "invalid"),
        create("plain"),
        Step("GET", "/studies/plain/updates", kind="invalid"),
    ],
    "residuals and brief answers": [
        create(),
        ask(2),
        tell(1, 0.5, residual=[0.5, -1, 2]),
        tell(1, 0.5, "conflict", residual=[0.5, -1, 3]),
        Step("POST", "/studies/s/trials:tell", {"outcomes": [{**ONE_OUTCOME, "number": 2}], "brief": True}),
        Step("POST", "/studies/s/trials", {"parameters": {"x": 0}, "metrics": {"loss": 1}, "residual": [1]}),
        Step("GET", "/studies/s/trials"),
    ],
    "what a method learns from beside values": [
        create(
            parameters=[{"name": "w", "type": "vector", "length": 2, "min": -1, "max": 1}],
            suggester={"name": "zo", "options": {"estimator": "residual"}},
        ),
        ask(3),
        Step("POST", "/studies/s/trials/1:tell", {"metrics": {"loss": 1}}, "invalid", places=["residual"]),
        tell(1, 0.5, "invalid", residual=[1]),
        tell(1, 0.5, residual=[0.5, -1]),
        tell(2, 0, state="infeasible"),
        Step("POST", "/studies/s/trials:tell", {"outcomes": [{**ONE_OUTCOME, "number": 3}]}),
        Step("POST", "/studies/s/trials", {"parameters": {"w": [0, 0]}, "metrics": {"loss": 1}}),
        Step("GET", "/studies/s/trials"),
    ],
    "asking and telling": [
        create(),
        ask(),
        tell(1, 0.5),
        tell(1, 0.5),
        tell(1, 0.6, "conflict"),
        ask(3),
        tell(2, 0.25, std={"loss": 0.1}, feedback="fine", elapsed_seconds=2.5, cost=0.0),
        tell(3, 0, state="failed"),
        tell(4, 0, state="infeasible"),
        tell(9, 0, "not-found"),
        Step("GET", "/studies/s/best"),
        Step("GET", "/studies/s/trials"),
        Step("GET", "/studies/s/trials?state=completed&order_by=-number&page_size=1"),
        Step("GET", "/studies/s/trials/2"),
        Step("GET", "/studies/s/trials/77", kind="not-found"),
        Step("GET", "/studies/s/trials/2:receipt"),
        Step("GET", "/studies/s:diagnose"),
        Step("GET", "/studies/nobody:diagnose", kind="not-found"),
        Step("GET", "/studies/s"),
    ],
    "every parameter type": [
        create(parameters=TYPES, parameter_constraints=["layers * lr <= 0.2"], labels={"a": "b"}, metadata={"k": [1]}),
        ask(2),
        Step("POST", "/studies/s/trials", {"parameters": POINT, "labels": {"by": "hand"}}),
        Step("POST", "/studies/s/trials", {"parameters": {**POINT, "layers": 99}}, "invalid"),
        Step("POST", "/studies/s/trials", {"parameters": {}}, "invalid"),
        Step("POST", "/studies/s/trials", {"trials": [{"parameters": POINT, "metrics": {"loss": 1}}] * 2}),
        Step("POST", "/studies/s/trials", {"trials": [{"parameters": POINT}, {"parameters": {"lr": 9}}]}, "invalid"),
        ask(),
        Step("GET", "/studies/s"),
    ],
    "wrong studies": [
        Step("POST", "/studies", {"name": "s"}, "invalid", places=["parameters", "objectives"]),
        Step("POST", "/studies", study("a/b"), "invalid", places=["name"]),
        Step(
            "POST",
            "/studies",
            study(objectives=[{"metric": "x", "goal": "up"}]),
            "invalid",
            places=["objectives[0].goal"],
        ),
        Step("POST", "/studies", study(suggester={"name": "nobody"}), "invalid", places=["suggester.name"]),
        Step("POST", "/studies", study(limits={"max_trials": 0}), "invalid", places=["limits.max_trials"]),
        create(),
        Step("POST", "/studies", study(), "conflict"),
        Step("GET", "/studies/none", kind="not-found"),
        Step("GET", "/studies"),
    ],
    "language models": [
        Step("POST", "/studies", study(llm={"profile": "p"}), "invalid", places=["llm"]),
        Step(
            "POST",
            "/studies",
            study(parameters=[PROMPT], suggester={"name": "opro"}),
            "invalid",
            places=["llm.profile"],
        ),
        Step(
            "POST",
            "/studies",
            study(parameters=[PROMPT], suggester={"name": "auto"}, llm={"profile": "nobody", "max_calls": 5}),
            "invalid",
            places=["llm.profile"],
        ),
        Step(
            "POST",
            "/studies",
            study(parameters=[PROMPT], suggester={"name": "plum"}, llm={"concurrency": 65}),
            "invalid",
            places=["llm.concurrency"],
        ),
        create(parameters=[PROMPT]),
        Step("GET", "/suggesters/opro"),
        Step("GET", "/suggesters/plum"),
        Step("PATCH", "/studies/s", {"llm": {"profile": "p"}}, "invalid"),
        Step("GET", "/studies/s"),
    ],
    "a study's life": [
        create(limits={"max_trials": 3, "max_running": 2}, labels={"team": "a"}),
        create("t"),
        Step("GET", "/studies?label=team:a"),
        Step("GET", "/studies?state=paused"),
        Step("GET", "/studies?page_size=1&order_by=-name"),
        Step("GET", "/studies?page_token=nonsense", kind="invalid", places=["page_token"]),
        ask(5),
        Step("POST", "/studies/s/trials:ask", {"wait_seconds": 0}, "not-active"),
        Step("POST", "/studies/s:pause"),
        Step("POST", "/studies/s/trials:ask", {"wait_seconds": 0}, "not-active"),
        Step("POST", "/studies/s:resume"),
        tell(1, 1),
        ask(),
        tell(2, 2),
        tell(3, 3),
        Step("GET", "/studies/s"),
        Step("POST", "/studies/s:resume", kind="conflict"),
        Step("PATCH", "/studies/s", {"limits": {"max_trials": None}, "labels": {"team": None, "new": "x"}}),
        ask(),
        Step("PATCH", "/studies/s", {"seed": 3}, "invalid", places=["seed"]),
        Step("PATCH", "/studies/s", {"metadata": {"a": 1}}, "stale", etag='"1"'),
        Step("POST", "/studies/s:complete"),
        Step("POST", "/studies/s:pause", kind="conflict"),
        Step("DELETE", "/studies/s", kind="stale", etag='"1"'),
        Step("DELETE", "/studies/s"),
        Step("GET", "/studies/s", kind="not-found"),
    ],
    "several objectives and constraints": [
        create(objectives=TWO, constraints=[{"metric": "ms", "max": 20}]),
        ask(3),
        Step("POST", "/studies/s/trials/1:tell", {"metrics": {"loss": 1, "size": 1}}, "invalid", places=["metrics.ms"]),
        Step("POST", "/studies/s/trials/1:tell", {"metrics": {"loss": 1, "size": 1, "ms": 30}}),
        Step("GET", "/studies/s/best"),
        Step("POST", "/studies/s/trials/2:tell", {"metrics": {"loss": 1, "size": 2, "ms": 10}}),
        Step("POST", "/studies/s/trials/3:tell", {"metrics": {"loss": 2, "size": 3, "ms": 10}}),
        Step("GET", "/studies/s/best"),
    ],
    "many outcomes": [
        create(),
        ask(3),
        Step(
            "POST", "/studies/s/trials:tell", {"outcomes": [ONE_OUTCOME, {"number": 2, "metrics": {}}, {"number": 9}]}
        ),
        Step("POST", "/studies/s/trials:tell", {"outcomes": []}, "invalid", places=["outcomes"]),
        Step("POST", "/studies/none/trials:tell", {"outcomes": [ONE_OUTCOME]}, "not-found"),
        Step("GET", "/studies/s/trials"),
    ],
    "leases and reports": [
        create(early_stopping={"rule": "threshold", "max": 1}),
        ask(2),
        Step("POST", "/studies/s/trials/1:report", {"step": 0, "metrics": {"loss": 0.5}}),
        Step("POST", "/studies/s/trials/1:report", {"step": 0, "metrics": {"loss": 0.75}}, "conflict"),
        Step(
            "POST",
            "/studies/s/trials/1:report",
            {"step": 1, "metrics": {"other": 1}},
            "invalid",
            places=["metrics.loss"],
        ),
        Step("POST", "/studies/s/trials/1:report", {"metrics": {"loss": 1}}, "invalid", places=["step"]),
        Step("POST", "/studies/s/trials/1:report", {"step": 1, "metrics": {"loss": 2}}),
        Step("POST", "/studies/s/trials/1:heartbeat", {"lease_seconds": 60}),
        Step("POST", "/studies/s/trials/1:heartbeat", {"lease_seconds": 0}, "invalid", places=["lease_seconds"]),
        tell(1, 2, state="pruned"),
        Step("POST", "/studies/s/trials/1:heartbeat", {}, "conflict"),
        Step("POST", "/studies/s/trials/2:release"),
        ask(resume=True),
        Step("POST", "/studies/s/trials/2:cancel"),
        Step("POST", "/studies/s/trials/2:release", kind="conflict"),
        Step("PATCH", "/studies/s/trials/1", {"labels": {"a": "b"}, "metadata": {"deep": {"x": None, "y": 1}}}),
        Step("GET", "/studies/s/trials/1"),
    ],
    "examples": [
        create(examples={"train": ["a"], "validation": ["v", "w"]}),
        ask(),
        tell(1, 1, "invalid"),
        tell(1, 1, examples=[{"id": "v", "score": 0}, {"id": "w", "score": 1, "output": "o", "feedback": "f"}]),
        Step("GET", "/studies/s/best"),
    ],
    "retries": [
        Step("POST", "/studies", study(), key="k1"),
        Step("POST", "/studies", study(), key="k1", replayed=True),
        Step("POST", "/studies", study("other"), "conflict", key="k1"),
        Step("POST", "/studies/s/trials:ask", {"wait_seconds": 0}, key="k2"),
        Step("POST", "/studies/s/trials:ask", {"wait_seconds": 0}, key="k2", replayed=True),
        Step("POST", "/studies/s/trials:ask", {"wait_seconds": 0, "count": 2}, "conflict", key="k2"),
        Step("POST", "/studies/s/trials/1:tell", {"metrics": {"loss": 1}}, key="k3"),
        Step("POST", "/studies/s/trials/1:tell", {"metrics": {"loss": 1}}, key="k3", replayed=True),
        Step("POST", "/studies/s:pause", key="x" * 256, kind="invalid"),
        Step("GET", "/studies/s/trials"),
    ],
    "the catalogue and operations": [
        Step("GET", "/suggesters"),
        Step("GET", "/suggesters/random"),
        Step("GET", "/suggesters/nobody", kind="not-found"),
        Step("GET", "/operations/op_none", kind="not-found"),
        Step("GET", "/operations/op_none?wait_seconds=601", kind="invalid", places=["wait_seconds"]),
    ],
}


async def told(worlds: Any, step: Step) -> list[Answer]:
    return [
        await world.edge.call(step.method, step.path, step.body, key=step.key, etag=step.etag, secret=step.secret)
        for world in worlds
    ]


@pytest.mark.parametrize("story", STORIES)
async def test_rest_and_grpc_tell_the_same_story(worlds: Any, story: str) -> None:
    for number, step in enumerate(STORIES[story]):
        rest, rpc = await told(worlds, step)
        where = f"step {number}: {step.method} {step.path}"
        assert (rest.kind, rpc.kind) == (step.kind, step.kind), where
        assert set(rest.places) == set(rpc.places), where
        assert set(step.places) <= set(rpc.places), where
        assert (rest.replayed, rpc.replayed) == (step.replayed, step.replayed), where
        assert plain(rest.body) == plain(rpc.body), where


async def test_keys_open_the_same_doors(worlds: Any) -> None:
    await told(worlds, create())
    secrets = []
    for project, role in (("default", "reader"), ("other", "admin")):
        made = [await w.services.keys.create(Caller(project, Role.ADMIN), project, role) for w in worlds]
        secrets.append([key.secret for key in made])
    doors = [
        (["", ""], Step("GET", "/studies"), "unauthenticated"),
        (["ak_wrong", "ak_wrong"], Step("GET", "/studies"), "unauthenticated"),
        (secrets[0], Step("GET", "/studies/s"), ""),
        (secrets[0], ask(), "forbidden"),
        (secrets[1], Step("GET", "/studies/s"), "not-found"),
        (secrets[1], create(), ""),
    ]
    for who, step, kind in doors:
        for world, secret in zip(worlds, who, strict=True):
            answer = await world.edge.call(step.method, step.path, step.body, secret=secret)
            assert answer.kind == kind, step


async def test_rates_are_kept_alike(worlds: Any) -> None:
    for world in worlds:
        world.services.limits = LocalLimits(per_second=0.001, burst=2)
        kinds = [(await world.edge.call("GET", "/studies")).kind for _ in range(3)]
        assert kinds == ["", "", "exhausted"]
