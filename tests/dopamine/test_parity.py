"""Against the real dopamine-rl 4.1.2.

``pip install 'dormant[dopamine]'``, then ``pytest -m dopamine``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dormant import ops
from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.rainbow import Rainbow, make_rainbow
from dormant.agents.sac import SAC, make_sac
from dormant.dopamine import import_dopamine
from dormant.envs import AtariProtocol, env_spec, make_env
from dormant.nets import make_rainbow_network
from dormant.nets.sac import Actor, Critic
from dormant.replay import make_uniform
from dormant.types import EnvSpec, Row, Transition

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


def gradient(opt_state):
    """What Adam has seen in its first step: mu = (1 - b1) * gradient."""
    mu = optax.tree_utils.tree_get(opt_state, "mu")
    return jax.tree.map(lambda leaf: np.asarray(leaf) / 0.1, mu)


def assert_same_tree(ours, theirs, share=1e-5):
    """Entry by entry, up to a share of each array's largest entry."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(theirs):
        mine = ours
        for key in path:
            mine = mine[key.key]
        assert np.max(np.abs(leaf)) > 0, path
        np.testing.assert_allclose(mine, leaf, rtol=0, atol=share * np.max(np.abs(leaf)))


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


def sac_of(state):
    """Our actor's and critics' params as one of Dopamine's."""
    last = lambda params: {
        {"final_layer": "Dense_2"}.get(key, key): layer for key, layer in params["params"].items()
    }
    critics = {f"_critic{i + 1}": last(each.params) for i, each in enumerate(state.critics)}
    return {"params": {"_actor": last(state.actor.params), **critics}}


def test_sac_losses_are_dopamines():
    """The actions that Dopamine draws, our networks and objectives: the three losses.

    The noise cannot be made the same (tensorflow-probability splits keys of its own), so our losses
    are put together here from Dopamine's samples; the densities of these are compared as well.
    """
    sac_agent = import_dopamine("jax.agents.sac.sac_agent")
    networks = import_dopamine("jax.continuous_networks")
    spec = EnvSpec("Vectors", (5,), np.float32, 0, (2,), 1, 1, 1000)
    agent = make_sac(SAC(), spec)
    settings = jax.tree.map(jnp.float32, agent.default_settings)
    state, target = (agent.init(jax.random.key(seed), settings) for seed in (0, 1))
    random, size, gamma, log_alpha, entropy = np.random.default_rng(0), 16, 0.99, -0.7, -1.0
    normal = lambda *shape: random.normal(size=shape).astype(np.float32)
    s_tm1, s_t, reward = normal(size, 5), normal(size, 5), normal(size)
    a_tm1, terminal = np.tanh(normal(size, 2)), (random.random(size) < 0.3).astype(np.float32)

    network = networks.ActorCriticNetwork((2,), action_limits=((-1.0, -1.0), (1.0, 1.0)))
    params, target_params = sac_of(state), sac_of(target)
    optimizer = import_dopamine("jax.agents.dqn.dqn_agent").create_optimizer("adam")
    alpha = jnp.float32(log_alpha)
    found = sac_agent.train(
        *(network, optimizer, optimizer, optimizer.init(params), optimizer.init(alpha)),
        *(params, target_params, alpha, jax.random.PRNGKey(3)),
        *(s_tm1, a_tm1, s_t, reward, terminal, gamma, entropy, 1.0),
    )
    # As train deals its keys: one an item, and of that one for the target, one for the actor.
    keys = jax.vmap(jax.random.split)(jax.random.split(jax.random.PRNGKey(3), size))
    draw = jax.vmap(
        lambda params, state, key: network.apply(params, state, key, method=network.actor),
        in_axes=(None, 0, 0),
    )
    # Dopamine's target network has an actor of its own, and its critics value the mean action.
    next_out, out = draw(target_params, s_t, keys[:, 0]), draw(params, s_tm1, keys[:, 1])
    actor, critic = Actor(2), Critic()
    values = lambda critics, states, actions: jnp.stack(
        [critic.apply(each.params, states, actions).q for each in critics], axis=1
    )
    ours = actor.apply(state.actor.params, s_tm1)
    np.testing.assert_allclose(jnp.tanh(ours.mean), out.mean_action, atol=1e-5)
    noise = (jnp.arctanh(out.sampled_action) - ours.mean) / jnp.exp(ours.log_std)
    np.testing.assert_allclose(
        jax.vmap(log_density)(ours.mean, ours.log_std, noise), out.log_probability, atol=2e-4
    )

    errors = jax.vmap(ops.sac_td_errors, in_axes=(0, 0, 0, 0, 0, None))(
        values(state.critics, s_tm1, a_tm1),
        reward,
        gamma * (1 - terminal),
        values(target.critics, s_t, next_out.mean_action),
        next_out.log_probability,
        jnp.exp(alpha),
    )
    np.testing.assert_allclose(jnp.mean(jnp.sum(errors**2, 1)), found["Losses/Critic"], rtol=1e-5)
    losses = jax.vmap(ops.sac_actor_loss, in_axes=(0, 0, None))(
        values(state.critics, s_tm1, out.sampled_action), out.log_probability, jnp.exp(alpha)
    )
    np.testing.assert_allclose(jnp.mean(losses), found["Losses/Actor"], rtol=1e-5)
    losses = jax.vmap(ops.sac_temperature_loss, in_axes=(None, 0, None))(
        alpha, out.log_probability, entropy
    )
    np.testing.assert_allclose(jnp.mean(losses), found["Losses/Alpha"], rtol=1e-5)


