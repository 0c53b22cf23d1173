"""Against the recycler that the authors released, called as it is (dopamine.labs.redo).

Where it is right, ours does the same; each of its faults that concerns us (B1 to B17,
docs/paper.md) is pinned here: ours right, ``as_released`` equal to the release where the option
covers it. The faults of its own wiring of commands, configurations and of TensorFlow's SAC (B5, B6,
B8 to B10) have no counterpart in ours; the agents and gin files that replace them are tested in
test_agents.py. ``pip install 'dormant[dopamine]'``, then ``pytest -m dopamine``.
"""

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dormant import capture, recycle, reset, scores
from dormant.dopamine import import_dopamine
from dormant.redo import Periodic, fraction, selected
from dormant.redo.released import variant
from dormant.types import DormantError

pytestmark = [pytest.mark.dopamine, pytest.mark.filterwarnings("ignore")]

TAU = 0.3
SIZE = 24  # of the square images: three convolutions leave 3 x 3


def release():
    return import_dopamine("labs.redo.weight_recyclers"), import_dopamine("labs.redo.networks")


class Case:
    """A network of the release, its parameters, an Adam state with statistics, and a batch."""

    def __init__(self, network, **inputs):
        self.network, self.inputs = network, inputs
        random = np.random.default_rng(0)
        self.states = random.integers(0, 255, (16, SIZE, SIZE, 4)).astype(np.uint8)
        self.params = flax.core.unfreeze(
            network.init(jax.random.PRNGKey(0), self.states[0], **inputs)
        )
        self.names = list(network.layer_names)
        optimizer = optax.adam(1e-3, eps=1.5e-4)
        noise = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), self.params)
        _, self.opt_state = optimizer.update(noise, optimizer.init(self.params), self.params)
        self.observe = capture(self.apply, init=self.initialise)

    def initialise(self, key):
        return flax.core.unfreeze(self.network.init(key, self.states[0], **self.inputs))

    def apply(self, params, states):
        return jax.vmap(lambda state: self.network.apply(params, state, **self.inputs))(states)

    def intermediates(self, params):
        chosen = lambda module, _: module.name is not None and "act" in module.name
        apply = lambda state: self.network.apply(
            params,
            state,
            **self.inputs,
            capture_intermediates=chosen,
            mutable=["intermediates"],
        )
        return flax.core.unfreeze(jax.vmap(apply)(self.states)[1]["intermediates"])

    def released(self, params=None, kind="NeuronRecycler", **options):
        """What the release makes of it -> (params, opt_state). It needs frozen trees (B7)."""
        params = self.params if params is None else params
        recycler = getattr(release()[0], kind)(self.names, **options)
        recycler._last_update_step = 0
        state = self.opt_state[0]
        frozen = (
            state._replace(mu=flax.core.freeze(state.mu), nu=flax.core.freeze(state.nu)),
            *self.opt_state[1:],
        )
        params, (state, *rest) = recycler.update_weights(
            self.intermediates(params), flax.core.freeze(params), jax.random.PRNGKey(1), frozen
        )
        mu, nu = flax.core.unfreeze(state.mu), flax.core.unfreeze(state.nu)
        return flax.core.unfreeze(params), (state._replace(mu=mu, nu=nu), *rest)

    def ours(self, params=None, tau=TAU, **options):
        params = self.params if params is None else params
        activations = self.observe(params, self.states)
        return recycle(params, self.opt_state, activations, tau, jax.random.key(5), **options)


@pytest.fixture(scope="module")
def nature():
    with jax.numpy_rank_promotion("allow"):
        return Case(release()[1].ScalableNatureDQNNetwork(num_actions=3, width=0.25))


class Dense(nn.Module):
    """A network without a convolution, with the names of layers and activations that the release
    wants.
    """

    @nn.compact
    def __call__(self, state):
        identity = release()[1].IdentityLayer
        x = state.reshape(-1).astype(jnp.float32)[:64] / 255.0
        for name, size in (("Dense_0", 40), ("Dense_1", 30)):
            x = identity(name=f"{name}_act")(nn.relu(nn.Dense(size, name=name)(x)))
        return identity(name="final_layer_act")(nn.Dense(3, name="final_layer")(x))

    layer_names = ("Dense_0", "Dense_1", "final_layer")


@pytest.fixture(scope="module")
def dense():
    return Case(Dense())


def flat(tree):
    return flax.traverse_util.flatten_dict(tree, sep="/")


