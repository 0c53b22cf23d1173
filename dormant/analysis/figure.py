"""Any entry's figure: its panels drawn with the primitives of ``draw``, its caption, its files."""

import textwrap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from dormant.analysis import draw
from dormant.analysis.cells import thinned
from dormant.analysis.evidence import Evidence, gather
from dormant.analysis.load import load
from dormant.analysis.stats import MIN_SEEDS
from dormant.analysis.suites import entries_in, metrics_for
from dormant.paper.games import MUJOCO
from dormant.paper.records import Entry, Panel
from dormant.types import DormantError

X_LABELS = {"frames": "frames", "gradient_steps": "gradient steps", "agent_steps": "agent steps"}
PUBLISHED = "published"
CROWDED = 6  # panels; more are small, with one legend for all


WIDTHS = {"screen": 0.0, "column": 3.25, "page": 6.75}  # inches; 0 = by the number of panels


class Look(NamedTuple):
    """How figures are laid out."""

    width: str = "screen"  # of WIDTHS: a column or a page of a two-column paper, or for a screen
    text: bool = True  # title and caption in the image
    dpi: int = draw.PRINT_DPI  # of the PNG


def draw_figures(
    runs: str, figures: list[str], out_dir: str, look: Look = Look()
) -> tuple[list[str], list[str]]:
    """Draws figures from a tree of runs; ["all"] draws every one. Returns (paths, one line for each
    thing to know).

    Raises:
      DormantError: an unknown figure, or no runs; nothing is drawn then.
    """
    table = load(runs, metrics_for(figures))
    entries = entries_in(table, figures)
    paths, lines = [], list(table.problems)
    for entry in entries:
        try:
            evidence = gather(entry, table)
        except DormantError as error:
            if len(entries) == 1:
                raise
            lines.append(f"figure {entry.figure}: not drawn: {error}")
            continue
        paths += draw_entry(evidence, out_dir, look)
        lines += [f"figure {entry.figure}: {note}" for note in evidence.notes]
        if (evidence.estimates["source"] != "ours").all():
            lines.append(f"figure {entry.figure}: no run here is one that it shows")
    return paths, list(dict.fromkeys(lines))


def draw_entry(evidence: Evidence, out_dir: str, look: Look = Look()) -> list[str]:
    """Writes <name>.png, .pdf and .csv of one entry; returns their paths."""
    entry, panels = evidence.entry, _panels(evidence)
    figure, axes = _axes(len(panels), entry.columns, look.width)
    looks = _looks(panels)
    for ax, (part, panel) in zip(axes, panels):
        _draw_panel(ax, part, panel, looks)
    if len(panels) > CROWDED:
        _legend(figure, looks, look.width)
    else:
        lined = ("curve", "final", "profile")
        draw.label_ends(figure, [ax for ax, (_, p) in zip(axes, panels) if p.kind in lined])
    bars = [ax for ax, (_, panel) in zip(axes, panels) if panel.kind == "bars"]
    if bars:  # after the lines' names, which make every panel narrower
        draw.fit_names(figure, bars)
    if look.text:
        figure.suptitle(f"{heading(entry)}. {entry.title}", fontsize=11, x=0.01, ha="left")
        draw.caption(figure, caption(evidence))
    exact = bool(WIDTHS[look.width]) and not look.text
    return draw.save(figure, evidence.estimates, out_dir, file_name(entry), exact, look.dpi)


