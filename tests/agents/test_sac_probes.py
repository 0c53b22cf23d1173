"""SAC on probe environments whose answers are known, from random actions in a real replay
memory.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dormant.agents.interface import Settings
from dormant.agents.sac import SAC, make_sac
from dormant.envs import env_spec, make_env
from dormant.replay import make_uniform
from dormant.types import Row

GAMMA, SETTINGS = 0.9, Settings(jnp.float32(1e-2), jnp.float32(0.0))


def trained(name, gradient_steps):
    """The agent and its state after learning from 400 random steps."""
    spec = env_spec(name)
    config = SAC(
        num_hidden_units=32,
        gamma=GAMMA,
        batch_size=64,
        target_smoothing_coefficient=0.05,
        reward_scale_factor=1.0,
    )
    agent = make_sac(config, spec)
    memory = make_uniform(spec, 500, config.batch_size, config.update_horizon, GAMMA)
    env, rng, rows = make_env(name, 1), np.random.default_rng(1), []
    observation = env.reset(np.array([0]))
    for _ in range(400):
        action = rng.uniform(-1, 1, (1, 1)).astype(np.float32)
        env.send(action)
        step = env.recv()
        reward = agent.transform_reward(step.reward)
        rows.append(
            Row(observation, action, reward, step.terminal, step.truncated, step.next_observation)
        )
        observation = step.observation
    env.close()
    stored = memory.add(memory.init(), Row(*(np.concatenate(parts) for parts in zip(*rows))))

    def step(state, key):
        key_sample, key_learn = jax.random.split(key)
        return agent.learn(state, memory.sample(stored, key_sample), key_learn, SETTINGS)[0], None

    run = jax.jit(lambda state, keys: jax.lax.scan(step, state, keys)[0])
    state = agent.init(jax.random.key(1), SETTINGS)
    return agent, run(state, jax.random.split(jax.random.key(2), gradient_steps))


def values(agent, state, observations, actions):
    """(B,) means of the two critics, by their own arithmetic."""
    total = 0.0
    for name in ("critic_1", "critic_2"):
        x = np.concatenate([observations, actions], axis=1)
        layers = agent.networks(state)[name].params["params"]
        for layer in ("Dense_0", "Dense_1"):
            x = np.maximum(
                x @ np.asarray(layers[layer]["kernel"]) + np.asarray(layers[layer]["bias"]), 0
            )
        total += (
            x @ np.asarray(layers["final_layer"]["kernel"])
            + np.asarray(layers["final_layer"]["bias"])
        )[:, 0]
    return total / 2


def test_acts_on_what_it_sees_and_knows_the_values():
    agent, state = trained("probe/see_continuous", 800)
    seen = np.linspace(-0.9, 0.9, 13, dtype=np.float32)[:, None]
    act = jax.vmap(lambda observation: agent.act(state, observation, jax.random.key(0), 0, True))
    np.testing.assert_allclose(act(seen), seen / 2, atol=0.12)
    actions = np.random.default_rng(3).uniform(-0.9, 0.9, seen.shape).astype(np.float32)
    expected = 1 - (actions - seen / 2)[:, 0] ** 2
    np.testing.assert_allclose(values(agent, state, seen, actions), expected, atol=0.15)


def test_value_goes_on_beyond_a_truncation():
    agent, state = trained("probe/endless_continuous", 800)
    zeros = np.zeros((3, 1), np.float32)
    found = values(agent, state, zeros, np.array([[-0.5], [0.0], [0.5]], np.float32))
    temperature = float(np.exp(state.log_temperature.params))
    # 1 / (1 - 0.9), and gamma / (1 - gamma) temperature * entropy, which is at most log 2 for
    # actions in [-1, 1]
    assert temperature < 0.01
    np.testing.assert_allclose(found, 10.0, atol=0.6)
