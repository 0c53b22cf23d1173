"""The method: neuron scores, wiring, recycling, selections, periods. Knows nothing of RL."""

from dormant.redo.capture import capture
from dormant.redo.continual_backprop import Units, continual_backprop, new_units
from dormant.redo.periods import Periodic
from dormant.redo.prune import prune, silenced
from dormant.redo.ranks import effective_rank, stable_rank
from dormant.redo.recycle import recycle
from dormant.redo.regularise import shrink_and_perturb, towards_initial
from dormant.redo.reset import reset
from dormant.redo.scores import (
    dormant_fraction,
    dormant_neurons,
    feature_rank,
    gradient_scores,
    layer_dormant_fractions,
    overlap_coefficient,
    scores,
)
from dormant.redo.select import (
    Candidates,
    Selection,
    cosine_share,
    fraction,
    gradient_dormant,
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
    "Units",
    "Wiring",
    "capture",
    "continual_backprop",
    "cosine_share",
    "dormant_fraction",
    "dormant_neurons",
    "effective_rank",
    "feature_rank",
    "fraction",
    "gradient_dormant",
    "gradient_scores",
    "layer_dormant_fractions",
    "new_units",
    "overlap_coefficient",
    "prune",
    "recycle",
    "reset",
    "scores",
    "selected",
    "shrink_and_perturb",
    "silenced",
    "size_matched_random",
    "stable_rank",
    "tau_dormant",
    "towards_initial",
]
