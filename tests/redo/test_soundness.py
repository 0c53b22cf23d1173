"""Random programs over a small pool of parameters, shared, transposed, sliced and reused without
sense or restraint.

Whatever the interpreter calls recyclable must be cut off by its derived rows, in any such program;
and what is silent where it was measured must be silent to the outputs.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax

from dormant.redo.derivation.derive import derive
from dormant.redo.derivation.program import flat_program
from tests.redo.silence import check_silent_units, without

SHAPES = {
    "w": (4, 4),
    "v": (4, 4),
    "tall": (6, 4),
    "heads": (2, 4, 4),
    "b": (4,),
    "c": (4,),
    "s": (),
}
UNARY = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "leaky": lambda x: jnp.where(x > 0, x, 0.1 * x),
    "reverse": lambda x: x[:, ::-1],
    "shuffle": lambda x: x[:, np.array([2, 0, 3, 1])],
    "roll": lambda x: jnp.roll(x, 1, axis=1),
    "centre": lambda x: x - jnp.mean(x, axis=1, keepdims=True),
    "batch": lambda x: x - jnp.mean(x, axis=0, keepdims=True),
    "double": lambda x: 2 * x,
    "shift": lambda x: x + 1,
    "half": lambda x: jnp.concatenate([x[:, :2], jnp.zeros_like(x[:, 2:])], axis=1),
    "swap": lambda x: jnp.concatenate([x[:, 2:], x[:, :2]], axis=1),
    "fold": lambda x: x.reshape(-1, 2, 2).transpose(0, 2, 1).reshape(-1, 4),
    "peak": lambda x: jnp.maximum(x, jnp.max(x.reshape(-1, 2, 2), axis=2).repeat(2, axis=1)),
    "split": lambda x: jnp.stack(jnp.split(x, 2, axis=1), axis=2).reshape(-1, 4),
    "norm": lambda x: x / (1 + jnp.sum(x**2, axis=1, keepdims=True)),
    "negative": lambda x: -x,
    "later": lambda x: jnp.roll(x, 1, axis=0),
    "so far": lambda x: jnp.cumsum(x, axis=0),
    "constant half": lambda x: jnp.concatenate([x[:, :2], jnp.ones_like(x[:, 2:])], axis=1),
    "shift half": lambda x: x + np.array([[0, 0, 1, 1]], np.float32),
    "drop": lambda x: jnp.where(np.arange(4)[None] < 2, 2 * x, 0.0),
}
KERNELS = {
    "w": lambda p, x, y: x @ p["w"],
    "w.T": lambda p, x, y: x @ p["w"].T,
    "v": lambda p, x, y: x @ p["v"],
    "v masked": lambda p, x, y: x @ (p["v"] * np.tri(4, dtype=np.float32)),
    "v scaled": lambda p, x, y: x @ (p["v"] * p["c"][None]),
    "v + w": lambda p, x, y: x @ (p["v"] + p["w"]),
    "exp w": lambda p, x, y: x @ jnp.exp(p["w"]),
    "tall": lambda p, x, y: jnp.concatenate([x, y[:, :2]], axis=1) @ p["tall"],
    "head": lambda p, x, y: jnp.einsum("bi,hij->hbj", x, p["heads"])[0],
    "heads": lambda p, x, y: jnp.einsum("hbi,hij->bj", jnp.stack([x, y]), p["heads"]),
    "each": lambda p, x, y: jnp.einsum("hbi,hji->hbj", jnp.stack([x, y]), p["heads"])[1],
}
BINARY = {
    "add": lambda p, x, y: x + y,
    "mul": lambda p, x, y: x * y,
    "max": lambda p, x, y: jnp.maximum(x, y),
    "where": lambda p, x, y: jnp.where(x > 0, y, 0.0),
    "mix": lambda p, x, y: jnp.concatenate([x[:, :2], y[:, 2:]], axis=1),
    "bias": lambda p, x, y: x + p["b"][None],
    "other bias": lambda p, x, y: x + p["c"][None],
    "scale": lambda p, x, y: x * p["c"][None],
    "scalar": lambda p, x, y: x * p["s"],
    "row": lambda p, x, y: x + p["w"][:1],
    "columns": lambda p, x, y: jnp.where(np.arange(4)[None] < 2, x, y),
    "samples": lambda p, x, y: jnp.where(np.arange(len(x))[:, None] < 1, x, y),
    "input chooses": lambda p, x, y: jnp.where(p["x"][:, :1] > 0, x, y),
    "lottery": lambda p, x, y: lax.select(
        jnp.broadcast_to(jax.random.bernoulli(jax.random.key(3)), x.shape), x, y
    ),
    "own sign chooses": lambda p, x, y: jnp.where(x > 0, x, y),
    "stack mean": lambda p, x, y: jnp.stack([x, y]).mean(0),
    "stack max": lambda p, x, y: jnp.stack([x, y]).max(0),
    "stack min": lambda p, x, y: jnp.stack([x, y]).min(0),
    "time mean": lambda p, x, y: jnp.concatenate([x, y]).reshape(2, -1, 4).mean(0),
    "time sum": lambda p, x, y: jnp.cumsum(jnp.stack([x, y], axis=1), axis=1)[:, -1],
    "time max": lambda p, x, y: lax.cummax(jnp.stack([x, y], axis=1), axis=1)[:, -1],
    "window": lambda p, x, y: lax.reduce_window(
        jnp.stack([x, y], axis=1), 0.0, lax.add, (1, 2, 1), (1, 1, 1), "VALID"
    )[:, 0],
    "one at a time": lambda p, x, y: lax.dynamic_index_in_dim(
        jnp.stack([x, y]), (p["x"][0, 0] > 0).astype(int), 0, keepdims=False
    ),
    "halves in time": lambda p, x, y: jnp.concatenate([x[:1], y[1:]], axis=0),
    "difference": lambda p, x, y: x - y,
    "barrier": lambda p, x, y: lax.optimization_barrier((x, y))[0],
}
steps = st.one_of(
    st.tuples(
        st.just("unary"), st.sampled_from(sorted(UNARY)), st.integers(0, 2), st.integers(0, 2)
    ),
    st.tuples(
        st.just("kernel"), st.sampled_from(sorted(KERNELS)), st.integers(0, 2), st.integers(0, 3)
    ),
    st.tuples(
        st.just("binary"), st.sampled_from(sorted(BINARY)), st.integers(0, 2), st.integers(0, 3)
    ),
)
# One layer, its nonlinearity, then anything done to either and to both: mixed states are likely.
MIXERS = sorted(set(BINARY) - {"mul", "row"})
QUIET_UNARY = ("relu", "tanh", "double", "negative", "shift half", "drop", "later", "roll", "half")
mixed_plans = st.builds(
    lambda opening, middle: [*opening, *middle],
    st.sampled_from(
        [
            [("kernel", "w", 0, 0), ("unary", "relu", 0, 0)],
            [("kernel", "w", 0, 0), ("binary", "bias", 0, 0), ("unary", "relu", 0, 0)],
            [("kernel", "w", 0, 0), ("unary", "relu", 0, 0), ("unary", "negative", 1, 0)],
        ]
    ),
    st.lists(
        st.one_of(
            st.tuples(
                st.just("binary"), st.sampled_from(MIXERS), st.integers(0, 2), st.integers(0, 2)
            ),
            st.tuples(
                st.just("unary"), st.sampled_from(QUIET_UNARY), st.integers(0, 2), st.integers(0, 2)
            ),
        ),
        min_size=1,
        max_size=3,
    ),
)


def program(plan):
    """The function of a list of steps; each reads one of the latest values (and another)."""

    def function(p, x):
        values = [x]
        for kind, name, first, second in plan:
            one, two = values[-1 - first % len(values)], values[-1 - second % len(values)]
            more = {**p, "x": x}
            values.append(
                UNARY[name](one) if kind == "unary" else {**KERNELS, **BINARY}[name](more, one, two)
            )
        return values[-1]

    return function


ENDING = [("unary", "relu", 0, 0), ("kernel", "tall", 0, 3)]


def check(plan, seed, ending=ENDING):
    """Returns how many neurons were called recyclable and exact, and how many silent ones went."""
    function = program([*plan, *ending])
    random = np.random.default_rng(seed)
    params = {
        name: random.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()
    }
    x, other = (random.standard_normal((2, 4)).astype(np.float32) for _ in range(2))
    wiring = derive_wiring(function, params, x)
    sure = []
    for layer in wiring.scored:
        for k in np.flatnonzero(layer.recyclable & layer.exact):  # a coupled one moves its layer
            sure.append(layer.start + k)
            check_cut_off(function, params, x, wiring, layer.start + k, random)
    if not sure:
        return 0, 0
    dark = check_silent_units(function, params, [x], seed)
    some = random.permutation(sure)[: 1 + len(sure) // 2]
    dark += check_silent_units(function, without(params, wiring, some), [x, other], seed)
    return len(sure), dark


def derive_wiring(function, params, x):
    leaves = [(name, SHAPES[name]) for name in sorted(SHAPES)]
    return derive(flat_program(function, params, x), [*leaves, None]).wiring


def check_cut_off(function, params, x, wiring, number, random):
    """With its outgoing weights at 0, a neuron's incoming weights move nothing."""
    one, two = {}, {}
    for leaf in wiring.leaves:
        shape = SHAPES[leaf.path]
        into = np.broadcast_to(leaf.owner == number, leaf.shape).reshape(shape)
        out = np.broadcast_to(leaf.feeder == number, leaf.shape).reshape(shape)
        cut = np.where(out, 0, params[leaf.path])
        one[leaf.path] = cut
        two[leaf.path] = np.where(into & ~out, 7 * random.standard_normal(shape), cut)
        two[leaf.path] = two[leaf.path].astype(np.float32)
    np.testing.assert_allclose(function(one, x), function(two, x), rtol=1e-5, atol=1e-5)


