"""The runs half of the list of experiments fits the analysis half, at every budget."""
import pathlib

import pytest

from dormant import results
from dormant.analysis.entries import ENTRIES
from dormant.analysis.load import load
from dormant.analysis.select import candidates, task
from dormant.experiments.budgets import BUDGETS, plan_of, sweeps_of
from dormant.experiments.catalogue import CATALOGUE, GAMES_5, GAMES_17, GAMES_26
from dormant.experiments.grid import expand
from dormant.experiments.run import plan
from dormant.types import DormantError

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_two_halves_have_the_same_keys_and_games():
    from dormant.analysis import published

    assert set(CATALOGUE) == set(ENTRIES)
    for ours, theirs in ((GAMES_5, "GAMES_5"), (GAMES_17, "GAMES_17"), (GAMES_26, "GAMES_26")):
        assert sorted(ours) == sorted(getattr(published, theirs))


def test_unknown_names():
    with pytest.raises(DormantError, match="unknown figure 'table8'; did you mean 'table"):
        sweeps_of(["table8"], "smoke")
    with pytest.raises(DormantError, match="unknown budget 'smok'; did you mean 'smoke'"):
        sweeps_of(["7"], "smok")


def test_shared_runs_are_there_once_and_no_two_runs_share_a_folder():
    for budget in BUDGETS:
        named = {}
        for figure in CATALOGUE:
            for sweep in plan_of(figure, budget):
                described = (tuple(sweep.bindings), tuple(sweep.methods), sweep.seeds, tuple(sweep.grid.items()))
                assert named.setdefault(sweep.title, described) == described
        everything = sweeps_of(["all"], budget)
        assert len({(sweep.title, sweep.games) for sweep in everything}) == len(everything)
    figure_1 = {(sweep.title, sweep.games) for sweep in sweeps_of(["1"], "paper")}
    assert len(figure_1) == 4 * 17 and figure_1 == {(s.title, s.games) for s in sweeps_of(["13", "profiles"], "paper")}


def test_the_published_protocol():
    """Agent steps and members of whole figures, from paper.md 3.13: Figure 10a is 680 runs and 1.6e9 gradient steps."""
    sweeps = sweeps_of(["10a"], "paper")
    ratios = {"replay_ratio=0.25": 0, "replay_ratio=0.5": 0, "replay_ratio=1": 0, "replay_ratio=2": 0}
    for sweep in sweeps:
        assert {"Protocol.iterations=10", "Protocol.training_steps=250000"} <= set(sweep.bindings)
        ratio = next(binding for binding in sweep.bindings if binding in ratios)
        ratios[ratio] += sweep.seeds
    assert sum(ratios.values()) == 680
    steps = sum(float(name.split("=")[1]) * 2_500_000 * runs for name, runs in ratios.items())
    assert steps == pytest.approx(1.6e9, rel=0.01)
    assert sum(sweep.seeds for sweep in sweeps_of(["10d"], "paper")) == 2080
    assert {"Protocol.iterations=100"} <= set(plan_of("2", "paper")[0].bindings)


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_line_and_point_of_every_figure_has_its_runs(budget, tmp_path):
    """Each distinct configuration is planned once, for one game; what run.json would say is what figures look for."""
    planned = {}
    for sweep in sweeps_of(["all"], budget):
        planned.setdefault(sweep.title, sweep)
    for number, sweep in enumerate(planned.values()):
        for job in expand(sweep._replace(seeds=1)):
            folder = tmp_path / str(number)
            folder.mkdir()
            facts = plan(job.files, job.bindings, fits=False).facts
            results.write_run(str(folder), {**facts, "status": "finished"})
            (folder / results.METRICS_FILE).write_text(results.header())
    table = load(str(tmp_path))
    assert not table.problems
    for entry in ENTRIES.values():
        for panel in entry.panels:
            members = table.members.assign(game=panel.games[0])
            found = candidates(table._replace(members=members), panel._replace(games=list(panel.games)))
            for series in panel.series:
                cells = found[found["cell"].str.startswith(f"{panel.name} {series.name} ")]
                assert len(cells), (entry.figure, panel.name, series.name)
                for x in panel.xs:
                    assert (cells[panel.x] == x).any(), (entry.figure, panel.name, series.name, x)
    assert set(task(table.members["game"])) <= set(GAMES_26) | set(GAMES_17) | {"Ant"}


def test_an_entry_end_to_end_to_its_figure(tmp_path):
    """Table 6 shrunk once more: real runs of SAC, the figure, the report."""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "scripts/reproduce.py", "--figure", "table8", "--base_dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "did you mean 'table" in done.stderr and not list(tmp_path.iterdir())
