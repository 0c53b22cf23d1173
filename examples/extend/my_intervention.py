"""An intervention: all parameters are shrunk and perturbed (Ash and Adams, 2020), for
``Run.methods = ("none", "shrink")``.
"""

from dataclasses import dataclass

import jax

from dormant import register
from dormant.redo import Periodic
from dormant.training.interventions import Intervention


@dataclass(frozen=True)
class Shrink:
    """Its settings, in gin files as ``Shrink.factor = 0.5``; an unusual value raises."""

    period: int = 1000  # gradient steps
    factor: float = 0.8  # of the old parameters; the rest is of fresh ones

    def __post_init__(self):
        if not 0 <= self.factor <= 1:
            raise ValueError(f"Shrink.factor is {self.factor}; it should be from 0 to 1")


@register.intervention("shrink", config=Shrink, title="Shrink")
def make_shrink(config, agent):
    """agent: dormant.agents.interface.Agent."""

    def apply(state, batch, key, settings, gradient_steps):
        """One member, inside jit -> its state, and {"network/layer": neurons touched}."""
        fresh = agent.networks(agent.init(key, settings))
        mix = lambda old, new: config.factor * old + (1 - config.factor) * new
        changed = {
            name: network._replace(params=jax.tree.map(mix, network.params, fresh[name].params))
            for name, network in agent.networks(state).items()
        }
        return agent.with_networks(state, changed), {}

    when = Periodic(config.period, 0, float("inf"))
    return Intervention("shrink", config, when, batch_size=0, apply=apply, facts={})
