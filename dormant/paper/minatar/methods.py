"""ReDo beside other methods and variants at replay ratio 1: Figures 1, 11, 12, 13, 22 and 25, the
heat map and Table 7 on MinAtar.
"""

from dormant.paper.games import MINATAR
from dormant.paper.minatar.shared import (
    RELATIVE,
    RETURN,
    by_game,
    entry,
    relative_to,
    runs,
    series,
)
from dormant.paper.needs import ALL, PAIR
from dormant.paper.records import Claim, Entry, Measure, Panel, Term
from dormant.paper.shared import POINTS, dormant

PAIR_1 = (series(replay_ratio=1), series("redo", replay_ratio=1))
METHODS_1 = tuple(series(method, replay_ratio=1) for method in ALL)


def _methods_entry(figure: str, title: str, question: str, others: tuple[str, ...]) -> Entry:
    """ReDo beside other methods at replay ratio 1."""
    panels = [Panel("iqm", "all games, replay ratio 1", "bars", RELATIVE, METHODS_1, MINATAR)]
    return entry(
        figure,
        title,
        question,
        panels=panels + by_game(RETURN, METHODS_1),
        claims=[
            Claim(
                f"ReDo ends above {other}",
                "above",
                [Term("iqm", "DQN + ReDo"), Term("iqm", other)],
                unit="DQN's return",
            )
            for other in others
        ],
        needs=(runs(ALL),),
    )


FIGURE_1 = _methods_entry(
    "1",
    "Sample efficiency at replay ratio 1",
    "Does a DQN that is trained four times as much as usual learn more with ReDo?",
    ("DQN", "DQN + WD", "DQN + Reset"),
)
FIGURE_13 = _methods_entry(
    "13",
    "Other ways to regularise DQN",
    "Is ReDo better than resetting layers or weight decay?",
    ("DQN + WD", "DQN + Reset"),
)

TAUS, PERIODS = (0.0, 0.01, 0.1), (1_000, 10_000, 100_000)
_GRID = series("redo", "DQN + ReDo", tau=TAUS, period=PERIODS, replay_ratio=1)

HEATMAP = entry(
    "heatmap",
    "Threshold and period",
    "Which threshold and period work best at replay ratio 1?",
    panels=[
        Panel(
            "iqm",
            "all games, replay ratio 1",
            "heat",
            relative_to("tau 0 every 1k"),
            [_GRID],
            MINATAR,
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
                *(
                    Term("iqm", "DQN + ReDo", (tau, period))
                    for tau in TAUS
                    for period in PERIODS
                    if (tau, period) != (0.1, 1_000)
                ),
            ],
            unit="the first setting's return",
        )
    ],
    needs=tuple(
        runs(("redo",), period=place, shared=False, members={"tau": TAUS})
        for place in ("1st", "2nd", "3rd")
    ),
    note="1 is the map's first setting, tau 0 every 1000 gradient steps.",
)

_QUARTER = 2.5e-4 / 4
_SLOW = series(name="DQN, rate / 4", replay_ratio=1, learning_rate=_QUARTER)
_SLOW_REDO = series("redo", "DQN + ReDo, rate / 4", replay_ratio=1, learning_rate=_QUARTER)
_RATES = [
    series(replay_ratio=1, learning_rate=2.5e-4),
    series("redo", replay_ratio=1, learning_rate=2.5e-4),
    _SLOW,
    _SLOW_REDO,
]

FIGURE_11 = entry(
    "11",
    "A lower learning rate",
    "Is the loss of neurons at replay ratio 1 no more than too high a learning rate?",
    panels=[
        Panel("iqm", "all games, replay ratio 1", "bars", RELATIVE, _RATES, MINATAR),
        Panel("dormant", "dormant neurons", "bars", dormant(0.1), _RATES, MINATAR),
        *by_game(RETURN, _RATES),
    ],
    claims=[
        Claim(
            "A lower learning rate leaves fewer neurons dormant",
            "below",
            [Term("dormant", _SLOW.name), Term("dormant", "DQN")],
            unit=POINTS,
            published=[Term("dormant", "DQN, learning rate / 4"), Term("dormant", "DQN")],
        ),
        Claim(
            "ReDo ends above DQN with the lower learning rate",
            "above",
            [Term("iqm", "DQN + ReDo"), Term("iqm", _SLOW.name)],
            unit="DQN's return",
        ),
        Claim(
            "At the lower learning rate, ReDo ends above DQN",
            "above",
            [Term("iqm", _SLOW_REDO.name), Term("iqm", _SLOW.name)],
            unit="DQN's return",
        ),
        Claim(
            "At the lower learning rate, fewer neurons are dormant with ReDo",
            "below",
            [Term("dormant", _SLOW_REDO.name), Term("dormant", _SLOW.name)],
            unit=POINTS,
        ),
    ],
    needs=(
        runs(PAIR),
        *(runs((method,), learning_rate=_QUARTER, shared=False) for method in PAIR),
    ),
    note="The last two claims are not the paper's. They were added when the others' results were "
    "known.",
)

