"""ReDo (Sokar et al., ICML 2023, "The Dormant Neuron Phenomenon in Deep RL") for any Flax network.

The method's main names are here. They are imported on first use, so that ``dormant.results`` and
``dormant.register`` need no jax; editors and type checkers see them at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dormant.redo import (
        Activations,
        Periodic,
        capture,
        dormant_fraction,
        dormant_neurons,
        feature_rank,
        recycle,
        reset,
        scores,
        selected,
    )
    from dormant.trained import load_agent

__version__ = "0.1.0"

__all__ = [
    "Activations",
    "Periodic",
    "__version__",
    "capture",
    "dormant_fraction",
    "dormant_neurons",
    "feature_rank",
    "load_agent",
    "recycle",
    "reset",
    "scores",
    "selected",
]


def __getattr__(name: str) -> Any:
    if name == "load_agent":
        return importlib.import_module("dormant.trained").load_agent
    if name in ("register", "results"):
        return importlib.import_module(f"dormant.{name}")
    if name in __all__:
        return getattr(importlib.import_module("dormant.redo"), name)
    raise AttributeError(f"module 'dormant' has no attribute {name!r}")
