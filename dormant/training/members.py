"""Who is trained together: members, their randomness, and how their axis is mapped on a device."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dormant import register
from dormant.agents.interface import Settings
from dormant.results import MemberRecord
from dormant.training.interventions import Intervention
from dormant.types import DormantError, Key, check_name

# What a member draws random numbers for. A key is the seed's, folded with one of these and a clock:
# nothing random has to be stored. Members of one seed share it all, whatever their method: they
# begin with the same parameters in the same environments.
INIT, ACT, LEARN, MEASURE, INTERVENE, ENVIRONMENT = range(6)
TRAIN, EVALUATE = range(2)  # phases of an iteration, each with environments of its own


Tree = Any  # a pytree of arrays
Collection = Any  # what all members have of one kind of tree, as an axis holds it
AgentState = Any  # an agent's own immutable record, of one member
MemoryState = Any  # a replay memory's own record, of one member
Axes = Any  # an entry of ``in_axes`` or ``out_axes`` of ``jax.vmap``: an int, None, a tree of them


class Member(NamedTuple):
    """One agent of a population. Everything but the seed may be equal to another member's."""

    seed: int
    method: str  # of register.METHODS
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
            tau=float(settings.tau) if reads_tau(self) else None,
            period=intervention.when.period if intervention else None,
        )
        if settings.l2_init:
            record["l2_init"] = float(settings.l2_init)
        return {**record, **intervention.facts} if intervention else record


def reads_tau(member: Member) -> bool:
    """Whether the member's method has the setting tau."""
    return "tau" in register.METHODS[member.method].traced


def check_members(members: Sequence[Member]) -> None:
    """Raises a DormantError if there is none, or two are the same but for their labels."""
    if not members:
        raise DormantError("a population needs at least one member; seeds and methods name none")
    seen: dict[tuple, int] = {}
    for index, member in enumerate(members):
        settings = member.settings
        if not reads_tau(member):
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

    map(function, in_axes, out_axes=0, donate=()) maps a function of one member over all of them: an
        argument whose entry of in_axes is None is shared by the members, any other is a collection.
        Entries are as for ``jax.vmap``.
    stack([tree of each member]) -> collection
    unstack(collection) -> [tree of each member], on the host
    to_host(collection) -> tree of numpy arrays (P, ...); waits for the device, and moves each array
        once for all members
    device_put(tree of host arrays (P, ...)) -> collection
    take(collection, indices in order) -> collection of these members
    put(collection, indices, collection of these members) -> collection
    """

    name: str
    map: Callable[..., Callable]
    stack: Callable[[list[Tree]], Collection]
    unstack: Callable[[Collection], list[Tree]]
    to_host: Callable[[Collection], Tree]
    device_put: Callable[[Tree], Collection]
    take: Callable[[Collection, Sequence[int]], Collection]
    put: Callable[[Collection, Sequence[int], Collection], Collection]


# One jit call per member
# ------------------------------------------------------------------------------------------------


def loop_axis() -> Axis:
    """One jit call per member: the fastest on CPU. A collection is a tuple of members' trees."""
    return Axis(
        name="loop",
        map=_map_in_turn,
        stack=tuple,
        unstack=lambda collection: list(jax.device_get(collection)),
        to_host=lambda collection: jax.tree.map(
            lambda *leaves: np.stack(leaves), *jax.device_get(collection)
        ),
        device_put=lambda tree: tuple(_member_of(tree, i) for i in range(_members_in(tree))),
        take=lambda collection, indices: tuple(collection[index] for index in indices),
        put=_put_in_turn,
    )


def _map_in_turn(
    function: Callable, in_axes: tuple[Axes, ...], out_axes: Axes = 0, donate: tuple[int, ...] = ()
) -> Callable:
    compiled = jax.jit(function, donate_argnums=donate)

    def run(*arguments: Collection) -> Collection:
        shared = [axis is None for axis in in_axes]
        results = [
            compiled(
                *(each if one else each[index] for each, one in zip(arguments, shared, strict=True))
            )
            for index in range(len(arguments[shared.index(False)]))
        ]
        # A tuple of axes: the function returns several trees, so several collections come back.
        return tuple(zip(*results)) if type(out_axes) is tuple else tuple(results)

    return run


def _put_in_turn(collection: Collection, indices: Sequence[int], part: Collection) -> Collection:
    changed = dict(zip(indices, part))
    return tuple(changed.get(index, tree) for index, tree in enumerate(collection))


def _member_of(tree: Tree, index: int) -> Tree:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _members_in(tree: Tree) -> int:
    """How many members a tree of arrays (P, ...) is of."""
    leaves = jax.tree.leaves(tree)
    return len(leaves[0]) if leaves else 0


# One program for every few members
# ------------------------------------------------------------------------------------------------

GROUP = 4  # members at most


