"""Every setting of a server, with its environment variable `ASKTELL_<NAME>`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MEBIBYTE = 2**20


class Settings(BaseSettings):
    """What a server can be told. The command line wins over the environment, the environment over the defaults."""

    model_config = SettingsConfigDict(env_prefix="ASKTELL_", extra="ignore")

    database: str = Field("sqlite:///asktell.db", description="sqlite:///path or postgresql://user@host/name")
    database_file: Path | None = Field(None, description="A file that holds the database URL (for mounted secrets).")
    redis: str | None = Field(None, description="redis://host for wake-ups between processes; in-process without it.")
    workers: Literal["local", "ray", "none"] = Field("local", description="Where suggestions are computed.")
    ray_address: str | None = Field(
        None, description="A Ray cluster to join; with workers=ray one is started without it."
    )
    processes: int | None = Field(None, ge=1, le=256, description="Local suggester processes; as many as cores.")
    memory_limit_mib: int = Field(4096, ge=256, description="A suggester process above this is ended.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="REST port; 0 takes a free one.")
    grpc_port: int = Field(50051, ge=-1, le=65535, description="gRPC port; 0 takes a free one, -1 serves none.")
    insecure: bool = Field(False, description="Listen beyond loopback without keys.")
    max_body_mib: float = Field(8.0, gt=0, le=1024, description="Largest request body.")
    rate_per_second: float = Field(0.0, ge=0, description="Requests a project may make per second; 0 for no limit.")
    rate_burst: int = Field(1000, ge=1, description="Requests a project may make at once.")
    connections: int = Field(8, ge=1, le=100, description="Database connections for writing, and as many for reading.")
    migrate: bool | None = Field(None, description="Bring the database up to date at start; on for SQLite.")
    access_log: bool = Field(True, description="Log a line for each request.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least important line to log.")

    @property
    def database_url(self) -> str:
        """Where the database is."""
        return self.database_file.read_text().strip() if self.database_file else self.database

    @property
    def max_body(self) -> int:
        """Largest request body in bytes."""
        return int(self.max_body_mib * MEBIBYTE)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")
