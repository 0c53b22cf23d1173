"""Who is trained together: members, their randomness, and how their axis is mapped on a device."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dormant.agents.interface import Settings
from dormant.results import MemberRecord
from dormant.training.interventions import Intervention
from dormant.types import DormantError, Key

# What a member draws random numbers for. A key is the seed's, folded with one of these and a clock:
# nothing random has to be stored. Members of one seed share it all, whatever their method: they
# begin with the same parameters in the same environments.
INIT, ACT, LEARN, MEASURE, INTERVENE, ENVIRONMENT = range(6)
TRAIN, EVALUATE = range(2)  # phases of an iteration, each with environments of its own
READ_TAU = ("redo", "prune")  # methods that read the setting tau


Collection = Any  # what all members have of one kind of tree, as an axis holds it


class Member(NamedTuple):
    """One agent of a population. Everything but the seed may be equal to another member's."""

    seed: int
    method: str  # of experiments.validation.METHODS
    label: str  # for people: "DQN + ReDo"
    settings: Settings  # floats
    intervention: Intervention | None = None

    def record(self, index: int) -> MemberRecord:
        """What run.json holds about the member."""
        settings, intervention = self.settings, self.intervention
        record = MemberRecord(
            member=index,
            seed=self.seed,
            method=self.method,
            label=self.label,
            learning_rate=float(settings.learning_rate),
            weight_decay=float(settings.weight_decay),
            tau=float(settings.tau) if self.method in READ_TAU else None,
            period=intervention.when.period if intervention else None,
        )
        if settings.l2_init:
            record["l2_init"] = float(settings.l2_init)
        return {**record, **intervention.facts} if intervention else record


def check_members(members: Sequence[Member]) -> None:
    """Raises a DormantError if there is none, or two are the same but for their labels."""
    if not members:
        raise DormantError("a population needs at least one member; seeds and methods name none")
    seen: dict[tuple, int] = {}
    for index, member in enumerate(members):
        settings = member.settings
        if member.method not in READ_TAU:
            settings = settings._replace(tau=0.0)
        content = (member.seed, member.method, settings, member.intervention)
        if content in seen:
            raise DormantError(
                f"members {seen[content]} and {index} are the same: "
                f"{member.label}, seed {member.seed}"
            )
        seen[content] = index


def distinct_interventions(members: Sequence[Member]) -> list[Intervention]:
    """Every intervention of the population once, in the members' order."""
    return list(dict.fromkeys(each.intervention for each in members if each.intervention))


def member_key(member: Member) -> Key:
    """The member's root key, decided by its seed alone."""
    return jax.random.key(member.seed)


def environment_seeds(members: Sequence[Member], phase: int, iteration: int) -> np.ndarray:
    """(P,) seeds below 2**31 for the members' environments; phase: TRAIN or EVALUATE."""
    entropies = ([member.seed, ENVIRONMENT, phase, iteration] for member in members)
    return np.array(
        [np.random.SeedSequence(each).generate_state(1)[0] >> 1 for each in entropies], np.int64
    )


class Axis(NamedTuple):
    """How the member axis is mapped. A collection is what all members have of one kind of tree.

    map(function, in_axes, out_axes, donate) maps a function of one member over all of them: an
        argument whose entry of in_axes is None is shared by the members, any other is a collection.
        Entries are as for ``jax.vmap``.
    stack([tree of each member]) -> collection
    unstack(collection) -> [tree of each member], on the host
    device_put(tree of host arrays (P, ...)) -> collection
    take(collection, indices) -> collection of these members
    put(collection, indices, collection of these members) -> collection
    """

    name: str
    map: Callable[..., Callable]
    stack: Callable[[list], Collection]
    unstack: Callable[[Collection], list]
    device_put: Callable[[Any], Collection]
    take: Callable[[Collection, Sequence[int]], Collection]
    put: Callable[[Collection, Sequence[int], Collection], Collection]


