"""Controls: overlap and pruning (Figures 5, 6, 19), selection (15), and what the paper lacks.

Neither threshold, period nor the historical set of Figures 5, 6 and 19 are known to us
(docs/paper.md, 3.10): all three sets are drawn, and tau is 0.
"""

from functools import partial
from typing import Any

from dormant.paper.games import DEMON, GAMES_5, MUJOCO, TWO
from dormant.paper.needs import (
    LONG_RUNS,
    PAIR,
    RATIO_1_REDO,
    ablation,
    dqn_runs,
    on_five_games,
    sac_runs,
)
from dormant.paper.records import Claim, Entry, Measure, Panel, Series, Term
from dormant.paper.shared import (
    HNS,
    RETURN,
    TO_10M,
    dormant,
    dqn,
    helps,
    sac,
    still_helps,
    with_and_without,
)

_FIVE = f"{TO_10M}, 5 games"
_NOT_PAPER = "Not a figure of the paper: a control that it lacks."
OVERLAP = "overlap/union/tau=0/online/Dense_0"
# the line's name -> the historical set; "overlap" is what the paper calls its line
SETS = {"overlap": "union", "with the first log": "first", "with the log before": "previous"}


def overlap_series(plain: Series) -> tuple[Series, ...]:
    """One line for each historical set."""
    return tuple(
        plain._replace(name=name, metric=OVERLAP.replace("union", which))
        for name, which in SETS.items()
    )


FIGURE_5 = Entry(
    figure="5",
    title="Do dormant neurons stay dormant?",
    question="How many of the neurons that are dormant now were dormant before?",
    panels=[
        Panel(
            game,
            game,
            "curve",
            Measure(OVERLAP, "overlap coefficient (%), penultimate layer", 100),
            overlap_series(dqn(replay_ratio=0.25, metrics="overlap")),
            [game],
            "gradient_steps",
        )
        for game in TWO
    ],
    claims=[
        Claim(
            f"{game}: the overlap grows over the second half of training",
            "above",
            [Term(game, "overlap", part="rise")],
            unit="percentage points",
        )
        for game in TWO
    ],
    paper_budget="100M frames (6.25M gradient steps at replay ratio 0.25), 5 seeds",
    paper_steps=25_000_000,
    note="The paper does not say what its historical set is. The line named overlap is with all "
    "neurons found dormant at any earlier log; the others are with the first and the last one. No "
    "point is drawn where one of the sets is empty.",
    needs=(LONG_RUNS,),
)

FIGURE_6 = Entry(
    figure="6",
    title="Pruning dormant neurons",
    question="Does it harm the agent to silence every neuron that is found dormant, for good?",
    panels=[
        *(
            Panel(
                game,
                game,
                "curve",
                RETURN,
                [
                    dqn(name="standard", replay_ratio=0.25),
                    dqn("prune", "pruned", replay_ratio=0.25),
                ],
                [game],
            )
            for game in TWO
        ),
        Panel(
            "iqm",
            "both games, at the end",
            "bars",
            HNS,
            [dqn(name="standard", replay_ratio=0.25), dqn("prune", "pruned", replay_ratio=0.25)],
            TWO,
        ),
    ],
    claims=[
        Claim(
            "The pruned agent is no worse (by less than 0.05)",
            "above",
            [Term("iqm", "pruned"), Term("iqm", "standard")],
            margin=-0.05,
        )
    ],
    paper_budget="40M frames, 5 seeds",
    paper_steps=10_000_000,
    note="Threshold and period of the paper's pruning are not known to us; taken as 0 and 1000 "
    "gradient steps.",
    needs=(
        dqn_runs(("none",), TWO, "40M", replay_ratio=0.25),
        dqn_runs(("prune",), TWO, "40M", replay_ratio=0.25, shared=False),
    ),
)

_LOSS = {"Ant": 500, "HalfCheetah": 1000}  # about a tenth of SAC's final return

FIGURE_19 = Entry(
    figure="19",
    title="Pruning dormant neurons in SAC",
    question="Is pruning as harmless in continuous control?",
    panels=[
        Panel(
            task,
            task,
            "curve",
            RETURN,
            [sac(name="standard"), sac("prune", "pruned")],
            [task],
            "agent_steps",
        )
        for task in MUJOCO[:2]
    ],
    claims=[
        Claim(
            f"{task}: the pruned agent is no worse (by less than {_LOSS[task]})",
            "above",
            [Term(task, "pruned"), Term(task, "standard")],
            margin=-_LOSS[task],
            unit="return",
        )
        for task in MUJOCO[:2]
    ],
    paper_budget="1M environment steps, 10 seeds, -v2 environments",
    paper_steps=1_000_000,
    note="Threshold and period of the paper's pruning are not known to us; taken as 0 and 1000 "
    "gradient steps, in actor, critics and target critics.",
    needs=(
        sac_runs(("none",), MUJOCO[:2]),
        sac_runs(("prune",), MUJOCO[:2])._replace(shared=False),
    ),
)

