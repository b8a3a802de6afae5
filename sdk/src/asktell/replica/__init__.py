"""The client's theta: perturbed as a trial's seed says, moved on by the study's updates (docs/seeds.md)."""

from .replica import Replica

__all__ = ["Replica"]
