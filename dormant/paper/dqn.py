"""Returns of DQN and DrQ(eps) on Atari: Figures 1, 10, 11, 12 and 13."""

from dormant.paper.games import DEMON, GAMES_17, GAMES_26
from dormant.paper.needs import PAIR, RATIO_1, by_ratio, dqn_runs, drq_runs
from dormant.paper.records import Claim, Entry, Need, Panel, Series, Term
from dormant.paper.shared import (
    HNS,
    RETURN,
    TO_10M,
    dormant,
    dqn,
    drq,
    method_series,
)

RESET_NOTE = (
    "The paper samples Reset at its worst moment: with a reset every 100,000 gradient steps and "
    "evaluation every 250,000, every second evaluation follows a reset at once (values near 0 at "
    "2, 4, 6, 8M frames). Here gradient steps are counted from the end of the warm-up of 20,000 "
    "agent steps: at the paper's budget evaluations come about 30,000 and 80,000 gradient steps "
    "after a reset. Training returns show the rest."
)

FIGURE_1 = Entry(
    figure="1",
    title="Sample efficiency at replay ratio 1",
    question="Does a DQN that is trained four times as much as usual learn more with ReDo?",
    panels=[
        Panel(
            "iqm",
            "17 games, replay ratio 1",
            "curve",
            HNS,
            (
                *method_series(dqn, replay_ratio=1),
                dqn("reset", "DQN + Reset, in training", replay_ratio=1)._replace(
                    metric="train/average_return"
                ),
            ),
            GAMES_17,
        )
    ],
    claims=[
        Claim(
            f"ReDo ends above {other}",
            "above",
            [Term("iqm", "DQN + ReDo"), Term("iqm", f"DQN{other_end}")],
        )
        for other, other_end in (("DQN", ""), ("weight decay", " + WD"), ("Reset", " + Reset"))
    ],
    paper_budget=f"{TO_10M}, 17 games",
    note=RESET_NOTE,
    needs=(RATIO_1,),
)


def _ratio_entry(
    letter: str, setting: str, pair: tuple[Series, Series], needs: tuple[Need, ...]
) -> Entry:
    """One panel of Figure 10: one need for each replay ratio."""
    ratios = [need.settings["replay_ratio"] for need in needs]
    high = ratios[-1]
    name, with_redo = pair[0].name, pair[1].name
    title = f"({letter}) {setting}"
    x_label = "replay ratio"
    return Entry(
        figure=f"10{letter}",
        title=f"Replay ratio with and without ReDo: {setting}",
        question="Does ReDo let the agent be trained at a higher replay ratio?",
        panels=[
            Panel(
                "iqm",
                title,
                "final",
                HNS,
                pair,
                needs[0].games,
                "replay_ratio",
                ratios,
                x_label=x_label,
            )
        ],
        claims=[
            Claim(
                f"{setting}: without ReDo, replay ratio {high:g} ends below {ratios[0]:g}",
                "below",
                [Term("iqm", name, high), Term("iqm", name, ratios[0])],
            ),
            *(
                Claim(
                    f"{setting}: at replay ratio {ratio:g}, ReDo ends above {name}",
                    "above",
                    [Term("iqm", with_redo, ratio), Term("iqm", name, ratio)],
                )
                for ratio in ratios[2:]
            ),
        ],
        paper_budget="400K agent steps, 26 games, 10 seeds"
        if letter == "d"
        else f"{TO_10M}, 17 games",
        paper_steps=400_000 if letter == "d" else 2_500_000,
        needs=needs,
    )


FIGURE_10 = [
    _ratio_entry("a", "DQN, n = 1", (dqn(), dqn("redo")), by_ratio(PAIR, GAMES_17)),
    _ratio_entry(
        "b",
        "DQN, n = 3",
        (dqn(update_horizon=3), dqn("redo", update_horizon=3)),
        by_ratio(PAIR, GAMES_17, update_horizon=3),
    ),
    _ratio_entry(
        "c",
        "DQN, ResNet",
        (dqn(network="resnet"), dqn("redo", network="resnet")),
        by_ratio(PAIR, GAMES_17, network="resnet", heavy=True),
    ),
    _ratio_entry("d", "DrQ(eps)", (drq(), drq("redo")), drq_runs(PAIR, GAMES_26, 1, 2, 4, 8)),
]
FIGURE_10_WHOLE = Entry(
    figure="10",
    title="Replay ratio with and without ReDo",
    question="Does ReDo let agents be trained at higher replay ratios?",
    panels=(),
    claims=(),
    paper_budget="10M frames (a to c), 400K agent steps (d)",
    columns=2,
    parts=FIGURE_10,
    needs=tuple(need for part in FIGURE_10 for need in part.needs),
)

