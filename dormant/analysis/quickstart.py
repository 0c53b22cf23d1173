"""The first image a newcomer sees: dormant fraction and return of the members of one run, by
label.
"""

import os
import re

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dormant.analysis import draw
from dormant.analysis.figure import WIDTHS, Look
from dormant.analysis.load import Table, load
from dormant.types import DormantError

_DORMANT = re.compile(r"dormant_fraction/tau=(?P<tau>[^/]+)/(?P<layer>.+)")
_RETURNS = ("train/average_return", "eval/average_return")
METRICS = ("dormant_fraction/", *_RETURNS)


def draw_quickstart(base_dir: str, out_dir: str = "", look: Look = Look()) -> list[str]:
    """Draws quickstart.png, .pdf and .csv from the run in base_dir; returns their paths.

    The tau shown is the smallest at which a member recycles (else the smallest recorded), as in the
    paper, where dormant neurons are counted at the threshold by which they are recycled.

    Raises:
      DormantError: no run, several, or one without dormant fractions.
    """
    table = load(base_dir, METRICS)
    runs = sorted(set(table.members["run"]))
    if len(runs) > 1:
        raise DormantError(
            f"{base_dir} holds {len(runs)} runs; the figure quickstart draws one: "
            f"--runs {os.path.join(base_dir, runs[0])}"
        )
    data = quickstart_data(table)
    figure = _figure(data, table, look)
    exact = bool(WIDTHS[look.width]) and not look.text
    out_dir = out_dir or os.path.join(base_dir, "figures")
    return draw.save(figure, data, out_dir, "quickstart", exact, look.dpi)


def quickstart_data(table: Table) -> pd.DataFrame:
    """Long table; a panel is "pooled", "return", or a layer's name."""
    rows = table.rows
    found = rows["metric"].astype(str).str.extract(_DORMANT)
    if found["tau"].notna().sum() == 0:
        raise DormantError("the run has no rows of dormant_fraction yet: nothing to draw")
    tau = _tau(table, found["tau"].dropna().unique())
    dormant = rows[(found["tau"] == tau).to_numpy()].assign(panel=found["layer"])
    returns = _returns(rows)
    data = pd.concat(
        [dormant.replace({"panel": {"all": "pooled"}}), returns.assign(panel="return")]
    )
    columns = [
        "panel",
        "label",
        "seed",
        "game",
        "agent_steps",
        "frames",
        "gradient_steps",
        "metric",
        "value",
    ]
    return (
        data[columns]
        .sort_values(["panel", "label", "seed", "agent_steps"], kind="stable")
        .reset_index(drop=True)
    )


def _tau(table: Table, recorded: list[str]) -> str:
    """The threshold to show, as it is written in the metrics' names."""
    recycling = table.members.loc[table.members["method"] == "redo", "tau"].dropna()
    wanted = [tau for tau in recorded if float(tau) in set(recycling)]
    return min(wanted or recorded, key=float)


def _returns(rows: pd.DataFrame) -> pd.DataFrame:
    """Average returns of whichever phase has more points: training episodes, or the evaluation
    phase.
    """
    phases = [rows[(rows["metric"] == name) & rows["value"].notna()] for name in _RETURNS]
    return max(phases, key=len)


def _figure(data: pd.DataFrame, table: Table, look: Look) -> Figure:
    layers = [panel for panel in data["panel"].unique() if panel not in ("pooled", "return")]
    layers = sorted(layers, key=lambda layer: ("Dense" in layer, layer))
    figure, axes = _axes(len(layers), look.width)
    one_network = len({layer.split("/")[0] for layer in layers}) == 1
    names = [layer.split("/", 1)[-1] if one_network else layer for layer in layers]
    titles = ["dormant neurons (%), all layers", _return_title(data)]
    titles += [f"dormant (%), {name}" for name in names]
    looks = {label: draw.style(i) for i, label in enumerate(_labels(table))}
    fractions = data["panel"] != "return"
    data = data.assign(value=data["value"].where(~fractions, 100 * data["value"]))
    top_of_scale = max(10, 1.05 * data.loc[fractions, "value"].max())
    factor = table.members["frames_per_agent_step"].iloc[0]
    clock = "agent steps" + (f" (of {factor:g} frames)" if factor != 1 else "")
    for ax, panel, title in zip(axes, ["pooled", "return", *layers], titles):
        _draw_panel(ax, data[data["panel"] == panel], looks)
        alone = look.width == "column" and ax is not axes[-1]  # the axis below is its own
        draw.tidy(ax, title, "" if alone else clock)
        if panel != "return":
            ax.set_ylim(-0.02 * top_of_scale, top_of_scale)
    draw.label_ends(figure, axes[:2] if look.width == "screen" else axes)
    if look.text:
        draw.caption(figure, _caption(data, table))
    return figure


