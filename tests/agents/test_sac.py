"""SAC's learning rule against numbers worked out by hand on networks of one neuron."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dormant.agents.interface import Settings
from dormant.agents.sac import SAC, make_sac
from dormant.envs import env_spec
from dormant.types import DormantError, Transition

SPEC = env_spec("probe/see_continuous")
HOPPER = env_spec("Hopper-v5")  # three action dimensions
TINY = SAC(num_layers=1, num_hidden_units=1)
COLD = -100.0  # log temperature: no entropy term left


def layer(kernel, bias):
    return {"kernel": jnp.array(kernel, jnp.float32), "bias": jnp.array(bias, jnp.float32)}


def hand_made(agent, log_temperature, settings):
    """Actor: tanh(0.5 relu(s)) with hardly any noise. Critics: relu(s + a) and 2 relu(s - a) +
    0.5.
    """
    state = agent.init(jax.random.key(0), settings)
    actor = {"Dense_0": layer([[1]], [0]), "final_layer": layer([[0.5, 0]], [0, -30])}
    critics = (
        {"Dense_0": layer([[1], [1]], [0]), "final_layer": layer([[1]], [0])},
        {"Dense_0": layer([[1], [-1]], [0]), "final_layer": layer([[2]], [0.5])},
    )
    return state.replace(
        actor=state.actor._replace(params={"params": actor}),
        critics=tuple(
            old._replace(params={"params": new}) for old, new in zip(state.critics, critics)
        ),
        target_critics=tuple({"params": jax.tree.map(jnp.copy, new)} for new in critics),
        log_temperature=state.log_temperature._replace(params=jnp.float32(log_temperature)),
    )


def transitions(discount=0.9):
    """The same transition many times: one compilation, and means over the actor's noise."""
    one = lambda value, *shape: jnp.full((512, *shape), value, jnp.float32)
    return Transition(
        s_tm1=one(1, 1), a_tm1=one(0.5, 1), r_t=one(2), discount_t=one(discount), s_t=one(2, 1)
    )


def settings(learning_rate=0.0, weight_decay=0.0):
    return Settings(jnp.float32(learning_rate), jnp.float32(weight_decay))


def gradient(network):
    """What Adam has seen in its first step: mu = (1 - b1) * gradient."""
    mu = optax.tree_utils.tree_get(network.opt_state, "mu")
    return jax.tree.map(lambda leaf: np.asarray(leaf) / 0.1, mu)


@pytest.fixture(scope="module")
def tiny():
    agent = make_sac(TINY, SPEC)
    return agent, jax.jit(agent.learn)


def test_critics_learn_the_soft_target(tiny):
    agent, learn = tiny
    # s = 1, a = 0.5: q = (1 + 0.5, 2 (1 - 0.5) + 0.5) = (1.5, 1.5)
    # s' = 2, a' = tanh(0.5 * 2) = 0.761594: target q = (2.761594, 2 * 1.238406 + 0.5 = 2.976812),
    # the smaller 2.761594 target = 2 + 0.9 * 2.761594 = 4.485435, error 2.985435 for both, loss =
    # (2.985435^2 + 2.985435^2) / 2
    error = 2.985435
    state, metrics, priorities = learn(
        hand_made(agent, COLD, settings()), transitions(), jax.random.key(1), settings()
    )
    np.testing.assert_allclose(metrics["loss"], error**2, rtol=1e-5)
    np.testing.assert_allclose(metrics["mean_q"], 1.5, rtol=1e-6)
    assert priorities is None
    first, second = (gradient(network)["params"] for network in state.critics)
    np.testing.assert_allclose(first["final_layer"]["kernel"], [[-error * 1.5]], rtol=1e-5)
    np.testing.assert_allclose(first["final_layer"]["bias"], [-error], rtol=1e-5)
    np.testing.assert_allclose(first["Dense_0"]["kernel"], [[-error], [-error * 0.5]], rtol=1e-5)
    np.testing.assert_allclose(second["final_layer"]["kernel"], [[-error * 0.5]], rtol=1e-5)
    np.testing.assert_allclose(second["Dense_0"]["kernel"], [[-2 * error], [-error]], rtol=1e-5)


