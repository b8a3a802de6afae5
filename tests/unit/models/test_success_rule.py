"""Chains of (1+1) evolution strategies, and histories that other options left."""

from __future__ import annotations

import pytest

from services.domain.history import History
from tests.suggesters import law, local_study


@pytest.mark.parametrize("chains", [1, 3])
def test_a_study_goes_on_with_fewer_chains_than_its_trials_were_made_by(chains: int) -> None:
    one = law.Study(local_study.problem("one-plus-one", options={"chains": 4}))
    for value in (9.0, 8.0, 7.0, 1.0):
        one.tell(local_study.ask(one)[0], value)
    assert [t.origin["chain"] for t in one.trials.values()] == [1, 2, 3, 0]
    of = local_study.problem("one-plus-one", options={"chains": chains})
    history = History(of.spec)
    history.update(one.trials.values(), seq=one.seq, next_number=5)
    suggester = local_study.fresh(of)
    suggester.suggest(history, 1)
    saved = suggester.state()
    assert saved is not None
    places = [chain["parent"] for chain in saved.document["chains"]]
    assert (len(places), 4 in places) == (chains, True)  # the best one counts, whoever made it
