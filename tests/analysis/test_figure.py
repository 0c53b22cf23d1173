"""Figures and report from runs: files, numbers behind them, what was not run, bad input."""

import html.parser
import os
import re
import subprocess
import sys
import time

import pandas as pd
import pytest
from matplotlib.figure import Figure

from dormant import figures, report, results
from dormant.analysis import claims, draw, figure
from dormant.analysis.evidence import gather
from dormant.analysis.figure import caption, draw_entry, draw_figures
from dormant.analysis.load import load
from dormant.analysis.report import write_evidence, write_report
from dormant.paper import get
from dormant.paper.games import MINATAR
from dormant.types import DormantError


@pytest.fixture
def runs(write_returns, tmp_path):
    """Two games, two seeds, DQN and DQN with ReDo at two replay ratios."""
    for game in ("Breakout", "DemonAttack"):
        for ratio in (0.25, 1.0):
            returns = {"none": [[1, 20], [2, 22]], "redo": [[1, 30], [3, 33]]}
            write_returns(f"{game} {ratio}", returns, game=game, replay_ratio=ratio)
    return str(tmp_path / "runs")


def test_files_and_their_numbers(runs, tmp_path):
    paths, lines = draw_figures(runs, ["10a"], str(tmp_path / "one"))
    assert [os.path.basename(path) for path in paths] == [
        "figure_10a.png",
        "figure_10a.pdf",
        "figure_10a.csv",
    ]
    table = pd.read_csv(paths[2])
    ours = table[table["source"] == "ours"]
    assert ours[["series", "x"]].values.tolist() == [
        ["DQN", 0.25],
        ["DQN", 1],
        ["DQN + ReDo", 0.25],
        ["DQN + ReDo", 1],
    ]
    # Four scores: 20, 22 on Breakout (1.7, 30.5), and on DemonAttack (152.1, 1971.0); the middle
    # two are averaged.
    scores = sorted(
        [(20 - 1.7) / 28.8, (22 - 1.7) / 28.8, (20 - 152.1) / 1818.9, (22 - 152.1) / 1818.9]
    )
    assert ours["value"].iloc[0] == pytest.approx(sum(scores[1:3]) / 2)
    assert (table["source"] == "published").sum() == 8
    assert any("15 of 17 games not run" in line for line in lines)
    again, _ = draw_figures(runs, ["10a"], str(tmp_path / "two"))
    for one, two in zip(paths, again):
        with open(one, "rb") as a, open(two, "rb") as b:
            assert a.read() == b.read()


@pytest.mark.parametrize("name", ["1", "13", "heatmap", "table6", "16", "profiles"])
def test_every_kind_of_panel_is_drawn_with_and_without_runs(runs, tmp_path, name):
    paths, _ = draw_figures(runs, [name], str(tmp_path / "some"))
    evidence = gather(get(name), None)
    paths += draw_entry(evidence, str(tmp_path / "none"))
    assert all(os.path.getsize(path) > 50 for path in paths) and len(paths) == 6
    assert "Ours: not run." in caption(evidence)


def test_points_that_nobody_has_run_take_no_room(runs):
    """The axis has the values of ours and of the published line, and begins at a random policy."""
    evidence = gather(get("10a"), load(runs))
    panel = evidence.entry.panels[0]._replace(xs=(0.25, 0.5, 1, 2, 16, 64))
    (ax,) = Figure().subplots(1, 1, squeeze=False)[0]
    figure._draw_panel(ax, evidence, panel, figure._looks([(evidence, panel)]))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.25", "0.5", "1", "2"]
    assert ax.get_ylim()[0] == 0


@pytest.mark.parametrize(
    "value, text", [(1, "1.00"), (1.02, "1.02"), (14, "14.0"), (326, "326"), (3219.4, "3219")]
)
def test_numbers_beside_bars_keep_their_zeros(value, text):
    assert draw.three_digits(value) == text


@pytest.mark.parametrize("value, text", [(999.4, "999"), (999.5, "1000"), (-999.7, "-1000")])
def test_numbers_that_round_to_a_thousand_have_no_exponent(value, text):
    assert draw.three_digits(value) == claims.number(value) == text


