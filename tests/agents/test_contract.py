"""What every agent promises (``agents/interface.py``), in one table."""

import dataclasses
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.interface import Settings
from dormant.agents.rainbow import Rainbow, make_rainbow
from dormant.agents.sac import SAC, make_sac
from dormant.envs import env_spec, make_env
from dormant.register import AGENTS as REGISTERED
from dormant.replay import make_prioritised, make_uniform
from dormant.training.interventions import ReDo, make_redo
from dormant.types import DormantError, Row

GAMMA, ROWS = 0.5, 400
IMAGES = env_spec("probe/see_image")
CONTINUOUS = ("probe/see_continuous", "probe/endless_continuous")


class Entry(NamedTuple):
    """One agent of the table."""

    make: Any
    config: Any
    learning_rate: float = 3e-3
    probes: tuple[str, str] = ("probe/see", "probe/endless")  # of sight, of truncation
    networks: tuple[str, ...] = ("online",)
    steps: int = 1500  # gradient steps until it has learned a probe


COMMON = dict(gamma=GAMMA, batch_size=32)
FAMILY = dict(**COMMON, network="mlp", vmax=4.0, update_horizon=2)
PLAIN = dict(noisy=False, distributional=False, replay_scheme="uniform")
AGENTS = {
    "DQN": Entry(make_dqn, DQN(network="mlp", **COMMON)),
    "Rainbow": Entry(make_rainbow, Rainbow(**FAMILY), steps=600),
    "C51": Entry(
        make_rainbow,
        Rainbow(**FAMILY | dict(noisy=False, dueling=False, double_dqn=False, num_atoms=21)),
        learning_rate=1e-2,
    ),
    "DrQ(eps)": Entry(make_rainbow, Rainbow(**FAMILY | PLAIN | dict(target_update_period=1))),
    "SAC": Entry(
        make_sac,
        SAC(
            num_hidden_units=32,
            target_smoothing_coefficient=0.05,
            reward_scale_factor=1.0,
            **COMMON | dict(batch_size=64),
        ),
        learning_rate=1e-2,
        probes=CONTINUOUS,
        networks=("actor", "critic_1", "critic_2"),
    ),
}
each_agent = pytest.mark.parametrize("name", AGENTS)


def test_every_agent_is_in_the_table():
    assert {entry.make for entry in REGISTERED.values()} == {each.make for each in AGENTS.values()}


@functools.cache
def agent_of(name, probe=0):
    entry = AGENTS[name]
    return entry.make(entry.config, env_spec(entry.probes[probe]))


@functools.cache
def compiled(name):
    """(init, learn) of the agent."""
    agent = agent_of(name)
    return jax.jit(agent.init), jax.jit(agent.learn)


def settings(name):
    return Settings(jnp.float32(AGENTS[name].learning_rate), jnp.float32(0.0))


def make_memory(name):
    schedule = agent_of(name).schedule
    make = make_prioritised if schedule.prioritised else make_uniform
    spec = agent_of(name).spec
    return make(spec, 2 * ROWS, schedule.batch_size, schedule.update_horizon, schedule.gamma)


@functools.cache
def rows_of(name, probe=0):
    """Rows (T, ...) of random actions on a probe."""
    agent = agent_of(name, probe)
    env, random, rows = make_env(agent.spec.name, 1), np.random.default_rng(1), []
    observation = env.reset(np.array([0]))
    for _ in range(ROWS):
        if agent.spec.num_actions:
            action = random.integers(agent.spec.num_actions, size=1)
        else:
            action = random.uniform(-1, 1, (1, *agent.spec.action_shape)).astype(np.float32)
        env.send(action)
        step = env.recv()
        reward = agent.transform_reward(step.reward)
        ends = step.terminal, step.truncated
        rows.append(Row(observation, action, reward, *ends, step.next_observation))
        observation = step.observation
    env.close()
    return Row(*(np.concatenate(parts) for parts in zip(*rows)))


def batch_of(name, probe=0):
    memory = make_memory(name)
    return memory.sample(memory.add(memory.init(), rows_of(name, probe)), jax.random.key(0))


