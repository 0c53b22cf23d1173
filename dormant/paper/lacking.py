"""Controls that the paper lacks and its readers ask for, the same for every suite: which neurons,
which details, what the release's faults do, ReDo's successors, networks that the score was not made
for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dormant.paper.needs import PAIR
from dormant.paper.records import Claim, Entry, Need, Series, Term
from dormant.paper.shared import POINTS

NOT_PAPER = "Not a figure of the paper: a control that it lacks."
PLAIN, REDO = "DQN", "DQN + ReDo"  # the lines of a pair

# The lines' names, and what they change.
LOWEST, ANY, HIGHEST = "lowest scores", "any neurons", "highest scores"
ARMS = {LOWEST: "score", ANY: "random", HIGHEST: "inverse"}  # the paper's Figure 15
# The release's faults (redo.released.FAULTS) that the lowest scores meet in every network:
# {fault, for people: (line with it alone, its settings)}.
ALONE: dict[str, tuple[str, dict[str, Any]]] = {
    name: (f"{LOWEST}, {name} alone", {"select": ARMS[LOWEST], "as_released": fault})
    for name, fault in (
        ("order of rows", "channel_order"),
        ("ties", "ties"),
        ("moments of biases", "bias_moments"),
    )
}
DETAILS: dict[str, dict[str, Any]] = {
    "Adam's count reset": {"count": "reset"},
    "moments kept": {"moments": "keep"},
    "incoming rescaled": {"incoming": "rescaled"},
}
METHODS = {"CBP": "continual_backprop", "S&P": "shrink_perturb", "L2 Init": "l2_init"}
GRADIENT = {"select": "gradient", "tau": 0.01}  # ReGraMa
CRELU = {"activation": "crelu"}


class Suite(NamedTuple):
    """What differs between suites that ask these controls."""

    line: Callable[..., Series]  # (method, name, **settings), at the controls' replay ratio
    arm: Callable[..., Need]  # (methods, **settings): runs of this question alone
    pair: Sequence[Need]  # runs without and with ReDo; the last has those with it
    bars: Callable[..., Entry]  # (figure, title, question, lines, claims, needs, note)
    little: str  # 0.05, as the returns of this suite have it
    of_plain: str  # unit of a difference of returns, where plain DQN has its own line
    of_redo: str  # and where it has not
    layer_norm: Mapping[str, Any]  # settings of a network with LayerNorm; {}: there is none
    residual: str  # name of its residual network
    fault_b2: bool  # whether that is the release's, of which it recycles a part wrongly


def controls(suite: Suite) -> tuple[Entry, ...]:
    """The entries size_matched, details, released, successors and score."""
    asked = (_size_matched, _details, _released, _successors, _score)
    return tuple(make(suite) for make in asked)


def _size_matched(suite: Suite) -> Entry:
    what = {"select": "size_matched_random"}
    return suite.bars(
        "size_matched",
        "As many neurons, but any of them",
        "Does it matter which neurons are recycled, if they are as many as are dormant?",
        [*_pair(suite), suite.line("redo", "size-matched random", **what)],
        [
            _above(
                suite.of_plain,
                "ReDo ends above recycling as many neurons of each layer at random",
                REDO,
                "size-matched random",
            )
        ],
        (*suite.pair, suite.arm(("redo",), **what)),
        NOT_PAPER,
    )


def _details(suite: Suite) -> Entry:
    return suite.bars(
        "details",
        "Which details of recycling matter",
        "Do Adam's step count, its moments, or the scale of the redrawn weights matter?",
        [suite.line("redo"), *(suite.line("redo", name, **own) for name, own in DETAILS.items())],
        [_within(suite, f"ReDo with {name}", name) for name in DETAILS],
        (*suite.pair[-1:], *(suite.arm(("redo",), **own) for own in DETAILS.values())),
        NOT_PAPER,
    )


def _released(suite: Suite) -> Entry:
    faulty = {"as_released": True}
    orders: dict[str, dict[str, Any]] = {
        f"{name}, {end}": {"select": by, "as_released": fault}
        for name, by in ARMS.items()
        for end, fault in (("ties broken", False), ("as released", True))
    }
    network = {"network": suite.residual}
    lines = [suite.line("redo"), suite.line("redo", "as released", **faulty)]
    claims = [
        _within(
            suite, "Recycling as released (faults B1 and kept moments of biases)", "as released"
        )
    ]
    needs = [*suite.pair[-1:], suite.arm(("redo",), **faulty)]
    if suite.fault_b2:
        right, wrong = "ResNet + ReDo", "ResNet, as released"
        lines += [
            suite.line("redo", right, **network, as_released=False),
            suite.line("redo", wrong, **network, **faulty),
        ]
        text = "Recycling the ResNet as released (faults B1 and B2, kept moments of biases)"
        claims.append(_within(suite, text, wrong, right))
        needs += [suite.arm(("redo",), **network, **own) for own in ({}, faulty)]
    mended = f"{LOWEST}, ties broken"
    text = "With budgets matched, the lowest scores still end above any neurons"
    claims.append(_above(suite.of_redo, text, mended, f"{ANY}, ties broken"))
    text = "As released, the lowest scores still end above any neurons"
    claims.append(_above(suite.of_redo, text, f"{LOWEST}, as released", f"{ANY}, as released"))
    claims += [
        _within(
            suite,
            f"Recycling {name if name == ANY else f'the {name}'} as released",
            f"{name}, as released",
            f"{name}, ties broken",
        )
        for name in ARMS
    ]
    claims += [
        _within(suite, f"Recycling the {LOWEST} with one fault, {name},", line, mended)
        for name, (line, _) in ALONE.items()
    ]
    needs += [suite.arm(("redo",), select=by) for by in ARMS.values()]
    needs += [suite.arm(("redo",), select=by, **faulty) for by in ARMS.values()]
    needs += [suite.arm(("redo",), **own) for _, own in ALONE.values()]
    return suite.bars(
        "released",
        "What the release's faults do",
        "Do the faults of the authors' code change dormancy or returns?",
        [
            *lines,
            *(suite.line("redo", name, **own) for name, own in [*orders.items(), *ALONE.values()]),
        ],
        claims,
        tuple(needs),
        f"{NOT_PAPER} The claims about Figure 15's arms as released were added when their returns "
        "were known; those about one fault alone before these were.",
    )


def _successors(suite: Suite) -> Entry:
    norm = {"LayerNorm": suite.layer_norm} if suite.layer_norm else {}
    lines = [
        suite.line("redo", "ReGraMa", **GRADIENT),
        *(suite.line(method, name) for name, method in METHODS.items()),
        *(suite.line(name=name, **own) for name, own in ({"CReLU": CRELU} | norm).items()),
    ]
    return suite.bars(
        "successors",
        "ReDo beside its successors",
        "Do later methods against the loss of plasticity do better than ReDo?",
        [*_pair(suite), *lines],
        [
            _above(suite.of_plain, f"{line.name} ends above {other}", line.name, than)
            for other, than in (("ReDo", REDO), ("DQN", PLAIN))
            for line in lines
        ],
        (
            *suite.pair,
            suite.arm(("redo",), **GRADIENT),
            suite.arm(tuple(METHODS.values())),
            suite.arm(("none",), **CRELU),
            *(suite.arm(PAIR, **own) for own in norm.values()),  # as the entry score has it
        ),
        f"{NOT_PAPER} Values of each method are its paper's, where it has one: none was tuned. "
        "On MinAtar CReLU doubles the network's parameters. The claims against DQN were added when "
        "the returns of ReGraMa, CReLU and LayerNorm were known.",
    )


def _score(suite: Suite) -> Entry:
    """Below 0 or far from it an activation is no sign of use (tanh), a normalised layer has no
    scale, a residual stream has no single owner.
    """
    networks: dict[str, Mapping[str, Any]] = {
        "GELU": {"activation": "gelu"},
        "tanh": {"activation": "tanh"},
        **({"LayerNorm": suite.layer_norm} if suite.layer_norm else {}),
        "ResNet": {"network": suite.residual},
    }
    return suite.bars(
        "score",
        "Where the score may fail",
        "Does ReDo help networks that the dormant score was not made for?",
        [
            *_pair(suite),
            *(
                suite.line(method, f"{name}{end}", **own)
                for name, own in networks.items()
                for method, end in zip(PAIR, ("", " + ReDo"))
            ),
        ],
        [
            _above(
                suite.of_plain,
                f"With {name}, the return is higher with ReDo",
                f"{name} + ReDo",
                name,
            )
            for name in networks
        ]
        + [
            Claim(
                f"With {name}, fewer neurons are dormant with ReDo",
                "below",
                [Term("dormant", f"{name} + ReDo"), Term("dormant", name)],
                unit=POINTS,
            )
            for name in networks
        ],
        (*suite.pair, *(suite.arm(PAIR, **own) for own in networks.values())),
        f"{NOT_PAPER} The claims about dormant neurons were added when LayerNorm's were known, and "
        "before the others were run.",
    )


def _pair(suite: Suite) -> list[Series]:
    return [suite.line(method, name) for method, name in zip(PAIR, (PLAIN, REDO))]


def _terms(names: Iterable[str]) -> list[Term]:
    return [Term("iqm", name) for name in names]


def _above(unit: str, text: str, *names: str) -> Claim:
    return Claim(text, "above", _terms(names), unit=unit)


def _within(suite: Suite, text: str, name: str, other: str = REDO) -> Claim:
    text = f"{text} makes no difference (less than {suite.little})"
    return Claim(text, "within", _terms((name, other)), margin=0.05, unit=suite.of_redo)