@pytest.mark.parametrize("value, text", [(-5e-9, "0"), (-0.0, "0"), (-4.04e-5, "-4e-05")])
def test_what_rounding_leaves_of_a_zero_is_a_zero(value, text):
    assert claims.number(value) == text


def test_a_line_that_others_have_published_has_their_name():
    evidence = gather(get("16", "MinAtar"), None)
    panel = evidence.entry.panels[3]
    (ax,) = Figure().subplots(1, 1, squeeze=False)[0]
    figure._draw_panel(ax, evidence, panel, figure._looks([(evidence, panel)]))
    assert [line.get_label() for line in ax.get_lines()] == ["Young and Tian"]


def test_caption_says_what_a_reader_must_know(runs, tmp_path):
    evidence = gather(get("1"), load(runs))
    text = caption(evidence)
    for part in (
        "200 agent steps = 800 frames",
        "2 of 17 games",
        "seeds of each: 2",
        "thin lines are single seeds",
        "worst moment",
        "10M",
    ):
        assert part in text
    assert "Note: " in text and "games not run: Asterix" in text


def test_caption_counts_the_games_in_which_a_line_is_missing(write_returns, tmp_path):
    write_returns("a", {"none": [[1, 20]], "redo": [[1, 30]]}, game="Breakout")
    write_returns("b", {"none": [[1, 20]]}, game="DemonAttack")
    entry = get("10a")
    panel = entry.panels[0]._replace(kind="curve", x="frames", xs=())
    panels = [panel._replace(name=game, games=[game]) for game in ("Breakout", "DemonAttack")]
    text = caption(gather(entry._replace(panels=panels, claims=()), load(str(tmp_path / "runs"))))
    assert "2 of 2 games (lines missing in 1);" in text


def test_labels_are_moved_apart_and_stay_in_the_panel():
    spread = draw._spread([0.1, 0.5, 0.51, 0.52, 0.99, 1.0], 0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in zip(spread, spread[1:])) and spread[-1] <= 1.0
    assert spread[0] == 0.1 and spread[1] == pytest.approx(0.5)


def test_runs_far_shorter_than_the_papers_are_drawn_on_the_papers_axis(write_returns, tmp_path):
    """Cropped to what both have; the whole of the paper's is small above it."""
    write_returns("a", {"none": [[1, 2]]})
    evidence = gather(get("7"), load(str(tmp_path / "runs")))
    panel = evidence.entry.panels[1]
    ax = draw.new_figure(4, 3).subplots()
    figure._draw_panel(ax, evidence, panel, {series.name: draw.style(0) for series in panel.series})
    assert ax.get_xlim()[1] < 1000
    published = [line for line in ax.get_lines() if max(line.get_xdata()) > 1e7]
    assert len(published) == 4  # on the same axes as ours
    (small,) = ax.child_axes
    assert small.get_xlim()[1] > 1e7
    top_of_ours = ax.transData.transform((0, 2))[1]
    assert small.bbox.y0 > top_of_ours  # nothing is covered


def test_short_numbers():
    assert [draw.short(n) for n in (0, 0.25, 20_000, 2_500_000, 1e9)] == [
        "0",
        "0.25",
        "20k",
        "2.5M",
        "1B",
    ]


