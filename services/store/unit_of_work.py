"""One transaction on one study: the lock, the sequence, and everything that is written together at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from ..domain.errors import NotFound
from ..domain.study import StudySpec, StudyState
from ..domain.suggester import Suggestion
from ..domain.trial import TrialState
from . import events, studies, suggestions, trials
from .engine import pipelined
from .events import EventRecord
from .records import Progress, StudyRecord, TrialRecord
from .studies import SpecCache
from .suggestions import Buffered

Clock = Callable[[], datetime]
_WORDS = {state: state.value for state in TrialState}  # asking an enum for its value is a call


def utc_now() -> datetime:
    """The wall clock of this process."""
    return datetime.now(UTC)


class StudyGone(NotFound):
    """There is no such study."""


class StudyWork:
    """A locked study and its changes, held until `flush`.

    Several operations may share one transaction: each checks everything before it changes anything, so that one that is refused
    leaves no trace among the others.

    Attributes:
        connection: of the transaction, for what the other store modules read and write.
        study: what it is.
        progress: its counters; written back by `flush`.
        now: the time of this transaction: the database's clock, never before the study's latest change.
        wake_work: whether the dispatcher should look at this study once this is committed.
        wake_study: whether those who wait on this study should look.
        fingerprints: what workers said of their parameters, by version, as far as it was read (`services.fingerprints`).
    """

    def __init__(self, connection: Connection, study: StudyRecord, progress: Progress, now: datetime) -> None:
        self.connection = connection
        self.study = study
        self.progress = progress
        self.now = now
        self.wake_work = False
        self.wake_study = False
        self.fingerprints: dict[int, dict[str, tuple[str, int]]] = {}
        self._leases: dict[float, datetime] = {}
        self._before = replace(progress)
        self._known: dict[int, TrialRecord] = {}
        self._absent: set[int] = set()
        self._new: dict[int, TrialRecord] = {}
        self._changed: dict[int, TrialRecord] = {}
        self._events: list[EventRecord] = []
        self._buffer: list[Buffered] | None = None
        self._is_study_changed = False

    @classmethod
    def begin(
        cls,
        connection: Connection,
        study_id: str,
        specs: SpecCache,
        known: dict[str, StudyRecord],
        clock: Clock | None = None,
    ) -> StudyWork:
        """Lock the study.

        Raises:
            StudyGone: it does not exist any more.
        """
        locked = studies.lock(connection, study_id, specs, known)
        if locked is None:
            raise StudyGone
        now = clock() if clock else (locked.now or utc_now()).astimezone(UTC)
        # A clock that jumps back must not write history out of order.
        return cls(connection, locked.study, locked.progress, max(now, locked.progress.updated_at))

    @property
    def spec(self) -> StudySpec:
        """The study as created."""
        return self.study.spec

    @property
    def id(self) -> str:
        """The study's id."""
        return self.study.id

    def event(self, kind: str, number: int | None = None, /, **data: object) -> int:
        """Take the next number of the sequence for a change and record what it was."""
        self.progress.seq += 1
        self._events.append(EventRecord(self.id, self.progress.seq, kind, self.now, number, data))
        self.wake_study = True
        return self.progress.seq

    def preload(self, numbers: Iterable[int]) -> None:
        """Read many trials in one statement."""
        wanted = {
            n for n in numbers if n not in self._known and n not in self._absent and 0 < n < self.progress.next_number
        }
        if wanted:
            self._known |= trials.get_many(self.connection, self.id, wanted)
            self._absent |= wanted - self._known.keys()

    def trial(self, number: int) -> TrialRecord:
        """One trial.

        Raises:
            NotFound: no trial has this number.
        """
        if number not in self._known:
            self.preload([number])
        found = self._known.get(number)
        if found is None:
            raise NotFound(f"study {self.study.name!r} has no trial {number}")
        return found

    def adopt(self, records: Iterable[TrialRecord]) -> list[TrialRecord]:
        """Records that a query found; one that is already held here is newer and stands."""
        return [self._known.setdefault(record.number, record) for record in records]

    def next_number(self) -> int:
        """Give the next trial its number."""
        number = self.progress.next_number
        self.progress.next_number += 1
        return number

    def add(self, record: TrialRecord, reason: str = "created") -> None:
        """A new trial, counted in its state."""
        self._known[record.number] = self._new[record.number] = record
        self._count(record.state, 1)
        counter = _WORDS[record.state]
        record.seq = self.event(f"trial.{reason}", record.number, state=counter, suggester=record.suggester)

    def move(self, record: TrialRecord, state: TrialState, kind: str, /, **data: object) -> None:
        """A trial's change of state, with its event."""
        self._count(record.state, -1)
        self._count(state, 1)
        record.state = state
        self.touch(record, kind, state=_WORDS[state], **data)

    def touch(self, record: TrialRecord, kind: str | None = None, /, **data: object) -> None:
        """Note that a trial changed; with an event where others should see it."""
        if kind is not None:
            record.seq = self.event(kind, record.number, **data)
        if record.number not in self._new:
            self._changed[record.number] = record

    def _count(self, state: TrialState, by: int) -> None:
        counter = _WORDS[state]
        setattr(self.progress, counter, getattr(self.progress, counter) + by)

    def fill_buffer(self, new: Sequence[Suggestion], seen_seq: int) -> None:
        """Make these suggestions the whole buffer; those that are taken before the end are never written there."""
        self._buffer = [Buffered(place, seen_seq, suggestion) for place, suggestion in enumerate(new)]
        self.progress.buffered, self.progress.buffer_seq = len(new), seen_seq

    def in_buffer(self, most: int) -> list[Buffered]:
        """The next suggestions in their order."""
        return suggestions.first(self.connection, self.id, most) if self._buffer is None else self._buffer[:most]

    def take(self, taken: Sequence[Buffered]) -> None:
        """Suggestions leave the buffer; they are the first there."""
        self.progress.buffered -= len(taken)
        if self._buffer is not None:
            del self._buffer[: len(taken)]
        elif taken:
            suggestions.remove(self.connection, self.id, taken[-1].place)

    def learned(self) -> None:
        """What suggesters know has changed up to here: suggestions that have not seen it are not fresh any more."""
        self.progress.knowledge_seq = self.progress.seq
        self.progress.exhausted = self.progress.short = False

    def set_state(self, state: StudyState, reason: str | None) -> None:
        """Change the study's state."""
        self.study.state = state
        self.study.state_reason = reason
        self.study_changed()
        self.event(f"study.{'resumed' if state is StudyState.ACTIVE else state.value}", reason=reason)

    def study_changed(self) -> None:
        """Note that the study's own columns changed."""
        self._is_study_changed = True
        self.study.revision += 1
        self.study.updated_at = self.now

    def lease_until(self, seconds: float) -> datetime:
        """When a lease given now runs out; the study remembers the earliest."""
        until = self._leases.get(seconds)
        if until is None:
            until = self._leases[seconds] = self.now + timedelta(seconds=seconds)
        earliest = self.progress.next_lease_at
        if earliest is None or until < earliest:
            self.progress.next_lease_at = until
        return until

    def write(self) -> None:
        """Send pending trials and events, so that a query sees them."""
        trials.insert_many(self.connection, list(self._new.values()))
        trials.update_many(self.connection, list(self._changed.values()))
        events.insert_many(self.connection, self._events)
        self._new, self._changed, self._events = {}, {}, []

    def flush(self) -> None:
        """Send everything; the transaction may commit then. One that only looked leaves nothing for the disk to do."""
        is_changed = self._new or self._changed or self._buffer is not None or self._is_study_changed
        if not is_changed and self.progress == self._before:
            return
        self.progress.updated_at = self.now
        with pipelined(self.connection):
            self.write()
            if self._buffer is not None:
                suggestions.replace(self.connection, self.id, self._buffer)
            studies.update_progress(self.connection, self.progress)
            if self._is_study_changed:
                studies.update_study(self.connection, self.study)