def assert_same_touch(before, ours, theirs, skip=()):
    """The same entries are redrawn and the same are 0."""
    before, ours, theirs = flat(before), flat(ours), flat(theirs)
    for path in before:
        if path in skip:
            continue
        kept = np.asarray(theirs[path] == before[path])
        np.testing.assert_array_equal(kept, np.asarray(ours[path] == before[path]), path)
        np.testing.assert_array_equal(np.asarray(ours[path] == 0), np.asarray(theirs[path] == 0))


def test_scores_are_the_releases(nature):
    recycler = release()[0].BaseRecycler(nature.names)
    ours = scores(nature.observe(nature.params, nature.states))
    theirs = nature.intermediates(nature.params)
    for layer, score in ours.items():
        expected = recycler.estimate_neuron_score(theirs[f"{layer}_act"]["__call__"][0])
        np.testing.assert_allclose(score, expected, rtol=1e-5)
    dead = recycler.log_dead_neurons_count(theirs)["dead_feature_percentage"]
    pooled = np.concatenate([np.asarray(score) <= 0 for score in ours.values()])
    np.testing.assert_allclose(dead, 100 * pooled.mean(), rtol=1e-5)


def test_where_it_is_right_masks_redraws_and_moments_are_the_same(dense):
    """Without a convolution before a dense layer: the same entries of kernels and biases, the same
    moments of kernels. Moments of biases are ours alone (kept in the release).
    """
    theirs, their_state = dense.released(dead_neurons_threshold=TAU)
    ours, our_state = dense.ours(as_released=True)
    assert_same_touch(dense.params, ours, theirs)
    jax.tree.map(np.testing.assert_array_equal, our_state, their_state)
    correct, state = dense.ours()
    assert_same_touch(dense.params, correct, theirs)
    bias = state[0].mu["params"]["Dense_0"]["bias"]
    kept = their_state[0].mu["params"]["Dense_0"]["bias"]
    dead = np.asarray(scores(dense.observe(dense.params, dense.states))["Dense_0"]) <= TAU
    assert dead.any() and not np.any(bias[dead]) and np.all(kept[dead])


def test_xavier_draws_have_the_releases_spread(dense):
    theirs, _ = dense.released(dead_neurons_threshold=1e9)
    ours, _ = dense.ours(tau=1e9, incoming="xavier")
    drawn = [np.asarray(each["params"]["Dense_0"]["kernel"]) for each in (ours, theirs)]
    bound = np.sqrt(6 / (64 + 40))
    for kernel in drawn:
        assert 0.97 * bound < np.abs(kernel).max() <= bound
    np.testing.assert_allclose(drawn[0].std(), drawn[1].std(), rtol=0.05)


def silent(params, layer, index):
    """Params with a silent neuron."""
    params = jax.tree.map(jnp.copy, params)
    scope = params["params"]
    for part in layer.split("/"):
        scope = scope[part]
    scope["bias"] = scope["bias"].at[index].set(-1e4)
    return params


def test_b1_rows_of_a_dense_layer_after_a_convolution(nature):
    """The release zeroes rows of other channels and the outputs change; ours stay."""
    params = silent(nature.params, "Conv_2", 2)
    outputs = lambda each: nature.apply(each, nature.states).q_values
    released, _ = nature.released(params, dead_neurons_threshold=0.0)
    ours, _ = nature.ours(params, tau=0.0)
    same, _ = nature.ours(params, tau=0.0, as_released=True)
    np.testing.assert_allclose(outputs(ours), outputs(params), atol=1e-6)
    assert np.max(np.abs(outputs(released) - outputs(params))) > 1e-3
    assert np.max(np.abs(outputs(same) - outputs(params))) > 1e-3
    assert_same_touch(params, same, released)


