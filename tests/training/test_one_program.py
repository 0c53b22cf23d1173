"""What a population rests on: nothing is compiled twice or waits for the host, and members keep
their own course.
"""

import logging

import jax
import numpy as np
import pytest

from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.interface import Settings
from dormant.envs import env_spec
from dormant.experiments.run import plan
from dormant.replay import make_uniform
from dormant.training.loop import Loop
from dormant.training.members import Member, loop_axis, vmap_axis
from dormant.training.population import make_population
from dormant.types import Row
from tests.training.run_probe import BINDINGS, FILES


@pytest.mark.parametrize("axis", ["loop", "vmap"])
def test_the_second_iteration_compiles_nothing(axis, tmp_path, caplog):
    """Learning at other counts, logging, recycling, synchronisation, evaluation and checkpoints all
    come in each.
    """
    planned = plan(
        FILES,
        [*BINDINGS, f"Run.axis={axis!r}", "DQN.target_update_period=60", "Protocol.iterations=3"],
    )
    loop = Loop(planned.population, planned.protocol, planned.make_env, str(tmp_path))
    state, compiled = loop.start(), []
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        for iteration in range(3):
            caplog.clear()
            while state.evaluations == iteration:
                state = loop.advance(state)
            compiled.append(
                [text for text in caplog.messages if text.startswith("Finished XLA compilation")]
            )
    loop.close()
    assert len(compiled[0]) > 5
    assert compiled[1:] == [[], []]
    assert state.gradient_steps > 500  # 0.5 an agent step


def test_learning_is_handed_over_before_the_first_actions_are_waited_for(tmp_path):
    """The order of a call of the learner's four agent steps: acting reads what learning is about to
    replace.
    """
    planned, calls = plan(FILES, BINDINGS), []

    def noted(name, function):
        return lambda *arguments: calls.append(name) or function(*arguments)

    def make_env(evaluation):
        env = planned.make_env(evaluation)
        env.send = noted("send", env.send)
        return env

    parts = {
        name: noted(name, getattr(planned.population, name)) for name in ("act", "learn", "add")
    }
    loop = Loop(planned.population._replace(**parts), planned.protocol, make_env, str(tmp_path))
    state = loop.start()
    while state.gradient_steps < 10:
        calls.clear()
        state = loop.advance(state)
    loop.close()
    assert calls == ["act", "learn", "send", *["act", "send"] * 3, "add"]


def image_population(axis, members, network="mlp", **settings):
    """Members on random rows of images (network "nature") or vectors, and their full memories."""
    spec = env_spec("probe/see_image" if network == "nature" else "probe/see")
    agent = make_dqn(DQN(network=network, batch_size=8, **settings), spec)
    chosen = [Member(seed, "none", "DQN", Settings(1e-3, 0.0)) for seed in members]
    built = make_population(
        agent, chosen, axis, lambda batch: make_uniform(spec, 64, batch, 1, 0.99)
    )
    parts = []
    for seed in members:
        random = np.random.default_rng(seed)
        seen = random.integers(0, 256, (60, *spec.observation_shape)).astype(spec.observation_dtype)
        ends = random.random(60) < 0.1
        reward = random.normal(size=60).astype(np.float32)
        next_seen = None if network == "nature" else seen[::-1]
        parts.append(
            Row(seen, random.integers(0, 2, 60), reward, ends, np.zeros(60, bool), next_seen)
        )
    rows = Row(*(None if each[0] is None else np.stack(each) for each in zip(*parts)))
    return built, built.add(built.init_memories(0), rows)


@pytest.mark.parametrize("make_axis", [loop_axis, lambda: vmap_axis(2)], ids=["loop", "vmap"])
def test_learning_never_waits_for_the_host(make_axis):
    """The whole call can be traced, so nothing in it reads a value; on a GPU the guard would stop a
    read as well.
    """
    built, memories = image_population(make_axis(), (0, 1))
    states, metrics = built.init()

    def learn(states, metrics, memories):
        for step in (0, 4):
            states, metrics, memories = built.learn(states, metrics, memories, step, 4, step == 4)
        return built.sync_target(states), built.clear(metrics)

    with jax.transfer_guard_device_to_host("disallow"):
        shapes = jax.eval_shape(learn, states, metrics, memories)
    assert jax.tree.structure(shapes) == jax.tree.structure((states, metrics))
