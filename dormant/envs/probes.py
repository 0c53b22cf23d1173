"""Probe environments: the right answer is known, so an agent that misses it has a fault.

Which probe it misses says where. Values are those of the best action, then of others.

| name                     | what it asks for                 | values                             |
|--------------------------|----------------------------------|------------------------------------|
| probe/constant           | learn a constant                 | 1                                  |
| probe/two_step           | credit to an action one step ago | gamma (action 1), 0; then 1 or 0   |
| probe/see                | act on what you see              | 1 (action = sign seen), 0          |
| probe/endless            | bootstrap beyond a truncation    | 1 / (1 - gamma); episodes of 5     |
| probe/see_image          | see, on stacked 84x84 images     | 1 + what follows; returns 4, 2     |
| probe/see_continuous     | see, with a continuous action    | 1 - (action - observation / 2)^2   |
| probe/endless_continuous | endless, with continuous actions | 1 / (1 - gamma), and SAC's entropy |
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dormant.envs.vector import SequentialVectorEnv
from dormant.types import EnvSpec, VectorEnv

IMAGE_STEPS, ENDLESS_STEPS = 4, 5  # agent steps of an episode

Outcome = tuple[float, bool, np.ndarray]  # reward, terminal, next observation


class Probe(NamedTuple):
    """An environment whose state is what is observed."""

    spec: EnvSpec
    first: Callable[[np.random.Generator], np.ndarray]  # the first observation of an episode
    # (observation, action, steps before, generator) -> outcome
    step: Callable[[np.ndarray, np.ndarray, int, np.random.Generator], Outcome]


def _spec(name: str, shape: tuple[int, ...], num_actions: int = 2, steps: int = 10) -> EnvSpec:
    """Images (two axes) are stacked as on Atari, vectors are used as they are."""
    image = len(shape) == 2
    return EnvSpec(
        name=f"probe/{name}",
        observation_shape=shape,
        observation_dtype=np.uint8 if image else np.float32,
        num_actions=num_actions,
        action_shape=() if num_actions else (1,),
        stack_size=4 if image else 1,
        frames_per_agent_step=1,
        max_episode_steps=steps,
    )


def _zero(rng: np.random.Generator) -> np.ndarray:
    del rng
    return np.zeros(1, np.float32)


def _sign(rng: np.random.Generator) -> np.ndarray:
    return np.array([rng.choice((-1.0, 1.0))], np.float32)


def _uniform(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-1.0, 1.0, 1).astype(np.float32)


def _image(rng: np.random.Generator) -> np.ndarray:
    """Noise, and a bright square in the left half (action 0) or the right half (action 1)."""
    image = rng.integers(0, 50, (84, 84), np.uint8)
    left = 16 + 42 * int(rng.integers(2))
    image[32:52, left : left + 20] = 255
    return image


def image_side(image: np.ndarray) -> int:
    """The right action on an image of probe/see_image."""
    return int(image[:, 42:].sum(dtype=np.int64) > image[:, :42].sum(dtype=np.int64))


def _two_step(
    observation: np.ndarray, action: np.ndarray, steps: int, rng: np.random.Generator
) -> Outcome:
    """One-hot states: 0 start, 1 bad, 2 good. The first action chooses, the second does nothing."""
    del rng
    if steps == 0:
        return 0.0, False, np.eye(3, dtype=np.float32)[1 + int(action)]
    return float(observation[2]), True, observation


def _see_image(
    observation: np.ndarray, action: np.ndarray, steps: int, rng: np.random.Generator
) -> Outcome:
    return float(action == image_side(observation)), steps == IMAGE_STEPS - 1, _image(rng)


def _endless(
    observation: np.ndarray, action: np.ndarray, steps: int, rng: np.random.Generator
) -> Outcome:
    return 1.0, False, observation


PROBES = {
    probe.spec.name: probe
    for probe in (
        Probe(_spec("constant", (1,)), _zero, lambda o, a, steps, rng: (1.0, True, o)),
        Probe(_spec("two_step", (3,)), lambda rng: np.eye(3, dtype=np.float32)[0], _two_step),
        Probe(
            _spec("see", (1,)), _sign, lambda o, a, steps, rng: (float((o[0] > 0) == a), True, o)
        ),
        Probe(_spec("endless", (1,), steps=ENDLESS_STEPS), _zero, _endless),
        Probe(_spec("see_image", (84, 84)), _image, _see_image),
        Probe(
            _spec("see_continuous", (1,), num_actions=0),
            _uniform,
            lambda o, a, steps, rng: (1.0 - float(a[0] - o[0] / 2) ** 2, True, o),
        ),
        Probe(
            _spec("endless_continuous", (1,), num_actions=0, steps=ENDLESS_STEPS), _zero, _endless
        ),
    )
}


class _ProbeEnv:
    """One probe (``vector.SingleEnv``)."""

    def __init__(self, probe: Probe):
        self._probe = probe
        self._rng = np.random.default_rng(0)
        self._observation = np.zeros(0)
        self._steps = 0  # of the running episode

    def reset(self, seed: int | None) -> np.ndarray:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._observation, self._steps = self._probe.first(self._rng), 0
        return self._observation

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        reward, terminal, self._observation = self._probe.step(
            self._observation, action, self._steps, self._rng
        )
        self._steps += 1
        return (
            self._observation,
            reward,
            terminal,
            self._steps >= self._probe.spec.max_episode_steps,
        )

    def close(self) -> None:
        pass


def make(name: str, num_envs: int) -> VectorEnv:
    """N environments of one probe."""
    return SequentialVectorEnv(
        PROBES[name].spec, [_ProbeEnv(PROBES[name]) for _ in range(num_envs)]
    )
