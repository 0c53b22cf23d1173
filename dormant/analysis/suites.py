"""Which entries a tree of runs can answer: the paper's own, those asked on MinAtar, or both."""

from collections.abc import Sequence

from dormant.analysis.evidence import Evidence, gather, metrics_of
from dormant.analysis.load import Table
from dormant.paper import SUITES, chosen
from dormant.paper.records import Entry
from dormant.types import DormantError


def metrics_for(figures: Sequence[str] | None) -> tuple[str, ...]:
    """What ``load`` must read for these figures, in any suite.

    Raises:
      DormantError: an unknown figure.
    """
    named = {entry.figure for entry in chosen(figures)}
    return metrics_of(
        entry for suite in SUITES.values() for entry in suite.values() if entry.figure in named
    )


def entries_in(table: Table, figures: Sequence[str] | None) -> list[Entry]:
    """The entries of these figures in the suites whose games the table has; None is all.

    Raises:
      DormantError: an unknown figure, or one that is not asked in the table's suite.
    """
    named = {entry.figure for entry in chosen(figures)}
    games = table.members["game"].astype(str)
    present = [
        suite
        for suite in SUITES
        if games.str.startswith(f"{suite}/").any()
        or (not suite and not games.str.startswith("MinAtar/").all())
    ]
    every = figures is None or "all" in figures
    if not every and len(present) == 1:
        return chosen(figures, present[0])
    return [
        entry
        for suite in present
        for entry in SUITES[suite].values()
        if every or entry.figure in named
    ]


def gather_all(
    table: Table, figures: Sequence[str] | None = None
) -> tuple[list[Evidence], list[str]]:
    """The evidence of these entries (None: of all but those made of others), and a line for each
    thing to know: runs left out, lines that could not be compared.
    """
    found, lines = [], list(table.problems)
    for entry in entries_in(table, figures):
        if entry.parts and not figures:
            continue
        try:
            found.append(gather(entry, table))
        except DormantError as error:
            lines.append(f"figure {entry.figure}: {error}")
            found.append(gather(entry, None))
    return found, lines
