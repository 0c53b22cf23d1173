"""Dopamine's own agents beside ours (the extra ``dopamine``). The training path never imports this
package.
"""

import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

from dormant.types import DormantError


def import_dopamine(module: str) -> Any:
    """A module of dopamine-rl 4.1.2, made importable.

    Its agents import ``baselines``, which it does not declare, and through tensorflow-probability a
    name that jax 0.7 removed. Both are put in place here, in this process only.

    Raises:
      DormantError: dopamine-rl is not installed.
    """
    import jax

    for name in ("baselines", "baselines.common", "baselines.common.atari_wrappers"):
        sys.modules.setdefault(name, types.ModuleType(name))
    if not hasattr(jax.interpreters.xla, "pytype_aval_mappings"):
        setattr(jax.interpreters.xla, "pytype_aval_mappings", jax.core.pytype_aval_mappings)  # noqa: B010 (unknown to mypy)
    try:
        return importlib.import_module(f"dopamine.{module}")
    except ImportError as error:
        raise DormantError(
            f"dopamine-rl cannot be imported ({error}): pip install 'dormant[dopamine]'"
        ) from error


def make_dopamine_dqn(game: str, replay_ratio: float) -> Callable[[int], None]:
    """Dopamine's JaxDQNAgent on its own environment, with the paper's loss and optimiser: ->
    advance(agent steps).

    Learning begins after 500 agent steps; the replay memory holds 100,000.

    Raises:
      DormantError: dopamine-rl is not installed.
    """
    dqn_agent = import_dopamine("jax.agents.dqn.dqn_agent")
    atari_lib, networks = (
        import_dopamine("discrete_domains.atari_lib"),
        import_dopamine("jax.networks"),
    )
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
    """Dopamine's SACAgent on gymnasium's task, with the paper's hyperparameters: -> advance(agent
    steps).

    Learning begins after 500 agent steps; the replay memory holds 100,000.

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
