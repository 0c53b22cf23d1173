"""Flax modules of the paper's agents."""

from typing import Any

from dormant.nets.conv import resolve
from dormant.nets.minatar import NETWORKS as MINATAR
from dormant.nets.minatar import MinAtarNetwork
from dormant.nets.nature import ACTIVATIONS, MLP, NatureCNN, Output
from dormant.nets.precision import PRECISIONS, compute_dtype, with_products
from dormant.nets.rainbow import RainbowNetwork, RainbowOutput
from dormant.nets.resnet import ResNet
from dormant.types import DormantError, EnvSpec, check_name

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "MinAtarNetwork",
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

NETWORKS = ("mlp", *MINATAR, "nature", "resnet")


def make_q_network(config: Any, spec: EnvSpec) -> Any:
    """The Q network that an agent's configuration names ("nature", "resnet" for pictures, "mlp" for
    vectors, "minatar", "minatar_layer_norm" for MinAtar's small images).

    Raises:
      DormantError: unknown network, activation, formulation or precision; the nearest valid name is
        said. A MinAtar network for observations of another kind, or the other way round.
    """
    _check_names(config)
    check_observations(config.network, spec)
    dtype = compute_dtype(config.precision)
    if config.network == "mlp":
        return MLP(spec.num_actions, activation=config.activation, dtype=dtype)
    if config.network in MINATAR:
        return MinAtarNetwork(
            spec.num_actions,
            config.width,
            config.activation,
            formulation_of(config),
            config.network == "minatar_layer_norm",
            dtype,
        )
    network = NatureCNN if config.network == "nature" else ResNet
    return network(
        spec.num_actions, config.width, config.activation, resolve(config.formulation), dtype
    )


def make_rainbow_network(config: Any, spec: EnvSpec) -> RainbowNetwork:
    """The network that a configuration of the Rainbow family describes.

    Raises:
      DormantError: as for ``make_q_network``.
    """
    _check_names(config)
    check_observations(config.network, spec)
    return RainbowNetwork(
        num_actions=spec.num_actions,
        torso=config.network,
        width=config.width,
        activation=config.activation,
        formulation=formulation_of(config),
        noisy=config.noisy,
        dueling=config.dueling,
        num_atoms=config.num_atoms if config.distributional else 1,
        vmin=-config.vmax if config.vmin is None else config.vmin,
        vmax=config.vmax,
        dtype=compute_dtype(config.precision),
    )


def formulation_of(config: Any) -> str:
    """Of the network's convolutions. "auto" is a matrix product for the MinAtar networks on every
    device, where their populations are always one program.
    """
    if config.network in MINATAR and config.formulation == "auto":
        return "matmul"
    return resolve(config.formulation)


def check_observations(network: str, spec: EnvSpec) -> None:
    """Raises a DormantError unless a MinAtar network meets images of (rows, columns, channels), and
    a network for stacked pictures does not.
    """
    channelled = len(spec.observation_shape) == 3
    if network in MINATAR and not channelled:
        raise DormantError(
            f"network {network!r} is for MinAtar's images; {spec.name} observes "
            f"{spec.observation_shape}"
        )
    if network in ("nature", "resnet") and channelled:
        raise DormantError(
            f"network {network!r} is for stacked pictures; {spec.name} observes "
            f"{spec.observation_shape}: use 'minatar'"
        )


def _check_names(config: Any) -> None:
    check_name("activation", config.activation, ACTIVATIONS)
    check_name("network", config.network, NETWORKS)
