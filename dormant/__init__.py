"""ReDo (Sokar et al., ICML 2023, "The Dormant Neuron Phenomenon in Deep RL") for any Flax network.

The method's main names can be had from here; they are imported on first use, so that
``dormant.results`` needs no jax.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

METHOD = (
    "Activations",
    "Periodic",
    "capture",
    "dormant_fraction",
    "dormant_neurons",
    "feature_rank",
    "recycle",
    "reset",
    "scores",
    "selected",
)
__all__ = [*METHOD, "__version__"]  # noqa: F822


def __getattr__(name: str) -> Any:
    if name in METHOD:
        return getattr(importlib.import_module("dormant.redo"), name)
    raise AttributeError(f"module 'dormant' has no attribute {name!r}")
