"""Where the candidates of a pool come from, as a client says it, and what speaks against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field

from services.domain.document import Document, LongText, Name
from services.domain.errors import FieldError
from services.domain.parameters import TextParameter
from services.domain.space import Space
from services.domain.suggester import Problem

from .encoders import PACKAGE, EncoderError, load_encoder, pool_vectors
from .exemplars import Exemplars
from .pool_edits import edits_of
from .text_pool import Candidate, Key, distinct, side_by_side
from .texts import candidate_key, starting_candidates, text_parameters

MOST_MEMBERS = 5000
MOST_FAULTS = 20
Entry = LongText | dict[Name, LongText]


class PoolOptions(Document):
    """Where the candidates come from."""

    pool: Annotated[tuple[Entry, ...], Field(max_length=MOST_MEMBERS)] | None = Field(
        default=None,
        description="Candidates: texts, or objects with a text for each text parameter.",
    )
    pool_size: int = Field(
        default=500,
        ge=20,
        le=MOST_MEMBERS,
        description="Edits of the starting texts, where there are neither `pool` nor `exemplars`.",
    )
    exemplars: Exemplars = Field(
        default=(),
        description="Pairs from which the study's language model is to guess instructions; needs `llm.share_examples`.",
    )
    subsets: int = Field(
        default=20, ge=1, le=100, description="Calls that each show five of the exemplars; 100 as published."
    )
    samples: int = Field(default=10, ge=1, le=50, description="Replies to each call; 50 as published.")
    temperature: float = Field(default=0.9, ge=0, le=2, description="Of the calls that write candidates.")
    top_p: float = Field(default=0.95, gt=0, le=1, description="Of the calls that write candidates.")
    max_tokens: int = Field(default=256, ge=8, le=4096, description="Of each candidate that is written.")
    refill: bool | None = Field(
        default=None,
        description="Add variations of the best text when fewer than 20 untried candidates are left, written by the study's language "
        "model where it has one, else by edits. If absent: unless the client gives the pool.",
    )
    refill_size: int = Field(default=40, ge=20, le=500, description="Variations that are asked for.")
    encoder: str = Field(
        default=PACKAGE, description="What turns texts into vectors where the study names no profile for embeddings."
    )

    @property
    def refills(self) -> bool:
        """Whether the pool grows."""
        return self.pool is None if self.refill is None else self.refill


def given_starts(space: Space) -> list[Candidate]:
    """The starting candidates without an empty text."""
    has_starts = any(p.initial or p.default for p in text_parameters(space))
    return [c for c in starting_candidates(space) if all(c.values())] if has_starts else []


def given_candidates(space: Space, options: PoolOptions) -> list[Candidate]:
    """Those of the client's list."""
    return [_candidate(space, entry) for entry in options.pool or ()]


def unlike(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The first of those that differ in case and white space only."""
    found: dict[Key, Candidate] = {}
    for candidate in candidates:
        found.setdefault(candidate_key(candidate), candidate)
    return list(found.values())


def refused(problem: Problem, options: PoolOptions, least: int) -> list[FieldError]:
    """What speaks against a pool: an encoder that is not there, texts that are no values, fewer than `least` distinct members."""
    try:
        load_encoder(options.encoder)
    except EncoderError as error:
        return [FieldError("/suggester/options/encoder", str(error))]
    problems = _entry_faults(problem.space, options.pool or ()) or _unasked(problem, options, least)
    if problems or options.exemplars:
        return problems[:MOST_FAULTS]
    starts = given_starts(problem.space)
    found = unlike(starts + given_candidates(problem.space, options))
    if options.pool is None:
        found += edits_of(problem, starts, min(options.pool_size, 4 * least))
    count = _count(problem, options, found, least)
    if count >= least:
        return []
    if options.pool is not None:
        return [FieldError("/suggester/options/pool", f"has {count} distinct texts, at least {least} are needed")]
    message = f"without a pool, the starting texts must allow {least} distinct edits; they allow {count}"
    return [FieldError("/suggester/options/pool", message)]


def _unasked(problem: Problem, options: PoolOptions, least: int) -> list[FieldError]:
    """What keeps declared exemplars from the language model."""
    if not options.exemplars:
        return []
    llm = problem.spec.llm
    if llm is None or llm.profile is None:
        return [FieldError("/llm/profile", "name one: exemplars are for a language model to read")]
    if not llm.share_examples:
        return [FieldError("/llm/share_examples", "must be true: exemplars are for the language model to read")]
    if options.pool is None and options.subsets * options.samples < least:
        return [FieldError("/suggester/options/samples", f"subsets × samples must be at least {least}")]
    return []


def _count(problem: Problem, options: PoolOptions, found: list[Candidate], least: int) -> int:
    """Distinct members, as far as it matters whether they are at least so many."""
    if problem.spec.llm is not None and problem.spec.llm.encoder is not None:
        return len(found)  # what is nearly the same to the profile's model shows later
    count = 0
    # Most pools have what is needed among the first few: the rest is encoded only where they have not.
    for some in (found[: 4 * least], found):
        if not some:
            return 0
        names = sorted(some[0])
        vectors = pool_vectors([c[name] for name in names for c in some], options.encoder)
        count = len(distinct(side_by_side(vectors, len(names))))
        if count >= least:
            break
    return count


def _candidate(space: Space, entry: str | Mapping[str, str]) -> Candidate:
    return {text_parameters(space)[0].name: entry} if isinstance(entry, str) else dict(entry)


def _entry_faults(space: Space, entries: Iterable[Entry]) -> list[FieldError]:
    parameters = text_parameters(space)
    names = {p.name for p in parameters}
    problems: list[FieldError] = []
    for i, entry in enumerate(entries):
        pointer = f"/suggester/options/pool/{i}"
        if isinstance(entry, str) and len(parameters) > 1:
            problems.append(
                FieldError(pointer, f"must be an object with a text for each of {', '.join(sorted(names))}")
            )
        elif not isinstance(entry, str) and set(entry) != names:
            problems.append(FieldError(pointer, f"must have a text for each of {', '.join(sorted(names))}"))
        else:
            candidate = _candidate(space, entry)
            problems += [FieldError(pointer, fault) for p in parameters if (fault := _fault(p, candidate[p.name]))]
    return problems


def _fault(parameter: TextParameter, text: str) -> str | None:
    try:
        parameter.accept(text)
    except ValueError as error:
        return str(error)
    return None
