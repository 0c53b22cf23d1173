"""A table of networks for the contract test: each with its inputs and what its wiring must be."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class Net(nn.Module):
    """A network from one function of (its module, *inputs)."""

    body: Callable

    @nn.compact
    def __call__(self, *inputs):
        return self.body(*inputs)


class Case(NamedTuple):
    network: Any  # a Linen module
    inputs: tuple  # shapes of the inputs, batch included
    layers: dict  # {layer: (neurons, recyclable, exact)} of every layer, scored or not
    scored: tuple = ()  # names of the scored layers that are not recyclable at all
    reasons: dict = {}  # {layer: words of the reason}


def late(module: Callable) -> Callable:
    """The module's constructor, called together with the module: layers are numbered from the input
    on.
    """
    return lambda *options, **more: lambda *inputs: module(*options, **more)(*inputs)


Dense, DenseGeneral, Einsum = late(nn.Dense), late(nn.DenseGeneral), late(nn.Einsum)
Conv, ConvTranspose = late(nn.Conv), late(nn.ConvTranspose)
LayerNorm, RMSNorm, GroupNorm = late(nn.LayerNorm), late(nn.RMSNorm), late(nn.GroupNorm)
InstanceNorm, BatchNorm = late(nn.InstanceNorm), late(nn.BatchNorm)

CASES: dict[str, Case] = {}


def case(inputs, layers, **more):
    """Registers a body under its function's name. Layers: n = all recyclable and exact;
    0-recyclable as a tuple.
    """

    def register(body):
        full = {name: (n, n, n) if isinstance(n, int) else n for name, n in layers.items()}
        CASES[body.__name__] = Case(Net(body), inputs, full, **more)
        return body

    return register


def flat(x):
    return x.reshape(x.shape[0], -1)


IMAGE, VECTOR = (6, 9, 8, 2), (12, 5)
OUT, ONE = (2, 0, 0), (1, 0, 0)  # output layers


@case([VECTOR], {"Dense_0": 7, "Dense_1": 6, "Dense_2": OUT}, reasons={"Dense_2": "returned"})
def mlp(x):
    return Dense(2)(nn.relu(Dense(6)(nn.relu(Dense(7)(x)))))


@case([VECTOR], {f"Dense_{k}": 4 for k in range(9)} | {"Dense_9": OUT})
def activations(x):
    for act in (
        nn.leaky_relu,
        nn.gelu,
        nn.silu,
        nn.tanh,
        nn.elu,
        nn.relu6,
        nn.hard_swish,
        nn.selu,
        nn.soft_sign,
    ):
        x = act(Dense(4)(x))
    return Dense(2)(x)


@case([IMAGE], {"Conv_0": 4, "Conv_1": 5, "Dense_0": 6, "Dense_1": OUT})
def conv_valid(x):
    x = nn.relu(Conv(4, (3, 3), (2, 1), padding="VALID")(x))
    x = nn.relu(Conv(5, (2, 3), kernel_dilation=2, padding=((1, 0), (2, 1)))(x))
    return Dense(2)(nn.relu(Dense(6)(flat(x))))


@case([IMAGE], {"Conv_0": 4, "Dense_0": OUT})
def channels_first_flatten(x):
    return Dense(2)(flat(nn.relu(Conv(4, (3, 3))(x)).transpose(0, 3, 2, 1)))


@case([IMAGE], {"Conv_0": 4, "Dense_0": 3, "Dense_1": OUT})
def vmapped_over_the_batch(x):
    conv, hidden, out = nn.Conv(4, (3, 3)), nn.Dense(3), nn.Dense(2)
    one = lambda image: out(nn.relu(hidden(nn.relu(conv(image)).reshape(-1))))
    return jnp.stack([one(image) for image in x])


@case(
    [VECTOR],
    {"Dense_0": 6, "Dense_1": (3, 0, 0), "Dense_2": (1, 0, 0)},
    reasons={"Dense_1": "or dueling heads", "Dense_2": "or dueling heads"},
)
def dueling_shared(x):
    x = nn.relu(Dense(6)(x))
    advantage = Dense(3)(x)
    return Dense(1)(x) + advantage - jnp.mean(advantage, axis=-1, keepdims=True)


@case([VECTOR], {"Dense_0": 6, "Dense_1": 8, "Dense_2": (3, 0, 0), "Dense_3": (1, 0, 0)})
def dueling_streams(x):
    x = nn.relu(Dense(8)(nn.relu(Dense(6)(x))))
    advantage, value = Dense(3)(x[:, :5]), Dense(1)(x[:, 5:])
    return value + advantage - jnp.mean(advantage, axis=-1, keepdims=True)


class Noisy(nn.Module):
    size: int

    @nn.compact
    def __call__(self, x):
        noise = lambda k, shape: jax.random.normal(jax.random.key(k), shape)
        shape, init = (x.shape[-1], self.size), nn.initializers.uniform(1.0)
        kernel = self.param("kernel", init, shape)
        kernel += self.param("sigma", nn.initializers.constant(0.3), shape) * noise(0, shape)
        bias = self.param("bias", init, shape[1:])
        bias += self.param("bias_sigma", nn.initializers.constant(0.2), shape[1:]) * noise(
            1, shape[1:]
        )
        return x @ kernel + bias[None]


@case([VECTOR], {"Noisy_0": 5, "Noisy_1": OUT})
def noisy(x):
    x = nn.relu(Noisy(5)(x))
    return Noisy(2)(x)


@case([IMAGE], {"Conv_0": 4, "Conv_1": 3, "Dense_0": OUT})
def pools(x):
    x = nn.max_pool(nn.relu(Conv(4, (3, 3))(x)), (2, 2), (2, 2), "SAME")
    return Dense(2)(flat(nn.relu(nn.avg_pool(Conv(3, (2, 2))(x), (2, 2)))))


@case([IMAGE], {"Conv_0": 4, "Conv_1": 3, "Dense_0": OUT})
def global_pools(x):
    x = nn.relu(Conv(4, (3, 3))(x))
    peak = jnp.max(nn.relu(Conv(3, (3, 3))(x)), axis=(1, 2))
    return Dense(2)(jnp.concatenate([jnp.mean(x, axis=(1, 2)), peak], axis=-1))


class Stack(nn.Module):
    """One stack of the paper's ResNet (IMPALA)."""

    size: int

    @nn.compact
    def __call__(self, x):
        x = nn.max_pool(Conv(self.size, (3, 3))(x), (3, 3), (2, 2), "SAME")
        for _ in range(2):
            y = Conv(self.size, (3, 3))(nn.relu(x))
            x = x + Conv(self.size, (3, 3))(nn.relu(y))
        return x


