"""What others have published: the paper's numbers and the scores that returns are normalised by
(data/README.md).
"""

import functools
from importlib import resources

import numpy as np
import pandas as pd

from dormant.types import DormantError, nearest

# The paper's games, in its spelling.
GAMES_17 = (
    "Asterix BeamRider Breakout DemonAttack DoubleDunk Enduro IceHockey Jamesbond MsPacman Pong Qbert RoadRunner "
    "Seaquest SpaceInvaders WizardOfWor YarsRevenge Zaxxon"
).split()
GAMES_26 = (
    "Alien Amidar Assault Asterix BankHeist BattleZone Boxing Breakout ChopperCommand CrazyClimber DemonAttack Freeway "
    "Frostbite Gopher Hero Jamesbond Kangaroo Krull KungFuMaster MsPacman Pong PrivateEye Qbert RoadRunner Seaquest "
    "UpNDown"
).split()
GAMES_5 = (
    "Asterix",
    "BeamRider",
    "Breakout",
    "DemonAttack",
    "Seaquest",
)  # of Figures 16, 22 and 24
MUJOCO = ("HalfCheetah", "Hopper", "Walker2d", "Ant")


@functools.cache
def _read(name: str) -> pd.DataFrame:
    with (resources.files("dormant.analysis.data") / name).open() as file:
        return pd.read_csv(file, dtype={"figure": str, "note": str})


def published() -> pd.DataFrame:
    """Every published value: figure, panel, series, x, x_unit, value, low, high, value_unit,
    source, note.
    """
    return pd.concat(
        [_read("published_tables.csv"), _read("published_curves.csv")], ignore_index=True
    )


def published_series(figure: str, panel: str, series: str) -> pd.DataFrame:
    """Columns x, value, low, high of one published series, in order of x; empty where nothing was
    published.
    """
    table = published()
    found = table[
        (table["figure"] == figure) & (table["panel"] == panel) & (table["series"] == series)
    ]
    return found[["x", "value", "low", "high"]].sort_values("x").reset_index(drop=True)


def human_normalised(game: str, score: np.ndarray) -> np.ndarray:
    """(score - random) / (human - random) of one of the 57 Atari games.

    Raises:
      DormantError: a game without a human score.
    """
    scores = _read("atari_scores.csv").set_index("game")
    if game not in scores.index:
        raise DormantError(f"no human score of {game!r} is known; {nearest(game, scores.index)}")
    random, human = scores.loc[game, ["random", "human"]].astype(float)
    return (np.asarray(score) - random) / (human - random)