def groups_axis(members: int) -> Axis:
    """One program for every few members: the fastest on CPU where the environments are in it.

    What a group trains then stays in the caches (results/benchmark/NOTES.md), and XLA runs as many
    groups at once as there are cores. A collection is a tuple of groups, trees whose arrays have a
    leading axis.
    """
    starts = _starts(members)

    def parts(indices: Sequence[int]) -> Iterator[tuple[int, tuple[int, ...], bool]]:
        """Each group, which of its members are meant, and whether these are all of them."""
        for group, (start, end) in enumerate(itertools.pairwise(starts)):
            own = tuple(index - start for index in indices if start <= index < end)
            yield group, own, own == tuple(range(end - start))

    def take(collection: Collection, indices: Sequence[int]) -> Collection:
        return tuple(
            collection[group] if whole else _take(collection[group], own)
            for group, own, whole in parts(indices)
            if own
        )

    def put(collection: Collection, indices: Sequence[int], part: Collection) -> Collection:
        changed, result = iter(part), list(collection)
        for group, own, whole in parts(indices):
            if own:
                new = next(changed)
                result[group] = new if whole else _put(collection[group], own, new)
        return tuple(result)

    return Axis(
        name="groups",
        map=lambda function, in_axes, out_axes=0, donate=(): _map_in_turn(
            jax.vmap(function, in_axes, out_axes), in_axes, out_axes, donate
        ),
        stack=lambda trees: tuple(
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees[start:end])
            for start, end in itertools.pairwise(_starts(len(trees)))
        ),
        unstack=lambda collection: [tree for group in collection for tree in _unstack(group)],
        to_host=lambda collection: jax.tree.map(
            lambda *leaves: np.concatenate(leaves), *jax.device_get(collection)
        ),
        device_put=lambda tree: tuple(map(jax.device_put, _cut(tree))),
        take=take,
        put=put,
    )


def _cut(tree: Tree) -> Iterator[Tree]:
    """A tree of arrays (P, ...), group by group."""
    for start, end in itertools.pairwise(_starts(_members_in(tree))):
        yield jax.tree.map(lambda leaf, own=slice(start, end): leaf[own], tree)


def _starts(members: int) -> list[int]:
    """Where each group starts, and where the last one ends; they are as even as can be."""
    number = -(-members // GROUP)
    return [members * group // number for group in range(number + 1)]


# One program for all members
# ------------------------------------------------------------------------------------------------


def vmap_axis(members: int, devices: Sequence[jax.Device] | None = None) -> Axis:
    """One program for all members: a collection is one tree whose arrays have a leading axis P.

    The axis is sharded over the most devices that divide the number of members.
    """
    devices = list(devices if devices is not None else jax.devices())
    used = max(count for count in range(1, len(devices) + 1) if members % count == 0)
    mesh = Mesh(np.array(devices[:used]), ("members",))
    split = NamedSharding(mesh, PartitionSpec("members"))
    return Axis(
        name="vmap",
        map=_Vmap(members, split, NamedSharding(mesh, PartitionSpec())),
        stack=lambda trees: jax.device_put(
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees), split
        ),
        unstack=_unstack,
        to_host=jax.device_get,
        device_put=partial(jax.device_put, device=split),
        take=_take,
        put=_put,
    )


@dataclass(frozen=True)
class _Vmap:
    """``Axis.map`` over members whose arrays are split over devices."""

    members: int
    split: NamedSharding  # along the leading axis
    whole: NamedSharding  # of what the members share

    def __call__(
        self,
        function: Callable,
        in_axes: tuple[Axes, ...],
        out_axes: Axes = 0,
        donate: tuple[int, ...] = (),
    ) -> Callable:
        # Arrays made from nothing (an empty memory) would otherwise lie whole on every device.
        shardings = jax.tree.map(
            lambda axis: self.whole if axis is None else self.split,
            out_axes,
            is_leaf=lambda axis: axis is None,
        )
        mapped = jax.vmap(function, in_axes, out_axes)
        of_some = jax.jit(mapped, donate_argnums=donate)
        of_all = jax.jit(mapped, donate_argnums=donate, out_shardings=shardings)

        def run(*arguments: Collection) -> Collection:
            first = next(each for each, axis in zip(arguments, in_axes) if axis is not None)
            return (of_all if _members_in(first) == self.members else of_some)(*arguments)

        return run


def _unstack(collection: Collection) -> list[Tree]:
    # Indexing on the devices would make them wait for each other, leaf by leaf.
    host = jax.device_get(collection)
    return [_member_of(host, index) for index in range(_members_in(host))]


@partial(jax.jit, static_argnums=1)
def _take(collection: Collection, indices: Sequence[int]) -> Collection:
    return jax.tree.map(lambda leaf: leaf[np.array(indices)], collection)


@partial(jax.jit, static_argnums=1, donate_argnums=0)
def _put(collection: Collection, indices: Sequence[int], part: Collection) -> Collection:
    return jax.tree.map(lambda leaf, new: leaf.at[np.array(indices)].set(new), collection, part)


def make_axis(name: str, members: int, whole: bool = False) -> Axis:
    """The axis of that name; "auto" is "vmap" on accelerators, "loop" or "groups" on CPU.

    Args:
      whole: the program holds all of the training, so that many steps are made in a call.

    Raises:
      DormantError: another name.
    """
    if name == "auto":
        cpu = "groups" if whole else "loop"
        name = cpu if jax.default_backend() == "cpu" else "vmap"
    check_name("axis", name, (*AXES, "auto"))
    return AXES[name](members)


AXES: dict[str, Callable[[int], Axis]] = {
    "loop": lambda members: loop_axis(),
    "groups": groups_axis,
    "vmap": vmap_axis,
}