ARMS = {"redo": "score", "random": "random", "inverse": "inverse"}  # the paper's name: select

FIGURE_15 = Entry(
    figure="15",
    title="Which neurons to recycle",
    question="Does it matter that the neurons with the lowest scores are recycled?",
    panels=[
        Panel(
            game,
            game,
            "curve",
            RETURN,
            [dqn("redo", name, replay_ratio=1, select=by) for name, by in ARMS.items()],
            [game],
        )
        for game in TWO
    ],
    claims=[
        Claim(
            f"{game}: recycling the lowest scores ends above recycling {what}",
            "above",
            [Term(game, "redo"), Term(game, name)],
            unit="return",
        )
        for game in TWO
        for name, what in (("random", "any neurons"), ("inverse", "the highest scores"))
    ],
    paper_budget=f"{TO_10M}, 2 games",
    note="All arms recycle the same number of neurons: ties are broken. In the authors' code they "
    "are not (fault B12); for that, see the entry released. The replay ratio is inferred.",
    needs=tuple(
        dqn_runs(("redo",), TWO, replay_ratio=1, select=by, shared=False) for by in ARMS.values()
    ),
)


def _five_games(
    figure: str, title: str, question: str, series: list, claims: list, needs: tuple
) -> Entry:
    """IQM and dormant neurons over the five games, at replay ratio 1."""
    return Entry(
        figure=figure,
        title=title,
        question=question,
        panels=[
            Panel("iqm", "5 games, replay ratio 1", "bars", HNS, series, GAMES_5),
            Panel("dormant", "dormant neurons", "bars", dormant(0.1), series, GAMES_5),
        ],
        claims=claims,
        paper_budget=_FIVE,
        note=_NOT_PAPER,
        columns=1 if len(series) > 5 else 2,
        needs=needs,
    )


_REDO = dqn("redo", replay_ratio=1)
_RATIO_1_PAIR = (dqn_runs(("none",), GAMES_5, replay_ratio=1), RATIO_1_REDO)


def _within(name: str, text: str) -> Claim:
    terms = [Term("iqm", name), Term("iqm", _REDO.name)]
    return Claim(f"{text} makes no difference (less than 0.05)", "within", terms, margin=0.05)


SIZE_MATCHED = _five_games(
    "size_matched",
    "As many neurons, but any of them",
    "Does it matter which neurons ReDo recycles, where their number is the same?",
    [
        dqn(replay_ratio=1),
        _REDO,
        dqn("redo", "size-matched random", replay_ratio=1, select="size_matched_random"),
    ],
    [
        Claim(
            "ReDo ends above recycling as many neurons of each layer at random",
            "above",
            [Term("iqm", _REDO.name), Term("iqm", "size-matched random")],
        )
    ],
    (*_RATIO_1_PAIR, *ablation({"select": "size_matched_random"})),
)

_AS_RELEASED: dict[str, Any] = {"as_released": True}
_RESNETS = {"ResNet + ReDo": False, "ResNet, as released": True}  # faults B1 and B2 together

RELEASED = _five_games(
    "released",
    "What the release's faults do",
    "Do the faults of the authors' code change dormancy or returns?",
    [
        _REDO,
        dqn("redo", "as released", replay_ratio=1, **_AS_RELEASED),
        *(
            dqn("redo", name, replay_ratio=1, network="resnet", as_released=fault)
            for name, fault in _RESNETS.items()
        ),
        *(
            dqn("redo", f"{name}, {end}", replay_ratio=1, select=by, as_released=fault)
            for name, by in ARMS.items()
            for end, fault in (("ties broken", False), ("as released", True))
        ),
    ],
    [
        _within("as released", "Recycling as released (faults B1 and kept moments of biases)"),
        Claim(
            "Recycling the ResNet as released (faults B1 and B2, kept moments of biases) makes no "
            "difference (less than 0.05)",
            "within",
            [Term("iqm", name) for name in reversed(_RESNETS)],
            margin=0.05,
        ),
        Claim(
            "With budgets matched, the lowest scores still end above any neurons",
            "above",
            [Term("iqm", "redo, ties broken"), Term("iqm", "random, ties broken")],
        ),
    ],
    (
        RATIO_1_REDO,
        *ablation(_AS_RELEASED, {"network": "resnet", **_AS_RELEASED}),
        on_five_games(PAIR, network="resnet"),
        *ablation(*({"select": by} for by in ARMS.values())),
        *ablation(*({"select": by, **_AS_RELEASED} for by in ARMS.values())),
    ),
)

