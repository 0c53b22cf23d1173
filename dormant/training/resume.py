"""From a checkpoint back to a run: the arrays, and the memories by stepping the environments."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from dormant.training.checkpoint import ActionLog, Facts
from dormant.training.collect import Collector, Episode
from dormant.training.members import TRAIN, Axis, Collection, environment_seeds
from dormant.training.population import Population
from dormant.types import DormantError

CHUNK = 256  # rows added to the memories at once


class Refilled(NamedTuple):
    """What stepping the environments once more gives back."""

    memories: Collection
    episodes: list[Episode]  # finished in the last iteration
    steps: int  # agent steps of each member that were repeated


def portable(
    population: Population, states: Collection, metrics: Collection, memories: Collection
) -> dict[str, Any]:
    """What a checkpoint holds: numpy arrays (P, ...), whichever way the axis is mapped.

    The rows that the memories store are left out.
    """
    axis = population.axis
    light = _without_rows(axis, population.memory.axes)(memories)
    trees = {"states": states, "metrics": metrics, "memories": light}
    return {
        name: jax.tree.map(lambda *leaves: np.stack(leaves), *axis.unstack(tree))
        for name, tree in trees.items()
    }


@functools.lru_cache(maxsize=4)
def _without_rows(axis: Axis, axes: Any) -> Callable:
    """The same program at every checkpoint."""
    return axis.map(lambda memory: memory.replace(storage=()), (axes,))


def unpacked(
    population: Population, tree: dict[str, Any], memories: Collection
) -> tuple[Collection, Collection, Collection]:
    """The collections (states, metrics, memories) of a checkpoint's tree.

    The full memories that ``refill`` gave back are in it; where their starting points are comes
    from the tree: learning and sampling depend on it.
    """
    axis, axes = population.axis, population.memory.axes
    count = len(population.members)
    states, metrics, light = (
        axis.stack(
            [
                jax.tree.map(lambda leaf, i=index: np.array(leaf[i]), tree[name])
                for index in range(count)
            ]
        )
        for name in ("states", "metrics", "memories")
    )
    join = axis.map(
        lambda full, rest: rest.replace(storage=full.storage, position=full.position),
        (axes, 0),
        axes,
        (0,),
    )
    return states, metrics, join(memories, light)


def refill(
    population: Population, collector: Collector, log: ActionLog, facts: Facts, training_steps: int
) -> Refilled:
    """Repeats the logged actions of every iteration that the memories reach back to.

    Those of the unfinished iteration are always among them.

    Args:
      collector: is left as it was when the checkpoint was taken.

    Raises:
      DormantError: the environments did not repeat the rewards of the first time.
    """
    first = max(facts.agent_steps - population.memory.capacity, 0) // training_steps
    if facts.agent_steps:  # at an iteration's end its episodes are still wanted
        first = min(first, (facts.agent_steps - 1) // training_steps)
    memories = population.init_memories(first * training_steps)
    episodes: list[Episode] = []
    chunk = max(1, min(CHUNK, population.memory.max_rows))
    total = facts.agent_steps - first * training_steps
    with tqdm(desc="refilling the replay memory", unit=" steps", total=total, leave=False) as bar:
        for iteration in range(first, -(-facts.agent_steps // training_steps)):
            start = iteration * training_steps
            stop = min(start + training_steps, facts.agent_steps)
            collector.begin(environment_seeds(population.members, TRAIN, iteration))
            episodes = []
            for step, actions in enumerate(log.read(start, stop), start):
                collector.send(actions)
                episodes += collector.receive(last=step + 1 == start + training_steps)
                if collector.waiting == chunk or step + 1 == stop:
                    bar.update(collector.waiting)
                    memories = population.add(memories, *collector.take_rows())
            if collector.digest != facts.digests[iteration]:
                raise DormantError(
                    f"the environments do not repeat the rewards of iteration {iteration}: another "
                    "version of ale-py, mujoco or their settings? The run cannot be resumed here"
                )
    return Refilled(memories, episodes, total)
