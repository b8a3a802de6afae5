"""Results on disk: one JSON line a run, appended, so that an interrupted command goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Key = tuple[str, str, str, int, int]


def key(row: Row) -> Key:
    """What makes a run the same run: solver, label of our code, problem with its variant, seed, budget."""
    return (row["solver"], row["label"], row["problem"], row["seed"], row["budget"])


class Store:
    """A file of rows.

    Args:
        path: made with the first row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[Row]:
        """Every run, the latest where one was repeated; a line cut off by a crash is passed over."""
        found: dict[Key, Row] = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                found[key(row)] = row
        return list(found.values())

    def done(self) -> set[Key]:
        """The runs that need not be repeated."""
        return {key(row) for row in self.rows()}

    def add(self, row: Row) -> None:
        """Append a run; lines of several commands at once do not mix."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            file.write((json.dumps(row, allow_nan=False) + "\n").encode())
