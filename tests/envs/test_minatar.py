"""MinAtar on the device, compared with the ``minatar`` package."""

import sys

import jax
import jax.numpy as jnp
import minatar
import numpy as np
import pytest

from dormant.envs import MinAtarProtocol, env_names, env_spec, make_device_env, make_env
from dormant.envs.minatar import CHANNELS, FREEWAY_STEPS, game_rules
from dormant.types import DormantError
from tests.reference import minatar as package
from tests.training.run_minatar import train

GAMES = list(CHANNELS)


@pytest.mark.parametrize("game", GAMES)
def test_observations_rewards_and_ends_are_the_packages(game):
    """The same state and action lead to the same step wherever no random number is drawn."""
    rules = game_rules(game)
    like = jax.device_get(rules.reset(jax.random.key(0)))
    steps = package.play(game, like, 2500, seed=1)
    keys = jax.random.split(jax.random.key(0), len(steps.actions))
    states, rewards, terminals = jax.jit(jax.vmap(rules.step))(steps.states, steps.actions, keys)
    observations = np.asarray(jax.jit(jax.vmap(rules.observe))(states))
    before = np.asarray(jax.jit(jax.vmap(rules.observe))(steps.states))
    rewards, terminals = np.asarray(rewards), np.asarray(terminals)
    same = ~steps.random
    assert same.sum() > 1000 and (rewards[same] > 0).sum() + (game == "MinAtar/Freeway") > 0
    if game == "MinAtar/Seaquest":  # difference 3: shared cells
        wrong = (rewards != steps.rewards) | (terminals != steps.terminals)
        wrong |= (observations != steps.observations).any((1, 2, 3)) & ~steps.terminals
        assert (wrong & same).mean() < 0.002
        same &= ~wrong
    np.testing.assert_array_equal(rewards[same], steps.rewards[same])
    np.testing.assert_array_equal(terminals[same], steps.terminals[same])
    alive = same & ~steps.terminals
    np.testing.assert_array_equal(observations[alive], steps.observations[alive])
    continued = np.flatnonzero(~steps.terminals[:-1])[:200]
    if game != "MinAtar/Freeway":  # its episodes are cut here
        np.testing.assert_array_equal(before[continued + 1], steps.observations[continued])


@pytest.mark.parametrize("game", GAMES)
def test_the_first_observation_and_the_specification_are_the_packages(game):
    env, described = minatar.Environment(package.NAMES[game]), env_spec(game)
    assert described.observation_shape == tuple(env.state_shape()) and described.on_device
    assert described.num_actions == env.num_actions() == 6
    made = make_device_env(game)
    starts = jax.vmap(made.init)(jax.random.split(jax.random.key(0), 64))
    found = np.asarray(jax.vmap(made.observe)(starts))
    assert found.dtype == np.bool_
    theirs = []
    for seed in range(64):
        env.seed(seed)
        env.reset()
        theirs.append(env.state())
    if game == "MinAtar/Freeway":  # the cars' speeds are random: 10 for each of 8 cars
        found, theirs = found[..., :2], np.array(theirs)[..., :2]
    assert {each.tobytes() for each in found} == {each.tobytes() for each in theirs}


def random_episodes(env, steps, seed):
    def body(state, number):
        key, key_action = jax.random.split(jax.random.fold_in(jax.random.key(seed), number))
        state, step = env.step(state, jax.random.randint(key_action, (), 0, 6), key)
        return state, (step.terminal, step.episode_return, step.episode_length)

    start = env.init(jax.random.key(seed))
    over, returns, lengths = jax.jit(lambda: jax.lax.scan(body, start, jnp.arange(steps))[1])()
    return np.asarray(returns)[np.asarray(over)], np.asarray(lengths)[np.asarray(over)]


@pytest.mark.parametrize(
    "game",
    # Seaquest is compiled longest, and no budget plays it.
    [pytest.param(game, marks=[pytest.mark.slow] * (game == "MinAtar/Seaquest")) for game in GAMES],
)
def test_random_play_has_the_packages_returns(game):
    """10,000 steps each: the means differ by less than 3.3 standard errors (one in a thousand)."""
    steps = 10_004 if game == "MinAtar/Freeway" else 10_000  # four whole episodes
    ours = random_episodes(make_device_env(game), steps, seed=3)
    theirs = package.random_episodes(game, steps, seed=3)
    for one, other in zip(ours, theirs):
        assert len(one) > 3 and len(other) > 3
        error = np.sqrt(one.var() / len(one) + other.var() / len(other))
        assert abs(one.mean() - other.mean()) <= 3.3 * error + 1e-9


