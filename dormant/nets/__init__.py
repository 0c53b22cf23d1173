"""Flax modules of the paper's agents."""

from typing import Any

from dormant.nets.conv import resolve
from dormant.nets.nature import ACTIVATIONS, MLP, NatureCNN, Output
from dormant.nets.precision import PRECISIONS, compute_dtype, with_products
from dormant.nets.rainbow import RainbowNetwork, RainbowOutput
from dormant.nets.resnet import ResNet
from dormant.types import EnvSpec, check_name

__all__ = [
    "ACTIVATIONS",
    "MLP",
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

NETWORKS = ("mlp", "nature", "resnet")


def make_q_network(config: Any, spec: EnvSpec) -> Any:
    """The Q network that an agent's configuration names ("nature", "resnet" for pictures, "mlp" for
    vectors).

    Raises:
      DormantError: unknown network, activation, formulation or precision; the nearest valid name is
        said.
    """
    _check_names(config)
    dtype = compute_dtype(config.precision)
    if config.network == "mlp":
        return MLP(spec.num_actions, activation=config.activation, dtype=dtype)
    network = NatureCNN if config.network == "nature" else ResNet
    return network(
        spec.num_actions, config.width, config.activation, resolve(config.formulation), dtype
    )


def make_rainbow_network(config: Any, spec: EnvSpec) -> RainbowNetwork:
    """The network that a configuration of the Rainbow family describes.

    Raises:
      DormantError: unknown network, activation, formulation or precision; the nearest valid name is
        said.
    """
    _check_names(config)
    return RainbowNetwork(
        num_actions=spec.num_actions,
        torso=config.network,
        width=config.width,
        activation=config.activation,
        formulation=resolve(config.formulation),
        noisy=config.noisy,
        dueling=config.dueling,
        num_atoms=config.num_atoms if config.distributional else 1,
        vmin=-config.vmax if config.vmin is None else config.vmin,
        vmax=config.vmax,
        dtype=compute_dtype(config.precision),
    )


def _check_names(config: Any) -> None:
    check_name("activation", config.activation, ACTIVATIONS)
    check_name("network", config.network, NETWORKS)
