"""The runs half of the list of experiments: which runs each figure and table of the paper is made
of.

Keys are those of ``dormant.analysis.entries``, which has the other half (question, claims, recipe).
An entry here is a tuple of ``Need``s; ``budgets.plan_of`` turns them into sweeps at one of three
budgets. Figures that need the same runs name the same needs, so they share folders, and what one
has trained the other finds finished.

Adding an experiment of training runs: one line here, one entry there. An experiment that is no
training run (a supervised one, say) belongs beside this list, not in it: it has no ``Need``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# In the order in which smaller budgets take them: the games with most figures of their own first.
GAMES_5 = ("DemonAttack", "Asterix", "Seaquest", "Breakout", "BeamRider")
GAMES_17 = (
    *GAMES_5,
    *"DoubleDunk Enduro IceHockey Jamesbond MsPacman Pong Qbert RoadRunner SpaceInvaders WizardOfWor".split(),
    *"YarsRevenge Zaxxon".split(),
)
GAMES_26 = (
    *"DemonAttack Asterix Seaquest Breakout Qbert Alien Amidar Assault BankHeist BattleZone Boxing".split(),
    *"ChopperCommand CrazyClimber Freeway Frostbite Gopher Hero Jamesbond Kangaroo Krull KungFuMaster".split(),
    *"MsPacman Pong PrivateEye RoadRunner UpNDown".split(),
)
DRQ_5 = GAMES_26[:5]
DEMON = ("DemonAttack",)
TWO = ("DemonAttack", "Asterix")
MUJOCO = ("Ant-v5", "HalfCheetah-v5", "Hopper-v5", "Walker2d-v5")
PAIR = ("none", "redo")
ALL = ("none", "redo", "reset", "weight_decay")


class Need(NamedTuple):
    """Runs that differ in game, method and seed only."""

    agent: str  # of budgets.FILES
    settings: Mapping[str, Any]  # of budgets.SETTINGS; part of the runs' names
    methods: Sequence[str]
    games: Sequence[str]
    length: str = "10M"  # frames at the paper's budget, of budgets.ITERATIONS
    members: Mapping[
        str, Sequence[Any]
    ] = {}  # settings of members that are varied, {"tau": (0, 0.1)}
    heavy: bool = False  # its gradient steps are many times those of the Nature CNN
    shared: bool = True  # other figures use the same runs; False: nobody needs its other methods


def dqn(methods: Sequence[str], games: Sequence[str], length: str = "10M", **more: Any) -> Need:
    """DQN with the Nature CNN and one-step returns unless the settings say otherwise."""
    own = {name: more.pop(name) for name in ("members", "heavy", "shared") if name in more}
    return Need("dqn", more, methods, games, length, **own)


def by_ratio(
    methods: Sequence[str], games: Sequence[str], length: str = "10M", **more: Any
) -> tuple[Need, ...]:
    """DQN at the paper's four replay ratios."""
    return tuple(
        dqn(methods, games, length, replay_ratio=ratio, **more) for ratio in (0.25, 0.5, 1, 2)
    )


def drq(methods: Sequence[str], games: Sequence[str], *ratios: int) -> tuple[Need, ...]:
    """DrQ(eps)."""
    return tuple(Need("drq_eps", {"replay_ratio": ratio}, methods, games) for ratio in ratios)


def sac(methods: Sequence[str], tasks: Sequence[str], **settings: Any) -> Need:
    """SAC at replay ratio 1."""
    return Need("sac", settings, methods, tasks)


def ablation(*values: Any, **more: Any) -> tuple[Need, ...]:
    """ReDo at replay ratio 1 on the five games, once for each dictionary of settings."""
    return tuple(
        dqn(("redo",), GAMES_5, replay_ratio=1, shared=False, **value, **more) for value in values
    )


RATIO_1, RATIO_1_REDO = dqn(ALL, GAMES_17, replay_ratio=1), dqn(("redo",), GAMES_5, replay_ratio=1)
FIGURE_10 = {
    "10a": by_ratio(PAIR, GAMES_17),
    "10b": by_ratio(PAIR, GAMES_17, update_horizon=3),
    "10c": by_ratio(PAIR, GAMES_17, network="resnet", heavy=True),
    "10d": drq(PAIR, GAMES_26, 1, 2, 4, 8),
}
HEAT_TAUS = (0.0, 0.01, 0.025, 0.1)

CATALOGUE: dict[str, tuple[Need, ...]] = {
    "1": (RATIO_1,),
    "2": (dqn(("none",), TWO, "100M", replay_ratio=0.25),),
    "7": by_ratio(("none",), DEMON, "40M"),
    "9": (
        dqn(("none",), DEMON, "40M", replay_ratio=0.25),
        dqn(("redo",), DEMON, "40M", replay_ratio=0.25, tau=0.025, shared=False),
    ),
    "10": tuple(need for part in FIGURE_10.values() for need in part),
    **FIGURE_10,
    "11": (
        dqn(PAIR, GAMES_17, replay_ratio=1),
        dqn(("none",), GAMES_17, replay_ratio=1, learning_rate=6.25e-5 / 4, shared=False),
    ),
    "12": tuple(
        dqn(PAIR, GAMES_17, replay_ratio=1, width=width, heavy=True) for width in (1, 2, 4)
    ),
    "13": (RATIO_1,),
    "14": (sac(ALL, MUJOCO[:2]),),
    "16": by_ratio(("none",), GAMES_5),
    "17": drq(("none",), DRQ_5, 1),
    "18": (sac(("none",), MUJOCO),),
    "20": (sac(ALL, MUJOCO),),
    "21": (
        dqn(("none",), TWO, replay_ratio=1),
        dqn(("none",), TWO, replay_ratio=1, activation="leaky_relu", shared=False),
    ),
    "22": (RATIO_1_REDO, *ablation({"outgoing": "random"})),
    "23": (RATIO_1_REDO, *ablation({"incoming": "rescaled"})),
    "24": (RATIO_1_REDO, *ablation(*({"score_batch_size": size} for size in (32, 256, 1024)))),
    "25": ablation({"select": "score"}, {"select": "utility"}),
    "26": (dqn(PAIR, GAMES_17, replay_ratio=1),),
    "27": (
        dqn(("none",), GAMES_17, "40M", replay_ratio=0.25),
        dqn(("redo",), GAMES_17, "40M", replay_ratio=0.25, tau=0.025, shared=False),
    ),
    "28": drq(PAIR, GAMES_26, 4),
    "29": drq(PAIR, GAMES_26, 1),
    "table6": tuple(sac(PAIR, MUJOCO[:1], width=width) for width in (0.25, 0.5)),
    "table7": (dqn(PAIR, DEMON, replay_ratio=1),),
    "heatmap": ablation(
        *({"period": place} for place in ("1st", "2nd", "3rd")), members={"tau": HEAT_TAUS}
    ),
    "profiles": (RATIO_1,),
}
