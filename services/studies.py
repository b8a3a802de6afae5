"""Studies: create, find, list, change, end and delete."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from . import pages
from .answers import StudyPage
from .caller import Caller, Role
from .catalogue import Catalogue
from .domain.errors import Conflict, Invalid, NotFound, Stale
from .domain.patching import patched
from .domain.study import LARGEST_SEED, Study, StudySpec, StudyState
from .idempotency import Idempotency, Reply, record, recorded
from .lifecycle import new_trial, reached_limit, settle
from .pages import ListStudies
from .store import llm as llm_store
from .store import studies as store
from .store import suggestions as suggestion_store
from .store.records import Progress, StudyRecord
from .store.unit_of_work import StudyGone, StudyWork
from .transactions import Transactions

T = TypeVar("T")
MOST_KNOWN = 10_000


class StudyFinder:
    """From a client's word for a study to its id, and from there into its transaction."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._ids: dict[tuple[str, str], str] = {}

    async def resolve(self, caller: Caller, ref: str) -> str:
        """The id of a study given by id or name.

        Raises:
            NotFound: the caller's project has no such study.
        """
        known = self._ids.get((caller.project, ref))
        if known is not None:
            return known
        found = await self._transactions.read(lambda connection: store.find_id(connection, caller.project, clean(ref)))
        if found is None:
            raise no_study(ref)
        while len(self._ids) >= MOST_KNOWN:
            self._ids.pop(next(iter(self._ids)), None)
        self._ids[caller.project, ref] = found
        return found

    async def run(self, caller: Caller, ref: str, op: Callable[[StudyWork], T], numbers: Sequence[int] = ()) -> T:
        """Run an operation on a study given by id or name.

        Raises:
            NotFound: the caller's project has no such study, or what `op` raises.
        """
        for _ in range(2):
            study_id = await self.resolve(caller, ref)
            try:
                return await self._transactions.on_study(study_id, op, numbers)
            except StudyGone:
                # Deleted since it was looked up; another may have its name by now.
                self._ids.pop((caller.project, ref), None)
        raise no_study(ref)


def clean(ref: str) -> str:
    """A name as it can stand in the database; one with NUL or lone surrogates exists nowhere."""
    try:
        ref.encode()
    except UnicodeEncodeError:
        raise no_study(ascii(ref)) from None
    if "\x00" in ref:
        raise no_study(ascii(ref))
    return ref


def no_study(ref: str) -> NotFound:
    """The error for a study that this project does not have."""
    return NotFound(f"there is no study {ref[:128]!r}")


