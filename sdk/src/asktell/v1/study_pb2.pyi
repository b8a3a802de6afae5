import datetime

from asktell.v1 import trial_pb2 as _trial_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StudyState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STUDY_STATE_UNSPECIFIED: _ClassVar[StudyState]
    STUDY_STATE_ACTIVE: _ClassVar[StudyState]
    STUDY_STATE_PAUSED: _ClassVar[StudyState]
    STUDY_STATE_COMPLETED: _ClassVar[StudyState]
STUDY_STATE_UNSPECIFIED: StudyState
STUDY_STATE_ACTIVE: StudyState
STUDY_STATE_PAUSED: StudyState
STUDY_STATE_COMPLETED: StudyState

class Study(_message.Message):
    __slots__ = ("name", "parameters", "objectives", "constraints", "parameter_constraints", "early_stopping", "suggester", "limits", "examples", "seed", "labels", "metadata", "id", "state", "state_reason", "seq", "trial_counts", "etag", "created_at", "updated_at", "infeasible_suspected", "llm", "llm_usage")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVES_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_FIELD_NUMBER: _ClassVar[int]
    SUGGESTER_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_REASON_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TRIAL_COUNTS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    INFEASIBLE_SUSPECTED_FIELD_NUMBER: _ClassVar[int]
    LLM_FIELD_NUMBER: _ClassVar[int]
    LLM_USAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    parameters: _containers.RepeatedCompositeFieldContainer[Parameter]
    objectives: _containers.RepeatedCompositeFieldContainer[Objective]
    constraints: _containers.RepeatedCompositeFieldContainer[Constraint]
    parameter_constraints: _containers.RepeatedScalarFieldContainer[str]
    early_stopping: EarlyStopping
    suggester: SuggesterChoice
    limits: Limits
    examples: ExampleSets
    seed: int
    labels: _containers.ScalarMap[str, str]
    metadata: _struct_pb2.Struct
    id: str
    state: StudyState
    state_reason: str
    seq: int
    trial_counts: TrialCounts
    etag: str
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    infeasible_suspected: InfeasibleSuspected
    llm: LlmChoice
    llm_usage: LlmUsage
    def __init__(self, name: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[Parameter, _Mapping]]] = ..., objectives: _Optional[_Iterable[_Union[Objective, _Mapping]]] = ..., constraints: _Optional[_Iterable[_Union[Constraint, _Mapping]]] = ..., parameter_constraints: _Optional[_Iterable[str]] = ..., early_stopping: _Optional[_Union[EarlyStopping, _Mapping]] = ..., suggester: _Optional[_Union[SuggesterChoice, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., examples: _Optional[_Union[ExampleSets, _Mapping]] = ..., seed: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., id: _Optional[str] = ..., state: _Optional[_Union[StudyState, str]] = ..., state_reason: _Optional[str] = ..., seq: _Optional[int] = ..., trial_counts: _Optional[_Union[TrialCounts, _Mapping]] = ..., etag: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., infeasible_suspected: _Optional[_Union[InfeasibleSuspected, _Mapping]] = ..., llm: _Optional[_Union[LlmChoice, _Mapping]] = ..., llm_usage: _Optional[_Union[LlmUsage, _Mapping]] = ...) -> None: ...

class LlmChoice(_message.Message):
    __slots__ = ("profile", "encoder", "share_examples", "max_calls", "max_total_tokens", "max_cost", "concurrency")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    SHARE_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    MAX_CALLS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    profile: str
    encoder: str
    share_examples: bool
    max_calls: int
    max_total_tokens: int
    max_cost: float
    concurrency: int
    def __init__(self, profile: _Optional[str] = ..., encoder: _Optional[str] = ..., share_examples: _Optional[bool] = ..., max_calls: _Optional[int] = ..., max_total_tokens: _Optional[int] = ..., max_cost: _Optional[float] = ..., concurrency: _Optional[int] = ...) -> None: ...

class LlmUsage(_message.Message):
    __slots__ = ("calls", "failed_calls", "prompt_tokens", "completion_tokens", "cost", "estimated")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    FAILED_CALLS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    calls: int
    failed_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    estimated: bool
    def __init__(self, calls: _Optional[int] = ..., failed_calls: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., cost: _Optional[float] = ..., estimated: _Optional[bool] = ...) -> None: ...

class InfeasibleSuspected(_message.Message):
    __slots__ = ("trial", "evidence", "at")
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    trial: int
    evidence: _struct_pb2.Struct
    at: _timestamp_pb2.Timestamp
    def __init__(self, trial: _Optional[int] = ..., evidence: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Parameter(_message.Message):
    __slots__ = ("name", "type", "when", "min", "max", "scale", "step", "default", "choices", "length", "vocabulary", "min_length", "max_length", "items", "initial", "task", "placeholders", "encoding", "shape")
    class WhenEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.ListValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    MIN_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PLACEHOLDERS_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    when: _containers.MessageMap[str, _struct_pb2.ListValue]
    min: float
    max: float
    scale: str
    step: float
    default: _struct_pb2.Value
    choices: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Value]
    length: int
    vocabulary: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Value]
    min_length: int
    max_length: int
    items: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Value]
    initial: _containers.RepeatedScalarFieldContainer[str]
    task: str
    placeholders: _containers.RepeatedScalarFieldContainer[str]
    encoding: str
    shape: _struct_pb2.Value
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., when: _Optional[_Mapping[str, _struct_pb2.ListValue]] = ..., min: _Optional[float] = ..., max: _Optional[float] = ..., scale: _Optional[str] = ..., step: _Optional[float] = ..., default: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., choices: _Optional[_Iterable[_Union[_struct_pb2.Value, _Mapping]]] = ..., length: _Optional[int] = ..., vocabulary: _Optional[_Iterable[_Union[_struct_pb2.Value, _Mapping]]] = ..., min_length: _Optional[int] = ..., max_length: _Optional[int] = ..., items: _Optional[_Iterable[_Union[_struct_pb2.Value, _Mapping]]] = ..., initial: _Optional[_Iterable[str]] = ..., task: _Optional[str] = ..., placeholders: _Optional[_Iterable[str]] = ..., encoding: _Optional[str] = ..., shape: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class Objective(_message.Message):
    __slots__ = ("metric", "goal", "noisy")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    NOISY_FIELD_NUMBER: _ClassVar[int]
    metric: str
    goal: str
    noisy: bool
    def __init__(self, metric: _Optional[str] = ..., goal: _Optional[str] = ..., noisy: _Optional[bool] = ...) -> None: ...

