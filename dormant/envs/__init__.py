"""Environments by name. On the host, behind ``types.VectorEnv``:

"DemonAttack", "Pong", ... (the paper's spelling)      envs/atari.py
"HalfCheetah-v5", "Ant-v4", ...                        envs/mujoco.py
"probe/constant", "probe/two_step", "probe/see", ...   envs/probes.py

On the device (``EnvSpec.on_device``), behind ``device.DeviceEnv``:

"MinAtar/Breakout", "MinAtar/SpaceInvaders", ...       envs/minatar.py
"""

from dormant.envs import atari, minatar, mujoco, probes
from dormant.envs.atari import AtariProtocol
from dormant.envs.device import DeviceEnv
from dormant.envs.minatar import MinAtarProtocol
from dormant.types import DormantError, EnvSpec, VectorEnv, check_name, nearest

__all__ = [
    "AtariProtocol",
    "DeviceEnv",
    "MinAtarProtocol",
    "env_names",
    "env_spec",
    "make_device_env",
    "make_env",
]


def env_names() -> list[str]:
    """Every name that ``env_spec`` knows."""
    return [*atari.games(), *mujoco.TASKS, *probes.PROBES, *minatar.CHANNELS]


def env_spec(
    name: str,
    protocol: AtariProtocol = AtariProtocol(),
    minatar_protocol: MinAtarProtocol = MinAtarProtocol(),
) -> EnvSpec:
    """The description of an environment, without starting it; a protocol is of its family only.

    Raises:
      DormantError: unknown name (with the nearest valid one) or a bad protocol.
    """
    if name in mujoco.TASKS:
        return mujoco.spec(name)
    if name in probes.PROBES:
        return probes.PROBES[name].spec
    if name in minatar.CHANNELS:
        return minatar.spec(name, minatar_protocol)
    if name in atari.games():
        return atari.spec(name, protocol)
    raise DormantError(f"unknown environment {name!r}; {nearest(name, env_names())}")


def make_env(
    name: str, num_envs: int, protocol: AtariProtocol = AtariProtocol(), num_workers: int = 0
) -> VectorEnv:
    """N environments on the host; call ``reset(seeds)`` before anything else.

    Args:
      protocol: of Atari; other environments ignore it.
      num_workers: threads of Atari's emulator (0 = as many as cores or environments), or processes
        for MuJoCo's (0 = one for every 4 environments, half of the cores at most; 1 = none but this
        one). Results do not depend on it.

    Raises:
      DormantError: unknown name, a bad protocol, num_envs below 1, MuJoCo is not installed, or the
        environment runs on the device.
    """
    spec = env_spec(name, protocol)
    if spec.on_device:
        raise DormantError(f"{name} runs on the device; make_device_env makes it")
    if num_envs < 1:
        raise DormantError(f"num_envs is {num_envs}; expected 1 or more")
    if name in mujoco.TASKS:
        return mujoco.make(name, num_envs, num_workers)
    if name in probes.PROBES:
        return probes.make(name, num_envs)
    return atari.AtariEnv(spec, num_envs, protocol, num_workers)


def make_device_env(name: str, protocol: MinAtarProtocol = MinAtarProtocol()) -> DeviceEnv:
    """One environment on the device.

    Raises:
      DormantError: an unknown name, a bad protocol, or gymnax is not installed.
    """
    check_name("environment on the device", name, minatar.CHANNELS)
    return minatar.make(name, protocol)
