"""Against the real dopamine-rl 4.1.2 (``pip install 'dormant[dopamine]'``, then ``pytest -m
dopamine``).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.agents.dqn import DQN, make_dqn
from dormant.dopamine import import_dopamine
from dormant.envs import AtariProtocol, env_spec, make_env
from dormant.types import Transition

pytestmark = [pytest.mark.dopamine, pytest.mark.filterwarnings("ignore")]


def theirs_of(params):
    """Our Nature CNN's params under Dopamine's names."""
    return {
        "params": {
            "Dense_1" if name == "final_layer" else name: layer
            for name, layer in params["params"].items()
        }
    }


def batches(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        states = rng.integers(0, 256, (2, 32, 84, 84, 4), np.uint8)
        terminals = rng.random(32) < 0.2
        yield Transition(
            s_tm1=states[0],
            a_tm1=rng.integers(0, 6, 32),
            r_t=rng.choice([-1.0, 0.0, 1.0], 32).astype(np.float32),
            discount_t=np.where(terminals, 0.0, 0.99).astype(np.float32),
            s_t=states[1],
            index=np.arange(32),
        )


def test_dqn_follows_dopamines_for_four_gradient_steps():
    dqn_agent, networks = (
        import_dopamine("jax.agents.dqn.dqn_agent"),
        import_dopamine("jax.networks"),
    )
    agent = make_dqn(DQN(), env_spec("DemonAttack"))
    settings = jax.tree.map(jnp.float32, agent.default_settings)
    state = agent.init(jax.random.key(0), settings)
    network = networks.NatureDQNNetwork(6)
    params = target = theirs_of(state.params)
    optimizer = dqn_agent.create_optimizer("adam", learning_rate=6.25e-5, eps=1.5e-4)
    opt_state = optimizer.init(params)
    learn = jax.jit(agent.learn)
    for batch in batches(4):
        state, metrics, _ = learn(state, batch, jax.random.key(0), settings)
        opt_state, params, loss = dqn_agent.train(
            network,
            params,
            target,
            optimizer,
            opt_state,
            batch.s_tm1,
            batch.a_tm1,
            batch.s_t,
            batch.r_t,
            (batch.discount_t == 0).astype(np.float32),
            0.99,
            "huber",
        )
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    moved = jax.tree.map(lambda new, old: np.max(np.abs(new - old)), params, target)
    assert min(jax.tree.leaves(moved)) > 1e-5
    # Four steps of Adam move an entry by up to 2.5e-4. Sums in another order let a neuron or two
    # fall on the other side of its ReLU, and the trajectories part from there.
    apart = jax.tree.map(lambda a, b: np.abs(a - b).ravel(), theirs_of(state.params), params)
    apart = np.concatenate(jax.tree.leaves(apart))
    assert np.mean(apart > 5e-6) < 1e-3
    assert np.max(apart) < 1e-4


def test_epsilon_follows_dopamines():
    dqn_agent = import_dopamine("jax.agents.dqn.dqn_agent")
    from dormant import ops

    for step in (0, 19_999, 20_000, 20_001, 145_000, 270_000, 10**6):
        expected = dqn_agent.linearly_decaying_epsilon(250_000, step, 20_000, 0.01)
        np.testing.assert_allclose(
            ops.linearly_decaying_epsilon(250_000, step, 20_000, 0.01), expected, rtol=1e-6
        )


@pytest.mark.parametrize("game", ["Pong", "DemonAttack"])
def test_frames_rewards_and_ends_are_those_of_dopamines_environment(game):
    atari_lib = import_dopamine("discrete_domains.atari_lib")
    theirs = atari_lib.create_atari_environment(game, sticky_actions=False)
    ours = make_env(game, 1, AtariProtocol(sticky_actions=0.0))
    rng = np.random.default_rng(0)
    frame, expected = ours.reset(np.array([1]))[0], theirs.reset()[..., 0]
    ends = 0
    for _ in range(1500):
        np.testing.assert_allclose(
            frame.astype(int), expected.astype(int), atol=1
        )  # a grey level: both round
        action = int(rng.integers(theirs.action_space.n))
        ours.send(np.array([action]))
        step = ours.recv()
        observation, reward, over, _ = theirs.step(action)
        assert step.reward[0] == reward
        assert (step.terminal[0] or step.truncated[0]) == over
        ends += over
        frame, expected = step.observation[0], (theirs.reset() if over else observation)[..., 0]
    assert ends >= 1