WIDTHS = (0.5, 1, 2)
_WIDE = [series(replay_ratio=1, width=WIDTHS), series("redo", replay_ratio=1, width=WIDTHS)]


def _width_panel(name: str, title: str, measure: Measure) -> Panel:
    return Panel(
        name,
        title,
        "final",
        measure,
        _WIDE,
        MINATAR,
        "width",
        WIDTHS,
        x_label="width (factor on every layer)",
    )


FIGURE_12 = entry(
    "12",
    "Narrower and wider networks",
    "Does over-parameterisation make up for dormant neurons?",
    panels=[
        _width_panel("iqm", "all games, replay ratio 1", RELATIVE),
        _width_panel("dormant", "dormant neurons", dormant(0.1)),
    ],
    claims=[
        *(
            Claim(
                f"At width {width:g}, ReDo ends above DQN",
                "above",
                [Term("iqm", "DQN + ReDo", width), Term("iqm", "DQN", width)],
                unit="narrow DQN's return",
            )
            for width in WIDTHS
        ),
        Claim(
            "Width 2 does not lower the share of dormant neurons below that of width 1",
            "above",
            [Term("dormant", "DQN", 2), Term("dormant", "DQN", 1)],
            unit=POINTS,
            published=[Term("dormant", "DQN, width 2"), Term("dormant", "DQN, width 1")],
        ),
    ],
    needs=(runs(PAIR), *(runs(PAIR, width=width) for width in (0.5, 2))),
    note="1 is DQN at width 0.5.",
)


def _ablation(
    figure: str, title: str, question: str, lines: list, claim: Claim, needs: tuple
) -> Entry:
    """Two variants of ReDo at replay ratio 1."""
    panels = [
        Panel(
            "iqm", "all games, replay ratio 1", "bars", relative_to(lines[0].name), lines, MINATAR
        )
    ]
    return entry(
        figure,
        title,
        question,
        panels=panels + by_game(RETURN, lines),
        claims=[claim],
        needs=needs,
        note=f"1 is {lines[0].name}.",
    )


FIGURE_25 = _ablation(
    "25",
    "ReDo's score or continual backprop's utility",
    "Is a more elaborate score better at telling which neurons to recycle?",
    [
        series("redo", "ReDo score", replay_ratio=1, select="score"),
        series("redo", "utility", replay_ratio=1, select="utility"),
    ],
    Claim(
        "The utility is no better (by less than 5%)",
        "below",
        [Term("iqm", "utility"), Term("iqm", "ReDo score")],
        margin=0.05,
        unit="ReDo's return",
    ),
    tuple(runs(("redo",), select=select, shared=False) for select in ("score", "utility")),
)

FIGURE_22 = _ablation(
    "22",
    "Outgoing weights: zero or random",
    "Must a recycled neuron's outgoing weights be zero?",
    [
        series("redo", "zero", replay_ratio=1),
        series("redo", "random", replay_ratio=1, outgoing="random"),
    ],
    Claim(
        "Random outgoing weights are no better (by less than 5%)",
        "below",
        [Term("iqm", "random"), Term("iqm", "zero")],
        margin=0.05,
        unit="ReDo's return",
    ),
    (runs(PAIR), runs(("redo",), outgoing="random", shared=False)),
)

TABLE_7 = entry(
    "table7",
    "Feature rank",
    "Are the features of a DQN with ReDo of a higher rank?",
    panels=[
        Panel(
            "rank",
            "all games, penultimate layer",
            "bars",
            Measure("feature_rank", "feature rank (of 128; of 64 transitions)"),
            PAIR_1,
            MINATAR,
        )
    ],
    claims=[
        Claim(
            "The feature rank is higher with ReDo",
            "above",
            [Term("rank", "DQN + ReDo"), Term("rank", "DQN")],
            unit="rank",
        )
    ],
    needs=(runs(PAIR),),
    note="The rank of 64 transitions is 64 at most. The paper's is of 512 features and of more.",
)


ENTRIES = (
    FIGURE_1,
    FIGURE_13,
    HEATMAP,
    FIGURE_11,
    FIGURE_12,
    FIGURE_25,
    FIGURE_22,
    TABLE_7,
)
