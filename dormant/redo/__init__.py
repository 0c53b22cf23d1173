"""The method: neuron scores, wiring, recycling, selections, periods. Knows nothing of RL."""

from dormant.redo.capture import capture
from dormant.redo.periods import Periodic
from dormant.redo.recycle import recycle
from dormant.redo.reset import reset
from dormant.redo.scores import (
    dormant_fraction,
    dormant_neurons,
    feature_rank,
    layer_dormant_fractions,
    overlap_coefficient,
    scores,
)
from dormant.redo.select import (
    Candidates,
    Selection,
    cosine_share,
    fraction,
    selected,
    size_matched_random,
    tau_dormant,
)
from dormant.redo.wiring import Activations, Layer, Leaf, Wiring

__all__ = [
    "Activations",
    "Candidates",
    "Layer",
    "Leaf",
    "Periodic",
    "Selection",
    "Wiring",
    "capture",
    "cosine_share",
    "dormant_fraction",
    "dormant_neurons",
    "feature_rank",
    "fraction",
    "layer_dormant_fractions",
    "overlap_coefficient",
    "recycle",
    "reset",
    "scores",
    "selected",
    "size_matched_random",
    "tau_dormant",
]