def _axes(layers: int, width: str) -> tuple[Figure, list[Axes]]:
    """Two panels, and one for each layer below; in a column they are one below the other."""
    inches = WIDTHS[width]
    if inches and width == "column":
        figure = draw.new_figure(inches, 1.9 * (layers + 2))
        return figure, list(figure.subplots(layers + 2, 1, sharex=True))
    columns, rows = max(2, layers), 2 if layers else 1
    figure = draw.new_figure(inches or max(8.0, 2.9 * columns), 0.3 * rows * (inches or 10.3))
    grid = figure.add_gridspec(rows, 2 * columns)
    top = [figure.add_subplot(grid[0, :columns]), figure.add_subplot(grid[0, columns:])]
    return figure, top + [figure.add_subplot(grid[1, 2 * i : 2 * i + 2]) for i in range(layers)]


def _labels(table: Table) -> list[str]:
    """Labels, baselines first."""
    order = table.members.sort_values("method", key=lambda method: method != "none", kind="stable")
    return list(dict.fromkeys(order["label"]))


def _draw_panel(ax: Axes, points: pd.DataFrame, looks: dict) -> None:
    """Single seeds thin, their mean thick (where every seed of the label has been measured)."""
    if points.empty:
        draw.empty(ax, "no episode has ended yet")
    for label, look in looks.items():
        series = points[points["label"] == label].pivot_table(
            index="agent_steps", columns="seed", values="value"
        )
        if series.empty:
            continue
        if series.shape[1] > 1:
            for seed in series:
                draw.thin_curve(ax, series.index, series[seed], look)
        mean = series.dropna().mean(axis=1)
        draw.curve(ax, pd.DataFrame({"x": mean.index, "value": mean.to_numpy()}), look, label)


def _return_title(data: pd.DataFrame) -> str:
    phase = data.loc[data["panel"] == "return", "metric"].astype(str).unique()
    kind = {"train/average_return": ", training episodes", "eval/average_return": ", evaluation"}
    return "average return" + (kind[phase[0]] if len(phase) else "")


def _caption(data: pd.DataFrame, table: Table) -> str:
    members = table.members
    last = data.sort_values("agent_steps").iloc[-1]
    tau = (
        data.loc[data["panel"] == "pooled", "metric"]
        .astype(str)
        .str.extract(_DORMANT)["tau"]
        .iloc[0]
    )
    seeds = ", ".join(
        f"{label}: {n}"
        for label, n in members.groupby("label", sort=False)["seed"].nunique().items()
    )
    games = ", ".join(members["game"].unique())
    redo = members[members["method"] == "redo"]
    recycling = "; ".join(
        f"tau {t:g} every {p:g} gradient steps" for t, p in set(zip(redo["tau"], redo["period"]))
    )
    so_far = "" if (members["status"] == "finished").all() else " so far"
    text = (
        f"{games}, replay ratio {members['replay_ratio'].iloc[0]:g}. "
        f"Budget{so_far}: {last['agent_steps']:,} agent steps"
        + (f" = {last['frames']:,} frames, " if last["frames"] != last["agent_steps"] else ", ")
        + f"{last['gradient_steps']:,} gradient steps. Seeds: {seeds}. "
        f"Dormant: neurons with score <= {tau}, measured before recycling. "
        "Thick: mean over seeds; thin: single seeds; no interval is drawn."
    )
    if recycling:
        text += f" ReDo recycles at {recycling}."
    return text + "".join(f"\n{problem}" for problem in table.problems)