class Constraint(_message.Message):
    __slots__ = ("metric", "min", "max")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    metric: str
    min: float
    max: float
    def __init__(self, metric: _Optional[str] = ..., min: _Optional[float] = ..., max: _Optional[float] = ...) -> None: ...

class EarlyStopping(_message.Message):
    __slots__ = ("rule", "metric", "warmup_steps", "interval_steps", "min_trials", "percentile", "min_resource", "max_resource", "reduction_factor", "p_threshold", "min", "max")
    RULE_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    WARMUP_STEPS_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    MIN_TRIALS_FIELD_NUMBER: _ClassVar[int]
    PERCENTILE_FIELD_NUMBER: _ClassVar[int]
    MIN_RESOURCE_FIELD_NUMBER: _ClassVar[int]
    MAX_RESOURCE_FIELD_NUMBER: _ClassVar[int]
    REDUCTION_FACTOR_FIELD_NUMBER: _ClassVar[int]
    P_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    rule: str
    metric: str
    warmup_steps: int
    interval_steps: int
    min_trials: int
    percentile: float
    min_resource: int
    max_resource: int
    reduction_factor: int
    p_threshold: float
    min: float
    max: float
    def __init__(self, rule: _Optional[str] = ..., metric: _Optional[str] = ..., warmup_steps: _Optional[int] = ..., interval_steps: _Optional[int] = ..., min_trials: _Optional[int] = ..., percentile: _Optional[float] = ..., min_resource: _Optional[int] = ..., max_resource: _Optional[int] = ..., reduction_factor: _Optional[int] = ..., p_threshold: _Optional[float] = ..., min: _Optional[float] = ..., max: _Optional[float] = ...) -> None: ...

