"""Who is trained together: members, their randomness, and how their axis is carried out on a
device.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dormant.agents.interface import Settings
from dormant.training.interventions import Intervention
from dormant.types import DormantError

# What a member draws random numbers for. A key is the seed's, folded with the member's identity,
# one of these, and a clock: nothing random has to be stored, and no two members share anything.
INIT, ACT, LEARN, MEASURE, INTERVENE, ENVIRONMENT = range(6)
TRAIN, EVALUATE = range(2)  # phases of an iteration, each with environments of its own


class Member(NamedTuple):
    """One agent of a population. Everything but the seed may be equal to another member's."""

    seed: int
    method: str  # "none", "redo", "reset", "weight_decay"
    label: str  # for people: "DQN + ReDo"
    tau: float  # of ReDo; NaN for the others
    settings: Settings  # floats
    intervention: Intervention | None = None

    def facts(self) -> dict[str, Any]:
        """What run.json says of the member; it also decides the member's randomness, whoever its
        peers are.
        """
        return {
            "seed": self.seed,
            "method": self.method,
            "label": self.label,
            "tau": None if np.isnan(self.tau) else self.tau,
            **{name: float(value) for name, value in self.settings._asdict().items()},
            "period": self.intervention.when.period if self.intervention else None,
        }


def check_members(members: Sequence[Member]) -> None:
    """Raises a DormantError if there is none, or two are the same."""
    if not members:
        raise DormantError("a population needs at least one member; seeds and methods name none")
    seen: dict[str, int] = {}
    for index, member in enumerate(members):
        facts = json.dumps(member.facts(), sort_keys=True)
        if facts in seen:
            raise DormantError(f"members {seen[facts]} and {index} are the same: {facts}")
        seen[facts] = index


def identity(member: Member) -> int:
    """31 bits of the member's facts, the label left out."""
    facts = {name: value for name, value in member.facts().items() if name != "label"}
    return zlib.crc32(json.dumps(facts, sort_keys=True).encode()) >> 1


def member_key(member: Member) -> Any:
    """The member's root key."""
    return jax.random.fold_in(jax.random.key(member.seed), identity(member))


def environment_seeds(members: Sequence[Member], *clock: int) -> np.ndarray:
    """(P,) seeds below 2**31 for the members' environments at a clock reading (phase,
    iteration).
    """
    return np.array(
        [
            np.random.SeedSequence(
                [member.seed, identity(member), ENVIRONMENT, *clock]
            ).generate_state(1)[0]
            >> 1
            for member in members
        ],
        np.int64,
    )


class Axis(NamedTuple):
    """How the member axis is carried out.

    lift(function, in_axes, out_axes, donate) maps a function of one member over all of them: an
        argument whose entry of in_axes is None is shared by the members, any other is a collection.
        Entries are as for ``jax.vmap``.
    collect([tree of each member]) -> collection
    separate(collection) -> [tree of each member], on the host
    spread(tree of host arrays (P, ...)) -> collection
    take(collection, indices) -> collection of these members
    put(collection, indices, collection of these members) -> collection
    """

    name: str
    lift: Callable[..., Callable]
    collect: Callable[[list], Any]
    separate: Callable[[Any], list]
    spread: Callable[[Any], Any]
    take: Callable[[Any, Sequence[int]], Any]
    put: Callable[[Any, Sequence[int], Any], Any]


def loop_axis() -> Axis:
    """One jit call a member: the fastest on CPU. A collection is a tuple of the members' trees."""

    def lift(function: Callable, in_axes: tuple, out_axes: Any = 0, donate: tuple = ()) -> Callable:
        compiled = jax.jit(function, donate_argnums=donate)

        def run(*arguments: Any) -> Any:
            members = len(
                next(value for value, axis in zip(arguments, in_axes) if axis is not None)
            )
            results = []
            for index in range(members):
                one = [
                    value if axis is None else value[index]
                    for value, axis in zip(arguments, in_axes)
                ]
                results.append(compiled(*one))
            if type(out_axes) is tuple:  # several collections
                return tuple(zip(*results))
            return tuple(results)

        return run

    def put(collection: tuple, indices: Sequence[int], part: tuple) -> tuple:
        changed = dict(zip(indices, part))
        return tuple(changed.get(index, tree) for index, tree in enumerate(collection))

    def spread(tree: Any) -> tuple:
        members = len(jax.tree.leaves(tree)[0])
        return tuple(jax.tree.map(lambda leaf, i=index: leaf[i], tree) for index in range(members))

    def take(collection: tuple, indices: Sequence[int]) -> tuple:
        return tuple(collection[index] for index in indices)

    return Axis(
        "loop", lift, tuple, lambda collection: list(jax.device_get(collection)), spread, take, put
    )


def vmap_axis(members: int, devices: Sequence | None = None) -> Axis:
    """One program for all members: a collection is one tree whose arrays have a leading axis P.

    The axis is sharded over the most devices that divide the number of members.
    """
    devices = list(devices if devices is not None else jax.devices())
    used = max(count for count in range(1, len(devices) + 1) if members % count == 0)
    mesh = Mesh(np.array(devices[:used]), ("members",))
    split, whole = (
        NamedSharding(mesh, PartitionSpec("members")),
        NamedSharding(mesh, PartitionSpec()),
    )

    def lift(function: Callable, in_axes: tuple, out_axes: Any = 0, donate: tuple = ()) -> Callable:
        mapped = jax.jit(jax.vmap(function, in_axes, out_axes), donate_argnums=donate)
        # Arrays made from nothing (an empty memory) would otherwise lie whole on every device.
        spread = jax.tree.map(
            lambda axis: whole if axis is None else split, out_axes, is_leaf=lambda x: x is None
        )
        sharded = jax.jit(
            jax.vmap(function, in_axes, out_axes), donate_argnums=donate, out_shardings=spread
        )

        def run(*arguments: Any) -> Any:
            first = next(value for value, axis in zip(arguments, in_axes) if axis is not None)
            return (sharded if jax.tree.leaves(first)[0].shape[0] == members else mapped)(
                *arguments
            )

        return run

    def collect(trees: list) -> Any:
        return jax.device_put(jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees), split)

    def separate(collection: Any) -> list:
        host = jax.device_get(
            collection
        )  # indexing on the devices would make them wait for each other, leaf by leaf
        leaves = jax.tree.leaves(host)
        count = len(leaves[0]) if leaves else 0
        return [jax.tree.map(lambda leaf, i=index: leaf[i], host) for index in range(count)]

    def take(collection: Any, indices: Sequence[int]) -> Any:
        return jax.tree.map(lambda leaf: leaf[np.array(indices)], collection)

    def put(collection: Any, indices: Sequence[int], part: Any) -> Any:
        return jax.tree.map(lambda leaf, new: leaf.at[np.array(indices)].set(new), collection, part)

    def spread(tree: Any) -> Any:
        return jax.device_put(tree, split)

    jitted_put = jax.jit(put, static_argnums=1, donate_argnums=0)
    return Axis(
        "vmap", lift, collect, separate, spread, jax.jit(take, static_argnums=1), jitted_put
    )


def make_axis(name: str, members: int) -> Axis:
    """ "loop", "vmap", or "auto": loop on CPU, vmap elsewhere.

    Raises:
      DormantError: another name.
    """
    if name == "auto":
        name = "loop" if jax.default_backend() == "cpu" else "vmap"
    if name not in ("loop", "vmap"):
        raise DormantError(f"unknown population axis {name!r}; valid: auto, loop, vmap")
    return loop_axis() if name == "loop" else vmap_axis(members)
