"""The experiments that are no training runs: Figures 3, 4 and 8, and how large they are.

``dormant.studies`` has what each arm learns and what the paper leaves open about it. Sizes, by
budget:

supervised  The paper's 10,000 images of CIFAR-10, 100 epochs, targets changed every 20, 3 seeds.
            ``laptop`` asks it of scikit-learn's digits: the same epochs and changes, 10 seeds. Each
            of the 1,797 digits is there in three places of a 10x10 field, and layers are half as
            wide: the images have a tenth of CIFAR-10's pixels. That is 8,400 gradient steps, about
            what 10,000 images take in batches of 128. No number was tuned to an outcome. Of
            CIFAR-10, where a user brings it, ``laptop`` has the paper's images and width.
offline     The paper's 6.25 million gradient steps and 5 seeds. ``laptop`` makes 60,000, half of
            what the run made whose memory it learns from, with 10 seeds: what two cores carry.
fitting     The paper's 50,000 gradient steps, 5 seeds. ``laptop``: 25,000, by when the paper's own
            curves have settled (97% of the pretrained network's neurons dormant, 98% at the end),
            10 seeds.

Where no seed count reaches 5 (CIFAR-10 as the paper ran it) the claim is not asked: ``verdicts``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dormant.paper.games import DEMON, MINATAR, TWO
from dormant.paper.minatar.shared import runs
from dormant.paper.needs import dqn_runs
from dormant.paper.records import Claim, Entry, Measure, Panel, Series, StudyNeed, Term
from dormant.paper.shared import POINTS, dormant

FIXED, MOVING = "fixed targets", "non-stationary targets"
RENAMED, NUMBERS = "renamed classes", "random numbers"
RANDOM, PRETRAINED, DEFAULT = "random", "pretrained RR 1", "pretrained RR 0.25"
RATES = (0.01, 0.05)
SPACE = ("MinAtar/SpaceInvaders",)

_SGD = {"batch_size": 64, "momentum": 0.9, "epochs": 100, "period": 20}
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "supervised": {
        "paper": {**_SGD, "seeds": 3, "images": 10_000, "width": 1.0},
        "small": {**_SGD, "seeds": 5, "images": 10_000, "width": 1.0},
        "laptop": {**_SGD, "seeds": 10, "images": 3 * 1797, "width": 0.5},
        "smoke": {
            **{**_SGD, "epochs": 6, "period": 2},
            **{"seeds": 2, "images": 256, "width": 0.5},
        },
    },
    "offline": {
        "paper": {"seeds": 5, "gradient_steps": 6_250_000, "iterations": 25},
        "small": {"seeds": 5, "gradient_steps": 1_000_000, "iterations": 20},
        "laptop": {"seeds": 10, "gradient_steps": 60_000, "iterations": 10},
        # Any memory can be tried, whatever period its own agent has.
        "smoke": {"seeds": 2, "gradient_steps": 100, "iterations": 2, "target_update_period": 50},
    },
    "fitting": {
        "paper": {"seeds": 5, "gradient_steps": 50_000, "measured_every": 500},
        "small": {"seeds": 5, "gradient_steps": 50_000, "measured_every": 500},
        "laptop": {"seeds": 10, "gradient_steps": 25_000, "measured_every": 500},
        "smoke": {"seeds": 2, "gradient_steps": 60, "measured_every": 20},
    },
}


class Arm(NamedTuple):
    """One run of a study."""

    kind: str
    game: str
    arm: str
    settings: Mapping[str, Any]
    name: str  # its folder


def arms_of(entries: Sequence[Entry], budget: str) -> list[Arm]:
    """The studies that entries need at a budget, one run an arm, each once."""
    found = {}
    for entry in entries:
        for need in entry.studies:
            for arm in need.arms:
                own = [f"{name}={value:g}" for name, value in need.settings.items()]
                name = ",".join([need.kind, *own, arm.replace(" ", "_")])
                settings = {**_size(need, budget), **need.settings}
                folder = f"{need.game.replace('/', '_')}/{name}"
                found[folder] = Arm(need.kind, need.game, arm, settings, folder)
    return list(found.values())


def _size(need: StudyNeed, budget: str) -> dict[str, Any]:
    """Of SIZES. Those of ``laptop`` for Figure 3 are of the digits: fewer and smaller images."""
    sizes = SIZES[need.kind]
    if need.game == "CIFAR-10" and budget == "laptop":
        return {**sizes[budget], **{name: sizes["paper"][name] for name in ("images", "width")}}
    return sizes[budget]


# Figure 3
# ------------------------------------------------------------------------------------------------


def _classifier(arm: str, rate: float) -> Series:
    facts = {"agent": "classifier", "method": arm, "learning_rate": rate}
    return Series(arm, facts)


def _supervised(data: str, **more: Any) -> Entry:
    """The question asked of one data set; the panel with the published curves is named CIFAR-10."""
    panels: list[Panel] = []
    claims: list[Claim] = []
    for tau, rate in ((0.1, RATES[0]), (0.0, RATES[0]), (0.1, RATES[1]), (0.0, RATES[1])):
        name = "CIFAR-10" if (tau, rate) == (0.1, RATES[0]) else f"tau {tau:g}, rate {rate:g}"
        lines = [_classifier(arm, rate) for arm in (FIXED, MOVING, RENAMED)]
        title = f"{data}, learning rate {rate:g}"
        panel = Panel(name, title, "curve", dormant(tau), lines, [data], "agent_steps")
        panels.append(panel._replace(x_label="epochs"))
        claims += [
            Claim(
                f"More neurons are dormant where {what} (tau {tau:g}, learning rate {rate:g})",
                "above",
                [Term(name, arm), Term(name, FIXED)],
                unit=POINTS,
                published=[Term("CIFAR-10", MOVING), Term("CIFAR-10", FIXED)],
            )
            for arm, what in (
                (MOVING, "labels are reshuffled"),
                (RENAMED, "classes are renamed"),
            )
        ]
    return Entry(
        figure="3",
        title="Supervised learning with fixed and with changing targets",
        question="Is it the change of targets that makes neurons dormant?",
        panels=panels,
        claims=claims,
        paper_budget="CIFAR-10, 100 epochs, targets changed every 20, 3 seeds",
        paper_steps=100,
        shortest=100,
        unit="epochs",
        columns=2,
        studies=[
            StudyNeed("supervised", data, arms, {"learning_rate": rate})
            for arms in ((FIXED, MOVING), (RENAMED,))
            for rate in RATES
        ],
        **more,
    )


_OPEN = (
    "The paper leaves open: learning rate, threshold, and how labels are shuffled. "
    "Non-stationary targets: labels permuted among the images; renamed classes: the ten classes "
    "permuted."
)
FIGURE_3 = _supervised("CIFAR-10", note=_OPEN)
FIGURE_3_DIGITS = _supervised("digits", suite="digits", note=_OPEN)

# Figure 4
# ------------------------------------------------------------------------------------------------


def _offline_entry(games: Sequence[str], taus: Sequence[float], **more: Any) -> Entry:
    """A panel for each game and threshold; those of the first threshold are named as published."""
    lines = [
        Series(arm, {"agent": "DQN offline", "method": arm}) for arm in (FIXED, MOVING, NUMBERS)
    ]
    names = {
        (tau, game): game if tau == taus[0] else f"{game}, tau {tau:g}"
        for tau in taus
        for game in games
    }
    panels = [
        Panel(name, game, "curve", dormant(tau), lines, [game], "gradient_steps")
        for (tau, game), name in names.items()
    ]
    claims = [
        Claim(
            f"{game}: more neurons are dormant with the standard moving targets than with {other} "
            f"(tau {tau:g})",
            "above",
            [Term(name, MOVING), Term(name, other)],
            unit=POINTS,
        )
        for (tau, game), name in names.items()
        for other in (FIXED, NUMBERS)
    ]
    return Entry(
        figure="4",
        title="Offline learning with moving and with fixed targets",
        question="Do neurons become dormant on a fixed data set, and do moving targets add to it?",
        panels=panels,
        claims=claims,
        unit="gradient steps",
        studies=[
            StudyNeed("offline", game, arms)
            for arms in ((MOVING, FIXED), (NUMBERS,))
            for game in games
        ],
        note="Fixed targets: values of a frozen random network; random numbers: one for each "
        "transition. The paper does not say which.",
        **more,
    )


FIGURE_4 = _offline_entry(
    TWO,
    (0.0,),
    paper_budget="DQN Replay Dataset, 6.25M gradient steps, 5 seeds",
    paper_steps=6_250_000,
    needs=(dqn_runs(("none",), TWO, "40M", replay_ratio=0.25),),
)
FIGURE_4_MINATAR = _offline_entry(
    MINATAR,
    (0.1, 0.0),  # the paper's is not known, and the answer depends on it
    paper_budget="the same question on Atari",
    paper_steps=SIZES["offline"]["laptop"]["gradient_steps"],
    shortest=SIZES["offline"]["laptop"]["gradient_steps"],
    suite="MinAtar",
    needs=(runs(("none", "redo"), ratio=0.25),),
    columns=3,
)

# Figure 8
# ------------------------------------------------------------------------------------------------


def _fitting_entry(games: Sequence[str], **more: Any) -> Entry:
    lines = [
        Series(arm, {"agent": "DQN fitted", "method": arm}) for arm in (RANDOM, PRETRAINED, DEFAULT)
    ]
    measures = {
        "loss": Measure("learn/loss", "loss", log=True),
        "dormant": dormant(0.1),
        "dormant, tau 0": dormant(0.0),
    }
    game = games[0]
    return Entry(
        figure="8",
        title="Fitting a good agent's values",
        question="Does a network with dormant neurons fit new targets worse than a fresh one?",
        panels=[
            Panel(name, f"{game}, {name}", "curve", measure, lines, games, "gradient_steps")
            for name, measure in measures.items()
        ],
        claims=[
            Claim(text.format(arm), "above", [Term(panel, arm), Term(panel, RANDOM)], unit=unit)
            for arm in (PRETRAINED, DEFAULT)
            for panel, unit, text in (
                ("loss", "loss", "The network {} ends with a larger loss than the fresh one"),
                ("dormant", POINTS, "The network {} ends with more dormant neurons (tau 0.1)"),
                ("dormant, tau 0", POINTS, "The network {} ends with more dormant neurons (tau 0)"),
            )
        ],
        unit="gradient steps",
        studies=[StudyNeed("fitting", game, (RANDOM, PRETRAINED, DEFAULT)) for game in games],
        columns=3,
        **more,
    )


FIGURE_8 = _fitting_entry(
    DEMON,
    paper_budget="DemonAttack, 50,000 gradient steps",
    paper_steps=SIZES["fitting"]["paper"]["gradient_steps"],
    shortest=SIZES["fitting"]["paper"]["gradient_steps"],
    needs=(
        dqn_runs(("none",), DEMON, "40M", replay_ratio=0.25),
        dqn_runs(("none",), DEMON, "40M", replay_ratio=1),
    ),
)
FIGURE_8_MINATAR = _fitting_entry(
    SPACE,
    paper_budget="the same question on DemonAttack",
    paper_steps=SIZES["fitting"]["laptop"]["gradient_steps"],
    shortest=SIZES["fitting"]["laptop"]["gradient_steps"],
    suite="MinAtar",
    needs=tuple(runs(("none", "redo"), ratio=ratio)._replace(games=SPACE) for ratio in (0.25, 1)),
)

ENTRIES = (FIGURE_3, FIGURE_4, FIGURE_8)
LAPTOP_ENTRIES = (FIGURE_3_DIGITS, FIGURE_4_MINATAR, FIGURE_8_MINATAR)
