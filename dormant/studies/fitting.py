"""Figure 8: networks that learn the values of a good agent: a fresh one, and pretrained ones.

What the paper says (paper.md 3.9): DemonAttack; a network of DQN at replay ratio 1 and a random one
are regressed on the values of a well-performing DQN for 50,000 gradient steps. What it leaves open
is decided here:

- The teacher is the member with the highest final return of a run at replay ratio 0.25, the default
  setting; for the seed that it is itself, the second best. States are drawn from its replay memory.
- The loss is the mean squared error over all actions' values, and Adam is new in every arm, with
  the settings of the run: what differs is only the network that is begun with.
- A fresh network has the parameters that the pretrained one of its seed began with.
- Is it the high replay ratio, or any training? A third arm begins with networks at replay ratio
  0.25, of the teacher's own run.
- The threshold could change the answer: all are recorded, 0.1 and 0 are drawn. Scores are of 64
  states, of all layers together.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dormant.agents.dqn import DQN, DQNState, make_dqn
from dormant.agents.interface import Settings
from dormant.agents.parts import adam, empty_batch
from dormant.nets import make_q_network
from dormant.replay import Memory
from dormant.replay.rows import Rows, filled, memory_for
from dormant.studies.record import Metrics, Study, dormant_fractions, key_of
from dormant.training.members import INIT, LEARN, MEASURE
from dormant.training.population import SCORE_BATCH
from dormant.types import DormantError, EnvSpec, Key, Params


class Pupil(NamedTuple):
    """What one seed begins with, and learns."""

    start: Params | None  # None: fresh parameters, of the seed
    teacher: Params
    rows: Rows  # whose states are learned from


class Fitting(NamedTuple):
    """The data of one arm."""

    game: str
    config: DQN
    spec: EnvSpec
    pupils: list[Pupil]  # one a seed
    sources: dict[str, str]  # where it comes from, for run.json


def fitting(data: Fitting, arm: str, settings: Mapping[str, Any], name: str) -> Study:
    """The study of one arm.

    Args:
      settings: gradient_steps, measured_every (gradient steps), seeds.

    Raises:
      DormantError: gradient steps that are no multiple of measured_every, or a network of another
        shape than the run's.
    """
    steps, every = settings["gradient_steps"], settings["measured_every"]
    if steps % every:
        raise DormantError(f"{steps} gradient steps are no multiple of measured_every {every}")
    config, spec = data.config, data.spec
    most = max(len(pupil.rows.reward) for pupil in data.pupils)
    sizes = (config.update_horizon, config.gamma)
    learned, scored = (
        memory_for(spec, most, batch, *sizes) for batch in (config.batch_size, SCORE_BATCH)
    )
    memories = _memories(data, learned)
    agent = make_dqn(config, spec)
    network: Any = make_q_network(config, spec)
    optimiser = adam(config, Settings(config.learning_rate, 0.0))
    own = [
        (start, jax.tree.map(jnp.asarray, pupil.teacher), memory)
        for start, pupil, memory in zip(_starts(data.pupils, network, spec), data.pupils, memories)
    ]

    def init(key: Key, mine: tuple) -> DQNState:
        # A copy: the chunks are given the state to overwrite.
        return DQNState(jax.tree.map(jnp.copy, mine[0]), {}, optimiser.init(mine[0]))

    def measure(state: DQNState, key: Key, mine: tuple, shared: None, chunk: jax.Array) -> Metrics:
        draw = key_of(key, MEASURE, chunk + 1)
        batch = scored.sample(mine[2], draw)
        return dormant_fractions(agent.observe(state, batch, draw)["online"], "online")

    return Study(
        name=name,
        game=data.game,
        agent="DQN fitted",
        arm=arm,
        seeds=tuple(range(len(data.pupils))),
        chunks=steps // every,
        chunk_epochs=every,
        chunk_steps=every,
        chunks_per_iteration=steps // every,
        init=init,
        advance=_chunk(network, optimiser, learned.sample, every),
        measure=measure,
        settings={**settings, **data.sources, "learning_rate": config.learning_rate},
        own=own,
    )


def _chunk(
    network: Any, optimiser: optax.GradientTransformation, sample: Callable, steps: int
) -> Callable:
    """Gradient steps on the mean squared error to the teacher's values of all actions."""

    def loss_fn(params: Params, states: jax.Array, wanted: jax.Array) -> jax.Array:
        return jnp.mean((network.apply(params, states).q_values - wanted) ** 2)

    def advance(
        state: DQNState, key: Key, mine: tuple, shared: None, chunk: jax.Array
    ) -> tuple[DQNState, Metrics]:
        _, teacher, memory = mine

        def step(now: DQNState, gradient_step: jax.Array) -> tuple[DQNState, jax.Array]:
            states = sample(memory, key_of(key, LEARN, gradient_step)).s_tm1
            wanted = network.apply(teacher, states).q_values
            loss, gradient = jax.value_and_grad(loss_fn)(now.params, states, wanted)
            updates, opt_state = optimiser.update(gradient, now.opt_state, now.params)
            return DQNState(optax.apply_updates(now.params, updates), {}, opt_state), loss

        state, losses = jax.lax.scan(step, state, chunk * steps + jnp.arange(steps))
        return state, {"learn/loss": jnp.mean(losses)}

    return advance


def _memories(data: Fitting, memory: Memory) -> list[Any]:
    """What each pupil learns from; pupils of one teacher share it."""
    sizes, found = (data.config.update_horizon, data.config.gamma), {}
    for pupil in data.pupils:
        if id(pupil.rows) not in found:
            found[id(pupil.rows)] = filled(data.spec, pupil.rows, memory, *sizes)
    return [found[id(pupil.rows)] for pupil in data.pupils]


def _starts(pupils: Sequence[Pupil], network: Any, spec: EnvSpec) -> list[Params]:
    """The parameters that each seed begins with: the run's own, or those its members began with."""
    make = jax.jit(lambda key: network.init(jax.random.fold_in(key, INIT), empty_batch(spec)))
    shapes = jax.tree.map(jnp.shape, jax.eval_shape(make, jax.random.key(0)))
    out = []
    for seed, pupil in enumerate(pupils):
        if pupil.start is None:
            out.append(make(jax.random.key(seed)))
        elif jax.tree.map(jnp.shape, pupil.start) != shapes:
            raise DormantError("the pretrained network is not of the teacher's shape")
        else:
            out.append(jax.tree.map(jnp.asarray, pupil.start))
    return out
