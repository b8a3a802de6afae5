"""What computes: inside a pool's process or actor, with studies kept warm, and nothing let out that breaks the law."""

from __future__ import annotations

import gc
import hashlib
import importlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from services.domain import blob as blobs
from services.domain.errors import Invalid
from services.domain.history import History
from services.domain.llm import NeedsReplies
from services.domain.study import StudySpec
from services.domain.suggester import Blob, Problem, Publisher, Spec, Suggester, Suggestion

from .pool import Answer, Job, NeedsAnswers, NeedsHistory, PoolError, Result, SuggesterOutOfMemory, SuggesterRaised

WARM_STUDIES = 64
REGISTRY = "workers.suggesters.registry:get"

SINGLE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
}
"""Environment of every runner, set before numpy is imported: one thread a suggestion, which is reproducible, and faster
on a shared machine."""

Find = Callable[[str], Spec]


def finder(source: str = REGISTRY) -> Find:
    """The function that finds a suggester's `Spec` by name, from `module:function`.

    A runner imports it in its own process, so that nothing but a name crosses the border.
    """
    module, _, name = source.partition(":")
    found: Find = getattr(importlib.import_module(module), name)
    return found


@dataclass
class _Warm:
    """A study that this runner knows."""

    fingerprint: str
    history: History
    suggester: Suggester


class Runner:
    """Answers jobs one after another.

    Args:
        find: a suggester's `Spec` by name.
        warm_studies: how many studies are kept in memory; the longest unused goes first.
    """

    def __init__(self, find: Find, warm_studies: int = WARM_STUDIES) -> None:
        self._find = find
        self._most = warm_studies
        self._warm: OrderedDict[str, _Warm] = OrderedDict()

    def run(self, job: Job) -> Answer:
        """Compute a job.

        Raises:
            SuggesterRaised: the method raised, or answered outside the space.
            SuggesterOutOfMemory: Python itself ran out of memory.
        """
        started = time.perf_counter()
        try:
            warm = self._warmed(job)
            if warm is None:
                return NeedsHistory()
            suggestions = _checked(warm.suggester.suggest(warm.history, job.count), warm.history.spec, job.count)
            updates = _published(warm.suggester, job.published)
            blob = _sealed(warm.suggester.state(), warm.fingerprint)
        except NeedsReplies as needs:
            return NeedsAnswers(needs.requests)
        except MemoryError as error:
            self.forget(job.study)
            raise SuggesterOutOfMemory(f"{job.suggester} ran out of memory") from error
        except Exception as error:  # a stranger's code: whatever it raises ends here, what it leaves is not trusted
            self.forget(job.study)
            raise SuggesterRaised(_told(error)) from error
        seconds = time.perf_counter() - started
        return Result(suggestions=suggestions, blob=blob, seconds=seconds, updates=updates)

    def forget(self, study: str) -> None:
        """Let a study go."""
        self._warm.pop(study, None)

    def shrink(self) -> None:
        """Let the longer unused half go, where memory runs short."""
        for study in list(self._warm)[: (len(self._warm) + 1) // 2]:
            self.forget(study)
        gc.collect()

    def _warmed(self, job: Job) -> _Warm | None:
        """The study's warm state with the job's changes taken in; None if something before them is missing."""
        warm = self._warm.get(job.study)
        if job.known_seq and (warm is None or warm.history.seq < job.known_seq):
            self.forget(job.study)
            return None
        fingerprint = hashlib.blake2b(f"{job.suggester}\n{job.seed}\n{job.spec}".encode(), digest_size=16).hexdigest()
        if warm is None or warm.fingerprint != fingerprint:
            warm = self._fresh(job, fingerprint, warm)
        warm.history.update(
            job.observations, seq=max(job.seq, warm.history.seq), next_number=job.next_number,
            replies=job.replies, published=job.published,
        )  # fmt: skip
        self._warm[job.study] = warm
        self._warm.move_to_end(job.study)
        while len(self._warm) > self._most:
            self._warm.popitem(last=False)
        return warm

    def _fresh(self, job: Job, fingerprint: str, known: _Warm | None) -> _Warm:
        """A new suggester; the history that is known stays (the study was given another suggester or other options)."""
        spec = StudySpec.model_validate_json(job.spec)
        entry = self._find(job.suggester)
        problem = Problem(study=job.study, spec=spec, seed=job.seed)
        blob = None if job.blob is None else _opened(blobs.loads(job.blob), fingerprint)
        suggester = entry.create(problem, entry.parse_options(spec.suggester.options), blob)
        history = History(spec)
        if known is not None:
            history.update(
                known.history.trials, seq=known.history.seq, next_number=known.history.next_number,
                replies=known.history.replies.recorded,
            )  # fmt: skip
        return _Warm(fingerprint, history, suggester)


def answer(runner: Runner, job: Job) -> Answer | tuple[str, str]:
    """A job's answer, or its error as (kind, message): a stranger's exception may not survive the way to another process."""
    try:
        return runner.run(job)
    except PoolError as error:
        return error.kind, str(error)


def _checked(suggestions: Sequence[Suggestion], spec: StudySpec, count: int) -> tuple[Suggestion, ...]:
    """Suggestions that the service may hand out as they are.

    Raises:
        Invalid: a point outside the space.
        TypeError: something that is not JSON.
        ValueError: more than were asked for.
    """
    if len(suggestions) > count:
        raise ValueError(f"answered {len(suggestions)} suggestions where {count} were asked for")
    checked = []
    for suggestion in suggestions:
        json = (suggestion.origin, suggestion.receipt, suggestion.evaluate_on, suggestion.finding)
        orjson.dumps([_plain(part) for part in json])
        checked.append(replace(suggestion, parameters=spec.space.point(suggestion.parameters)))
    return tuple(checked)


def _published(suggester: Suggester, since: int) -> tuple[tuple[int, bytes], ...]:
    if not isinstance(suggester, Publisher):
        return ()
    return tuple((update.theta_version, update.encode()) for update in suggester.updates(since))


def _plain(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if value is None else dict(value)


def _sealed(blob: Blob | None, fingerprint: str) -> bytes | None:
    """State under the fingerprint of what it belongs to: a study may be given another suggester at any time."""
    if blob is None:
        return None
    return blobs.dumps(replace(blob, document={"of": fingerprint, "state": dict(blob.document)}))


def _opened(blob: Blob, fingerprint: str) -> Blob | None:
    """The state as the suggester saved it, None if it belongs to another suggester, options or space."""
    if blob.document.get("of") != fingerprint:
        return None
    return replace(blob, document=blob.document["state"])


def _told(error: Exception) -> str:
    """The exception in one line, without values of the user."""
    if isinstance(error, Invalid):
        places = ", ".join(e.pointer for e in error.errors[:3])
        return f"proposed a point outside the space ({places})" if places else error.detail
    return f"{type(error).__name__}: {error}"[:500]
