"""The analysis half of the list of experiments: one entry a figure or table, keyed by its number in
the paper.

Adding a figure is adding an entry to one of this package's lists. The runs it needs are described
in ``dormant.experiments``; an entry selects them by the facts they have written into run.json.
"""

from dormant.analysis.entries import ablations, continuous, dqn, per_game, phenomenon
from dormant.analysis.records import Entry
from dormant.types import check_name

ENTRIES: dict[str, Entry] = {
    entry.figure: entry
    for module in (dqn, phenomenon, ablations, continuous, per_game)
    for entry in module.ENTRIES  # type: ignore[attr-defined]
}


def get(figure: str) -> Entry:
    """The entry of a figure.

    Raises:
      DormantError: an unknown figure; names the nearest.
    """
    check_name("figure", figure, ENTRIES)
    return ENTRIES[figure]
