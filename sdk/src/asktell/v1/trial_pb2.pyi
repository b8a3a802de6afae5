import datetime

from asktell.v1 import error_pb2 as _error_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrialState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRIAL_STATE_UNSPECIFIED: _ClassVar[TrialState]
    TRIAL_STATE_WAITING: _ClassVar[TrialState]
    TRIAL_STATE_RUNNING: _ClassVar[TrialState]
    TRIAL_STATE_COMPLETED: _ClassVar[TrialState]
    TRIAL_STATE_PRUNED: _ClassVar[TrialState]
    TRIAL_STATE_INFEASIBLE: _ClassVar[TrialState]
    TRIAL_STATE_FAILED: _ClassVar[TrialState]
    TRIAL_STATE_CANCELLED: _ClassVar[TrialState]
TRIAL_STATE_UNSPECIFIED: TrialState
TRIAL_STATE_WAITING: TrialState
TRIAL_STATE_RUNNING: TrialState
TRIAL_STATE_COMPLETED: TrialState
TRIAL_STATE_PRUNED: TrialState
TRIAL_STATE_INFEASIBLE: TrialState
TRIAL_STATE_FAILED: TrialState
TRIAL_STATE_CANCELLED: TrialState

class Trial(_message.Message):
    __slots__ = ("study", "number", "state", "parameters", "metrics", "std", "feasible", "worker", "attempt", "lease_expires_at", "suggested_by", "measurements", "evaluate_on", "feedback", "examples", "elapsed_seconds", "cost", "labels", "metadata", "seq", "created_at", "started_at", "finished_at", "residual", "packed")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class StdEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class PackedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: PackedVector
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[PackedVector, _Mapping]] = ...) -> None: ...
    STUDY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    FEASIBLE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    SUGGESTED_BY_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENTS_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_ON_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    study: str
    number: int
    state: TrialState
    parameters: _containers.MessageMap[str, _struct_pb2.Value]
    metrics: _containers.ScalarMap[str, float]
    std: _containers.ScalarMap[str, float]
    feasible: bool
    worker: str
    attempt: int
    lease_expires_at: _timestamp_pb2.Timestamp
    suggested_by: SuggestedBy
    measurements: _containers.RepeatedCompositeFieldContainer[Measurement]
    evaluate_on: EvaluateOn
    feedback: str
    examples: _containers.RepeatedCompositeFieldContainer[ExampleResult]
    elapsed_seconds: float
    cost: float
    labels: _containers.ScalarMap[str, str]
    metadata: _struct_pb2.Struct
    seq: int
    created_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    finished_at: _timestamp_pb2.Timestamp
    residual: _containers.RepeatedScalarFieldContainer[float]
    packed: _containers.MessageMap[str, PackedVector]
    def __init__(self, study: _Optional[str] = ..., number: _Optional[int] = ..., state: _Optional[_Union[TrialState, str]] = ..., parameters: _Optional[_Mapping[str, _struct_pb2.Value]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., std: _Optional[_Mapping[str, float]] = ..., feasible: _Optional[bool] = ..., worker: _Optional[str] = ..., attempt: _Optional[int] = ..., lease_expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., suggested_by: _Optional[_Union[SuggestedBy, _Mapping]] = ..., measurements: _Optional[_Iterable[_Union[Measurement, _Mapping]]] = ..., evaluate_on: _Optional[_Union[EvaluateOn, _Mapping]] = ..., feedback: _Optional[str] = ..., examples: _Optional[_Iterable[_Union[ExampleResult, _Mapping]]] = ..., elapsed_seconds: _Optional[float] = ..., cost: _Optional[float] = ..., labels: _Optional[_Mapping[str, str]] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., seq: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., residual: _Optional[_Iterable[float]] = ..., packed: _Optional[_Mapping[str, PackedVector]] = ...) -> None: ...

class PackedVector(_message.Message):
    __slots__ = ("float32", "float64")
    FLOAT32_FIELD_NUMBER: _ClassVar[int]
    FLOAT64_FIELD_NUMBER: _ClassVar[int]
    float32: bytes
    float64: bytes
    def __init__(self, float32: _Optional[bytes] = ..., float64: _Optional[bytes] = ...) -> None: ...

class SuggestedBy(_message.Message):
    __slots__ = ("suggester", "reason", "fallback", "seen_seq")
    SUGGESTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    SEEN_SEQ_FIELD_NUMBER: _ClassVar[int]
    suggester: str
    reason: str
    fallback: bool
    seen_seq: int
    def __init__(self, suggester: _Optional[str] = ..., reason: _Optional[str] = ..., fallback: _Optional[bool] = ..., seen_seq: _Optional[int] = ...) -> None: ...

class Measurement(_message.Message):
    __slots__ = ("step", "metrics", "created_at")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STEP_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    step: int
    metrics: _containers.ScalarMap[str, float]
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, step: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class EvaluateOn(_message.Message):
    __slots__ = ("split", "ids")
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    split: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, split: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ExampleResult(_message.Message):
    __slots__ = ("id", "score", "output", "expected", "feedback")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    id: str
    score: float
    output: str
    expected: str
    feedback: str
    def __init__(self, id: _Optional[str] = ..., score: _Optional[float] = ..., output: _Optional[str] = ..., expected: _Optional[str] = ..., feedback: _Optional[str] = ...) -> None: ...

class NumberedOutcome(_message.Message):
    __slots__ = ("number", "metrics", "state", "std", "feedback", "examples", "elapsed_seconds", "cost", "residual", "fingerprint")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class StdEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    number: int
    metrics: _containers.ScalarMap[str, float]
    state: TrialState
    std: _containers.ScalarMap[str, float]
    feedback: str
    examples: _containers.RepeatedCompositeFieldContainer[ExampleResult]
    elapsed_seconds: float
    cost: float
    residual: _containers.RepeatedScalarFieldContainer[float]
    fingerprint: str
    def __init__(self, number: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., state: _Optional[_Union[TrialState, str]] = ..., std: _Optional[_Mapping[str, float]] = ..., feedback: _Optional[str] = ..., examples: _Optional[_Iterable[_Union[ExampleResult, _Mapping]]] = ..., elapsed_seconds: _Optional[float] = ..., cost: _Optional[float] = ..., residual: _Optional[_Iterable[float]] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class NewTrial(_message.Message):
    __slots__ = ("parameters", "metrics", "state", "std", "feedback", "elapsed_seconds", "cost", "labels", "metadata", "residual", "packed")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class StdEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class PackedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: PackedVector
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[PackedVector, _Mapping]] = ...) -> None: ...
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    parameters: _containers.MessageMap[str, _struct_pb2.Value]
    metrics: _containers.ScalarMap[str, float]
    state: TrialState
    std: _containers.ScalarMap[str, float]
    feedback: str
    elapsed_seconds: float
    cost: float
    labels: _containers.ScalarMap[str, str]
    metadata: _struct_pb2.Struct
    residual: _containers.RepeatedScalarFieldContainer[float]
    packed: _containers.MessageMap[str, PackedVector]
    def __init__(self, parameters: _Optional[_Mapping[str, _struct_pb2.Value]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., state: _Optional[_Union[TrialState, str]] = ..., std: _Optional[_Mapping[str, float]] = ..., feedback: _Optional[str] = ..., elapsed_seconds: _Optional[float] = ..., cost: _Optional[float] = ..., labels: _Optional[_Mapping[str, str]] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., residual: _Optional[_Iterable[float]] = ..., packed: _Optional[_Mapping[str, PackedVector]] = ...) -> None: ...

class TrialPatch(_message.Message):
    __slots__ = ("labels", "metadata")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    labels: _struct_pb2.Struct
    metadata: _struct_pb2.Struct
    def __init__(self, labels: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("study", "number", "suggester", "reason", "seen_seq", "believed", "residual", "z", "nearest")
    class ResidualEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class ZEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STUDY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SUGGESTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SEEN_SEQ_FIELD_NUMBER: _ClassVar[int]
    BELIEVED_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    NEAREST_FIELD_NUMBER: _ClassVar[int]
    study: str
    number: int
    suggester: str
    reason: str
    seen_seq: int
    believed: _struct_pb2.Struct
    residual: _containers.ScalarMap[str, float]
    z: _containers.ScalarMap[str, float]
    nearest: _containers.RepeatedCompositeFieldContainer[Nearest]
    def __init__(self, study: _Optional[str] = ..., number: _Optional[int] = ..., suggester: _Optional[str] = ..., reason: _Optional[str] = ..., seen_seq: _Optional[int] = ..., believed: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., residual: _Optional[_Mapping[str, float]] = ..., z: _Optional[_Mapping[str, float]] = ..., nearest: _Optional[_Iterable[_Union[Nearest, _Mapping]]] = ...) -> None: ...

class Nearest(_message.Message):
    __slots__ = ("number", "distance", "metrics")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    number: int
    distance: float
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, number: _Optional[int] = ..., distance: _Optional[float] = ..., metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("id", "study", "done", "trials", "error", "created_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    STUDY_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    study: str
    done: bool
    trials: _containers.RepeatedCompositeFieldContainer[Trial]
    error: _error_pb2.Problem
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., study: _Optional[str] = ..., done: _Optional[bool] = ..., trials: _Optional[_Iterable[_Union[Trial, _Mapping]]] = ..., error: _Optional[_Union[_error_pb2.Problem, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AskTrialsRequest(_message.Message):
    __slots__ = ("study", "count", "worker", "wait_seconds", "lease_seconds", "fresh", "resume", "request_id")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    study: str
    count: int
    worker: str
    wait_seconds: float
    lease_seconds: float
    fresh: bool
    resume: bool
    request_id: str
    def __init__(self, study: _Optional[str] = ..., count: _Optional[int] = ..., worker: _Optional[str] = ..., wait_seconds: _Optional[float] = ..., lease_seconds: _Optional[float] = ..., fresh: _Optional[bool] = ..., resume: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class AskTrialsResponse(_message.Message):
    __slots__ = ("trials", "operation")
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    trials: _containers.RepeatedCompositeFieldContainer[Trial]
    operation: Operation
    def __init__(self, trials: _Optional[_Iterable[_Union[Trial, _Mapping]]] = ..., operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class TellTrialsRequest(_message.Message):
    __slots__ = ("study", "outcomes", "request_id", "brief")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BRIEF_FIELD_NUMBER: _ClassVar[int]
    study: str
    outcomes: _containers.RepeatedCompositeFieldContainer[NumberedOutcome]
    request_id: str
    brief: bool
    def __init__(self, study: _Optional[str] = ..., outcomes: _Optional[_Iterable[_Union[NumberedOutcome, _Mapping]]] = ..., request_id: _Optional[str] = ..., brief: _Optional[bool] = ...) -> None: ...

class TellTrialsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[TellResult]
    def __init__(self, results: _Optional[_Iterable[_Union[TellResult, _Mapping]]] = ...) -> None: ...

class TellResult(_message.Message):
    __slots__ = ("number", "status", "trial", "error")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    number: int
    status: int
    trial: Trial
    error: _error_pb2.Problem
    def __init__(self, number: _Optional[int] = ..., status: _Optional[int] = ..., trial: _Optional[_Union[Trial, _Mapping]] = ..., error: _Optional[_Union[_error_pb2.Problem, _Mapping]] = ...) -> None: ...

class CreateTrialRequest(_message.Message):
    __slots__ = ("study", "trial", "request_id")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    study: str
    trial: NewTrial
    request_id: str
    def __init__(self, study: _Optional[str] = ..., trial: _Optional[_Union[NewTrial, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateTrialsRequest(_message.Message):
    __slots__ = ("study", "trials", "request_id")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    study: str
    trials: _containers.RepeatedCompositeFieldContainer[NewTrial]
    request_id: str
    def __init__(self, study: _Optional[str] = ..., trials: _Optional[_Iterable[_Union[NewTrial, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateTrialsResponse(_message.Message):
    __slots__ = ("trials",)
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    trials: _containers.RepeatedCompositeFieldContainer[Trial]
    def __init__(self, trials: _Optional[_Iterable[_Union[Trial, _Mapping]]] = ...) -> None: ...

class ListTrialsRequest(_message.Message):
    __slots__ = ("study", "page_size", "page_token", "state", "worker", "order_by")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    study: str
    page_size: int
    page_token: str
    state: TrialState
    worker: str
    order_by: str
    def __init__(self, study: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., state: _Optional[_Union[TrialState, str]] = ..., worker: _Optional[str] = ..., order_by: _Optional[str] = ...) -> None: ...

class ListTrialsResponse(_message.Message):
    __slots__ = ("trials", "next_page_token")
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    trials: _containers.RepeatedCompositeFieldContainer[Trial]
    next_page_token: str
    def __init__(self, trials: _Optional[_Iterable[_Union[Trial, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetTrialRequest(_message.Message):
    __slots__ = ("study", "number")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    study: str
    number: int
    def __init__(self, study: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class UpdateTrialRequest(_message.Message):
    __slots__ = ("study", "number", "patch", "request_id")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PATCH_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    study: str
    number: int
    patch: TrialPatch
    request_id: str
    def __init__(self, study: _Optional[str] = ..., number: _Optional[int] = ..., patch: _Optional[_Union[TrialPatch, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class TellTrialRequest(_message.Message):
    __slots__ = ("study", "number", "metrics", "state", "std", "feedback", "examples", "elapsed_seconds", "cost", "request_id", "residual", "fingerprint")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class StdEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STUDY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    study: str
    number: int
    metrics: _containers.ScalarMap[str, float]
    state: TrialState
    std: _containers.ScalarMap[str, float]
    feedback: str
    examples: _containers.RepeatedCompositeFieldContainer[ExampleResult]
    elapsed_seconds: float
    cost: float
    request_id: str
    residual: _containers.RepeatedScalarFieldContainer[float]
    fingerprint: str
    def __init__(self, study: _Optional[str] = ..., number: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., state: _Optional[_Union[TrialState, str]] = ..., std: _Optional[_Mapping[str, float]] = ..., feedback: _Optional[str] = ..., examples: _Optional[_Iterable[_Union[ExampleResult, _Mapping]]] = ..., elapsed_seconds: _Optional[float] = ..., cost: _Optional[float] = ..., request_id: _Optional[str] = ..., residual: _Optional[_Iterable[float]] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class ReportTrialRequest(_message.Message):
    __slots__ = ("study", "number", "step", "metrics", "request_id")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STUDY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    study: str
    number: int
    step: int
    metrics: _containers.ScalarMap[str, float]
    request_id: str
    def __init__(self, study: _Optional[str] = ..., number: _Optional[int] = ..., step: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ReportTrialResponse(_message.Message):
    __slots__ = ("should_stop", "reason", "lease_expires_at")
    SHOULD_STOP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    should_stop: bool
    reason: str
    lease_expires_at: _timestamp_pb2.Timestamp
    def __init__(self, should_stop: _Optional[bool] = ..., reason: _Optional[str] = ..., lease_expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class HeartbeatTrialRequest(_message.Message):
    __slots__ = ("study", "number", "lease_seconds", "request_id")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    study: str
    number: int
    lease_seconds: float
    request_id: str
    def __init__(self, study: _Optional[str] = ..., number: _Optional[int] = ..., lease_seconds: _Optional[float] = ..., request_id: _Optional[str] = ...) -> None: ...

class HeartbeatTrialResponse(_message.Message):
    __slots__ = ("lease_expires_at", "should_stop")
    LEASE_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    SHOULD_STOP_FIELD_NUMBER: _ClassVar[int]
    lease_expires_at: _timestamp_pb2.Timestamp
    should_stop: bool
    def __init__(self, lease_expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., should_stop: _Optional[bool] = ...) -> None: ...

class CancelTrialRequest(_message.Message):
    __slots__ = ("study", "number", "request_id")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    study: str
    number: int
    request_id: str
    def __init__(self, study: _Optional[str] = ..., number: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class ReleaseTrialRequest(_message.Message):
    __slots__ = ("study", "number", "request_id")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    study: str
    number: int
    request_id: str
    def __init__(self, study: _Optional[str] = ..., number: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetReceiptRequest(_message.Message):
    __slots__ = ("study", "number")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    study: str
    number: int
    def __init__(self, study: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class EvaluateRequest(_message.Message):
    __slots__ = ("study", "worker", "running", "lease_seconds", "fresh", "resume", "keep_on_disconnect", "outcomes", "brief")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    KEEP_ON_DISCONNECT_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    BRIEF_FIELD_NUMBER: _ClassVar[int]
    study: str
    worker: str
    running: int
    lease_seconds: float
    fresh: bool
    resume: bool
    keep_on_disconnect: bool
    outcomes: _containers.RepeatedCompositeFieldContainer[NumberedOutcome]
    brief: bool
    def __init__(self, study: _Optional[str] = ..., worker: _Optional[str] = ..., running: _Optional[int] = ..., lease_seconds: _Optional[float] = ..., fresh: _Optional[bool] = ..., resume: _Optional[bool] = ..., keep_on_disconnect: _Optional[bool] = ..., outcomes: _Optional[_Iterable[_Union[NumberedOutcome, _Mapping]]] = ..., brief: _Optional[bool] = ...) -> None: ...

class EvaluateResponse(_message.Message):
    __slots__ = ("trials", "results", "done")
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    trials: _containers.RepeatedCompositeFieldContainer[Trial]
    results: _containers.RepeatedCompositeFieldContainer[TellResult]
    done: EvaluateDone
    def __init__(self, trials: _Optional[_Iterable[_Union[Trial, _Mapping]]] = ..., results: _Optional[_Iterable[_Union[TellResult, _Mapping]]] = ..., done: _Optional[_Union[EvaluateDone, _Mapping]] = ...) -> None: ...

class EvaluateDone(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...
