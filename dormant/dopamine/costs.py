"""What recycling costs Dopamine's agent, as a process: ``python -m dormant.dopamine.costs GAME
ROUNDS`` prints one line of JSON.

In turn, on one machine: agent steps of Dopamine's JaxDQNAgent as it is and of the recycling version
at replay ratio 1, one recycling of ours (sample, scores, recycling, statistics), and one of the
authors' recycler as it is released, on its own network of the same size.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from dormant.dopamine import import_dopamine
from dormant.dopamine.peer import printing_to_stderr
from dormant.types import DormantError

STEPS = 25  # agent steps of a round: as many gradient steps
PERIOD = 1000  # gradient steps between two recyclings (Table 1 of the paper)
WARM_UP = 200  # agent steps before learning begins
SETTINGS = f"""
ReplayBuffer.batch_size = 32
ReplayBuffer.max_capacity = 10000
JaxDQNAgent.min_replay_history = {WARM_UP - 50}
JaxDQNAgent.update_period = 1
JaxDQNAgent.loss_type = 'huber'
Recycling.tau = 0.1
Recycling.period = 1000000
Recycling.log_period = 1000000
"""


def stepping(agent: Any, env: Any) -> Callable[[int], None]:
    """advance(agent steps) of a training agent on an environment of Dopamine's."""
    agent.eval_mode = False
    action = agent.begin_episode(env.reset())

    def advance(steps: int) -> None:
        nonlocal action
        for _ in range(steps):
            observation, reward, over, _ = env.step(action)
            if over:
                agent.end_episode(reward, over)
                action = agent.begin_episode(env.reset())
            else:
                action = agent.step(reward, observation)

    return advance


def our_recycling(agent: Any) -> Callable[[], Any]:
    """One recycling of the agent, as at its gradient steps that are due."""
    import jax

    def once() -> None:
        agent._recycle()
        jax.block_until_ready(agent.online_params)

    return once


def released_recycling(agent: Any) -> Callable[[], Any]:
    """One recycling by the authors' code on its own network. It needs frozen trees."""
    import flax
    import jax

    recyclers = import_dopamine("labs.redo.weight_recyclers")
    networks = import_dopamine("labs.redo.networks")
    network = networks.ScalableNatureDQNNetwork(agent.num_actions)
    params = flax.core.freeze(network.init(jax.random.PRNGKey(0), agent.state))
    opt_state = agent.optimizer.init(params)
    recycler = recyclers.NeuronRecycler(network.layer_names, dead_neurons_threshold=0.1)
    chosen = lambda module, _: module.name is not None and "act" in module.name

    def once() -> None:
        states = agent._replay.sample(agent.recycling.batch_size).state
        apply = lambda state: network.apply(
            params, state, capture_intermediates=chosen, mutable=["intermediates"]
        )
        found = jax.vmap(apply)(states)[1]["intermediates"]
        after = recycler.update_weights(found, params, jax.random.PRNGKey(1), opt_state)
        jax.block_until_ready(after)

    return once


def measure(game: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round: {"plain", "recycling": of an agent step; "ours", "released": of one
    recycling}.

    Raises:
      DormantError: dopamine-rl is not installed.
    """
    import gin

    from dormant.dopamine.agents import RecyclingDQNAgent

    gin.parse_config(SETTINGS)
    atari_lib = import_dopamine("discrete_domains.atari_lib")
    plain_class = import_dopamine("jax.agents.dqn.dqn_agent").JaxDQNAgent
    made, works = {}, {}
    for name, kind in (("plain", plain_class), ("recycling", RecyclingDQNAgent)):
        env = atari_lib.create_atari_environment(game)
        made[name] = kind(env.action_space.n, seed=0)
        works[name] = stepping(made[name], env)
        works[name](WARM_UP)
    recycled = {
        "ours": our_recycling(made["recycling"]),
        "released": released_recycling(made["recycling"]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in (*works, *recycled)}
    for number in range(rounds + 1):  # the first compiles
        for name in seconds:
            started = time.perf_counter()
            if name in works:
                works[name](STEPS)
            else:
                recycled[name]()
            taken = time.perf_counter() - started
            if number:
                seconds[name].append(taken / STEPS if name in works else taken)
    return seconds


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0, or 2 where Dopamine is missing."""
    game, rounds = arguments
    with printing_to_stderr() as out:
        try:
            print(json.dumps(measure(game, int(rounds))), file=out)
        except DormantError as error:
            print(f"dormant.dopamine.costs: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
