"""The image of the population benchmark: gradient steps a second against the members."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from dormant.analysis.draw import LINES, style
from dormant.benchmarks.session import CASES


def draw_scaling(rows: list[dict[str, Any]], device: str, path: str) -> None:
    """One panel an agent: the full loop, the bare update and the machine's roofline.

    rows: of the JSON file that the benchmark ``population`` writes, those of one precision and
    formulation joined by lines.
    """
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure = Figure(figsize=(3.4 * len(cases), 3.6), layout="constrained")
    panels = figure.subplots(1, len(cases), squeeze=False)[0]
    for ax, case in zip(panels, cases):
        _panel(ax, case, [row for row in rows if row["case"] == case])
    panels[0].set_ylabel("gradient steps per second, all members")
    panels[-1].legend(fontsize=8, loc="best")
    figure.suptitle(f"Populations on one device: {device}")
    figure.savefig(path, dpi=120)


def _panel(ax: Axes, case: str, rows: list[dict[str, Any]]) -> None:
    kinds = list(dict.fromkeys(_kind(row) for row in rows))
    for index, kind in enumerate(kinds):
        series = sorted((row for row in rows if _kind(row) == kind), key=lambda row: row["members"])
        _lines(ax, series, f" ({', '.join(kind)})" if len(kinds) > 1 else "", style(index))
    ax.set(xscale="log", title=CASES[case].title, xlabel="members of the population")
    counts = sorted({row["members"] for row in rows})
    ax.set_xticks(counts, [str(count) for count in counts])
    ax.set_ylim(bottom=0)  # what a doubling gains or costs is seen as a share
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(alpha=0.3)
    if len(kinds) > 1:
        ax.legend(fontsize=8, loc="best")


def _kind(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["precision"], row["formulation"], row["axis"]


def _lines(ax: Axes, series: list[dict[str, Any]], name: str, look: Any) -> None:
    """The three lines of one kind of population."""
    members = [row["members"] for row in series]
    for key, label, how in (
        ("gradient_steps_per_second", f"full loop{name}", {"ls": "-", "marker": look.marker}),
        (
            "bare_updates_per_second",
            "bare update",
            {"ls": LINES[0], "marker": look.marker, "mfc": "none"},
        ),
        ("roofline_updates_per_second", "machine's roofline", {"ls": LINES[2]}),
    ):
        ax.plot(members, [row[key] for row in series], color=look.colour, label=label, **how)
