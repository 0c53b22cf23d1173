"""The list of figures: complete, and consistent within each entry."""

import pytest

from dormant.analysis import stats
from dormant.analysis.entries import ENTRIES, get
from dormant.analysis.load import FACTS
from dormant.types import DormantError

WANTED = (
    "1 2 7 9 10 10a 10b 10c 10d 11 12 13 14 16 17 18 20 21 22 23 24 25 26 27 28 29 table6 table7 heatmap profiles"
).split()


def test_every_figure_made_of_training_runs_is_there():
    assert set(ENTRIES) == set(WANTED)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.figure)
def test_entry(entry):
    assert entry.question.endswith("?") and entry.paper_budget and isinstance(entry.note, str)
    assert entry.paper_steps in (400_000, 1_000_000, 2_500_000, 10_000_000, 25_000_000)
    panels = {panel.name: panel for panel in entry.panels}
    assert len(panels) == len(entry.panels)
    assert entry.claims or entry.parts
    for panel in entry.panels:
        assert (
            panel.kind in ("curve", "final", "bars", "heat", "profile")
            and panel.y.statistic in stats.STATISTICS
        )
        assert len({series.name for series in panel.series}) == len(panel.series) and len(
            panel.games
        )
        for series in panel.series:
            assert set(series.where) | set(series.prefer) <= set(FACTS)
            assert not set(series.where) & set(series.prefer)
    for claim in entry.claims:
        assert claim.kind in ("above", "below", "within", "best", "improvement")
        for term in claim.terms:
            panel = panels[term.panel]
            assert term.series in {series.name for series in panel.series}
            at = term.x if isinstance(term.x, tuple) else (term.x,)
            assert term.x is None or (at[0] in panel.xs and (len(at) == 1 or at[1] in panel.x2s))
            assert (panel.kind in ("final", "heat")) == (term.x is not None)


def test_unknown_figure():
    with pytest.raises(DormantError, match="unknown figure 'table8'; did you mean 'table"):
        get("table8")