class Studies:
    """The use cases about studies as a whole."""

    def __init__(self, transactions: Transactions, finder: StudyFinder, catalogue: Catalogue) -> None:
        self._transactions = transactions
        self._finder = finder
        self._catalogue = catalogue

    async def create(self, caller: Caller, spec: StudySpec, idem: Idempotency | None = None) -> Reply[Study]:
        """A new study.

        Raises:
            Invalid: the space does not fit together, or the suggester does not honour all that is asked for.
            Conflict: the name is taken.
        """
        caller.must_be(Role.WRITER)
        spec.check()
        # What is checked may load a library.
        spec, suggester = await asyncio.to_thread(self._catalogue.serve, spec)
        now = self._transactions.now()

        def run(connection: Connection) -> Reply[Study]:
            # The name before the key: who sees the study of a creation that raced this one then sees its answer as well.
            taken = store.find_id(connection, caller.project, spec.name) is not None
            replay = recorded(connection, caller.project, idem, Study, now)
            if replay is not None:
                return replay
            if taken:
                raise Conflict(f"the name {spec.name!r} is taken by another study")
            work = self._insert(connection, caller, spec, pooled=not suggester.inline, now=now)
            answer = work.study.study(work.progress)
            record(connection, caller.project, idem, answer, now)
            return Reply(answer)

        # Two creations of one name at one moment: the index refuses the second, which is run again and finds the first.
        reply = await self._transactions.write(run)
        await self._transactions.wakeups.publish("work", reply.value.id)
        return reply

    @staticmethod
    def _insert(connection: Connection, caller: Caller, spec: StudySpec, *, pooled: bool, now: datetime) -> StudyWork:
        study_id = f"st_{uuid.uuid4().hex}"
        seed = spec.seed if spec.seed is not None else secrets.randbelow(LARGEST_SEED + 1)
        study = StudyRecord(
            study_id, caller.project, spec.name, StudyState.ACTIVE, None, spec, seed, pooled, 1, now, now
        )
        progress = Progress(study_id, now)
        store.ensure_project(connection, caller.project, now)
        store.insert_study(connection, study, progress)
        suggestion_store.insert_state(connection, study_id)
        work = StudyWork(connection, study, progress, now)
        work.event("study.created")
        default = spec.space.default()
        if default is not None:
            work.add(new_trial(work, default, suggester="default", reason="the declared defaults are tried first"))
        work.learned()
        settle(work)
        work.flush()
        return work

    async def get(self, caller: Caller, ref: str) -> Study:
        """One study.

        Raises:
            NotFound: the caller's project has none of this id or name.
        """
        record, progress = await self.find(caller, ref)
        return record.study(progress)

    async def find(self, caller: Caller, ref: str) -> tuple[StudyRecord, Progress]:
        """A study's record and progress.

        Raises:
            NotFound: the caller's project has none of this id or name.
        """
        caller.must_be(Role.READER)
        ref = clean(ref)
        found = await self._transactions.read(
            lambda connection: store.get(connection, caller.project, ref, self._transactions.specs)
        )
        if found is None:
            raise no_study(ref)
        return found

    async def list(self, caller: Caller, query: ListStudies) -> StudyPage:
        """One page of the caller's studies.

        Raises:
            Invalid: a token or label that cannot be read.
        """
        caller.must_be(Role.READER)
        is_by_name = query.order_by.endswith("name")
        place = pages.decode(query.page_token, query.order_by, str, str)
        after = None
        if place is not None:
            after = (place[0] if is_by_name else _time(place[0]), place[1])
        wanted = store.StudySlice(
            limit=query.page_size + 1,
            state=query.state,
            labels=pages.labels(query.label),
            q=query.q,
            order_by=query.order_by,
            after=after,
        )
        found = await self._transactions.read(
            lambda connection: store.page(connection, caller.project, wanted, self._transactions.specs)
        )
        shown, token = found[: query.page_size], ""
        if len(found) > query.page_size:
            last = shown[-1][0]
            token = pages.encode(query.order_by, last.name if is_by_name else last.created_at.isoformat(), last.id)
        return StudyPage.model_construct(studies=tuple(r.study(p) for r, p in shown), next_page_token=token)

    async def patch(
        self,
        caller: Caller,
        ref: str,
        patch: dict[str, Any],
        if_match: str | None = None,
        idem: Idempotency | None = None,
    ) -> Reply[Study]:
        """A JSON merge patch of what may change.

        Raises:
            Invalid: a field that may not change or does not fit afterwards.
            Stale: `if_match` is not the study's etag any more.
        """
        caller.must_be(Role.WRITER)

        def change(work: StudyWork) -> None:
            _must_match(work, if_match)
            spec = patched(work.spec, patch)
            if (spec.suggester, spec.llm) != (work.spec.suggester, work.spec.llm):
                spec = self._change_suggester(work, spec)
            work.study.spec = spec
            work.study_changed()
            work.event("study.updated", fields=sorted(patch))
            if work.study.state is StudyState.COMPLETED and work.study.state_reason and reached_limit(work) is None:
                # What ended it holds no more, such as a limit that was raised: it goes on.
                work.set_state(StudyState.ACTIVE, None)

        return await self._change(caller, ref, change, idem)

    def _change_suggester(self, work: StudyWork, spec: StudySpec) -> StudySpec:
        if work.spec.seed_vector is not None and work.progress.trials > 0:
            raise Conflict(
                "the suggester of a seed-encoded vector stands once there are trials: its update log never changes"
            )
        spec, found = self._catalogue.serve(spec)
        work.study.pooled = not found.inline
        work.learned()
        work.fill_buffer([], work.progress.buffer_seq)
        state = suggestion_store.state(work.connection, work.id)
        if state is not None:
            state.token += 1  # whoever computes for the old suggester now will be too late
            state.owner = state.claimed_until = state.blob = state.retry_at = None
            state.seq = state.failures = 0
            suggestion_store.update_state(work.connection, state)
        return spec

    async def pause(self, caller: Caller, ref: str, idem: Idempotency | None = None) -> Reply[Study]:
        """Hand out no more trials until resumed; those that run may still be told.

        Raises:
            Conflict: the study is completed.
        """
        return await self._set_state(caller, ref, StudyState.PAUSED, idem)

    async def resume(self, caller: Caller, ref: str, idem: Idempotency | None = None) -> Reply[Study]:
        """Go on with a paused study, or with a completed one whose limits allow it.

        Raises:
            Conflict: a limit that ended the study still holds.
        """
        return await self._set_state(caller, ref, StudyState.ACTIVE, idem)

    async def complete(self, caller: Caller, ref: str, idem: Idempotency | None = None) -> Reply[Study]:
        """End the study; running trials may still be told."""
        return await self._set_state(caller, ref, StudyState.COMPLETED, idem)

    async def _set_state(self, caller: Caller, ref: str, state: StudyState, idem: Idempotency | None) -> Reply[Study]:
        caller.must_be(Role.WRITER)

        def change(work: StudyWork) -> None:
            if work.study.state is state:
                return
            if state is StudyState.PAUSED and work.study.state is StudyState.COMPLETED:
                raise Conflict("a completed study cannot be paused")
            if state is StudyState.ACTIVE and (reason := reached_limit(work)) is not None:
                raise Conflict(f"cannot resume: {reason}; raise it first")
            work.set_state(state, "asked for" if state is StudyState.COMPLETED else None)

        return await self._change(caller, ref, change, idem)

    async def _change(
        self, caller: Caller, ref: str, change: Callable[[StudyWork], None], idem: Idempotency | None
    ) -> Reply[Study]:
        def run(work: StudyWork) -> Reply[Study]:
            replay = recorded(work.connection, caller.project, idem, Study, work.now)
            if replay is not None:
                return replay
            change(work)
            settle(work)
            answer = work.study.study(work.progress)
            record(work.connection, caller.project, idem, answer, work.now)
            return Reply(answer)

        return await self._finder.run(caller, ref, run)

    async def delete(self, caller: Caller, ref: str, if_match: str | None = None) -> None:
        """Delete a study with its trials.

        Raises:
            NotFound: there is none.
            Stale: `if_match` is not the study's etag any more.
        """
        caller.must_be(Role.WRITER)
        found, _ = await self.find(caller, ref)

        def run(connection: Connection) -> None:
            # The row is locked first, as every change does; a transaction on a deleted study finds nothing to lock.
            locked = store.lock(connection, found.id, self._transactions.specs, {})
            if locked is None:
                raise no_study(ref)
            if if_match not in (None, "*", f'"{locked.study.revision}"'):
                raise Stale("the study has changed since it was read")
            llm_store.forfeit(connection, found.id)
            store.delete_study(connection, found.id)

        await self._transactions.write(run)
        await self._transactions.wakeups.publish(f"study:{found.id}")
        await self._transactions.wakeups.publish("work", found.id)


def _must_match(work: StudyWork, if_match: str | None) -> None:
    if if_match not in (None, "*", f'"{work.study.revision}"'):
        raise Stale("the study has changed since it was read; read it again and repeat")


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise Invalid.at("/page_token", "is not a token that this listing gave; begin without one") from None
