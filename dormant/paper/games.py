"""The games, once: every other list of games is made of these. And the scores that returns are
normalised by (data/README.md).

The order is that in which smaller budgets take them: the games with most figures of their own
first.
"""

import functools
from importlib import resources

import numpy as np
import pandas as pd

from dormant.types import DormantError, nearest

DEMON = ("DemonAttack",)
TWO = ("DemonAttack", "Asterix")
GAMES_5 = (*TWO, "Seaquest", "Breakout", "BeamRider")  # of Figures 16 and 22 to 25
GAMES_17 = (
    *GAMES_5,
    *"DoubleDunk Enduro IceHockey Jamesbond MsPacman Pong Qbert RoadRunner SpaceInvaders".split(),
    *"WizardOfWor YarsRevenge Zaxxon".split(),
)
GAMES_26 = (  # of Atari 100K
    *"DemonAttack Asterix Seaquest Breakout Qbert Alien Amidar Assault BankHeist".split(),
    *"BattleZone Boxing ChopperCommand CrazyClimber Freeway Frostbite Gopher Hero".split(),
    *"Jamesbond Kangaroo Krull KungFuMaster MsPacman Pong PrivateEye RoadRunner UpNDown".split(),
)
DRQ_5 = GAMES_26[:5]  # of Figure 17
MUJOCO = ("Ant", "HalfCheetah", "Hopper", "Walker2d")
# The paper's are -v2, which current packages no longer run; -v4 is the same task on the new
# simulator, -v5 changes rewards and observations.
MUJOCO_VERSION = "v4"
MINATAR = ("MinAtar/Breakout", "MinAtar/SpaceInvaders", "MinAtar/Asterix")


@functools.cache
def _scores(name: str) -> pd.DataFrame:
    with (resources.files("dormant.paper.data") / name).open() as file:
        return pd.read_csv(file).set_index("game")


def human_normalised(game: str, score: np.ndarray) -> np.ndarray:
    """(score - random) / (human - random) of one of the 57 Atari games.

    Raises:
      DormantError: a game without a human score.
    """
    scores = _scores("atari_scores.csv")
    if game not in scores.index:
        raise DormantError(f"no human score of {game!r} is known; {nearest(game, scores.index)}")
    random, human = scores.loc[game, ["random", "human"]].astype(float)
    return (np.asarray(score) - random) / (human - random)


def random_return(game: str) -> float:
    """The mean return of a random policy in a MinAtar game.

    Raises:
      DormantError: another game.
    """
    scores = _scores("minatar_scores.csv")
    if game not in scores.index:
        raise DormantError(f"no random policy's return in {game!r} is known")
    return float(scores.loc[game, "random"])
