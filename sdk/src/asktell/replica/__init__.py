"""The client's theta: perturbed as a trial's seed says, moved on by the study's updates (docs/seeds.md)."""

from .replica import Replica
from .working import newest, work

__all__ = ["Replica", "newest", "work"]
