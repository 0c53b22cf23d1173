"""The runs that entries need fit what the analysis looks for, at every budget."""

import csv
import pathlib
from dataclasses import replace

import pytest

from dormant import reproduce, results
from dormant.analysis.load import load
from dormant.analysis.select import candidates
from dormant.experiments.budgets import BUDGETS, plan_of, sweeps_of
from dormant.experiments.consistency import total_gradient_steps
from dormant.experiments.grid import expand
from dormant.experiments.run import plan
from dormant.paper import SUITES, get
from dormant.paper.budgets import gradient_steps, plans_of
from dormant.training import population
from dormant.types import DormantError

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_unknown_names():
    with pytest.raises(DormantError, match="unknown figure 'table8'; did you mean 'table"):
        sweeps_of(["table8"], "smoke")
    with pytest.raises(DormantError, match="unknown budget 'smok'; did you mean 'smoke'"):
        sweeps_of(["7"], "smok")
    with pytest.raises(DormantError, match="unknown figure '77'"):
        sweeps_of(["all", "77"], "smoke")
    with pytest.raises(DormantError, match="question of figure 14 is not asked on MinAtar"):
        sweeps_of(["14"], "laptop")
    with pytest.raises(DormantError, match="version of MuJoCo's environments 'v2'"):
        sweeps_of(["14"], "smoke", mujoco="v2")


def test_mujoco_is_the_version_nearest_to_the_papers_unless_asked():
    games = {game for sweep in sweeps_of(["20"], "paper") for game in sweep.games}
    assert games == {"Ant-v4", "HalfCheetah-v4", "Hopper-v4", "Walker2d-v4"}
    assert {sweep.games for sweep in sweeps_of(["table6"], "paper", mujoco="v5")} == {("Ant-v5",)}


def test_only_some_of_a_figures_games(tmp_path, capsys):
    space = "MinAtar/SpaceInvaders"
    line = ["--figure", "4", "15", "--budget", "laptop", "--base_dir", str(tmp_path / "new")]
    assert reproduce.main([*line, "--dry_run", "--games", space]) == 0
    shown = capsys.readouterr().out
    assert "MinAtar_SpaceInvaders/minatar,replay_ratio=0.25,select=inverse,redo" in shown
    assert "MinAtar_SpaceInvaders/offline,fixed_targets" in shown and "Breakout" not in shown
    assert reproduce.main([*line, "--games", space, "MinAtar/SpaceInvader"]) == 2
    error = capsys.readouterr().err
    assert f"unknown game of these figures 'MinAtar/SpaceInvader'; did you mean '{space}'" in error
    assert not (tmp_path / "new").exists()


def test_another_number_of_seeds(tmp_path, capsys):
    line = ["--figure", "4", "15", "--budget", "laptop", "--base_dir", str(tmp_path / "new")]
    line += ["--games", "MinAtar/SpaceInvaders", "--seeds"]
    assert reproduce.main([*line, "5", "--print_commands"]) == 0
    runs = capsys.readouterr().out.splitlines()
    pair = [run for run in runs if "none+redo" in run]
    assert [run.count("'seed'") for run in runs] == [10 if run in pair else 5 for run in runs]
    assert reproduce.main([*line, "7", "--dry_run"]) == 0
    studies = capsys.readouterr().out.partition("\nstudy")[2].splitlines()[1:]
    assert len(studies) == 3 and all(row.split()[-2:] == ["7", "new"] for row in studies)
    with pytest.raises(SystemExit):
        reproduce.main([*line, "0", "--dry_run"])
    assert not (tmp_path / "new").exists()


def test_a_laptop_trains_whole_populations_in_the_order_of_worth():
    plans = plans_of(["all"], "laptop")
    first = [plan.title.split(",", 1)[1] for plan in plans[: 6 * 3]]  # of three games
    assert first == [
        f"replay_ratio={each}"
        for each in (
            *("0.25,none+redo", "0.25,tau=0.025,redo"),
            *("0.5,none+redo", "1,none+redo", "2,none+redo", "4,none+redo"),
        )
        for _ in range(3)
    ]
    assert all(plan.seeds == 10 for plan in plans)
    pairs = [plan for plan in plans if plan.methods == ("none", "redo")]
    night = sum(map(gradient_steps, pairs[: 3 * 3])) / 1500 / 3600
    assert night < 10  # hours at 1,500 gradient steps a second
    (heat,) = {tuple(plan.grid.items()) for plan in plans_of(["heatmap"], "laptop")}
    assert heat == (("ReDo.tau", (0.0, 0.01, 0.1)),)


@pytest.mark.parametrize("figure, least, most", [("1", "30,000", "80,000"), ("14", "10,000", "")])
def test_notes_say_how_long_after_a_reset_evaluations_come(figure, least, most, monkeypatch):
    monkeypatch.setattr(population, "empty_metrics", lambda *_: {})
    sweep = next(each for each in sweeps_of([figure], "paper") if "reset" in each.methods)
    (job,) = expand(sweep._replace(seeds=1))
    planned = plan(job.files, job.bindings, fits=False)
    (member,), protocol = planned.population.members, planned.protocol
    since = set()
    for iterations in range(1, protocol.iterations + 1):
        done = total_gradient_steps(
            planned.population.agent, replace(protocol, iterations=iterations)
        )
        if done >= member.intervention.when.period:
            since.add(round(done % member.intervention.when.period, -3))
    assert 0 not in since and f"{min(since):,}" == least and most in ("", f"{max(since):,}")
    note = get(figure).note
    assert (
        f"about {least}" in note
        and most in note
        and "counted from the end of the warm-up" in (note.replace("\n", " "))
    )


