"""A value that mixes a neuron before and after its nonlinearity is not measured by either."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.redo.silence import check_silent_units, observe

relu = jax.nn.relu
FIRST = np.arange(8)[None] < 4


def stacked(h):
    return jnp.stack([h, relu(h)])


def time(h):
    """h and relu(h) one after the other along a time axis: (B, 2, 8)."""
    return jnp.concatenate([h[:, None], relu(h)[:, None]], axis=1)


# function(h, x) -> (B, 8) or (B, T, 8): what the next kernel reads
REFUSED = {
    "columns chosen by a constant": lambda h, x: jnp.where(FIRST, relu(h), h),
    "rows chosen by the input": lambda h, x: jnp.where(x[:, :1] > 0, relu(h), h),
    "one of three": lambda h, x: lax.select_n(
        jnp.broadcast_to((x[:, :1] > 0).astype(int), h.shape), relu(h), h, jnp.tanh(h)
    ),
    "stochastic depth": lambda h, x: lax.select(
        jnp.broadcast_to(jax.random.bernoulli(jax.random.key(0)), h.shape), h, relu(h)
    ),
    "scaled before it is chosen": lambda h, x: jnp.where(FIRST, 2 * relu(h), -h),
    "mean of a stack": lambda h, x: stacked(h).mean(0),
    "least of a stack": lambda h, x: stacked(h).min(0),
    "greatest of a stack": lambda h, x: jnp.stack([h, -relu(h)]).max(0),
    "mean over time": lambda h, x: time(h).mean(1),
    "sum over time of a reshape": lambda h, x: time(h).reshape(-1, 4, 4).reshape(-1, 2, 8).sum(1),
    "running sum over time": lambda h, x: jnp.cumsum(time(h), axis=1)[:, -1],
    "running maximum over time": lambda h, x: lax.cummax(time(-h), axis=1)[:, -1],
    "window over time": lambda h, x: lax.reduce_window(
        time(h), 0.0, lax.add, (1, 2, 1), (1, 1, 1), "VALID"
    )[:, 0],
    "read over time by one kernel": lambda h, x: time(h),
    "both side by side": lambda h, x: jnp.concatenate([relu(h)[:, :4], h[:, :4]], axis=1),
    "a time chosen by the input": lambda h, x: lax.dynamic_index_in_dim(
        time(h), (x[0, 0] > 0).astype(int), 1, keepdims=False
    ),
}
KEPT = {  # sums are measured where they are made; a second nonlinearity settles it
    "h + relu(h)": lambda h, x: h + relu(h),
    "h - relu(h)": lambda h, x: h - relu(h),
    "a mask of the two, added": lambda h, x: FIRST * relu(h) + ~FIRST * h,
    "chosen, then activated": lambda h, x: relu(jnp.where(FIRST, relu(h), h)),
    "mean, then activated": lambda h, x: jnp.tanh(stacked(h).mean(0)),
    "chosen among two active": lambda h, x: jnp.where(x[:, :1] > 0, relu(h), jnp.tanh(h)),
    "active or zero": lambda h, x: jnp.where(x[:, :1] > 0, relu(h), 0.0),
    "mean of two active": lambda h, x: jnp.stack([relu(h), relu(-h)]).mean(0),
    "chosen by its own sign": lambda h, x: jnp.where(h > 0, h, 0.1 * h),
    "active or a constant": lambda h, x: jnp.where(x[:, :1] > 0, relu(h), 1.0),
    "active or the input": lambda h, x: jnp.where(FIRST, relu(h), x[:, :1]),
    "a constant chosen by its own sign": lambda h, x: jnp.where(h > 0, h, 1.0),
    "passed through a barrier": lambda h, x: lax.optimization_barrier((relu(h), x))[0],
}


def network(middle):
    def function(params, x):
        read = middle(x @ params["w"] + params["b"][None], x)
        return (read @ params["v"]).sum(axis=tuple(range(1, read.ndim - 1)))

    return function


def setting(seed=0):
    """Parameters with units dark on every batch, alive on every batch, and neither."""
    random = np.random.default_rng(seed)
    shapes = {"w": (3, 8), "b": (8,), "v": (8, 2)}
    params = {n: random.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    params["b"] += np.array([-9, 9, 0, 0, -9, 9, 0, 0], np.float32)
    return params, [random.standard_normal((5, 3)).astype(np.float32) for _ in range(2)]


def recyclable(middle):
    params, (x, _) = setting()
    return observe(network(middle), params, x).wiring.layers[0].recyclable


@pytest.mark.parametrize("name", REFUSED)
def test_a_mixture_of_states_is_refused(name):
    # "both side by side" reads the last four units not at all
    assert not recyclable(REFUSED[name]).any()


@pytest.mark.parametrize("name", KEPT)
def test_what_is_measured_where_it_is_read_is_kept(name):
    assert recyclable(KEPT[name]).all()


@pytest.mark.parametrize("name", [*REFUSED, *KEPT])
def test_silent_units_can_go(name):
    params, batches = setting()
    check_silent_units(network({**REFUSED, **KEPT}[name]), params, batches)


def test_the_oracle_has_power():
    """Units 0 and 4 are dark by their bias, and it sees them go."""
    params, batches = setting()
    assert check_silent_units(network(lambda h, x: relu(h)), params, batches) >= 2
    assert check_silent_units(network(KEPT["h - relu(h)"]), params, batches) >= 2


def test_a_sum_of_two_uses_is_a_site_of_its_own():
    """relu(h) - relu(h) is silent although relu(h) is not, and h + relu(h) is not where it is."""
    params, (x, _) = setting()
    h = x @ params["w"] + params["b"][None]
    for middle in (lambda h, x: h + relu(h), lambda h, x: relu(h) - relu(2 * h)):
        activations = observe(network(middle), params, x)
        np.testing.assert_allclose(activations["w"], middle(h, x), rtol=1e-6)


def test_a_mixture_is_not_measured_where_it_is_linear():
    """Units 0 to 3 are active at the sum, 4 to 7 only later: one value a unit and sample."""
    params, (x, _) = setting()

    def middle(h, x):
        y = jnp.concatenate([relu(h[:, :4]), h[:, 4:]], axis=1)
        y = y + y
        return jnp.concatenate([y[:, :4], jnp.tanh(y[:, 4:])], axis=1)

    activations = observe(network(middle), params, x)
    expected = middle(x @ params["w"] + params["b"][None], x)
    np.testing.assert_allclose(activations["w"], expected, rtol=1e-6)
    assert activations.wiring.layers[0].recyclable.all()


@pytest.mark.parametrize(
    "add",
    [
        lambda y: y + 1,
        lambda y: y + np.arange(8, dtype=np.float32)[None] % 2,
        lambda y: (
            jnp.concatenate([y[:, :4], jnp.ones_like(y[:, 4:])], axis=1)
            + jnp.concatenate([jnp.ones_like(y[:, :4]), y[:, 4:]], axis=1)
        ),
    ],
    ids=["everywhere", "in some columns", "beside other neurons"],
)
def test_a_constant_after_the_nonlinearity_is_an_offset(add):
    params, (x, _) = setting()
    layer = observe(network(lambda h, x: add(relu(h))), params, x).wiring.layers[0]
    assert layer.recyclable.all() and not layer.exact.any()


def test_a_skip_from_the_input_is_refused():
    params, batches = setting()
    wide = lambda x: jnp.concatenate([x, x, x[:, :2]], axis=1)
    for skip in (lambda h, x: relu(h) + wide(x), lambda h, x: wide(x) - relu(h)):
        layer = observe(network(skip), params, batches[0]).wiring.layers[0]
        assert not layer.recyclable.any()
        assert layer.reasons[0][0] == "added to the network's input"
    before = observe(network(lambda h, x: relu(h + wide(x))), params, batches[0]).wiring.layers[0]
    assert before.recyclable.all() and before.exact.all()


def test_a_constant_in_the_place_of_a_neuron_is_refused():
    """Indexing out of bounds with a fill value: where that is 0, a unit is merely absent."""
    pick = lambda fill: (
        lambda h, x: relu(h).at[:, np.arange(1, 9)].get(mode="fill", fill_value=fill)
    )
    assert recyclable(pick(0.0))[1:].all()
    assert not recyclable(pick(3.0)).any()


def test_a_scaled_input_is_data_to_a_constant():
    """As where a normalised image is resized: its batch is no layer, whatever its size."""
    constant = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    function = lambda p, x: relu(jnp.cos((x * p["scale"][None]) @ constant) @ p["w"]) @ p["out"]
    params = {"scale": jnp.ones(3), "w": jnp.ones((4, 5)), "out": jnp.ones((5, 2))}
    for batch in (1, 6):
        wiring = observe(function, params, jnp.ones((batch, 3))).wiring
        assert [(x.name, x.size, int(x.recyclable.sum())) for x in wiring.layers] == [
            ("w", 5, 5),
            ("out", 2, 0),
        ]
        assert [path for path, _ in wiring.without_owner] == ["scale"]
