"""Any id that gymnasium knows, behind our interface."""

import sys
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dormant.envs import AtariProtocol, env_spec, make_env
from dormant.envs.gymnasium_ids import GymnasiumEnv
from dormant.envs.images import make_camera
from dormant.experiments.run import plan
from dormant.play import record
from dormant.types import DormantError


class Screen(gymnasium.Env):
    """Images of bytes that show the step; actions that begin at 1."""

    action_space = spaces.Discrete(3, start=1)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}

    def __init__(
        self, shape=(36, 40, 3), observation_space=None, render_mode=None, action_space=None
    ):
        self.render_mode, self._action = render_mode, 0
        self.action_space = action_space or self.action_space
        self.observation_space = observation_space or spaces.Box(0, 255, shape, np.uint8)
        self._steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps = int(self.np_random.integers(5))
        return self._image(), {}

    def step(self, action):
        assert action in (1, 2, 3)
        self._steps, self._action = self._steps + 1, action
        return self._image(), float(action), False, False, {}

    def render(self):
        return np.full((8, 8, 3), self._action, np.uint8)

    def _image(self):
        return np.full(self.observation_space.shape, self._steps, np.uint8)


SCREENS = {
    "dormant-test/Screen-v0": {},
    "dormant-test/Grey-v0": {"shape": (36, 40)},
    "dormant-test/Stack-v0": {"shape": (4, 36, 40)},
    "dormant-test/Pair-v0": {"observation_space": spaces.Dict(a=spaces.Discrete(2))},
    "dormant-test/Number-v0": {"action_space": spaces.Box(-1, 1, ())},
    "dormant-test/Table-v0": {"action_space": spaces.Box(-1, 1, (2, 3))},
    "dormant-test/Whole-v0": {"action_space": spaces.Box(0, 4, (2,), np.int32)},
}


@pytest.fixture(autouse=True, scope="module")
def registered():
    for name, options in SCREENS.items():
        gymnasium.register(name, Screen, kwargs=options)
    yield
    for name in SCREENS:
        del gymnasium.registry[name]


def test_a_vector_and_discrete_actions_are_gymnasiums_own():
    """The same stream as gymnasium's, and the next episode in the same step."""
    ours, theirs = make_env("CartPole-v1", 2), gymnasium.make("CartPole-v1")
    np.testing.assert_array_equal(ours.reset(np.array([3, 4]))[0], theirs.reset(seed=3)[0])
    ended = 0
    for step in range(200):
        ours.send(np.full(2, step % 2))
        got = ours.recv()
        observation, reward, terminal, truncated, _ = theirs.step(step % 2)
        np.testing.assert_array_equal(got.next_observation[0], observation)
        assert (got.reward[0], got.terminal[0], got.truncated[0]) == (reward, terminal, truncated)
        if terminal or truncated:
            ended += 1
            observation, _ = theirs.reset()
        np.testing.assert_array_equal(got.observation[0], observation)
    assert ended > 2
    spec = env_spec("CartPole-v1")
    assert (spec.observation_shape, spec.num_actions, spec.max_episode_steps) == ((4,), 2, 500)
    assert spec.deterministic


def test_a_box_of_actions_is_scaled():
    spec, env = env_spec("Pendulum-v1"), make_env("Pendulum-v1", 1)
    assert (spec.action_shape, spec.num_actions) == ((1,), 0)
    theirs = gymnasium.make("Pendulum-v1")
    env.reset(np.array([1]))
    theirs.reset(seed=1)
    env.send(np.array([[0.5]], np.float32))
    observation = theirs.step(np.array([1.0], np.float32))[0]  # its torques go to 2
    np.testing.assert_allclose(env.recv().next_observation[0], observation, rtol=1e-6)


WIDEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bounds", [(-0.2, 0.9), (0.3, 1.7), (-0.1, 0.3), (-WIDEST, WIDEST)])
def test_the_ends_of_the_actions_are_those_of_the_box(bounds, dtype):
    box, taken = spaces.Box(*bounds, (2,), dtype), []
    env = GymnasiumEnv(
        SimpleNamespace(action_space=box, step=lambda action: (taken.append(action), 0, 0, 0, {}))
    )
    for end in (-1, 1):
        env.step(np.full(2, end, np.float32))
    assert all(box.contains(action) for action in taken)
    np.testing.assert_allclose(taken, [box.low, box.high], rtol=1e-6)


def test_images_and_actions_that_do_not_begin_at_zero():
    colour, grey = env_spec("dormant-test/Screen-v0"), env_spec("dormant-test/Grey-v0")
    assert (colour.observation_shape, colour.stack_size) == ((36, 40, 3), 1)
    assert (grey.observation_shape, grey.stack_size) == ((36, 40), 4)
    assert colour.observation_dtype == np.uint8 and colour.max_episode_steps == 27_000
    env = make_env("dormant-test/Screen-v0", 1)
    env.reset(np.array([0]))
    env.send(np.array([2]))
    assert env.recv().reward == [3.0]


@pytest.mark.parametrize("name, warned", [("Stack", True), ("Screen", False)])
def test_images_whose_channels_come_first_are_told(name, warned):
    bindings = [f"Run.game='dormant-test/{name}-v0'", "DQN.width=0.03125"]
    warnings = plan(["dqn.gin", "small_atari.gin"], bindings).facts["warnings"]
    assert any("if the channels come first" in line for line in warnings) == warned


def test_a_camera_plays_the_actions_of_training():
    camera = make_camera(env_spec("dormant-test/Screen-v0"))
    camera.reset(0, np.zeros(1))
    for action in (0, 2):
        camera.step(action, np.zeros(1))
        assert camera.image().shape == (8, 8, 3) and camera.image()[0, 0, 0] == action + 1
    camera.close()


def test_a_missing_package_of_images_is_one_line_and_leaves_no_folder(monkeypatch, tmp_path):
    """CartPole imports pygame when it draws, not when it is made."""
    monkeypatch.setitem(sys.modules, "pygame", None)
    agent = SimpleNamespace(
        agent=SimpleNamespace(spec=env_spec("CartPole-v1")), atari=AtariProtocol()
    )
    with pytest.raises(DormantError, match="images of CartPole-v1 need a package: pygame") as error:
        record(agent, str(tmp_path / "play" / "one.gif"), 1, 0, 10)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


WRONG = {
    "CartPol-v1": "did you mean 'CartPole-v1'",
    "ALE/Breakout-v5": "ALE/Breakout-v5 is called 'Breakout' here",
    "BreakoutNoFrameskip-v4": "is called 'Breakout' here",
    "HalfCheetah-v2": "did you mean 'HalfCheetah-v4'",
    "FrozenLake-v1": r"FrozenLake-v1 observes Discrete\(16\)",
    "dormant-test/Pair-v0": "it should be a box: a vector, or an image of bytes",
    **{
        f"dormant-test/{name}-v0": "they should be discrete, or bounded vectors of floats"
        for name in ("Number", "Table", "Whole")
    },
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_environment_of_ours_is_one_line(name):
    with pytest.raises(DormantError, match=WRONG[name]):
        env_spec(name)