DETAILS_OF: dict[str, dict[str, Any]] = {  # the line's name: what it changes
    "Adam's count reset": {"count": "reset"},
    "moments kept": {"moments": "keep"},
    "incoming rescaled": {"incoming": "rescaled"},
}

DETAILS = _five_games(
    "details",
    "Which details of recycling matter",
    "Do Adam's step count, its moments, or the scale of the redrawn weights matter?",
    [_REDO, *(dqn("redo", name, replay_ratio=1, **what) for name, what in DETAILS_OF.items())],
    [_within(name, f"ReDo with {name}") for name in DETAILS_OF],
    (RATIO_1_REDO, *ablation(*DETAILS_OF.values())),
)

SUCCESSORS_OF: dict[
    str, tuple[str, dict[str, Any]]
] = {  # the line's name: (method, what it changes)
    "ReGraMa": ("redo", {"select": "gradient", "tau": 0.01}),
    "CBP": ("continual_backprop", {}),
    "S&P": ("shrink_perturb", {}),
    "L2 Init": ("l2_init", {}),
    "CReLU": ("none", {"activation": "crelu"}),
}

SUCCESSORS = _five_games(
    "successors",
    "ReDo beside its successors",
    "Do later methods against the loss of plasticity do better than ReDo?",
    [
        dqn(replay_ratio=1),
        _REDO,
        *(
            dqn(method, name, replay_ratio=1, **own)
            for name, (method, own) in SUCCESSORS_OF.items()
        ),
    ],
    [
        Claim(f"{name} ends above ReDo", "above", [Term("iqm", name), Term("iqm", _REDO.name)])
        for name in SUCCESSORS_OF
    ],
    (
        *_RATIO_1_PAIR,
        *(on_five_games((method,), **own) for method, own in SUCCESSORS_OF.values()),
    ),
)

# the lines' name: a network for which the score was not made. Below 0 or far from it an activation
# is no sign of use (tanh), a normalised layer has no scale, a residual stream has no single owner.
SCORED_OF: dict[str, dict[str, Any]] = {
    "GELU": {"activation": "gelu"},
    "tanh": {"activation": "tanh"},
    "ResNet": {"network": "resnet"},
}

SCORE = _five_games(
    "score",
    "Where the score may fail",
    "Does ReDo help networks that the dormant score was not made for?",
    [
        dqn(replay_ratio=1),
        _REDO,
        *with_and_without(partial(dqn, replay_ratio=1), SCORED_OF),
    ],
    helps(SCORED_OF),
    (
        *_RATIO_1_PAIR,
        *(on_five_games(PAIR, **own) for own in SCORED_OF.values()),
    ),
)

_LONG = [dqn(replay_ratio=0.25), dqn("redo", prefer={"tau": 0.025}, replay_ratio=0.25)]

LONGER = Entry(
    figure="longer",
    title="Longer than the paper",
    question="Does ReDo still help where the paper stops looking?",
    panels=[
        Panel("return", "DemonAttack, return", "curve", RETURN, _LONG, DEMON),
        Panel("dormant", "DemonAttack, dormant neurons", "curve", dormant(0.025), _LONG, DEMON),
    ],
    claims=still_helps("100M frames"),
    paper_budget="40M frames (Figure 9), 5 seeds",
    paper_steps=25_000_000,
    note="Not a figure of the paper. A user of the authors' code saw ReDo degrade after 64M frames "
    "of DemonAttack, with one seed, where plain DQN did not (timoklein/redo, issue 8).",
    needs=(
        LONG_RUNS,
        dqn_runs(("redo",), DEMON, "100M", replay_ratio=0.25, tau=0.025, shared=False),
    ),
)

ENTRIES = (
    FIGURE_5,
    FIGURE_6,
    FIGURE_15,
    FIGURE_19,
    SIZE_MATCHED,
    RELEASED,
    DETAILS,
    SUCCESSORS,
    SCORE,
    LONGER,
)
