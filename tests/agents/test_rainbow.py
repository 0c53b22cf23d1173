"""The learning rules of the family against numbers worked out from the networks' outputs, in
NumPy.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.agents.interface import Settings
from dormant.agents.rainbow import Rainbow, RainbowState, make_rainbow
from dormant.nets import RainbowOutput, make_rainbow_network
from dormant.types import DormantError, EnvSpec, Transition
from tests.reference import ops as reference

SPEC = EnvSpec("Vectors", (3,), np.float32, 3, (), 1, 1, 100)
IMAGES = EnvSpec("Images", (12, 12), np.uint8, 3, (), 4, 4, 100)
SMALL = dict(network="mlp", width=0.25, num_atoms=11, vmax=2.0, noisy=False)
SETTINGS = Settings(jnp.float32(1e-3), jnp.float32(0.0))
BATCH = 6


def make_batch(weight=None):
    random = np.random.default_rng(0)
    return Transition(
        s_tm1=jnp.asarray(random.normal(size=(BATCH, 3)), jnp.float32),
        a_tm1=jnp.asarray([0, 1, 2, 2, 1, 0], jnp.int32),
        r_t=jnp.asarray(random.normal(size=BATCH), jnp.float32),
        discount_t=jnp.asarray([0.9, 0.9, 0.0, 0.9, 0.5, 0.9], jnp.float32),
        s_t=jnp.asarray(random.normal(size=(BATCH, 3)), jnp.float32),
        index=jnp.arange(BATCH),
        weight=weight,
    )


class Own(nn.Module):
    """The least that a network of one's own has."""

    @nn.compact
    def __call__(self, x, key=None):
        hidden = nn.relu(nn.Dense(4)(x))
        logits = nn.Dense(3 * 11)(hidden).reshape(len(x), 3, 11)
        atoms = jnp.linspace(-2.0, 2.0, 11).reshape(1, 1, -1)
        return RainbowOutput(jnp.sum(nn.softmax(logits) * atoms, axis=-1), logits, hidden)


def test_a_network_of_ones_own_needs_no_more_than_its_outputs():
    config = Rainbow(**SMALL)
    agent = make_rainbow(config, SPEC, network=Own())
    state = agent.init(jax.random.key(0), SETTINGS)
    new, metrics, _ = agent.learn(state, make_batch(), jax.random.key(1), SETTINGS)
    assert np.isfinite(metrics["loss"]) and new is not state
    assert agent.features(new, make_batch(), jax.random.key(2)).shape == (BATCH, 4)


def passes_of_a_step(spec, batch, **changes):
    """(observations, key's data) of each pass of the network in a gradient step."""
    passes = []

    class Noting(nn.Module):
        @nn.compact
        def __call__(self, x, key=None):
            if key is not None:
                passes.append((np.asarray(x), tuple(np.asarray(jax.random.key_data(key)))))
            return Own()(x.reshape(len(x), -1).astype(jnp.float32))

    agent = make_rainbow(Rainbow(**{**SMALL, "noisy": True, **changes}), spec, network=Noting())
    state = agent.init(jax.random.key(0), SETTINGS)
    passes.clear()
    agent.learn(state, batch, jax.random.key(1), SETTINGS)
    return passes


def test_each_pass_of_a_step_has_its_own_noise():
    """Next states with the target network and with the online one, states."""
    keys = [key for _, key in passes_of_a_step(SPEC, make_batch())]
    assert len(keys) == len(set(keys)) == 3


def test_every_image_of_a_batch_is_augmented_by_itself():
    image = np.random.default_rng(0).integers(0, 255, (12, 12, 4), dtype=np.uint8)
    same = jnp.asarray(np.repeat(image[None], 4, axis=0))
    batch = Transition(same, jnp.zeros(4, jnp.int32), jnp.ones(4), jnp.ones(4), same)
    passes = passes_of_a_step(IMAGES, batch, data_augmentation=True, double_dqn=False)
    seen = [each.tobytes() for images, _ in passes for each in images]
    assert len(passes) == 2 and len(set(seen)) == 8


