"""What recycling knows of a network: its wiring, and activations that carry it."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import numpy as np

from dormant.types import DormantError, Key, Params, nearest


class Layer(NamedTuple):
    """The neurons of one kernel."""

    name: str  # path of the module that holds the kernel
    start: int  # the neurons' numbers in the network are start, ..., start + size - 1
    size: int  # H; neurons that no kernel reads are left out where others of the layer are read
    # () or (M, H / M) numbers of the neurons of each member of an ensemble
    members: tuple[tuple[int, ...], ...]
    recyclable: np.ndarray  # (H,) bool
    exact: np.ndarray  # (H,) bool: recycling it while it is silent leaves the outputs as they are
    # why not recyclable or not exact, and for how many neurons
    reasons: tuple[tuple[str, int], ...]
    scored: bool  # has post-activation values read by another kernel (output layers have not)


class Leaf(NamedTuple):
    """One parameter array and whose weights its elements are."""

    path: str  # joined by "/", without "params"
    shape: tuple[int, ...]
    # both broadcast to shape:
    owner: np.ndarray  # number of the neuron that an element is an incoming weight of, or -1
    feeder: np.ndarray  # number of the neuron that an element is an outgoing weight of, or -1
    fans: tuple[int, int] | None  # (fan in, fan out) of a kernel; None: bias, scale, ...
    additive: bool  # only ever added to its neurons (a bias)
    met: int = -1  # its place among the leaves that meet neurons element by element; -1: never


def same(mine: object, theirs: object) -> bool:
    """Whether two modules or initialisers are equal. Those with array fields cannot be compared:
    only one and the same is.
    """
    try:
        return mine is theirs or bool(mine == theirs)
    except (TypeError, ValueError):
        return False


@dataclass(frozen=True, eq=False)
class Wiring:
    """The layers and leaves of one network.

    Compared by content, so that two captures of one network compile once.
    """

    layers: tuple[Layer, ...]
    leaves: tuple[Leaf, ...]
    without_owner: tuple[tuple[str, str], ...] = ()  # (path, why): leaves that belong to no neuron
    # key -> freshly initialised parameters; compared with ==
    initialiser: Callable[[Key], Params] | None = None

    @cached_property
    def digest(self) -> bytes:
        content = hashlib.sha256()
        for record in (*self.layers, *self.leaves, *self.without_owner):
            for field in record:
                if isinstance(field, np.ndarray):  # a row and a column have the same bytes
                    content.update(f"{field.shape} {field.dtype}".encode() + field.tobytes())
                else:
                    content.update(repr(field).encode())
        return content.digest()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Wiring)
            and self.digest == other.digest
            and same(self.initialiser, other.initialiser)
        )

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def scored(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if layer.scored)

    @property
    def size(self) -> int:
        """Number of scored neurons."""
        return sum(layer.size for layer in self.scored)

    def layer(self, name: str) -> Layer:
        """The scored layer of that name.

        Raises:
          DormantError: there is none.
        """
        for layer in self.scored:
            if layer.name == name:
                return layer
        raise DormantError(
            f"no scored layer {name!r}; {nearest(name, [layer.name for layer in self.scored])}"
        )

    def bind(self, mapping: Mapping[str, jax.Array]) -> "Activations":
        """Activations from values measured by other means.

        Args:
          mapping: {layer name: (..., H)} of every scored layer.

        Raises:
          DormantError: a layer is missing, unknown, or of another number of neurons.
        """
        for name, values in mapping.items():
            layer = self.layer(name)
            if np.ndim(values) < 1 or np.shape(values)[-1] != layer.size:
                shape = np.shape(values)
                raise DormantError(
                    f"activations of {name} have shape {shape}; expected (..., {layer.size})"
                )
        missing = [layer.name for layer in self.scored if layer.name not in mapping]
        if missing:
            raise DormantError(f"no activations of layer {missing[0]}")
        return Activations({layer.name: mapping[layer.name] for layer in self.scored}, self)

    def describe(self) -> str:
        """A table a person can check: one line a layer, then one line a reason."""
        head = (
            "layer",
            "neurons",
            "scored",
            "recyclable",
            "exact",
            "incoming weights",
            "outgoing weights",
        )
        rows: list[tuple[str, ...]] = [head]
        for layer in self.layers:
            shape = (
                f"{len(layer.members)} x {layer.size // len(layer.members)}"
                if layer.members
                else str(layer.size)
            )
            numbers = (
                np.arange(layer.start, layer.start + layer.size) if layer.scored else np.array([-2])
            )
            incoming = [leaf.path for leaf in self.leaves if np.isin(leaf.owner, numbers).any()]
            outgoing = [leaf.path for leaf in self.leaves if np.isin(leaf.feeder, numbers).any()]
            can, exact = int(layer.recyclable.sum()), int((layer.exact & layer.recyclable).sum())
            row = [layer.name, shape, "yes" if layer.scored else "no", can, exact]
            rows.append(
                tuple(str(x) or "-" for x in (*row, " ".join(incoming), " ".join(outgoing)))
            )
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in rows
        ]
        for layer in self.layers:
            for reason, count in layer.reasons:
                number = "" if count == layer.size else f" ({count} neuron{'s' * (count > 1)})"
                lines.append(f"{layer.name}: {reason}{number}")
        return "\n".join(
            [*lines, *(f"{path}: belongs to no neuron, {why}" for path, why in self.without_owner)]
        )

    def __repr__(self) -> str:
        can = sum(int(layer.recyclable.sum()) for layer in self.layers)
        return f"Wiring({len(self.scored)} scored layers, {self.size} neurons, {can} recyclable)"


class Activations(Mapping[str, jax.Array]):
    """{layer name: (..., H) post-activation values}, with the network's wiring.

    A pytree: the arrays are its leaves.
    """

    def __init__(self, values: dict[str, jax.Array], wiring: Wiring) -> None:
        self._values = values
        self.wiring = wiring

    def __getitem__(self, name: str) -> jax.Array:
        if name not in self._values:
            raise KeyError(f"{name}; {nearest(name, self._values)}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def describe(self) -> str:
        """The wiring as a table: whose weights are whose, what is not recyclable and why."""
        return self.wiring.describe()

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {tuple(np.shape(x))}" for name, x in self._values.items())
        return f"Activations({shapes})"


def _flatten(
    activations: Activations,
) -> tuple[list[jax.Array], tuple[tuple[str, ...], Wiring]]:
    names = tuple(activations)
    return [activations[name] for name in names], (names, activations.wiring)


def _unflatten(static: tuple[tuple[str, ...], Wiring], arrays: Sequence[jax.Array]) -> Activations:
    names, wiring = static
    return Activations(dict(zip(names, arrays)), wiring)


jax.tree_util.register_pytree_node(Activations, _flatten, _unflatten)
