"""SAC on MuJoCo: Figures 14, 18, 20 and Table 6."""

from dormant.paper.games import MUJOCO
from dormant.paper.needs import ALL, PAIR, sac_runs
from dormant.paper.records import Claim, Entry, Panel, Term
from dormant.paper.shared import RETURN, dormant, method_series, sac

_BUDGET = "1M environment steps, 10 seeds, -v2 environments"
_METHODS = method_series(sac)


def _returns(figure: str, tasks: tuple[str, ...], columns: int) -> Entry:
    """Returns of the four methods, one panel a task."""
    return Entry(
        figure=figure,
        title="ReDo in continuous control",
        question="Does ReDo harm where there is little dormancy to remove?",
        panels=[
            Panel(name, name, "curve", RETURN, _METHODS, [name], "agent_steps") for name in tasks
        ],
        claims=[
            Claim(
                f"{name}: SAC with ReDo ends above SAC with {other}",
                "above",
                [Term(name, "SAC + ReDo"), Term(name, f"SAC + {other}")],
                unit="return",
            )
            for name in tasks
            for other in ("Reset", "WD")
        ],
        paper_budget=_BUDGET,
        paper_steps=1_000_000,
        note="Reset puts all networks back every 200,000 gradient steps, counted from the end of "
        "the warm-up of 10,000 agent steps: it is evaluated just before and about 10,000 after.",
        columns=columns,
        needs=(sac_runs(ALL, tasks),),
    )


FIGURE_14 = _returns("14", MUJOCO[:2], 2)
FIGURE_20 = _returns("20", MUJOCO, 2)

_NETWORKS = [
    sac(name=name)._replace(metric=dormant(0, f"{name}*").metric) for name in ("actor", "critic")
]

FIGURE_18 = Entry(
    figure="18",
    title="Dormant neurons in SAC",
    question="Does the phenomenon appear in actors and critics?",
    panels=[
        Panel(name, name, "curve", dormant(0, "actor*"), _NETWORKS, [name], "agent_steps")
        for name in MUJOCO
    ],
    claims=[
        Claim(
            f"Ant: dormant neurons of the {network} grow over the second half of training",
            "above",
            [Term("Ant", network, part="rise")],
            unit="percentage points",
        )
        for network in ("actor", "critic")
    ],
    paper_budget=_BUDGET,
    paper_steps=1_000_000,
    note="Paper, read by eye: about 10% of the actor and 17% of the critic on Ant-v2 at the end.",
    columns=2,
    needs=(sac_runs(("none",), MUJOCO),),
)

WIDTHS = (0.25, 0.5)

TABLE_6 = Entry(
    figure="table6",
    title="SAC with narrow networks",
    question="Does ReDo help a network that is too small?",
    panels=[
        Panel(
            "Ant",
            "Ant, final return",
            "final",
            RETURN,
            [sac(width=WIDTHS), sac("redo", width=WIDTHS)],
            ["Ant"],
            "width",
            WIDTHS,
            x_label="width (factor on every layer)",
        )
    ],
    claims=[
        Claim(
            f"At width {width:g}, ReDo ends above SAC",
            "above",
            [Term("Ant", "SAC + ReDo", width), Term("Ant", "SAC", width)],
            unit="return",
        )
        for width in WIDTHS
    ],
    paper_budget=_BUDGET,
    paper_steps=1_000_000,
    note="The published plus or minus is drawn as the published interval; its kind is not known.",
    needs=tuple(sac_runs(PAIR, MUJOCO[:1], width=width) for width in WIDTHS),
)

ENTRIES = (FIGURE_14, FIGURE_18, FIGURE_20, TABLE_6)
