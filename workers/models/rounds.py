"""Whose turn it is: the rows of a population are asked in rounds, and a trial carries its round and row (`origin`)."""

from __future__ import annotations

from collections.abc import Sequence

from services.domain.history import History


class Rounds:
    """Which rows of which rounds have trials; each trial is looked at once.

    Attributes:
        open: the newest round that has a trial.

    Args:
        name: of the method, as its trials carry it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.open = 0
        self._used: dict[int, set[int]] = {}
        self._next: int | None = None  # trials from here on are not read yet
        self._absent: list[int] = []

    def turn(self, history: History, live: Sequence[int]) -> tuple[int, list[int]]:
        """The open round, and those of the rows in use that no trial of it has yet, last one first."""
        self._read(history)
        while self._rows(history, self.open + 1):
            self.open += 1
        used = self._rows(history, self.open)
        self._used = {turn: rows for turn, rows in self._used.items() if turn >= self.open}
        free = [row for row in reversed(live) if row not in used]
        return (self.open, free) if free else (self.open + 1, list(reversed(live)))

    def _read(self, history: History) -> None:
        """Add the trials that came since the last call to the rounds that are known."""
        if self._next is None:
            self._next = history.next_number if len(history) >= history.next_number - 1 else 1
        unread = [*self._absent, *range(self._next, history.next_number)]
        self._absent, self._next = [], max(self._next, history.next_number)
        for number in unread:
            trial = history.get(number)
            if trial is None:
                self._absent.append(number)
            elif trial.origin.get("method") == self._name and trial.origin["generation"] in self._used:
                self._used[trial.origin["generation"]].add(trial.origin["row"])

    def _rows(self, history: History, turn: int) -> set[int]:
        """Rows of a round that have trials."""
        if turn not in self._used:
            own = (t for t in history.generation(turn) if t.origin.get("method") == self._name)
            self._used[turn] = {t.origin["row"] for t in own}
        return self._used[turn]
