"""A slow twin of Atari preprocessing: the emulator one frame at a time, as Dopamine does it."""

import ale_py
import numpy as np
from ale_py import roms


def area_weights(old: int, new: int) -> np.ndarray:
    """(new, old) shares of the old pixels in each new one: the overlap of their intervals, rows
    summing to 1.
    """
    edges = np.arange(new + 1) * old / new
    overlap = np.minimum(edges[1:, None], np.arange(1, old + 1)) - np.maximum(
        edges[:-1, None], np.arange(old)
    )
    return np.maximum(overlap, 0) / (old / new)


class NaiveAtari:
    """One game: frame skip, maximum of the last two frames, 84x84 by area, rewards summed, no time
    limit.
    """

    def __init__(self, rom: str, sticky_actions: float, seed: int, frame_skip: int = 4):
        self.ale = ale_py.ALEInterface()
        self.ale.setFloat("repeat_action_probability", sticky_actions)
        self.ale.setInt("random_seed", seed)
        self.ale.loadROM(str(roms.get_rom_path(rom)))
        self.actions = self.ale.getMinimalActionSet()
        self.frame_skip = frame_skip
        height, width = self.ale.getScreenDims()
        self.rows, self.columns = area_weights(height, 84), area_weights(width, 84)

    def reset(self) -> np.ndarray:
        self.ale.reset_game()
        return self._shrink(self.ale.getScreenGrayscale())

    def step(self, action: int) -> tuple[np.ndarray, float, bool]:
        """-> frame (84, 84) float64 (not rounded), reward, game over; no frame is defined once it
        is.
        """
        reward, screens = 0, []
        for _ in range(self.frame_skip):
            reward += self.ale.act(self.actions[action])
            if self.ale.game_over():
                return np.zeros((84, 84)), reward, True
            screens.append(self.ale.getScreenGrayscale())
        return self._shrink(np.maximum(screens[-2], screens[-1])), reward, False

    def _shrink(self, screen: np.ndarray) -> np.ndarray:
        return self.rows @ screen @ self.columns.T
