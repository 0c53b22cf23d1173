"""Three budgets for the list of experiments: how many games, seeds and steps, and what else is
changed with them.

paper  the published protocol: every game, 5 seeds (DrQ(eps), SAC: 10)
small  the same shape, meant for hours on one GPU (not measured yet): 1/25 to 1/4 of the steps, 5
games, 3 seeds
smoke  minutes on two CPU cores: some hundred agent steps, 1 or 2 games. It shows that everything
runs, nothing else:
       periods and warm-ups are shrunk with the steps, episodes are cut, and each figure says so
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from dormant.experiments import CONFIGS
from dormant.experiments.catalogue import CATALOGUE, Need
from dormant.experiments.grid import Sweep
from dormant.types import DormantError, check_name, nearest

FILES = {
    "dqn": ("dqn", "redo", "reset", "weight_decay"),
    "drq_eps": ("drq_eps", "redo", "reset", "weight_decay"),
    "sac": ("sac", "sac_redo", "sac_reset", "weight_decay"),
}
RECORDS = {"dqn": "DQN", "drq_eps": "Rainbow", "sac": "SAC"}
SETTINGS = {
    "replay_ratio": "replay_ratio",
    "update_horizon": "{agent}.update_horizon",
    "network": "{agent}.network",
    "width": "{agent}.width",
    "activation": "{agent}.activation",
    "learning_rate": "{agent}.learning_rate",
    "tau": "ReDo.tau",
    "period": "ReDo.period",
    "score_batch_size": "ReDo.batch_size",
    "incoming": "ReDo.incoming",
    "outgoing": "ReDo.outgoing",
    "select": "ReDo.select",
}
UNITS = (
    ("none", "redo"),
    ("reset", "weight_decay"),
)  # methods that the smoke budget trains in one process


class Budget(NamedTuple):
    """One budget. Dictionaries are by agent; "heavy" is DQN with a network many times the Nature
    CNN.
    """

    games: dict[str, int]  # at most, the first of the figure's
    seeds: dict[str, int]
    steps: dict[
        str, tuple[dict[str, int], int]
    ]  # ({length: iterations}, agent steps of an iteration)
    bindings: dict[str, tuple[str, ...]]
    periods: tuple[int, int, int]  # gradient steps; of the heat map. The first is the paper's
    together: bool = (
        False  # several methods in one process, where starting one takes longer than training
    )


_DQN_LENGTHS = {"10M": 10, "40M": 40, "100M": 100}
_SMALL_DQN = (
    "DQN.replay_capacity=250000",
    "DQN.min_replay_history=5000",
    "DQN.epsilon_decay_period=25000",
    "Protocol.evaluation_steps=25000",
    "Protocol.log_period=2000",
    "Reset.period=50000",
)
_CUT = (
    "AtariProtocol.max_episode_steps=100",
    "Protocol.evaluation_steps=0",
    "Protocol.evaluation_episodes=1",
)
_SMOKE_DQN = (
    "DQN.min_replay_history=80",
    "DQN.epsilon_decay_period=120",
    "DQN.target_update_period=50",
    "ReDo.period=20",
    "Reset.period=100",
    "Protocol.log_period=10",
    *_CUT,
)

BUDGETS = {
    "paper": Budget(
        games={},
        seeds={"dqn": 5, "heavy": 5, "drq_eps": 10, "sac": 10},
        steps={
            "dqn": (_DQN_LENGTHS, 250_000),
            "heavy": (_DQN_LENGTHS, 250_000),
            "drq_eps": ({"10M": 40}, 10_000),
            "sac": ({"10M": 100}, 10_000),
        },
        bindings={},
        periods=(1000, 10_000, 100_000),
    ),
    "small": Budget(
        games={"dqn": 5, "heavy": 5, "drq_eps": 5, "sac": 4},
        seeds={"dqn": 3, "heavy": 3, "drq_eps": 3, "sac": 3},
        steps={
            "dqn": ({"10M": 4, "40M": 8, "100M": 16}, 62_500),
            "heavy": ({"10M": 4}, 62_500),
            "drq_eps": ({"10M": 10}, 10_000),
            "sac": ({"10M": 20}, 10_000),
        },
        bindings={
            "dqn": _SMALL_DQN,
            "heavy": _SMALL_DQN,
            "drq_eps": ("Protocol.evaluation_episodes=20", "Reset.period=20000"),
            "sac": ("ReDo.period=40000", "Reset.period=40000", "Protocol.evaluation_episodes=10"),
        },
        periods=(1000, 10_000, 100_000),
    ),
    "smoke": Budget(
        games={"dqn": 2, "heavy": 1, "drq_eps": 1, "sac": 4},
        seeds={"dqn": 2, "heavy": 1, "drq_eps": 2, "sac": 2},
        steps={
            "dqn": (dict.fromkeys(_DQN_LENGTHS, 3), 120),
            "heavy": ({"10M": 2}, 40),
            "drq_eps": ({"10M": 2}, 60),
            "sac": ({"10M": 4}, 300),
        },
        bindings={
            "dqn": _SMOKE_DQN,
            "heavy": (
                *_SMOKE_DQN,
                "DQN.min_replay_history=20",
                "DQN.batch_size=8",
                "ReDo.period=10",
            ),
            "drq_eps": (
                "Rainbow.min_replay_history=40",
                "Rainbow.epsilon_decay_period=40",
                "ReDo.period=10",
                "Protocol.log_period=10",
                "Protocol.evaluation_noop_max=0",
                *_CUT,
            ),
            "sac": (
                "SAC.min_replay_history=200",
                "ReDo.period=250",
                "Reset.period=500",
                "Protocol.log_period=100",
                "Protocol.evaluation_episodes=1",
            ),
        },
        periods=(2, 20, 200),
        together=True,
    ),
}


def plan_of(figure: str, budget: str) -> list[Sweep]:
    """The sweeps that train everything a figure needs.

    Raises:
      DormantError: an unknown figure or budget.
    """
    check_name("budget", budget, BUDGETS)
    if figure not in CATALOGUE:
        raise DormantError(f"unknown figure {figure!r}; {nearest(figure, ['all', *CATALOGUE])}")
    chosen = BUDGETS[budget]
    return [
        sweep_of(need, methods, chosen)
        for need in CATALOGUE[figure]
        for methods in packed(need, chosen)
    ]


def packed(need: Need, budget: Budget) -> list[tuple[str, ...]]:
    """Which methods are trained together: one a run, so that no figure trains what it does not
    need; or in UNITS.
    """
    if not budget.together:
        return [(method,) for method in need.methods]
    if not need.shared:
        return [tuple(need.methods)]
    return [unit for unit in UNITS if set(unit) & set(need.methods)]


def sweep_of(need: Need, methods: Sequence[str], budget: Budget) -> Sweep:
    """One need's runs, named by what distinguishes them in the whole list."""
    row = "heavy" if need.heavy else need.agent
    lengths, training_steps = budget.steps[row]
    iterations = lengths[need.length]
    settings = dict(need.settings)
    if settings.get("period") in PLACES:
        settings["period"] = budget.periods[PLACES.index(settings["period"])]
    bindings = list(budget.bindings.get(row, ()))
    bindings += [f"Protocol.iterations={iterations}", f"Protocol.training_steps={training_steps}"]
    bindings += [f"{gin_name(need.agent, name)}={value!r}" for name, value in settings.items()]
    if "select" in settings:  # the share of neurons falls to 0 at the run's end
        bindings.append(f"ReDo.end={round(iterations * training_steps * settings['replay_ratio'])}")
    usual = lengths["10M"]
    name = [need.agent, *(["short"] if need.heavy and budget.together else [])]
    name += [
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in settings.items()
    ]
    name += [f"iterations={iterations}"] if iterations != usual else []
    return Sweep(
        files=[os.path.join(CONFIGS, f"{file}.gin") for file in FILES[need.agent]],
        bindings=bindings,
        grid={gin_name(need.agent, key): values for key, values in need.members.items()},
        games=need.games[: budget.games.get(row, len(need.games))],
        seeds=budget.seeds[row],
        methods=methods,
        title=",".join([*name, "+".join(methods)]),
    )


PLACES = ("1st", "2nd", "3rd")  # of Budget.periods


def gin_name(agent: str, setting: str) -> str:
    """The setting's full name."""
    return SETTINGS[setting].format(agent=RECORDS[agent])


def sweeps_of(figures: Sequence[str], budget: str) -> list[Sweep]:
    """The sweeps of several figures, ["all"] of all; a run that several need is there once.

    Raises:
      DormantError: an unknown figure or budget.
    """
    named = list(CATALOGUE) if "all" in figures else list(figures)
    found: dict[tuple[Any, ...], Sweep] = {}
    for figure in named:
        for sweep in plan_of(figure, budget):
            for game in sweep.games:
                found.setdefault((sweep.title, game), sweep._replace(games=(game,)))
    return list(found.values())