_RATES = [
    dqn(replay_ratio=1, learning_rate=6.25e-5),
    dqn("redo", replay_ratio=1, learning_rate=6.25e-5),
    dqn(name="DQN, learning rate / 4", replay_ratio=1, learning_rate=6.25e-5 / 4),
]

FIGURE_11 = Entry(
    figure="11",
    title="A lower learning rate",
    question="Is the loss of neurons at replay ratio 1 no more than too high a learning rate?",
    panels=[
        Panel("iqm", "17 games, replay ratio 1", "bars", HNS, _RATES, GAMES_17),
        Panel(
            "dormant",
            "DemonAttack, dormant neurons",
            "curve",
            dormant(0.1),
            _RATES,
            DEMON,
            "gradient_steps",
        ),
    ],
    claims=[
        Claim(
            "A lower learning rate leaves fewer neurons dormant",
            "below",
            [Term("dormant", "DQN, learning rate / 4"), Term("dormant", "DQN")],
            unit="percentage points",
        ),
        Claim(
            "ReDo ends above DQN with the lower learning rate",
            "above",
            [Term("iqm", "DQN + ReDo"), Term("iqm", "DQN, learning rate / 4")],
        ),
    ],
    paper_budget=f"{TO_10M}, 17 games",
    note="Layout and threshold of the paper's figure are recalled, not seen; its dormant values "
    "were read by eye.",
    needs=(
        dqn_runs(PAIR, GAMES_17, replay_ratio=1),
        dqn_runs(("none",), GAMES_17, replay_ratio=1, learning_rate=6.25e-5 / 4, shared=False),
    ),
)

WIDTHS = (1, 2, 4)
_WIDE = [
    dqn(
        method,
        f"DQN{' + ReDo' if method == 'redo' else ''}, width {width}",
        replay_ratio=1,
        width=width,
    )
    for method in ("none", "redo")
    for width in WIDTHS
]

FIGURE_12 = Entry(
    figure="12",
    title="Wider networks",
    question="Does over-parameterisation make up for dormant neurons?",
    panels=[
        Panel(
            "iqm",
            "17 games, replay ratio 1",
            "final",
            HNS,
            [dqn(replay_ratio=1, width=WIDTHS), dqn("redo", replay_ratio=1, width=WIDTHS)],
            GAMES_17,
            "width",
            WIDTHS,
            x_label="width (factor on every layer)",
        ),
        Panel(
            "dormant",
            "DemonAttack, dormant neurons",
            "curve",
            dormant(0.1),
            _WIDE,
            DEMON,
            "gradient_steps",
        ),
    ],
    claims=[
        Claim(
            f"At width {width}, ReDo ends above DQN",
            "above",
            [Term("iqm", "DQN + ReDo", width), Term("iqm", "DQN", width)],
        )
        for width in WIDTHS
    ]
    + [
        Claim(
            "Width 4 does not lower the share of dormant neurons",
            "above",
            [Term("dormant", "DQN, width 4"), Term("dormant", "DQN, width 1")],
            unit="percentage points",
        )
    ],
    paper_budget=f"{TO_10M}, 17 games",
    needs=(
        # width 1, not named: where a budget has no other size for heavy runs, it is Figure 1's
        dqn_runs(PAIR, GAMES_17, replay_ratio=1, heavy=True),
        *(
            dqn_runs(PAIR, GAMES_17, replay_ratio=1, width=width, heavy=True)
            for width in WIDTHS[1:]
        ),
    ),
)

_METHODS = method_series(dqn, replay_ratio=1)

FIGURE_13 = Entry(
    figure="13",
    title="Other ways to regularise DQN",
    question="Is ReDo better than resetting layers or weight decay?",
    panels=[
        Panel("iqm", "17 games, replay ratio 1", "bars", HNS, _METHODS, GAMES_17),
        Panel("DemonAttack", "DemonAttack, return", "curve", RETURN, _METHODS, DEMON),
    ],
    claims=[
        Claim(
            f"ReDo ends above {other}",
            "above",
            [Term("iqm", "DQN + ReDo"), Term("iqm", f"DQN + {other}")],
        )
        for other in ("WD", "Reset")
    ]
    + [
        Claim(
            "A run with ReDo beats a run with weight decay on the same game more often than not",
            "improvement",
            [Term("iqm", "DQN + ReDo"), Term("iqm", "DQN + WD")],
            margin=0.5,
            unit="probability",
        )
    ],
    paper_budget=f"{TO_10M}, 17 games",
    note=RESET_NOTE,
    needs=(RATIO_1,),
)

ENTRIES = (FIGURE_1, FIGURE_10_WHOLE, *FIGURE_10, FIGURE_11, FIGURE_12, FIGURE_13)
