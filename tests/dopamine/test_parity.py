"""Against the real dopamine-rl 4.1.2.

``pip install 'dormant[dopamine]'``, then ``pytest -m dopamine``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant import ops
from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.rainbow import Rainbow, make_rainbow
from dormant.dopamine import import_dopamine
from dormant.envs import AtariProtocol, env_spec, make_env
from dormant.nets import make_rainbow_network
from dormant.replay import make_uniform
from dormant.types import EnvSpec, Row, Transition
from tests.dopamine.trees import assert_same_tree, gradient

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


SMALL = dict(width=1.0, formulation="xla", noisy=False)
DRQ = dict(distributional=False, dueling=True, double_dqn=True, replay_scheme="uniform")
FAMILY = {
    "c51": Rainbow(**SMALL, dueling=False, double_dqn=False, replay_scheme="uniform"),
    "drq_eps": Rainbow(**SMALL, **DRQ),
    "full_rainbow": Rainbow(**SMALL),  # without its noise, whose keys are dealt otherwise
}


def network_of(name, config):
    """(Dopamine's network, its function of (params, states), our params under its names)."""
    networks = import_dopamine("jax.networks")
    support = jnp.linspace(-config.vmax, config.vmax, config.num_atoms)
    if name == "c51":
        network = networks.RainbowNetwork(6, num_atoms=51)
        heads = {"final_layer": "Dense_1"}
    else:
        atoms = config.num_atoms if config.distributional else 1
        network = networks.FullRainbowNetwork(
            6, atoms, noisy=False, dueling=True, distributional=config.distributional
        )
        heads = {"advantage": "Dense_1", "value": "Dense_2"}

    def rename(params):
        return {"params": {heads.get(key, key): layer for key, layer in params["params"].items()}}

    return network, support, rename


def train_theirs(name, config, params, target, batch, weight):
    """One gradient step of Dopamine's -> (loss (), losses (B,) before their weights, gradient,
    params).
    """
    network, support, rename = network_of(name, config)
    optimizer = import_dopamine("jax.agents.dqn.dqn_agent").create_optimizer(
        "adam", learning_rate=config.learning_rate, eps=config.adam_epsilon
    )
    params, target = rename(params), rename(target)
    gamma = float(np.max(batch.discount_t))
    arguments = [network, params, target, optimizer, optimizer.init(params)]
    arguments += [batch.s_tm1, batch.a_tm1, batch.s_t, batch.r_t]
    arguments += [(batch.discount_t == 0).astype(np.float32), weight, support, gamma]
    if name == "c51":
        out = import_dopamine("jax.agents.rainbow.rainbow_agent").train(*arguments)
    else:
        switches = [config.double_dqn, config.distributional, False, jax.random.PRNGKey(0)]
        out = import_dopamine("jax.agents.full_rainbow.full_rainbow_agent").train(
            *arguments, *switches
        )
    return out[3], out[2], gradient(out[0]), out[1]


@pytest.mark.parametrize("name", FAMILY)
def test_losses_gradients_and_updates_of_the_rainbow_family_are_dopamines(name):
    config = FAMILY[name]
    agent = make_rainbow(config, env_spec("DemonAttack"))
    settings = jax.tree.map(jnp.float32, agent.default_settings)
    state = agent.init(jax.random.key(0), settings)
    target = agent.init(jax.random.key(1), settings).params
    state = state.replace(target_params=target)
    weight = np.random.default_rng(1).random(32).astype(np.float32)
    batch = next(batches(1))._replace(weight=weight)
    after, metrics, priorities = jax.jit(agent.learn)(state, batch, jax.random.key(0), settings)
    loss, losses, expected, updated = train_theirs(
        name, config, state.params, target, batch, weight
    )
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    if priorities is not None:
        np.testing.assert_allclose(priorities, np.sqrt(losses + 1e-10), rtol=1e-5)
    rename = network_of(name, config)[2]
    assert_same_tree(rename(gradient(after.opt_state)), expected)
    moved = jax.tree.map(lambda new, old: np.max(np.abs(new - old)), after.params, state.params)
    assert min(jax.tree.leaves(moved)) > 1e-5
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6),
        rename(after.params),
        updated,
    )