@functools.cache
def trainer(name):
    """(state, memory's state, keys) -> (state, mean_q of each gradient step)."""
    agent, memory = agent_of(name), make_memory(name)

    def step(carry, key):
        state, stored, done = carry
        key_sample, key_learn = jax.random.split(key)
        batch = memory.sample(stored, key_sample)
        state, metrics, priorities = agent.learn(state, batch, key_learn, settings(name))
        if priorities is not None:
            stored = memory.update(stored, batch.index, priorities)
        if agent.sync_target:
            synced = agent.sync_target(state)
            choose = lambda new, old: jnp.where(done % 25 == 24, new, old)
            state = jax.tree.map(choose, synced, state)
        return (state, stored, done + 1), metrics["mean_q"]

    def train(state, stored, keys):
        (state, _, _), mean_q = jax.lax.scan(step, (state, stored, 0), keys)
        return state, mean_q

    return jax.jit(train)


def trained(name, probe):
    memory = make_memory(name)
    stored = memory.add(memory.init(), rows_of(name, probe))
    state = compiled(name)[0](jax.random.key(1), settings(name))
    return trainer(name)(state, stored, jax.random.split(jax.random.key(2), AGENTS[name].steps))


def flat(tree):
    return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in jax.tree.leaves(tree)])


@each_agent
def test_it_acts_on_what_it_sees(name):
    agent, (state, _) = agent_of(name), trained(name, 0)
    seen = np.linspace(-1.0, 1.0, 10, dtype=np.float32)[:, None]
    act = jax.vmap(lambda observation, key: agent.act(state, observation, key, 10**6, True))
    actions = act(seen, jax.random.split(jax.random.key(0), len(seen)))
    if agent.spec.num_actions:
        np.testing.assert_array_equal(actions, seen[:, 0] > 0)
    else:
        np.testing.assert_allclose(actions, seen / 2, atol=0.15)


@each_agent
def test_its_values_reach_beyond_a_truncation(name):
    """Reward 1 for ever, truncated after 5 steps, gamma 0.5: every value is 1 / (1 - 0.5) = 2."""
    _, mean_q = trained(name, 1)
    np.testing.assert_allclose(np.mean(mean_q[-20:]), 1 / (1 - GAMMA), atol=0.1)


@each_agent
def test_its_first_steps_are_finite_and_its_metrics_always_the_same(name):
    agent, (init, learn) = agent_of(name), compiled(name)
    state, batch = init(jax.random.key(0), settings(name)), batch_of(name)
    nothing = jax.tree.map(jnp.zeros_like, batch)
    names = set()
    for index, each in enumerate((nothing, batch)):
        after, metrics, priorities = learn(state, each, jax.random.key(index), settings(name))
        assert np.isfinite(flat((after, metrics))).all()
        assert all(value.shape == () and value.dtype == jnp.float32 for value in metrics.values())
        assert (priorities is not None) == agent.schedule.prioritised
        names.add(tuple(metrics))
        assert jax.tree.structure(after) == jax.tree.structure(state)
    assert len(names) == 1 and "loss" in names.pop()
    assert (flat(after) != flat(state)).any()


@each_agent
def test_a_state_is_all_there_is_to_resume_from(name):
    """Written down as arrays and read again, it goes the same way to the bit."""
    (init, learn), batch = compiled(name), batch_of(name)
    state, other = (init(jax.random.key(seed), settings(name)) for seed in (0, 1))
    state, other = (learn(s, batch, jax.random.key(1), settings(name))[0] for s in (state, other))
    written = [np.asarray(leaf).copy() for leaf in jax.tree.leaves(state)]
    read = jax.tree.unflatten(jax.tree.structure(other), written)
    ends = [flat(learn(s, batch, jax.random.key(2), settings(name))[0]) for s in (state, read)]
    np.testing.assert_array_equal(*ends)