class SuggesterChoice(_message.Message):
    __slots__ = ("name", "options")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    options: _struct_pb2.Struct
    def __init__(self, name: _Optional[str] = ..., options: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_trials", "max_running", "max_failures", "max_seconds", "max_attempts", "max_cost", "max_example_evaluations")
    MAX_TRIALS_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILURES_FIELD_NUMBER: _ClassVar[int]
    MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_FIELD_NUMBER: _ClassVar[int]
    MAX_EXAMPLE_EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    max_trials: int
    max_running: int
    max_failures: int
    max_seconds: float
    max_attempts: int
    max_cost: float
    max_example_evaluations: int
    def __init__(self, max_trials: _Optional[int] = ..., max_running: _Optional[int] = ..., max_failures: _Optional[int] = ..., max_seconds: _Optional[float] = ..., max_attempts: _Optional[int] = ..., max_cost: _Optional[float] = ..., max_example_evaluations: _Optional[int] = ...) -> None: ...

class ExampleSets(_message.Message):
    __slots__ = ("train", "validation")
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    train: _containers.RepeatedScalarFieldContainer[str]
    validation: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, train: _Optional[_Iterable[str]] = ..., validation: _Optional[_Iterable[str]] = ...) -> None: ...

class TrialCounts(_message.Message):
    __slots__ = ("waiting", "running", "completed", "pruned", "infeasible", "failed", "cancelled")
    WAITING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    PRUNED_FIELD_NUMBER: _ClassVar[int]
    INFEASIBLE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    waiting: int
    running: int
    completed: int
    pruned: int
    infeasible: int
    failed: int
    cancelled: int
    def __init__(self, waiting: _Optional[int] = ..., running: _Optional[int] = ..., completed: _Optional[int] = ..., pruned: _Optional[int] = ..., infeasible: _Optional[int] = ..., failed: _Optional[int] = ..., cancelled: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("seq", "type", "study", "number", "data", "created_at")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STUDY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    seq: int
    type: str
    study: str
    number: int
    data: _struct_pb2.Struct
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, seq: _Optional[int] = ..., type: _Optional[str] = ..., study: _Optional[str] = ..., number: _Optional[int] = ..., data: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateStudyRequest(_message.Message):
    __slots__ = ("study", "request_id")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    study: Study
    request_id: str
    def __init__(self, study: _Optional[_Union[Study, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ListStudiesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "state", "label", "q", "order_by")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    Q_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    state: StudyState
    label: _containers.RepeatedScalarFieldContainer[str]
    q: str
    order_by: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., state: _Optional[_Union[StudyState, str]] = ..., label: _Optional[_Iterable[str]] = ..., q: _Optional[str] = ..., order_by: _Optional[str] = ...) -> None: ...

class ListStudiesResponse(_message.Message):
    __slots__ = ("studies", "next_page_token")
    STUDIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    studies: _containers.RepeatedCompositeFieldContainer[Study]
    next_page_token: str
    def __init__(self, studies: _Optional[_Iterable[_Union[Study, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetStudyRequest(_message.Message):
    __slots__ = ("study",)
    STUDY_FIELD_NUMBER: _ClassVar[int]
    study: str
    def __init__(self, study: _Optional[str] = ...) -> None: ...

class UpdateStudyRequest(_message.Message):
    __slots__ = ("study", "patch", "etag", "request_id")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    PATCH_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    study: str
    patch: _struct_pb2.Struct
    etag: str
    request_id: str
    def __init__(self, study: _Optional[str] = ..., patch: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteStudyRequest(_message.Message):
    __slots__ = ("study", "etag")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    study: str
    etag: str
    def __init__(self, study: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class PauseStudyRequest(_message.Message):
    __slots__ = ("study", "request_id")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    study: str
    request_id: str
    def __init__(self, study: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResumeStudyRequest(_message.Message):
    __slots__ = ("study", "request_id")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    study: str
    request_id: str
    def __init__(self, study: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CompleteStudyRequest(_message.Message):
    __slots__ = ("study", "request_id")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    study: str
    request_id: str
    def __init__(self, study: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetBestRequest(_message.Message):
    __slots__ = ("study",)
    STUDY_FIELD_NUMBER: _ClassVar[int]
    study: str
    def __init__(self, study: _Optional[str] = ...) -> None: ...

class DiagnoseStudyRequest(_message.Message):
    __slots__ = ("study",)
    STUDY_FIELD_NUMBER: _ClassVar[int]
    study: str
    def __init__(self, study: _Optional[str] = ...) -> None: ...

class Diagnosis(_message.Message):
    __slots__ = ("study", "trials", "calibration", "model", "limits")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    study: str
    trials: int
    calibration: _containers.RepeatedCompositeFieldContainer[Calibration]
    model: ModelPicture
    limits: _containers.RepeatedCompositeFieldContainer[Limitation]
    def __init__(self, study: _Optional[str] = ..., trials: _Optional[int] = ..., calibration: _Optional[_Iterable[_Union[Calibration, _Mapping]]] = ..., model: _Optional[_Union[ModelPicture, _Mapping]] = ..., limits: _Optional[_Iterable[_Union[Limitation, _Mapping]]] = ...) -> None: ...

class Calibration(_message.Message):
    __slots__ = ("metric", "count", "coverage_50", "coverage_80", "coverage_95", "mean_z", "std_z", "log_score", "rank_correlation", "verdict", "predictions")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_50_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_80_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_95_FIELD_NUMBER: _ClassVar[int]
    MEAN_Z_FIELD_NUMBER: _ClassVar[int]
    STD_Z_FIELD_NUMBER: _ClassVar[int]
    LOG_SCORE_FIELD_NUMBER: _ClassVar[int]
    RANK_CORRELATION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    metric: str
    count: int
    coverage_50: float
    coverage_80: float
    coverage_95: float
    mean_z: float
    std_z: float
    log_score: float
    rank_correlation: float
    verdict: str
    predictions: _containers.RepeatedCompositeFieldContainer[Prediction]
    def __init__(self, metric: _Optional[str] = ..., count: _Optional[int] = ..., coverage_50: _Optional[float] = ..., coverage_80: _Optional[float] = ..., coverage_95: _Optional[float] = ..., mean_z: _Optional[float] = ..., std_z: _Optional[float] = ..., log_score: _Optional[float] = ..., rank_correlation: _Optional[float] = ..., verdict: _Optional[str] = ..., predictions: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("number", "mean", "std", "value", "z")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    number: int
    mean: float
    std: float
    value: float
    z: float
    def __init__(self, number: _Optional[int] = ..., mean: _Optional[float] = ..., std: _Optional[float] = ..., value: _Optional[float] = ..., z: _Optional[float] = ...) -> None: ...

class ModelPicture(_message.Message):
    __slots__ = ("trial", "suggester", "n", "checkpoint", "lengthscales", "importances", "noise_std", "output_transform", "warped", "jitter")
    class LengthscalesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class ImportancesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class NoiseStdEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    SUGGESTER_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    LENGTHSCALES_FIELD_NUMBER: _ClassVar[int]
    IMPORTANCES_FIELD_NUMBER: _ClassVar[int]
    NOISE_STD_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TRANSFORM_FIELD_NUMBER: _ClassVar[int]
    WARPED_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    trial: int
    suggester: str
    n: int
    checkpoint: int
    lengthscales: _containers.ScalarMap[str, float]
    importances: _containers.ScalarMap[str, float]
    noise_std: _containers.ScalarMap[str, float]
    output_transform: str
    warped: _containers.RepeatedScalarFieldContainer[str]
    jitter: float
    def __init__(self, trial: _Optional[int] = ..., suggester: _Optional[str] = ..., n: _Optional[int] = ..., checkpoint: _Optional[int] = ..., lengthscales: _Optional[_Mapping[str, float]] = ..., importances: _Optional[_Mapping[str, float]] = ..., noise_std: _Optional[_Mapping[str, float]] = ..., output_transform: _Optional[str] = ..., warped: _Optional[_Iterable[str]] = ..., jitter: _Optional[float] = ...) -> None: ...

class Limitation(_message.Message):
    __slots__ = ("kind", "message", "evidence")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    message: str
    evidence: _struct_pb2.Struct
    def __init__(self, kind: _Optional[str] = ..., message: _Optional[str] = ..., evidence: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class GetBestResponse(_message.Message):
    __slots__ = ("trials", "feasible")
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    FEASIBLE_FIELD_NUMBER: _ClassVar[int]
    trials: _containers.RepeatedCompositeFieldContainer[_trial_pb2.Trial]
    feasible: bool
    def __init__(self, trials: _Optional[_Iterable[_Union[_trial_pb2.Trial, _Mapping]]] = ..., feasible: _Optional[bool] = ...) -> None: ...

class StreamEventsRequest(_message.Message):
    __slots__ = ("study", "after")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    study: str
    after: int
    def __init__(self, study: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class ExportTrialsRequest(_message.Message):
    __slots__ = ("study", "format")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    study: str
    format: str
    def __init__(self, study: _Optional[str] = ..., format: _Optional[str] = ...) -> None: ...

class ListUpdatesRequest(_message.Message):
    __slots__ = ("study", "limit")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    study: str
    limit: int
    def __init__(self, study: _Optional[str] = ..., limit: _Optional[int] = ..., **kwargs) -> None: ...

class ListUpdatesResponse(_message.Message):
    __slots__ = ("updates", "latest", "pending")
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    updates: _containers.RepeatedCompositeFieldContainer[Update]
    latest: int
    pending: bool
    def __init__(self, updates: _Optional[_Iterable[_Union[Update, _Mapping]]] = ..., latest: _Optional[int] = ..., pending: _Optional[bool] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("theta_version", "rule", "lr", "beta1", "beta2", "epsilon", "weight_decay", "sigma", "rank", "noise", "seed", "norm", "generations", "pairs", "weights", "sums", "mask")
    THETA_VERSION_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    LR_FIELD_NUMBER: _ClassVar[int]
    BETA1_FIELD_NUMBER: _ClassVar[int]
    BETA2_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    SIGMA_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    GENERATIONS_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    SUMS_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    theta_version: int
    rule: str
    lr: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    sigma: float
    rank: int
    noise: str
    seed: _containers.RepeatedScalarFieldContainer[int]
    norm: float
    generations: _containers.RepeatedScalarFieldContainer[int]
    pairs: _containers.RepeatedScalarFieldContainer[int]
    weights: _containers.RepeatedScalarFieldContainer[float]
    sums: _containers.RepeatedScalarFieldContainer[float]
    mask: Mask
    def __init__(self, theta_version: _Optional[int] = ..., rule: _Optional[str] = ..., lr: _Optional[float] = ..., beta1: _Optional[float] = ..., beta2: _Optional[float] = ..., epsilon: _Optional[float] = ..., weight_decay: _Optional[float] = ..., sigma: _Optional[float] = ..., rank: _Optional[int] = ..., noise: _Optional[str] = ..., seed: _Optional[_Iterable[int]] = ..., norm: _Optional[float] = ..., generations: _Optional[_Iterable[int]] = ..., pairs: _Optional[_Iterable[int]] = ..., weights: _Optional[_Iterable[float]] = ..., sums: _Optional[_Iterable[float]] = ..., mask: _Optional[_Union[Mask, _Mapping]] = ...) -> None: ...

class Mask(_message.Message):
    __slots__ = ("kind", "keep", "rewind")
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    REWIND_FIELD_NUMBER: _ClassVar[int]
    kind: str
    keep: float
    rewind: bool
    def __init__(self, kind: _Optional[str] = ..., keep: _Optional[float] = ..., rewind: _Optional[bool] = ...) -> None: ...
