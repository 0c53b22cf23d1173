"""Atari against the emulator itself."""

import numpy as np
import pytest

from dormant.envs import AtariProtocol, env_spec, make_env
from dormant.envs.atari import games
from dormant.types import DormantError
from tests.reference.atari import NaiveAtari
from tests.reference.stack import FrameStack

PAPER_GAMES = (
    "Asterix DemonAttack Seaquest WizardOfWor BeamRider RoadRunner Jamesbond Qbert Breakout Enduro "
    "SpaceInvaders Pong Zaxxon YarsRevenge MsPacman DoubleDunk IceHockey Alien Amidar Assault "
    "BankHeist BattleZone Boxing ChopperCommand "
    "CrazyClimber Freeway Frostbite Gopher Hero Kangaroo Krull KungFuMaster PrivateEye UpNDown"
).split()


def play(env, seeds, steps, actions_seed=0):
    """Every array of the stream that random actions make after a reset."""
    rng = np.random.default_rng(actions_seed)
    stream = [env.reset(np.asarray(seeds))]
    for _ in range(steps):
        env.send(rng.integers(env.spec.num_actions, size=env.num_envs))
        stream.append(env.recv())
    return stream


def assert_same(stream, other):
    np.testing.assert_array_equal(stream[0], other[0])
    for step, twin in zip(stream[1:], other[1:], strict=True):
        for field, ours, theirs in zip(step._fields, step, twin, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=field)


def test_every_game_of_the_paper_is_known_and_its_minimal_action_set_used():
    assert set(PAPER_GAMES) <= set(games())
    assert len(games()) > 100
    assert env_spec("DemonAttack").num_actions == 6
    assert env_spec("Pong").num_actions == 6
    assert env_spec("Breakout").num_actions == 4
    assert env_spec("Seaquest").num_actions == 18
    spec = env_spec("Pong")
    assert (spec.observation_shape, spec.observation_dtype, spec.stack_size) == (
        (84, 84),
        np.uint8,
        4,
    )
    assert (spec.frames_per_agent_step, spec.max_episode_steps) == (4, 27_000)


@pytest.mark.parametrize("sticky_actions", [0.0, 0.25])
def test_frames_and_rewards_equal_those_of_the_slow_twin(sticky_actions):
    env = make_env("SpaceInvaders", 1, AtariProtocol(sticky_actions=sticky_actions))
    twin = NaiveAtari("space_invaders", sticky_actions, seed=7)
    rng = np.random.default_rng(1)
    frame = env.reset(np.array([7]))
    # cv2 rounds the same area average of 8-bit pixels; half a grey level and a hair apart at most
    np.testing.assert_allclose(frame[0], twin.reset(), atol=0.501)
    rewards = 0.0
    for _ in range(220):
        action = rng.integers(env.spec.num_actions)
        env.send(np.array([action]))
        step = env.recv()
        expected, reward, game_over = twin.step(action)
        assert step.reward[0] == reward and step.terminal[0] == game_over
        rewards += reward
        if game_over:
            expected = twin.reset()
        np.testing.assert_allclose(step.observation[0], expected, atol=0.501)
    assert rewards > 0
    env.close()


def test_stream_depends_on_the_seeds_alone():
    env = make_env("Breakout", 3, num_workers=2)
    seeds = [3, 4, 2**32 - 1]
    first = play(env, seeds, 150)
    assert any(
        step.terminal.any() for step in first[1:]
    )  # so the automatic reset is among the things repeated
    play(env, [9, 9, 9], 37, actions_seed=5)
    assert_same(first, play(env, seeds, 150))
    other = make_env("Breakout", 3, num_workers=1)
    assert_same(first, play(other, seeds, 150))
    assert any((a.observation[0] != a.observation[1]).any() for a in first[1:])
    alone = make_env("Breakout", 1)
    alone.reset(np.array([4]))
    rng = np.random.default_rng(0)
    for step in first[1:]:
        alone.send(rng.integers(4, size=3)[1:2])
        np.testing.assert_array_equal(alone.recv().next_observation[0], step.next_observation[1])
    for one in (env, other, alone):
        one.close()


def test_without_sticky_actions_the_seed_changes_nothing_with_them_it_does():
    def differs(sticky_actions):
        env = make_env("Breakout", 2, AtariProtocol(sticky_actions=sticky_actions))
        env.reset(np.array([1, 2]))
        rng = np.random.default_rng(0)
        found = False
        for _ in range(60):
            env.send(np.repeat(rng.integers(4, size=1), 2))
            found |= bool((np.diff(env.recv().observation.astype(int), axis=0) != 0).any())
        env.close()
        return found

    assert not differs(0.0)
    assert differs(0.25)


def test_returned_arrays_are_not_overwritten_by_later_steps():
    env = make_env("Pong", 1)
    stream = play(env, [0], 5)
    kept = [step.observation.copy() for step in stream[1:]]
    for _ in range(20):
        env.send(np.array([2]))
        env.recv()
    for step, copy in zip(stream[1:], kept):
        np.testing.assert_array_equal(step.observation, copy)
    env.close()


