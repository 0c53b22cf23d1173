"""Recycling of a plain stack in NumPy loops: one neuron, one weight at a time."""

import numpy as np


def scores(values):
    """(..., H) -> (H,): mean |h_i| over the layer's mean + 1e-9."""
    samples = np.abs(np.asarray(values, np.float64)).reshape(-1, values.shape[-1])
    each = [samples[:, i].mean() for i in range(samples.shape[1])]
    return np.array([e / (sum(each) / len(each) + 1e-9) for e in each])


def recycle(layers, fresh, moments, dead):
    """A stack of layers, each {"kernel", "bias"}; kernels end in (inputs, outputs).

    dead: for each layer but the last, the indices of its dead neurons. A dense kernel after a
    convolution has a row for each place and channel, channel last. Returns new layers and moments.
    Zeroing comes last, so that zero wins.
    """
    new = [{name: w.copy() for name, w in layer.items()} for layer in layers]
    new_moments = [{name: m.copy() for name, m in layer.items()} for layer in moments]
    for k, units in enumerate(dead):
        for unit in units:
            for name in ("kernel", "bias"):
                new[k][name][..., unit] = fresh[k][name][..., unit]
                new_moments[k][name][..., unit] = 0
    for k, units in enumerate(dead):
        width, rows = layers[k]["kernel"].shape[-1], layers[k + 1]["kernel"].shape[-2]
        for unit in units:
            for row in range(rows):
                if row % width == unit:
                    new[k + 1]["kernel"][..., row, :] = 0
                    new_moments[k + 1]["kernel"][..., row, :] = 0
    return new, new_moments
