"""What an entry of the list of figures is made of: plain records, no behaviour."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Measure(NamedTuple):
    """What is on the y axis."""

    # a metric's name, or "return" (evaluation, else training); a last "*" = mean of the layers so
    # begun
    metric: str
    label: str
    scale: float = 1.0  # factor on the value (100 = fraction to percent)
    normalised: bool = False  # human-normalised
    statistic: str = "mean"  # over seeds and games, of stats.STATISTICS


class Series(NamedTuple):
    """Which runs one line or bar is made of, by the facts of run.json (``load.FACTS``)."""

    name: str  # as in the published tables
    where: Mapping[str, Any] = {}  # facts that must hold; a tuple means any of its values
    prefer: Mapping[
        str, Any
    ] = {}  # the paper's settings: chosen where several were run, and said where they were not
    metric: str = ""  # instead of the panel's


class Panel(NamedTuple):
    """One pair of axes."""

    name: str  # as in the published tables
    title: str
    # curve: y along x; final: last y against a fact x; bars, profile: last y by series; heat: over
    # two facts
    kind: str
    y: Measure
    series: Sequence[Series]
    games: Sequence[str]
    x: str = "frames"  # curve: frames, agent_steps, gradient_steps; else a fact's name
    xs: Sequence[Any] = ()  # final, heat: the paper's values of x
    x2: str = ""  # heat: the second fact
    x2s: Sequence[Any] = ()  # the paper's values of it; others are drawn too where they were run
    x_label: str = ""


class Term(NamedTuple):
    """One aggregate in a claim: of a panel's series, at x, over a part of the curve."""

    panel: str
    series: str
    x: Any = None  # the fact's value (final, heat); None for curves and bars
    # curves: "end" = mean of the last tenth; "rise" = that minus the mean of the middle tenth
    part: str = "end"


class Claim(NamedTuple):
    """What the paper says, as a number that is checked.

    kind "above": the first term minus the mean of the others (or alone) lies above ``margin``
         "below": likewise, below
         "within": likewise, between -margin and margin
         "best": the first term minus the largest of the others lies above ``margin``
         "improvement": the probability that the first beats the second lies above ``margin``
    Supported if the whole 95% interval does.
    """

    text: str
    kind: str
    terms: Sequence[Term]
    margin: float = 0.0
    unit: str = "IQM"


class Entry(NamedTuple):
    """One figure or table of the paper."""

    figure: str  # "7", "10a", "table6", "heatmap"
    title: str
    question: str
    panels: Sequence[Panel]
    claims: Sequence[Claim]
    paper_budget: str
    paper_steps: int = 2_500_000  # agent steps of it
    note: str = ""  # what a reader should know
    columns: int = 0  # panels in a row; 0 = as many as fit
    parts: Sequence[
        "Entry"
    ] = ()  # a figure made of others (Figure 10); panels and claims are theirs


class Cell(NamedTuple):
    """The scores behind one line (curve) or one point (final, bars, heat)."""

    values: np.ndarray  # (S, G, X), scaled, normalised where the measure says so
    points: np.ndarray  # (X,) along a curve; (1,) else
    games: tuple[str, ...]  # (G,)
    seeds: tuple[int, ...]  # (G,) how many seeds each game has; S is the smallest
    complete: bool  # false: the runs have not reached the end of their budget
    statistic: str


class Verdict(NamedTuple):
    """A claim checked."""

    claim: Claim
    published: float | None  # the same number from the published values
    value: float  # NaN where not run
    low: float
    high: float
    verdict: str  # "supported", "not supported", "not run"
    reason: str = ""
