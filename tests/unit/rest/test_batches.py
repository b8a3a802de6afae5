"""How REST reads a batch of outcomes."""

from __future__ import annotations

import pytest

from api.rest.trials import tell_many
from services.domain.errors import Invalid
from services.domain.trial import NumberedOutcome


def test_what_is_not_finite_in_a_batch_spoils_its_own_outcome_alone() -> None:
    many = tell_many(b'{"outcomes": [{"number": 1}, {"number": 2, "metrics": {"a/b~": NaN}}], "brief": true}')
    assert (many.brief, many.outcomes[0]) == (True, {"number": 1})
    assert NumberedOutcome.read_value(many.outcomes[0]).number == 1
    for field in ("metrics", "std"):
        item = {"number": 2, field: {"a/b~": float("nan")}, "cost": float("inf")}
        with pytest.raises(Invalid) as refused:
            NumberedOutcome.read_value(item)
        assert [e.pointer for e in refused.value.errors] == [f"/{field}/a~1b~0", "/cost"]


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ('{"outcomes": [{"number": 1, "cost": NaN}], "brief": 1}', {"/brief"}),
        ('{"outcomes": [{"number": 1, "cost": NaN}], "bogus": Infinity}', {"/bogus"}),
        ('{"outcomes": [{"cost": NaN}, NaN]}', {"/outcomes/0/cost", "/outcomes/1"}),
        ('{"outcomes": NaN}', {"/outcomes"}),
    ],
)
def test_what_else_is_wrong_with_such_a_batch_is_named(body: str, places: set[str]) -> None:
    with pytest.raises(Invalid) as refused:
        tell_many(body.encode())
    assert {error.pointer for error in refused.value.errors} == places
