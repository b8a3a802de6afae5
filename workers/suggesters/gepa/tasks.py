"""What an ask of GEPA can hand out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from workers.models.drafts import Draft

from .course import METHOD
from .pool import Texts
from .reflection import Reflection


@dataclass(frozen=True)
class Trial:
    """A trial that can be made at once."""

    texts: Texts
    reason: str
    origin: Mapping[str, Any]
    evaluate_on: Mapping[str, Any] | None = None
    receipt: Mapping[str, Any] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Child:
    """A trial whose text a language model has to write first.

    Attributes:
        texts: of the parent.
        component: that is rewritten.
    """

    index: int
    texts: Texts
    component: str
    reflection: Reflection
    split: str
    origin: Mapping[str, Any]
    receipt: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the iteration in the ledger."""
        return f"{METHOD}-{self.index}"

    def trial(self, draft: Draft) -> Trial:
        """The probe of what was written."""
        ids = self.origin["minibatch"]
        return Trial(
            draft.texts, f"iteration {self.index}: probe child on {len(ids)} examples, {draft.reason}",
            {**self.origin, "role": "child", **draft.origin}, {"split": self.split, "ids": list(ids)},
            self.receipt, draft.rejected,
        )  # fmt: skip


Task: TypeAlias = Trial | Child
