"""Slow, obvious versions in NumPy."""

import numpy as np


def categorical_projection(atoms_p, probabilities, atoms):
    """Algorithm 1 of Bellemare et al. (2017), atom by atom."""
    spacing = atoms[1] - atoms[0]
    out = np.zeros(len(atoms))
    for position, probability in zip(atoms_p, probabilities):
        b = min((np.clip(position, atoms[0], atoms[-1]) - atoms[0]) / spacing, len(atoms) - 1)
        lower, upper = int(np.floor(b)), int(np.ceil(b))
        if lower == upper:
            out[lower] += probability
        else:
            out[lower] += probability * (upper - b)
            out[upper] += probability * (b - lower)
    return out


def random_shift(image, row, column, pad):
    """Crops the edge-padded image at (row, column), pixel by pixel."""
    height, width = image.shape[:2]
    out = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            out[i, j] = image[
                np.clip(i + row - pad, 0, height - 1), np.clip(j + column - pad, 0, width - 1)
            ]
    return out
