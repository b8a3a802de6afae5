"""Keys and projects from the operator's command line to the wire."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.commands import OPERATOR
from services.keys import Keys
from services.store.engine import Database
from services.transactions import Transactions
from services.wakeups import LocalWakeups
from tests.support.builders import study_document
from tests.support.databases import fresh
from tests.support.servers import Server, free_port, wait_for


def asktell(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line."""
    command = [sys.executable, "-m", "asktell.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


ROLES = [("vision", role) for role in ("reader", "worker", "writer", "admin")] + [("speech", "admin")]


async def make_keys(database: str) -> list[str]:
    """A key of each project and role; their secrets. The command line, which takes a second for each, makes those of the tests."""
    transactions = Transactions(Database(database), LocalWakeups())
    try:
        made = [await Keys(transactions).create(OPERATOR, project, role, "", None) for project, role in ROLES]
        return [str(key.secret) for key in made if key is not None]
    finally:
        await transactions.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str, dict[str, str]]]:
    """A server with keys: of two projects, of each role."""
    database = fresh(tmp_path_factory.mktemp("keys"))
    names = ("reader", "worker", "writer", "admin", "other")
    keys = dict(zip(names, asyncio.run(make_keys(database)), strict=True))
    server = Server(database, "--workers", "none").start()
    yield server, database, keys
    server.stop()


def client(server: Server, secret: str | None) -> httpx.Client:
    """HTTP with a key."""
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return httpx.Client(base_url=server.url + "/v1", headers=headers, timeout=30, verify=False)  # without TLS: 30 ms


def test_without_a_key_nothing_answers_but_health(guarded: tuple[Server, str, dict[str, str]]) -> None:
    server, _, _ = guarded
    for secret in (None, "wrong", "ak_wrong"):
        answer = client(server, secret).get("/studies")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert httpx.get(server.url + "/healthz").status_code == 200


def test_each_role_does_what_it_may_and_no_more(guarded: tuple[Server, str, dict[str, str]]) -> None:
    server, _, keys = guarded
    document = study_document(name="roles")
    assert client(server, keys["worker"]).post("/studies", json=document).status_code == 403
    assert client(server, keys["writer"]).post("/studies", json=document).status_code == 201
    assert client(server, keys["reader"]).get("/studies/roles").status_code == 200
    assert client(server, keys["reader"]).post("/studies/roles/trials:ask").status_code == 403
    assert client(server, keys["worker"]).post("/studies/roles/trials:ask").status_code == 200
    assert client(server, keys["worker"]).delete("/studies/roles").status_code == 403


def test_what_another_project_owns_does_not_exist(guarded: tuple[Server, str, dict[str, str]]) -> None:
    server, _, keys = guarded
    ours, theirs = client(server, keys["admin"]), client(server, keys["other"])
    made = ours.post("/studies", json=study_document(name="secret")).json()
    for ref in ("secret", made["id"]):
        for answer in (
            theirs.get(f"/studies/{ref}"),
            theirs.post(f"/studies/{ref}/trials:ask"),
            theirs.get(f"/studies/{ref}/export"),
            theirs.get(f"/studies/{ref}/events"),
            theirs.delete(f"/studies/{ref}"),
        ):
            assert answer.status_code == 404
    assert theirs.get("/studies").json()["studies"] == []
    assert theirs.post("/studies", json=study_document(name="secret")).status_code == 201


def test_a_revoked_key_is_refused_and_none_shows_its_secret(guarded: tuple[Server, str, dict[str, str]]) -> None:
    server, database, _ = guarded
    made = asktell("key", "create", "--database", database, "--project", "vision", "--role", "reader")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    assert client(server, secret).get("/studies").status_code == 200
    listed = asktell("key", "list", "--database", database, "-o", "json")
    assert secret not in listed.stdout
    newest = json.loads(listed.stdout)[-1]["id"]
    assert asktell("key", "revoke", newest, "--database", database).returncode == 0
    wait_for(lambda: client(server, secret).get("/studies").status_code == 401, 15, "the refusal")
    stored = Path(database.removeprefix("sqlite:///")).read_bytes()
    assert secret.encode() not in stored


def test_beyond_loopback_only_with_keys(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/open.db"
    arguments = ("serve", "--database", database, "--host", "0.0.0.0", "--port", str(free_port()), "--grpc-port", "-1")
    refused = asktell(*arguments, "--workers", "none")
    assert refused.returncode != 0
    assert "without keys" in refused.stderr
    first = asktell("key", "create", "--database", database, "--if-none", "--role", "admin")
    assert first.stdout.startswith("ak_")
    assert asktell("key", "create", "--database", database, "--if-none", "--role", "admin").stdout == ""


def test_a_wrong_role_or_project_is_named(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/wrong.db"
    for arguments in (("--role", "root"), ("--project", "a/b")):
        done = asktell("key", "create", "--database", database, *arguments)
        assert done.returncode != 0
        assert done.stderr.startswith("asktell: ")