STREAM = (4, 0, 0)


@case(
    [IMAGE],
    {f"Stack_{s}/Conv_{k}": 4 if k in (1, 3) else STREAM for s in range(2) for k in range(5)}
    | {"Dense_0": 5, "Dense_1": OUT},
    scored=(
        "Stack_0/Conv_0",
        "Stack_0/Conv_2",
        "Stack_1/Conv_0",
        "Stack_1/Conv_2",
        "Stack_1/Conv_4",
    ),
    reasons={"Stack_0/Conv_0": "residual stream"},
)
def resnet(x):
    x = Stack(4)(x)
    x = nn.relu(Stack(4)(x))
    return Dense(2)(nn.relu(Dense(5)(flat(x))))


class Critic(nn.Module):
    @nn.compact
    def __call__(self, observation, action):
        x = nn.relu(Dense(6)(jnp.concatenate([observation, action], -1)))
        return Dense(1)(nn.relu(Dense(4)(jnp.concatenate([x, action], -1))))


@case(
    [VECTOR, (12, 2)], {"Critic_0/Dense_0": 6, "Critic_0/Dense_1": 4, "Critic_0/Dense_2": (1, 0, 0)}
)
def critic(observation, action):
    return Critic()(observation, action)


def ensemble(axis):
    return nn.vmap(
        Critic,
        variable_axes={"params": axis},
        split_rngs={"params": True},
        in_axes=(None, None),
        out_axes=0,
        axis_size=3,
    )


@case(
    [VECTOR, (12, 2)],
    {"VmapCritic_0/Dense_0": 18, "VmapCritic_0/Dense_1": 12, "VmapCritic_0/Dense_2": (3, 0, 0)},
)
def critics(observation, action):
    return jnp.min(ensemble(0)()(observation, action), axis=0)


