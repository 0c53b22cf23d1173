"""The paper's figures and tables: one entry each, with the runs it needs, its panels, its claims
and its published values. Neither jax nor gin.

Adding a figure is adding an entry to one of this package's lists, or ``register.figure`` from
outside. ``budgets`` says at what size the runs of an entry are trained, ``dormant.analysis`` draws
it and checks its claims.
"""

from collections.abc import Sequence

from dormant import register
from dormant.paper import (
    ablations,
    continuous,
    controls,
    dqn,
    minatar,
    per_game,
    phenomenon,
    studies,
)
from dormant.paper.records import Entry
from dormant.types import DormantError, check_name, nearest

for _entries in (
    dqn.ENTRIES,
    phenomenon.ENTRIES,
    ablations.ENTRIES,
    continuous.ENTRIES,
    controls.ENTRIES,
    per_game.ENTRIES,
    studies.ENTRIES,
):
    for _entry in _entries:
        register.figure(_entry.figure)(_entry)
ENTRIES: dict[str, Entry] = register.FIGURES  # one's own come after the paper's
# By the suite that a budget asks; Figure 3 on digits is asked beside the MinAtar games.
SUITES: dict[str, dict[str, Entry]] = {
    "": ENTRIES,
    minatar.SUITE: {
        **minatar.ENTRIES,
        **{entry.figure: entry for entry in studies.LAPTOP_ENTRIES},
    },
}


def get(figure: str, suite: str = "") -> Entry:
    """The entry of a figure.

    Args:
      figure: its number in the paper, e.g. "10a", "table6".
      suite: "" = the paper's own figure; "MinAtar" = its question asked there.
    Raises:
      DormantError: an unknown figure (names the nearest).
    """
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
      DormantError: an unknown figure, even together with "all".
    """
    named = [get(figure, suite) for figure in figures or () if figure != "all"]
    if figures is None or "all" in figures:
        return list(SUITES[suite].values())
    if not named:
        raise DormantError(f"no figure is named; {nearest('', ['all', *SUITES[suite]])}")
    return list({entry.figure: entry for entry in named}.values())
