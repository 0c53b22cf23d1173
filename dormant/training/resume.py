"""From a run to a checkpoint's arrays and back; memories without rows are filled by stepping the
environments through the logged actions.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from dormant.training.checkpoint import ActionLog, Facts
from dormant.training.collect import Collector, Episode
from dormant.training.driver import State
from dormant.training.members import TRAIN, Axes, Axis, Collection, Tree, environment_seeds
from dormant.training.population import Population
from dormant.types import DormantError

CHUNK = 256  # rows added to the memories at once


class Refilled(NamedTuple):
    """What stepping the environments once more gives back."""

    memories: Collection
    episodes: list[Episode]  # finished in the last iteration
    steps: int  # agent steps of each member that were repeated


def portable(population: Population, state: State, rows: bool) -> dict[str, Tree]:
    """What a checkpoint holds: numpy arrays (P, ...), whichever way the axis is mapped.

    Args:
      rows: with the rows that the memories store, or without.
    """
    axis = population.axis
    memories = _own_memories(axis, population.memory.axes, rows)(state.memories)
    trees = {"states": state.states, "metrics": state.metrics, "memories": memories}
    if state.players is not None:
        trees["players"] = state.players
    return {name: axis.to_host(tree) for name, tree in trees.items()}


@functools.lru_cache(maxsize=4)
def _own_memories(axis: Axis, axes: Axes, rows: bool) -> Callable[[Collection], Collection]:
    """The same program at every checkpoint: what the members share becomes each one's own."""
    return axis.map(lambda memory: memory if rows else memory.replace(storage=()), (axes,))


def unpacked(
    population: Population, tree: dict[str, Tree], facts: Facts, memories: Collection
) -> State:
    """The state of a checkpoint's tree.

    Args:
      memories: whose rows are used where the tree has none; given away. Where the starting points
        are comes from the tree in any case: learning and sampling depend on it.
    """
    axis, axes = population.axis, population.memory.axes
    # Each member has arrays of its own: those of the tree must not be written to.
    parts = {
        name: axis.stack(
            [
                jax.tree.map(lambda leaf, i=index: np.array(leaf[i]), part)
                for index in range(len(population.members))
            ]
        )
        for name, part in tree.items()
    }

    def join(held: Collection, saved: Collection) -> Collection:
        """One member's memory; the cursor stays what the members share."""
        rows = held.storage if saved.storage == () else saved.storage
        return saved.replace(storage=rows, position=held.position)

    joined = axis.map(join, (axes, 0), axes, (0,))(memories, parts["memories"])
    return State(
        parts["states"],
        parts["metrics"],
        joined,
        facts.agent_steps,
        facts.gradient_steps,
        facts.evaluations,
        parts.get("players"),
    )


def refill(
    population: Population,
    collector: Collector,
    log: ActionLog,
    facts: Facts,
    training_steps: int,
    stored: Collection | None = None,
) -> Refilled:
    """Repeats the logged actions of every iteration that the memories reach back to.

    Those of the unfinished iteration are always among them: its environments are wanted, and the
    episodes that they have finished.

    Args:
      collector: is left as it was when the checkpoint was taken.
      stored: the memories with their rows, where those were kept; the unfinished iteration alone is
        then repeated.

    Raises:
      DormantError: the environments did not repeat the rewards of the first time.
    """
    first = facts.evaluations
    if stored is None:
        first = min(first, max(facts.agent_steps - population.memory.capacity, 0) // training_steps)
    memories = population.init_memories(first * training_steps) if stored is None else stored
    episodes: list[Episode] = []
    chunk = max(1, min(CHUNK, population.memory.max_rows))
    total = facts.agent_steps - first * training_steps
    what = "the replay memory" if stored is None else "the unfinished iteration"
    with tqdm(desc=f"repeating {what}", unit=" steps", total=total, leave=False) as bar:
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
                    rows = collector.take_rows()
                    memories = population.add(memories, *rows) if stored is None else memories
            repeats = population.agent.spec.deterministic
            if repeats and collector.digest != facts.digests[iteration]:
                raise DormantError(
                    f"the environments do not repeat iteration {iteration}: another version of "
                    "ale-py, mujoco or their settings? The run cannot be resumed here"
                )
    return Refilled(memories, episodes, total)
