"""Dopamine's own agents at work, as a process that is told when.

``python -m dormant.dopamine.peer AGENT GAME REPLAY_RATIO`` (dqn, sac or minatar) runs in a Python
in which dopamine-rl 4.1.2 is installed: that may be another than the one that asks. It prints
"ready", then for each number of agent steps that it reads the seconds they took.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from dormant.dopamine import import_dopamine
from dormant.types import DormantError, check_name

# Agent steps before the first measurement: learning begins within them, its programs are compiled.
WARM_UP = 600


@contextlib.contextmanager
def printing_to_stderr() -> Iterator[TextIO]:
    """What is printed goes to stderr; gives the stream that was stdout."""
    with contextlib.redirect_stdout(sys.stderr) as _:
        yield sys.__stdout__ or sys.stdout


def answer(work: Callable[[int], float]) -> None:
    """Prints "ready", then for each line with a number of agent steps the seconds work(steps).

    What the work prints goes to stderr.
    """
    with printing_to_stderr() as out:
        print("ready", file=out, flush=True)
        for line in sys.stdin:
            print(work(int(line)), file=out, flush=True)


def make_dopamine_dqn(game: str, replay_ratio: float) -> Callable[[int], None]:
    """Dopamine's JaxDQNAgent on its own environment, with the paper's loss and optimiser.

    Returns advance(agent steps). Learning begins after 500 agent steps; the replay memory holds
    100,000.

    Raises:
      DormantError: dopamine-rl is not installed.
    """
    dqn_agent = import_dopamine("jax.agents.dqn.dqn_agent")
    atari_lib = import_dopamine("discrete_domains.atari_lib")
    networks = import_dopamine("jax.networks")
    import gin

    gin.parse_config(
        "ReplayBuffer.batch_size = 32\nReplayBuffer.max_capacity = 100000\n"
        "create_optimizer.learning_rate = 6.25e-5\ncreate_optimizer.eps = 1.5e-4"
    )
    env = atari_lib.create_atari_environment(game, sticky_actions=True)
    agent = dqn_agent.JaxDQNAgent(
        num_actions=env.action_space.n,
        network=networks.NatureDQNNetwork,
        min_replay_history=500,
        update_period=round(1 / replay_ratio),
        loss_type="huber",
        seed=0,
    )
    return _stepping(agent, env.reset, lambda action: env.step(action)[:3])


def make_dopamine_sac(game: str, replay_ratio: float) -> Callable[[int], None]:
    """Dopamine's SACAgent on gymnasium's task, with the paper's hyperparameters.

    Returns advance(agent steps). Learning begins after 500 agent steps; the replay memory holds
    100,000.

    Raises:
      DormantError: dopamine-rl is not installed, or a replay ratio other than 1 (its agent learns
        once a step).
    """
    sac_agent = import_dopamine("jax.agents.sac.sac_agent")
    import gin
    import gymnasium
    import numpy as np

    if replay_ratio != 1:
        raise DormantError(f"Dopamine's SAC has replay ratio 1, not {replay_ratio:g}")
    gin.parse_config(
        "ReplayBuffer.batch_size = 256\nReplayBuffer.max_capacity = 100000\n"
        "create_optimizer.learning_rate = 3e-4\ncreate_optimizer.eps = 1e-7"
    )
    env = gymnasium.make(game)
    space: Any = env.action_space
    agent = sac_agent.SACAgent(
        action_shape=space.shape,
        action_limits=(space.low, space.high),
        observation_shape=env.observation_space.shape,
        reward_scale_factor=0.1,
        min_replay_history=500,
        seed=0,
    )
    env.reset(seed=0)

    def step(action: Any) -> tuple:
        observation, reward, terminal, truncated, _ = env.step(action)
        return observation.astype(np.float32), reward, terminal or truncated

    return _stepping(agent, lambda: env.reset()[0].astype(np.float32), step)


def _stepping(agent: Any, reset: Callable, step: Callable) -> Callable[[int], None]:
    """advance(agent steps) of a training agent. step(action) -> observation, reward, whether the
    episode is over.
    """
    agent.eval_mode = False
    action = agent.begin_episode(reset())

    def advance(steps: int) -> None:
        nonlocal action
        for _ in range(steps):
            observation, reward, over = step(action)
            if over:
                agent.end_episode(reward, over)
                action = agent.begin_episode(reset())
            else:
                action = agent.step(reward, observation)

    return advance


def make_dopamine_minatar(game: str, replay_ratio: float) -> Callable[[int], None]:
    """Dopamine's JaxDQNAgent on its own MinAtar environment (``labs/environments/minatar``).

    The network is Young and Tian's, as ``minatar.gin`` has it; Dopamine's own lacks the dense
    layer. game: as the ``minatar`` package spells it, "space_invaders".

    Returns advance(agent steps). Learning begins after 500 agent steps; the replay memory holds
    100,000.

    Raises:
      DormantError: dopamine-rl or the ``minatar`` package is not installed.
    """
    dqn_agent = import_dopamine("jax.agents.dqn.dqn_agent")
    library = import_dopamine("labs.environments.minatar.minatar_env")
    atari_lib = import_dopamine("discrete_domains.atari_lib")
    import flax.linen as nn
    import gin
    import jax
    import jax.numpy as jnp

    class Network(nn.Module):
        num_actions: int

        @nn.compact
        def __call__(self, x: jax.Array) -> Any:  # (10, 10, C, 1)
            xavier = nn.initializers.xavier_uniform()
            x = x[..., 0].astype(jnp.float32)
            x = nn.relu(nn.Conv(16, (3, 3), padding="VALID", kernel_init=xavier)(x))
            x = nn.relu(nn.Dense(128, kernel_init=xavier)(x.reshape(-1)))
            return atari_lib.DQNNetworkType(nn.Dense(self.num_actions, kernel_init=xavier)(x))

    gin.parse_config(
        "ReplayBuffer.batch_size = 32\nReplayBuffer.max_capacity = 100000\n"
        "create_optimizer.learning_rate = 2.5e-4\ncreate_optimizer.eps = 3.125e-4"
    )
    env = library.create_minatar_env(game, sticky_actions=True, action_repeat_probability=0.1)
    agent = dqn_agent.JaxDQNAgent(
        num_actions=env.action_space.n,
        observation_shape=tuple(env.observation_space),
        observation_dtype=jnp.uint8,
        stack_size=1,
        network=Network,
        min_replay_history=500,
        update_period=round(1 / replay_ratio),
        target_update_period=1000,
        loss_type="huber",
        seed=0,
    )
    return _stepping(agent, env.reset, lambda action: env.step(action)[:3])


AGENTS = {
    "dqn": make_dopamine_dqn,
    "sac": make_dopamine_sac,
    "minatar": make_dopamine_minatar,
}


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0, or 2 where Dopamine cannot do that."""
    agent, game, replay_ratio = arguments
    try:
        check_name("agent of Dopamine", agent, AGENTS)
        advance = AGENTS[agent](game, float(replay_ratio))
    except DormantError as error:
        print(f"dormant.dopamine.peer: {error}", file=sys.stderr)
        return 2

    def work(steps: int) -> float:
        started = time.perf_counter()
        advance(steps)
        return time.perf_counter() - started

    work(WARM_UP)
    answer(work)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
