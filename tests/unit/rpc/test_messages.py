"""The converter between protos and documents."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st

from api.rpc.filling import write
from api.rpc.messages import check_known, read, take
from asktell.v1 import study_pb2, suggester_pb2, trial_pb2
from services.domain.document import canonical
from services.domain.errors import Invalid
from services.domain.study import StudySpec
from services.domain.suggester import Honours
from services.domain.trial import AskRequest, Outcome, Report, SuggestedBy, Trial, TrialState
from tests.support.builders import EVERY_TYPE, EVERY_VALUE, study_document

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
WHOLE = st.integers(-(2**53), 2**53)
SCALARS = st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)
OF_ASK = frozenset({"study", "request_id"})
OF_TRIAL = frozenset({"study", "number", "request_id"})
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def a_trial(**fields: Any) -> Trial:
    usual: dict[str, Any] = {
        "study": "s",
        "number": 17,
        "state": TrialState.RUNNING,
        "parameters": EVERY_VALUE,
        "suggested_by": SuggestedBy(suggester="gp", reason="why not", seen_seq=0),
        "seq": 4,
        "created_at": NOW,
    }
    return Trial(**usual | fields)


def test_a_study_of_every_parameter_type_reads_as_its_json_does() -> None:
    document = study_document(
        parameters=EVERY_TYPE,
        constraints=[{"metric": "latency", "max": 0}],
        limits={"max_trials": 200, "max_seconds": 1.5},
        early_stopping={"rule": "median", "percentile": 30},
        examples={"validation": ["a", "b"]},
        labels={"team": "vision"},
        metadata={"deep": [{"n": None}, 1, 2.5, True]},
    )
    assert read(write(study_pb2.Study, document), StudySpec) == StudySpec.read(canonical(document))


def test_a_document_and_its_json_give_the_same_message() -> None:
    trial = a_trial(worker="w", std={"loss": 0.1}, feasible=False, finished_at=NOW)
    assert write(trial_pb2.Trial, trial) == write(trial_pb2.Trial, trial.wire())


def test_a_trial_comes_back_as_it_went() -> None:
    trial = a_trial(
        metrics={"loss": 0.25}, worker="w", attempt=2, labels={"a": "b"}, metadata={"k": [1, None]}, cost=0.0
    )
    assert Trial.model_validate_json(canonical(take(write(trial_pb2.Trial, trial)))) == trial


def test_states_are_the_short_words_of_the_contract() -> None:
    message = write(trial_pb2.Trial, a_trial())
    assert message.state == trial_pb2.TRIAL_STATE_RUNNING
    assert take(message)["state"] == "running"


def test_times_are_rfc_3339_to_the_microsecond() -> None:
    assert take(write(trial_pb2.Trial, a_trial()))["created_at"] == "2026-01-02T03:04:05.678901Z"


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)), st.integers(-12, 12))
def test_times_survive_in_any_zone(moment: datetime, hours: int) -> None:
    there = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    message = write(trial_pb2.Measurement, {"created_at": there})
    assert datetime.fromisoformat(take(message)["created_at"]) == there


def test_what_is_absent_takes_the_documents_default_and_what_is_zero_is_judged() -> None:
    assert read(trial_pb2.AskTrialsRequest(study="s"), AskRequest, OF_ASK) == AskRequest()
    with pytest.raises(Invalid) as caught:
        read(trial_pb2.AskTrialsRequest(study="s", count=0), AskRequest, OF_ASK)
    assert caught.value.errors[0].pointer == "/count"


def test_a_report_at_step_zero_is_not_one_without_a_step() -> None:
    assert read(trial_pb2.ReportTrialRequest(step=0, metrics={"a": 1}), Report, OF_TRIAL).step == 0
    with pytest.raises(Invalid) as caught:
        read(trial_pb2.ReportTrialRequest(metrics={"a": 1}), Report, OF_TRIAL)
    assert [e.pointer for e in caught.value.errors] == ["/step"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_its_place(value: float) -> None:
    with pytest.raises(Invalid) as caught:
        read(trial_pb2.TellTrialRequest(metrics={"a.b": value}, cost=value), Outcome, OF_TRIAL)
    assert {e.pointer for e in caught.value.errors} == {"/metrics/a.b", "/cost"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_so_is_one_inside_a_free_value(value: float) -> None:
    message = trial_pb2.NewTrial()
    message.parameters["a/b"].list_value.values.add(number_value=1)
    message.parameters["a/b"].list_value.values.add(number_value=value)
    message.metadata.fields["deep"].struct_value.fields["x"].number_value = value
    with pytest.raises(Invalid) as caught:
        take(message)
    assert {e.pointer for e in caught.value.errors} == {"/parameters/a~1b/1", "/metadata/deep/x"}


def test_a_value_that_says_nothing_is_refused() -> None:
    message = trial_pb2.NewTrial()
    message.parameters["x"].SetInParent()
    with pytest.raises(Invalid, match="/parameters/x"):
        take(message)


def test_a_time_that_no_calendar_knows_is_refused() -> None:
    message = study_pb2.Study(name="s")
    message.created_at.seconds = 2**60
    with pytest.raises(Invalid, match="/created_at"):
        take(message)


def test_an_enum_value_of_a_newer_client_is_refused_by_its_place() -> None:
    message = trial_pb2.TellTrialRequest(metrics={"a": 1})
    message.state = 77  # type: ignore[assignment]
    with pytest.raises(Invalid) as caught:
        read(message, Outcome, OF_TRIAL)
    assert caught.value.errors[0].pointer == "/state"


def test_what_the_server_chooses_cannot_be_sent() -> None:
    document = study_document()
    message = write(study_pb2.Study, document)
    message.seq = 5
    with pytest.raises(Invalid) as caught:
        read(message, StudySpec)
    assert [e.pointer for e in caught.value.errors] == ["/seq"]


def test_unknown_fields_are_refused_at_any_depth() -> None:
    outcome = trial_pb2.NumberedOutcome(number=1, metrics={"a": 1}).SerializeToString() + b"\xaa\x1f\x03abc"
    raw = trial_pb2.TellTrialsRequest(study="s").SerializeToString() + bytes([0x12, len(outcome)]) + outcome
    message = trial_pb2.TellTrialsRequest.FromString(raw)
    assert len(UnknownFieldSet(message.outcomes[0])) == 1
    with pytest.raises(Invalid, match="newer"):
        check_known(message)
    check_known(trial_pb2.TellTrialsRequest(study="s"))


@given(st.dictionaries(TEXTS, JSON, max_size=4))
def test_any_json_object_comes_back_equal(value: dict[str, Any]) -> None:
    assert take(write(study_pb2.Study, {"metadata": value})).get("metadata", {}) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_whole_numbers_are_ints_and_no_number_changes(value: float) -> None:
    found = take(write(study_pb2.Study, {"metadata": {"x": value}}))["metadata"]["x"]
    assert found == value
    assert isinstance(found, int) == (value.is_integer() and abs(value) <= 2**53)


def test_a_whole_number_beyond_all_doubles_does_not_break_the_answer() -> None:
    assert take(write(study_pb2.Study, {"metadata": {"big": 10**400}}))["metadata"]["big"] == str(10**400)


def test_empty_messages_and_lists_inside_are_kept_apart_from_absent_ones() -> None:
    message = write(study_pb2.Study, {"trial_counts": {}, "metadata": {"a": [], "b": {}, "c": None}})
    assert message.HasField("trial_counts")
    assert take(message)["metadata"] == {"a": [], "b": {}, "c": None}


def test_sets_are_written_in_order() -> None:
    message = write(suggester_pb2.Honours, Honours(types=frozenset({"int", "float", "bool"})))
    assert list(message.types) == ["bool", "float", "int"]


def test_many_are_written_as_each_is_alone() -> None:
    lease, shared = NOW + timedelta(hours=1), SuggestedBy(suggester="es", reason="generation 3", seen_seq=9)
    packed = {"w": {"float32": "AACAPwAAAEA="}}
    trials = [
        a_trial(
            number=n,
            seq=3 * n,
            parameters=packed if n % 7 == 0 else EVERY_VALUE,
            suggested_by=shared if n % 5 else SuggestedBy(suggester="gp", reason=f"{n}"),
            worker=None if n == 30 else "w",
            lease_expires_at=lease if n != 40 else None,
            metrics={"loss": n / 3} if n % 2 else {},
            attempt=1,
        )
        for n in range(1, 60)
    ]
    for part in (trials, [t for t in trials if t.parameters is packed] * 4, trials[:3]):
        together = write(trial_pb2.EvaluateResponse, {"trials": part})
        assert list(together.trials) == [write(trial_pb2.Trial, trial) for trial in part]


def test_many_of_several_kinds_are_written_as_each_is_alone() -> None:
    kinds: list[dict[str, Any]] = [{"type": "float", "min": 0, "max": 1}, {"type": "bool"}, *EVERY_TYPE[:-1]]
    many = [kinds[n % len(kinds)] | {"name": f"p{n}"} for n in range(3 * len(kinds))]
    spec = StudySpec.read(canonical(study_document(parameters=many)))
    written = write(study_pb2.Study, spec)
    assert list(written.parameters) == [write(study_pb2.Parameter, parameter) for parameter in spec.parameters]
    assert read(written, StudySpec) == spec
