"""Any entry's figure: its panels drawn with the primitives of ``draw``, its caption, its files."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dormant.analysis import draw
from dormant.analysis.evidence import Evidence, gather
from dormant.analysis.load import load
from dormant.analysis.stats import MIN_SEEDS
from dormant.analysis.suites import entries_in, metrics_for
from dormant.paper.games import MUJOCO
from dormant.paper.records import Entry, Panel
from dormant.types import DormantError

X_LABELS = {"frames": "frames", "gradient_steps": "gradient steps", "agent_steps": "agent steps"}
PUBLISHED = "published"


def draw_figures(runs: str, figures: list[str], out_dir: str) -> tuple[list[str], list[str]]:
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
        paths += draw_entry(evidence, out_dir)
        lines += [f"figure {entry.figure}: {note}" for note in evidence.notes]
    return paths, list(dict.fromkeys(lines))


def draw_entry(evidence: Evidence, out_dir: str, with_text: bool = True) -> list[str]:
    """Writes <name>.png, .pdf and .csv of one entry, with title and caption or without; returns
    their paths.
    """
    entry = evidence.entry
    panels = _panels(evidence)
    columns = entry.columns or len(panels)
    rows = -(-len(panels) // columns)
    crowded = len(panels) > 6
    width = min(3.0 if crowded else 4.3 if columns < 3 else 3.6, 15 / columns) * columns
    figure = draw.new_figure(max(width, 5.5), (2.1 if crowded else 3.3) * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    looks = _looks(panels)
    for ax, (part, panel) in zip(axes, panels):
        _draw_panel(ax, part, panel, looks)
    if crowded:
        handles = [
            Line2D([], [], color=look.colour, ls=look.line, marker=look.marker, label=name)
            for name, look in looks.items()
        ]
        figure.legend(
            handles=handles,
            loc="outside upper right",
            ncols=len(handles),
            frameon=False,
            fontsize=9,
        )
    else:
        lined = [
            ax
            for ax, (_, panel) in zip(axes, panels)
            if panel.kind in ("curve", "final", "profile")
        ]
        draw.label_ends(figure, lined)
    if with_text:
        figure.suptitle(f"{heading(entry)}. {entry.title}", fontsize=11, x=0.01, ha="left")
        draw.caption(figure, caption(evidence))
    return draw.save(figure, evidence.estimates, out_dir, file_name(entry))


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
    if ours.empty and published.empty:
        draw.empty(ax)
        draw.tidy(ax, panel.title)
        return
    _seeds(ax, panel, evidence, looks)
    kinds[panel.kind](ax, panel, ours, published, looks)
    x_label = panel.x_label or X_LABELS.get(panel.x, panel.x)
    label = {"bars": "", "profile": "human-normalised score"}.get(panel.kind, x_label)
    y_label = {"heat": f"{panel.x2} (gradient steps)", "profile": "share of runs above"}.get(
        panel.kind, panel.y.label
    )
    draw.tidy(ax, panel.title, label, y_label, _not_run(panel, ours))
    if panel.kind in ("curve", "bars") and panel.y.metric != "return":
        ax.set_ylim(bottom=0)


def _not_run(panel: Panel, ours: pd.DataFrame) -> str:
    """Which of the panel's lines, or points of a line, nobody has run."""
    if ours.empty:
        return "not run"
    lines = [series.name for series in panel.series if series.name not in set(ours["series"])]
    if panel.kind == "final":
        for name, rows in ours.groupby("series", sort=False):
            lines += [f"{name} at {x:g}" for x in panel.xs if not np.isclose(rows["x"], x).any()]
    return "not run: " + ", ".join(lines) if lines else ""


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
            draw.published_curve(ax, theirs, looks[series.name])
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
    small.text(0.98, 0.06, "paper, all steps", transform=small.transAxes, fontsize=6.5, ha="right")
    for series in panel.series:
        look = looks[series.name]
        for table, width in ((published, 0.8), (ours, 1.6)):
            rows = table[table["series"] == series.name].sort_values("x")
            small.plot(rows["x"], rows["value"], ls=look.line, color=look.colour, lw=width)


def _seeds(ax: Axes, panel: Panel, evidence: Evidence, looks: dict) -> None:
    """Single seeds, where they are too few for an interval."""
    for (name, *_), cell in evidence.cells.get(panel.name, {}).items():
        if panel.kind == "curve" and len(cell.games) == 1 and 1 < len(cell.values) < MIN_SEEDS:
            for seed in cell.values[:, 0]:
                draw.thin_curve(ax, cell.points, seed, looks[name])


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
    ax.set_xticks(list(panel.xs), [f"{x:g}" for x in panel.xs])
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
            "dormant/paper/data)."
        )
    notes = [part.entry.note for part in evidence.parts or (evidence,) if part.entry.note]
    lines += list(dict.fromkeys(notes))
    if evidence.notes:
        lines.append("Note: " + "; ".join(evidence.notes) + ".")
    return "\n".join(lines)


def _games(evidence: Evidence) -> str:
    """How many of the paper's games (or tasks) were run."""
    asked = {game for _, panel in _panels(evidence) for game in panel.games}
    parts = evidence.parts or (evidence,)
    run = {
        game
        for part in parts
        for cells in part.cells.values()
        for cell in cells.values()
        for game in cell.games
    }
    kind = "tasks" if asked <= set(MUJOCO) else "games"
    return next(iter(asked)) if len(asked) == 1 else f"{len(run)} of {len(asked)} {kind}"
