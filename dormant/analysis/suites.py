"""Which entries a tree of runs can answer: the paper's own, those asked on MinAtar, or both."""

from collections.abc import Sequence

from dormant.analysis.evidence import Evidence, gather, metrics_of
from dormant.analysis.load import Table
from dormant.analysis.select import task
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
    entries = [entry for suite in SUITES.values() for entry in suite.values()]
    games = set(task(table.members["game"]))
    present = {
        entry.suite
        for entry in entries
        if games & {game for panel in entry.panels for game in panel.games}
    } or {""}
    found = [entry for entry in entries if entry.suite in present]
    if figures is None or "all" in figures:
        return found
    missing = named - {entry.figure for entry in found}
    if missing and (len(present) == 1 or missing == named):
        asked = ", ".join(entry.figure for entry in found)
        raise DormantError(
            f"the question of figure {min(missing)} is not asked on "
            f"{' and '.join(sorted(present))}; asked there: {asked}"
        )
    return [entry for entry in found if entry.figure in named]


def gather_all(
    table: Table, figures: Sequence[str] | None = None, drawn: bool = True
) -> tuple[list[Evidence], list[str]]:
    """The evidence of these entries (None: of all but those made of others), and a line for each
    thing to know: runs left out, lines that could not be compared. drawn: as of ``gather``.
    """
    found, lines = [], list(table.problems)
    for entry in entries_in(table, figures):
        if entry.parts and not figures:
            continue
        try:
            found.append(gather(entry, table, drawn))
        except DormantError as error:
            lines.append(f"figure {entry.figure}: {error}")
            found.append(gather(entry, table, drawn, strict=False))
    return found, lines