def test_b2_the_first_convolution_of_the_resnets_second_block():
    """The release takes the next stack's kernel for the block's own second one."""
    network = release()[1].ScalableDQNResNet(num_actions=3, width=1)
    case = Case(network)
    params = silent(case.params, "Stack_0/Conv_3", 5)
    released, _ = case.released(params, network="resnet", dead_neurons_threshold=0.0)
    ours, _ = case.ours(params, tau=0.0)
    kernel = lambda tree, path: np.asarray(flat(tree)[f"params/{path}/kernel"])
    own, next_stack = "Stack_0/Conv_4", "Stack_1/Conv_0"
    assert not np.any(kernel(ours, own)[:, :, 5])
    np.testing.assert_array_equal(kernel(ours, next_stack), kernel(params, next_stack))
    np.testing.assert_array_equal(kernel(released, own), kernel(params, own))
    assert not np.any(kernel(released, next_stack)[:, :, 5])
    values = [case.apply(each, case.states).q_values for each in (params, ours, released)]
    np.testing.assert_allclose(values[1], values[0], atol=1e-5)
    assert np.max(np.abs(values[2] - values[0])) > 1e-3

    params = silent(params, "Stack_2/Conv_3", 7)  # read by the dense layer, in the release's eyes
    released, _ = case.released(params, network="resnet", dead_neurons_threshold=0.0)
    same, _ = case.ours(params, tau=0.0, as_released=True)
    assert_same_touch(params, same, released)
    np.testing.assert_array_equal(kernel(same, "Dense_0") == 0, kernel(released, "Dense_0") == 0)


def test_b3_heads_are_never_reset_in_the_release_and_are_in_ours():
    """As its DrQ agent has it: the two heads in a list of their own."""
    _, networks = release()
    monkey = networks.FullRainbowNetwork
    monkey.layer_names.clear()
    network = monkey(num_actions=3, num_atoms=1, noisy=False, distributional=False)
    case = Case(network, support=jnp.zeros(1))
    case.names = [*case.names[:-2], case.names[-2:]]
    for start in (3, 4):
        after, _ = case.released(kind="LayerReset", reset_start_layer_idx=start)
        moved = {
            path.split("/")[1]
            for path, leaf in flat(after).items()
            if np.any(leaf != flat(case.params)[path])
        }
        assert moved == ({"Dense_0"} if start == 3 else set())
    last = lambda path: path.split("/")[0] in ("Dense_1", "Dense_2")
    fresh = case.initialise(jax.random.PRNGKey(7))
    ours, _ = reset(case.params, case.opt_state, fresh, last)
    for head in ("Dense_1", "Dense_2"):
        before = case.params["params"][head]["kernel"]
        assert np.any(ours["params"][head]["kernel"] != before)
    monkey.layer_names.clear()


def test_b4_weight_decay_and_recycling(dense):
    """A chain of weight decay and Adam: the release takes the wrong state, ours finds Adam's."""
    optimizer = optax.chain(optax.add_decayed_weights(1e-5), optax.adam(1e-3))
    ones = jax.tree.map(jnp.ones_like, dense.params)
    _, opt_state = optimizer.update(ones, optimizer.init(dense.params), dense.params)
    recycler = release()[0].NeuronRecycler(dense.names, dead_neurons_threshold=TAU)
    with pytest.raises(IndexError):
        recycler.update_weights(
            dense.intermediates(dense.params),
            flax.core.freeze(dense.params),
            jax.random.PRNGKey(0),
            opt_state,
        )
    activations = dense.observe(dense.params, dense.states)
    _, after = recycle(dense.params, opt_state, activations, TAU, jax.random.key(0))
    mu = optax.tree_utils.tree_get(after, "mu")["params"]["Dense_0"]["kernel"]
    dead = np.asarray(scores(activations)["Dense_0"]) <= TAU
    assert not np.any(mu[:, dead]) and np.all(mu[:, ~dead])


def test_b7_plain_dictionaries(dense):
    recycler = release()[0].NeuronRecycler(dense.names, dead_neurons_threshold=TAU)
    with pytest.raises(ValueError):
        recycler.update_weights(
            dense.intermediates(dense.params), dense.params, jax.random.PRNGKey(0), dense.opt_state
        )
    assert type(dense.ours()[0]) is type(dense.params) is dict


def test_b11_layers_of_one_shape_draw_differently():
    """The release's SAC draws every layer with one seed; ours gives each its own numbers."""
    sac = import_dopamine("jax.continuous_networks").ActorCriticNetwork((2,), 2, 16)
    state, key = jnp.ones((5, 1)), jax.random.PRNGKey(0)
    params = sac.init(key, state, key)
    observe = capture(
        lambda params, states, actions: jax.vmap(
            lambda s, a: sac.apply(params, s, a, method=sac.critic)
        )(states, actions),
        init=lambda key: sac.init(key, state, key),
    )
    critics = {"params": {k: params["params"][k] for k in ("_critic1", "_critic2")}}
    activations = observe(params, jnp.ones((4, 5, 1)), jnp.ones((4, 2)))
    optimizer = optax.adam(1e-3)
    after, _ = recycle(params, optimizer.init(params), activations, 1e9, jax.random.key(0))
    first, second = (after["params"][name]["Dense_0"]["kernel"] for name in critics["params"])
    assert not np.any(np.asarray(first) == np.asarray(second))