def test_noisy_layers_are_all_that_explores_in_training():
    """Without noise in it, a noisy agent's network acts the same under every key."""
    agent = make_rainbow(Rainbow(**SMALL | {"noisy": True}), SPEC, network=Own())
    state = agent.init(jax.random.key(0), SETTINGS)
    assert len(actions_of(agent, state, 0, False)) == 1


def make_agent(spec=SPEC, **changes):
    """The agent, its network's function, and a state whose target network differs from the online
    one.

    Parameters are drawn here: an initialiser's compilation takes longer than the test.
    """
    config = Rainbow(**{**SMALL, **changes})
    agent = jitted(make_rainbow(config, spec))
    random = np.random.default_rng(0)

    def draw(leaf):
        return jnp.asarray(random.normal(0, 0.3, leaf.shape), jnp.float32)

    shapes = jax.eval_shape(agent.init, jax.random.key(0), SETTINGS)
    state = RainbowState(
        params=jax.tree.map(draw, shapes.params),
        target_params=jax.tree.map(draw, shapes.target_params),
        opt_state=jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes.opt_state),
    )
    return agent, jax.jit(make_rainbow_network(config, spec).apply), state


def jitted(agent):
    return agent._replace(
        init=jax.jit(agent.init),
        learn=jax.jit(agent.learn),
        act=jax.jit(agent.act, static_argnums=4),
    )


def actions_of(agent, state, agent_steps, evaluate):
    """The different actions on one observation under 50 keys."""
    act = jax.vmap(agent.act, in_axes=(None, None, 0, None, None))
    keys = jax.random.split(jax.random.key(0), 50)
    return set(np.asarray(act(state, jnp.ones(3), keys, agent_steps, evaluate)).tolist())


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def expected_losses(config, apply, state, batch):
    target_params = state.params if state.target_params is None else state.target_params
    online = jax.tree.map(np.asarray, apply(state.params, batch.s_tm1))
    target = jax.tree.map(np.asarray, apply(target_params, batch.s_t))
    chooser = apply(state.params, batch.s_t) if config["double_dqn"] else target
    losses = []
    for i in range(BATCH):
        action, following = int(batch.a_tm1[i]), int(np.argmax(chooser.q_values[i]))
        if config["distributional"]:
            atoms = np.linspace(-2.0, 2.0, 11)
            moved = float(batch.r_t[i]) + float(batch.discount_t[i]) * atoms
            wanted = reference.categorical_projection(
                moved, softmax(target.logits[i, following]), atoms
            )
            losses.append(-np.sum(wanted * np.log(softmax(online.logits[i, action]))))
        else:
            wanted = (
                float(batch.r_t[i]) + float(batch.discount_t[i]) * target.q_values[i, following]
            )
            error = abs(wanted - online.q_values[i, action])
            losses.append(error**2 / 2 if error <= 1 else error - 0.5)
    return np.array(losses)


@pytest.mark.parametrize(
    "distributional, double_dqn, target_update_period",
    [
        (True, True, 2000),
        (True, False, 2000),
        (False, True, 2000),
        (False, True, 1),
        pytest.param(False, False, 2000, marks=pytest.mark.slow),
    ],
)
def test_learning_rule(distributional, double_dqn, target_update_period):
    switches = dict(distributional=distributional, double_dqn=double_dqn)
    agent, apply, state = make_agent(**switches, target_update_period=target_update_period)
    batch = make_batch(weight=jnp.asarray([1.0, 0.5, 0.25, 1.0, 0.0, 0.75]))
    losses = expected_losses(switches, apply, state, batch)
    new, metrics, priorities = agent.learn(state, batch, jax.random.key(0), SETTINGS)
    np.testing.assert_allclose(
        metrics["loss"], np.mean(np.asarray(batch.weight) * losses), rtol=1e-4
    )
    np.testing.assert_allclose(priorities, np.sqrt(losses), rtol=1e-4)
    q_values = np.asarray(apply(state.params, batch.s_tm1).q_values)
    np.testing.assert_allclose(
        metrics["mean_q"], q_values[np.arange(BATCH), batch.a_tm1].mean(), rtol=1e-4
    )
    # Adam's first step moves every weight by the learning rate against its gradient's sign (epsilon
    # apart).
    moved = jax.tree.map(lambda a, b: np.asarray(a - b), new.params, state.params)
    assert 0.5e-3 < max(np.abs(leaf).max() for leaf in jax.tree.leaves(moved)) <= 1.001e-3
    jax.tree.map(np.testing.assert_array_equal, new.target_params, state.target_params)


