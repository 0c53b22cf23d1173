"""Controls on MinAtar: overlap, pruning and selection (Figures 5, 6 and 15), and what the paper
lacks. All at replay ratio 0.25: why, the package's docstring says.
"""

from typing import Any

from dormant.paper.controls import (
    ARMS,
    DETAILS_OF,
    OVERLAP,
    SETS,
    SUCCESSORS_OF,
    overlap_series,
)
from dormant.paper.games import MINATAR
from dormant.paper.minatar.shared import (
    POINTS,
    RELATIVE,
    RETURN,
    STEPS,
    by_game,
    entry,
    runs,
    series,
)
from dormant.paper.needs import PAIR
from dormant.paper.records import Claim, Entry, Measure, Need, Panel, Series, Term
from dormant.paper.shared import dormant, helps, still_helps, with_and_without

RATIO = 0.25
_DQN, _REDO = "DQN's return", "ReDo's return"
_ATARI = "the same question on Atari"
_NOT_PAPER = "Not a figure of the paper: a control that it lacks."


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
)


def _bars(
    figure: str, title: str, question: str, lines: list, claims: list, needs: tuple, note: str
) -> Entry:
    """Returns relative to the first line, and dormant neurons, at replay ratio 0.25."""
    return entry(
        figure,
        title,
        question,
        panels=[
            Panel("iqm", "all games, replay ratio 0.25", "bars", RELATIVE, lines, MINATAR),
            Panel("dormant", "dormant neurons", "bars", dormant(0.1), lines, MINATAR),
        ],
        claims=claims,
        needs=needs,
        note=f"{note} 1 is {lines[0].name}.",
        columns=1 if len(lines) > 5 else 2,
    )._replace(paper_budget="no such figure" if note.startswith(_NOT_PAPER) else _ATARI)


_SELECTED = tuple(_arm(("redo",), select=by) for by in ARMS.values())

FIGURE_15 = _bars(
    "15",
    "Which neurons to recycle",
    "Does it matter that the neurons with the lowest scores are recycled?",
    [_line("redo", name, select=by) for name, by in ARMS.items()],
    [
        Claim(
            f"Recycling the lowest scores ends above recycling {what}",
            "above",
            [Term("iqm", "redo"), Term("iqm", name)],
            unit=_REDO,
        )
        for name, what in (("random", "any neurons"), ("inverse", "the highest scores"))
    ],
    _SELECTED,
    "All arms recycle the same number of neurons: ties are broken. As far as we know the paper has "
    "replay ratio 1.",
)

SIZE_MATCHED = _bars(
    "size_matched",
    "As many neurons, but any of them",
    "Does it matter which neurons ReDo recycles, where their number is the same?",
    [
        *_PAIR,
        _line("redo", "size-matched random", select="size_matched_random"),
    ],
    [
        Claim(
            "ReDo ends above recycling as many neurons of each layer at random",
            "above",
            [Term("iqm", "DQN + ReDo"), Term("iqm", "size-matched random")],
            unit=_DQN,
        )
    ],
    (_PAIR_RUNS, _arm(("redo",), select="size_matched_random")),
    _NOT_PAPER,
)


def _within(name: str, text: str) -> Claim:
    return Claim(
        f"{text} makes no difference (less than 5%)",
        "within",
        [Term("iqm", name), Term("iqm", "DQN + ReDo")],
        margin=0.05,
        unit=_REDO,
    )


RELEASED = _bars(
    "released",
    "What the release's faults do",
    "Do the faults of the authors' code change dormancy or returns?",
    [
        _line("redo"),
        _line("redo", "as released", as_released=True),
        *(
            _line("redo", f"{name}, {end}", select=by, as_released=fault)
            for name, by in ARMS.items()
            for end, fault in (("ties broken", False), ("as released", True))
        ),
    ],
    [
        _within("as released", "Recycling as released (faults B1 and kept moments of biases)"),
        Claim(
            "With budgets matched, the lowest scores still end above any neurons",
            "above",
            [Term("iqm", "redo, ties broken"), Term("iqm", "random, ties broken")],
            unit=_REDO,
        ),
    ],
    (
        _PAIR_RUNS,
        _arm(("redo",), as_released=True),
        *_SELECTED,
        *(_arm(("redo",), select=by, as_released=True) for by in ARMS.values()),
    ),
    _NOT_PAPER,
)

DETAILS = _bars(
    "details",
    "Which details of recycling matter",
    "Do Adam's step count, its moments, or the scale of the redrawn weights matter?",
    [
        _line("redo"),
        *(_line("redo", name, **what) for name, what in DETAILS_OF.items()),
    ],
    [_within(name, f"ReDo with {name}") for name in DETAILS_OF],
    (_PAIR_RUNS, *(_arm(("redo",), **what) for what in DETAILS_OF.values())),
    _NOT_PAPER,
)

_METHODS = ("continual_backprop", "shrink_perturb", "l2_init")
_LAYER_NORM: dict[str, Any] = {"network": "minatar_layer_norm"}

SUCCESSORS = _bars(
    "successors",
    "ReDo beside its successors",
    "Do later methods against the loss of plasticity do better than ReDo?",
    [
        *_PAIR,
        *(_line(method, name, **own) for name, (method, own) in SUCCESSORS_OF.items()),
        _line(name="LayerNorm", **_LAYER_NORM),
    ],
    [
        Claim(
            f"{name} ends above ReDo",
            "above",
            [Term("iqm", name), Term("iqm", "DQN + ReDo")],
            unit=_DQN,
        )
        for name in (*SUCCESSORS_OF, "LayerNorm")
    ],
    (
        _PAIR_RUNS,
        _arm(_METHODS),
        _arm(("redo",), select="gradient", tau=0.01),
        _arm(("none",), activation="crelu"),
        _arm(PAIR, **_LAYER_NORM),  # the entry score has both
    ),
    f"{_NOT_PAPER} Values of each method are its paper's, where it has one: none was tuned.",
)

_SCORED_OF: dict[str, dict[str, Any]] = {
    "GELU": {"activation": "gelu"},
    "tanh": {"activation": "tanh"},
    "LayerNorm": _LAYER_NORM,
    "ResNet": {"network": "minatar_resnet"},
}

SCORE = _bars(
    "score",
    "Where the score may fail",
    "Does ReDo help networks that the dormant score was not made for?",
    [
        *_PAIR,
        *with_and_without(_line, _SCORED_OF),
    ],
    helps(_SCORED_OF, _DQN),
    (_PAIR_RUNS, *(_arm(PAIR, **own) for own in _SCORED_OF.values())),
    _NOT_PAPER,
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

ENTRIES = (
    FIGURE_6,
    FIGURE_15,
    SIZE_MATCHED,
    FIGURE_5,
    DETAILS,
    RELEASED,
    SUCCESSORS,
    SCORE,
    LONGER,
)
