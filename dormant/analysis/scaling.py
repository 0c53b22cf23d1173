"""The picture of the population benchmark: gradient steps a second against the number of
members.
"""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from dormant.analysis.draw import LINES, style


def draw_scaling(rows: list[dict[str, Any]], device: str, path: str) -> None:
    """One panel an agent: the full loop, the bare update and the machine's floor, for each
    precision and formulation.

    rows: of the JSON file that ``scripts/benchmark.py population`` writes.
    """
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure = Figure(figsize=(4.2 * len(cases), 3.8), layout="constrained")
    for ax, case in zip(figure.subplots(1, len(cases), squeeze=False)[0], cases):
        of_case = [row for row in rows if row["case"] == case]
        kinds = list(
            dict.fromkeys((row["precision"], row["formulation"], row["axis"]) for row in of_case)
        )
        for index, kind in enumerate(kinds):
            series = [
                row
                for row in of_case
                if (row["precision"], row["formulation"], row["axis"]) == kind
            ]
            series.sort(key=lambda row: row["members"])
            members, look = [row["members"] for row in series], style(index)
            name = ", ".join(kind)
            draw = lambda key, **how: ax.plot(
                members, [row[key] for row in series], color=look.colour, **how
            )
            draw(
                "gradient_steps_per_second", ls="-", marker=look.marker, label=f"full loop ({name})"
            )
            draw(
                "bare_updates_per_second",
                ls=LINES[0],
                marker=look.marker,
                mfc="none",
                label="bare update",
            )
            draw("floor_updates_per_second", ls=LINES[2], label="machine's floor")
        ax.set(xscale="log", yscale="log", title=case, xlabel="members of the population")
        counts = sorted({row["members"] for row in of_case})
        ax.set_xticks(counts, [str(count) for count in counts])
        bottom, top = ax.get_ylim()
        ax.set_ylim(bottom / 1.5, 1.5 * top)  # room for two ticks at least
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_minor_locator(NullLocator())
        ax.grid(alpha=0.3)
        ax.legend(fontsize=7, loc="best")
    figure.get_axes()[0].set_ylabel("gradient steps per second, all members")
    figure.suptitle(f"Populations on {device}")
    figure.savefig(path, dpi=120)
