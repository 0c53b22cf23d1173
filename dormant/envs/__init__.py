"""Atari, MuJoCo and probe environments behind ``types.VectorEnv``, by name.

"DemonAttack", "Pong", ... (the paper's spelling)      envs/atari.py
"HalfCheetah-v5", "Ant-v4", ...                        envs/mujoco.py
"probe/constant", "probe/two_step", "probe/see", ...   envs/probes.py
"""

from dormant.envs import atari, mujoco, probes
from dormant.envs.atari import AtariProtocol
from dormant.types import DormantError, EnvSpec, VectorEnv, nearest

__all__ = ["AtariProtocol", "env_names", "env_spec", "make_env"]


def env_names() -> list[str]:
    """Every name that ``make_env`` knows."""
    return [*atari.games(), *mujoco.TASKS, *probes.PROBES]


def env_spec(name: str, protocol: AtariProtocol = AtariProtocol()) -> EnvSpec:
    """The description of an environment, without starting it.

    Raises:
      DormantError: unknown name (with the nearest valid one) or a bad protocol.
    """
    if name in mujoco.TASKS:
        return mujoco.spec(name)
    if name in probes.PROBES:
        return probes.PROBES[name].spec
    if name in atari.games():
        return atari.spec(name, protocol)
    raise DormantError(f"unknown environment {name!r}; {nearest(name, env_names())}")


def make_env(
    name: str, num_envs: int, protocol: AtariProtocol = AtariProtocol(), num_threads: int = 0
) -> VectorEnv:
    """N environments of one name; call ``reset(seeds)`` before anything else.

    Args:
      protocol: of Atari; other environments do not look at it.
      num_threads: of Atari's emulator, 0 = as many as cores or environments. Results do not depend
        on it.

    Raises:
      DormantError: unknown name, a bad protocol, num_envs below 1, or MuJoCo is not installed.
    """
    spec = env_spec(name, protocol)
    if num_envs < 1:
        raise DormantError(f"num_envs is {num_envs}; expected 1 or more")
    if name in mujoco.TASKS:
        return mujoco.make(name, num_envs)
    if name in probes.PROBES:
        return probes.make(name, num_envs)
    return atari.AtariEnv(spec, num_envs, protocol, num_threads)
