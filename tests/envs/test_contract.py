"""What every environment promises (``types.VectorEnv``), in one table.

An environment on the device is played through the same interface, so that it is held to the same.
"""

import zlib

import jax
import numpy as np
import pytest

from dormant.envs import AtariProtocol, env_spec, make_device_env, make_env
from dormant.envs.minatar import MinAtarProtocol
from dormant.envs.probes import PROBES
from dormant.types import EnvStep

SHORT = AtariProtocol(max_episode_steps=40)
ENVIRONMENTS = {  # name: (environment, protocol, agent steps in which episodes end)
    **{name: (name, SHORT, 12) for name in PROBES},
    "Pong": ("Pong", SHORT, 90),
    "Breakout, lives": ("Breakout", AtariProtocol(terminal_on_life_loss=True, noop_max=30), 400),
    "Hopper-v4": ("Hopper-v4", SHORT, 130),
    "Hopper-v5": ("Hopper-v5", SHORT, 130),
    "MinAtar": ("MinAtar/Breakout", MinAtarProtocol(max_episode_steps=20), 60),
}
SEEDS = np.array([8, 2**32 - 1])


class OnDevice:
    """N copies of an environment on the device behind ``types.VectorEnv``."""

    def __init__(self, name, num_envs, protocol):
        env = make_device_env(name, protocol)
        self.spec, self.num_envs = env.spec, num_envs
        each = (env.init, env.observe, env.step)
        self._init, self._observe, self._step = (jax.jit(jax.vmap(part)) for part in each)

    def reset(self, seeds):
        self._keys, self._count = jax.vmap(jax.random.key)(seeds.astype(np.uint32)), 0
        self._state = self._init(self._keys)
        return np.asarray(self._observe(self._state))

    def send(self, actions):
        self._count += 1
        keys = jax.vmap(jax.random.fold_in, (0, None))(self._keys, self._count)
        self._state, self._moved = self._step(self._state, actions, keys)

    def recv(self):
        moved = jax.device_get(self._moved)
        ends = (moved.terminal, moved.truncated)
        observation = np.asarray(self._observe(self._state))
        return EnvStep(observation, moved.reward, *ends, moved.next_observation)

    def close(self):
        pass


def play(env, seeds, steps, actions_seed=0):
    """[first observation, step, step, ...] under random actions over the whole range."""
    random, spec = np.random.default_rng(actions_seed), env.spec
    stream = [env.reset(seeds)]
    for _ in range(steps):
        if spec.num_actions:
            actions = random.integers(spec.num_actions, size=env.num_envs)
        else:
            actions = random.uniform(-1, 1, (env.num_envs, *spec.action_shape)).astype(np.float32)
        env.send(actions)
        stream.append(env.recv())
    return stream


@pytest.fixture(params=ENVIRONMENTS)
def entry(request):
    """(environment, spec, stream, agent steps)"""
    name, protocol, steps = ENVIRONMENTS[request.param]
    if isinstance(protocol, MinAtarProtocol):
        env, spec = OnDevice(name, 2, protocol), env_spec(name, minatar_protocol=protocol)
    else:
        env, spec = make_env(name, 2, protocol), env_spec(name, protocol)
    yield env, spec, play(env, SEEDS, steps), steps
    env.close()


def test_an_environment_keeps_its_contract(entry):
    """One playing for all: spec, exclusive ends, same-step resets, and the stream again."""
    env, spec, (first, *stream), steps = entry
    assert (env.spec, env.num_envs) == (spec, 2)
    check_arrays(spec, first, stream)
    check_ends(spec, first, stream)
    play(env, SEEDS + 1, steps // 3, actions_seed=5)  # another course in between
    again, *replayed = play(env, SEEDS, steps)
    np.testing.assert_array_equal(first, again)
    for step, twin in zip(stream, replayed, strict=True):
        for field, ours, theirs in zip(step._fields, step, twin, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=field)
    assert digest(stream) == digest(replayed)


def digest(stream):
    """As the training loop's: CRC-32 of the rewards."""
    found = 0
    for step in stream:
        found = zlib.crc32(step.reward.tobytes(), found)
    return found


def check_arrays(spec, first, stream):
    for observation in (first, *(step.observation for step in stream)):
        assert observation.shape == (2, *spec.observation_shape)
        assert observation.dtype == spec.observation_dtype
    for step in stream:
        assert step.next_observation.shape == step.observation.shape
        assert step.next_observation.dtype == step.observation.dtype
        assert step.reward.shape == (2,) and step.reward.dtype == np.float32
        for ends in (step.terminal, step.truncated, step.episode_end):
            assert ends.shape == (2,) and ends.dtype == bool
    assert all(np.isfinite(step.reward).all() for step in stream)


def check_ends(spec, first, stream):
    """Ends exclude each other; each is followed by another episode in the same step."""
    lengths = np.zeros(2, int)
    ends = 0
    for step in stream:
        lengths += 1
        assert not (step.terminal & step.truncated).any()
        assert (step.episode_end <= (step.terminal | step.truncated)).all()
        assert (step.truncated <= step.episode_end).all()
        assert (lengths <= spec.max_episode_steps).all()
        assert (step.truncated <= (lengths == spec.max_episode_steps)).all()
        going = ~step.episode_end
        np.testing.assert_array_equal(step.observation[going], step.next_observation[going])
        ends += step.episode_end.sum()
        lengths[step.episode_end] = 0
    assert ends >= 1
    starts = [step.observation[step.episode_end] for step in stream]
    starts = np.concatenate([first, *starts]).astype(float)
    # A first observation resembles the others more than those in the middle of an episode do:
    # the probes' may be any, the games and tasks begin near one point.
    if not spec.name.startswith("probe/"):
        spread = np.abs(starts - starts.mean(axis=0)).mean()
        others = np.stack([step.observation for step in stream]).astype(float)
        assert spread < 0.5 * np.abs(others - starts.mean(axis=0)).mean()
