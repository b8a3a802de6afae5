from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Suggester(_message.Message):
    __slots__ = ("name", "summary", "reference", "honours", "inline", "options")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    HONOURS_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    summary: str
    reference: str
    honours: Honours
    inline: bool
    options: _struct_pb2.Struct
    def __init__(self, name: _Optional[str] = ..., summary: _Optional[str] = ..., reference: _Optional[str] = ..., honours: _Optional[_Union[Honours, _Mapping]] = ..., inline: _Optional[bool] = ..., options: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Honours(_message.Message):
    __slots__ = ("types", "conditions", "parameter_constraints", "constraints", "max_objectives", "noise", "defaults", "feedback", "examples", "max_parameters", "llm")
    TYPES_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    MAX_OBJECTIVES_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    DEFAULTS_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    MAX_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    LLM_FIELD_NUMBER: _ClassVar[int]
    types: _containers.RepeatedScalarFieldContainer[str]
    conditions: bool
    parameter_constraints: bool
    constraints: bool
    max_objectives: int
    noise: bool
    defaults: bool
    feedback: bool
    examples: bool
    max_parameters: int
    llm: str
    def __init__(self, types: _Optional[_Iterable[str]] = ..., conditions: _Optional[bool] = ..., parameter_constraints: _Optional[bool] = ..., constraints: _Optional[bool] = ..., max_objectives: _Optional[int] = ..., noise: _Optional[bool] = ..., defaults: _Optional[bool] = ..., feedback: _Optional[bool] = ..., examples: _Optional[bool] = ..., max_parameters: _Optional[int] = ..., llm: _Optional[str] = ...) -> None: ...

class ListSuggestersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSuggestersResponse(_message.Message):
    __slots__ = ("suggesters",)
    SUGGESTERS_FIELD_NUMBER: _ClassVar[int]
    suggesters: _containers.RepeatedCompositeFieldContainer[Suggester]
    def __init__(self, suggesters: _Optional[_Iterable[_Union[Suggester, _Mapping]]] = ...) -> None: ...

class GetSuggesterRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...
