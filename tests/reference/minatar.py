"""States of the ``minatar`` package's games, written as gymnax has them."""

from typing import Any, NamedTuple

import jax
import minatar
import numpy as np

NAMES = {
    "MinAtar/Asterix": "asterix",
    "MinAtar/Breakout": "breakout",
    "MinAtar/Freeway": "freeway",
    "MinAtar/Seaquest": "seaquest",
    "MinAtar/SpaceInvaders": "space_invaders",
}
SCALARS = {
    "asterix": "player_x player_y spawn_speed spawn_timer move_speed move_timer ramp_timer "
    "ramp_index",
    "breakout": "ball_y ball_x ball_dir pos brick_map strike last_x last_y",
    "freeway": "pos move_timer cars",
    "seaquest": "oxygen sub_x sub_y sub_or diver_count e_spawn_speed e_spawn_timer d_spawn_timer "
    "move_speed ramp_index shot_timer surface",
    "space_invaders": "pos f_bullet_map e_bullet_map alien_map alien_dir enemy_move_interval "
    "alien_move_timer alien_shot_timer ramp_index shot_timer",
}
LISTS = {  # of Seaquest: list -> its array and its count in gymnax
    "f_bullets": "f_bullet_count",
    "e_bullets": "e_bullet_count",
    "e_fish": "e_fish_count",
    "e_subs": "e_subs_count",
    "divers": "divers_count",
}


class Steps(NamedTuple):
    """Agent steps of the package, along a leading axis."""

    states: Any  # before, as gymnax has them
    actions: np.ndarray
    random: np.ndarray  # whether the step draws random numbers
    rewards: np.ndarray
    terminals: np.ndarray
    observations: np.ndarray  # after


def converted(env: Any, name: str, like: Any) -> Any:
    """The state of the package's game ``env`` on the pattern of one of gymnax's states."""
    values: dict[str, Any] = {field: getattr(env, field) for field in SCALARS[name].split()}
    if name == "asterix":
        entities = np.zeros((8, 5), int)
        for slot, entity in enumerate(env.entities):
            if entity is not None:
                entities[slot] = [*entity, 1]
        values["entities"] = entities
    if name == "freeway":
        values["time"] = 2500 - env.terminate_timer
    if name == "seaquest":
        for field, count in LISTS.items():
            rows = np.zeros(getattr(like, field).shape, int)
            found = getattr(env, field)
            if found:
                rows[: len(found)] = found
            values |= {field: rows, count: len(found)}
    leaves = {
        field: np.asarray(value, getattr(like, field).dtype) for field, value in values.items()
    }
    return like.replace(**leaves)


def draws(env: Any, name: str) -> bool:
    """Whether the next step may spawn something."""
    if name == "asterix":
        return env.spawn_timer == 0
    return name == "seaquest" and (env.e_spawn_timer == 0 or env.d_spawn_timer == 0)


def harder(env: Any, name: str) -> None:
    """The game as it is late in an episode."""
    if name == "asterix":
        env.spawn_speed, env.spawn_timer, env.move_speed, env.move_timer = 2, 2, 1, 1
    if name == "seaquest":
        env.e_spawn_speed, env.e_spawn_timer, env.move_speed = 3, 3, 2
    if name == "space_invaders":
        env.enemy_move_interval, env.alien_map[:3] = 6, 0


def play(game: str, like: Any, steps: int, seed: int) -> Steps:
    """Random play in the package, every second episode late in the game."""
    name, random, rows, episodes = NAMES[game], np.random.default_rng(seed), [], 0
    env = minatar.Environment(name, sticky_action_prob=0.0)
    env.seed(seed)
    env.reset()
    for _ in range(steps):
        state, action = converted(env.env, name, like), int(random.integers(6))
        drawn = draws(env.env, name)
        reward, terminal = env.act(action)
        drawn |= name == "freeway" and reward > 0
        rows.append((state, action, drawn, reward, terminal, env.state()))
        if terminal or (name == "freeway" and random.random() < 1 / 500):
            env.reset()
            episodes += 1
            if episodes % 2:
                harder(env.env, name)
    return Steps(*(jax.tree.map(lambda *leaves: np.stack(leaves), *each) for each in zip(*rows)))


def random_episodes(game: str, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns and lengths of the episodes that random play finishes, sticky actions and all."""
    env = minatar.Environment(NAMES[game])
    env.seed(seed)
    env.reset()
    random, totals, lengths, total, length = np.random.default_rng(seed), [], [], 0.0, 0
    for action in random.integers(6, size=steps):
        reward, terminal = env.act(int(action))
        total, length = total + reward, length + 1
        if terminal:
            totals.append(total)
            lengths.append(length)
            total, length = 0.0, 0
            env.reset()
    return np.array(totals), np.array(lengths)