def _axes(count: int, columns: int, width: str) -> tuple[Figure, np.ndarray]:
    """A figure with so many panels; ``columns`` in a row, 0 = as many as fit."""
    crowded, inches = count > CROWDED, WIDTHS[width]
    if inches:
        columns = max(1, min(columns or count, int(inches / (1.6 if crowded else 3.2)), count))
        height = (inches / columns) * (0.85 if crowded else 0.72)
    else:
        columns = columns or count
        each = min(3.0 if crowded else 4.3 if columns < 3 else 3.6, 15 / columns)
        inches, height = max(each * columns, 5.5), 2.1 if crowded else 3.3
    rows = -(-count // columns)
    figure = draw.new_figure(inches, height * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes


def _legend(figure: Figure, looks: dict[str, draw.Style], width: str) -> None:
    """One for all panels, above them."""
    handles = [
        Line2D([], [], color=look.colour, ls=look.line, marker=look.marker, label=name)
        for name, look in looks.items()
    ]
    columns = min(len(handles), 2 if width == "column" else len(handles))
    place: dict[str, Any] = {"loc": "outside upper right", "ncols": columns, "frameon": False}
    figure.legend(handles=handles, fontsize=9 if width == "screen" else 8, **place)


def file_name(entry: Entry) -> str:
    """figure_7, table_6, figure_7_minatar: of its files, without their ending."""
    name = heading(entry._replace(suite="")).lower().replace(" ", "_")
    return f"{name}_{entry.suite.lower()}" if entry.suite else name


def _panels(evidence: Evidence) -> list[tuple[Evidence, Panel]]:
    """Each panel with the evidence it is drawn from."""
    return [(part, panel) for part in evidence.parts or (evidence,) for panel in part.entry.panels]


def _looks(panels: list) -> dict[str, draw.Style]:
    """One look a series, the same in all panels; in a figure made of others, by the series'
    place.
    """
    by_name: dict[str, draw.Style] = {}
    for _, panel in panels:
        for i, series in enumerate(panel.series):
            by_name.setdefault(series.name, draw.style(i))
    return by_name


def heading(entry: Entry) -> str:
    """Figure 7, Table 6, Heatmap, Figure 7 on MinAtar."""
    name = entry.figure.replace("_", " ").capitalize()
    if entry.figure[:1].isdigit():
        name = f"Figure {entry.figure}"
    elif entry.figure.startswith("table"):
        name = f"Table {entry.figure[5:]}"
    return f"{name} on {entry.suite}" if entry.suite else name


def _draw_panel(ax: Axes, evidence: Evidence, panel: Panel, looks: dict) -> None:
    ours, published = evidence.where(panel.name, "ours"), evidence.where(panel.name, PUBLISHED)
    kinds = {"curve": _lines, "profile": _lines, "final": _points, "bars": _bars, "heat": _heat}
    title = title_of(panel, evidence)
    if ours.empty and published.empty:
        draw.empty(ax)
        draw.tidy(ax, title)
        ax.grid(False)
        return
    _seeds(ax, panel, evidence, looks)
    kinds[panel.kind](ax, panel, ours, published, looks)
    x_label = panel.x_label or X_LABELS.get(panel.x, panel.x)
    label = {"bars": "", "profile": "human-normalised score"}.get(panel.kind, x_label)
    y_label = {"heat": f"{panel.x2} (gradient steps)", "profile": "runs above (%)"}.get(
        panel.kind, panel.y.label
    )
    remark = _not_run(panel, ours)
    if panel.kind == "heat":  # its numbers are on none of its axes
        remark = remark or panel.y.label.replace("\n", " ")
    draw.tidy(ax, title, label, y_label, remark)
    if panel.y.log:
        ax.set_yscale("log")
    elif panel.kind in ("curve", "bars", "final") and _from_zero(panel):
        ax.set_ylim(bottom=min(0.0, ax.dataLim.ymin))
    if panel.kind == "profile":  # fractions are in percent everywhere
        ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}"))


def _from_zero(panel: Panel) -> bool:
    """Whether the axis begins at 0: shares of neurons, and returns where 0 is a random policy."""
    relative = panel.kind == "final" and bool(panel.y.normalised)
    return panel.y.metric.startswith("dormant") or relative


def title_of(panel: Panel, evidence: Evidence) -> str:
    """The panel's title with the games that are in it: those that were run, else the paper's."""
    cells = evidence.cells.get(panel.name, {}).values()
    games = sorted({game for cell in cells for game in cell.games})
    if not games or len(panel.games) == 1:
        return panel.title
    names = ", ".join(game.rpartition("/")[2] for game in games)
    kind = "tasks" if set(panel.games) <= set(MUJOCO) else "games"
    count = len(games), len(panel.games)
    which = (
        f"{count[0]} {kind}"
        if len(games) == len(panel.games)
        else "{} of {} ".format(*count) + kind
    )
    if len(games) <= 2:
        which = names if len(games) == len(panel.games) else f"{names} ({which})"
    if "all games" in panel.title:
        return panel.title.replace("all games", which)
    return f"{panel.title}: {which}"


def _not_run(panel: Panel, ours: pd.DataFrame) -> str:
    """Which of the panel's lines, or points of a line, nobody has run yet."""
    if ours.empty:
        return "ours: not run yet"
    names = [series.name for series in panel.series]
    lines = [name for name in names if name not in set(ours["series"])]
    if panel.kind == "final":
        lacking: dict[str, list[str]] = {}  # "0.5, 1, 2" -> names of lines
        for name, rows in ours.groupby("series", sort=False):
            points = [f"{x:g}" for x in panel.xs if not np.isclose(rows["x"], x).any()]
            if points:
                lacking.setdefault(", ".join(points), []).append(str(name))
        every = len(set(ours["series"]))
        for points_, who in lacking.items():
            whose = "" if len(who) == every else f"{', '.join(who)} "
            lines.append(f"{whose}at {points_}")
    return "not run yet: " + "; ".join(lines) if lines else ""


def _lines(
    ax: Axes, panel: Panel, ours: pd.DataFrame, published: pd.DataFrame, looks: dict
) -> None:
    """Ours and the paper's on the same axes. Where our runs are much shorter, these show what both
    have, and small axes above them the whole of the paper's.
    """
    for series in panel.series:
        theirs = published[published["series"] == series.name]
        mine = ours[ours["series"] == series.name]
        if len(theirs):
            alone = "" if len(mine) else f"{series.name} (published)"
            draw.published_curve(ax, theirs, looks[series.name], panel.published_by or alone)
        if len(mine):
            draw.curve(ax, mine, looks[series.name], series.name)
    if panel.kind == "curve" and ours["x"].max() < 0.5 * published["x"].max():
        _crop(ax, panel, ours, published, looks)


def _crop(ax: Axes, panel: Panel, ours: pd.DataFrame, published: pd.DataFrame, looks: dict) -> None:
    """The panel cropped to the length of our runs."""
    end = float(ours["x"].max())
    seen = [ours[name].to_numpy() for name in ("value", "low", "high")]
    seen += [line.get_ydata() for line in ax.get_lines() if line.get_linewidth() < 0.7]  # seeds
    for _, line in published.groupby("series"):
        line = line.sort_values("x")
        inside = line[line["x"] <= end]
        seen.append(inside["value"].to_numpy())
        if len(inside):  # where it leaves the panel
            seen.append(np.interp([end], line["x"], line["value"]))
    values = np.concatenate([np.asarray(each, dtype=float) for each in seen])
    small = draw.inset(ax, 0.0, end, float(np.nanmin(values)), float(np.nanmax(values)))
    small.text(
        0.98, 0.06, "published, all steps", transform=small.transAxes, fontsize=6.5, ha="right"
    )
    for series in panel.series:
        look = looks[series.name]
        for table, width in ((published, 0.8), (ours, 1.6)):
            rows = table[table["series"] == series.name].sort_values("x")
            small.plot(rows["x"], rows["value"], ls=look.line, color=look.colour, lw=width)


def _seeds(ax: Axes, panel: Panel, evidence: Evidence, looks: dict) -> None:
    """Single seeds, where they are too few for an interval."""
    for (name, *_), cell in evidence.cells.get(panel.name, {}).items():
        if panel.kind == "curve" and len(cell.games) == 1 and 1 < len(cell.values) < MIN_SEEDS:
            shown = thinned(cell)
            for seed in shown.values[:, 0]:
                draw.thin_curve(ax, shown.points, seed, looks[name])


def _points(
    ax: Axes, panel: Panel, ours: pd.DataFrame, published: pd.DataFrame, looks: dict
) -> None:
    """Against a fact whose values double: evenly spaced, named by value."""
    _lines(ax, panel, ours, published, looks)
    for series in panel.series:
        draw.whiskers(
            ax, ours[ours["series"] == series.name], looks[series.name], width=2.0, alpha=0.8
        )
    ax.set_xscale("log", base=2)
    seen = np.concatenate([ours["x"], published["x"]])
    xs = [x for x in panel.xs if np.isclose(seen, x).any()]
    ax.set_xticks(xs, [f"{x:g}" for x in xs])
    ax.minorticks_off()


def _bars(ax: Axes, panel: Panel, ours: pd.DataFrame, published: pd.DataFrame, looks: dict) -> None:
    width = 0.38 if len(published) else 0.6
    for i, series in enumerate(panel.series):
        for rows, at in ((ours, i - 0.2 if len(published) else i), (published, i + 0.2)):
            for _, row in rows[rows["series"] == series.name].iterrows():
                draw.bar(ax, at, row, looks[series.name], width, row["source"] == PUBLISHED)
    names = [textwrap.fill(series.name.replace("+ ", "+\u00a0"), 9) for series in panel.series]
    ax.set_xticks(range(len(names)), names, fontsize=7.5)
    ax.set_xlim(-0.6, len(names) - 0.4)
    ax.margins(y=0.15)


def _heat(ax: Axes, panel: Panel, ours: pd.DataFrame, published: pd.DataFrame, looks: dict) -> None:
    del published, looks
    run = set(ours["x2"])
    draw.heat(ax, ours, panel.xs, sorted(run | set(panel.x2s) if run & set(panel.x2s) else run))


def caption(evidence: Evidence) -> str:
    """Question, budget, games, seeds, intervals, and what a reader must know."""
    entry, ours = evidence.entry, evidence.estimates[evidence.estimates["source"] == "ours"]
    lines = [entry.question]
    if len(ours):
        seeds = f"{ours['seeds'].min():g}" + (
            "" if ours["seeds"].nunique() == 1 else f" to {ours['seeds'].max():g}"
        )
        intervals = (
            "bands and bars are 95% stratified bootstrap intervals"
            if ours["low"].notna().any()
            else "thin lines are single seeds"
        )
        lines.append(
            f"Ours: {evidence.budget}; {_games(evidence)}; seeds of each: {seeds}; {intervals}. "
            f"Paper: {entry.paper_budget}."
        )
    else:
        lines.append(f"Ours: not run. Paper: {entry.paper_budget}.")
    if (evidence.estimates["source"] == PUBLISHED).any():
        lines.append(
            "Published: thin pale lines, open markers, empty dashed bars (sources: "
            "dormant/paper/data)." + (_GAPS if _has_gaps(evidence) else "")
        )
    notes = [part.entry.note for part in evidence.parts or (evidence,) if part.entry.note]
    lines += list(dict.fromkeys(notes))
    if evidence.notes:
        lines.append("Note: " + "; ".join(evidence.notes) + ".")
    return "\n".join(lines)


_GAPS = (
    " Gaps in published lines are stretches that other lines hide in the paper's figure: they "
    "could not be read from it."
)


def _has_gaps(evidence: Evidence) -> bool:
    table = evidence.estimates[evidence.estimates["source"] == PUBLISHED]
    lines = (rows.sort_values("x") for _, rows in table.groupby(["panel", "series"]))
    return any(draw.gaps(rows).any() for rows in lines)


def _games(evidence: Evidence) -> str:
    """How many of the paper's games (or tasks) were run, and in how many a line is missing."""
    asked: set[str] = set()
    run: set[str] = set()
    gaps: set[str] = set()
    for part in evidence.parts or (evidence,):
        for panel in part.entry.panels:
            asked |= set(panel.games)
            lines: dict[str, set[str]] = {series.name: set() for series in panel.series}
            for (name, *_), cell in part.cells[panel.name].items():
                lines[name] |= set(cell.games)
            drawn = set().union(*lines.values())
            run |= drawn
            gaps |= {
                game for game in panel.games if any(game not in each for each in lines.values())
            }
    if len(asked) == 1:
        return next(iter(asked))
    kind = "tasks" if asked <= set(MUJOCO) else "games"
    some = len(run & gaps)
    return f"{len(run)} of {len(asked)} {kind}" + (f" (lines missing in {some})" if some else "")
