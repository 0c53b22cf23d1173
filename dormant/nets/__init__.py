"""Flax modules of the paper's agents."""

from typing import Any, NamedTuple, Protocol

from dormant.nets import minatar
from dormant.nets.conv import resolve
from dormant.nets.minatar import MinAtarNetwork
from dormant.nets.nature import ACTIVATIONS, HIDDEN, MLP, TORSO, NatureCNN, Output, scaled
from dormant.nets.precision import PRECISIONS, compute_dtype, with_products
from dormant.nets.rainbow import RainbowNetwork, RainbowOutput
from dormant.nets.resnet import STACKS, ResNet
from dormant.types import DormantError, EnvSpec, check_name

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "MinAtarNetwork",
    "Module",
    "NatureCNN",
    "Output",
    "PRECISIONS",
    "QNetwork",
    "RainbowNetwork",
    "RainbowOutput",
    "ResNet",
    "compute_dtype",
    "make_q_network",
    "make_rainbow_network",
    "with_products",
]


QNetwork = NatureCNN | ResNet | MLP | MinAtarNetwork
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


class Kind(NamedTuple):
    """What a network takes, and the sizes of its hidden layers at width 1."""

    axes: int  # of one observation of the environment
    hidden: tuple[int, ...]


# By the number of an observation's axes: what error messages call it.
OBSERVATIONS = {1: "vectors", 2: "images", 3: "images with channels"}
NETWORKS = {
    "nature": Kind(2, (*(size for size, _, _ in TORSO), HIDDEN)),
    "resnet": Kind(2, (*STACKS, HIDDEN)),
    "mlp": Kind(1, MLP.sizes),
    **{name: Kind(3, (minatar.CHANNELS, minatar.HIDDEN)) for name in minatar.NETWORKS},
}


def make_q_network(config: NetworkSettings, spec: EnvSpec) -> QNetwork:
    """The Q network that an agent's configuration names.

    "nature" and "resnet" take images, "minatar" and "minatar_layer_norm" MinAtar's images with
    channels, "mlp" takes vectors.

    Raises:
      DormantError: an unknown name (with the nearest valid one), a network that does not take the
        environment's observations, or a width that does not give whole neurons.
    """
    _check(config, spec)
    dtype = compute_dtype(config.precision)
    if config.network == "mlp":
        return MLP(spec.num_actions, width=config.width, activation=config.activation, dtype=dtype)
    if config.network in minatar.NETWORKS:
        return MinAtarNetwork(
            spec.num_actions,
            config.width,
            config.activation,
            _formulation(config),
            config.network == "minatar_layer_norm",
            dtype,
        )
    network = NatureCNN if config.network == "nature" else ResNet
    return network(spec.num_actions, config.width, config.activation, _formulation(config), dtype)


def make_rainbow_network(config: RainbowSettings, spec: EnvSpec) -> RainbowNetwork:
    """The network that a configuration of the Rainbow family describes.

    Raises:
      DormantError: as ``make_q_network``.
    """
    _check(config, spec)
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


def _formulation(config: NetworkSettings) -> str:
    """The formulation of the network's convolutions.

    For the MinAtar networks "auto" is a matrix product on every device: their populations are
    always one program.
    """
    if config.network in minatar.NETWORKS and config.formulation == "auto":
        return "matmul"
    return resolve(config.formulation)


def _check(config: NetworkSettings, spec: EnvSpec) -> None:
    check_name("activation", config.activation, ACTIVATIONS)
    check_name("network", config.network, NETWORKS)
    axes = len(spec.observation_shape)
    if NETWORKS[config.network].axes != axes:
        fitting = [name for name, kind in NETWORKS.items() if kind.axes == axes]
        raise DormantError(
            f"network {config.network!r} takes {OBSERVATIONS[NETWORKS[config.network].axes]}; "
            f"{spec.name} observes {OBSERVATIONS.get(axes, 'arrays')} of shape "
            f"{spec.observation_shape}; use {' or '.join(map(repr, fitting))}"
        )
    for size in NETWORKS[config.network].hidden:
        scaled(size, config.width)
