"""The quasi-random net under every suggester: points that need nothing but the space and the trials there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import structlog

from services.domain.history import History
from services.domain.suggester import Problem, Spec, Suggestion
from services.suggesting import Claim

log = structlog.get_logger("fallback")
NET = "sobol"


def quasi_random(specs: Mapping[str, Spec], claim: Claim, why: str) -> tuple[Suggestion, ...] | None:
    """Quasi-random suggestions in place of the study's own suggester, marked as such.

    Args:
        specs: the catalogue.
        claim: with the whole history.
        why: the suggester could not be used, for the reason that clients see.

    Returns:
        up to `claim.count` suggestions, fewer where the space is exhausted; None where it has parameters that cannot be
        drawn.
    """
    net = specs.get(NET)
    if net is None or not {p.kind for p in claim.spec.parameters} <= net.honours.types:
        return None
    history = History(claim.spec)
    history.update(claim.observations, seq=claim.seq, next_number=claim.next_number)
    try:
        problem = Problem(study=claim.study, spec=claim.spec, seed=claim.seed)
        found = net.create(problem, net.parse_options({}), None).suggest(history, claim.count)
    except Exception:  # the net is the last resort: without it the study waits and tries again
        log.exception("fallback.failed", study=claim.study)
        return None
    return tuple(replace(s, suggester=NET, fallback=True, reason=f"{why}: {s.reason}") for s in found)
