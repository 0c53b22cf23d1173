"""How many members fit into a device's memory.

The bytes of one member are counted from shapes and from a compiled update.

Needs no accelerator. Temporary memory is that of this machine's compiler, for two members under
``vmap``; other devices' compilers may need more or less.
"""

import argparse
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dormant.agents.interface import Agent
from dormant.benchmarks.session import CASES, Setup, plan_of
from dormant.replay import Memory

USABLE = 0.9  # of the device's memory, the rest for the runtime, programs and fragmentation


class Bytes(NamedTuple):
    """Of one member."""

    state: int  # parameters, target, moments
    replay: int
    temporary: int  # while a gradient step runs: gradients, activations, the batch

    def members(self, gigabytes: float) -> int:
        """How many fit into so much memory (10**9 bytes)."""
        return int(USABLE * gigabytes * 1e9 // sum(self))


def size(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def count(agent: Agent, memory: Memory, members: int = 2) -> Bytes:
    """Nothing is allocated; the update of ``members`` is compiled."""
    settings = jax.tree.map(lambda _: jax.ShapeDtypeStruct((), jnp.float32), agent.default_settings)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(agent.init, key, settings)
    stored = jax.eval_shape(memory.init)

    def learn(state: Any, stored: Any, key: Any, settings: Any) -> Any:
        return agent.learn(state, memory.sample(stored, key), key, settings)[0]

    stack = lambda tree: jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype), tree
    )
    shared = stack(stored).replace(position=stored.position)  # the members' one cursor
    mapped = jax.jit(jax.vmap(learn, (0, memory.axes, 0, 0)), donate_argnums=0)
    compiled = mapped.lower(stack(state), shared, stack(key), stack(settings)).compile()
    analysis: Any = compiled.memory_analysis()
    return Bytes(size(state), size(stored), analysis.temp_size_in_bytes // members)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--capacities", nargs="+", type=int, default=[1_000_000, 100_000, 20_000], help="rows")
    add("--gigabytes", nargs="+", type=float, default=[24, 80, 141], help="of device memory")


def run(arguments: argparse.Namespace) -> int:
    """Prints the table."""
    headings = ["agent", "replay rows", "state, MB", "temporary, MB", "replay, MB"]
    headings += [f"members in {size:g} GB" for size in arguments.gigabytes]
    print(_line(headings))
    print("|---" * len(headings) + "|")
    for case in ("dqn_rr1", "drq_eps_rr1", "sac_rr1"):
        formulation = "auto" if CASES[case].record == "SAC" else "matmul"
        population = plan_of(Setup(case, capacity=1000, formulation=formulation)).population
        counted = count(population.agent, population.memory)
        row = counted.replay / 1000  # bytes
        for capacity in arguments.capacities:
            one = counted._replace(replay=round(row * capacity))
            megabytes = [f"{each / 1e6:,.1f}" for each in (one.state, one.temporary, one.replay)]
            fits = [f"{one.members(each):,}" for each in arguments.gigabytes]
            print(_line([case, f"{capacity:,}", *megabytes, *fits]), flush=True)
    return 0


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
