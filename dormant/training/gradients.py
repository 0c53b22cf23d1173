"""Gradients of any agent's losses, without a second copy of its learning rule.

An agent's ``learn`` hands its gradient to Adam. From statistics that are all 0, Adam's first moment
after one step is the gradient times (1 - b1): scores and zeros do not depend on that factor.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from dormant.agents.interface import Agent, Network, Settings
from dormant.types import DormantError, Key, Params, Transition


def gradients(
    agent: Agent, state: Any, batch: Transition, key: Key, settings: Settings
) -> dict[str, Params]:
    """{network: gradient of its loss on the batch, times a constant}.

    Penalties on weights are left out. Every gradient is at the parameters given: with a learning
    rate of 0 the step changes no network that a later loss of it reads, as SAC's actor reads its
    critics.

    Raises:
      DormantError: an optimiser without Adam's first moments.
    """
    plain = settings._replace(
        learning_rate=jnp.zeros_like(settings.learning_rate),
        weight_decay=jnp.zeros_like(settings.weight_decay),
        l2_init=None if settings.l2_init is None else jnp.zeros_like(settings.l2_init),
    )
    networks = {
        name: Network(network.params, _without_moments(network.opt_state))
        for name, network in agent.networks(state).items()
    }
    learned = agent.learn(agent.with_networks(state, networks), batch, key, plain)[0]
    return {
        name: _first_moment(network.opt_state) for name, network in agent.networks(learned).items()
    }


def sample_gradients(
    agent: Agent, state: Any, batch: Transition, key: Key, settings: Settings
) -> dict[str, Params]:
    """{network: as ``gradients``, of each sample alone}; leaves have a first axis (B,)."""

    def one(sample: Transition) -> dict[str, Params]:
        single = jax.tree.map(lambda leaf: leaf[None], sample)
        return gradients(agent, state, single, key, settings)

    return jax.vmap(one)(batch)


def _adam_states(opt_state: Any) -> list[Any]:
    is_adam = lambda node: isinstance(node, optax.ScaleByAdamState)
    return [node for node in jax.tree.leaves(opt_state, is_leaf=is_adam) if is_adam(node)]


def _without_moments(opt_state: Any) -> Any:
    is_adam = lambda node: isinstance(node, optax.ScaleByAdamState)
    zero = lambda node: jax.tree.map(jnp.zeros_like, node) if is_adam(node) else node
    return jax.tree.map(zero, opt_state, is_leaf=is_adam)


def _first_moment(opt_state: Any) -> Params:
    found = _adam_states(opt_state)
    if len(found) != 1:
        raise DormantError(f"gradients are read from Adam's state; the optimiser has {len(found)}")
    return found[0].mu
