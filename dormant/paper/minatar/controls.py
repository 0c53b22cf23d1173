"""Controls on MinAtar: overlap, pruning, selection and the score batch (Figures 5, 6, 15 and 24),
and what the paper lacks. All at replay ratio 0.25: why, the package's docstring says.
"""

from typing import Any

from dormant.paper.controls import OVERLAP, SETS, overlap_series
from dormant.paper.games import MINATAR
from dormant.paper.lacking import ANY, ARMS, HIGHEST, LOWEST, NOT_PAPER, Suite, controls
from dormant.paper.minatar.shared import (
    ATARI,
    RELATIVE,
    RETURN,
    STEPS,
    by_game,
    entry,
    relative_to,
    runs,
    series,
)
from dormant.paper.needs import PAIR
from dormant.paper.records import Claim, Entry, Measure, Need, Panel, Series, Term
from dormant.paper.shared import POINTS, dormant, still_helps

RATIO = 0.25
_REDO = "ReDo's return"


def _line(method: str = "none", name: str = "", **where: Any) -> Series:
    return series(method, name, replay_ratio=RATIO, **where)


def _arm(methods: tuple[str, ...], **what: Any) -> Need:
    """Runs that no other entry has."""
    return runs(methods, ratio=RATIO, shared=False, **what)


_PAIR = (_line(), _line("redo"))
_PAIR_RUNS = runs(PAIR, ratio=RATIO)

FIGURE_5 = entry(
    "5",
    "Do dormant neurons stay dormant?",
    "How many of the neurons that are dormant now were dormant before?",
    panels=by_game(
        Measure(OVERLAP, "overlap coefficient (%), penultimate layer", 100),
        overlap_series(_line(metrics="overlap")),
        x="gradient_steps",
    ),
    claims=[
        Claim(
            f"{game}: the overlap grows over the second half of training",
            "above",
            [Term(game, next(iter(SETS)), part="rise")],
            unit=POINTS,
        )
        for game in MINATAR
    ],
    needs=(_arm(("none",), metrics=("overlap",)),),
    note="The line named overlap is with all neurons found dormant at any earlier log; the others "
    "are with the first and the last one. No point is drawn where one of the sets is empty.",
)

_PRUNED = [_line(name="standard"), _line("prune", "pruned")]

FIGURE_6 = entry(
    "6",
    "Pruning dormant neurons",
    "Does it harm the agent to silence every neuron that is found dormant, for good?",
    panels=[
        Panel("iqm", "all games, replay ratio 0.25", "bars", RELATIVE, _PRUNED, MINATAR),
        *by_game(RETURN, _PRUNED),
    ],
    claims=[
        Claim(
            "The pruned agent is no worse (by less than 10%)",
            "above",
            [Term("iqm", "pruned"), Term("iqm", "standard")],
            margin=-0.1,
            unit="the standard agent's return",
        )
    ],
    needs=(_PAIR_RUNS, _arm(("prune",))),
    columns=2,
)


def _bars(
    figure: str, title: str, question: str, lines: list, claims: list, needs: tuple, note: str
) -> Entry:
    """Returns relative to the first line, and dormant neurons, at replay ratio 0.25."""
    relative = relative_to(lines[0].name)
    return entry(
        figure,
        title,
        question,
        panels=[
            Panel("iqm", "all games, replay ratio 0.25", "bars", relative, lines, MINATAR),
            Panel("dormant", "dormant neurons", "bars", dormant(0.1), lines, MINATAR),
        ],
        claims=claims,
        needs=needs,
        note=note,
        columns=1 if len(lines) > 5 else 2,
    )._replace(paper_budget="no such figure" if note.startswith(NOT_PAPER) else ATARI)


FIGURE_15 = _bars(
    "15",
    "Which neurons to recycle",
    "Does it matter that the neurons with the lowest scores are recycled?",
    [_line("redo", name, select=by) for name, by in ARMS.items()],
    [
        Claim(
            f"Recycling the lowest scores ends above recycling {what}",
            "above",
            [Term("iqm", LOWEST), Term("iqm", name)],
            unit="the return of recycling the lowest scores",
        )
        for name, what in ((ANY, ANY), (HIGHEST, f"the {HIGHEST}"))
    ],
    tuple(_arm(("redo",), select=by) for by in ARMS.values()),
    "All arms recycle the same number of neurons: ties are broken. As far as we know the paper has "
    "replay ratio 1.",
)

BATCHES = (32, 64, 1024)  # the paper's least, its own and its largest

FIGURE_24 = _bars(
    "24",
    "Size of the batch behind the scores",
    "How many transitions does it take to find the neurons that can be spared?",
    [_line(), *(_line("redo", f"batch {size}", score_batch_size=size) for size in BATCHES)],
    [
        Claim(
            "32 and 1024 transitions leave the same share of dormant neurons (within 5 points)",
            "within",
            [Term("dormant", "batch 32"), Term("dormant", "batch 1024")],
            margin=5,
            unit=POINTS,
        ),
        Claim(
            "The return is higher with scores over 1024 transitions than over 64",
            "above",
            [Term("iqm", "batch 1024"), Term("iqm", "batch 64")],
            unit="DQN's return",
        ),
    ],
    (_PAIR_RUNS, *(_arm(("redo",), score_batch_size=size) for size in (32, 1024))),
    "The claim about returns is not the paper's. It was added when ReDo's return at 64 transitions "
    "was known (Figure 9). Replay ratio and threshold of the paper's figure are not known to us.",
)

LACKING = controls(
    Suite(
        line=_line,
        arm=_arm,
        pair=(_PAIR_RUNS,),
        bars=_bars,
        little="5%",
        of_plain="DQN's return",
        of_redo=_REDO,
        layer_norm={"network": "minatar_layer_norm"},
        residual="minatar_resnet",
        fault_b2=False,
    )
)

_GAME = MINATAR[1:2]

LONGER = entry(
    "longer",
    "Longer than the paper",
    "Does ReDo still help where the paper stops looking?",
    panels=[
        Panel("return", f"{_GAME[0]}, return", "curve", RETURN, _PAIR, _GAME, "agent_steps"),
        Panel("dormant", "dormant neurons", "curve", dormant(0.1), _PAIR, _GAME, "agent_steps"),
    ],
    claims=still_helps("5,000,000 agent steps"),
    needs=(_PAIR_RUNS._replace(games=_GAME, length="100M"),),
    note="Not a figure of the paper: ten times the steps of the other entries.",
)._replace(paper_budget="no such figure", paper_steps=10 * STEPS, shortest=10 * STEPS)

ENTRIES = (FIGURE_6, FIGURE_15, FIGURE_24, FIGURE_5, *LACKING, LONGER)
