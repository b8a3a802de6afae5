"""Limits that change in mid-study: what was learned stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.domain.study import Limits
from tests.suggesters import law
from workers.suggesters.registry import get


@pytest.mark.parametrize("name", ["cem", "cmaes", "snes"])
@pytest.mark.parametrize("changed", [{"max_running": 64}, {"max_running": 64, "max_trials": 5000}, {"max_trials": 130}])
def test_a_population_goes_on_where_it_was(name: str, changed: dict[str, int]) -> None:
    spec = get(name)
    of = law.problem(spec, "plane", limits={"max_trials": 1000})
    one, suggester = law.Study(of), law.make(spec, of)
    history = one.history()
    for _ in range(120):
        (found,) = suggester.suggest(history, 1)
        number = one.start(found)
        one.tell(number, sum((value - 1) ** 2 for value in found.parameters.values()))
        history.update([one.trials[number]], seq=one.seq, next_number=len(one.trials) + 1)
    (expected,) = suggester.suggest(history, 1)
    assert expected.origin["generation"] >= 5

    after = replace(of, spec=of.spec.model_copy(update={"limits": Limits(**changed)}))
    for saved in (None, law.save(suggester)):
        (found,) = law.make(spec, after, saved).suggest(history, 1)
        assert (found.parameters, found.origin) == (expected.parameters, expected.origin)
