"""Replay memories on the device, as bundles of pure functions for one member."""

from dormant.replay.bits import make_packed
from dormant.replay.memory import Memory
from dormant.replay.prioritised import make_prioritised
from dormant.replay.uniform import make_uniform

__all__ = ["Memory", "make_packed", "make_prioritised", "make_uniform"]
