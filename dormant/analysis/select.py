"""From the table to the lines of a panel. Nothing different is averaged: where runs differ, one
kind is chosen, and a note says which.

The order of choices: the budget (one for the whole figure, see ``choose_budget``), then for each
series the variant of all other facts (the paper's settings first, then the one that covers most,
then the one that most others share). Games and seeds are made equal after that (``cells``).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dormant.analysis.cells import Line, Lines, Note, measured
from dormant.analysis.draw import short
from dormant.analysis.load import FACTS, Table
from dormant.paper.records import Measure, Panel, Series

BUDGET = ["iterations", "training_steps"]
# Facts by which runs of one series may differ without being different experiments.
_FREE = {"game", "title", "metrics", *BUDGET, "frames_per_agent_step"}
# Facts that no method changes: lines that differ in one differ in more than their method.
_COMMON = (
    *("learning_rate", "batch_size", "min_replay_history", "max_episode_steps"),
    *("evaluation_steps", "evaluation_episodes"),
)
RETURNS = ("eval/average_return", "train/average_return")


def task(games: pd.Series) -> pd.Series:
    """Games without their version: HalfCheetah-v5 is the paper's HalfCheetah."""
    return games.astype(str).str.replace(r"-v\d+$", "", regex=True)


def matching(members: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """The members for which every fact holds."""
    keep = np.ones(len(members), bool)
    for fact, wanted in where.items():
        keep &= _equal(members[fact], wanted)
    return members[keep]


def _equal(column: pd.Series, wanted: Any) -> np.ndarray:
    """(N,) Which values are the wanted one, or one of a tuple."""
    if isinstance(wanted, tuple):
        return np.any([np.zeros(len(column), bool), *(_equal(column, each) for each in wanted)], 0)
    if isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        return np.isclose(pd.to_numeric(column, errors="coerce"), wanted, rtol=1e-6)
    return (column.astype(str) == str(wanted)).to_numpy()


def candidates(table: Table, panel: Panel) -> pd.DataFrame:
    """Every member any series of the panel could use, whatever its budget.

    Column line says for which line or point, column cell for which game and seed of it.
    """
    members = table.members[task(table.members["game"]).isin(panel.games)]
    facts = [fact for fact in (panel.x, panel.x2) if fact in FACTS]
    found = []
    for series in panel.series:
        mine = matching(members, _where(panel, series))
        name = [f"{panel.name} {series.name}"] * len(mine)
        line = [*zip(name, *(mine[fact] for fact in facts))]
        found.append(mine.assign(line=line, cell=[*zip(line, mine["game"], mine["seed"])]))
    return pd.concat(found)


def of_one_origin(table: Table, panels: Sequence[Panel], note: Note) -> Table:
    """Without the runs of Dopamine's, where any panel could use runs of ours.

    Dopamine's logs lack most settings, so its runs could not be told from other settings of ours.
    """
    if (table.members["origin"] == "").all():
        return table
    members = pd.concat([candidates(table, panel) for panel in panels])
    theirs = members.loc[members["origin"] != ""].index.unique()
    if theirs.empty or (members["origin"] != "").all():
        return table
    note(f"{len(theirs)} runs of Dopamine's left out; draw them by themselves")
    return table._replace(members=table.members[table.members["origin"] == ""])


def _where(panel: Panel, series: Series) -> dict[str, Any]:
    facts = {panel.x: tuple(panel.xs)} if panel.kind in ("final", "heat") and panel.xs else {}
    return {**facts, **series.where}


def choose_budget(members: pd.DataFrame, paper_steps: int, shortest: float, note: Note) -> Any:
    """(iterations, training_steps) that covers most lines and points; of several one that is long
    enough for the claims, then the one of most games and seeds, the paper's, the largest. None
    without runs.

    Args:
      members: ``candidates`` of all panels.
      paper_steps: agent steps of the paper's budget.
      shortest: agent steps of the shortest run that asks the claims' questions.
      note: called with what is left out.
    """
    if members.empty:
        return None
    counts = members.groupby(BUDGET)[["line", "cell"]].nunique()

    def rank(budget: tuple) -> tuple:
        steps, (lines, games_and_seeds) = budget[0] * budget[1], counts.loc[budget]
        return lines, steps >= shortest, games_and_seeds, steps == paper_steps, steps

    chosen = max(counts.index, key=rank)
    left = sorted(short(i * s) for i, s in set(counts.index) - {chosen})
    if left:
        note(f"runs of other budgets left out ({', '.join(left)} agent steps)")
    return chosen


def panel_lines(table: Table, panel: Panel, budget: Any, note: Note) -> Lines:
    """What was run of a panel, in its order, before games and seeds are made equal."""
    members = table.members[(table.members[BUDGET] == list(budget)).all(axis=1)]
    members = members.assign(task=task(members["game"]))
    members = members[members["task"].isin(panel.games)]
    returns = _which_returns(table, members, note) if panel.y.metric == "return" else ""
    found: Lines = {}
    for series in panel.series:
        mine = matching(members, _where(panel, series))
        measure = panel.y._replace(metric=series.metric or returns or panel.y.metric)
        for key, group in _by_x(mine, panel):
            chosen = _one_of_each(_variant(group, series, panel, members, note), series.name, note)
            rows = _rows(table, chosen, measure, panel)
            every = np.unique(rows[_x(panel)].to_numpy(float))
            chosen, rows = _finite(chosen, rows, series.name, note)
            wide = rows.pivot_table(index=_x(panel), columns="id", values="value", aggfunc="mean")
            if wide.empty:
                note(f"{series.name}: {len(chosen)} members have no {measure.metric} yet")
            else:
                line = Line(chosen, wide, every, measure, complete=True)
                found[(series.name, *key)] = measured(line, panel, budget, series.name, note)
    found = {key: line for key, line in found.items() if len(line.members)}
    _remark_unlike([line.members for line in found.values()], panel, note)
    return found


def _remark_unlike(lines: Sequence[pd.DataFrame], panel: Panel, note: Note) -> None:
    """Names the common facts in which a panel's lines differ and for which none of them asks.

    Args:
      lines: the members of each, all of one setting.
    """
    asked = {panel.x, panel.x2}.union(*(series.where for series in panel.series))
    for fact in _COMMON:
        values = sorted({members[fact].iloc[0] for members in lines if members[fact].notna().all()})
        if fact not in asked and len(values) > 1:
            note(f"lines differ in {_words(fact)}: {', '.join(map(_short, values))}")
    for name, column in _settings_apart(pd.concat(lines) if lines else pd.DataFrame()).items():
        note(f"lines differ in {name}: {', '.join(sorted(set(column.dropna())))}")


def _settings_apart(members: pd.DataFrame) -> dict[str, pd.Series]:
    """{name: values as text} of the settings under no fact in which members differ; None where a
    run has not recorded one.
    """
    if members.empty:
        return {}
    names = dict.fromkeys(name for settings in members["settings"] for name in settings)
    columns = {
        name: members["settings"].map(
            lambda own, name=name: str(own[name]) if name in own else None
        )
        for name in names
    }
    return {name: column for name, column in columns.items() if column.nunique() > 1}


def _by_x(members: pd.DataFrame, panel: Panel) -> Iterable[tuple[tuple, pd.DataFrame]]:
    if members.empty:
        return []
    if panel.kind == "final":
        return [((x, None), group) for x, group in members.groupby(panel.x)]
    if panel.kind == "heat":
        return list(members.groupby([panel.x, panel.x2]))
    return [((None, None), members)]


def _which_returns(table: Table, members: pd.DataFrame, note: Note) -> str:
    """Evaluation returns if every member has them, else training ones; never both in a panel."""
    rows = table.rows[table.rows["id"].isin(members.index)]
    have = [set(rows.loc[(rows["metric"] == name).to_numpy(), "id"]) for name in RETURNS]
    if have[0] and have[0] >= have[1]:
        return RETURNS[0]
    if have[1]:
        note(
            "returns are those of training episodes (not every run was evaluated; the paper's are "
            "of evaluation)"
        )
    return RETURNS[1]


def _variant(
    members: pd.DataFrame, series: Series, panel: Panel, peers: pd.DataFrame, note: Note
) -> pd.DataFrame:
    """The members of one setting of every fact the panel does not ask for.

    peers: all members of the panel's games.
    """
    facts = [fact for fact in FACTS if fact not in _FREE and fact not in (panel.x, panel.x2)]
    version = members["game"].astype(str).str.extract(r"(-v\d+)$")[0].fillna("")
    apart = _settings_apart(members)
    keys = [*(members[fact] for fact in facts), *apart.values(), version]
    groups = [group for _, group in members.groupby(keys, dropna=False)]

    def rank(group: pd.DataFrame) -> tuple:
        unlike = _unlike_paper(group, series)
        alike = matching(peers, {fact: group[fact].iloc[0] for fact in unlike})
        return -len(unlike), len(group[["task", "seed"]].drop_duplicates()), len(alike)

    chosen = max(groups, key=rank) if len(groups) > 1 else groups[0]
    differing = [fact for fact in facts if members[fact].nunique(dropna=False) > 1]
    if len(groups) > 1:
        own = {_words(fact): chosen[fact].iloc[0] for fact in differing}
        own |= {name: column[chosen.index[0]] for name, column in apart.items()}
        settings = ", ".join(f"{name} {_short(value)}" for name, value in own.items())
        settings = settings or "one game version"
        note(f"{series.name}: drawn at {settings}; members of other settings left out")
    for fact in _unlike_paper(chosen, series):
        note(
            f"{series.name}: {_words(fact)} {_short(chosen[fact].iloc[0])} "
            f"(paper: {_short(series.prefer[fact])})"
        )
    return chosen


def _unlike_paper(members: pd.DataFrame, series: Series) -> list[str]:
    """The recorded facts of members (all of one setting) that are not the paper's."""
    first = members.iloc[[0]].dropna(axis=1)
    return [
        fact
        for fact, value in series.prefer.items()
        if fact in first and not _equal(first[fact], value)[0]
    ]


def _words(fact: str) -> str:
    """A fact's name for people."""
    return fact.replace("_", " ")


def _short(value: Any) -> str:
    return (
        "not recorded"
        if pd.isna(value)
        else f"{value:g}"
        if isinstance(value, (int, float))
        else str(value)
    )


def _one_of_each(members: pd.DataFrame, label: str, note: Note) -> pd.DataFrame:
    # a finished run before one that is not, and one of the usual measurements before one that was
    # made for others
    first = {"status": "finished", "metrics": ""}
    ordered = members.sort_values(
        list(first), key=lambda column: column != first[column.name], kind="stable"
    )
    single = ordered.drop_duplicates(["task", "seed"])
    if len(single) < len(members):
        repeated = len(members) - len(single)
        note(f"{label}: {repeated} repeated runs of the same game and seed left out")
    return single


def _x(panel: Panel) -> str:
    return panel.x if panel.kind == "curve" else "iteration"


def _rows(table: Table, members: pd.DataFrame, measure: Measure, panel: Panel) -> pd.DataFrame:
    """The members' measurements; but for curves, the last of each iteration."""
    rows = table.rows[table.rows["id"].isin(members.index).to_numpy()]
    name = measure.metric
    if name.endswith("*"):
        names = [metric for metric in rows["metric"].cat.categories if metric.startswith(name[:-1])]
        rows = rows[rows["metric"].isin(names).to_numpy()]
    else:
        rows = rows[(rows["metric"] == name).to_numpy()]
    if _x(panel) == "iteration" and not name.startswith(("eval/", "train/")):
        last = rows.groupby(["id", "iteration"])["agent_steps"].transform("max")
        rows = rows[rows["agent_steps"] == last]
    return rows


def _finite(
    members: pd.DataFrame, rows: pd.DataFrame, label: str, note: Note
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What is finite. A member whose last value is not (it has diverged) is left out, by name."""
    bad = ~np.isfinite(rows["value"].to_numpy())
    at_end = (rows["agent_steps"] == rows.groupby("id")["agent_steps"].transform("max")).to_numpy()
    lost = members.loc[members.index.isin(rows["id"][bad & at_end])]
    if len(lost):
        names = ", ".join(f"{row.game} seed {row.seed}" for row in lost.itertuples())
        note(f"{label}: left out, the last value is not finite: {names}")
    kept = ~rows["id"].isin(lost.index).to_numpy()
    gaps = rows["id"][bad & kept].nunique()
    if gaps:
        note(f"{label}: points where one of {gaps} members has no finite value left out")
    return members.drop(lost.index), rows[kept & ~bad]
