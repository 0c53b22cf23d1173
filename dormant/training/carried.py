"""What a member carries beside its agent's state: masks, running utilities, earlier measurements.

It is a part of the member's state, so checkpoints hold it, and both loops know nothing of it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from dormant.agents.interface import Agent, Settings
from dormant.agents.parts import empty_batch
from dormant.redo import Wiring
from dormant.types import EnvSpec, Key, Transition


class Carried(NamedTuple):
    """One thing that a member carries. Two of one name are the same.

    init(state) -> tree, of the agent's state at the start
    after_learn(tree, state) -> the agent's state after a gradient step; None = as it is
    """

    name: str
    init: Callable[[Any], Any]
    after_learn: Callable[[Any, Any], Any] | None = None


@struct.dataclass
class Laden:
    """An agent's state and what it carries."""

    state: Any
    carried: dict[str, Any]  # {Carried.name: tree}


def laden(agent: Agent, carried: Sequence[Carried]) -> Agent:
    """The agent whose state is ``Laden``; the same agent where there is nothing to carry."""
    if not carried:
        return agent

    def init(key: Key, settings: Settings) -> Laden:
        state = agent.init(key, settings)
        return Laden(state, {each.name: each.init(state) for each in carried})

    def learn(
        now: Laden, batch: Transition, key: Key, settings: Settings
    ) -> tuple[Laden, dict[str, jax.Array], jax.Array | None]:
        state, metrics, priorities = agent.learn(now.state, batch, key, settings)
        for each in carried:
            if each.after_learn is not None:
                state = each.after_learn(now.carried[each.name], state)
        return with_state(now, state), metrics, priorities

    def read(function: Callable) -> Callable:
        return lambda now, *arguments: function(now.state, *arguments)

    def changed(function: Callable) -> Callable:
        return lambda now, *arguments: with_state(now, function(now.state, *arguments))

    return agent._replace(
        init=init,
        learn=learn,
        act=read(agent.act),
        observe=read(agent.observe),
        features=read(agent.features),
        networks=read(agent.networks),
        targets=read(agent.targets),
        with_networks=changed(agent.with_networks),
        with_targets=changed(agent.with_targets),
        sync_target=changed(agent.sync_target) if agent.sync_target else None,
        overwrite_targets=_overwriter(agent) if agent.overwrite_targets else None,
    )


def with_state(now: Laden, state: Any) -> Laden:
    """Another agent's state with the same load."""
    return dataclasses.replace(now, state=state)


def with_load(now: Laden, name: str, tree: Any) -> Laden:
    """The same with one thing that is carried replaced."""
    return dataclasses.replace(now, carried={**now.carried, name: tree})


def _overwriter(agent: Agent) -> Callable:
    overwrite: Any = agent.overwrite_targets
    return lambda before, after: with_state(after, overwrite(before.state, after.state))


def wirings(agent: Agent) -> dict[str, Wiring]:
    """{network name: its wiring}; nothing is computed."""

    def observe(key: Key) -> dict:
        settings = jax.tree.map(jnp.float32, agent.default_settings)
        return agent.observe(agent.init(key, settings), empty_transition(agent.spec), key)

    observed = jax.eval_shape(observe, jax.random.key(0))
    return {name: activations.wiring for name, activations in sorted(observed.items())}


def empty_transition(spec: EnvSpec) -> Transition:
    """A batch of one transition, for shapes only."""
    observation = empty_batch(spec)
    kind = jnp.int32 if spec.num_actions else jnp.float32
    zero = jnp.zeros(1)
    return Transition(
        observation, jnp.zeros((1, *spec.action_shape), kind), zero, zero, observation
    )
