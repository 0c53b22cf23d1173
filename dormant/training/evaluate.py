"""The evaluation phase, as Dopamine has it: whole episodes, nothing is learned."""

from collections.abc import Callable

import numpy as np

from dormant.training.members import Collection
from dormant.training.population import Population, to_host
from dormant.training.stack import Stacks
from dormant.types import VectorEnv


def evaluate(
    population: Population,
    states: Collection,
    env: VectorEnv,
    seeds: np.ndarray,
    enough: Callable[[np.ndarray, np.ndarray], np.ndarray],
    clock: int,
    tick: Callable[[int], None],
) -> list[list[float]]:
    """Raw returns of each member's evaluation episodes.

    Args:
      seeds: (P,) of the environments.
      enough: (agent steps (P,), finished episodes (P,)) -> (P,) bool. Checked when an episode of
        the member ends; as in Dopamine the episode in which the number of steps is reached is
        played to its end and counted.
      clock: agent steps of the training so far; decides the evaluation policy's randomness.
      tick: called with the number of agent steps made so far.
    """
    members = len(population.members)
    stacks = Stacks(population.axis, population.agent.spec, members)
    stacks.note(env.reset(seeds), np.ones(members, bool))
    returns: list[list[float]] = [[] for _ in range(members)]
    running, steps, done = np.zeros(members), np.zeros(members, np.int64), np.zeros(members, bool)
    count = 0
    while not done.all():
        env.send(to_host(population.act(states, stacks.move().observations, clock + count, True)))
        step = env.recv()
        over = step.episode_end
        running += step.reward
        steps += 1
        for member in np.flatnonzero(over & ~done):
            returns[member].append(float(running[member]))
        running[over] = 0
        done |= over & enough(steps, np.array([len(each) for each in returns]))
        stacks.note(step.observation, step.terminal | step.truncated)
        count += 1
        tick(count)
    return returns
