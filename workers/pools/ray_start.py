"""Joins a Ray cluster, or starts one on this machine and leaves nothing behind where that fails."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

import psutil

from .runner import SINGLE_THREAD

STORE_BYTES = 256 * 2**20

PRIVATE = {
    "RAY_USAGE_STATS_ENABLED": "0",  # report nothing to anyone
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # a cluster of this machine alone listens on loopback only
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def connected(address: str | None, places: int | None) -> Any:
    """Ray, connected; blocks for some seconds.

    Token authentication needs the same `RAY_AUTH_TOKEN` in every process of a cluster: one that is started here draws
    its own, one that is joined brings it in the environment.
    """
    for name, value in PRIVATE.items():
        if address is None or name != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER":
            os.environ.setdefault(name, value)
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    options: dict[str, Any] = {
        "address": address or "local",
        "namespace": "asktell",
        "log_to_driver": False,
        "configure_logging": False,
        "runtime_env": {"env_vars": dict(SINGLE_THREAD)},
    }
    if address is None:
        options |= {
            "num_cpus": places or os.cpu_count(),
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
        }
    before = children()
    try:
        ray.init(**options)
    except Exception:  # whatever it was: the pool says it and tries again
        end_half_started(before)
        raise
    return ray


def children() -> set[psutil.Process]:
    """Every process below this one."""
    return set(psutil.Process().children(recursive=True))


def end_half_started(before: set[psutil.Process]) -> None:
    """Kill what Ray left running when its start failed, as on a machine so busy that 30 s are too short: with each further try there
    would be more of it.

    Args:
        before: the processes below this one before the start.
    """
    import ray

    home = str(Path(ray.__file__).parent)
    for process in children() - before:
        with contextlib.suppress(psutil.Error):
            if any(part.startswith(home) for part in process.cmdline()):
                process.kill()