@case(
    [VECTOR, (12, 2)],
    {"VmapCritic_0/Dense_0": 18, "VmapCritic_0/Dense_1": 12, "VmapCritic_0/Dense_2": (3, 0, 0)},
)
def critics_last_axis(observation, action):
    return ensemble(-1)()(observation, action)


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(Conv(4, (3, 3))(x))
        return Dense(2)(flat(nn.relu(Conv(3, (3, 3), (2, 2))(x))))


@case(
    [IMAGE],
    {"VmapEncoder_0/Conv_0": 8, "VmapEncoder_0/Conv_1": 6, "VmapEncoder_0/Dense_0": (4, 0, 0)},
)
def conv_ensemble(x):
    many = nn.vmap(
        Encoder,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=None,
        out_axes=1,
        axis_size=2,
    )
    return many()(x)


@case(
    [VECTOR],
    {"Dense_0": (6, 6, 0), "Dense_1": (5, 5, 0), "Dense_2": OUT},
    reasons={"Dense_0": "coupled"},
)
def layer_norms(x):
    x = nn.relu(LayerNorm()(Dense(6)(x)))
    return Dense(2)(nn.silu(RMSNorm()(Dense(5)(x))))


@case([IMAGE], {"Conv_0": (4, 4, 0), "Conv_1": 3, "Dense_0": OUT})
def group_and_instance_norm(x):
    x = nn.relu(GroupNorm(2)(Conv(4, (3, 3))(x)))
    return Dense(2)(flat(nn.relu(InstanceNorm()(Conv(3, (3, 3))(x)))))


@case([IMAGE], {"Conv_0": 4, "Dense_0": 3, "Dense_1": OUT})
def batch_norm(x):
    x = nn.relu(BatchNorm(use_running_average=True)(Conv(4, (3, 3))(x)))
    return Dense(2)(nn.relu(BatchNorm(use_running_average=True)(Dense(3)(flat(x)))))


@case(
    [VECTOR],
    {"Dense_0": (6, 0, 0), "Dense_1": 5, "Dense_2": OUT},
    scored=("Dense_0",),
    reasons={"Dense_0": "statistic"},
)
def norm_after_the_nonlinearity(x):
    x = LayerNorm()(nn.relu(Dense(6)(x)))
    return Dense(2)(nn.relu(Dense(5)(x)))


@case([VECTOR], {"Dense_0": (6, 6, 0), "Dense_1": OUT}, reasons={"Dense_0": "offset"})
def bias_after_the_nonlinearity(x):
    return Dense(2)(BatchNorm(use_running_average=True)(nn.relu(Dense(6)(x))))


def crelu_of(x):
    return jnp.concatenate([nn.relu(x), nn.relu(-x)], axis=-1)


@case([IMAGE], {"Conv_0": 3, "Dense_0": 4, "Dense_1": OUT})
def crelu(x):
    return Dense(2)(crelu_of(Dense(4)(flat(crelu_of(Conv(3, (3, 3))(x))))))


@case([(4, 6, 5)], {"Einsum_0": 12, "DenseGeneral_0": 6, "Dense_0": 3, "Dense_1": OUT})
def einsums(x):
    x = nn.relu(Einsum((3, 5, 4), "bld,hdk->blhk", use_bias=False)(x))
    x = nn.relu(DenseGeneral((2, 3), axis=(-2, -1))(x))
    return Dense(2)(nn.relu(Dense(3)(flat(x))))


@case([VECTOR], {"Dense_0": 6, "Dense_1": (4, 2, 2), "Dense_2": OUT, "Dense_3": (3, 0, 0)})
def several_outputs(x):
    x = nn.relu(Dense(6)(x))
    half = nn.relu(Dense(4)(x))
    return {"policy": Dense(2)(x), "value": (Dense(3)(half), half[:, 2:])}


@case([IMAGE], {"Conv_0": 4, "Dense_0": 5, "Dense_1": OUT})
def bfloat16(x):
    x = nn.relu(Conv(4, (3, 3), dtype=jnp.bfloat16)(x))
    x = nn.relu(Dense(5, dtype=jnp.bfloat16)(flat(x)))
    return Dense(2)(x.astype(jnp.float32))


@case(
    [VECTOR],
    {
        "CheckpointCritic_0/Dense_0": 6,
        "CheckpointCritic_0/Dense_1": 4,
        "CheckpointCritic_0/Dense_2": ONE,
    },
)
def remat(x):
    return nn.remat(Critic)()(x, x[:, :2])


