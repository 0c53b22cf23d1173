"""Atari 2600 as Dopamine presents it, on ``ale_py.vector_env.AtariVectorEnv`` (ale-py 0.12).

The same as Dopamine (dopamine/discrete_domains/atari_lib.py), as ``tests/dopamine`` and, against a
slow twin, ``tests/envs`` show: frame skip 4 with the rewards summed, the maximum of the last
two frames, ALE's grayscale palette, 84x84 by area interpolation, sticky actions drawn at every
emulator frame (not every agent step), minimal action set, no forced FIRE, episodes of at most
27,000 agent steps, rewards not clipped here, no-ops (where asked for) counted in emulator frames
and drawn from 0 to noop_max - 1, stacks that begin with zeros.

Differences that remain:
 1. The emulator is ale-py 0.12, not the version of the paper's runs: its games, their starting
    states and the handling of seeds have changed since.
 2. An episode's last observation: the emulator renders no further image once the game is over
    (as in Dopamine) or the time limit is reached (unlike Dopamine), so it shows the images
    before. No agent learns from it: a frame memory never stores it, and a stack never contains
    it.
 3. A life lost in the middle of the skipped frames: where life loss is terminal, Dopamine returns
    at once; here the skipped frames are played to the end. The game continues in both.
 4. After random no-ops Dopamine shows the image from before them once; here the first image is the
    current one.
 5. Dopamine starts a new game at the end of each iteration; here the training loop does, by
    ``reset``.
"""

import functools
from dataclasses import dataclass
from typing import Any

import ale_py
import numpy as np
from ale_py import roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from dormant.types import DormantError, EnvSpec, EnvStep

SCREEN = (84, 84)
STACK_SIZE = 4
TWO_PLAYER_ROMS = ("combat", "joust", "maze_craze", "warlords")  # cannot be played alone


@dataclass(frozen=True)
class AtariProtocol:
    """How the games are played. Defaults: the paper's for DQN; in the notes, those for DrQ(eps)."""

    # probability that an emulator frame repeats the previous action; DrQ(eps): 0
    sticky_actions: float = 0.25
    # a lost life is terminal to the learner, the game continues; DrQ(eps): True
    terminal_on_life_loss: bool = False
    # 0 to noop_max - 1 emulator frames without action, at random, start every game; DrQ(eps): 30
    noop_max: int = 0
    max_episode_steps: int = 27_000  # agent steps
    frame_skip: int = 4  # emulator frames per agent step

    def validate(self) -> None:
        """Raises: DormantError where a value makes no sense."""
        if not 0 <= self.sticky_actions < 1:
            raise DormantError(
                f"AtariProtocol.sticky_actions is {self.sticky_actions}; expected 0 <= p < 1"
            )
        for name, least in (("noop_max", 0), ("max_episode_steps", 1), ("frame_skip", 1)):
            if getattr(self, name) < least:
                raise DormantError(
                    f"AtariProtocol.{name} is {getattr(self, name)}; expected {least} or more"
                )


@functools.lru_cache(maxsize=1)
def games() -> dict[str, str]:
    """Names in the paper's spelling -> ROM identifiers, e.g. "DemonAttack" -> "demon_attack"."""
    return {
        rom.title().replace("_", ""): rom
        for rom in roms.get_all_rom_ids()
        if rom not in TWO_PLAYER_ROMS
    }


@functools.cache
def _num_actions(name: str) -> int:
    """Size of the minimal action set."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.loadROM(str(roms.get_rom_path(games()[name])))
    return len(ale.getMinimalActionSet())


def spec(name: str, protocol: AtariProtocol = AtariProtocol()) -> EnvSpec:
    """Description of a game; observations are single frames."""
    protocol.validate()
    return EnvSpec(
        name=name,
        observation_shape=SCREEN,
        observation_dtype=np.uint8,
        num_actions=_num_actions(name),
        action_shape=(),
        stack_size=STACK_SIZE,
        frames_per_agent_step=protocol.frame_skip,
        max_episode_steps=protocol.max_episode_steps,
    )


class AtariEnv:
    """N games of one name (``types.VectorEnv``), stepped by the emulator's own threads."""

    def __init__(self, spec: EnvSpec, num_envs: int, protocol: AtariProtocol, num_threads: int):
        self.spec = spec
        self.num_envs = num_envs
        self._protocol = protocol
        self._env = AtariVectorEnv(
            games()[spec.name],
            num_envs,
            num_threads=num_threads,
            max_num_frames_per_episode=protocol.max_episode_steps * protocol.frame_skip,
            repeat_action_probability=protocol.sticky_actions,
            autoreset_mode=AutoresetMode.SAME_STEP,
            stack_num=1,
            frameskip=protocol.frame_skip,
            maxpool=protocol.frame_skip > 1,
            noop_max=protocol.noop_max,
            reward_clipping=False,
            use_fire_reset=False,
        )
        self._lives = np.zeros(num_envs, np.int32)

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        observation, info = self._env.reset(seed=np.asarray(seeds, np.int64) & 0x7FFFFFFF)
        self._lives = info["lives"]
        return observation[:, 0]

    def send(self, actions: np.ndarray) -> None:
        self._env.send(np.asarray(actions, np.int32))

    def recv(self) -> EnvStep:
        stacked, reward, terminal, truncated, info = self._env.recv()
        observation = stacked[:, 0]
        game_over = terminal | truncated
        next_observation = observation
        if game_over.any():
            final = info["final_obs"][:, 0]
            next_observation = np.where(game_over[:, None, None], final, observation)
        if self._protocol.terminal_on_life_loss:
            # After a game's end these are the next game's lives.
            lost: Any = (info["lives"] < self._lives) & ~game_over
            terminal, self._lives = terminal | lost, info["lives"]
            truncated = truncated & ~terminal
        return EnvStep(
            observation, reward.astype(np.float32), terminal, truncated, next_observation, game_over
        )

    def close(self) -> None:
        del self._env  # the emulator's threads end with it
