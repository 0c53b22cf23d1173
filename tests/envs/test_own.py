"""Single environments from outside: what they are given, and what they may return."""

import numpy as np
import pytest

from dormant import register
from dormant.envs import env_spec
from dormant.envs.own import vector
from dormant.types import DormantError, EnvSpec

WALK = EnvSpec("Walk", (1,), np.float32, 3, (), 1, 1, 50, False)


class Walk:
    """MountainCar's arithmetic: action - 1 is the direction."""

    def __init__(self):
        self.place, self.actions = 0.0, []

    def reset(self, seed):
        return np.array([self.place], np.float32)

    def step(self, action):
        self.actions.append(action)
        self.place += action - 1
        return np.array([self.place], np.float32), 0.0, False, False

    def close(self):
        pass


class Greedy(Walk):
    """Changes the action that it is given."""

    def step(self, action):
        action *= 2.0
        return super().step(float(action[0]))


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.int64])
def test_a_discrete_action_is_an_int_whatever_type_it_was_stored_in(kind):
    """A log of actions has the smallest that holds them: with NumPy's, 0 - 1 would be 255."""
    walks = [Walk(), Walk()]
    env = vector(WALK, iter(walks).__next__, 2)
    env.reset(np.arange(2))
    for actions in ([0, 2], [0, 1]):
        env.send(np.array(actions, kind))
        step = env.recv()
    assert step.observation[:, 0].tolist() == [-2, 1]
    assert {type(action) for walk in walks for action in walk.actions} == {int}


def test_an_environment_cannot_change_the_action_that_is_stored():
    env = vector(WALK._replace(num_actions=0, action_shape=(1,)), Greedy, 1)
    env.reset(np.zeros(1, int))
    actions = np.full((1, 1), 0.5, np.float32)
    actions.setflags(write=False)  # as those of a log are
    env.send(actions)
    assert env.recv().observation == [[0.0]] and actions == [[0.5]]


@pytest.mark.parametrize(
    "dtype, value, fine", [(np.uint8, 0.9, False), (np.uint8, 3.0, True), (bool, 2, False)]
)
def test_values_that_the_registered_type_cannot_hold_are_refused(dtype, value, fine, monkeypatch):
    monkeypatch.setattr(register, "ENVIRONMENTS", dict(register.ENVIRONMENTS))

    class Bright(Walk):
        def step(self, action):
            return np.full(1, value), 0.0, False, False

    name = f"Bright {np.dtype(dtype)} {value}"
    register.environment(
        name, observation_shape=(1,), observation_dtype=dtype, num_actions=2, max_episode_steps=9
    )(lambda spec: Bright())
    if fine:
        assert env_spec(name).deterministic
        return
    with pytest.raises(DormantError, match=f"that {np.dtype(dtype)} cannot hold; it is registered"):
        env_spec(name)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"reset": lambda self, seed: (np.zeros(1), {})}, "reset should return the observation al"),
        ({"step": lambda self, action: (np.zeros(1), 0.0, False, False, {})}, "step should return"),
        ({"step": lambda self, action: self.nothing}, r"step raises .* \(test_own.py, line \d+\)"),
        ({"step": lambda self, action: (np.zeros(1), "1", False, False)}, "'1' as its reward"),
        ({"step": lambda self, action: (np.zeros(1), [0.0], False, False)}, "expected one number"),
        ({"close": property(lambda self: self.nothing)}, "close raises AttributeError"),
    ],
)
def test_what_is_no_environment_is_refused_in_one_line(wrong, message, monkeypatch):
    monkeypatch.setattr(register, "ENVIRONMENTS", dict(register.ENVIRONMENTS))
    register.environment("Odd", observation_shape=(1,), num_actions=2, max_episode_steps=9)(
        lambda spec: type("Odd", (Walk,), wrong)()
    )
    with pytest.raises(DormantError, match=message) as caught:
        env_spec("Odd")
    assert str(caught.value).startswith("Odd") and "\n" not in str(caught.value)


@pytest.mark.parametrize("on_device", [False, True])
def test_an_environment_that_cannot_be_made_says_where(on_device, monkeypatch):
    monkeypatch.setattr(register, "ENVIRONMENTS", dict(register.ENVIRONMENTS))
    register.environment(
        "Odd", observation_shape=(1,), num_actions=2, max_episode_steps=9, on_device=on_device
    )(lambda spec: spec.nothing)
    with pytest.raises(DormantError, match=r"'Odd': it raises .* \(test_own.py, line \d+\)"):
        env_spec("Odd")
