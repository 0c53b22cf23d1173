"""Choices inside ReDo: Figures 21 to 25 and the heat map of threshold and period.

Replay ratio and threshold of Figures 21 to 25 are not known to us; taken as 1 and 0.1, the paper's
setting for everything but its default.
"""

from dormant.paper.games import GAMES_5, TWO
from dormant.paper.needs import RATIO_1_REDO, ablation, dqn_runs
from dormant.paper.records import Claim, Entry, Panel, Term
from dormant.paper.shared import HNS, RETURN, TO_10M, dormant, dqn

_UNKNOWN = (
    "Replay ratio and threshold of the paper's figure are not known to us; taken as 1 and 0.1."
)
_BUDGET = f"{TO_10M}, 5 games"


def _comparison(
    figure: str, title: str, question: str, series: list, claim: Claim, needs: tuple
) -> Entry:
    """IQM over the five games, and each game's returns."""
    panels = [Panel("iqm", "5 games", "bars", HNS, series, GAMES_5)]
    panels += [Panel(game, game, "curve", RETURN, series, [game]) for game in GAMES_5]
    return Entry(
        figure, title, question, panels, [claim], _BUDGET, note=_UNKNOWN, columns=3, needs=needs
    )


_ACTIVATIONS = [
    dqn(name="ReLU", replay_ratio=1),
    dqn(name="leaky ReLU", replay_ratio=1, activation="leaky_relu"),
]

FIGURE_21 = Entry(
    figure="21",
    title="Leaky ReLU",
    question="Does an activation without a flat half remove the phenomenon?",
    panels=[
        Panel(game, game, "curve", dormant(0.1), _ACTIVATIONS, [game], "gradient_steps")
        for game in TWO
    ],
    claims=[
        Claim(
            f"{game}: with leaky ReLU, dormant neurons still grow over the second half of training",
            "above",
            [Term(game, "leaky ReLU", part="rise")],
            unit="percentage points",
        )
        for game in TWO
    ],
    paper_budget=f"{TO_10M}; which games is not known to us",
    note=_UNKNOWN,
    needs=(
        dqn_runs(("none",), TWO, replay_ratio=1),
        dqn_runs(("none",), TWO, replay_ratio=1, activation="leaky_relu", shared=False),
    ),
)

FIGURE_22 = _comparison(
    "22",
    "Outgoing weights: zero or random",
    "Must a recycled neuron's outgoing weights be zero?",
    [dqn("redo", "zero", replay_ratio=1), dqn("redo", "random", replay_ratio=1, outgoing="random")],
    Claim(
        "Random outgoing weights are no better (by less than 0.05)",
        "below",
        [Term("iqm", "random"), Term("iqm", "zero")],
        margin=0.05,
    ),
    (RATIO_1_REDO, *ablation({"outgoing": "random"})),
)

FIGURE_23 = _comparison(
    "23",
    "Incoming weights: redrawn or rescaled",
    "Should redrawn weights be scaled to the norm of the layer's active neurons?",
    [
        dqn("redo", "redrawn", replay_ratio=1),
        dqn("redo", "rescaled", replay_ratio=1, incoming="rescaled"),
    ],
    Claim(
        "Rescaling makes no difference (less than 0.05)",
        "within",
        [Term("iqm", "rescaled"), Term("iqm", "redrawn")],
        margin=0.05,
    ),
    (RATIO_1_REDO, *ablation({"incoming": "rescaled"})),
)

_BATCHES = [
    dqn("redo", f"batch {size}", replay_ratio=1, score_batch_size=size)
    for size in (32, 64, 256, 1024)
]

FIGURE_24 = Entry(
    figure="24",
    title="Size of the batch behind the scores",
    question="How many transitions does it take to find the dormant neurons?",
    panels=[Panel("all", "5 games", "bars", dormant(0.1), _BATCHES, GAMES_5)]
    + [
        Panel(game, game, "curve", dormant(0.1), _BATCHES, [game], "gradient_steps")
        for game in GAMES_5
    ],
    claims=[
        Claim(
            "32 and 1024 transitions find the same share of dormant neurons (within 5 points)",
            "within",
            [Term("all", "batch 32"), Term("all", "batch 1024")],
            margin=5,
            unit="percentage points",
        )
    ],
    paper_budget=_BUDGET,
    note=_UNKNOWN,
    columns=3,
    needs=(RATIO_1_REDO, *ablation(*({"score_batch_size": size} for size in (32, 256, 1024)))),
)

FIGURE_25 = _comparison(
    "25",
    "ReDo's score or continual backprop's utility",
    "Is a more elaborate score better at telling which neurons to recycle?",
    [
        dqn("redo", "ReDo score", replay_ratio=1, select="score"),
        dqn("redo", "utility", replay_ratio=1, select="utility"),
    ],
    Claim(
        "The utility is no better (by less than 0.05)",
        "below",
        [Term("iqm", "utility"), Term("iqm", "ReDo score")],
        margin=0.05,
    ),
    ablation({"select": "score"}, {"select": "utility"}),
)

TAUS, PERIODS = (0.0, 0.01, 0.025, 0.1), (1_000, 10_000, 100_000)
_OTHERS = [
    (tau, period) for tau in (0, 0.01, 0.1) for period in PERIODS if (tau, period) != (0.1, 1_000)
]

HEATMAP = Entry(
    figure="heatmap",
    title="Threshold and period",
    question="Which threshold and period work best at replay ratio 1?",
    panels=[
        Panel(
            "iqm",
            "5 games, replay ratio 1",
            "heat",
            HNS,
            [dqn("redo", replay_ratio=1, tau=TAUS, prefer={"period": PERIODS})],
            GAMES_5,
            "tau",
            TAUS,
            "period",
            PERIODS,
            x_label="tau",
        )
    ],
    claims=[
        Claim(
            "tau 0.1 every 1000 gradient steps is the best setting of the paper's grid",
            "best",
            [
                Term("iqm", "DQN + ReDo", (0.1, 1_000)),
                *(Term("iqm", "DQN + ReDo", setting) for setting in _OTHERS),
            ],
        )
    ],
    paper_budget=_BUDGET,
    note="The paper says which setting won, not by how much; its grid had no tau of 0.025.",
    needs=ablation(*({"period": place} for place in ("1st", "2nd", "3rd")), members={"tau": TAUS}),
)

ENTRIES = (FIGURE_21, FIGURE_22, FIGURE_23, FIGURE_24, FIGURE_25, HEATMAP)
