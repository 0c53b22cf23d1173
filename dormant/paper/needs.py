"""Which runs a figure needs: how entries write them down.

Figures that need the same runs name the same needs, so they share folders, and what one has trained
the other finds finished. An experiment that is no training run has no ``Need``.
"""

from collections.abc import Sequence
from typing import Any

from dormant.paper.games import GAMES_5, GAMES_17, TWO
from dormant.paper.records import Need

PAIR = ("none", "redo")
ALL = ("none", "redo", "reset", "weight_decay")


def dqn_runs(
    methods: Sequence[str], games: Sequence[str], length: str = "10M", **more: Any
) -> Need:
    """DQN with the Nature CNN and one-step returns unless the settings say otherwise."""
    own = {name: more.pop(name) for name in ("members", "heavy", "shared") if name in more}
    return Need("dqn", more, methods, games, length, **own)


def by_ratio(
    methods: Sequence[str], games: Sequence[str], length: str = "10M", **more: Any
) -> tuple[Need, ...]:
    """DQN at the paper's four replay ratios."""
    return tuple(
        dqn_runs(methods, games, length, replay_ratio=ratio, **more) for ratio in (0.25, 0.5, 1, 2)
    )


def drq_runs(methods: Sequence[str], games: Sequence[str], *ratios: int) -> tuple[Need, ...]:
    """DrQ(eps) at these replay ratios."""
    return tuple(Need("drq_eps", {"replay_ratio": ratio}, methods, games) for ratio in ratios)


def sac_runs(methods: Sequence[str], tasks: Sequence[str], **settings: Any) -> Need:
    """SAC at replay ratio 1."""
    return Need("sac", settings, methods, tasks)


def on_five_games(methods: tuple[str, ...], **own: Any) -> Need:
    """The five games at replay ratio 1, runs of their own."""
    return dqn_runs(methods, GAMES_5, replay_ratio=1, shared=False, **own)


def ablation(*values: Any, **more: Any) -> tuple[Need, ...]:
    """ReDo at replay ratio 1 on the five games, once for each dictionary of settings."""
    return tuple(on_five_games(("redo",), **value, **more) for value in values)


RATIO_1 = dqn_runs(ALL, GAMES_17, replay_ratio=1)
RATIO_1_REDO = dqn_runs(("redo",), GAMES_5, replay_ratio=1)
# of Figures 2 and 5, and of what is longer than the paper
LONG_RUNS = dqn_runs(("none",), TWO, "100M", replay_ratio=0.25, metrics=("overlap",), shared=False)