@case([VECTOR, (12, 2)], {"Dense_0+Dense_1": 6, "Dense_2": OUT})
def summed_layers(observation, action):
    return Dense(2)(nn.relu(Dense(6)(observation) + Dense(6, use_bias=False)(action)))


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.relu(Dense(6)(x)), None


@case(
    [VECTOR], {"Dense_0": 6, **{f"ScanLayer_0/Dense_0[{k}]": 6 for k in range(3)}, "Dense_1": OUT}
)
def scanned(x):
    layers = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
    x, _ = layers()(nn.relu(Dense(6)(x)), None)
    return Dense(2)(x)


HEADS = {f"MultiHeadDotProductAttention_0/{n}": (6, 0, 0) for n in ("query", "key", "value", "out")}


@case(
    [(4, 5, 6)], {"Dense_0": (6, 0, 0), **HEADS, "Dense_1": 8, "Dense_2": (6, 0, 0), "Dense_3": OUT}
)
def attention(x):
    x = Dense(6)(x)
    x = x + nn.MultiHeadDotProductAttention(2)(x)
    x = x + Dense(6)(nn.gelu(Dense(8)(x)))
    return Dense(2)(x)


@case(
    [VECTOR],
    {"Dense_0": (4, 0, 0), "Dense_1": (4, 0, 0), "Dense_2": 5, "Dense_3": OUT},
    scored=("Dense_1",),
    reasons={"Dense_0": "a gate"},
)
def gate(x):
    x = Dense(4)(x) * nn.sigmoid(Dense(4)(x))
    return Dense(2)(nn.relu(Dense(5)(x)))


@case([VECTOR, VECTOR], {"Dense_0": 6, "Dense_1": OUT})
def siamese(x, y):
    encode = nn.Dense(6)
    return Dense(2)(jnp.concatenate([nn.relu(encode(x)), nn.relu(encode(y))], axis=-1))


@case(
    [VECTOR],
    {"Dense_0": (5, 0, 0), "Dense_1": 4, "Dense_2": OUT},
    scored=("Dense_0",),
    reasons={"Dense_0": "reads something else"},
)
def applied_to_its_own_output(x):
    layer = nn.Dense(5)
    return Dense(2)(nn.relu(Dense(4)(nn.relu(layer(nn.relu(layer(x)))))))


@case([IMAGE], {"Conv_0": 4, "Conv_1": 4, "Conv_2": 3, "ConvTranspose_0": 3, "Dense_0": OUT})
def separable_and_transposed(x):
    x = nn.relu(Conv(4, (3, 3))(x))
    x = nn.relu(Conv(4, (3, 3), feature_group_count=4)(x))
    x = nn.relu(Conv(3, (1, 1))(x))
    return Dense(2)(flat(nn.relu(ConvTranspose(3, (2, 2), (2, 2))(x))))


@case([IMAGE], {"Conv_0": 3, "Conv_1": 2, "Conv_2": 8, "Dense_0": OUT})
def inception_and_pixel_shuffle(x):
    x = jnp.concatenate([nn.relu(Conv(3, (1, 1))(x)), nn.tanh(Conv(2, (3, 3))(x)), x], axis=-1)
    x = nn.relu(Conv(8, (3, 3))(x))
    b, h, w, _ = x.shape
    x = x.reshape(b, h, w, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, 2)
    return Dense(2)(flat(x[:, ::-1, 1:, ::-1]))


@case(
    [VECTOR],
    {"Dense_0": (6, 0, 0), "Dense_1": 4, "Dense_2": (6, 0, 0), "Dense_3": 3, "Dense_4": OUT},
    scored=("Dense_0",),
)
def residual_mlp(x):
    x = nn.relu(Dense(6)(x))
    x = x + Dense(6)(nn.relu(Dense(4)(x)))
    return Dense(2)(nn.relu(Dense(3)(x)))


@case(
    [IMAGE],
    {"Conv_0": (4, 0, 0), "Dense_0": 2, "Dense_1": (4, 0, 0), "Conv_1": 3, "Dense_2": OUT},
    scored=("Conv_0", "Dense_1"),
)
def squeeze_and_excite(x):
    x = nn.relu(Conv(4, (3, 3))(x))
    gates = nn.sigmoid(Dense(4)(nn.relu(Dense(2)(jnp.mean(x, axis=(1, 2))))))
    x = nn.relu(Conv(3, (3, 3))(x * gates[:, None, None]))
    return Dense(2)(flat(x))