def test_members_are_counted():
    (plan,) = plans_of(["table7"], "paper")[:1]
    assert gradient_steps(plan) == 10 * 250_000 * 5


def test_shared_runs_are_there_once_and_no_two_runs_share_a_folder():
    for budget in BUDGETS:
        named = {}
        for figure in SUITES[BUDGETS[budget].suite]:
            for sweep in plan_of(figure, budget):
                described = (
                    tuple(sweep.bindings),
                    tuple(sweep.methods),
                    sweep.seeds,
                    tuple(sweep.grid.items()),
                )
                assert named.setdefault(sweep.title, described) == described
        everything = sweeps_of(["all"], budget)
        assert len({(sweep.title, sweep.games) for sweep in everything}) == len(everything)
    figure_1 = {(sweep.title, sweep.games) for sweep in sweeps_of(["1"], "paper")}
    assert len(figure_1) == 4 * 17 and figure_1 == {
        (s.title, s.games) for s in sweeps_of(["13", "profiles"], "paper")
    }


def test_what_the_faults_do_needs_no_run_without_redo():
    """No line of it shows one; it trained 25 ResNets too many at the published size."""
    drawn = {series.where["method"] for panel in get("released").panels for series in panel.series}
    assert {plan.methods for plan in plan_of("released", "paper")} == {("redo",)} == {tuple(drawn)}


@pytest.mark.parametrize("budget", ["paper", "small"])
def test_figure_12_has_the_runs_of_width_1_from_figure_1(budget):
    narrow, all_widths = sweeps_of(["1"], budget), sweeps_of(["1", "12"], budget)
    wide = [sweep for sweep in all_widths if sweep not in narrow]
    assert all(any("DQN.width" in each for each in sweep.bindings) for sweep in wide)
    assert not any("DQN.width=1" in sweep.bindings for sweep in all_widths)
    games = {sweep.games for sweep in narrow}
    # paper.md 3.13: 340 runs at widths 2 and 4
    assert len(wide) == 2 * 2 * len(games) and (budget != "paper" or len(wide) * 5 == 340)


def test_the_published_protocol():
    """Agent steps and members of whole figures, from paper.md 3.13: Figure 10a is 680 runs and
    1.6e9 gradient steps.
    """
    sweeps = sweeps_of(["10a"], "paper")
    ratios = {
        "replay_ratio=0.25": 0,
        "replay_ratio=0.5": 0,
        "replay_ratio=1": 0,
        "replay_ratio=2": 0,
    }
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
def test_every_line_and_point_of_every_figure_has_its_runs(budget, tmp_path, monkeypatch):
    """Each distinct configuration is planned once, for one game; what run.json would say is what
    figures look for.
    """
    # Most of a plan's time is the tracing of a gradient step, of which run.json says nothing.
    monkeypatch.setattr(population, "empty_metrics", lambda *_: {})
    methods, planned = {}, {}
    for sweep in sweeps_of(["all"], budget):
        bindings = tuple(sweep.bindings)
        planned.setdefault(bindings, sweep)
        methods.setdefault(bindings, {}).update(dict.fromkeys(sweep.methods))
    for number, (bindings, sweep) in enumerate(planned.items()):
        for job in expand(sweep._replace(seeds=1, methods=tuple(methods[bindings]))):
            folder = tmp_path / str(number)
            folder.mkdir()
            facts = plan(job.files, job.bindings, fits=False).facts
            results.write_run(str(folder), {**facts, "status": "finished"})
            (folder / results.METRICS_FILE).write_text(results.header())
    table = load(str(tmp_path))
    assert not table.problems
    for entry in SUITES[BUDGETS[budget].suite].values():
        for panel in entry.panels if not entry.studies else ():  # theirs: tests/studies
            found = candidates(
                table._replace(members=table.members.assign(game=panel.games[0])), panel
            )
            for series in panel.series:
                cells = found[found["line"].str[0] == f"{panel.name} {series.name}"]
                assert len(cells), (entry.figure, panel.name, series.name)
                for x in panel.xs:
                    assert (cells[panel.x] == x).any(), (entry.figure, panel.name, series.name, x)
                if panel.x2:
                    assert cells[panel.x2].nunique() >= len(panel.x2s)


def test_a_figure_from_real_runs(tmp_path, monkeypatch, capsys):
    """Figure 18's Hopper at the smoke budget, shrunk once more: trained, drawn, and the report
    written.
    """
    smoke = BUDGETS["smoke"]
    shrunk = smoke._replace(
        seeds={"sac": 1},
        steps={"sac": ({"10M": 1}, 40)},
        bindings={
            "sac": (*smoke.bindings["sac"], "SAC.min_replay_history=10", "Protocol.log_period=5")
        },
    )
    monkeypatch.setitem(BUDGETS, "smoke", shrunk)
    monkeypatch.setenv("XLA_FLAGS", "")
    line = ["--figure", "18", "--games", "Hopper-v4", "--base_dir", str(tmp_path)]
    assert reproduce.main(line) == 0
    (run,) = (tmp_path / "smoke" / "Hopper-v4").iterdir()
    assert run.name == "sac,none+redo"
    with open(tmp_path / "smoke" / "figures" / "figure_18.csv") as file:
        ours = [row for row in csv.DictReader(file) if row["source"] == "ours"]
    assert {row["series"] for row in ours} == {"actor", "critic"}
    assert {float(row["x"]) for row in ours} == {15, 20, 25, 30, 35}
    assert (tmp_path / "smoke" / "report" / "report_18.html").exists()
    assert "figure_18.png" in capsys.readouterr().out
    wrong = ["--figure", "table8", "--base_dir", str(tmp_path / "none")]
    assert reproduce.main(wrong) == 2 and not (tmp_path / "none").exists()
