"""Protos and pydantic documents say the same, field by field, both ways."""

from __future__ import annotations

import types
import typing
from datetime import datetime
from enum import StrEnum
from typing import Any, get_args, get_origin

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from api.rpc.evaluation import Opening
from asktell.v1 import error_pb2, operation_pb2, study_pb2, suggester_pb2, trial_pb2
from services import answers, pages
from services.domain import calibration, llm, parameters, study, suggester, trial, updates
from services.domain.document import Document
from services.requests import EventsQuery, ExportQuery, NewTrials, UpdatesQuery, WaitQuery

# What says where a request belongs, and is no part of its document.
ENVELOPE = {"study", "number", "request_id"}
PARAMETERS = [get_args(tagged)[0] for tagged in get_args(get_args(parameters.Parameter)[0])]

RESOURCES: list[tuple[type[Message], type[Document]]] = [
    (study_pb2.Study, study.Study),
    (study_pb2.Objective, study.Objective),
    (study_pb2.Constraint, study.Constraint),
    (study_pb2.EarlyStopping, study.EarlyStopping),
    (study_pb2.SuggesterChoice, study.SuggesterChoice),
    (study_pb2.Limits, study.Limits),
    (study_pb2.ExampleSets, study.ExampleSets),
    (study_pb2.LlmChoice, llm.LlmChoice),
    (study_pb2.LlmUsage, llm.LlmUsage),
    (study_pb2.TrialCounts, study.TrialCounts),
    (study_pb2.Event, answers.Event),
    (study_pb2.ListStudiesRequest, pages.ListStudies),
    (study_pb2.ListStudiesResponse, answers.StudyPage),
    (study_pb2.GetBestResponse, answers.BestAnswer),
    (trial_pb2.Trial, trial.Trial),
    (trial_pb2.SuggestedBy, trial.SuggestedBy),
    (trial_pb2.Measurement, trial.Measurement),
    (trial_pb2.EvaluateOn, trial.EvaluateOn),
    (trial_pb2.ExampleResult, trial.ExampleResult),
    (trial_pb2.NumberedOutcome, trial.NumberedOutcome),
    (trial_pb2.NewTrial, trial.NewTrial),
    (trial_pb2.TrialPatch, trial.TrialPatch),
    (trial_pb2.Receipt, answers.Receipt),
    (trial_pb2.Nearest, answers.Nearest),
    (study_pb2.InfeasibleSuspected, study.InfeasibleSuspected),
    (study_pb2.Diagnosis, answers.Diagnosis),
    (study_pb2.Calibration, calibration.Calibration),
    (study_pb2.Prediction, calibration.Prediction),
    (study_pb2.ModelPicture, answers.ModelPicture),
    (study_pb2.Limitation, answers.Limitation),
    (trial_pb2.Operation, answers.Operation),
    (study_pb2.ListUpdatesResponse, answers.UpdateList),
    (study_pb2.Update, updates.Update),
    (study_pb2.Mask, updates.Mask),
    (trial_pb2.AskTrialsResponse, answers.AskAnswer),
    (trial_pb2.TellTrialsResponse, answers.TellAnswer),
    (trial_pb2.TellResult, answers.TellResult),
    (trial_pb2.CreateTrialsResponse, answers.TrialList),
    (trial_pb2.ListTrialsResponse, answers.TrialPage),
    (trial_pb2.ReportTrialResponse, answers.ReportAnswer),
    (trial_pb2.HeartbeatTrialResponse, answers.HeartbeatAnswer),
    (suggester_pb2.Suggester, answers.SuggesterEntry),
    (suggester_pb2.Honours, suggester.Honours),
    (suggester_pb2.ListSuggestersResponse, answers.SuggesterList),
    (error_pb2.Problem, answers.Problem),
    (error_pb2.ProblemError, answers.ProblemError),
]
REQUESTS: list[tuple[type[Message], type[Document], set[str]]] = [
    (trial_pb2.AskTrialsRequest, trial.AskRequest, ENVELOPE),
    (trial_pb2.TellTrialsRequest, trial.TellMany, ENVELOPE),
    (trial_pb2.CreateTrialsRequest, NewTrials, ENVELOPE),
    (trial_pb2.ListTrialsRequest, pages.ListTrials, ENVELOPE),
    (trial_pb2.TellTrialRequest, trial.Outcome, ENVELOPE),
    (trial_pb2.ReportTrialRequest, trial.Report, ENVELOPE),
    (trial_pb2.HeartbeatTrialRequest, trial.HeartbeatRequest, ENVELOPE),
    (trial_pb2.EvaluateRequest, Opening, ENVELOPE | {"outcomes"}),
    (operation_pb2.GetOperationRequest, WaitQuery, {"id"}),
    (study_pb2.ExportTrialsRequest, ExportQuery, ENVELOPE),
    (study_pb2.StreamEventsRequest, EventsQuery, ENVELOPE),
    (study_pb2.ListUpdatesRequest, UpdatesQuery, ENVELOPE),
]
PAIRS = [(message, model, set[str]()) for message, model in RESOURCES] + REQUESTS
INPUTS = {model for _, model, _ in REQUESTS} | {
    study.Study, study.Objective, study.Constraint, study.EarlyStopping, study.SuggesterChoice, study.Limits,
    trial.NumberedOutcome, trial.NewTrial, trial.ExampleResult, llm.LlmChoice,
}  # fmt: skip
ZEROS: dict[type, Any] = {str: "", int: 0, float: 0.0, bool: False}
SCALARS = {
    str: {FieldDescriptor.CPPTYPE_STRING},
    int: {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64},
    float: {FieldDescriptor.CPPTYPE_DOUBLE},
    bool: {FieldDescriptor.CPPTYPE_BOOL},
}


