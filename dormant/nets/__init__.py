"""Flax modules of the paper's agents."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from dormant import register
from dormant.nets import minatar
from dormant.nets.conv import resolve
from dormant.nets.minatar import MinAtarNetwork
from dormant.nets.nature import ACTIVATIONS, HIDDEN, MLP, TORSO, NatureCNN, Output, scaled
from dormant.nets.precision import PRECISIONS, compute_dtype, with_products
from dormant.nets.rainbow import RainbowNetwork, RainbowOutput
from dormant.nets.resnet import STACKS, ResNet
from dormant.tracing import made
from dormant.types import DormantError, EnvSpec, check_name

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "MinAtarNetwork",
    "Module",
    "NatureCNN",
    "Output",
    "PRECISIONS",
    "RainbowNetwork",
    "RainbowOutput",
    "ResNet",
    "compute_dtype",
    "make_q_network",
    "make_rainbow_network",
    "with_products",
]


# A network as its users hold it. Flax types ``apply`` as a union that has not the fields of what
# ``__call__`` returns, so this is Any.
Module = Any


class NetworkSettings(Protocol):
    """What a network needs to know of an agent's configuration."""

    @property
    def network(self) -> str: ...
    @property
    def width(self) -> float: ...
    @property
    def activation(self) -> str: ...
    @property
    def formulation(self) -> str: ...
    @property
    def precision(self) -> str: ...


class RainbowSettings(NetworkSettings, Protocol):
    """The same, with the switches of the Rainbow family."""

    @property
    def noisy(self) -> bool: ...
    @property
    def dueling(self) -> bool: ...
    @property
    def distributional(self) -> bool: ...
    @property
    def num_atoms(self) -> int: ...
    @property
    def vmin(self) -> float | None: ...
    @property
    def vmax(self) -> float: ...


# By the number of an observation's axes: what error messages call it.
OBSERVATIONS = {1: "vectors", 2: "images", 3: "images with channels"}
IMAGES = (2, 3)  # axes that the Atari networks take


def make_q_network(config: NetworkSettings, spec: EnvSpec) -> Module:
    """The Q network that an agent's configuration names: one of register.NETWORKS.

    Raises:
      DormantError: an unknown name (with the nearest valid one), a network that does not take the
        environment's observations, or a width that does not give whole neurons.
    """
    return _made(register.NETWORKS, config, spec)


def make_rainbow_network(config: RainbowSettings, spec: EnvSpec) -> Module:
    """The network that a configuration of the Rainbow family names: of register.RAINBOW_NETWORKS.

    Raises:
      DormantError: as ``make_q_network``.
    """
    return _made(register.RAINBOW_NETWORKS, config, spec)


def _made(
    table: dict[str, register.NetworkEntry], config: NetworkSettings, spec: EnvSpec
) -> Module:
    check_name("network", config.network, table)
    entry, axes = table[config.network], len(spec.observation_shape)
    if axes not in entry.axes:
        fitting = [name for name, other in table.items() if axes in other.axes]
        raise DormantError(
            f"network {config.network!r} takes {OBSERVATIONS[entry.axes[0]]}; "
            f"{spec.name} observes {OBSERVATIONS.get(axes, 'arrays')} of shape "
            f"{spec.observation_shape}; use {' or '.join(map(repr, fitting))}"
        )
    return made(f"network {config.network!r}", entry.make, None, config, spec)


# The package's own
# ------------------------------------------------------------------------------------------------


@register.network("nature", axes=IMAGES)
def _nature(config: NetworkSettings, spec: EnvSpec) -> NatureCNN:
    return NatureCNN(*_atari(config, spec))


@register.network("resnet", axes=IMAGES)
def _resnet(config: NetworkSettings, spec: EnvSpec) -> ResNet:
    return ResNet(*_atari(config, spec))


@register.network("mlp", axes=1)
def _mlp(config: NetworkSettings, spec: EnvSpec) -> MLP:
    _check(config, MLP.sizes)
    dtype = compute_dtype(config.precision)
    return MLP(spec.num_actions, width=config.width, activation=config.activation, dtype=dtype)


def _minatar(config: NetworkSettings, spec: EnvSpec) -> MinAtarNetwork:
    _check(config, (minatar.CHANNELS, minatar.HIDDEN))
    return MinAtarNetwork(
        spec.num_actions,
        config.width,
        config.activation,
        _formulation(config),
        config.network,
        compute_dtype(config.precision),
    )


def _rainbow(config: RainbowSettings, spec: EnvSpec) -> RainbowNetwork:
    _check(config, _HIDDEN[config.network])
    if config.network in ("nature", "resnet"):
        _check_bytes(config, spec)
    return RainbowNetwork(
        num_actions=spec.num_actions,
        torso=config.network,
        width=config.width,
        activation=config.activation,
        formulation=_formulation(config),
        noisy=config.noisy,
        dueling=config.dueling,
        num_atoms=config.num_atoms if config.distributional else 1,
        vmin=-config.vmax if config.vmin is None else config.vmin,
        vmax=config.vmax,
        dtype=compute_dtype(config.precision),
    )


# The sizes of hidden layers at width 1.
_HIDDEN = {
    "nature": (*(size for size, _, _ in TORSO), HIDDEN),
    "resnet": (*STACKS, HIDDEN),
    "mlp": MLP.sizes,
    **dict.fromkeys(minatar.NETWORKS, (minatar.CHANNELS, minatar.HIDDEN)),
}
for _name in minatar.NETWORKS:
    register.network(_name, axes=3)(_minatar)
for _name in _HIDDEN:
    register.network(_name, axes=register.NETWORKS[_name].axes, head="rainbow")(_rainbow)


def _atari(config: NetworkSettings, spec: EnvSpec) -> tuple[int, float, str, str, Any]:
    """The arguments of the Atari networks."""
    _check(config, _HIDDEN[config.network])
    _check_bytes(config, spec)
    dtype = compute_dtype(config.precision)
    return spec.num_actions, config.width, config.activation, _formulation(config), dtype


def _check(config: NetworkSettings, hidden: Sequence[int]) -> None:
    check_name("activation", config.activation, ACTIVATIONS)
    for size in hidden:
        scaled(size, config.width)


def _check_bytes(config: NetworkSettings, spec: EnvSpec) -> None:
    """The Atari networks divide by 255."""
    if np.dtype(spec.observation_dtype) != np.uint8:
        raise DormantError(
            f"network {config.network!r} takes images of bytes; {spec.name} observes images of "
            f"{np.dtype(spec.observation_dtype)}; use {' or '.join(map(repr, minatar.NETWORKS))}"
        )


def _formulation(config: NetworkSettings) -> str:
    """Of the network's convolutions. "auto" is a matrix product for the MinAtar networks on every
    device, where their populations are always one program.
    """
    if config.network in minatar.NETWORKS and config.formulation == "auto":
        return "matmul"
    return resolve(config.formulation)
