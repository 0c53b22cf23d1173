"""SAC beside Dopamine's: losses, gradients, updates, temperature.

``pip install 'dormant[dopamine]'``, then ``pytest -m dopamine``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dormant import ops
from dormant.agents.sac import SAC, make_sac
from dormant.dopamine import import_dopamine
from dormant.nets.sac import Actor, Critic
from dormant.types import EnvSpec
from tests.dopamine.trees import assert_same_tree, gradient

pytestmark = [pytest.mark.dopamine, pytest.mark.filterwarnings("ignore")]

GAMMA, ENTROPY, ALPHA = 0.99, -1.0, jnp.float32(-0.7)  # discount, target entropy, log temperature
LEARNING_RATE, EPSILON = 3e-4, 1e-4  # of Adam


def named(actor, critics):
    """Our actor's and critics' trees as one of Dopamine's."""
    last = lambda tree: {
        {"final_layer": "Dense_2"}.get(key, key): layer for key, layer in tree["params"].items()
    }
    found = {f"_critic{i + 1}": last(each) for i, each in enumerate(critics)}
    return {"params": {"_actor": last(actor), **found}}


class Step:
    """A gradient step of Dopamine's from our parameters, and the actions that it has drawn."""

    def __init__(self):
        agent = make_sac(SAC(), EnvSpec("Vectors", (5,), np.float32, 0, (2,), 1, 1, 1000))
        settings = jax.tree.map(jnp.float32, agent.default_settings)
        ours, target = (agent.init(jax.random.key(seed), settings) for seed in (0, 1))
        self.actor, self.critics = ours.actor.params, [each.params for each in ours.critics]
        self.targets = [each.params for each in target.critics]
        random, size = np.random.default_rng(0), 16
        normal = lambda *shape: random.normal(size=shape).astype(np.float32)
        self.s_tm1, self.s_t, self.reward = normal(size, 5), normal(size, 5), normal(size)
        self.a_tm1 = np.tanh(normal(size, 2))
        self.terminal = (random.random(size) < 0.3).astype(np.float32)
        self.params = named(self.actor, self.critics)
        self._run(named(target.actor.params, self.targets), size)

    def _run(self, target_params, size):
        networks = import_dopamine("jax.continuous_networks")
        network = networks.ActorCriticNetwork((2,), action_limits=((-1.0, -1.0), (1.0, 1.0)))
        create = import_dopamine("jax.agents.dqn.dqn_agent").create_optimizer
        self.optimizer = create("adam", learning_rate=LEARNING_RATE, eps=EPSILON)
        start = self.optimizer.init
        self.found = import_dopamine("jax.agents.sac.sac_agent").train(
            *(network, self.optimizer, self.optimizer, start(self.params), start(ALPHA)),
            *(self.params, target_params, ALPHA, jax.random.PRNGKey(3)),
            *(self.s_tm1, self.a_tm1, self.s_t, self.reward, self.terminal),
            *(GAMMA, ENTROPY, 1.0),
        )
        # As train deals its keys: one an item, of that one for the target, one for the actor.
        keys = jax.vmap(jax.random.split)(jax.random.split(jax.random.PRNGKey(3), size))
        draw = jax.vmap(
            lambda params, state, key: network.apply(params, state, key, method=network.actor),
            in_axes=(None, 0, 0),
        )
        # Dopamine's target network has an actor of its own; its critics value the mean action.
        self.next_out = draw(target_params, self.s_t, keys[:, 0])
        self.out = draw(self.params, self.s_tm1, keys[:, 1])

    def noise(self):
        """(B, 2) what makes our actor's distribution draw Dopamine's actions."""
        ours = Actor(2).apply(self.actor, self.s_tm1)
        noise = np.arctanh(np.asarray(self.out.sampled_action, np.float64)) - np.asarray(ours.mean)
        return (noise / np.exp(np.asarray(ours.log_std, np.float64))).astype(np.float32)

    def losses(self, actor, critics, log_alpha, noise):
        """Ours of critics, actor and temperature, put together in Dopamine's order: all move at
        once. Needs ``noise_for_keys``.
        """
        errors = jax.vmap(ops.sac_td_errors, in_axes=(0, 0, 0, 0, 0, None))(
            values(critics, self.s_tm1, self.a_tm1),
            self.reward,
            GAMMA * (1 - self.terminal),
            values(self.targets, self.s_t, self.next_out.mean_action),
            self.next_out.log_probability,
            jnp.exp(ALPHA),
        )
        out = Actor(2).apply(actor, self.s_tm1)
        action, log_prob = jax.vmap(ops.tanh_gaussian_sample)(out.mean, out.log_std, noise)
        policy = jax.vmap(ops.sac_actor_loss, in_axes=(0, 0, None))(
            values(self.critics, self.s_tm1, action), log_prob, jnp.exp(ALPHA)
        )
        temperature = jax.vmap(ops.sac_temperature_loss, in_axes=(None, 0, None))(
            log_alpha, jax.lax.stop_gradient(log_prob), ENTROPY
        )
        return jnp.mean(jnp.sum(errors**2, 1)), jnp.mean(policy), jnp.mean(temperature)


def values(critics, states, actions):
    return jnp.stack([Critic().apply(each, states, actions).q for each in critics], axis=1)


@pytest.fixture(scope="module")
def step():
    with jax.numpy_rank_promotion("allow"):
        return Step()


@pytest.fixture
def noise_for_keys(monkeypatch):
    """Our own sampler, with the noise in the place of its key."""
    monkeypatch.setattr(jax.random, "normal", lambda noise, shape: noise)


def test_densities_and_losses_are_dopamines(step, noise_for_keys):
    ours = Actor(2).apply(step.actor, step.s_tm1)
    np.testing.assert_allclose(jnp.tanh(ours.mean), step.out.mean_action, atol=1e-5)
    noise = step.noise()
    np.testing.assert_allclose(
        jax.vmap(log_density)(ours.mean, ours.log_std, noise), step.out.log_probability, atol=2e-4
    )
    losses = step.losses(step.actor, step.critics, ALPHA, noise)
    for loss, name in zip(losses, ("Critic", "Actor", "Alpha")):
        np.testing.assert_allclose(loss, step.found[f"Losses/{name}"], rtol=1e-5)


def test_gradients_updates_and_temperature_are_dopamines(step, noise_for_keys):
    noise = step.noise()

    def loss(actor, critics, log_alpha):
        critic, policy, temperature = step.losses(actor, critics, log_alpha, noise)
        return 0.5 * critic + policy + temperature

    gradients = jax.grad(loss, argnums=(0, 1, 2))(step.actor, step.critics, ALPHA)
    ours, found = named(*gradients[:2]), step.found
    assert_same_tree(ours, gradient(found["optimizer_state"]))
    expected = gradient(found["alpha_optimizer_state"])
    np.testing.assert_allclose(gradients[2], expected, rtol=1e-4, atol=1e-6)
    updates, _ = step.optimizer.update(ours, step.optimizer.init(step.params), step.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5),
        optax.apply_updates(step.params, updates),
        found["network_params"],
    )
    moved = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), step.params, found["network_params"])
    assert min(jax.tree.leaves(moved)) > 1e-5
    alpha = ALPHA - LEARNING_RATE * gradients[2] / (jnp.abs(gradients[2]) + EPSILON)
    np.testing.assert_allclose(found["log_alpha"], alpha, atol=1e-6)


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
