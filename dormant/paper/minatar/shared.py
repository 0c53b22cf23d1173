"""Settings, series and panels of the MinAtar suite. Why these: the package's docstring."""

from typing import Any

from dormant.paper.games import MINATAR
from dormant.paper.records import Entry, Measure, Need, Panel, Series
from dormant.paper.shared import PLAIN

SUITE = "MinAtar"
SEEDS, STEPS, ITERATIONS = 10, 500_000, 10
ATARI = "the same question on Atari"  # the paper's budget
LONGER = 10  # times the steps, for what the paper stops before
RATIOS = (0.25, 0.5, 1, 2, 4)
BINDINGS = (
    "DQN.epsilon_decay_period=50000",
    "Reset.period=20000",
    "ShrinkPerturb.period=20000",
    "Protocol.evaluation_steps=0",
    "Protocol.evaluation_episodes=0",
)

RETURN = Measure("train/average_return", "average return")
RELATIVE = Measure(
    "train/average_return",
    "IQM return\n(0: random policy, 1: mean of DQN)",
    normalised="baseline",
    statistic="iqm",
)


def relative_to(name: str) -> Measure:
    """RELATIVE where the panel's first line, whose mean is 1, is not plain DQN."""
    return RELATIVE._replace(label=f"IQM return\n(0: random policy, 1: mean of {name})")


_ENDINGS: dict[str, tuple[str, dict[str, float]]] = {
    "none": ("", {}),
    "redo": (" + ReDo", {"tau": 0.1, "period": 1000, "score_batch_size": 64}),
    "reset": (" + Reset", {"period": 20_000}),
    "weight_decay": (" + WD", {"weight_decay": 1e-5}),
    "prune": (" + pruning", {"tau": 0.0, "period": 1000, "score_batch_size": 64}),
    "continual_backprop": (" + CBP", {"period": 100, "score_batch_size": 64}),
    "shrink_perturb": (" + S&P", {"period": 20_000}),
    "l2_init": (" + L2 Init", {"l2_init": 1e-4}),
}


def series(method: str = "none", name: str = "", **where: Any) -> Series:
    """A DQN series on MinAtar, at width 1 and plain in all else unless ``where`` says otherwise."""
    ending, settings = _ENDINGS[method]
    facts = {"agent": "DQN", "network": "minatar", "method": method, "width": 1}
    facts |= {"update_horizon": 1, "activation": "relu", **PLAIN, **where}
    usual = {"learning_rate": 2.5e-4, "batch_size": 32, **settings}
    prefer = {fact: value for fact, value in usual.items() if fact not in facts}
    return Series(name or "DQN" + ending, facts, prefer)


def runs(methods: tuple[str, ...], *, ratio: float = 1, **more: Any) -> Need:
    """The games at one replay ratio."""
    own = {name: more.pop(name) for name in ("members", "shared") if name in more}
    return Need("minatar", {"replay_ratio": ratio, **more}, methods, MINATAR, **own)


def entry(figure: str, title: str, question: str, **more: Any) -> Entry:
    """An entry of this suite."""
    panels, paper_unit = more["panels"], more.pop("paper_unit", "human-normalised")
    more["claims"] = [
        claim._replace(paper_unit=paper_unit) if "return" in claim.unit else claim
        for claim in more["claims"]
    ]
    crowd = 3 if len(panels) > 4 or len(panels) == 3 else len(panels)
    return Entry(
        figure=figure,
        title=title,
        question=question,
        paper_budget=ATARI,
        paper_steps=STEPS,
        shortest=STEPS,
        suite=SUITE,
        **{"columns": crowd, **more},
    )


def by_game(measure: Measure, lines: Any, prefix: str = "", x: str = "agent_steps") -> list:
    """A curve for each game."""
    return [Panel(prefix + game, game, "curve", measure, lines, [game], x) for game in MINATAR]
