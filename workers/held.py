"""A claim while it is worked on."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain import blob as blobs
from services.domain.llm import LlmReply
from services.domain.suggester import Spec
from services.suggesting import Claim

from .pools.pool import Job, PoolError


@dataclass(slots=True)
class Held:
    """A claim while it is worked on; replaced by a later one with the whole history where that is needed.

    Attributes:
        is_open: it was neither committed nor failed.
        failures: of the language model calls that were made for it.
    """

    claim: Claim
    is_open: bool = True
    failures: tuple[LlmReply, ...] = ()

    def job(self, spec: Spec | None) -> Job:
        """What a pool is to compute.

        Args:
            spec: of the claim's suggester.

        Raises:
            PoolError: there is none here.
        """
        claim = self.claim
        if spec is None:
            raise PoolError(f"this worker has no suggester {claim.suggester!r}")
        return Job(
            study=claim.study,
            suggester=claim.suggester,
            spec=claim.spec.model_dump_json(exclude={"labels", "metadata"}),
            seed=claim.seed,
            known_seq=claim.known_seq,
            observations=claim.observations,
            seq=claim.seq,
            next_number=claim.next_number,
            count=claim.count,
            blob=None if claim.blob is None else blobs.dumps(claim.blob),
            resources=spec.resources,
            replies=claim.replies + self.failures,
            published=claim.published,
        )