def test_nothing_is_bootstrapped_beyond_a_terminal_state(tiny):
    agent, learn = tiny
    terminal = transitions(discount=0.0)
    metrics = learn(hand_made(agent, COLD, settings()), terminal, jax.random.key(1), settings())[1]
    np.testing.assert_allclose(metrics["loss"], 0.5**2, rtol=1e-5)  # 2 - 1.5 for both


def test_entropy_enters_the_target(tiny):
    """Temperature 1 and std exp(-30): log pi' = -n^2/2 + 30 - log(2 pi)/2 - log(1 - 0.761594^2), n
    standard normal.
    """
    agent, learn = tiny
    metrics = learn(
        hand_made(agent, 0.0, settings()), transitions(), jax.random.key(1), settings()
    )[1]
    log_prob = -0.5 + 30 - 0.918939 + 0.867562  # its mean; the variance of n^2 / 2 is 1 / 2
    error = 2 + 0.9 * (2.761594 - log_prob) - 1.5
    np.testing.assert_allclose(metrics["loss"], error**2 + 0.81 * 0.5, rtol=5e-3)


def test_actor_climbs_the_smaller_critic(tiny):
    agent, learn = tiny
    # a = tanh(0.5) = 0.462117: q = (1.462117, 2 * 0.537883 + 0.5 = 1.575766); the first is smaller,
    # dq/da = 1, da/dmean = 1 - 0.462117^2 = 0.786448; relu(s) = 1
    state, metrics, _ = learn(
        hand_made(agent, COLD, settings()), transitions(), jax.random.key(1), settings()
    )
    np.testing.assert_allclose(metrics["actor_loss"], -1.462117, rtol=1e-5)
    found = gradient(state.actor)["params"]
    np.testing.assert_allclose(
        found["final_layer"]["kernel"], [[-0.786448, 0]], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(found["final_layer"]["bias"], [-0.786448, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["Dense_0"]["kernel"], [[-0.786448 * 0.5]], rtol=1e-5)


def test_order_of_the_updates(tiny):
    """Adam's first step is the learning rate against the gradient's sign; the actor meets the
    critics after theirs.
    """
    agent, learn = tiny
    rate = 0.1
    state, metrics, _ = learn(
        hand_made(agent, COLD, settings()), transitions(), jax.random.key(1), settings(rate)
    )
    # critic 1 rises: kernel (1.1, 1.1), bias 0.1, out 1.1, out bias 0.1; at a = 0.462117 it is 1.1
    # * 1.708329 + 0.1 critic 2 rises: kernel (1.1, -0.9), bias 0.1, out 2.1, out bias 0.6; there it
    # is 2.1 * 0.784095 + 0.6 = 2.246599
    np.testing.assert_allclose(
        state.critics[0].params["params"]["Dense_0"]["kernel"], [[1.1], [1.1]], rtol=1e-5
    )
    np.testing.assert_allclose(
        state.critics[1].params["params"]["Dense_0"]["kernel"], [[1.1], [-0.9]], rtol=1e-5
    )
    np.testing.assert_allclose(metrics["actor_loss"], -(1.1 * 1.708329 + 0.1), rtol=1e-5)
    # the mean's output rises by the rate, the standard deviation's does not move
    np.testing.assert_allclose(
        state.actor.params["params"]["final_layer"]["kernel"], [[0.6, 0]], atol=1e-5
    )
    # target critics go 0.005 of the way
    np.testing.assert_allclose(
        state.target_critics[0]["params"]["final_layer"]["kernel"], [[1.0005]], rtol=1e-6
    )
    np.testing.assert_allclose(
        state.target_critics[1]["params"]["final_layer"]["bias"], [0.5005], rtol=1e-6
    )


@pytest.mark.parametrize("log_std, sign", [(-30.0, 1), (0.0, -1)])
def test_temperature_rises_when_the_entropy_is_below_its_target(tiny, log_std, sign):
    agent, learn = tiny
    state = hand_made(agent, 0.0, settings())
    params = state.actor.params["params"] | {"final_layer": layer([[0.5, 0]], [0, log_std])}
    state = state.replace(actor=state.actor._replace(params={"params": params}))
    after, metrics, _ = learn(state, transitions(), jax.random.key(1), settings(0.01))
    # loss = -log_temperature * (log pi + target), target = -1 / 2 for one action dimension
    expected = float(metrics["entropy"]) + 0.5
    np.testing.assert_allclose(gradient(after.log_temperature), expected, rtol=1e-5)
    np.testing.assert_allclose(after.log_temperature.params, 0.01 * sign, rtol=1e-4)


@pytest.mark.parametrize("given, wanted", [(None, -1.5), (2.0, 2.0)])
def test_the_entropy_aimed_at_is_minus_half_the_actions_dimensions_or_as_given(given, wanted):
    agent = make_sac(SAC(num_layers=1, num_hidden_units=2, target_entropy=given), HOPPER)
    normal = lambda *shape: jax.random.normal(jax.random.key(len(shape)), (4, *shape))
    batch = Transition(normal(11), jnp.tanh(normal(3)), normal(), normal(), normal(11))
    state = jax.jit(agent.init)(jax.random.key(0), settings())
    after, metrics, _ = jax.jit(agent.learn)(state, batch, jax.random.key(1), settings())
    np.testing.assert_allclose(
        gradient(after.log_temperature), metrics["entropy"] - wanted, rtol=1e-4
    )


def test_weight_decay_pulls_kernels_and_nothing_else(tiny):
    agent, learn = tiny
    plain = learn(hand_made(agent, COLD, settings()), transitions(), jax.random.key(1), settings())[
        0
    ]
    decayed = learn(
        hand_made(agent, COLD, settings()), transitions(), jax.random.key(1), settings(0.0, 0.1)
    )[0]
    for name, before, after in (
        ("actor", plain.actor, decayed.actor),
        ("critic", plain.critics[1], decayed.critics[1]),
    ):
        difference = jax.tree.map(lambda a, b: a - b, gradient(after), gradient(before))["params"]
        for one, params in difference.items():
            weights = before.params["params"][one]["kernel"]
            np.testing.assert_allclose(params["kernel"], 0.1 * weights, atol=1e-5, err_msg=name)
            np.testing.assert_array_equal(params["bias"], np.zeros_like(params["bias"]))
    np.testing.assert_array_equal(
        gradient(plain.log_temperature), gradient(decayed.log_temperature)
    )


def test_l2_towards_the_initial_weights_is_in_the_gradient_and_spares_the_temperature(tiny):
    agent, learn = tiny
    pulled = settings()._replace(l2_init=jnp.float32(0.1))
    initial = agent.init(jax.random.key(0), settings())
    after = [
        learn(hand_made(agent, COLD, own), transitions(), jax.random.key(1), own)[0]
        for own in (settings(), pulled)
    ]
    assert initial.log_temperature.params != COLD
    np.testing.assert_array_equal(*(gradient(each.log_temperature) for each in after))
    for name in ("actor", "critic_1", "critic_2"):
        start = agent.networks(initial)[name].params
        plain, found = (agent.networks(each)[name] for each in after)
        wanted = jax.tree.map(
            lambda g, w, w_0: g + 0.2 * np.asarray(w - w_0), gradient(plain), plain.params, start
        )
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        jax.tree.map(close, gradient(found), wanted)


def test_the_policy_draws_anew_for_the_next_states_and_for_its_own_loss(tiny):
    """One transition, temperature 1: noise squared, from the critics' loss and from the entropy."""
    agent, _ = tiny
    one = jax.tree.map(lambda leaf: leaf[:1], transitions())
    state = hand_made(agent, 0.0, settings())
    metrics = jax.jit(agent.learn)(state, one, jax.random.key(1), settings())[1]
    # log pi = 30 - n^2 / 2 - log(2 pi) / 2 - log(1 - a^2), a' = 0.761594, a = 0.462117
    error = -np.sqrt(float(metrics["loss"]))
    next_noise = 2 * (30 - 0.918939 + 0.867562 - 2.761594 + (error - 0.5) / 0.9)
    noise = 2 * (30 - 0.918939 + 0.240229 + float(metrics["entropy"]))
    assert min(noise, next_noise) > -1e-3 and abs(noise - next_noise) > 0.1


def test_acting(tiny):
    agent, _ = tiny
    state = hand_made(agent, COLD, settings())
    greedy = agent.act(state, jnp.array([1.0]), jax.random.key(0), 0, True)
    np.testing.assert_allclose(greedy, [np.tanh(0.5)], rtol=1e-6)
    params = state.actor.params["params"] | {"final_layer": layer([[0.5, 0]], [0, 0])}
    state = state.replace(actor=state.actor._replace(params={"params": params}))
    act = jax.vmap(lambda key: agent.act(state, jnp.array([1.0]), key, 0, False))
    actions = act(jax.random.split(jax.random.key(0), 2000))
    gaussian = np.arctanh(np.asarray(actions, np.float64))  # mean 0.5, std 1
    assert abs(gaussian.mean() - 0.5) < 0.08 and abs(gaussian.std() - 1) < 0.06


def test_networks_are_separate_and_put_back(tiny):
    agent, _ = tiny
    state = agent.init(jax.random.key(0), settings())
    networks = agent.networks(state)
    assert list(networks) == ["actor", "critic_1", "critic_2"]
    kernels = [
        networks[name].params["params"]["Dense_0"]["kernel"] for name in ("critic_1", "critic_2")
    ]
    assert (kernels[0] != kernels[1]).any()
    changed = jax.tree.map(lambda leaf: leaf + 1, networks["critic_2"].params)
    after = agent.with_networks(
        state, {**networks, "critic_2": networks["critic_2"]._replace(params=changed)}
    )
    for before, now, moved in zip(
        (state.actor, *state.critics),
        (after.actor, *after.critics),
        (False, False, True),
        strict=True,
    ):
        same = [
            bool((a == b).all())
            for a, b in zip(jax.tree.leaves(before.params), jax.tree.leaves(now.params))
        ]
        assert not any(same) if moved else all(same)
    for old, new in zip(
        jax.tree.leaves(state.target_critics), jax.tree.leaves(after.target_critics), strict=True
    ):
        np.testing.assert_array_equal(old, new)


def test_targets_follow_an_intervention_entry_by_entry_where_asked(tiny):
    agent, _ = tiny
    state = hand_made(agent, COLD, settings())
    state = state.replace(target_critics=jax.tree.map(lambda leaf: leaf + 5, state.target_critics))
    networks = agent.networks(state)
    params = networks["critic_1"].params["params"] | {
        "Dense_0": layer([[1], [7]], [0])
    }  # one entry: 1 -> 7
    networks["critic_1"] = networks["critic_1"]._replace(params={"params": params})
    after = agent.overwrite_targets(state, agent.with_networks(state, networks))
    target = after.target_critics[0]["params"]
    np.testing.assert_array_equal(target["Dense_0"]["kernel"], [[6], [7]])
    np.testing.assert_array_equal(target["Dense_0"]["bias"], [5])
    np.testing.assert_array_equal(
        after.target_critics[1]["params"]["Dense_0"]["kernel"], [[6], [4]]
    )


def test_widths_rewards_and_schedule():
    agent = make_sac(SAC(width=0.25, replay_ratio=4), env_spec("Ant-v5"))
    state = jax.eval_shape(lambda key: agent.init(key, settings()), jax.random.key(0))
    shapes = jax.tree.map(lambda leaf: leaf.shape, state.actor.params["params"])
    assert shapes["Dense_0"]["kernel"] == (105, 64) and shapes["final_layer"]["kernel"] == (64, 16)
    assert state.critics[0].params["params"]["Dense_0"]["kernel"].shape == (113, 64)
    np.testing.assert_allclose(agent.transform_reward(np.array([10.0, -5.0])), [1.0, -0.5])
    assert (agent.schedule.updates_per_call, agent.schedule.min_replay_history) == (4, 10_000)
    wide = make_sac(SAC(width=4), env_spec("Hopper-v5"))
    state = jax.eval_shape(lambda key: wide.init(key, settings()), jax.random.key(0))
    assert state.actor.params["params"]["Dense_1"]["kernel"].shape == (1024, 1024)


def test_wrong_settings_are_named():
    with pytest.raises(DormantError, match="SAC needs continuous actions; Pong has discrete ones"):
        make_sac(SAC(), env_spec("Pong"))
    with pytest.raises(
        DormantError, match="SAC takes observations one by one; .* stacks 4 of them"
    ):
        make_sac(SAC(), SPEC._replace(stack_size=4))
    with pytest.raises(DormantError, match="unknown activation 'rleu'; did you mean 'relu'"):
        make_sac(SAC(activation="rleu"), SPEC)
