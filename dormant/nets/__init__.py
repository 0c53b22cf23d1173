"""Flax modules of the paper's agents."""
from typing import Any

from dormant.nets.conv import resolve
from dormant.nets.nature import ACTIVATIONS, MLP, NatureCNN, Output
from dormant.types import DormantError, EnvSpec, nearest

__all__ = ["ACTIVATIONS", "MLP", "NatureCNN", "Output", "make_q_network"]


def make_q_network(config: Any, spec: EnvSpec) -> Any:
    """The Q network that an agent's configuration names ("nature" for pictures, "mlp" for vectors).

    Raises:
      DormantError: unknown network or activation; the nearest valid name is said.
    """
    if config.activation not in ACTIVATIONS:
        raise DormantError(f"unknown activation {config.activation!r}; {nearest(config.activation, ACTIVATIONS)}")
    if config.network == "nature":
        return NatureCNN(spec.num_actions, config.width, config.activation, resolve(config.formulation))
    if config.network == "mlp":
        return MLP(spec.num_actions, activation=config.activation)
    raise DormantError(f"unknown network {config.network!r}; {nearest(config.network, ('nature', 'mlp'))}")