@pytest.mark.parametrize("name", FAMILY)
def test_outputs_of_the_rainbow_family_are_dopamines(name):
    config = FAMILY[name]
    ours = make_rainbow_network(config, env_spec("DemonAttack"))
    states = next(batches(1)).s_tm1[:8]
    params = jax.jit(ours.init)(jax.random.key(0), states)
    network, support, rename = network_of(name, config)
    apply = lambda state: network.apply(rename(params), state, support=support).q_values
    expected = jax.vmap(apply)(states)
    np.testing.assert_allclose(
        ours.apply(params, states).q_values, expected, atol=1e-5 * np.abs(expected).max()
    )


def test_outputs_of_the_resnet_are_dopamines():
    """Dopamine's Impala network, twice as wide as it comes, with our parameters."""
    from dormant.nets.resnet import ResNet

    networks = import_dopamine("jax.networks")
    ours, theirs = ResNet(num_actions=6), networks.ImpalaDQNNetwork(6, nn_scale=2)
    states = next(batches(1)).s_tm1[:4]
    params = jax.jit(ours.init)(jax.random.key(0), states)
    shapes = jax.eval_shape(theirs.init, jax.random.PRNGKey(0), states[0])
    # The same layers in the same order, under other names.
    order = lambda tree: sorted(jax.tree_util.tree_leaves_with_path(tree), key=place)
    found = {path: leaf for (path, _), (_, leaf) in zip(order(shapes), order(params))}
    renamed = jax.tree_util.tree_map_with_path(lambda path, _: found[path], shapes)
    assert all(a.shape == b.shape for a, b in zip(*map(jax.tree.leaves, (shapes, renamed))))
    expected = jax.vmap(lambda state: theirs.apply(renamed, state).q_values)(states)
    np.testing.assert_allclose(
        ours.apply(params, states).q_values, expected, atol=1e-5 * np.abs(expected).max()
    )


def place(item):
    """Where a leaf lies in a ResNet: the stacks' layers by their numbers, then the dense ones."""
    names = [str(getattr(key, "key", key)) for key in item[0]]
    numbers = [int(part.split("_")[-1]) for part in names if part.split("_")[-1].isdigit()]
    final = any("final" in part for part in names)
    return (final or any("Dense" in part for part in names), final, *numbers, names[-1])


def test_a_noisy_layer_without_its_noise_is_dopamines():
    """mu and sigma in their places; evaluation turns the noise off in both."""
    config = Rainbow(width=1.0, formulation="xla", noisy=True)
    networks = import_dopamine("jax.networks")
    ours = make_rainbow_network(config, env_spec("DemonAttack"))
    states = next(batches(1)).s_tm1[:4]
    params = jax.jit(ours.init)(jax.random.key(0), states)
    theirs = networks.FullRainbowNetwork(6, 51, noisy=True, dueling=True, distributional=True)
    layers = {"Dense_0": "NoisyNetwork_0", "advantage": "NoisyNetwork_1", "value": "NoisyNetwork_2"}
    renamed = {"params": {layers.get(k, k): v for k, v in params["params"].items()}}
    support = jnp.linspace(-10.0, 10.0, 51)
    key = jax.random.PRNGKey(0)
    apply = lambda state: theirs.apply(renamed, state, support, eval_mode=True, key=key).q_values
    expected = jax.vmap(apply)(states)
    np.testing.assert_allclose(
        ours.apply(params, states).q_values, expected, atol=1e-5 * np.abs(expected).max()
    )
    fresh = theirs.init(key, states[0], support, key=key)["params"]
    for name, layer in layers.items():
        mine, other = params["params"][name], fresh[layer]
        np.testing.assert_allclose(mine["kernel_sigma"], other["kernel_sigma"], rtol=1e-6)
        bound = [np.abs(np.asarray(each["kernel_mu"])).max() for each in (mine, other)]
        np.testing.assert_allclose(bound[0], bound[1], rtol=0.02)


