"""The list of figures: complete, and consistent within each entry."""

import re
import subprocess
import sys

import pytest

from dormant.analysis import stats
from dormant.analysis.load import FACTS
from dormant.paper import ENTRIES, SUITES, chosen, get
from dormant.paper.budgets import BUDGETS
from dormant.paper.games import GAMES_5, GAMES_17, GAMES_26
from dormant.paper.studies import SIZES, arms_of
from dormant.types import DormantError

WANTED = (
    *"1 2 3 4 7 8 9 10 10a 10b 10c 10d 11 12 13 14 16 17 18 20 21 22 23 24 25 26 27 28 29".split(),
    *"table6 table7 heatmap profiles".split(),
    *"5 6 15 19 size_matched released details successors score longer".split(),
)
ALL = [entry for suite in SUITES.values() for entry in suite.values()]


def test_every_figure_that_can_be_asked_is_there():
    assert set(ENTRIES) == set(WANTED)
    assert set(SUITES["MinAtar"]) <= set(ENTRIES)


def test_the_papers_games():
    assert len(set(GAMES_5)) == 5 and set(GAMES_5) <= set(GAMES_17)
    assert len(set(GAMES_17)) == 17 and len(set(GAMES_26)) == 26


def test_bars_name_the_line_whose_mean_is_1():
    panels = [panel for entry in ALL for panel in entry.panels if panel.kind == "bars"]
    for panel in panels:
        if panel.y.normalised == "baseline":
            first = panel.series[0]
            names = {first.name, "DQN"} if first.where["method"] == "none" else {first.name}
            assert panel.y.label.partition("mean of ")[2].rstrip(")") in names


def test_cifar_at_the_laptops_budget_has_the_papers_images_and_network():
    sizes = {"images": 10_000, "width": 1.0, "epochs": 100, "seeds": 10}
    for arm in arms_of([get("3")], "laptop"):
        assert {name: arm.settings[name] for name in sizes} == sizes
    for arm in arms_of([get("3", "MinAtar")], "laptop"):
        assert (arm.settings["images"], arm.settings["width"]) == (5391, 0.5)


def test_the_papers_budget_is_that_of_the_runs():
    checked = []
    for entry in ENTRIES.values():
        games = {game for panel in entry.panels for game in panel.games}
        for count in re.findall(r"(\d+) games", entry.paper_budget) if games else ():
            assert len(games) == int(count), entry.figure
        longer = entry.figure == "longer"  # than the paper
        if not longer and {need.agent for need in entry.needs} == {"dqn"} and not entry.studies:
            assert f"{4 * entry.paper_steps // 10**6}M frames" in entry.paper_budget, entry.figure
            assert {f"{need.length} frames" in entry.paper_budget for need in entry.needs} == {True}
            checked.append(entry.figure)
    assert len(checked) > 20


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: f"{entry.figure}{entry.suite}")
def test_entry(entry):
    assert entry.question.endswith("?") and entry.paper_budget and (entry.needs or entry.studies)
    panels = {panel.name: panel for panel in entry.panels}
    assert len(panels) == len(entry.panels)
    assert entry.claims or entry.parts
    for panel in entry.panels:
        assert panel.kind in ("curve", "final", "bars", "heat", "profile")
        assert panel.y.statistic in stats.STATISTICS
        assert panel.y.normalised in ("", "human", "baseline")
        assert len({series.name for series in panel.series}) == len(panel.series)
        assert len(panel.games)
        for series in panel.series:
            assert set(series.where) | set(series.prefer) <= set(FACTS)
            assert not set(series.where) & set(series.prefer)
    for claim in entry.claims:
        assert claim.kind in ("above", "below", "within", "best", "improvement")
        assert len({term.panel for term in claim.terms}) == 1  # the same games in all terms
        for term in claim.terms:
            panel = panels[term.panel]
            assert term.series in {series.name for series in panel.series}
            at = term.x if isinstance(term.x, tuple) else (term.x,)
            assert term.x is None or (at[0] in panel.xs and (len(at) == 1 or at[1] in panel.x2s))
            assert (panel.kind in ("final", "heat")) == (term.x is not None)


def test_studies_are_what_their_figures_look_for():
    """Every line is an arm that is run, with the settings by which the line is selected."""
    for entry in ALL:
        arms = {
            (arm.game, arm.arm, arm.settings.get("learning_rate"))
            for arm in arms_of([entry], "laptop")
        }
        for panel in entry.panels if arms else ():
            for series in panel.series:
                where = (series.where["method"], series.where.get("learning_rate"))
                assert all((game, *where) in arms for game in panel.games), entry.figure


def test_a_study_has_a_size_at_every_budget_and_a_folder_of_its_own():
    for kind, by_budget in SIZES.items():
        assert set(by_budget) == set(BUDGETS), kind
        assert all(size["seeds"] >= 2 for size in by_budget.values())
    assert all(SIZES[kind]["laptop"]["seeds"] >= 10 for kind in SIZES)
    studied = [entry for entry in ALL if entry.studies]
    assert len(studied) == 6
    for entry in studied:
        names = [arm.name for arm in arms_of([entry], "paper")]
        assert len(names) == sum(len(need.arms) for need in entry.studies) == len(set(names))


def test_names_of_figures():
    with pytest.raises(DormantError, match="unknown figure 'table8'; did you mean 'table"):
        get("table8")
    with pytest.raises(DormantError, match="question of figure 14 is not asked on MinAtar; asked"):
        get("14", "MinAtar")
    with pytest.raises(DormantError, match="unknown figure '77'"):
        chosen(["all", "77"])
    assert chosen(["all"]) == chosen(None) == list(ENTRIES.values())
    assert [entry.figure for entry in chosen(["7", "10a", "7"])] == ["7", "10a"]


def test_the_list_needs_neither_jax_nor_gin():
    code = "import sys, dormant.paper.budgets; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "dormant.paper.minatar.ratios" in modules
    assert not {"jax", "gin", "matplotlib"} & set(modules)
