"""Drawing primitives, shared by all figures: curves with a band, direct labels, caption, files.

Readable without colour: every series has its own line style and marker and is named at its end.
Only matplotlib's object interface is used: no global state, no display.
"""

import os
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import AutoLocator, FuncFormatter, MaxNLocator

from dormant.atomic import atomic

PRINT_DPI = 300
SMALLEST = 5.5  # points, of a bar's name
TRUETYPE = 42  # fonts that journals and conferences accept in a PDF, and that can be edited
# Okabe and Ito's palette, which colour-blind readers can tell apart, without its yellow.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LINES = ("--", "-", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


class Style(NamedTuple):
    """How one series looks in every panel of a figure."""

    colour: str
    line: object
    marker: str
    hatch: str  # of bars, where colours repeat


def style(index: int) -> Style:
    again, i = divmod(index, len(COLOURS))
    return Style(COLOURS[i], LINES[i], MARKERS[i], "///" * again)


def curve(ax: Axes, points: pd.DataFrame, look: Style, label: str = "") -> None:
    """A line with markers through columns x and value; a band between low and high where they are
    given.
    """
    points = points.sort_values("x")
    x, value = points["x"].to_numpy(), points["value"].to_numpy()
    every = max(1, len(x) // 8)
    ax.plot(
        x,
        value,
        ls=look.line,
        color=look.colour,
        marker=look.marker,
        markevery=every,
        ms=4.5,
        lw=1.8,
        label=label,
    )
    if {"low", "high"} <= set(points.columns):
        ax.fill_between(x, points["low"], points["high"], color=look.colour, alpha=0.15, lw=0)


def thin_curve(ax: Axes, x: Any, y: Any, look: Style) -> None:
    """One seed: behind the mean."""
    ax.plot(x, y, ls=look.line, color=look.colour, lw=0.6, alpha=0.55)


def label_ends(figure: Figure, axes: Sequence[Axes], fontsize: float = 8) -> None:
    """Names every labelled line right of its panel, at the height of its last point, moved apart
    where they overlap.
    """
    figure.draw_without_rendering()  # settles scales and sizes of all panels
    for ax in axes:
        lines = [line for line in ax.get_lines() if not str(line.get_label()).startswith("_")]
        ends = sorted(((_end_height(ax, line), line) for line in lines), key=lambda end: end[0])
        gap = 1.2 * fontsize * figure.dpi / 72 / max(ax.bbox.height, 1.0)
        heights = _spread([height for height, _ in ends], gap)
        for height, (_, line) in zip(heights, ends):
            ax.annotate(
                str(line.get_label()),
                xy=(1, height),
                xycoords="axes fraction",
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=fontsize,
                color=line.get_color(),
                annotation_clip=False,
            )


def _end_height(ax: Axes, line: Line2D) -> float:
    """Where a line ends, or leaves the panel, in fractions of the panel's height."""
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    good = np.flatnonzero(np.isfinite(y) & (x <= ax.get_xlim()[1]))
    if not good.size:
        return 0.0
    return ax.transAxes.inverted().transform(ax.transData.transform((x[good[-1]], y[good[-1]])))[1]


def _spread(heights: Sequence[float], gap: float) -> np.ndarray:
    """Sorted heights moved as little as needed (up first, then the whole pile down) to be ``gap``
    apart.
    """
    placed = np.array(heights, dtype=float)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    for i in range(len(placed) - 1, -1, -1):
        ceiling = 1.0 if i == len(placed) - 1 else placed[i + 1] - gap
        placed[i] = min(placed[i], ceiling)
    return placed


def gaps(points: pd.DataFrame) -> pd.Series:
    """Which points (sorted by x) of a digitised curve come after a stretch without any."""
    steps = points["x"].diff()
    return (steps > 3 * steps.median()) if len(points) > 20 else steps > np.inf


def published_curve(ax: Axes, points: pd.DataFrame, look: Style, label: str = "") -> None:
    """The paper's line: thin and pale, with open markers; broken where its points are hidden in the
    paper's figure.

    Args:
      label: where no line of ours has the name.
    """
    points = points.sort_values("x")
    broken = points[gaps(points)].assign(x=lambda p: p["x"] - 1, value=np.nan)
    points = pd.concat([points, broken]).sort_values("x")
    every = max(1, len(points) // 8)
    kind: dict[str, Any] = {"ls": look.line, "color": look.colour, "lw": 0.9, "alpha": 0.55}
    ax.plot(
        points["x"],
        points["value"],
        marker=look.marker,
        markevery=every,
        mfc="white",
        ms=5.5,
        label=label or "_",
        **kind,
    )
    whiskers(ax, points, look)


def whiskers(
    ax: Axes, points: pd.DataFrame, look: Style, width: float = 1.0, alpha: float = 0.5
) -> None:
    """Vertical intervals at single points, where there are any."""
    known = points[points["low"].notna()]
    ax.vlines(
        known["x"].astype(float),
        known["low"],
        known["high"],
        color=look.colour,
        lw=width,
        alpha=alpha,
    )


def bar(ax: Axes, at: float, row: pd.Series, look: Style, width: float, published: bool) -> None:
    """One bar with its interval and number; a published one is empty and dashed."""
    # a hatch has the edge's colour, which must differ from the face's
    face = "none" if published else "white" if look.hatch else look.colour
    line: dict[str, Any] = {"ec": look.colour, "ls": (0, (3, 2)) if published else "-", "lw": 1.2}
    ax.bar(
        at,
        row["value"],
        width=width,
        fc=face,
        hatch=look.hatch,
        alpha=1 if published else 0.75,
        **line,
    )
    if np.isfinite(row["low"]):
        ax.vlines(at, row["low"], row["high"], color="#222222", lw=1.4)
    ends = [row["value"], row["low"], row["high"], 0]
    end, away = (np.nanmin(ends), -1) if row["value"] < 0 else (np.nanmax(ends), 1)
    text = ax.annotate(
        three_digits(row["value"]), (at, end), (0, 2 * away), textcoords="offset points", fontsize=7
    )
    text.set(
        ha="center", va="top" if away < 0 else "bottom", style="italic" if published else "normal"
    )


def fit_names(figure: Figure, axes: Sequence[Axes]) -> None:
    """Names below bars, smaller where they would touch, and upright where they would be too small
    to read.
    """
    figure.draw_without_rendering()  # settles the panels' sizes
    for ax in axes:
        names = ax.get_xticklabels()
        widest = max((name.get_window_extent().width for name in names), default=0.0)
        low, high = ax.get_xlim()
        room = 0.92 * ax.bbox.width / (high - low)  # of a bar
        if widest <= room:
            continue
        size = float(names[0].get_fontsize()) * room / widest
        for name in names:
            name.set_fontsize(max(size, SMALLEST))
            if size < SMALLEST:
                name.set(rotation=90, ha="right", va="center", rotation_mode="anchor")


def three_digits(value: float) -> str:
    """1.00, 14.0, 326, 3219: with their zeros, so that numbers side by side are equally exact."""
    # from 999.5 on three digits would be 1.00e+03
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".rstrip(".")


def heat(ax: Axes, points: pd.DataFrame, xs: Sequence[float], ys: Sequence[float]) -> None:
    """Values of columns x and x2 as a map with the numbers written in, "not run yet" elsewhere."""
    values = points.set_index(["x", "x2"])
    grid = np.full((len(ys), len(xs)), np.nan)
    for i, y in enumerate(ys):
        for j, x in enumerate(xs):
            if (x, y) in values.index:
                grid[i, j] = values.loc[(x, y), "value"]
    ax.imshow(grid, cmap="Blues", aspect="auto", origin="lower")
    middle = np.nanmean([np.nanmin(grid), np.nanmax(grid)]) if np.isfinite(grid).any() else 0.0
    for i, y in enumerate(ys):
        for j, x in enumerate(xs):
            known = np.isfinite(grid[i, j])
            text = f"{grid[i, j]:.2f}" if known else "not run yet"
            if known and np.isfinite(values.loc[(x, y), "low"]):
                text += f"\n[{values.loc[(x, y), 'low']:.2f}, {values.loc[(x, y), 'high']:.2f}]"
            shade = "white" if known and grid[i, j] > middle else "black"
            ax.text(j, i, text, ha="center", va="center", fontsize=8, color=shade)
    ax.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    ax.set_yticks(range(len(ys)), [short(y) for y in ys])


def short(number: float, _: object = None) -> str:
    """1500000 -> 1.5M, 20000 -> 20k."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:g}{unit}"
    return f"{number:g}"


def tidy(ax: Axes, title: str = "", x: str = "", y: str = "", remark: str = "") -> None:
    """Titles, a small remark between title and panel, short numbers below, light horizontal grid,
    no box.
    """
    lines = textwrap.wrap(remark, max(30, int(ax.bbox.width / 6)))
    ax.annotate(
        "\n".join(lines),
        (0, 1),
        (0, 3),
        "axes fraction",
        "offset points",
        fontsize=7,
        color="#555555",
    )
    # wrapped, so that it does not run into its neighbour's
    title = "\n".join(textwrap.wrap(title, max(24, int(ax.bbox.width / 8))))
    ax.set_title(title, fontsize=9.5, loc="left", pad=6 + 9.5 * len(lines))
    ax.set_xlabel(x, fontsize=8.5)
    ax.set_ylabel(y, fontsize=8.5)
    ax.tick_params(labelsize=8)
    if not ax.images:
        ax.grid(axis="y", lw=0.4, alpha=0.5)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if isinstance(ax.xaxis.get_major_locator(), AutoLocator):
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(short))


def inset(ax: Axes, left: float, right: float, low: float, high: float) -> Axes:
    """Crops the panel to x in [left, right] and y in [low, high], and returns small axes above
    them, in which what lies outside is to be drawn too.
    """
    room = max(high - low, 1e-9)
    ax.set_xlim(left - 0.02 * (right - left), right + 0.02 * (right - left))
    ax.set_ylim(low - 0.05 * room, high + 0.85 * room)
    small = ax.inset_axes((0.1, 0.66, 0.5, 0.32))
    small.axvspan(left, right, color="#999999", alpha=0.25, lw=0)
    small.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    small.xaxis.set_major_formatter(FuncFormatter(short))
    small.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    small.yaxis.set_major_formatter(FuncFormatter(short))
    small.tick_params(labelsize=6, length=2, pad=1.5)
    small.spines[["top", "right"]].set_visible(False)
    return small


def caption(figure: Figure, text: str, width: int = 0) -> None:
    """The caption, wrapped, below everything."""
    columns = width or int(figure.get_figwidth() * 14.5)
    wrapped = "\n".join(textwrap.fill(line, columns) for line in text.splitlines())
    figure.text(0.01, -0.01, wrapped, fontsize=8, va="top", ha="left", linespacing=1.35)


def new_figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def save(
    figure: Figure,
    data: pd.DataFrame,
    out_dir: str,
    name: str,
    exact: bool = False,
    dpi: int = PRINT_DPI,
) -> list[str]:
    """Writes name.png, name.pdf and name.csv (the numbers behind them); the same numbers give the
    same bytes.

    Args:
      exact: the image has the figure's size, to the point; else it is cut to what is drawn.
      dpi: of the PNG.
    """
    os.makedirs(out_dir, exist_ok=True)
    base = os.path.join(out_dir, name)
    cut: dict[str, Any] = {} if exact else {"bbox_inches": "tight", "pad_inches": 0.12}
    with matplotlib.rc_context({"pdf.fonttype": TRUETYPE}):
        with atomic(base + ".png", "wb") as file:
            figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None}, **cut)
        with atomic(base + ".pdf", "wb") as file:
            figure.savefig(file, format="pdf", metadata={"CreationDate": None}, **cut)
    with atomic(base + ".csv") as file:
        data.to_csv(file, index=False, float_format="%.9g")
    return [base + ending for ending in (".png", ".pdf", ".csv")]


def empty(ax: Axes, reason: str = "not run yet") -> None:
    """A panel without data says so, in a pale frame instead of axes."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.set_facecolor("#f6f6f6")
    middle: dict[str, Any] = {"ha": "center", "va": "center", "transform": ax.transAxes}
    ax.text(0.5, 0.5, reason, fontsize=9, color="#6b6b6b", **middle)
