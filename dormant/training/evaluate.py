"""The evaluation phase, as Dopamine has it: whole episodes, nothing is learned."""

from collections.abc import Callable

import numpy as np

from dormant.training.members import Collection
from dormant.training.population import Population
from dormant.training.stack import Stacks
from dormant.types import VectorEnv


def evaluate(
    population: Population,
    states: Collection,
    env: VectorEnv,
    seeds: np.ndarray,
    enough: Callable[[int, int], bool],
    clock: int,
    tick: Callable[[int], None],
) -> list[list[float]]:
    """Raw returns of each member's evaluation episodes.

    Args:
      seeds: (P,) of the environments.
      enough: (agent steps, finished episodes) -> whether the member's evaluation is over; asked
        when an episode of the member ends.
      clock: agent steps of the training so far; decides the evaluation policy's randomness.
      tick: called with the number of agent steps made since the last call.
    """
    members = len(population.members)
    stacks = Stacks(population.axis, population.agent.spec, members)
    stacks.note(env.reset(seeds), np.ones(members, bool))
    returns: list[list[float]] = [[] for _ in range(members)]
    running, done, count = np.zeros(members), np.zeros(members, bool), 0
    while not done.all():
        actions = population.act(states, stacks.move().observations, clock + count, True)
        env.send(population.axis.to_host(actions))
        step = env.recv()
        count += 1
        running += step.reward
        over = step.episode_end
        for member in np.flatnonzero(over & ~done).tolist():
            returns[member].append(float(running[member]))
            done[member] = enough(count, len(returns[member]))
        running[over] = 0
        stacks.note(step.observation, step.terminal | step.truncated)
        tick(1)
    return returns