@each_agent
def test_a_member_among_others_goes_the_way_it_goes_alone(name):
    agent, batch, (init, learn) = agent_of(name), batch_of(name), compiled(name)

    def draw(key):
        """Three batches (3, B, ...) of the member's own."""
        own = jax.random.randint(key, (3, len(batch.r_t)), 0, len(batch.r_t))
        return jax.tree.map(lambda leaf: leaf[own], batch)

    def course(init, learn, keys, batches):
        """The networks' parameters after a gradient step on each batch."""
        state = init(keys, settings(name))
        for index in range(3):
            one = jax.tree.map(lambda leaf: leaf[index], batches)
            state, _, _ = learn(state, one, keys, settings(name))
        return {key: network.params for key, network in agent.networks(state).items()}

    keys = jax.random.split(jax.random.key(0), 3)
    alone = flat(course(init, learn, keys[1], draw(keys[1])))
    init, learn = jax.vmap(init, (0, None)), jax.vmap(learn, (0, 0, 0, None))
    among = course(jax.jit(init), jax.jit(learn), keys, jax.vmap(draw, out_axes=1)(keys))
    first, same, _ = (flat(jax.tree.map(lambda leaf: leaf[i], among)) for i in range(3))
    np.testing.assert_allclose(alone, same, atol=2e-4)
    assert np.abs(alone - first).max() > 0.05


@each_agent
def test_recycling_reaches_every_network(name):
    agent, own = agent_of(name), settings(name)._replace(tau=jnp.float32(1e9))  # all are dormant
    state = compiled(name)[0](jax.random.key(0), settings(name))
    redo = jax.jit(make_redo(ReDo(), agent).apply)
    after, counts = redo(state, batch_of(name), jax.random.key(5), own, jnp.int32(0))
    before, after = agent.networks(state), agent.networks(after)
    assert tuple(before) == AGENTS[name].networks
    for network in before:
        groups = agent.reset_groups[network]
        hidden = after[network].params["params"][groups["penultimate"][0]]
        kernel = "kernel" if "kernel" in hidden else "kernel_mu"
        assert counts[f"{network}/{groups['penultimate'][0]}"] == hidden[kernel].shape[-1]
        for layer in groups["last"]:  # all neurons before them are recycled: no weight is left
            assert not np.any(after[network].params["params"][layer][kernel])
        moved = before[network].params["params"]["Dense_0"]["kernel"]
        assert (after[network].params["params"]["Dense_0"]["kernel"] != moved).all()


@each_agent
def test_features_are_the_observed_penultimate_layer_under_the_same_key(name):
    agent, batch = agent_of(name), batch_of(name)
    state = compiled(name)[0](jax.random.key(0), settings(name))
    look = jax.jit(
        lambda key: (agent.observe(state, batch, key), agent.features(state, batch, key))
    )
    found = [look(jax.random.key(seed)) for seed in (0, 0, 1)]
    for observed, features in found:
        assert set(observed) == set(AGENTS[name].networks)
        network = list(observed)[0 if len(observed) == 1 else 1]  # SAC: the first critic
        layer = agent.reset_groups[network]["penultimate"][0]
        assert features.dtype == jnp.float32 and features.shape[0] == len(batch.r_t)
        np.testing.assert_array_equal(features, observed[network][layer])
    (_, first), (_, again), (_, other) = found
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other) == getattr(AGENTS[name].config, "noisy", False)


@each_agent
def test_it_explores_before_it_learns(name):
    """Uniformly in the training loop, or (noisy layers) by what it does itself."""
    agent = agent_of(name)
    assert agent.explores_uniformly != getattr(AGENTS[name].config, "noisy", False)
    state = compiled(name)[0](jax.random.key(0), settings(name))
    act = jax.vmap(lambda seen, key: agent.act(state, seen, key, 0, False), (None, 0))
    act = jax.jit(jax.vmap(act, (0, None)))
    keys = jax.random.split(jax.random.key(0), 30)
    actions = np.asarray(act(jnp.linspace(-1, 1, 41)[:, None], keys))
    assert actions.shape == (41, 30, *agent.spec.action_shape)
    assert (actions != actions[:, :1]).any()  # on some observation the key makes a difference
    low, high = (0, agent.spec.num_actions - 1) if agent.spec.num_actions else (-1, 1)
    assert actions.min() >= low and actions.max() <= high