@case([VECTOR], {"Dense_0": 4, "Dense_1": 6, "Dense_2": OUT})
def dropout_prelu_and_gathered(x):
    x = nn.Dropout(0.0, deterministic=True)(nn.PReLU()(Dense(4)(x)))
    x = nn.relu(Dense(6)(x))[:, jnp.array([3, 1, 0, 2, 5, 4])]
    return jnp.take_along_axis(Dense(2)(x), jnp.arange(12)[:, None] % 2, axis=1)


@case(
    [VECTOR],
    {"Dense_0": (5, 0, 0), "Dense_1": 4, "Dense_2": OUT},
    scored=("Dense_0",),
    reasons={"Dense_0": "read by"},
)
def weight_norm(x):
    x = nn.relu(nn.WeightNorm(nn.Dense(5))(x))
    return Dense(2)(nn.relu(Dense(4)(x)))


@case(
    [VECTOR],
    {"Dense_0": (5, 0, 0), "Dense_1": (4, 0, 0), "Dense_2": OUT},
    reasons={"Dense_0": "no nonlinearity"},
)
def linear_layer(x):
    return Dense(2)(Dense(4)(Dense(5)(x)))


@case([(4, 6, 3)], {"SimpleCell_0/i+SimpleCell_0/h": 5, "Dense_0": 4, "Dense_1": OUT})
def recurrent(x):
    return Dense(2)(nn.relu(Dense(4)(nn.RNN(nn.SimpleCell(5))(x)[:, -1])))


@case(
    [(4, 6, 3)],
    {f"GRUCell_0/{n}": (5, 0, 0) for n in ("ir+GRUCell_0/hr", "iz+GRUCell_0/hz", "in", "hn")}
    | {"Dense_0": 4, "Dense_1": OUT},
    scored=("GRUCell_0/hn",),
)
def gru(x):
    return Dense(2)(nn.relu(Dense(4)(nn.RNN(nn.GRUCell(5))(x)[:, -1])))


@case([(4, 70, 3)], {"Dense_0": 4, "Dense_1": OUT}, reasons={"SimpleCell_0/h/kernel": "scan"})
def long_scan(x):
    return Dense(2)(nn.relu(Dense(4)(nn.RNN(nn.SimpleCell(5))(x)[:, -1])))


@case(
    [VECTOR],
    {"Dense_0": (4, 0, 0), "Dense_1": 4, "Dense_2": OUT},
    reasons={"Dense_0": "read by 'cond'"},
)
def conditional(x):
    x = nn.relu(Dense(4)(x))
    x = jax.lax.cond(x.sum() > 0, lambda x: x, lambda x: 2 * x, x)
    return Dense(2)(nn.relu(Dense(4)(x)))


@case([(4, 6)], {"Dense_0": 4, "Dense_1": OUT}, reasons={"Embed_0/embedding": "gather"})
def embedding(x):
    x = nn.Embed(7, 5)(jnp.abs(10 * x).astype(int) % 7)
    return Dense(2)(nn.relu(Dense(4)(nn.relu(x).reshape(4, -1))))


@case(
    [(4, 6, 5)],
    {"Dense_0": (3, 0, 0), "Dense_1": 4, "Dense_2": 5, "Dense_3": OUT},
    reasons={"Dense_0": "read together"},
)
def mixer(x):
    tokens = nn.gelu(Dense(3)(x)).transpose(0, 2, 1)
    x = nn.gelu(Dense(4)(tokens)).transpose(0, 2, 1)
    return Dense(2)(nn.relu(Dense(5)(flat(x))))


def make(name, seed=0):
    """(network, parameters away from any kink, inputs, other inputs)."""
    network, shapes = CASES[name].network, CASES[name].inputs
    inputs = lambda k: tuple(
        jax.random.normal(jax.random.key(10 * k + i), s) for i, s in enumerate(shapes)
    )
    params = jax.jit(network.init)(jax.random.key(seed), *inputs(1))
    noise = np.random.default_rng(seed)
    params["params"] = jax.tree.map(
        lambda p: p + jnp.asarray(0.1 * noise.standard_normal(p.shape), p.dtype), params["params"]
    )
    return network, params, inputs(1), inputs(2)
