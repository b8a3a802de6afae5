"""The gRPC server: servicers, what surrounds each call, reflection and health."""

from __future__ import annotations

import ipaddress

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from asktell.v1 import (
    operation_pb2,
    operation_pb2_grpc,
    study_pb2,
    study_pb2_grpc,
    suggester_pb2,
    suggester_pb2_grpc,
    trial_pb2,
    trial_pb2_grpc,
)
from services.container import Services

from .calls import Edge
from .evaluation import Releases
from .operations import Operations
from .studies import Studies
from .suggesters import Suggesters
from .trials import Trials

MEBIBYTE = 2**20
FILES = (study_pb2, trial_pb2, operation_pb2, suggester_pb2)
NAMES = tuple(service.full_name for file in FILES for service in file.DESCRIPTOR.services_by_name.values())
_SERVING = health_pb2.HealthCheckResponse.SERVING

KEEP_ALIVE = {
    # A client that vanished without a word is noticed within 40 seconds, and its streams end.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.keepalive_permit_without_calls": 0,
    "grpc.http2.max_pings_without_data": 0,
    # Clients may look after their own streams as often.
    "grpc.http2.min_recv_ping_interval_without_data_ms": 10_000,
}


def build_server(services: Services, *, max_message_bytes: int = 8 * MEBIBYTE, access_log: bool = True) -> GrpcServer:
    """A gRPC server over the use cases, not yet started.

    Args:
        max_message_bytes: largest request; answers are not limited.
        access_log: log a line for each call.
    """
    return GrpcServer(services, max_message_bytes, access_log=access_log)


class GrpcServer:
    """Serves the contract over gRPC between `start` and `stop`."""

    def __init__(self, services: Services, max_message_bytes: int, *, access_log: bool) -> None:
        self._services = services
        self._edge = Edge(services, access_log=access_log)
        self._releases = Releases(services.leases)
        self._health = health.HealthServicer()
        self._options = {
            "grpc.max_receive_message_length": max_message_bytes,
            "grpc.max_send_message_length": -1,
            # Two servers on one port would each get some of the calls: the second must fail instead.
            "grpc.so_reuseport": 0,
            **KEEP_ALIVE,
        }
        self._server: grpc.aio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen and answer.

        Args:
            port: 0 for any free one.

        Returns:
            The port.

        Raises:
            OSError: the address is taken or not of this machine.
        """
        server = grpc.aio.server(interceptors=[self._edge], options=list(self._options.items()))
        self._add_services(server)
        address = f"[{host}]:{port}" if _is_v6(host) else f"{host}:{port}"
        try:
            bound = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from None
        await server.start()
        for name in ("", *NAMES):
            await self._health.set(name, _SERVING)
        self._server = server
        return bound

    def _add_services(self, server: grpc.aio.Server) -> None:
        study_pb2_grpc.add_StudiesServicer_to_server(Studies(self._services), server)
        trial_pb2_grpc.add_TrialsServicer_to_server(Trials(self._services, self._releases), server)
        operation_pb2_grpc.add_OperationsServicer_to_server(Operations(self._services), server)
        suggester_pb2_grpc.add_SuggestersServicer_to_server(Suggesters(self._services), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*NAMES, HEALTH, reflection.SERVICE_NAME), server)

    async def stop(self, grace: float) -> None:
        """Stop: health says so first, streams end, other calls have `grace` seconds, what streams held is handed back."""
        if self._server is None:
            return
        await self._health.enter_graceful_shutdown()
        self._edge.end_streams()
        await self._server.stop(grace)
        await self._releases.finish()
        self._server = None


def _is_v6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
