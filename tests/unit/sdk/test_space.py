"""Python's parameters are the contract's."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

import asktell
from asktell.space import documents
from services.domain import parameters as domain

KINDS: dict[type[asktell.Parameter], asktell.Parameter] = {
    asktell.Float: asktell.Float(0.1, 1, scale="log", default=0.5, when={"mode": "a"}),
    asktell.Int: asktell.Int(1, 9, step=2, default=3),
    asktell.Bool: asktell.Bool(default=True),
    asktell.Categorical: asktell.Categorical(["a", 1, None, False], default="a"),
    asktell.Ordinal: asktell.Ordinal((1, 2, 4)),
    asktell.Vector: asktell.Vector(3, -1, 1, default=(0, 0, 0)),
    asktell.SeedVector: asktell.SeedVector({"w": (3, 4), "b": [4]}),
    asktell.Tokens: asktell.Tokens(["x", "y"], max_length=4, min_length=1),
    asktell.Permutation: asktell.Permutation(["a", "b", "c"]),
    asktell.Text: asktell.Text(initial=["Say {x}"], task="greet", placeholders=["{x}"], max_length=100),
}
TAGGED = [get_args(tagged) for tagged in get_args(get_args(domain.Parameter)[0])]
BY_KIND = {tag.tag: kind for kind, tag in TAGGED}


def kind_of(parameter: asktell.Parameter) -> str:
    return "seed" if isinstance(parameter, asktell.SeedVector) else parameter.type


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_of_the_contract_can_be_given(kind: type[asktell.Parameter]) -> None:
    written = {field.name for field in fields(kind)} | (set(KINDS[kind].document("p")) & {"encoding"})
    assert written | {"type"} == set(BY_KIND[kind_of(KINDS[kind])].model_fields)


@pytest.mark.parametrize("parameter", KINDS.values(), ids=kind_of)
def test_what_is_written_is_what_the_service_reads(parameter: asktell.Parameter) -> None:
    document = parameter.document("p")
    read: Any = TypeAdapter(domain.Parameter).validate_python(document, strict=False)
    assert read.type == parameter.type
    dumped = read.model_dump(mode="json")
    assert json.loads(json.dumps(document)) == {name: dumped[name] for name in document}


def test_a_single_text_is_a_list_of_one() -> None:
    one = asktell.Text(initial="Say {x}", placeholders="{x}")
    assert one.document("p") == asktell.Text(initial=["Say {x}"], placeholders=["{x}"]).document("p")


def test_no_kind_is_missing() -> None:
    assert {kind_of(parameter) for parameter in KINDS.values()} == set(BY_KIND)


def test_a_space_is_a_mapping_or_a_list() -> None:
    given: list[Any] = [asktell.Bool(name="a"), {"name": "b", "type": "bool"}]
    assert documents(given) == documents({"a": asktell.Bool(), "b": {"type": "bool"}})


def test_one_value_is_enough_for_a_condition() -> None:
    assert asktell.Bool(when={"a": "x", "b": [1, 2]}).document("p")["when"] == {"a": ["x"], "b": [1, 2]}


def test_a_parameter_in_a_list_needs_a_name() -> None:
    with pytest.raises(asktell.Invalid, match="needs its name"):
        documents([asktell.Float(0, 1)])
