"""The most a machine can do: its measured bandwidth and matrix products, and a step's work."""

import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dormant.agents.interface import Agent
from dormant.nets import compute_dtype, with_products
from dormant.replay import Memory


class Work(NamedTuple):
    """What one gradient step of one member cannot do without."""

    flops: float  # two for each multiply-add of the products of matrices and the convolutions
    bytes: float  # the member's state read once, and what changes of it written once


class Roofline(NamedTuple):
    """Measured on the device in the same process."""

    bytes_per_second: float  # one array read and written
    flops_per_second: float  # one square product of matrices in the precision asked for

    def updates_per_second(self, work: Work) -> float:
        """The slower of arithmetic and memory, each at its measured best, perfectly overlapped."""
        return 1 / max(work.flops / self.flops_per_second, work.bytes / self.bytes_per_second)


def work(agent: Agent, memory: Memory) -> Work:
    """Counted in the program of ``agent.learn`` from the shapes of its operands.

    The agent's convolutions should be XLA's own: the other formulations multiply some zeros.
    """
    key = jax.random.key(0)
    settings = jax.tree.map(lambda _: jax.ShapeDtypeStruct((), jnp.float32), agent.default_settings)
    state = jax.eval_shape(agent.init, key, settings)
    batch = jax.eval_shape(memory.sample, jax.eval_shape(memory.init), key)
    program = jax.make_jaxpr(lambda *arguments: agent.learn(*arguments)[0])(
        state, batch, key, settings
    ).jaxpr
    leaves = len(jax.tree.leaves(state))
    before = program.invars[:leaves]
    changed = [new for old, new in zip(before, program.outvars) if new is not old]
    size = lambda variables: sum(math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in variables)
    return Work(count_flops(program), size(before) + size(changed))


def count_flops(program: Any) -> float:
    """Two for each multiply-add of a jaxpr's products and convolutions, inner programs included."""
    total = 0.0
    for eqn in program.eqns:
        shapes = [v.aval.shape for v in eqn.invars]
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            depth = math.prod(shapes[0][axis] for axis in contracted)
            total += 2.0 * math.prod(eqn.outvars[0].aval.shape) * depth
        elif eqn.primitive.name == "conv_general_dilated":
            total += _conv_flops(eqn, shapes)
        times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
        for inner in inner_programs(eqn):
            total += times * count_flops(inner)
    return total


def inner_programs(eqn: Any) -> list:
    """The jaxprs among an equation's parameters."""
    found = []
    for value in jax.tree.leaves(tuple(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
        value = getattr(value, "jaxpr", value)
        if hasattr(value, "eqns"):
            found.append(value)
    return found


def _conv_flops(eqn: Any, shapes: list) -> float:
    """Of a convolution, without the zeros between the elements of a dilated input."""
    numbers = eqn.params["dimension_numbers"]
    kernel = shapes[1]
    # per output element, input channels included
    taps = math.prod(kernel) / kernel[numbers.rhs_spec[0]]
    places = math.prod(eqn.outvars[0].aval.shape)
    # Of a dilated input (the gradient with respect to it) one element in so many is not a zero.
    return 2.0 * places * taps / math.prod(eqn.params["lhs_dilation"])


def measure_roofline(precision: str, size: int = 0) -> Roofline:
    """size: of the matrices; 0 = as large as the device needs to show its best."""
    cpu = jax.default_backend() == "cpu"
    size = size or (2048 if cpu else 8192)
    elements = size * size * (16 if cpu else 8)
    copy = jax.jit(lambda x: x + 1, donate_argnums=0)
    seconds = _fastest(copy, jnp.zeros(elements, jnp.float32))
    matrix = jnp.full((size, size), 1 / size, compute_dtype(precision))
    # the result is the next operand: all entries stay 1 / size
    product = jax.jit(with_products(lambda x: x @ x, precision))  # a donated x would be copied
    return Roofline(2 * 4 * elements / seconds, 2 * size**3 / _fastest(product, matrix))


def _fastest(function: Any, x: Any, rounds: int = 8) -> float:
    """Seconds of the fastest of some calls, x = function(x)."""
    best = np.inf
    for number in range(rounds):
        started = time.perf_counter()
        x = jax.block_until_ready(function(x))
        if number:
            best = min(best, time.perf_counter() - started)
    return float(best)
