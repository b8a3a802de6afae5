"""What the SDK shows is what it names."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import asktell


def test_all_names_every_public_member_and_nothing_else() -> None:
    public = {
        name for name, member in vars(asktell).items() if not name.startswith("_") and not inspect.ismodule(member)
    }
    assert sorted(asktell.__all__) == sorted(public)


def test_importing_the_sdk_loads_nothing_heavy() -> None:
    code = "import asktell, sys; print([m for m in ('numpy', 'grpc', 'rich', 'typer', 'pydantic') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("client", ["Client", "AsyncClient"])
def test_grpc_without_its_extra_says_what_to_install(client: str) -> None:
    code = f"import sys; sys.modules['grpc'] = None; import asktell; asktell.{client}(transport='grpc')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stderr.splitlines()[-1].endswith('pip install "asktell[grpc]"')


def test_blocking_and_asyncio_offer_the_same() -> None:
    for plain, other in (
        (asktell.Client, asktell.AsyncClient),
        (asktell.Study, asktell.AsyncStudy),
        (asktell.Trial, asktell.AsyncTrial),
    ):
        assert _public(plain) == _public(other)


def _public(kind: type) -> dict[str, list[str]]:
    found = {}
    for name in dir(kind):
        if not name.startswith("_"):
            member = inspect.getattr_static(kind, name)
            found[name] = list(inspect.signature(member).parameters) if inspect.isfunction(member) else []
    return found
