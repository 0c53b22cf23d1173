"""Labelled images: scikit-learn's digits, which come with the package, and CIFAR-10 from the user's
archive.
"""

import hashlib
import os
import tarfile
from importlib import resources
from typing import NamedTuple

import numpy as np

from dormant.types import DormantError

CLASSES = 10
# https://www.cs.toronto.edu/~kriz/cifar.html, "CIFAR-10 binary version"
CIFAR_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR_BATCHES = tuple(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6))
_CIFAR_ROW = 1 + 3 * 32 * 32  # label, then the planes red, green, blue
_CIFAR_ROWS = 10_000  # of each batch
_DRAW = 20230213  # seed of the choice of images: the same for every seed of a study


class Images(NamedTuple):
    """A labelled data set."""

    name: str
    images: np.ndarray  # (N, H, W, C) float32, each channel of mean 0 and standard deviation 1
    labels: np.ndarray  # (N,) int32, 0 to CLASSES - 1


def digits(count: int) -> Images:
    """``count`` different images (10, 10, 1) of scikit-learn's 1,797 digits, each shifted.

    An 8x8 digit lies in one of nine places of a 10x10 field (shifted by -1, 0 or 1 in both
    directions): 16,173 images. The first 1,797 are all the digits once.

    Source: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI
    Machine Learning Repository, the test set, as scikit-learn ships it.

    Raises:
      DormantError: more images than there are.
    """
    with (resources.files("dormant.studies") / "data" / "digits.npz").open("rb") as file:
        stored = np.load(file)
        small, labels = stored["images"], stored["labels"].astype(np.int32)
    most = 9 * len(small)
    if not 1 <= count <= most:
        raise DormantError(f"{count:,} images of digits; with shifts there are 1 to {most:,}")
    rng = np.random.default_rng(_DRAW)
    order = rng.permutation(len(small))
    places = np.stack([rng.permutation(9) for _ in small])  # of each digit, a different one a round
    chosen = np.arange(count)
    which, place = order[chosen % len(small)], places[chosen % len(small), chosen // len(small)]
    out = np.zeros((count, 10, 10), np.float32)
    for index, (digit, at) in enumerate(zip(which, place)):
        row, column = divmod(int(at), 3)
        out[index, row : row + 8, column : column + 8] = small[digit]
    return Images("digits", _standardised(out[..., None]), labels[which])


def cifar(path: str, count: int) -> Images:
    """The first ``count`` training images (32, 32, 3) of CIFAR-10.

    Args:
      path: cifar-10-binary.tar.gz as its authors publish it.

    Raises:
      DormantError: no such file, another checksum, or another shape than the published one.
    """
    most = _CIFAR_ROWS * len(CIFAR_BATCHES)
    if not 1 <= count <= most:
        raise DormantError(f"{count:,} images of CIFAR-10; there are 1 to {most:,}")
    if not os.path.isfile(path):
        raise DormantError(f"no CIFAR-10 archive at {path} (cifar-10-binary.tar.gz is wanted)")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != CIFAR_MD5:
        raise DormantError(
            f"{path} has MD5 {found}; cifar-10-binary.tar.gz as published has {CIFAR_MD5}"
        )
    rows = np.concatenate([*read_batches(path, -(-count // _CIFAR_ROWS))])[:count]
    images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.float32)
    return Images("CIFAR-10", _standardised(images), rows[:, 0].astype(np.int32))


def read_batches(path: str, batches: int) -> list[np.ndarray]:
    """The first batches, each (10000, 3073) uint8.

    Raises:
      DormantError: the archive cannot be read, or a batch is of another shape.
    """
    found, rows = [], _CIFAR_ROWS
    try:
        with tarfile.open(path) as archive:
            for name in CIFAR_BATCHES[:batches]:
                member = archive.extractfile(name)
                data = np.frombuffer(member.read() if member else b"", np.uint8)
                if data.size != rows * _CIFAR_ROW or data[::_CIFAR_ROW].max() >= CLASSES:
                    raise DormantError(
                        f"{path}: {name} is not of CIFAR-10's shape ({data.size} bytes; "
                        f"{rows} rows of {_CIFAR_ROW}, the first byte a label, are wanted)"
                    )
                found.append(data.reshape(rows, _CIFAR_ROW))
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise DormantError(f"{path} is no CIFAR-10 archive that can be read ({error})") from error
    return found


def _standardised(images: np.ndarray) -> np.ndarray:
    mean, deviation = images.mean(axis=(0, 1, 2)), images.std(axis=(0, 1, 2))
    return ((images - mean) / deviation).astype(np.float32)
