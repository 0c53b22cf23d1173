"""Pruning: a neuron found dormant is silenced for good (Figures 6 and 19 of the paper).

The masks of what was pruned are a part of the member's state. Silenced weights are put back to 0
after every gradient step, whatever the optimiser has done to them; target networks are pruned with
the networks they follow.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from dormant import register
from dormant.agents.interface import Agent, Network, Settings
from dormant.redo import Wiring, prune, selected, silenced
from dormant.results import MemberRecord, pruned_name, remaining_name
from dormant.training.carried import Carried, wirings
from dormant.training.interventions import (
    NOISE,
    Intervention,
    check_ranges,
    hashable,
    networks_of,
    periodic,
)
from dormant.types import Key, Params, Transition

Pruned = dict[str, dict[str, jax.Array]]  # {network: {layer: (H,) bool}}


@dataclass(frozen=True)
class Prune:
    """Silencing dormant neurons for good.

    The paper gives neither threshold nor period (docs/paper.md, 3.10). Ours: tau 0, at which
    pruning leaves the network's function on the scored batch as it is, and ReDo's period.
    """

    tau: float = 0.0  # of the members that do not set their own
    period: int = 1000  # gradient steps
    start: int = 0  # gradient steps
    end: int | None = None  # gradient steps; None = never
    batch_size: int = 64  # transitions for the scores, a sample of their own
    networks: tuple[str, ...] | None = None  # of the agent's networks; None = all


@register.intervention("prune", config=Prune, title="pruning", traced={"tau": "tau"})
def make_prune(config: Prune, agent: Agent) -> Intervention:
    """Pruning for one agent.

    Raises:
      DormantError: tau, period, batch size or a network's name out of range.
    """
    check_ranges(config, agent)
    known = wirings(agent)

    def apply(
        state: Any,
        batch: Transition,
        key: Key,
        settings: Settings,
        gradient_steps: jax.Array,
        pruned: Pruned,
    ) -> tuple[Any, dict, Pruned]:
        del gradient_steps
        chosen = networks_of(agent.networks(state), config.networks)
        observed = agent.observe(state, batch, jax.random.fold_in(key, NOISE))
        now, counts = dict(pruned), {}
        for name in chosen:
            found = selected(observed[name], settings.tau)
            now[name] = {layer: found[layer] | before for layer, before in pruned[name].items()}
            for layer, mask in now[name].items():
                newly = jnp.sum(mask & ~pruned[name][layer])
                counts[pruned_name(f"{name}/{layer}")] = newly
                counts[remaining_name(f"{name}/{layer}")] = jnp.sum(~mask)
        return _pruned(agent, state, known, now), counts, now

    facts = MemberRecord(score_batch_size=config.batch_size)
    carried = Carried(
        "pruned",
        init=lambda state: {
            name: {layer.name: jnp.zeros(layer.size, bool) for layer in wiring.scored}
            for name, wiring in known.items()
        },
        after_learn=lambda pruned, state: _silenced(agent, state, known, pruned),
    )
    content = hashable(config, tau=Prune.tau)  # tau is the members' own
    return Intervention(
        "prune", content, periodic(config), config.batch_size, apply, facts, carried
    )


def _silenced(agent: Agent, state: Any, known: dict[str, Wiring], pruned: Pruned) -> Any:
    """The state after a gradient step, its pruned neurons silent.

    Target networks are pruned already, and what is copied or mixed into them is silent.
    """
    networks = agent.networks(state)
    kept = {
        name: network._replace(params=silenced(network.params, known[name], pruned[name]))
        for name, network in networks.items()
    }
    return agent.with_networks(state, kept)


def _pruned(agent: Agent, state: Any, known: dict[str, Wiring], pruned: Pruned) -> Any:
    """The state with these neurons pruned from all networks and their targets."""
    networks = {
        name: Network(*prune(network.params, network.opt_state, known[name], pruned[name]))
        for name, network in agent.networks(state).items()
    }
    targets: dict[str, Params] = {
        name: silenced(params, known[name], pruned[name])
        for name, params in agent.targets(state).items()
    }
    return agent.with_targets(agent.with_networks(state, networks), targets)
