"""What an environment looks like to people. Agents never see these images.

On the host a second copy of the environment is made with images and stepped with the same seed and
actions: environments repeat themselves (``types.VectorEnv``).
"""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from gymnasium.error import DependencyNotInstalled

from dormant.envs import atari, mujoco
from dormant.envs.atari import AtariProtocol
from dormant.envs.gymnasium_ids import GymnasiumEnv
from dormant.types import DormantError, EnvSpec

CELL = 32  # pixels of a MinAtar cell
MINATAR_FPS = 10.0


class Camera(NamedTuple):
    """One environment's images.

    reset(seed, observation): an episode begins with this single observation (*single,)
    step(action, observation): the agent step that led to it
    image() -> (height, width, 3) uint8 of now
    close()
    """

    reset: Callable[[int, np.ndarray], None]
    step: Callable[[Any, np.ndarray], None]
    image: Callable[[], np.ndarray]
    close: Callable[[], None]
    frames_per_second: float  # agent steps in a second, at the speed people know


def make_camera(spec: EnvSpec, protocol: AtariProtocol = AtariProtocol()) -> Camera:
    """Images of the environment that ``spec`` describes.

    Args:
      protocol: of Atari; other environments do not look at it.

    Raises:
      DormantError: the environment has no images.
    """
    if spec.name in atari.games():
        return _atari(spec, protocol)
    if spec.on_device and len(spec.observation_shape) == 3:
        return _of_observations(lambda seen: channels(seen), MINATAR_FPS)
    if len(spec.observation_shape) == 2 and spec.observation_dtype == np.uint8:
        return _of_observations(lambda seen: np.repeat(seen[..., None], 3, axis=-1), 15.0)
    return _gymnasium(spec)


def channels(observation: np.ndarray) -> np.ndarray:
    """A MinAtar observation (H, W, C) bool as an image; each channel has a colour of its own."""
    count = observation.shape[-1]
    palette = matplotlib.colormaps["turbo"](np.linspace(0.08, 0.95, count))[:, :3]
    colours = np.vstack([[0.07, 0.07, 0.09], palette])
    # The last channel that is set is drawn over those before it.
    top = np.where(observation, np.arange(1, count + 1), 0).max(axis=-1)
    image = (255 * colours[top]).astype(np.uint8)
    return np.kron(image, np.ones((CELL, CELL, 1), np.uint8))


def _of_observations(draw: Callable[[np.ndarray], np.ndarray], speed: float) -> Camera:
    seen: list[np.ndarray] = []

    def note(_: Any, observation: np.ndarray) -> None:
        seen[:] = [np.asarray(observation)]

    return Camera(note, note, lambda: draw(seen[0]), lambda: None, speed)


def _atari(spec: EnvSpec, protocol: AtariProtocol) -> Camera:
    """The whole screen, in colour."""
    twin = atari.AtariEnv(spec, 1, protocol, 1, screen=True)
    last: list[np.ndarray] = []

    def reset(seed: int, _: np.ndarray) -> None:
        last[:] = [twin.reset(np.array([seed]))[0]]

    def step(action: Any, _: np.ndarray) -> None:
        twin.send(np.array([action]))
        last[:] = [twin.recv().next_observation[0]]

    return Camera(reset, step, lambda: last[0], twin.close, 60.0 / spec.frames_per_agent_step)


def _gymnasium(spec: EnvSpec) -> Camera:
    """What gymnasium draws of the environment."""
    try:
        twin = _twin(spec.name)
        played = GymnasiumEnv(twin)  # actions mean what they do in training
    except Exception as error:  # gymnasium's many kinds: no such name, no such mode
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, (ImportError, DependencyNotInstalled)):
            raise DormantError(f"images of {spec.name} need a package: {line}") from error
        raise DormantError(f"{spec.name} has no images to show ({line})") from error

    def step(action: Any, _: np.ndarray) -> None:
        played.step(action)

    return Camera(
        lambda seed, _: twin.reset(seed=seed) and None,
        step,
        lambda: np.asarray(twin.render()),
        twin.close,
        float(twin.metadata.get("render_fps", 30)),
    )


def _twin(name: str) -> Any:
    """The environment with images, one of which has been drawn: whatever that needs is there."""
    import gymnasium

    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")  # draws without a screen
    with mujoco.quiet() if name in mujoco.TASKS else contextlib.nullcontext():
        twin = gymnasium.make(name, render_mode="rgb_array", disable_env_checker=True)
        try:
            twin.reset(seed=0)
            image: Any = twin.render()
            if np.ndim(image) != 3:
                raise ValueError("it renders no array of pixels")
        except Exception:
            twin.close()
            raise
    return twin
