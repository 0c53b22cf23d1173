"""Environments by name. On the host, behind ``types.VectorEnv``:

"DemonAttack", "Pong", ... (the paper's spelling)      envs/atari.py
"HalfCheetah-v5", "Ant-v4", ...                        envs/mujoco.py
"probe/constant", "probe/two_step", "probe/see", ...   envs/probes.py
"CartPole-v1", any id that gymnasium knows             envs/gymnasium_ids.py
one's own, by register.environment                     envs/own.py (on the device as well)

On the device (``EnvSpec.on_device``), behind ``device.DeviceEnv``:

"MinAtar/Breakout", "MinAtar/SpaceInvaders", ...       envs/minatar.py
"""

import re

from dormant import register
from dormant.envs import atari, gymnasium_ids, minatar, mujoco, own, probes
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
    "probes",
]


def env_names() -> list[str]:
    """Every name that ``env_spec`` knows, gymnasium's own ids left out."""
    return [*atari.games(), *mujoco.TASKS, *minatar.CHANNELS, *register.ENVIRONMENTS]


def env_spec(
    name: str,
    protocol: AtariProtocol = AtariProtocol(),
    minatar_protocol: MinAtarProtocol = MinAtarProtocol(),
) -> EnvSpec:
    """The description of an environment, without starting it; a protocol is of its family only.

    Raises:
      DormantError: unknown name (with the nearest valid one), a bad protocol, or a registered name
        that was taken.
    """
    _check_taken(name)
    if name in mujoco.TASKS:
        return mujoco.spec(name)
    if name in minatar.CHANNELS:
        return minatar.spec(name, minatar_protocol)
    if name in atari.games():
        return atari.spec(name, protocol)
    if name in register.ENVIRONMENTS:
        return own.spec(name)
    _check_foreign(name)
    if gymnasium_ids.known(name):
        return gymnasium_ids.spec(name)
    raise DormantError(
        f"unknown environment {name!r}; {nearest(name, [*env_names(), *gymnasium_ids.names()])}"
    )


def _check_taken(name: str) -> None:
    """Raises a DormantError where an environment is registered under a name of the package's, which
    the register does not know.
    """
    if name not in register.ENVIRONMENTS:
        return
    if name in mujoco.TASKS or name in minatar.CHANNELS or name in atari.games():
        raise DormantError(f"there is an environment {name!r} already; choose another name")


def _check_foreign(name: str) -> None:
    """Raises a DormantError for an id of gymnasium's whose game or task has another name here."""
    game = re.fullmatch(r"(?:ALE/)?(\w+?)(?:NoFrameskip|Deterministic)?-v[045]", name)
    if game and game[1] in atari.games():
        raise DormantError(f"{name} is called {game[1]!r} here; AtariProtocol has its settings")
    if re.sub(r"-v\d+$", "-v5", name) in mujoco.TASKS:  # versions that run no more
        v4 = re.sub(r"-v\d+$", "-v4", name)  # nearest to the paper's version
        raise DormantError(f"unknown environment {name!r}; did you mean {v4!r}?")


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
    if name in register.ENVIRONMENTS:
        return own.make(name, num_envs)
    if name not in atari.games():
        return gymnasium_ids.make(name, num_envs)
    return atari.AtariEnv(spec, num_envs, protocol, num_workers)


def make_device_env(name: str, protocol: MinAtarProtocol = MinAtarProtocol()) -> DeviceEnv:
    """One environment on the device.

    Raises:
      DormantError: an unknown name, a registered one that was taken, a bad protocol, or gymnax is
        not installed.
    """
    _check_taken(name)
    others = [each for each, entry in register.ENVIRONMENTS.items() if entry.spec.on_device]
    check_name("environment on the device", name, [*minatar.CHANNELS, *others])
    return own.make_on_device(name) if name in others else minatar.make(name, protocol)
