"""The metrics that a protocol can ask for, beside plain computations on the same sample."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant import results
from dormant.agents.dqn import DQN, make_dqn
from dormant.envs import env_spec
from dormant.redo import scores
from dormant.replay import make_uniform
from dormant.training.gradients import gradients
from dormant.training.interventions import ReDo, make_redo
from dormant.training.measure import MEASURES, Seen
from dormant.training.members import INTERVENE, MEASURE, Member, loop_axis
from dormant.training.population import SCORE_BATCH, make_population
from dormant.training.protocol import METRICS, Protocol
from dormant.types import DormantError, Row

SPEC = env_spec("probe/see")
AGENT = make_dqn(DQN(network="mlp", batch_size=8, gamma=0.9), SPEC)
LAYERS = ("online/Dense_0", "online/Dense_1")
TAU = 0.5


def make_memory(size):
    return make_uniform(SPEC, 200, size, 1, 0.9)


@pytest.fixture(scope="module")
def built():
    """(population of one, its memories)."""
    redo = make_redo(ReDo(batch_size=16, select="gradient"), AGENT)
    settings = AGENT.default_settings._replace(tau=TAU)
    members = [Member(0, "redo", "DQN + ReDo", settings, redo)]
    population = make_population(AGENT, members, loop_axis(), make_memory, (TAU,), METRICS)
    random = np.random.default_rng(0)
    observations = random.normal(size=(1, 120, 1)).astype(np.float32)
    row = Row(
        observations,
        random.integers(2, size=(1, 120)).astype(np.int32),
        random.normal(size=(1, 120)).astype(np.float32),
        np.zeros((1, 120), bool),
        np.zeros((1, 120), bool),
        observations + 1,
    )
    return population, population.add(population.init_memories(0), row)


def batch_at(memories, use, size, step):
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), use), step)
    key = jax.random.fold_in(key, 0) if use == INTERVENE else key
    return make_memory(size).sample(memories[0], key)


def forward(params, x):
    """[(pre-activation, activation)] of the hidden layers, and the action values."""
    out, params = [], params["params"]
    for name in ("Dense_0", "Dense_1"):
        z = x @ params[name]["kernel"] + params[name]["bias"][None]
        x = jax.nn.relu(z)
        out.append((z, x))
    return out, x @ params["final_layer"]["kernel"] + params["final_layer"]["bias"][None]


def by_sample(state, batch):
    """(mean |dL/dz| of each hidden layer, the batch's gradient), sample by sample."""
    totals, whole = [0.0, 0.0], jax.tree.map(jnp.zeros_like, state.params)

    def loss(params, added, index):
        x = batch.s_tm1[index][None]
        own = params["params"]
        for name, extra in zip(("Dense_0", "Dense_1"), added):
            x = jax.nn.relu(x @ own[name]["kernel"] + own[name]["bias"][None] + extra)
        q = (x @ own["final_layer"]["kernel"] + own["final_layer"]["bias"][None])[0]
        target = forward(state.target_params, batch.s_t[index][None])[1].max()
        error = batch.r_t[index] + batch.discount_t[index] * target - q[batch.a_tm1[index]]
        return jnp.where(jnp.abs(error) <= 1, 0.5 * error**2, jnp.abs(error) - 0.5)

    nothing = [jnp.zeros((1, 64))] * 2
    gradient = jax.jit(jax.grad(loss, (0, 1)))
    for index in range(len(batch.r_t)):
        of_params, of_added = gradient(state.params, nothing, index)
        whole = jax.tree.map(jnp.add, whole, of_params)
        totals = [t + np.abs(np.asarray(each[0])) for t, each in zip(totals, of_added)]
    return totals, whole


def test_every_metric_beside_a_plain_computation(built):
    population, memories = built
    states, metrics = population.init()
    dormant = []
    for step in (10, 20, 30):
        before = states[0].carried["history"]["params"]["online"]
        before = jax.tree.map(np.array, before)
        for offset in range(5):
            states, metrics, _ = population.learn(states, metrics, memories, step + offset, 1)
        measured = {k: v[0] for k, v in population.measure(states, memories, step).items()}
        assert all(map(results.is_metric, measured))
        states = population.remember(states, memories, step)
        state, batch = states[0].state, batch_at(memories, MEASURE, SCORE_BATCH, step)
        hidden = forward(state.params, batch.s_tm1)[0]
        then = forward(before, batch.s_tm1)[0]
        gradients, whole = by_sample(state, batch)
        found = scores(AGENT.observe(state, batch, jax.random.key(0))["online"])
        dormant.append({f"online/{name}": np.asarray(s) <= TAU for name, s in found.items()})
        for number, layer in enumerate(LAYERS):
            kernel = state.params["params"][layer[7:]]["kernel"]
            near = dict(rel=1e-4, abs=1e-6)
            singular = np.linalg.svd(np.asarray(hidden[number][1], np.float64), compute_uv=False)
            share = singular[singular > 0] / singular.sum()
            score = gradients[number] / gradients[number].mean()
            zero = np.asarray(whole["params"][layer[7:]]["kernel"]) == 0
            churn = np.mean((hidden[number][1] > 0) != (then[number][1] > 0))
            for name, expected in {
                "weight_norm": np.linalg.norm(kernel),
                "stable_rank": (singular**2).sum() / singular[0] ** 2,
                "zero_gradient_fraction": zero.mean(),
                f"gradient_dormant_fraction/tau={TAU:g}": (score <= TAU).mean(),
                "activation_churn": churn,
            }.items():
                found_here = float(measured[f"{name}/{layer}"])
                assert found_here == pytest.approx(float(expected), **near), name
            entropy = np.exp(-np.sum(share * np.log(share)))
            assert measured[f"effective_rank/{layer}"] == pytest.approx(entropy, rel=0.02)
            for name, earlier in (
                ("first", dormant[:1]),
                ("previous", dormant[-2:-1]),
                ("union", dormant[:-1]),
            ):
                value = measured[f"overlap/{name}/tau={TAU:g}/{layer}"]
                if len(dormant) == 1:
                    assert np.isnan(value)
                    continue
                now = dormant[-1][layer]
                old = np.any([each[layer] for each in earlier], axis=0)
                assert value == pytest.approx((now & old).sum() / min(now.sum(), old.sum()))
        counted = ("zero_gradient_fraction", "activation_churn")
        assert sum(measured[f"{name}/{LAYERS[1]}"] for name in counted) > 0


class Pair(nn.Module):
    """Two networks as one: its biases (2, H) have as many axes as a kernel."""

    @nn.compact
    def __call__(self, x):
        whole = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        first, last = (nn.vmap(nn.Dense, axis_size=2, in_axes=axis, **whole) for axis in (None, 0))
        hidden = nn.relu(first(8, bias_init=nn.initializers.constant(-9.0), name="Dense_0")(x))
        return jnp.min(last(2, name="final_layer")(hidden), axis=0)


def test_the_biases_of_an_ensemble_are_no_kernels(built):
    agent, key = make_dqn(DQN(network="mlp"), SPEC, Pair()), jax.random.key(0)
    own, batch = agent.default_settings, batch_at(built[1], MEASURE, 16, 1)
    state = jax.jit(agent.init)(key, own)

    def measured(name):
        measure = lambda: MEASURES[name](
            Seen(agent, state, batch, key, own, (TAU,), agent.observe(state, batch, key))
        )
        return jax.jit(measure)()

    norm = measured("weights")["weight_norm/online/Dense_0"]
    kernel = state.params["params"]["Dense_0"]["kernel"]
    assert norm == pytest.approx(float(jnp.linalg.norm(kernel.ravel())), rel=1e-5)
    fraction = measured("gradients")["zero_gradient_fraction/online/final_layer"]
    assert fraction == 1  # all neurons are silent; only biases have a gradient


def test_penalties_on_weights_are_no_part_of_the_gradient(built):
    _, memories = built
    batch, key = batch_at(memories, MEASURE, 16, 1), jax.random.key(1)
    plain = jax.tree.map(jnp.float32, AGENT.default_settings)
    found = []
    for own in (plain, plain._replace(weight_decay=jnp.float32(1), l2_init=jnp.float32(1))):
        state = AGENT.init(key, own)
        state = state.replace(params=jax.tree.map(lambda leaf: leaf + 0.1, state.params))
        gradient = jax.jit(functools.partial(gradients, AGENT))
        found.append(gradient(state, batch, key, own)["online"])
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_redo_can_select_by_gradient(built):
    population, memories = built
    states = population.init()[0]
    state, redo = states[0].state, population.members[0].intervention
    totals, _ = by_sample(state, batch_at(memories, INTERVENE, 16, 7))
    after, counts = population.intervene(redo, states, memories, 7)
    masks = [total / total.mean() <= TAU for total in totals]
    assert counts[0] == {layer: mask.sum() for layer, mask in zip(LAYERS, masks)}
    outgoing = np.asarray(after[0].state.params["params"]["Dense_1"]["kernel"])
    np.testing.assert_array_equal(~outgoing.any(axis=1), masks[0])


def test_names():
    assert METRICS == tuple(MEASURES)
    assert Protocol(metrics=["ranks", "weights", "ranks"]).metrics == ("ranks", "weights")
    with pytest.raises(DormantError, match="unknown metric in Protocol.metrics: 'rank'; did you"):
        Protocol(metrics=("rank",))
    with pytest.raises(DormantError, match="Protocol.metrics is 'ranks'; it must be a list"):
        Protocol(metrics="ranks")
