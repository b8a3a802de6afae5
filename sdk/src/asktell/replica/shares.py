"""Updates worked out by several clients together, each a share of theta's entries."""

from __future__ import annotations

from ..updates import Update

Part = tuple[int, int]
"""(i, n): the i-th of n shares, 0 ≤ i < n."""


class Shares:
    """Which share this client has moments of, and whose shares of the last update are still to come.

    Attributes:
        part: the share, or None for all.
        awaited: shares of others.
    """

    def __init__(self) -> None:
        self.part: Part | None = None
        self.awaited: set[Part] = set()

    def check_whole(self) -> None:
        """
        Raises:
            ValueError: theta is made in parts, and some are missing.
        """
        if self.awaited:
            raise ValueError(f"{len(self.awaited)} parts of theta are still to be filled in")

    def check(self, update: Update, part: Part | None, rule: str) -> None:
        """
        Args:
            rule: in use so far.

        Raises:
            ValueError: the update cannot be applied in this part, or not after the parts before.
        """
        if part is not None:
            if not 0 <= part[0] < part[1]:
                raise ValueError(f"part {part}: the first number is from 0 to below the second")
            if update.rule == "snes" or (update.mask is not None and update.mask.kind != "random"):
                raise ValueError("snes and pruning need all of theta at once: apply the update without part")
        if self.part not in (None, part) and update.rule == rule in ("momentum", "adam"):
            raise ValueError(f"moments are those of part {self.part}: {rule} goes on with that part alone")

    def begin(self, part: Part) -> None:
        """One share is done, the others are awaited."""
        self.part, self.awaited = part, {(i, part[1]) for i in range(part[1]) if i != part[0]}

    def take(self, part: Part) -> None:
        """Another client's share comes.

        Raises:
            ValueError: it is not awaited.
        """
        if part not in self.awaited:
            raise ValueError(f"part {part} is not awaited")
        self.awaited.discard(part)
