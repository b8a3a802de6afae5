"""What surrounds the calls: keys, rates, sizes, health, reflection, metrics, defects."""

from __future__ import annotations

import asyncio
import socket

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from api.rpc.server import NAMES, GrpcServer, build_server
from asktell.v1 import study_pb2, trial_pb2
from services import metrics
from services.caller import Caller, Role
from services.container import Services
from services.limits import LocalLimits
from tests.support.builders import ADMIN
from tests.support.grpc_client import Client, refused

BOSS = Caller("default", Role.ADMIN)


async def key(services: Services, project: str, role: str) -> tuple[tuple[str, str], ...]:
    made = await services.keys.create(BOSS, project, role)
    assert made is not None
    return (("authorization", f"Bearer {made.secret}"),)


async def test_a_key_is_needed_as_soon_as_there_is_one(client: Client, services: Services) -> None:
    writer = await key(services, "default", "writer")
    request = study_pb2.ListStudiesRequest()
    with refused() as why:
        await client.studies.ListStudies(request)
    assert (why.code, why.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    for header in ("Bearer ak_wrong", "Basic abc", "Bearer", "ak_bare"):
        with refused() as why:
            await client.studies.ListStudies(request, metadata=(("authorization", header),))
        assert why.code is grpc.StatusCode.UNAUTHENTICATED
    await client.studies.ListStudies(request, metadata=writer)


async def test_a_role_reaches_so_far_and_no_further(client: Client, services: Services) -> None:
    name = await client.create()
    reader, worker = await key(services, "default", "reader"), await key(services, "default", "worker")
    wish = trial_pb2.AskTrialsRequest(study=name, wait_seconds=0)
    with refused() as why:
        await client.trials.AskTrials(wish, metadata=reader)
    assert (why.code, why.reason) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")
    await client.trials.AskTrials(wish, metadata=worker)
    stream = client.trials.Evaluate(metadata=reader)
    with refused() as why:
        await stream.write(trial_pb2.EvaluateRequest(study=name))
        await stream.read()
    assert why.code is grpc.StatusCode.PERMISSION_DENIED


async def test_what_another_project_owns_does_not_exist(client: Client, services: Services) -> None:
    name = await client.create()
    stranger = await key(services, "other", "admin")
    with refused() as why:
        await client.studies.GetStudy(study_pb2.GetStudyRequest(study=name), metadata=stranger)
    assert why.code is grpc.StatusCode.NOT_FOUND


async def test_too_many_requests_are_told_when_to_come_back(client: Client, services: Services) -> None:
    services.limits = LocalLimits(per_second=0.5, burst=2)
    request = study_pb2.ListStudiesRequest()
    with refused() as why:
        for _ in range(3):
            await client.studies.ListStudies(request)
    assert (why.code, why.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "EXHAUSTED")
    assert why.retry_ms is not None
    assert 0 < why.retry_ms <= 2000


async def test_a_message_over_the_limit_is_refused_and_stores_nothing(client: Client, services: Services) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.create(metadata={"big": "x" * 2**21})
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not (await client.studies.ListStudies(study_pb2.ListStudiesRequest())).studies


async def test_bytes_that_are_no_message_are_the_clients_fault(client: Client) -> None:
    call = client.channel.unary_unary("/asktell.v1.Studies/CreateStudy")
    for body in (b"\xff\xff\xff", b"\x0a\x03\x0a\x01\xff"):
        with refused() as why:
            await call(body)
        assert (why.code, why.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID")


async def test_a_defect_shows_nothing_of_the_inside(
    client: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("secret path /etc/shadow")

    monkeypatch.setattr(services.studies, "list", broken)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.studies.ListStudies(study_pb2.ListStudiesRequest())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in f"{caught.value.details()}{caught.value.trailing_metadata()}"


async def test_calls_are_counted_by_method_and_code(client: Client) -> None:
    def count(code: str) -> float:
        labels = {"method": "Studies/GetStudy", "code": code}
        return metrics.REGISTRY.get_sample_value("asktell_grpc_requests_total", labels) or 0.0

    before = count("NOT_FOUND"), count("OK")
    name = await client.create()
    await client.studies.GetStudy(study_pb2.GetStudyRequest(study=name))
    with refused():
        await client.studies.GetStudy(study_pb2.GetStudyRequest(study="none"))
    assert (count("NOT_FOUND"), count("OK")) == (before[0] + 1, before[1] + 1)


async def test_health_is_served_without_a_key_until_the_server_stops(
    client: Client, edge: tuple[GrpcServer, str], services: Services
) -> None:
    await key(services, "default", "admin")
    stub = health_pb2_grpc.HealthStub(client.channel)
    for name in ("", *NAMES):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    await edge[0].stop(0.5)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_server_that_stops_sends_its_streams_to_another_one(
    client: Client, edge: tuple[GrpcServer, str]
) -> None:
    name = await client.create()
    events = client.studies.StreamEvents(study_pb2.StreamEventsRequest(study=name))
    await asyncio.wait_for(events.read(), 10)
    trials = client.trials.Evaluate()
    await trials.write(trial_pb2.EvaluateRequest(study=name))
    await asyncio.wait_for(trials.read(), 10)
    await asyncio.wait_for(edge[0].stop(3600), 30)
    for stream in (events, trials):
        with refused() as why:
            while True:
                await asyncio.wait_for(stream.read(), 10)
        assert (why.code, why.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        assert why.retry_ms is not None


async def test_the_protos_can_be_read_from_the_server(client: Client) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = await call.read()
    assert set(NAMES) <= {service.name for service in listed.list_services_response.service}
    await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol="asktell.v1.Trials"))
    assert (await call.read()).file_descriptor_response.file_descriptor_proto
    call.cancel()


async def test_a_port_that_is_taken_is_an_error_not_a_second_server(services: Services) -> None:
    first, second = build_server(services), build_server(services)
    port = await first.start("127.0.0.1", 0)
    with pytest.raises(OSError, match=str(port)):
        await second.start("127.0.0.1", port)
    await first.stop(0)


async def test_a_server_listens_on_ipv6_too(services: Services) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    server = build_server(services, access_log=False)
    try:
        port = await server.start("::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with grpc.aio.insecure_channel(f"[::1]:{port}") as channel:
        assert not (await Client(channel).studies.ListStudies(study_pb2.ListStudiesRequest())).studies
    await server.stop(0)


async def test_what_a_server_wrote_the_use_cases_read(client: Client, services: Services) -> None:
    name = await client.create()
    assert (await services.studies.get(ADMIN, name)).name == name