def test_sac_gradients_updates_and_temperature_are_dopamines(monkeypatch):
    """With Dopamine's draws as our noise: gradients of the three losses, parameters after Adam.

    Dopamine moves actor, critics and temperature at once and values the mean action of the target
    network's own actor (docs/coming_from_dopamine.md); here ours is put together in that order.
    """
    sac_agent = import_dopamine("jax.agents.sac.sac_agent")
    networks = import_dopamine("jax.continuous_networks")
    create = import_dopamine("jax.agents.dqn.dqn_agent").create_optimizer
    spec = EnvSpec("Vectors", (5,), np.float32, 0, (2,), 1, 1, 1000)
    agent = make_sac(SAC(), spec)
    settings = jax.tree.map(jnp.float32, agent.default_settings)
    state, target = (agent.init(jax.random.key(seed), settings) for seed in (0, 1))
    random, size, gamma, log_alpha, entropy = np.random.default_rng(0), 16, 0.99, -0.7, -1.0
    normal = lambda *shape: random.normal(size=shape).astype(np.float32)
    s_tm1, s_t, reward = normal(size, 5), normal(size, 5), normal(size)
    a_tm1, terminal = np.tanh(normal(size, 2)), (random.random(size) < 0.3).astype(np.float32)
    network = networks.ActorCriticNetwork((2,), action_limits=((-1.0, -1.0), (1.0, 1.0)))
    params, target_params = sac_of(state), sac_of(target)
    optimizer, alpha = create("adam", learning_rate=3e-4, eps=1e-4), jnp.float32(log_alpha)
    found = sac_agent.train(
        *(network, optimizer, optimizer, optimizer.init(params), optimizer.init(alpha)),
        *(params, target_params, alpha, jax.random.PRNGKey(3)),
        *(s_tm1, a_tm1, s_t, reward, terminal, gamma, entropy, 1.0),
    )
    keys = jax.vmap(jax.random.split)(jax.random.split(jax.random.PRNGKey(3), size))
    draw = jax.vmap(
        lambda params, state, key: network.apply(params, state, key, method=network.actor),
        in_axes=(None, 0, 0),
    )
    next_out, out = draw(target_params, s_t, keys[:, 0]), draw(params, s_tm1, keys[:, 1])
    actor, critic = Actor(2), Critic()
    ours = actor.apply(state.actor.params, s_tm1)
    noise = np.arctanh(np.asarray(out.sampled_action, np.float64)) - np.asarray(ours.mean)
    noise = (noise / np.exp(np.asarray(ours.log_std, np.float64))).astype(np.float32)
    # our own sampler, with the noise in the place of its key
    monkeypatch.setattr(jax.random, "normal", lambda noise, shape: noise)
    values = lambda critics, states, actions: jnp.stack(
        [critic.apply(each, states, actions).q for each in critics], axis=1
    )
    targets = [each.params for each in target.critics]
    fixed = [each.params for each in state.critics]

    def loss(actor_params, critics, log_alpha):
        errors = jax.vmap(ops.sac_td_errors, in_axes=(0, 0, 0, 0, 0, None))(
            values(critics, s_tm1, a_tm1),
            reward,
            gamma * (1 - terminal),
            values(targets, s_t, next_out.mean_action),
            next_out.log_probability,
            jnp.exp(alpha),
        )
        actions = actor.apply(actor_params, s_tm1)
        action, log_prob = jax.vmap(ops.tanh_gaussian_sample)(actions.mean, actions.log_std, noise)
        policy = jax.vmap(ops.sac_actor_loss, in_axes=(0, 0, None))(
            values(fixed, s_tm1, action), log_prob, jnp.exp(alpha)
        )
        temperature = jax.vmap(ops.sac_temperature_loss, in_axes=(None, 0, None))(
            log_alpha, jax.lax.stop_gradient(log_prob), entropy
        )
        return 0.5 * jnp.mean(jnp.sum(errors**2, 1)) + jnp.mean(policy) + jnp.mean(temperature)

    gradients = jax.grad(loss, argnums=(0, 1, 2))(state.actor.params, fixed, alpha)
    last = lambda tree: {
        {"final_layer": "Dense_2"}.get(key, key): layer for key, layer in tree["params"].items()
    }
    named = {"_actor": last(gradients[0])}
    named |= {f"_critic{i + 1}": last(each) for i, each in enumerate(gradients[1])}
    assert_same_tree({"params": named}, gradient(found["optimizer_state"]))
    np.testing.assert_allclose(
        gradients[2], gradient(found["alpha_optimizer_state"]), rtol=1e-4, atol=1e-6
    )
    updates, _ = optimizer.update({"params": named}, optimizer.init(params), params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5),
        optax.apply_updates(params, updates),
        found["network_params"],
    )
    moved = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), params, found["network_params"])
    assert min(jax.tree.leaves(moved)) > 1e-5
    expected = alpha - 3e-4 * gradients[2] / (jnp.abs(gradients[2]) + 1e-4)
    np.testing.assert_allclose(found["log_alpha"], expected, atol=1e-6)


def test_target_entropy_and_soft_target_are_dopamines():
    """-action dimensions / 2; target parameters move by 0.005 of the way."""
    import gin

    sac_agent = import_dopamine("jax.agents.sac.sac_agent")
    gin.parse_config("ReplayBuffer.batch_size = 8\nReplayBuffer.max_capacity = 20")
    limits = (-np.ones(3, np.float32), np.ones(3, np.float32))
    theirs = sac_agent.SACAgent((3,), limits, (5,), seed=0)
    assert theirs.target_entropy == -3 / 2 and SAC().target_entropy is None
    assert theirs.target_smoothing_coefficient == SAC().target_smoothing_coefficient
    assert theirs.reward_scale_factor == 1.0 and SAC().reward_scale_factor == 0.1


def log_density(mean, log_std, noise):
    """Of tanh(mean + std * noise), written another way than ours."""
    u = mean + jnp.exp(log_std) * noise
    gaussian = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
    return jnp.sum(gaussian - jnp.log1p(-(jnp.tanh(u) ** 2)))


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
