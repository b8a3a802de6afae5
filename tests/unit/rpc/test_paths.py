"""Every REST call has its rpc, with the same path, and the other way round."""

from __future__ import annotations

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor

from api.rest import events, operations, studies, suggesters, trials
from api.rpc.server import FILES

STREAM_ONLY = {"Evaluate"}
# REST tells these two apart by the body.
SHARED_PATH = {"CreateTrials": "CreateTrial"}


def methods() -> dict[str, MethodDescriptor]:
    services = [service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()]
    return {method.name: method for service in services for method in service.methods}


def http(method: MethodDescriptor) -> tuple[str, str]:
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    return verb.upper(), getattr(rule, verb)


def test_rest_and_grpc_have_the_same_calls_at_the_same_paths() -> None:
    rest = {
        (operation.method, "/v1" + operation.path)
        for module in (studies, trials, operations, suggesters, events)
        for operation in module.routes.operations
    }
    assert {http(method) for name, method in methods().items() if name not in STREAM_ONLY} == rest


def test_two_calls_share_a_path_only_where_the_body_tells_them_apart() -> None:
    seen: dict[tuple[str, str], str] = {}
    shared = {}
    for name, method in methods().items():
        if name not in STREAM_ONLY and seen.setdefault(http(method), name) != name:
            shared[name] = seen[http(method)]
    assert shared == SHARED_PATH


def test_every_call_that_changes_something_can_be_retried_safely() -> None:
    changing = {name: m for name, m in methods().items() if name not in STREAM_ONLY and http(m)[0] in ("POST", "PATCH")}
    assert len(changing) > 10
    assert [name for name, m in changing.items() if "request_id" not in m.input_type.fields_by_name] == []


def test_path_variables_are_fields_of_the_request() -> None:
    for name, method in methods().items():
        if name in STREAM_ONLY:
            continue
        variables = [part.split("}")[0] for part in http(method)[1].split("{")[1:]]
        assert set(variables) <= set(method.input_type.fields_by_name), name
