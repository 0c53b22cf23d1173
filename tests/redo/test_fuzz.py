"""Random networks of convolutions, dense layers, pools, branches and normalisations.

The properties are those of the contract test, with the interpreter's own claims put to the test:
whatever it calls recyclable and exact must leave the outputs alone.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dormant.redo import capture, recycle, selected

IMAGE = (3, 5, 4, 2)


def conv(features, x, size=(2, 2), **more):
    return nn.Conv(features, size, **more)(x)


def residual(width, act, x, shared):
    x = conv(width, x)
    return x + conv(width, act(conv(3, act(x))))


def branch(width, act, x, shared):
    return jnp.concatenate([act(conv(width, x)), x[..., :1], conv(2, nn.relu(conv(2, x)))], axis=-1)


def crelu(width, act, x, shared):
    y = conv(width, x)
    return jnp.concatenate([nn.relu(-y), nn.relu(y)], axis=-1)


def norm(width, act, x, shared):
    norms = (nn.LayerNorm(), nn.BatchNorm(use_running_average=False), nn.InstanceNorm())
    return act(norms[width % 3](conv(width, x)))


def twice(width, act, x, shared):
    return act(shared(conv(2, x)) + shared(jnp.concatenate([x, x], axis=-1)[..., :2]))


def strided(width, act, x, shared):
    return act(conv(width, x, (3, 2), strides=(2, 1), kernel_dilation=(1, 2)))


BLOCKS = {  # function(width, activation, x, a convolution that several may use)
    "conv": lambda width, act, x, shared: act(conv(width, x)),
    "strided": strided,
    "residual": residual,
    "branch": branch,
    "crelu": crelu,
    "norm": norm,
    "pool": lambda width, act, x, shared: nn.max_pool(act(conv(width, x)), (2, 2), (1, 1), "SAME"),
    "roll": lambda width, act, x, shared: jnp.roll(x, 1, axis=width % 3 + 1),
    "gate": lambda width, act, x, shared: conv(width, x) * nn.sigmoid(conv(width, x)),
    "shared": twice,
    "raw": lambda width, act, x, shared: conv(width, x),
    "shuffle": lambda width, act, x, shared: act(conv(4, x)).reshape(*x.shape[:2], -1, 2),
}
ENDS = ("flat", "mean", "channels_first", "both")
ACTS = {"relu": nn.relu, "tanh": nn.tanh, "gelu": nn.gelu, "leaky": nn.leaky_relu}


class Random(nn.Module):
    """A network from a list of (block, width, activation)."""

    plan: tuple
    end: str
    width: int
    export: int  # so many hidden neurons are outputs as well

    @nn.compact
    def __call__(self, x):
        shared = nn.Conv(3, (1, 1), name="shared")
        for block, width, act in self.plan:
            x = BLOCKS[block](width, ACTS[act], x, shared)
        x = self.flatten(x)
        x = nn.relu(nn.Dense(self.width)(x))
        return nn.Dense(2)(x), x[:, : self.export]

    def flatten(self, x):
        if self.end == "mean":
            return jnp.mean(x, axis=(1, 2))
        if self.end == "channels_first":
            x = x.transpose(0, 3, 1, 2)
        flat = x.reshape(x.shape[0], -1)
        return (
            flat
            if self.end != "both"
            else jnp.concatenate([flat, jnp.max(x, axis=(1, 2))], axis=-1)
        )


plans = st.lists(
    st.tuples(st.sampled_from(list(BLOCKS)), st.integers(1, 4), st.sampled_from(sorted(ACTS))),
    max_size=4,
)


def check(plan, end, width, export, seed):
    network = Random(tuple(plan), end, width, export)
    random = np.random.default_rng(seed)
    x, other = (jnp.asarray(random.standard_normal(IMAGE), jnp.float32) for _ in range(2))
    params = jax.jit(network.init)(jax.random.key(seed), x)["params"]
    params = jax.tree.map(
        lambda p: p + 0.1 * random.standard_normal(p.shape).astype(np.float32), params
    )
    apply = jax.jit(
        lambda params, x: network.apply({"params": params, "batch_stats": {}}, x, mutable=True)[0]
    )
    observe = capture(
        lambda params, x: network.apply({"params": params}, x, mutable=True)[0],
        init=lambda key: network.init(key, x)["params"],
    )
    wiring = observe(params, x).wiring
    for layer in wiring.layers:  # each neuron is accounted for
        assert layer.recyclable.all() or layer.reasons
    sure = np.concatenate([*[(layer.recyclable & layer.exact) for layer in wiring.scored], [False]])
    chosen = sure & (random.random(sure.size) < 0.5)
    if not chosen.any():
        return
    leaves, tree = jax.tree.flatten(params)
    dead = [jnp.where(chosen[leaf.owner], 0, p) for p, leaf in zip(leaves, wiring.leaves)]
    params = jax.tree.unflatten(tree, dead)
    activations = observe(params, x)
    pick = lambda c: {n.name: chosen[n.start : n.start + n.size] for n in wiring.scored}
    for name, mask in selected(activations, 0.0, select=pick).items():
        assert not np.asarray(activations[name])[..., np.asarray(mask)].any()
    redraw = jax.jit(lambda *arguments: recycle(*arguments, select=pick))
    new, _ = redraw(params, optax.EmptyState(), activations, 0.0, jax.random.key(seed + 1))
    for batch in (x, other):
        before, after = apply(params, batch), apply(new, batch)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), before, after
        )
    for p, q, leaf in zip(jax.tree.leaves(params), jax.tree.leaves(new), wiring.leaves):
        moved = np.broadcast_to(chosen[leaf.owner] | chosen[leaf.feeder], leaf.shape)
        assert (np.asarray(p) == np.asarray(q))[~moved].all()


NETWORKS = dict(
    plan=plans,
    end=st.sampled_from(ENDS),
    width=st.integers(1, 5),
    export=st.integers(0, 2),
    seed=st.integers(0, 99),
)
QUIET = dict(deadline=None, suppress_health_check=list(HealthCheck), database=None)


@settings(max_examples=6, derandomize=True, **QUIET)
@given(**NETWORKS)
def test_random_networks(plan, end, width, export, seed):
    check(plan, end, width, export, seed)


@pytest.mark.slow
@settings(max_examples=150, **QUIET)
@given(**NETWORKS)
def test_many_random_networks(plan, end, width, export, seed):
    check(plan, end, width, export, seed)
