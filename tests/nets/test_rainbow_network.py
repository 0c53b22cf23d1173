import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.nets import RainbowNetwork
from dormant.nets.rainbow import NoisyDense

X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)


def noisy_params(key):
    params = jax.jit(NoisyDense(4).init)(key, X)["params"]
    assert {name: leaf.shape for name, leaf in params.items()} == {
        "kernel_mu": (3, 4),
        "kernel_sigma": (3, 4),
        "bias_mu": (4,),
        "bias_sigma": (4,),
    }
    return params


def test_noisy_layer_without_a_key_is_its_mean():
    params = noisy_params(jax.random.key(0))
    expected = X @ params["kernel_mu"] + params["bias_mu"][None]
    np.testing.assert_allclose(NoisyDense(4).apply({"params": params}, X), expected, rtol=1e-6)


def test_noise_is_factorised():
    """With mu = 0 and sigma = 1 a layer shows its noise: f(e_i) f(e_j) for the kernel, f(e_j) for
    the bias.
    """
    params = jax.tree.map(jnp.zeros_like, noisy_params(jax.random.key(0)))
    params = {**params, "kernel_sigma": jnp.ones((3, 4)), "bias_sigma": jnp.ones(4)}
    layer = lambda x, key: NoisyDense(4).apply({"params": params}, x, key)
    keys = jax.random.split(jax.random.key(1), 4000)
    bias = np.asarray(jax.vmap(lambda key: layer(jnp.zeros((1, 3)), key)[0])(keys))  # (keys, 4)
    kernel = (
        np.asarray(jax.vmap(lambda key: layer(jnp.eye(3), key))(keys)) - bias[:, None]
    )  # (keys, 3, 4)
    inputs = kernel / bias[:, None]
    np.testing.assert_allclose(
        inputs, np.broadcast_to(inputs[..., :1], inputs.shape), rtol=1e-3, atol=1e-4
    )
    # f(e) = sign(e) sqrt(|e|): mean 0, and its square |e| has mean sqrt(2 / pi); 4000 draws
    np.testing.assert_allclose(bias.mean(axis=0), 0.0, atol=0.06)
    np.testing.assert_allclose((bias**2).mean(axis=0), np.sqrt(2 / np.pi), atol=0.05)
    np.testing.assert_allclose((kernel**2).mean(), 2 / np.pi, atol=0.05)


def test_initial_noise_and_means():
    params = noisy_params(jax.random.key(3))
    np.testing.assert_allclose(params["kernel_sigma"], 0.1 / np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(params["bias_sigma"], 0.1 / np.sqrt(3), rtol=1e-6)
    assert (
        np.all(np.abs(params["kernel_mu"]) <= 1 / np.sqrt(3)) and np.std(params["kernel_mu"]) > 0.2
    )


def test_dueling_logits():
    network = RainbowNetwork(3, "mlp", noisy=False, dueling=True, num_atoms=2, vmin=-1.0, vmax=3.0)
    params = jax.jit(network.init)(jax.random.key(0), X)["params"]
    out = network.apply({"params": params}, X)
    value = nn.Dense(2).apply({"params": params["value"]}, out.features)
    advantage = nn.Dense(6).apply({"params": params["advantage"]}, out.features).reshape(5, 3, 2)
    expected = (
        np.asarray(value)[:, None] + advantage - np.asarray(advantage).mean(axis=1, keepdims=True)
    )
    np.testing.assert_allclose(out.logits, expected, rtol=1e-5, atol=1e-6)
    second = 1 / (1 + np.exp(expected[..., 0] - expected[..., 1]))  # probability of the atom 3
    np.testing.assert_allclose(out.q_values, -1.0 * (1 - second) + 3.0 * second, rtol=1e-5)
    np.testing.assert_allclose(network.atoms, [-1.0, 3.0])


def test_one_atom_is_the_action_value():
    network = RainbowNetwork(3, "mlp", noisy=False, dueling=False, num_atoms=1)
    params = jax.jit(network.init)(jax.random.key(0), X)["params"]
    out = network.apply({"params": params}, X)
    expected = nn.Dense(3).apply({"params": params["final_layer"]}, out.features)
    np.testing.assert_allclose(out.q_values, expected, rtol=1e-6)


def test_a_key_makes_noise_in_every_noisy_layer_and_another_key_other_noise():
    network = RainbowNetwork(3, "mlp", num_atoms=5)
    params, apply = jax.jit(network.init)(jax.random.key(0), X), jax.jit(network.apply)
    first, again, other = (apply(params, X, jax.random.key(i)) for i in (1, 1, 2))
    np.testing.assert_array_equal(first.logits, again.logits)
    assert np.any(first.features != other.features) and np.any(first.logits != other.logits)
    sigmas = jax.jit(jax.grad(lambda p: jnp.sum(apply(p, X, jax.random.key(1)).logits ** 2)))(
        params
    )["params"]
    for layer in ("Dense_1", "advantage", "value"):
        assert np.any(sigmas[layer]["kernel_sigma"] != 0) and np.any(
            sigmas[layer]["bias_sigma"] != 0
        )


@pytest.mark.parametrize(
    "torso, noisy, dueling, layers",
    [
        ("nature", True, True, {"Conv_0", "Conv_1", "Conv_2", "Dense_0", "advantage", "value"}),
        ("resnet", False, False, {"Stack_0", "Stack_1", "Stack_2", "Dense_0", "final_layer"}),
        ("mlp", True, False, {"Dense_0", "Dense_1", "final_layer"}),
    ],
)
def test_layers_by_switch(torso, noisy, dueling, layers):
    network = RainbowNetwork(6, torso, 0.5, noisy=noisy, dueling=dueling, num_atoms=51)
    observation = jnp.zeros((1, 84, 84, 4), jnp.uint8) if torso != "mlp" else jnp.zeros((1, 3))
    params = jax.eval_shape(network.init, jax.random.key(0), observation)["params"]
    assert set(params) == layers
    assert set(network.reset_groups["last"]) | set(network.reset_groups["penultimate"]) <= layers
    assert set(params[network.hidden_name]) == (
        {"kernel_mu", "kernel_sigma", "bias_mu", "bias_sigma"} if noisy else {"kernel", "bias"}
    )
    hidden = {"nature": 256, "resnet": 256, "mlp": 32}[torso]
    kernel = params[network.reset_groups["last"][0]]["kernel_mu" if noisy else "kernel"]
    assert kernel.shape == (hidden, 6 * 51)
