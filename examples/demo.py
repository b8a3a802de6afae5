"""The whole story in one command: start a service, tune a model against it, stop the service.

Needs asktell-server and scikit-learn; leaves nothing behind.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

TUNE = Path(__file__).parent / "tune_sklearn.py"
START_SECONDS = 60


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    """Wait for the service.

    Raises:
        SystemExit: it ended, or is not ready in time.
    """
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=5) as client:
        while time.monotonic() < deadline:
            if server.poll() is not None:
                raise SystemExit(f"the service ended with exit code {server.returncode}")
            try:
                if client.get(url + "/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    raise SystemExit(f"the service is not ready after {START_SECONDS} s")


def main() -> int:
    """Run the demonstration."""
    trials = sys.argv[1] if len(sys.argv) > 1 else "40"
    url = f"http://127.0.0.1:{(port := free_port())}"
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    environment.pop("ASKTELL_API_KEY", None)
    with tempfile.TemporaryDirectory(prefix="asktell-demo-") as folder:
        serve = [
            sys.executable, "-m", "asktell.cli", "serve", "--database", f"sqlite:///{folder}/demo.db",
            "--port", str(port), "--grpc-port", "0", "--no-access-log", "--log-level", "warning",
        ]  # fmt: skip
        print(f"$ asktell serve --database sqlite:///demo.db --port {port}", flush=True)
        server = subprocess.Popen(serve, env=environment)
        try:
            wait_until_ready(server, url)
            print(f"$ python examples/tune_sklearn.py --url {url} --trials {trials}", flush=True)
            return subprocess.run(
                [sys.executable, str(TUNE), "--url", url, "--trials", trials], env=environment
            ).returncode
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


if __name__ == "__main__":
    sys.exit(main())
