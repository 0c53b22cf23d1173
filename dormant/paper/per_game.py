"""One panel a game: Figures 26 to 29, and what the paper leaves out: performance profiles and other
aggregates.
"""

from collections.abc import Callable, Sequence

from dormant.paper.games import GAMES_17, GAMES_26
from dormant.paper.needs import PAIR, RATIO_1, dqn_runs, drq_runs
from dormant.paper.records import Claim, Entry, Need, Panel, Series, Term
from dormant.paper.shared import HNS, RETURN, TO_10M, dqn, drq, method_series


def _per_game(
    figure: str, setting: str, series: Sequence[Series], needs: Sequence[Need], budget: str
) -> Entry:
    games = needs[0].games
    base, redo = series[0].name, series[1].name
    return Entry(
        figure=figure,
        title=f"Every game: {setting}",
        question="In which games does ReDo help?",
        panels=[Panel("iqm", f"{len(games)} games", "bars", HNS, series, games)]
        + [Panel(game, game, "curve", RETURN, series, [game]) for game in sorted(games)],
        claims=[
            Claim(
                f"{setting}: in more than half of pairs a run with ReDo beats one without",
                "improvement",
                [Term("iqm", redo), Term("iqm", base)],
                margin=0.5,
                unit="probability",
            )
        ],
        paper_budget=budget,
        note="The paper's curves of single games are not known to us as numbers.",
        columns=6,
        needs=needs,
    )


def _pair(make: Callable[..., Series], ratio: float, **prefer: object) -> tuple[Series, Series]:
    return make(replay_ratio=ratio), make("redo", replay_ratio=ratio, **prefer)


_DRQ_BUDGET, _LONG = "400K agent steps, 26 games, 10 seeds", "40M frames, 17 games, 5 seeds"
FIGURES = (
    _per_game(
        "26",
        "DQN, replay ratio 1",
        _pair(dqn, 1),
        (dqn_runs(PAIR, GAMES_17, replay_ratio=1),),
        f"{TO_10M}, 17 games",
    ),
    _per_game(
        "27",
        "DQN, replay ratio 0.25",
        _pair(dqn, 0.25, prefer={"tau": 0.025}),
        (
            dqn_runs(("none",), GAMES_17, "40M", replay_ratio=0.25),
            dqn_runs(("redo",), GAMES_17, "40M", replay_ratio=0.25, tau=0.025, shared=False),
        ),
        _LONG,
    )._replace(paper_steps=10_000_000),
    *(
        _per_game(
            figure,
            f"DrQ(eps), replay ratio {ratio}",
            _pair(drq, ratio),
            drq_runs(PAIR, GAMES_26, ratio),
            _DRQ_BUDGET,
        )._replace(paper_steps=400_000)
        for figure, ratio in (("28", 4), ("29", 1))
    ),
)

_METHODS = method_series(dqn, replay_ratio=1)
PROFILES = Entry(
    figure="profiles",
    title="Aggregates and performance profiles at replay ratio 1",
    question="Does the ranking of Figure 1 depend on the statistic?",
    panels=[
        Panel("profile", "performance profile", "profile", HNS, _METHODS, GAMES_17),
        *(
            Panel(
                name, title, "bars", HNS._replace(label=title, statistic=name), _METHODS, GAMES_17
            )
            for name, title in (
                ("iqm", "IQM"),
                ("median", "median"),
                ("mean", "mean"),
                ("optimality gap", "optimality gap (lower is better)"),
            )
        ),
    ],
    claims=[
        Claim(
            f"{name} of ReDo lies above that of DQN",
            "above",
            [Term(name, "DQN + ReDo"), Term(name, "DQN")],
            unit=name,
        )
        for name in ("iqm", "median", "mean")
    ],
    paper_budget=f"{TO_10M}, 17 games",
    note="Not a figure of the paper: the runs of Figure 1 under the statistics that Agarwal et al. "
    "(2021) recommend.",
    columns=5,
    needs=(RATIO_1,),
)

ENTRIES = (*FIGURES, PROFILES)
