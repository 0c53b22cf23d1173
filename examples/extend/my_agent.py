"""An agent: double DQN (van Hasselt et al., 2016), for ``Run.agent = "double_dqn"``.

It is DQN with another learning rule. An agent of its own fills in the whole record,
dormant.agents.interface.Agent; dormant/agents/dqn.py does so in a hundred lines.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from dormant import ops, register
from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.parts import action_values, adam
from dormant.nets import make_q_network


@dataclass(frozen=True)
class DoubleDQN(DQN):
    """Hyperparameters, in gin files as ``DoubleDQN.gamma = 0.9``."""

    network: str = "mlp"


@register.agent("double_dqn", config=DoubleDQN, title="Double DQN")
def make_double_dqn(config, spec):
    """config: DoubleDQN; spec: dormant.types.EnvSpec."""
    network = make_q_network(config, spec)
    agent = make_dqn(config, spec, network)
    q_values = action_values(network)  # (params, (B, *observation)) -> (B, actions)

    def learn(state, batch, key, settings):
        """One gradient step of one member -> its state, metrics, no priorities."""
        target = q_values(state.target_params, batch.s_t)
        choice = q_values(state.params, batch.s_t)

        def loss_of(params):
            online = q_values(params, batch.s_tm1)
            errors = jax.vmap(ops.double_q_learning_td_error)(
                online, batch.a_tm1, batch.r_t, batch.discount_t, target, choice
            )
            return jnp.mean(jax.vmap(ops.huber)(errors))

        loss, gradient = jax.value_and_grad(loss_of)(state.params)
        updates, opt_state = adam(config, settings).update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(params=params, opt_state=opt_state), {"loss": loss}, None

    return agent._replace(name="DoubleDQN", learn=learn)