def test_freeway_ends_terminally_when_the_packages_timer_runs_out():
    env = minatar.Environment("freeway")
    lengths = [env.act(0)[1] for _ in range(FREEWAY_STEPS)]
    assert lengths.index(True) == FREEWAY_STEPS - 1
    rules = game_rules("MinAtar/Freeway")
    state = rules.reset(jax.random.key(0))
    for time, expected in ((FREEWAY_STEPS - 2, False), (FREEWAY_STEPS - 1, True)):
        after = rules.step(state.replace(time=jnp.int32(time)), jnp.int32(0), jax.random.key(1))
        assert bool(after[2]) is expected


def spawned(entities, keys):
    rules = game_rules("MinAtar/Asterix")
    state = rules.reset(jax.random.key(0)).replace(
        entities=jnp.asarray(entities), spawn_timer=jnp.int32(0), move_timer=jnp.int32(3)
    )
    return np.asarray(
        jax.jit(jax.vmap(lambda key: rules.step(state, jnp.int32(0), key)[0].entities))(keys)
    )


def test_asterix_spawns_in_every_free_slot_and_never_deletes():
    keys = jax.random.split(jax.random.key(2), 900)
    taken = np.stack([[3, slot + 1, 1, 0, 1] for slot in range(8)])
    taken[:, 0] = 1
    np.testing.assert_array_equal(spawned(taken, keys[:50]), np.broadcast_to(taken, (50, 8, 5)))
    free = taken.copy()
    free[[2, 5, 6]] = 0
    found = spawned(free, keys)
    slots = found[:, :, 4].astype(bool) & (free[:, 4] == 0)
    assert (slots.sum(1) == 1).all()
    entities = found[slots]
    counts = np.bincount(slots.argmax(1), minlength=8)
    deviation = np.sqrt(900 * 2 / 9)
    assert np.abs(counts[[2, 5, 6]] - 300).max() < 4 * deviation
    assert (entities[:, 1] == slots.argmax(1) + 1).all()
    assert (entities[:, 0] == np.where(entities[:, 2] == 1, 0, 9)).all()
    assert abs(entities[:, 3].mean() - 1 / 3) < 4 * np.sqrt(2 / 9 / 900)
    assert abs(entities[:, 2].mean() - 1 / 2) < 4 * np.sqrt(1 / 4 / 900)


def test_difficulty_stays_when_it_is_not_to_ramp():
    for ramping, expected in ((True, True), (False, False)):
        rules = game_rules("MinAtar/Asterix", ramping)
        state = rules.reset(jax.random.key(0))
        late = state.replace(ramp_timer=jnp.int32(-1))
        after = rules.step(late, jnp.int32(0), jax.random.key(0))[0]
        assert (int(after.spawn_speed) < int(state.spawn_speed)) is expected
        invaders = game_rules("MinAtar/SpaceInvaders", ramping)
        state = invaders.reset(jax.random.key(0))
        cleared = state.replace(alien_map=jnp.zeros_like(state.alien_map))
        after = invaders.step(cleared, jnp.int32(0), jax.random.key(0))[0]
        assert (int(after.enemy_move_interval) < 12) is expected


def test_names_and_bad_input():
    assert set(GAMES) <= set(env_names())
    with pytest.raises(DormantError, match="did you mean 'MinAtar/Breakout'"):
        env_spec("MinAtar/Breakot")
    with pytest.raises(DormantError, match="runs on the device"):
        make_env("MinAtar/Breakout", 2)
    with pytest.raises(DormantError, match="unknown environment on the device 'Pong'"):
        make_device_env("Pong")
    with pytest.raises(DormantError, match="sticky_actions is 1.5; expected 0 <= p < 1"):
        make_device_env("MinAtar/Breakout", MinAtarProtocol(sticky_actions=1.5))
    with pytest.raises(DormantError, match="max_episode_steps is 0; expected 1 or more"):
        env_spec("MinAtar/Breakout", minatar_protocol=MinAtarProtocol(max_episode_steps=0))


def test_a_run_without_gymnax_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnax.environments", None)
    with pytest.raises(DormantError, match="MinAtar/Breakout needs gymnax.*dormant.minatar"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()
