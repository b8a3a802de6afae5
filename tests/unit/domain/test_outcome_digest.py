"""What stands in the database as the digest of an outcome stays its digest."""

from __future__ import annotations

from services.domain.trial import NumberedOutcome, Outcome


def test_equal_outcomes_have_one_digest_and_it_never_changes() -> None:
    told = {
        "metrics": {"loss": 1, "l.2": 1e-7},
        "std": {"loss": -0.0},
        "feedback": "só",
        "residual": [1, 2.5],
        "cost": 3,
    }
    examples = [{"id": "a", "score": 1, "output": None, "feedback": "x"}]
    outcome = Outcome.read_value(told | {"examples": examples, "elapsed_seconds": 1.5})
    assert outcome.digest() == "5dd1ce7a04626bff1baac53f3a601298"
    assert NumberedOutcome.read_value(told | {"examples": examples, "number": 7}).digest() == outcome.digest()
    assert Outcome.read_value(told).digest() != outcome.digest()