def names(model: type[Document]) -> set[str]:
    return {info.alias or name for name, info in model.model_fields.items()}


@pytest.mark.parametrize(("message", "model", "envelope"), PAIRS, ids=lambda x: getattr(x, "__name__", ""))
def test_the_fields_have_the_same_names(message: type[Message], model: type[Document], envelope: set[str]) -> None:
    assert set(message.DESCRIPTOR.fields_by_name) - envelope - {"packed"} == names(model) - (envelope & ENVELOPE)


def test_a_parameter_has_the_fields_of_all_types() -> None:
    assert set(study_pb2.Parameter.DESCRIPTOR.fields_by_name) == set().union(*map(names, PARAMETERS))


FIELDS = [
    pytest.param(message.DESCRIPTOR.fields_by_name[info.alias or name], info, model, id=f"{model.__name__}.{name}")
    for message, model, envelope in PAIRS
    for name, info in model.model_fields.items()
    if name not in envelope
]


def plain(annotation: Any) -> tuple[set[Any], bool]:
    """The types an annotation is made of, and whether null is one."""
    if get_origin(annotation) is typing.Annotated:
        return plain(get_args(annotation)[0])
    if get_origin(annotation) in (typing.Union, types.UnionType):
        parts = [plain(item) for item in get_args(annotation)]
        return set().union(*(found for found, _ in parts)) - {type(None)}, any(
            null or type(None) in found for found, null in parts
        )
    if get_origin(annotation) is typing.Literal:
        return {str}, False
    if get_origin(annotation) in (tuple, frozenset, dict):
        return {get_origin(annotation)}, False
    return {annotation}, False


@pytest.mark.parametrize(("field", "info", "model"), FIELDS)
def test_the_fields_have_the_same_types(field: FieldDescriptor, info: FieldInfo, model: type[Document]) -> None:
    kinds, _ = plain(info.annotation)
    (kind,) = {str if isinstance(k, type) and issubclass(k, StrEnum) else k for k in kinds}
    of = field.message_type.full_name if field.message_type is not None else ""
    if kind in (tuple, frozenset):
        assert field.is_repeated
    elif kind is dict:
        assert of == "google.protobuf.Struct" or (
            field.message_type is not None and field.message_type.GetOptions().map_entry
        )
    elif kind is datetime:
        assert of == "google.protobuf.Timestamp"
    elif issubclass(kind, Document):
        assert of.startswith("asktell.v1.")
    elif field.enum_type is None:
        assert field.cpp_type in SCALARS[kind]
    else:
        assert kind is str


@pytest.mark.parametrize(("field", "info", "model"), FIELDS)
def test_absent_and_zero_are_told_apart_where_they_differ_and_only_there(
    field: FieldDescriptor, info: FieldInfo, model: type[Document]
) -> None:
    kinds, null = plain(info.annotation)
    (kind,) = kinds
    if kind not in ZEROS or field.enum_type is not None:
        return
    zero = ZEROS[kind]
    has_own_default = not info.is_required() and info.get_default() != zero
    zero_says_something = model in INPUTS and takes_zero(info, zero) and (info.is_required() or has_own_default)
    if null or zero_says_something:
        assert field.has_presence
    elif not has_own_default:
        assert not field.has_presence


def takes_zero(info: FieldInfo, zero: Any) -> bool:
    # What the server chooses is never sent, and an empty text says as little as none.
    if isinstance(zero, str) or info in (study.Study.model_fields["seq"],):
        return False
    try:
        TypeAdapter[Any](info.rebuild_annotation()).validate_python(zero, strict=True)
    except ValidationError:
        return False
    return True


def test_the_states_have_the_same_words() -> None:
    for enum, words in ((trial_pb2.TrialState, trial.TrialState), (study_pb2.StudyState, study.StudyState)):
        prefix, *found = enum.keys()
        start = prefix.removesuffix("UNSPECIFIED")
        assert [name.removeprefix(start).lower() for name in found] == [str(word) for word in words]
