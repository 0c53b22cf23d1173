"""Figures for print: sizes, fonts, names of lines, titles, what is not there yet."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dormant import figures
from dormant.analysis import draw, figure
from dormant.analysis.evidence import gather
from dormant.analysis.figure import Look, caption, draw_entry, title_of
from dormant.analysis.load import load
from dormant.analysis.report import _page, other_figures
from dormant.paper import get
from dormant.paper.records import Entry, Panel
from dormant.paper.shared import RETURN, dqn


def test_a_column_is_a_column_wide_at_300_dpi_with_truetype_fonts(tmp_path):
    png, pdf, _ = draw_entry(gather(get("14"), None), str(tmp_path), Look("column", text=False))
    with Image.open(png) as image:
        assert image.size[0] == round(3.25 * 300)
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    with open(pdf, "rb") as file:
        data = file.read()
    assert b"/CIDFontType2" in data and b"/Type3" not in data


def test_the_command_takes_the_layout(write_returns, tmp_path, capsys):
    write_returns("a", {"none": [[0, 1]]})
    line = ["--runs", str(tmp_path / "runs"), "--figure", "7", "--out", str(tmp_path / "out")]
    assert figures.main([*line, "--width", "page", "--no_text"]) == 0
    with Image.open(tmp_path / "out" / "figure_7.png") as image:
        assert image.size[0] == round(6.75 * 300)
    assert figures.main([*line, "--width", "colum"]) == 2
    assert "unknown width 'colum'; did you mean 'column'" in capsys.readouterr().err


def labels(ax):
    """The names of the lines of a panel, without those that stand for single seeds."""
    return [str(line.get_label()) for line in ax.get_lines() if line.get_label()[0] != "_"]


def panel_of(name, table=None, number=0):
    """(axes, evidence, panel) of one panel of an entry, drawn."""
    evidence = gather(get(name), table)
    panel = evidence.entry.panels[number]
    ax = draw.new_figure(4, 3).subplots()
    looks = {series.name: draw.style(i) for i, series in enumerate(panel.series)}
    figure._draw_panel(ax, evidence, panel, looks)
    return ax, evidence, panel


def test_every_line_is_named_published_ones_too(write_returns, tmp_path):
    ax, _, panel = panel_of("14")
    assert labels(ax) == [f"{series.name} (published)" for series in panel.series]
    write_returns("a", {"none": [[1, 20]], "redo": [[1, 30]]}, agent="DQN", game="Breakout")
    ax, _, panel = panel_of("10a", load(str(tmp_path / "runs")))
    assert sorted(labels(ax)) == sorted(series.name for series in panel.series)


def test_titles_name_the_games_that_are_in_the_panel(write_returns, tmp_path):
    write_returns("a", {"none": [[1, 20]]}, game="Breakout")
    _, evidence, panel = panel_of("10a", load(str(tmp_path / "runs")))
    assert title_of(panel, evidence) == f"{panel.title}: Breakout (1 of {len(panel.games)} games)"
    assert title_of(panel, gather(get("10a"), None)) == panel.title


def test_what_is_not_run_yet_is_one_short_line(write_returns, tmp_path):
    for ratio in (0.25, 1.0):
        write_returns(f"{ratio}", {"none": [[1, 20]]}, game="Breakout", replay_ratio=ratio)
    ax, evidence, panel = panel_of("10a", load(str(tmp_path / "runs")))
    remark = figure._not_run(panel, evidence.where(panel.name, "ours"))
    assert remark == "not run yet: DQN + ReDo; at 0.5, 2"
    assert figure._not_run(panel, evidence.where(panel.name, "none")) == "ours: not run yet"


def test_a_map_says_what_its_numbers_are(write_returns, tmp_path):
    write_returns("a", {"redo": [[1, 20]]}, game="Breakout")
    ax, _, panel = panel_of("heatmap", load(str(tmp_path / "runs")))
    assert panel.y.label in [text.get_text() for text in ax.texts]


def test_an_empty_panel_has_no_axes():
    ax, _, _ = panel_of("heatmap")
    assert not any(spine.get_visible() for spine in ax.spines.values())
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["not run yet"]


def test_gaps_of_digitised_curves_are_explained():
    assert "Gaps in published lines are stretches that other lines hide" in caption(
        gather(get("14"), None)
    )
    assert "Gaps" not in caption(gather(get("10a"), None))
    x = np.r_[np.arange(15.0), np.arange(30.0, 45.0)]
    assert draw.gaps(pd.DataFrame({"x": x})).sum() == 1


def test_a_line_that_leaves_the_panel_is_named_where_it_leaves():
    ax = draw.new_figure(4, 3).subplots()
    (line,) = ax.plot([0, 1, 2, 10], [0, 1, 2, 10])
    ax.set_xlim(0, 2)
    ax.set_ylim(0, 4)
    assert draw._end_height(ax, line) == pytest.approx(0.5)


def test_the_report_opens_with_what_was_asked_and_has_the_folders_other_figures(
    write_returns, tmp_path
):
    write_returns("a", {"none": [[1, 20]]}, game="Breakout")
    runs = tmp_path / "runs"
    (runs / "figures").mkdir()
    for name in ("my_own_figure.png", "figure_10a.png"):
        Image.new("RGB", (40, 30)).save(runs / "figures" / name)
    table = load(str(runs))
    evidences = [gather(get("10a"), table)]
    others = other_figures(str(runs / "figures"), evidences)
    page = _page(evidences, [], others)
    assert [path.rsplit("/", 1)[1] for path in others] == ["my_own_figure.png"]
    assert "<h2>My own figure</h2>" in page and page.count("data:image/png") == 2
    assert page.index("claims not asked yet") < page.index("<figure>")


def test_names_of_bars_do_not_touch_beside_panels_with_names_at_their_lines(
    write_returns, tmp_path, monkeypatch
):
    """Constrained layout makes all panels as narrow as the names at the lines of one leave it."""
    write_returns("a", {"none": [[0, 1]], "redo": [[0, 2]], "reset": [[0, 3]]})
    lines = [dqn(), dqn("redo", "recycling low scores"), dqn("reset", "recycling any neurons")]
    bars = Panel("bars", "", "bars", RETURN, lines, ["DemonAttack"])
    curves = bars._replace(name="curves", kind="curve", x="agent_steps")
    shown: list = []
    monkeypatch.setattr(draw, "save", lambda figure, *_: shown.append(figure) or [])
    entry = Entry("1", "", "?", [bars, curves], [], "")
    draw_entry(gather(entry, load(str(tmp_path / "runs"))), "", Look("column", text=False))
    shown[0].draw_without_rendering()
    boxes = [name.get_window_extent() for name in shown[0].axes[0].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:]))