class Page(html.parser.HTMLParser):
    """Collects tags and text; a page that is not well nested leaves something open."""

    void = {"meta", "img", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_report(runs, tmp_path):
    (page, table), _ = write_report(runs, str(tmp_path / "report"), ["10a", "2", "18"])
    parsed = Page()
    with open(page, encoding="utf-8") as file:
        parsed.feed(file.read())
    assert parsed.open == []
    assert all(
        source.startswith(("data:image/png;base64,", "#")) for source in parsed.sources
    )  # self-contained
    assert sum(source.startswith("data:") for source in parsed.sources) == 3
    assert "7 claims: 0 supported, 0 contradicted, 0 undecided, 7 not asked" in re.sub(
        r"\s+", " ", parsed.text
    )
    with open(table, encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert lines[0].startswith(
        "| figure | claim | unit | paper | ours | 95% interval | games | seeds | budget | verdict |"
    )
    assert lines[2].startswith("| Figure 10a | ") and lines[10:12] == ["Game by game:", ""]
    (line,) = [line for line in lines[:11] if "at replay ratio 1, ReDo ends above DQN" in line]
    assert "| 0.325 |" in line and "| Breakout, DemonAttack | 2 |" in line
    assert line.endswith("| not asked (200 agent steps; it speaks of 250k at least) |")


def test_the_report_names_damaged_runs(runs, write_returns, tmp_path):
    (write_returns("b", {"redo": [[0, 1]]}) / "metrics.csv").write_text("no table\n")
    (page, _), lines = write_report(runs, str(tmp_path / "report"), ["10a"])
    assert any(line.startswith("b: left out: metrics.csv") for line in lines)
    with open(page, encoding="utf-8") as file:
        text = file.read()
    assert text.count("b: left out: metrics.csv") == 2  # in the list, and below the figure


def test_the_report_of_one_figure_leaves_the_others_alone(runs, tmp_path):
    out = tmp_path / "report"
    out.mkdir()
    (out / "report.html").write_text("of all figures")
    write_report(runs, str(out), ["7"])
    write_report(runs, str(out), ["10a", "2"])
    assert sorted(os.listdir(out)) == [
        *("report.html", "report_10a_2.html", "report_10a_2.md"),
        *("report_7.html", "report_7.md"),
    ]
    assert (out / "report.html").read_text() == "of all figures"


def test_the_table_of_evidence_links_its_figures(runs, tmp_path):
    page = str(tmp_path / "docs" / "evidence.md")
    paths = write_evidence(runs, page, ["10a", "18"])
    with open(page, encoding="utf-8") as file:
        text = file.read()
    assert "| [Figure 10a](figures/figure_10a.png) | " in text
    assert all(os.path.exists(path) for path in paths) and paths[0] == page
    assert os.path.exists(tmp_path / "docs" / "figures" / "figure_10a.png")


def test_runs_on_minatar_are_asked_the_questions_put_there(write_returns, tmp_path):
    """The same number of the same figure; the paper's curves of other games are not drawn."""
    facts = {"network": "minatar", "learning_rate": 2.5e-4}
    for game in MINATAR:
        noise = [0.1 * seed for seed in range(10)]
        write_returns(
            game.replace("/", ""),
            {
                "none": [[1, 20 + each] for each in noise],
                "redo": [[1, 22 + 2 * each] for each in noise],
            },
            metric="train/average_return",
            facts=facts,
            game=game,
            frames_per_agent_step=1,
            protocol={"iterations": 2, "training_steps": 250_000},
        )
    runs = str(tmp_path / "runs")
    paths, _ = draw_figures(runs, ["10a"], str(tmp_path / "out"))
    assert os.path.basename(paths[0]) == "figure_10a_minatar.png"
    table = pd.read_csv(paths[2])
    assert set(table["source"]) == {"ours"}
    (_, text), _ = write_report(runs, str(tmp_path / "report"), ["10a"])
    with open(text, encoding="utf-8") as file:
        lines = [line for line in file if "At replay ratio 1, ReDo ends above DQN" in line]
    assert len(lines) == 1 + 3 + 1  # all games, one by one, and all by the mean
    assert "| 0.325 human-normalised |" in lines[0] and "| 10 | 500k agent steps |" in lines[0]
    assert lines[0].endswith("| supported |\n")
    with pytest.raises(DormantError, match="figure 14 is not asked on MinAtar"):
        draw_figures(runs, ["14"], str(tmp_path / "out"))


@pytest.mark.parametrize("command", [figures, report], ids=["figures", "report"])
def test_bad_input_is_one_line(command, tmp_path, capsys):
    for arguments, reason in (
        (["--figure", "tabel7"], "unknown figure 'tabel7'; did you mean 'table7'?"),
        (["--figure", "7"], "holds no run"),
    ):
        assert command.main(["--runs", str(tmp_path), *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and reason in err
        assert os.listdir(tmp_path) == []


def test_commands(runs, capsys):
    assert figures.main(["--runs", runs, "--figure", "10a"]) == 0
    assert report.main(["--runs", runs, "--figure", "18"]) == 0
    out = capsys.readouterr().out
    assert f"{runs}/figures/figure_10a.png\n" in out and out.endswith(
        f"{runs}/report/report_18.md\n"
    )


def test_one_figure_that_cannot_be_drawn_does_not_stop_the_others(write_returns, tmp_path):
    write_returns("a", {"none": [[0, 1]]}, game="Breakout")
    write_returns("b", {"redo": [[0, 1]]}, game="DemonAttack")
    runs, out = str(tmp_path / "runs"), str(tmp_path / "out")
    paths, lines = draw_figures(runs, ["10a", "table7"], out)
    assert [os.path.basename(path) for path in paths] == [
        "table_7.png",
        "table_7.pdf",
        "table_7.csv",
    ]
    assert any(
        line.startswith("figure 10a: not drawn: panel '(a) DQN, n = 1': no game was run")
        for line in lines
    )
    with pytest.raises(DormantError, match="no game was run for all of"):
        draw_figures(runs, ["10a"], out)


def test_analysis_needs_no_jax():
    code = "import sys, dormant.analysis.report, dormant.analysis.quickstart; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "dormant.analysis.figure" in modules and "jax" not in modules
    others = {
        name
        for name in modules
        if name.startswith("dormant.")
        and not name.startswith(("dormant.analysis", "dormant.paper"))
    }
    assert others == {"dormant.atomic", "dormant.register", "dormant.results", "dormant.types"}


@pytest.mark.slow
def test_a_thousand_runs_in_a_minute(tmp_path):
    """1,000 runs of 10 iterations and 10,000 rows each: read, and Figure 10 drawn."""
    noise = "".join(
        f"0,{i // 980},{i},{i},dormant_fraction/tau=0.1/online/Conv_{i % 3},0.{i}\n"
        for i in range(9800)
    )
    panels = [panel for part in get("10").parts for panel in part.panels]
    planned = [
        (series, game, ratio, seed)
        for seed in range(5)
        for panel in panels
        for series in panel.series
        for ratio in panel.xs
        for game in panel.games
    ][:1000]
    for number, (series, game, ratio, seed) in enumerate(planned):
        folder = tmp_path / "runs" / str(number)
        os.makedirs(folder)
        facts = {
            "game": game,
            "replay_ratio": ratio,
            "frames_per_agent_step": 4,
            "status": "finished",
        }
        protocol = {"iterations": 10, "training_steps": 250_000}
        member = {"member": 0, "seed": seed, **series.prefer}
        results.write_run(
            str(folder), {**series.where, **facts, "protocol": protocol, "members": [member]}
        )
        rows = "".join(
            f"0,{i},{n},{n},{phase}/average_return,{number % 7 + i}\n"
            for i in range(10)
            for n in [(i + 1) * 250_000]
            for phase in ("train", "eval")
        )
        (folder / "metrics.csv").write_text(results.header() + noise + rows)
    began = time.monotonic()
    paths, _ = draw_figures(str(tmp_path / "runs"), ["10"], str(tmp_path / "out"))
    took = time.monotonic() - began
    print(f"read 1,000 runs and drew Figure 10 in {took:.1f} s")
    assert took < 60 and len(paths) == 3


def test_published_values_alone_are_drawn(tmp_path):
    quick = [get(name) for name in ("7", "10", "12", "14", "table7")]
    for entry in quick:
        assert len(draw_entry(gather(entry, None), str(tmp_path))) == 3


@pytest.mark.parametrize("inches", [4.3, 2.4])
def test_names_of_many_bars_do_not_touch(inches):
    """Ten bars; in the narrow panel their names would be too small to read side by side."""
    shown = draw.new_figure(inches, 3)
    ax = shown.subplots()
    names = [f"LayerNorm\n+ ReDo {i}" for i in range(10)]
    ax.set_xticks(range(10), names, fontsize=7.5)
    ax.set_xlim(-0.6, 9.6)
    draw.fit_names(shown, [ax])
    shown.draw_without_rendering()
    labels = ax.get_xticklabels()
    boxes = [label.get_window_extent() for label in labels]
    assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:]))
    assert min(label.get_fontsize() for label in labels) >= draw.SMALLEST