@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("horizon", [1, 3, 10])
def test_n_step_transitions_are_dopamines(horizon, truncates):
    """Stacks, actions, returns and next stacks of all windows within an episode, which ends or is
    cut.
    """
    accumulator = import_dopamine("jax.replay_memory.accumulator")
    elements = import_dopamine("jax.replay_memory.elements")
    spec = EnvSpec("Frames", (2, 3), np.uint8, 4, (), 4, 4, 1000)
    random, count = np.random.default_rng(0), 60
    frames = random.integers(1, 255, (count, 2, 3)).astype(np.uint8)
    actions, rewards = random.integers(0, 4, count), random.normal(size=count).astype(np.float32)
    ended = np.zeros(count, bool)
    ended[[22, 45]] = True
    terminal, truncated = ended & (not truncates), ended & truncates
    made = accumulator.TransitionAccumulator(stack_size=4, update_horizon=horizon, gamma=0.9)
    theirs = []
    for row in zip(frames, actions, rewards, terminal, ended):
        theirs += made.accumulate(elements.TransitionElement(*row))
    memory = make_uniform(spec, 100, 512, horizon, 0.9)
    rows = Row(frames, actions, rewards, terminal, truncated)
    batch = jax.device_get(memory.sample(memory.add(memory.init(), rows), jax.random.key(0)))
    ours = {int(start): i for i, start in enumerate(batch.index)}
    by_state = {each.state.tobytes(): each for each in theirs}
    compared = 0
    for start, i in sorted(ours.items()):
        window = ended[start : start + horizon + (not truncates)]  # up to the next state
        if window.any():
            continue
        expected = by_state[batch.s_tm1[i].tobytes()]
        np.testing.assert_array_equal(batch.s_t[i], expected.next_state)
        assert batch.a_tm1[i] == expected.action and not expected.is_terminal
        np.testing.assert_allclose(batch.r_t[i], expected.reward, rtol=1e-5)
        np.testing.assert_allclose(batch.discount_t[i], 0.9**horizon, rtol=1e-6)
        compared += 1
    assert compared > 20
    if truncates:
        return
    # The difference (agents/dqn.py, 4): the reward of an episode's last step is ours alone.
    last = np.flatnonzero(terminal)
    assert not any(
        frames[end].tobytes() == each.state[..., -1].tobytes() for end in last for each in theirs
    )
    for end in last:
        np.testing.assert_allclose(batch.r_t[ours[int(end)]], rewards[end], rtol=1e-6)
        assert batch.discount_t[ours[int(end)]] == 0


def test_epsilon_follows_dopamines():
    """DQN's schedule, DrQ(eps)'s, and that of noisy agents, which is 0 throughout."""
    full_rainbow = import_dopamine("jax.agents.full_rainbow.full_rainbow_agent")
    assert full_rainbow.zero_epsilon(250_000, 0, 20_000, 0.01) == 0.0
    dqn_agent = import_dopamine("jax.agents.dqn.dqn_agent")
    for step in (0, 19_999, 20_000, 20_001, 145_000, 270_000, 10**6):
        expected = dqn_agent.linearly_decaying_epsilon(250_000, step, 20_000, 0.01)
        np.testing.assert_allclose(
            ops.linearly_decaying_epsilon(250_000, step, 20_000, 0.01), expected, rtol=1e-6
        )
    for step in (0, 1600, 4100, 6600, 400_000):
        expected = dqn_agent.linearly_decaying_epsilon(5_000, step, 1_600, 0.01)
        found = ops.linearly_decaying_epsilon(5_000, step, 1_600, 0.01)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("game", ["Pong", "DemonAttack"])
def test_frames_rewards_and_ends_are_those_of_dopamines_environment(game):
    atari_lib = import_dopamine("discrete_domains.atari_lib")
    theirs = atari_lib.create_atari_environment(game, sticky_actions=False)
    ours = make_env(game, 1, AtariProtocol(sticky_actions=0.0))
    rng = np.random.default_rng(0)
    frame, expected = ours.reset(np.array([1]))[0], theirs.reset()[..., 0]
    ends = 0
    for _ in range(1500):
        np.testing.assert_array_equal(frame, expected)
        action = int(rng.integers(theirs.action_space.n))
        ours.send(np.array([action]))
        step = ours.recv()
        observation, reward, over, _ = theirs.step(action)
        assert step.reward[0] == reward
        assert (step.terminal[0] or step.truncated[0]) == over
        ends += over
        frame, expected = step.observation[0], (theirs.reset() if over else observation)[..., 0]
    assert ends >= 1