def test_b12_ties_of_the_scheduled_selections():
    """200 dead of 512, a tenth asked for: the release takes all 200, ours 51."""
    values = jnp.where(jnp.arange(512) < 200, 0.0, jnp.arange(512) / 512.0)
    theirs = np.asarray(release()[0].leastk_mask(values, 0.1)) == 1
    assert theirs.sum() == 200
    np.testing.assert_array_equal(variant(True).lowest(values, jnp.int32(51)), theirs)
    case = Case(Dense())
    activations = case.observe(case.params, case.states)
    chosen = selected(activations, 0.0, select=fraction(0.1))
    assert [int(mask.sum()) for mask in chosen.values()] == [4, 3]


def test_b13_rescaled_weights_of_a_layer_that_is_dormant_as_a_whole(dense):
    theirs, _ = dense.released(dead_neurons_threshold=1e9, weight_scaling=True)
    assert not np.all(np.isfinite(theirs["params"]["Dense_0"]["kernel"]))
    ours, _ = dense.ours(tau=1e9, incoming="rescaled")
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(ours))


def test_b14_layer_reset_of_a_resnet():
    """Stacks are never reset in the release, whatever layer it is told to begin with."""
    recycler = release()[0].LayerReset(["Stack_0/Conv_0", "Dense_0", "final_layer"])
    kernel, bias = jnp.ones((1, 1, 2, 2)), jnp.ones(2)
    scope = {"Conv_0": {"kernel": kernel, "bias": bias}}
    dense = {"kernel": jnp.ones((2, 2)), "bias": bias}
    params = {"params": {"Stack_0": scope, "Dense_0": dense, "final_layer": dense}}
    frozen = flax.core.freeze(params)
    after, _ = recycler.update_weights(
        None, frozen, jax.random.PRNGKey(0), optax.adam(1e-3).init(frozen)
    )
    np.testing.assert_array_equal(after["params"]["Stack_0"]["Conv_0"]["kernel"], kernel)
    assert np.any(after["params"]["Dense_0"]["kernel"] != 1)
    fresh = jax.tree.map(jnp.zeros_like, params)
    everything = lambda path: True
    ours, _ = reset(params, optax.adam(1e-3).init(params), fresh, everything)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(ours))


def test_b15_widths_that_are_no_whole_numbers():
    network = release()[1].ScalableDQNResNet(num_actions=3, width=0.5)
    with pytest.raises(TypeError):
        network.init(jax.random.PRNGKey(0), jnp.zeros((SIZE, SIZE, 4)))
    from dormant.nets.resnet import ResNet

    ours = ResNet(num_actions=3, width=0.5)
    params = jax.eval_shape(ours.init, jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 4)))
    first = [leaf.shape for leaf in jax.tree.leaves(params) if leaf.shape[:-1] == (3, 3, 4)]
    assert first == [(3, 3, 4, 16)]


def test_b16_a_second_network_does_not_change_the_first():
    kind = release()[1].FullRainbowNetwork
    kind.layer_names.clear()
    network = kind(num_actions=3, num_atoms=1, noisy=False, distributional=False)
    first = Case(network, support=jnp.zeros(1))
    layers = list(first.observe(first.params, first.states))
    second = Case(network, support=jnp.zeros(1))
    assert len(second.names) == 2 * len(first.names)
    assert list(second.observe(second.params, second.states)) == layers
    kind.layer_names.clear()


def test_b17_the_release_stops_at_a_fixed_gradient_step():
    """Its file ends recycling at 2.5M gradient steps, half of a run at replay ratio 2."""
    released = release()[0].NeuronRecycler(
        ["Dense_0", "final_layer"], reset_period=1000, reset_end_step=2_500_000
    )
    assert released.is_reset(2_499_000) and not released.is_reset(2_500_000)
    ours = Periodic(1000)
    assert ours.due(2_499_000) and ours.due(4_999_000)
    for step in (0, 1, 999, 1000, 1001, 2000):
        assert released.is_reset(step) == ours.due(step)
    with pytest.raises(DormantError):
        Periodic(0)
