"""What an entry of the list of figures is made of: plain records, no behaviour.

An entry holds everything about one figure: the runs it needs, its panels, its claims. Its published
values are found by the names of its figure, panels and series (``published``).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Need(NamedTuple):
    """Runs that differ in game, method and seed only."""

    agent: str  # of budgets.FILES; with one's own files any name
    settings: Mapping[str, Any]  # of budgets.SETTINGS; part of the runs' names
    methods: Sequence[str]
    games: Sequence[str]  # as the panels name them
    length: str = "10M"  # frames at the paper's budget, of Budget.steps
    members: Mapping[str, Sequence[Any]] = {}  # varied between members, {"tau": (0, 0.1)}
    heavy: bool = False  # its gradient steps are many times those of the Nature CNN
    files: Sequence[str] = ()  # one's own gin files: they say how long, settings are gin's names
    shared: bool = True  # other figures use the same runs; False: nobody needs its other methods


class StudyNeed(NamedTuple):
    """An experiment that is no training run (``dormant.studies``): one run for each arm."""

    kind: str  # of studies.SIZES
    game: str  # what it learns from: a data set, or the game of a finished run
    arms: Sequence[str]
    settings: Mapping[str, Any] = {}  # beside those of its size; part of the runs' names


class Measure(NamedTuple):
    """What is on the y axis."""

    # a metric's name, or "return" (evaluation, else training); a last "*": the mean of all layers
    # whose names begin so
    metric: str
    label: str
    scale: float = 1.0  # factor on the value (100 = fraction to percent)
    # "human": 0 is a random policy, 1 a human; "baseline": 0 is a random policy, 1 the mean over
    # seeds of the panel's first line (at its first x); "": as it is
    normalised: str = ""
    statistic: str = "mean"  # over seeds and games, of stats.STATISTICS
    log: bool = False  # a logarithmic axis

    @property
    def bounds(self) -> tuple[float, float]:
        """Between what the measure can lie: shares do between 0 and 100%."""
        return (0.0, 100.0) if self.scale == 100 else (-math.inf, math.inf)


class Series(NamedTuple):
    """Which runs one line or bar is made of, by the facts of run.json (``load.FACTS``)."""

    name: str  # as in the published tables
    where: Mapping[str, Any] = {}  # facts that must hold; a tuple means any of its values
    # the paper's settings: chosen where several were run, and named where they were not
    prefer: Mapping[str, Any] = {}
    metric: str = ""  # instead of the panel's


class Panel(NamedTuple):
    """One pair of axes."""

    name: str  # as in the published tables
    title: str
    # "curve": y along x; "final": last y against a fact x; "bars", "profile": last y by series;
    # "heat": last y over two facts
    kind: str
    y: Measure
    series: Sequence[Series]
    games: Sequence[str]
    x: str = "frames"  # curve: frames, agent_steps, gradient_steps; else a fact's name
    xs: Sequence[Any] = ()  # final, heat: the paper's values of x
    x2: str = ""  # heat: the second fact
    x2s: Sequence[Any] = ()  # the paper's values of it; others are drawn too where they were run
    x_label: str = ""
    published_by: str = ""  # who has published the panel's lines, if not the paper


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
         "best": the first term minus the largest of the others lies above ``margin``: above each
         "improvement": the probability that the first beats the second lies above ``margin``
    What each verdict means: ``analysis.verdicts``.
    """

    text: str
    kind: str
    terms: Sequence[Term]
    margin: float = 0.0
    unit: str = "IQM"
    paper_unit: str = ""  # of the published number, where it is another
    # the same number in the paper's own panels, where this entry's panels are not the paper's
    published: Sequence[Term] = ()


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
    parts: Sequence["Entry"] = ()  # a figure made of others (Figure 10); all else is theirs
    needs: Sequence[Need] = ()  # the runs
    studies: Sequence[StudyNeed] = ()  # what is no training run, and learns from those
    unit: str = "agent steps"  # of paper_steps and shortest; studies have others
    suite: str = ""  # "MinAtar": the paper's question asked there; "" = the paper's own figure
    # agent steps of the shortest run that asks the claims' questions; 0 = a tenth of the paper's
    shortest: int = 0

    @property
    def name(self) -> str:
        """Of its published values: the paper's curves are of other games than a suite's."""
        return f"{self.figure} on {self.suite}" if self.suite else self.figure
