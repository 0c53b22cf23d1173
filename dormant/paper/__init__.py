"""The paper's figures and tables: one entry each, with the runs it needs, its panels, its claims
and its published values. Neither jax nor gin.

Adding a figure is adding an entry to one of this package's lists. ``budgets`` says at what size the
runs of an entry are trained, ``dormant.analysis`` draws it and checks its claims.
"""

from collections.abc import Sequence

from dormant.paper import ablations, continuous, controls, dqn, minatar, per_game, phenomenon
from dormant.paper.records import Entry
from dormant.types import DormantError, check_name, nearest

ENTRIES: dict[str, Entry] = {
    entry.figure: entry
    for entries in (
        dqn.ENTRIES,
        phenomenon.ENTRIES,
        ablations.ENTRIES,
        continuous.ENTRIES,
        controls.ENTRIES,
        per_game.ENTRIES,
    )
    for entry in entries
}
SUITES: dict[str, dict[str, Entry]] = {"": ENTRIES, minatar.SUITE: minatar.ENTRIES}
UNSUPPORTED = {
    "3": "supervised learning with fixed and with reshuffled targets",
    "4": "offline learning with moving and with fixed targets",
    "8": "fitting the targets of a good agent",
}


def get(figure: str, suite: str = "") -> Entry:
    """The entry of a figure.

    Args:
      figure: its number in the paper, e.g. "10a", "table6".
      suite: "" = the paper's own figure; "MinAtar" = its question asked there.
    Raises:
      DormantError: an unknown figure (names the nearest), or one that is not supported.
    """
    if figure in UNSUPPORTED:
        raise DormantError(f"figure {figure} ({UNSUPPORTED[figure]}) is not supported yet")
    check_name("figure", figure, [*ENTRIES, "all"])
    if figure == "all":
        raise DormantError("'all' is no single figure")
    if figure not in SUITES[suite]:
        raise DormantError(
            f"the question of figure {figure} is not asked on {suite}; asked there: "
            f"{', '.join(SUITES[suite])}"
        )
    return SUITES[suite][figure]


def chosen(figures: Sequence[str] | None, suite: str = "") -> list[Entry]:
    """The entries of these figures, each once; of all where "all" is among them, or for None.

    Raises:
      DormantError: an unknown or unsupported figure, even together with "all".
    """
    named = [get(figure, suite) for figure in figures or () if figure != "all"]
    if figures is None or "all" in figures:
        return list(SUITES[suite].values())
    if not named:
        raise DormantError(f"no figure is named; {nearest('', ['all', *SUITES[suite]])}")
    return list({entry.figure: entry for entry in named}.values())
