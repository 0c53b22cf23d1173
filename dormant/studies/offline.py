"""Figure 4: DQN on a fixed data set, with its usual moving targets and with fixed ones.

What the paper says (paper.md 3.8): DQN on the DQN Replay Dataset, 6.25 million gradient steps, 5
seeds, "fixed random targets". What it leaves open is decided here:

- Which fixed random targets? Two are run. "fixed targets": the values that a frozen network of the
  same architecture, with other random parameters, gives to the states and actions of the data, at
  standard deviation 1 over 1,024 transitions. A network can learn them. "random numbers": a normal
  one of its own for each transition, which can only be memorised.
- Which data? The last memory of a finished run of DQN (100,000 transitions on MinAtar): each seed
  learns from that of the run's member of the same seed. Or one checkpoint of the DQN Replay
  Dataset, the same for all seeds.
- Everything else is the run's own: network, Adam, loss, batch size, period of the target network.
- Scores are of 64 transitions of the data, as in training runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.interface import Agent
from dormant.nets import make_q_network
from dormant.replay.rows import Rows, filled, memory_for
from dormant.studies.record import Metrics, Study, dormant_fractions, key_of
from dormant.training.members import INIT, LEARN, MEASURE
from dormant.training.population import SCORE_BATCH
from dormant.types import DormantError, EnvSpec, Key, Transition, check_name

MOVING, FIXED, NUMBERS = "non-stationary targets", "fixed targets", "random numbers"
ARMS = (MOVING, FIXED, NUMBERS)
FROZEN, TARGETS, SCALE = range(100, 103)  # what a seed draws random numbers for, beside training's
SCALED_BY = 1024  # transitions whose targets have standard deviation 1


class Data(NamedTuple):
    """What is learned from: as many memories as there are seeds, or one for all."""

    game: str
    config: DQN
    spec: EnvSpec
    memories: Sequence[Rows]
    source: str  # where it comes from, for run.json


def offline(data: Data, arm: str, settings: Mapping[str, Any], name: str) -> Study:
    """The study of one arm.

    Args:
      settings: gradient_steps, iterations, seeds; target_update_period, in gradient steps, where it
        is to be another than the data's agent has.

    Raises:
      DormantError: an unknown arm, gradient steps that are no whole number of synchronisations of
        the target in each iteration, or data that cannot be learned from.
    """
    check_name("arm", arm, ARMS)
    period = settings.get("target_update_period", data.config.target_update_period)
    data = data._replace(config=replace(data.config, target_update_period=period))
    agent = make_dqn(data.config, data.spec)
    steps, iterations = settings["gradient_steps"], settings["iterations"]
    if steps % (period * iterations):
        raise DormantError(
            f"{steps} gradient steps in {iterations} iterations are no multiple of "
            f"target_update_period {period} each"
        )
    makers = [
        memory_for(
            data.spec,
            max(len(rows.reward) for rows in data.memories),
            batch_size,
            data.config.update_horizon,
            data.config.gamma,
        )
        for batch_size in (data.config.batch_size, SCORE_BATCH, SCALED_BY)
    ]
    horizon = (data.config.update_horizon, data.config.gamma)
    states = [filled(data.spec, rows, makers[0], *horizon) for rows in data.memories]
    sample, score, many = (maker.sample for maker in makers)
    where: dict[str, Any] = {"own": states} if len(states) > 1 else {"shared": states[0]}
    target = _targets(arm, data, many)

    def init(key: Key, own: Any) -> Any:
        return agent.init(jax.random.fold_in(key, INIT), agent.default_settings)

    def measure(state: Any, key: Key, own: Any, shared: Any, chunk: jax.Array) -> Metrics:
        draw = key_of(key, MEASURE, chunk + 1)
        batch = score(own if shared is None else shared, draw)
        return dormant_fractions(agent.observe(state, batch, draw)["online"], "online")

    return Study(
        name=name,
        game=data.game,
        agent="DQN offline",
        arm=arm,
        seeds=tuple(range(settings["seeds"])),
        chunks=steps // period,
        chunk_epochs=period,
        chunk_steps=period,
        chunks_per_iteration=steps // period // iterations,
        init=init,
        advance=_chunk(agent, sample, target, period),
        measure=measure,
        settings={**settings, "source": data.source, "learning_rate": data.config.learning_rate},
        **where,
    )


def _targets(arm: str, data: Data, many: Callable) -> Callable:
    """prepare(key, memory) -> what stays the same; and how a batch gets the arm's targets.

    A fixed target is a reward without a bootstrapped rest: DQN's own loss does the rest.
    """
    network: Any = make_q_network(data.config, data.spec)

    def frozen_values(params: Any, batch: Transition) -> jax.Array:
        values = network.apply(params, batch.s_tm1).q_values
        return jnp.take_along_axis(values, batch.a_tm1[:, None], axis=1)[:, 0]

    def begin(key: Key, memory: Any) -> Callable[[Transition], Transition]:
        if arm == MOVING:
            return lambda batch: batch
        if arm == NUMBERS:
            values = lambda batch: jax.vmap(
                lambda index: jax.random.normal(key_of(key, TARGETS, index))
            )(batch.index)
        else:
            batch = many(memory, key_of(key, SCALE, 0))
            params = network.init(key_of(key, FROZEN, 0), batch.s_tm1[:1])
            scale = jnp.maximum(jnp.std(frozen_values(params, batch)), 1e-6)
            values = lambda batch: frozen_values(params, batch) / scale
        return lambda batch: batch._replace(
            r_t=values(batch), discount_t=jnp.zeros_like(batch.discount_t)
        )

    return begin


def _chunk(agent: Agent, sample: Callable, begin: Callable, steps: int) -> Callable:
    """The gradient steps between two synchronisations of the target network, and that."""
    settings = jax.tree.map(jnp.float32, agent.default_settings)
    synchronised = agent.sync_target
    assert synchronised

    def advance(
        state: Any, key: Key, own: Any, shared: Any, chunk: jax.Array
    ) -> tuple[Any, Metrics]:
        memory = own if shared is None else shared
        with_targets = begin(key, memory)

        def step(now: Any, gradient_step: jax.Array) -> tuple[Any, jax.Array]:
            draw, learn = jax.random.split(key_of(key, LEARN, gradient_step))
            batch = with_targets(sample(memory, draw))
            now, metrics, _ = agent.learn(now, batch, learn, settings)
            return now, metrics["loss"]

        state, losses = jax.lax.scan(step, state, chunk * steps + jnp.arange(steps))
        return synchronised(state), {"learn/loss": jnp.mean(losses)}

    return advance