def test_time_limit_truncates_and_shows_both_observations():
    env = make_env("Pong", 2, AtariProtocol(max_episode_steps=30))
    assert env.spec.max_episode_steps == 30
    first, *steps = play(env, [1, 2], 61)
    ends = [t for t, step in enumerate(steps) if step.truncated.any()]
    assert ends == [29, 59]
    end = steps[29]
    assert end.truncated.all() and not end.terminal.any() and end.episode_end.all()
    assert (
        end.next_observation != end.observation
    ).any()  # the ball is in play; in the new game it is not
    np.testing.assert_array_equal(
        end.observation, first
    )  # Pong starts with the same image every time
    assert (
        np.abs(end.next_observation.astype(int) - steps[28].next_observation).sum(axis=(1, 2))
        < 40_000
    ).all()
    for t in (0, 28, 30):
        np.testing.assert_array_equal(steps[t].observation, steps[t].next_observation)
    env.close()


def test_a_lost_life_is_terminal_only_where_asked_and_the_game_goes_on():
    def lives_lost(terminal_on_life_loss):
        env = make_env("Breakout", 1, AtariProtocol(terminal_on_life_loss=terminal_on_life_loss))
        stream = play(env, [1], 400)
        env.close()
        return stream

    off, on = lives_lost(False), lives_lost(True)
    games_over = [t for t, step in enumerate(off[1:]) if step.terminal[0]]
    terminals = [t for t, step in enumerate(on[1:]) if step.terminal[0]]
    assert games_over and len(terminals) >= 5 * len(games_over)  # five lives a game
    assert set(games_over) <= set(terminals)
    for plain, step in zip(off[1:], on[1:], strict=True):
        np.testing.assert_array_equal(plain.observation, step.observation)  # the same game
        np.testing.assert_array_equal(plain.episode_end, step.episode_end)
    lost = on[1:][terminals[0]]
    assert not lost.episode_end[0]
    np.testing.assert_array_equal(lost.observation, lost.next_observation)


def test_no_ops_vary_the_start_and_follow_the_seed():
    env = make_env("Seaquest", 5, AtariProtocol(sticky_actions=0.0, noop_max=30))
    starts = env.reset(np.arange(5))
    assert len({start.tobytes() for start in starts}) > 2
    np.testing.assert_array_equal(starts, env.reset(np.arange(5)))
    env.close()


def test_frame_skip_is_a_setting():
    env = make_env("Pong", 1, AtariProtocol(sticky_actions=0.0, frame_skip=2, max_episode_steps=10))
    twin = NaiveAtari("pong", 0.0, seed=0, frame_skip=2)
    env.reset(np.array([0]))
    twin.reset()
    for t in range(10):
        env.send(np.array([t % 6]))
        step = env.recv()
        frame, reward, _ = twin.step(t % 6)
        assert step.truncated[0] == (t == 9)
        if t < 9:
            np.testing.assert_allclose(step.observation[0], frame, atol=0.501)
    env.close()


def test_no_ops_vary_every_game_of_a_stream_not_only_the_first():
    """Truncated after 20 steps: the next game begins in the same step, after its own no-ops."""
    protocol = AtariProtocol(sticky_actions=0.0, noop_max=30, max_episode_steps=20)
    env = make_env("Seaquest", 1, protocol)
    _, *steps = play(env, [3], 200)
    starts = {step.observation.tobytes() for step in steps if step.episode_end[0]}
    env.close()
    assert len(starts) >= 5


@pytest.mark.parametrize(
    "change, expected",
    [
        (dict(sticky_actions=1.5), "sticky_actions is 1.5"),
        (dict(noop_max=-1), "noop_max is -1"),
        (dict(max_episode_steps=0), "max_episode_steps is 0"),
        (dict(frame_skip=0), "frame_skip is 0"),
    ],
)
def test_a_bad_protocol_is_named(change, expected):
    with pytest.raises(DormantError, match=expected):
        env_spec("Pong", AtariProtocol(**change))


def test_frame_stack_equals_a_naive_one():
    spec = env_spec("Pong")._replace(observation_shape=(3, 2))
    stack, rng = FrameStack(spec, 2), np.random.default_rng(0)
    history = [[], []]
    first = np.ones(2, bool)
    for t in range(40):
        observation = rng.integers(1, 255, (2, 3, 2), np.uint8)
        got = stack.reset(observation) if t == 0 else stack.push(observation, first)
        for n in range(2):
            history[n] = [observation[n]] if first[n] else [*history[n], observation[n]]
            frames = [np.zeros((3, 2), np.uint8)] * 4 + history[n]
            np.testing.assert_array_equal(got[n], np.stack(frames[-4:], axis=-1))
        assert got.dtype == np.uint8
        first = rng.random(2) < 0.3
    before = got.copy()
    stack.push(observation, first)
    np.testing.assert_array_equal(before, got)


def test_frame_stack_of_one_changes_nothing():
    observation = np.ones((2, 5), np.float32)
    stack = FrameStack(env_spec("probe/constant")._replace(observation_shape=(5,)), 2)
    assert stack.reset(observation) is observation
