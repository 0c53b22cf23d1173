"""At what size the runs of a figure are trained: how many games, seeds and steps, and what else
changes with them.

paper   the published protocol: every game, 5 seeds (DrQ(eps), SAC: 10).
small   the same shape, meant for hours on one GPU (not measured yet): a tenth to a quarter of the
        steps, 5 games, 5 seeds, which is the least that its claims can be asked with.
laptop  the paper's questions asked on MinAtar, for two CPU cores; ``minatar`` argues for its
        numbers.
smoke   minutes on two CPU cores: some hundred agent steps, 1 or 2 games. It shows that everything
        runs, nothing else, and gives no verdict: periods and warm-ups shrink with the steps,
        episodes are cut, and each figure says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dormant.paper import chosen, get
from dormant.paper.games import MUJOCO, MUJOCO_VERSION
from dormant.paper.minatar import BINDINGS, ITERATIONS, LONGER, SEEDS, STEPS, SUITE
from dormant.paper.records import Need
from dormant.types import check_name

FILES = {
    "dqn": ("dqn", "redo", "reset", "weight_decay", "prune", "successors"),
    "drq_eps": ("drq_eps", "redo", "drq_eps_reset", "weight_decay"),
    "sac": ("sac", "sac_redo", "sac_reset", "weight_decay", "sac_prune"),
    "minatar": ("minatar", "redo", "reset", "weight_decay", "prune", "successors"),
}
RECORDS = {"dqn": "DQN", "drq_eps": "Rainbow", "sac": "SAC", "minatar": "DQN"}
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
    "count": "ReDo.count",
    "moments": "ReDo.moments",
    "as_released": "ReDo.as_released",
    "metrics": "Protocol.metrics",
}
# Methods that share a run where ``Budget.together`` says so.
UNITS = (("none", "redo"), ("reset", "weight_decay"))
ORDERS = ("score", "inverse", "random", "utility")  # selections of a scheduled share
PLACES = ("1st", "2nd", "3rd")  # of Budget.periods


class Plan(NamedTuple):
    """Runs to train: every game, each with every method, seed and value of the grid."""

    files: tuple[str, ...]  # the package's gin files without their ending, others as they are
    bindings: tuple[str, ...]
    grid: Mapping[str, Sequence[Any]]  # {setting: values}, varied between members
    games: tuple[str, ...]
    seeds: int
    methods: tuple[str, ...]
    title: str  # first part of the runs' names


class Budget(NamedTuple):
    """One budget. Mappings are by agent; "heavy": DQN with a network many times the Nature CNN."""

    games: Mapping[str, int]  # at most, the first of the figure's
    seeds: Mapping[str, int]
    # ({length: iterations}, agent steps of an iteration)
    steps: Mapping[str, tuple[Mapping[str, int], int]]
    bindings: Mapping[str, tuple[str, ...]]
    # gradient steps; of the heat map. The first is the paper's
    periods: tuple[int, int, int] = (1000, 10_000, 100_000)
    # several methods in one run: where starting one takes longer than training (smoke), or where
    # one large population is trained faster than several small ones (laptop)
    together: bool = False
    suite: str = ""  # of dormant.paper.SUITES: which entries it asks


_DQN_LENGTHS = {"10M": 10, "40M": 40, "100M": 100}
_SMALL_DQN = (
    "DQN.replay_capacity=250000",
    "DQN.min_replay_history=5000",
    "DQN.epsilon_decay_period=25000",
    "Protocol.evaluation_steps=25000",
    "Protocol.log_period=2000",
    "Reset.period=50000",
    "ShrinkPerturb.period=50000",
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
    "Prune.period=20",
    "ContinualBackprop.period=5",
    "ShrinkPerturb.period=100",
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
    ),
    "small": Budget(
        games={"dqn": 5, "heavy": 5, "drq_eps": 5, "sac": 4},
        seeds={"dqn": 5, "heavy": 5, "drq_eps": 5, "sac": 5},
        steps={
            "dqn": ({"10M": 4, "40M": 16, "100M": 40}, 62_500),
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
                "Prune.period=250",
                "Protocol.log_period=100",
                "Protocol.evaluation_episodes=1",
            ),
        },
        periods=(2, 20, 200),
        together=True,
    ),
    "laptop": Budget(
        games={},
        seeds={"minatar": SEEDS},
        steps={
            "minatar": (
                {"10M": ITERATIONS, "100M": LONGER * ITERATIONS},
                STEPS // ITERATIONS,
            )
        },
        bindings={"minatar": BINDINGS},
        together=True,
        suite=SUITE,
    ),
}


def plan_of(figure: str, budget: str, mujoco: str = MUJOCO_VERSION) -> list[Plan]:
    """The runs of everything a figure needs. Arguments as of ``plans_of``."""
    check_name("budget", budget, BUDGETS)
    check_name("version of MuJoCo's environments", mujoco, ("v4", "v5"))
    size = BUDGETS[budget]
    return [
        _plan(need, methods, size, mujoco)
        for need in get(figure, size.suite).needs
        for methods in _packed(need, size)
    ]


def plans_of(figures: Sequence[str], budget: str, mujoco: str = MUJOCO_VERSION) -> list[Plan]:
    """The runs of several figures, ["all"] of all; a run that several need is there once.

    Args:
      figures: as in ``dormant.paper``.
      budget: of BUDGETS.
      mujoco: version of the MuJoCo environments, "v4" (the nearest to the paper's) or "v5".
    Raises:
      DormantError: an unknown figure, budget or version.
    """
    check_name("budget", budget, BUDGETS)
    found: dict[tuple[str, str], Plan] = {}
    for entry in chosen(figures, BUDGETS[budget].suite):
        for plan in plan_of(entry.figure, budget, mujoco):
            for game in plan.games:
                found.setdefault((plan.title, game), plan._replace(games=(game,)))
    return list(found.values())


def _packed(need: Need, size: Budget) -> list[tuple[str, ...]]:
    """Which methods share a run. One a run, so that no figure trains what it does not need; or
    those of UNITS.
    """
    if need.files:
        return [tuple(need.methods)]
    if not size.together:
        return [(method,) for method in need.methods]
    if not need.shared:
        return [tuple(need.methods)]
    return [unit for unit in UNITS if set(unit) & set(need.methods)]


def _plan(need: Need, methods: tuple[str, ...], size: Budget, mujoco: str) -> Plan:
    """One need's runs, named by what distinguishes them in the whole list."""
    if need.files:
        return _own_plan(need, size)
    row = "heavy" if need.heavy else need.agent
    lengths, training_steps = size.steps[row]
    iterations = lengths[need.length]
    settings = dict(need.settings)
    if settings.get("period") in PLACES:
        settings["period"] = size.periods[PLACES.index(settings["period"])]
    bindings = [
        *size.bindings.get(row, ()),
        f"Protocol.iterations={iterations}",
        f"Protocol.training_steps={training_steps}",
        *(f"{gin_name(need.agent, name)}={value!r}" for name, value in settings.items()),
    ]
    if settings.get("select") in ORDERS:  # the share of neurons falls to 0 at the run's end
        bindings.append(f"ReDo.end={round(iterations * training_steps * settings['replay_ratio'])}")
    name = [
        need.agent,
        *(["short"] if need.heavy and size.together else []),
        *(f"{key}={_text(value)}" for key, value in settings.items()),
        *([f"iterations={iterations}"] if iterations != lengths["10M"] else []),
        "+".join(methods),
    ]
    games = need.games[: size.games.get(row, len(need.games))]
    return Plan(
        files=FILES[need.agent],
        bindings=tuple(bindings),
        grid={gin_name(need.agent, key): values for key, values in need.members.items()},
        games=tuple(f"{game}-{mujoco}" if game in MUJOCO else game for game in games),
        seeds=size.seeds[row],
        methods=methods,
        title=",".join(name),
    )


def _own_plan(need: Need, size: Budget) -> Plan:
    """The runs of one's own gin files; of the budget they have the number of seeds."""
    settings = [f"{name}={value!r}" for name, value in need.settings.items()]
    named = [f"{name}={_text(value)}" for name, value in need.settings.items()]
    return Plan(
        files=tuple(need.files),
        bindings=tuple(settings),
        grid=need.members,
        games=tuple(need.games),
        seeds=size.seeds["dqn"],
        methods=tuple(need.methods),
        title=",".join([need.agent, *named, "+".join(need.methods)]),
    )


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "+".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def gin_name(agent: str, setting: str) -> str:
    """The setting's full name."""
    return SETTINGS[setting].format(agent=RECORDS[agent])


def gradient_steps(plan: Plan) -> int:
    """Of all members together, warm-up left out: what the plan costs."""
    facts = dict(binding.split("=", 1) for binding in plan.bindings)
    steps = int(facts["Protocol.iterations"]) * int(facts["Protocol.training_steps"])
    varied = 1
    for values in plan.grid.values():
        varied *= len(values)
    members = len(plan.games) * plan.seeds * len(plan.methods) * varied
    return round(steps * float(facts.get("replay_ratio", 1)) * members)