def test_the_smallest_atom_may_be_set():
    agent, apply, state = make_agent(vmin=-1.0)
    batch = make_batch()._replace(discount_t=jnp.zeros(BATCH))
    atoms, online = np.linspace(-1.0, 2.0, 11), np.asarray(apply(state.params, batch.s_tm1).logits)
    losses = []
    for i, action in enumerate(np.asarray(batch.a_tm1)):
        reward = np.full(1, float(batch.r_t[i]))
        wanted = reference.categorical_projection(reward, np.ones(1), atoms)
        losses.append(-np.sum(wanted * np.log(softmax(online[i, action]))))
    metrics = agent.learn(state, batch, jax.random.key(0), SETTINGS)[1]
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-4)


def test_without_weights_the_loss_is_the_mean_and_a_step_lowers_it():
    agent, apply, state = make_agent(replay_scheme="uniform")
    batch = make_batch()
    expected = expected_losses(
        dict(distributional=True, double_dqn=True), apply, state, batch
    ).mean()
    _, metrics, priorities = agent.learn(state, batch, jax.random.key(0), SETTINGS)
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-4)
    assert priorities is None
    for i in range(100):
        state, metrics, _ = agent.learn(state, batch, jax.random.key(i), SETTINGS)
    # The targets' entropies are a floor; the target network does not move.
    assert float(metrics["loss"]) < 0.9 * expected


def test_gradient_norm_and_weight_decay():
    """The decay enters after the gradient's norm is taken, and moves a weight that the loss leaves
    alone.
    """
    agent, _, state = make_agent()
    batch = make_batch(weight=jnp.zeros(BATCH))  # no loss
    new, metrics, _ = agent.learn(
        state, batch, jax.random.key(0), Settings(jnp.float32(1e-3), jnp.float32(1e-2))
    )
    assert float(metrics["gradient_norm"]) == 0.0
    kernel, before = (s.params["params"]["Dense_0"]["kernel"] for s in (new, state))
    # Adam with the gradient 1e-2 * w: a step of nearly the learning rate towards zero wherever 1e-2
    # * |w| >> 1.5e-4
    large = np.abs(before) > 0.1
    step = 1e-3 * 1e-2 * np.abs(before) / (1e-2 * np.abs(before) + 1.5e-4)
    np.testing.assert_allclose(np.abs(before - kernel)[large], step[large], rtol=1e-2)
    assert np.all((np.abs(kernel) < np.abs(before))[large])


def test_target_network():
    agent, _, state = make_agent()
    synced = agent.sync_target(state)
    jax.tree.map(np.testing.assert_array_equal, synced.target_params, state.params)
    assert agent.schedule.target_update_period == 2000
    begun = agent.init(jax.random.key(0), SETTINGS)
    jax.tree.map(np.testing.assert_array_equal, begun.target_params, begun.params)
    assert np.any(begun.params["params"]["Dense_0"]["kernel"] != 0)
    agent, _, state = make_agent(target_update_period=1)
    assert (
        agent.sync_target is None
        and state.target_params is None
        and agent.schedule.target_update_period == 0
    )


@pytest.mark.parametrize("replay_ratio", [2, 4.0])
def test_the_target_is_fixed_during_the_gradient_steps_of_an_agent_step(replay_ratio):
    """DrQ(eps) at a replay ratio above 1: there is a target network, renewed once an agent step."""
    agent, _, state = make_agent(
        target_update_period=replay_ratio, replay_ratio=replay_ratio, update_period=1
    )
    schedule = agent.schedule
    assert schedule.target_update_period == schedule.updates_per_call == replay_ratio
    assert isinstance(schedule.target_update_period, int)
    after = agent.learn(state, make_batch(), jax.random.key(0), SETTINGS)[0]
    for kept, target in zip(*map(jax.tree.leaves, (after.target_params, state.target_params))):
        np.testing.assert_array_equal(kept, target)
    synced = agent.sync_target(after)
    jax.tree.map(np.testing.assert_array_equal, synced.target_params, after.params)


