"""Replay memories on the device, as bundles of pure functions for one member."""
from dormant.replay.memory import Memory
from dormant.replay.uniform import make_uniform

__all__ = ["Memory", "make_uniform"]
