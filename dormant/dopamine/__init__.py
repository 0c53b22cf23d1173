"""Dopamine's own agents beside ours (the extra ``dopamine``). The training path never imports this package."""
import sys
import types
from typing import Any, Callable

from dormant.types import DormantError


def import_dopamine() -> Any:
    """The package ``dopamine.jax.agents.dqn.dqn_agent`` of dopamine-rl 4.1.2, made importable.

    It imports ``baselines``, which it does not declare, and through tensorflow-probability a name that jax 0.7 removed.
    Both are put in place here, in this process only.

    Raises:
      DormantError: dopamine-rl is not installed.
    """
    import jax

    for name in ("baselines", "baselines.common", "baselines.common.atari_wrappers"):
        sys.modules.setdefault(name, types.ModuleType(name))
    if not hasattr(jax.interpreters.xla, "pytype_aval_mappings"):
        setattr(jax.interpreters.xla, "pytype_aval_mappings", jax.core.pytype_aval_mappings)
    try:
        from dopamine.jax.agents.dqn import dqn_agent
    except ImportError as error:
        raise DormantError(f"dopamine-rl cannot be imported ({error}): pip install 'dormant[dopamine]'") from error
    return dqn_agent


def make_dopamine_dqn(game: str, replay_ratio: float) -> Callable[[int], None]:
    """Dopamine's JaxDQNAgent on its own environment, with the paper's loss and optimiser: -> advance(agent steps).

    Learning begins after 500 agent steps; the replay memory holds 100,000.

    Raises:
      DormantError: dopamine-rl is not installed.
    """
    dqn_agent = import_dopamine()
    import gin
    from dopamine.discrete_domains import atari_lib
    from dopamine.jax import networks

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
