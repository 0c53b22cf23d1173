"""Flax modules of the paper's agents."""

from typing import Any

from dormant.nets.conv import resolve
from dormant.nets.nature import ACTIVATIONS, HIDDEN, MLP, TORSO, NatureCNN, Output, scaled
from dormant.nets.precision import PRECISIONS, compute_dtype, with_products
from dormant.nets.rainbow import RainbowNetwork, RainbowOutput
from dormant.nets.resnet import STACKS, ResNet
from dormant.types import DormantError, EnvSpec, check_name

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

# Hidden layers at width 1, by the network's name.
HIDDEN_SIZES = {
    "nature": (*(size for size, _, _ in TORSO), HIDDEN),
    "resnet": (*STACKS, HIDDEN),
    "mlp": MLP.sizes,
}
IMAGE_NETWORKS, VECTOR_NETWORKS = ("nature", "resnet"), ("mlp",)


def make_q_network(config: Any, spec: EnvSpec) -> NatureCNN | ResNet | MLP:
    """The Q network that an agent's configuration names.

    "nature" and "resnet" take images, "mlp" takes vectors.

    Raises:
      DormantError: an unknown name (with the nearest valid one), a network that does not take the
        environment's observations, or a width that does not give whole neurons.
    """
    _check(config, spec)
    dtype = compute_dtype(config.precision)
    if config.network == "mlp":
        return MLP(spec.num_actions, width=config.width, activation=config.activation, dtype=dtype)
    network = NatureCNN if config.network == "nature" else ResNet
    return network(
        spec.num_actions, config.width, config.activation, resolve(config.formulation), dtype
    )


def make_rainbow_network(config: Any, spec: EnvSpec) -> RainbowNetwork:
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
        formulation=resolve(config.formulation),
        noisy=config.noisy,
        dueling=config.dueling,
        num_atoms=config.num_atoms if config.distributional else 1,
        vmin=-config.vmax if config.vmin is None else config.vmin,
        vmax=config.vmax,
        dtype=compute_dtype(config.precision),
    )


def _check(config: Any, spec: EnvSpec) -> None:
    check_name("activation", config.activation, ACTIVATIONS)
    check_name("network", config.network, (*IMAGE_NETWORKS, *VECTOR_NETWORKS))
    is_image = len(spec.observation_shape) > 1
    fitting = IMAGE_NETWORKS if is_image else VECTOR_NETWORKS
    if config.network not in fitting:
        taken, observed = ("vectors", "images") if is_image else ("images", "vectors")
        raise DormantError(
            f"network {config.network!r} takes {taken}; {spec.name} observes {observed} of shape "
            f"{spec.observation_shape}; use {' or '.join(map(repr, fitting))}"
        )
    for size in HIDDEN_SIZES[config.network]:
        scaled(size, config.width)