def loop_axis() -> Axis:
    """One jit call per member: the fastest on CPU. A collection is a tuple of members' trees."""

    def map_members(
        function: Callable, in_axes: tuple, out_axes: Any = 0, donate: tuple = ()
    ) -> Callable:
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

    def unstack(collection: tuple) -> list:
        return list(jax.device_get(collection))

    def put(collection: tuple, indices: Sequence[int], part: tuple) -> tuple:
        changed = dict(zip(indices, part))
        return tuple(changed.get(index, tree) for index, tree in enumerate(collection))

    def device_put(tree: Any) -> tuple:
        members = len(jax.tree.leaves(tree)[0])
        return tuple(jax.tree.map(lambda leaf, i=index: leaf[i], tree) for index in range(members))

    def take(collection: tuple, indices: Sequence[int]) -> tuple:
        return tuple(collection[index] for index in indices)

    return Axis("loop", map_members, tuple, unstack, device_put, take, put)


def vmap_axis(members: int, devices: Sequence | None = None) -> Axis:
    """One program for all members: a collection is one tree whose arrays have a leading axis P.

    The axis is sharded over the most devices that divide the number of members.
    """
    devices = list(devices if devices is not None else jax.devices())
    used = max(count for count in range(1, len(devices) + 1) if members % count == 0)
    mesh = Mesh(np.array(devices[:used]), ("members",))
    split = NamedSharding(mesh, PartitionSpec("members"))
    whole = NamedSharding(mesh, PartitionSpec())

    def map_members(
        function: Callable, in_axes: tuple, out_axes: Any = 0, donate: tuple = ()
    ) -> Callable:
        mapped = jax.jit(jax.vmap(function, in_axes, out_axes), donate_argnums=donate)
        # Arrays made from nothing (an empty memory) would otherwise lie whole on every device.
        shardings = jax.tree.map(
            lambda axis: whole if axis is None else split, out_axes, is_leaf=lambda x: x is None
        )
        sharded = jax.jit(
            jax.vmap(function, in_axes, out_axes), donate_argnums=donate, out_shardings=shardings
        )

        def run(*arguments: Any) -> Any:
            first = next(value for value, axis in zip(arguments, in_axes) if axis is not None)
            return (sharded if jax.tree.leaves(first)[0].shape[0] == members else mapped)(
                *arguments
            )

        return run

    def stack(trees: list) -> Any:
        return jax.device_put(jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees), split)

    def unstack(collection: Any) -> list:
        # Indexing on the devices would make them wait for each other, leaf by leaf.
        host = jax.device_get(collection)
        leaves = jax.tree.leaves(host)
        count = len(leaves[0]) if leaves else 0
        return [jax.tree.map(lambda leaf, i=index: leaf[i], host) for index in range(count)]

    def take(collection: Any, indices: Sequence[int]) -> Any:
        return jax.tree.map(lambda leaf: leaf[np.array(indices)], collection)

    def put(collection: Any, indices: Sequence[int], part: Any) -> Any:
        return jax.tree.map(lambda leaf, new: leaf.at[np.array(indices)].set(new), collection, part)

    def device_put(tree: Any) -> Any:
        return jax.device_put(tree, split)

    jitted_put = jax.jit(put, static_argnums=1, donate_argnums=0)
    jitted_take = jax.jit(take, static_argnums=1)
    return Axis("vmap", map_members, stack, unstack, device_put, jitted_take, jitted_put)


def make_axis(name: str, members: int) -> Axis:
    """The axis of that name; "auto" is "loop" on CPU and "vmap" elsewhere.

    Raises:
      DormantError: another name.
    """
    if name == "auto":
        name = "loop" if jax.default_backend() == "cpu" else "vmap"
    if name not in ("loop", "vmap"):
        raise DormantError(f"unknown population axis {name!r}; valid: auto, loop, vmap")
    return loop_axis() if name == "loop" else vmap_axis(members)