PLANS = dict(plan=st.lists(steps, min_size=2, max_size=9), seed=st.integers(0, 99))
QUIET = dict(deadline=None, suppress_health_check=list(HealthCheck), database=None)


@settings(max_examples=60, derandomize=True, **QUIET)
@given(**PLANS)
def test_random_programs(plan, seed):
    check(plan, seed)


@settings(max_examples=60, derandomize=True, **QUIET)
@given(plan=mixed_plans, seed=st.integers(0, 99))
def test_random_mixtures_of_states(plan, seed):
    check(plan, seed, [("kernel", "v", 0, 0)])


@pytest.mark.slow
@settings(max_examples=3000, **QUIET)
@given(plan=mixed_plans, seed=st.integers(0, 99))
def test_many_random_mixtures_of_states(plan, seed):
    check(plan, seed, [("kernel", "v", 0, 0)])


@pytest.mark.slow
@settings(max_examples=3000, **QUIET)
@given(**PLANS)
def test_many_random_programs(plan, seed):
    check(plan, seed)


def test_the_check_has_power():
    """Plain stacks are found recyclable, so that the tests above test something."""
    # All four columns of v, and two of w: the other two are read before their nonlinearity as well,
    # by the last kernel.
    plain = [("kernel", "w", 0, 0), ("unary", "relu", 0, 0), ("kernel", "v", 0, 0)]
    found, silent = zip(*(check(plain, seed) for seed in range(3)))
    assert found == (6, 6, 6) and min(silent) >= 1
