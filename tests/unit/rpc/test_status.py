"""Every kind of error has its code, and the details that let a client act."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from api.rpc.status import CODES, code_of, field_path, status_of
from services.domain.errors import AsktellError, Conflict, Exhausted, FieldError, Invalid, NotActive, NotFound, kinds


def details(status: grpc.Status) -> status_pb2.Status:
    trailers = dict(status.trailing_metadata or ())
    return status_pb2.Status.FromString(trailers["grpc-status-details-bin"])


def unpack(packed: list[Packed], kind: type[Any]) -> Any:
    for item in packed:
        found = kind()
        if item.Unpack(found):
            return found
    return None


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_has_a_row_in_the_table(kind: type[AsktellError]) -> None:
    status = status_of(kind("went wrong"))
    assert status.code is CODES[kind.kind]
    assert status.details == "went wrong"


def test_a_row_stands_for_a_kind() -> None:
    assert set(CODES) == {kind.kind for kind in kinds()}


def test_the_kind_and_the_domain_are_in_the_error_info() -> None:
    info = unpack(list(details(status_of(NotFound("no such study"))).details), error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, info.metadata["kind"]) == ("NOT_FOUND", "asktell", "not-found")


def test_a_name_taken_is_already_exists_and_another_outcome_is_a_failed_precondition() -> None:
    assert code_of(Conflict("taken"), "/asktell.v1.Studies/CreateStudy") is grpc.StatusCode.ALREADY_EXISTS
    assert code_of(Conflict("told"), "/asktell.v1.Trials/TellTrial") is grpc.StatusCode.FAILED_PRECONDITION
    assert code_of(NotActive("full"), "/asktell.v1.Trials/CreateTrial") is grpc.StatusCode.FAILED_PRECONDITION


def test_each_place_that_is_wrong_is_a_field_violation() -> None:
    error = Invalid("two", errors=[FieldError("/parameters/0/max", "too low"), FieldError("/metrics/a.b", "missing")])
    bad = unpack(list(details(status_of(error)).details), error_details_pb2.BadRequest)
    assert [(v.field, v.description) for v in bad.field_violations] == [
        ("parameters[0].max", "too low"),
        ('metrics["a.b"]', "missing"),
    ]


def test_a_retry_delay_is_told_where_waiting_helps() -> None:
    packed = list(details(status_of(Exhausted("slow down", retry_after=2.5))).details)
    assert unpack(packed, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 2500
    assert unpack(list(details(status_of(Invalid("no"))).details), error_details_pb2.RetryInfo) is None


@pytest.mark.parametrize(
    ("pointer", "path"),
    [
        ("", ""),
        ("/name", "name"),
        ("/a/0/b", "a[0].b"),
        ("/metrics/val~1loss", 'metrics["val/loss"]'),
        ("/m/é", 'm["\\u00e9"]'),
    ],
)
def test_a_pointer_becomes_a_field_path(pointer: str, path: str) -> None:
    assert field_path(pointer) == path


@given(st.text(max_size=5000), st.lists(st.tuples(st.text(max_size=300), st.text(max_size=3000)), max_size=60))
def test_a_status_never_grows_beyond_what_clients_take(detail: str, errors: list[tuple[str, str]]) -> None:
    text = detail.encode("utf-8", "ignore").decode()
    found = [
        FieldError("/" + p.encode("utf-8", "ignore").decode(), m.encode("utf-8", "ignore").decode()) for p, m in errors
    ]
    status = status_of(Invalid(text or "no", errors=found))
    blob = dict(status.trailing_metadata or ())["grpc-status-details-bin"]
    assert len(blob) * 4 / 3 + 1300 < 8192