def test_noise_depends_on_the_key_in_learning_and_acting_but_not_in_evaluation():
    agent, _, state = make_agent(noisy=True, epsilon_eval=0.0)
    losses = {
        float(agent.learn(state, make_batch(), jax.random.key(i), SETTINGS)[1]["loss"])
        for i in range(3)
    }
    assert len(losses) == 3
    actions = {evaluate: actions_of(agent, state, 0, evaluate) for evaluate in (False, True)}
    assert len(actions[False]) > 1 and len(actions[True]) == 1


def test_without_noise_epsilon_explores():
    agent, apply, state = make_agent(epsilon_train=0.0, epsilon_eval=0.0, min_replay_history=10)
    greedy = int(np.argmax(apply(state.params, jnp.ones((1, 3))).q_values[0]))
    assert actions_of(agent, state, 5, False) == {0, 1, 2}
    for steps, evaluate in ((10**6, False), (5, True)):
        assert actions_of(agent, state, steps, evaluate) == {greedy}


def test_augmentation_changes_both_states_and_nothing_else():
    config = dict(distributional=False, target_update_period=1, network="nature", width=0.125)
    augmenting, _, state = make_agent(IMAGES, data_augmentation=True, **config)
    agents = (augmenting, make_agent(IMAGES, **config)[0])
    random = np.random.default_rng(0)
    images = [
        jnp.asarray(random.integers(0, 255, (4, 12, 12, 4), dtype=np.uint8)) for _ in range(2)
    ]

    def losses(agent, s_tm1, s_t, discount, key):
        batch = Transition(s_tm1, jnp.zeros(4, jnp.int32), jnp.ones(4), jnp.full(4, discount), s_t)
        return float(agent.learn(state, batch, jax.random.key(key), SETTINGS)[1]["loss"])

    # One value in all pixels: a shift changes nothing and only the intensity is left; black: not
    # even that.
    black, grey = jnp.zeros_like(images[0]), jnp.full_like(images[0], 200)
    assert losses(agents[0], black, black, 0.9, 0) == losses(agents[1], black, black, 0.9, 0)
    assert losses(agents[0], grey, black, 0.0, 0) != losses(agents[1], grey, black, 0.0, 0)
    assert losses(agents[0], black, images[1], 0.9, 0) != losses(
        agents[1], black, images[1], 0.9, 0
    )
    assert losses(agents[0], images[0], black, 0.0, 0) != losses(
        agents[0], images[0], black, 0.0, 1
    )


def test_schedule_says_what_the_loop_needs():
    drq = Rainbow(
        **{
            **SMALL,
            "replay_scheme": "uniform",
            "update_horizon": 10,
            "update_period": 1,
            "replay_ratio": 2,
        }
    )
    schedule = make_rainbow(drq, SPEC).schedule
    assert (
        not schedule.prioritised
        and schedule.updates_per_call == 2
        and schedule.update_horizon == 10
    )
    assert make_rainbow(Rainbow(**SMALL), SPEC).schedule.prioritised


@pytest.mark.parametrize(
    "spec, changes, message",
    [
        (
            SPEC._replace(num_actions=0, action_shape=(2,)),
            {},
            "Rainbow needs discrete actions; Vectors has continuous",
        ),
        (
            SPEC,
            {"replay_scheme": "prioritised"},
            "unknown Rainbow.replay_scheme 'prioritised'; did you mean 'prioritized'",
        ),
        (SPEC, {"num_atoms": 1}, "Rainbow.num_atoms is 1; a distribution needs at least 2"),
        (SPEC, {"vmin": 3.0}, "Rainbow.vmin is 3.0; it must be below vmax, 2.0"),
        (
            SPEC,
            {"data_augmentation": True},
            "Rainbow.data_augmentation needs images; Vectors observes vectors",
        ),
        (SPEC, {"network": "natre"}, "unknown network 'natre'; did you mean 'nature'"),
    ],
)
def test_configurations_that_cannot_work_are_named(spec, changes, message):
    with pytest.raises(DormantError, match=message):
        make_rainbow(Rainbow(**{**SMALL, **changes}), spec)