EPSILON = [name for name, each in AGENTS.items() if not getattr(each.config, "noisy", True)]


@pytest.mark.parametrize("name", ["DQN", *EPSILON])
def test_epsilon_is_1_until_it_learns_and_has_an_end_and_a_value_of_its_own_in_evaluation(name):
    entry, spec = AGENTS[name], agent_of(name).spec
    warm_up = dict(min_replay_history=100, epsilon_decay_period=1)
    state, observation = compiled(name)[0](jax.random.key(0), settings(name)), jnp.ones(1)
    keys = jax.random.split(jax.random.key(0), 20)
    for train, evaluation in ((0.0, 1.0), (1.0, 0.0)):
        epsilon = dict(epsilon_train=train, epsilon_eval=evaluation)
        agent = entry.make(dataclasses.replace(entry.config, **warm_up, **epsilon), spec)
        for steps, evaluate, random in (
            (100, False, True),
            (101, False, bool(train)),
            (101, True, bool(evaluation)),
        ):
            act = lambda key: agent.act(state, observation, key, steps, evaluate)
            assert (len(set(jax.vmap(act)(keys).tolist())) > 1) is random


@pytest.mark.parametrize("clips, expected", [(True, [-1, 0.5, 1]), (False, [-3, 0.5, 3])])
@pytest.mark.parametrize("name", ["DQN", "Rainbow"])
def test_rewards_are_clipped_as_asked(name, clips, expected):
    entry = AGENTS[name]
    config = dataclasses.replace(entry.config, clip_rewards=clips)
    agent = entry.make(config, agent_of(name).spec)
    assert agent.transform_reward(np.array([-3, 0.5, 3])).tolist() == expected


def test_running_statistics_are_not_trained():
    """Adam would train them."""

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x.reshape(len(x), -1)
            return nn.Dense(2)(nn.BatchNorm(use_running_average=True)(nn.Dense(4)(x)))

    agent = make_dqn(DQN(network="mlp"), env_spec("probe/see"), network=Network())
    with pytest.raises(DormantError, match="variables that are not trained: batch_stats;"):
        agent.init(jax.random.key(0), agent.default_settings)


def test_features_have_one_row_an_observation():
    config = DQN(network="mlp", activation="crelu", batch_size=4)
    agent = make_dqn(config, env_spec("probe/see"))
    memory = make_uniform(agent.spec, 8, 4, 1, 0.99)
    state = agent.init(jax.random.key(0), agent.default_settings)
    features = agent.features(state, memory.sample(memory.init(), jax.random.key(1)), None)
    assert features.ndim == 2 and len(features) == 4


@each_agent
def test_what_it_cannot_work_with_is_named(name):
    entry = AGENTS[name]
    replace = lambda **changes: type(entry.config)(**{**vars(entry.config), **changes})
    other = "probe/see" if entry.probes == CONTINUOUS else CONTINUOUS[0]
    with pytest.raises(DormantError, match=r"needs (discrete|continuous) actions; probe/see"):
        entry.make(entry.config, env_spec(other))
    images = IMAGES if agent_of(name).spec.num_actions else IMAGES._replace(num_actions=0)
    with pytest.raises(DormantError, match=r"vectors.*; probe/see_image observes images of shape"):
        entry.make(entry.config, images)
    for width in (0.0, 0.001, 0.7, 1.01):
        with pytest.raises(DormantError, match=f"width {width:g} makes .* whole number, such as"):
            entry.make(replace(width=width), agent_of(name).spec)
    assert entry.make(replace(width=0.25), agent_of(name).spec)
    if hasattr(entry.config, "network"):
        with pytest.raises(
            DormantError, match="'nature' takes images; probe/see observes vectors .* use 'mlp'"
        ):
            entry.make(replace(network="nature"), agent_of(name).spec)
        for width in (0.1, 1.7):
            with pytest.raises(DormantError, match="neurons of a layer's 32; it must leave"):
                entry.make(replace(network="resnet", width=width), IMAGES)
