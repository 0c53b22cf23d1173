"""Figures 3, 4 and 8 from the command line: finished runs, their memories, studies, verdicts."""

import csv
import json
import re
import shutil

import jax
import numpy as np
import pytest

from dormant import export_replay, figures, reproduce, results, study_sources
from dormant.experiments.finished import load_finished
from dormant.experiments.run import execute, plan
from dormant.paper import studies as sizes
from dormant.paper.studies import Arm
from dormant.studies.datasets import read_dataset
from dormant.studies.offline import MOVING, offline
from dormant.study import Sources, plan_studies, source_name
from dormant.study_sources import Builder, execute_in
from dormant.types import DormantError
from tests.training import run_minatar, run_probe

SMALL = {
    "supervised": {
        **{"epochs": 3, "period": 1, "seeds": 2, "images": 64, "width": 0.25},
        **{"batch_size": 16, "momentum": 0.9},
    },
    "offline": {"seeds": 3, "gradient_steps": 140, "iterations": 2},
    "fitting": {"seeds": 3, "gradient_steps": 60, "measured_every": 30},
}
GAME = "MinAtar/Breakout"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for kind, settings in SMALL.items():
        monkeypatch.setitem(sizes.SIZES[kind], "laptop", settings)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run on the device: two members without an intervention, two with ReDo."""
    folder = tmp_path_factory.mktemp("runs") / "breakout"
    run_minatar.train(folder)
    return folder


def ours(path):
    with open(path) as file:
        return [row for row in csv.DictReader(file) if row["source"] == "ours"]


def test_a_finished_run_is_read_and_not_changed(trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    run = load_finished(str(trained))
    assert before == {
        path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()
    }
    assert [member.seed for member in run.members] == [0, 1] and run.game == GAME
    assert [len(rows.reward) for rows in run.memories()] == [1000, 1000]
    best, other = sorted(run.members, key=lambda member: -member.average_return)
    assert run.best(but=other) is best and run.best(but=best) is other
    assert run.member(3).seed == 1
    others = run._replace(members=[member._replace(seed=member.seed + 4) for member in run.members])
    assert [others.member(seed).seed for seed in (4, 5, 6)] == [4, 5, 4]
    # The rows are those of the episodes that the run has recorded, in their order.
    for member, rows in zip((0, 1), run.memories()):
        table = results.read_measurements(str(trained / results.METRICS_FILE))
        ends = {
            row.agent_steps - 1401
            for row in table
            if row.member == member and row.metric == "episode/length" and row.agent_steps > 1400
        }
        iterations = {199, 999}  # of the last 1,000 of 2,400 steps; they cut episodes
        assert set(np.flatnonzero(rows.ending).tolist()) == ends | iterations


def test_the_memory_of_a_run_on_the_host_is_filled_again(tmp_path):
    planned = plan(run_probe.FILES, [*run_probe.BINDINGS])
    execute(planned, str(tmp_path))
    run = load_finished(str(tmp_path))
    assert len(run.memories()) == len(
        [m for m in planned.facts["members"] if m["method"] == "none"]
    )
    assert all(len(rows.reward) > 10 and rows.reward.any() for rows in run.memories())
    (tmp_path / "checkpoints" / "actions.bin").unlink()
    with pytest.raises(DormantError, match="actions.bin is missing; put the file back as it was"):
        load_finished(str(tmp_path))


def test_figure_4_of_an_exported_memory(trained, tmp_path, capsys):
    path = str(tmp_path / "data" / "data.npz")
    assert export_replay.main(["--base_dir", str(trained), "--out", path]) == 0
    assert f"2 memories of 1,000 agent steps of {GAME}" in capsys.readouterr().out
    assert read_dataset(path).seeds == [0, 1]
    line = ["--figure", "4", "--budget", "laptop", "--base_dir", str(tmp_path)]
    assert reproduce.main([*line, "--datasets", f"{GAME}={path}"]) == 0
    folder = tmp_path / "laptop"
    drawn = ours(folder / "figures" / "figure_4_minatar.csv")
    arms = {"fixed targets", "non-stationary targets", "random numbers"}
    assert {row["series"] for row in drawn} == arms
    assert {float(row["x"]) for row in drawn} == {0, 70, 140}
    run = json.loads((folder / "MinAtar_Breakout/offline,fixed_targets/run.json").read_text())
    assert run["status"] == "finished"
    assert re.fullmatch(r"data/data\.npz@[0-9a-f]{8}", run["study"]["source"])
    # A run as the data set is the same study; another size is refused before anything is written.
    data = Builder("laptop", "", Sources(datasets={GAME: str(trained)}))._data(GAME, 3)
    np.testing.assert_array_equal(data.memories[1].reward, read_dataset(path).memories[1].reward)
    assert reproduce.main([*line, "--datasets", f"{GAME}={trained}"]) == 2
    assert re.search(r"a study of source 'data/data\.npz@\w+', not '", capsys.readouterr().err)
    assert reproduce.main([*line, "--datasets", f"{GAME}=a", f"{GAME}=b"]) == 2
    assert f"--datasets has {GAME} twice" in capsys.readouterr().err
    sizes.SIZES["offline"]["laptop"] = {**SMALL["offline"], "seeds": 4}
    assert reproduce.main([*line, "--datasets", f"{GAME}={path}"]) == 2
    assert "holds a study of another size (seeds 3, not 4)" in capsys.readouterr().err


def test_the_smoke_budget_tries_any_memory(trained):
    """Also where 100 gradient steps are no multiple of its agent's own period."""
    data = Builder("smoke", "", Sources(datasets={GAME: str(trained)}))._data(GAME, 2)
    period = data.config.target_update_period
    size = sizes.SIZES["offline"]["smoke"]
    assert size["gradient_steps"] % (period * size["iterations"])
    study = offline(data, MOVING, size, "moving")
    assert study.chunk_steps == 50 and study.settings["target_update_period"] == 50
    assert study.chunks * study.chunk_steps == size["gradient_steps"]
    own = {name: size[name] for name in ("seeds", "iterations")} | {"gradient_steps": 2 * period}
    assert offline(data, MOVING, own, "moving").chunk_steps == period


def test_figure_8_of_a_finished_run(trained, tmp_path):
    """Both arms learn from the same teacher on the same states; only where they begin differs."""
    builder = Builder("laptop", "", Sources(teacher=str(trained)))
    rows = {}
    for arm in ("random", "pretrained RR 0.25"):
        study = builder.build(Arm("fitting", GAME, arm, SMALL["fitting"], f"fitting,{arm}"))
        folder = tmp_path / arm
        execute_in(str(folder), study)
        rows[arm] = results.read_measurements(str(folder / results.METRICS_FILE))
        run = json.loads((folder / "run.json").read_text())
        assert run["study"]["pretrained"] == ("" if arm == "random" else source_name(trained))
        # Figure 8 is asked on another game; nothing else differs.
        (folder / "run.json").write_text(json.dumps({**run, "game": "MinAtar/SpaceInvaders"}))
    losses = [row.value for row in rows["random"] if row.metric == "learn/loss"]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])  # of three seeds, after 30 and 60 steps
    assert figures.main(["--runs", str(tmp_path), "--figure", "8"]) == 0
    drawn = ours(tmp_path / "figures" / "figure_8_minatar.csv")
    assert {row["series"] for row in drawn} == {"random", "pretrained RR 0.25"}
    assert {row["panel"] for row in drawn} == {"loss", "dormant", "dormant, tau 0"}


def test_a_study_knows_its_source_by_what_lies_there(trained, tmp_path):
    """Sweeps name their runs alike, so that the ends of two paths may be the same."""
    names = []
    for sweep in ("one", "two", "three"):
        folder = tmp_path / sweep / "game" / "run"
        folder.mkdir(parents=True)
        for name in (results.RUN_FILE, results.CONFIG_FILE, results.METRICS_FILE):
            shutil.copy(trained / name, folder)
        if sweep == "three":
            with open(folder / results.CONFIG_FILE, "a") as config:
                config.write("DQN.learning_rate = 1.0\n")
        names.append(source_name(str(folder)))
    assert names[0] == names[1] != names[2] and names[2].startswith("game/run@")


def test_no_pupil_begins_as_its_own_teacher(trained, monkeypatch):
    """With fewer members than seeds, they are taken again from the first."""
    taken = []
    monkeypatch.setattr(
        study_sources, "fitting", lambda data, *more: taken.append(data.pupils) or "made"
    )
    builder = Builder("laptop", "", Sources(teacher=str(trained)))
    arm = Arm("fitting", GAME, "pretrained RR 0.25", {"seeds": 5}, "fitting")
    assert builder.build(arm) == "made" and len(taken[0]) == 5
    for pupil in taken[0]:
        assert not all(jax.tree.leaves(jax.tree.map(np.array_equal, pupil.start, pupil.teacher)))
    read = study_sources.load_finished
    monkeypatch.setattr(
        study_sources,
        "load_finished",
        lambda path: (run := read(path))._replace(members=run.members[:1]),
    )
    with pytest.raises(DormantError, match="it would be its own teacher"):
        Builder("laptop", "", Sources(teacher=str(trained))).build(arm)


def test_what_a_study_cannot_learn_from_is_one_line(trained, tmp_path, capsys):
    line = ["--budget", "laptop", "--base_dir", str(tmp_path / "new"), "--figure"]

    def refused(*words):
        assert reproduce.main([*line, *words]) == 2
        (text,) = capsys.readouterr().err.strip().splitlines()[-1:]
        return text

    missing = tmp_path / "missing"
    assert f"there is no {missing}" in refused("8", "--teacher", str(missing))
    assert "--pretrained needs --teacher" in refused("8", "--pretrained", str(trained))
    assert "--teacher is for figure 8, which is not" in refused("7", "--teacher", str(trained))
    assert "--cifar10 is for figure 3" in refused("16", "--cifar10", str(trained))
    assert "--datasets is for figure 4" in refused("7", "--datasets", f"{GAME}={trained}")
    assert "unknown executor 'foo'" in refused("3", "--executor", "foo")
    # Before anything else is trained, and in a dry run too.
    other = f"{trained} is of {GAME}; MinAtar/SpaceInvaders is wanted"
    assert other in refused("7", "8", "--teacher", str(trained), "--dry_run")
    assert "is not of the form GAME=PATH" in refused("4", "--datasets", "data.npz")
    text = refused("4", "--datasets", f"MinAtar/Breakot={trained}")
    assert f"did you mean '{GAME}'" in text
    assert not (tmp_path / "new").exists()
    text = refused("4", "--datasets", f"MinAtar/Asterix={trained}")
    assert f"is of {GAME}; MinAtar/Asterix is wanted" in text
    text = refused("3", "--budget", "paper")
    assert "figure 3 at budget paper needs CIFAR-10: add --cifar10" in text
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    own = {"game": "MinAtar/SpaceInvaders", "replay_ratio": 0.25}
    run = json.loads((trained / "run.json").read_text()) | own
    (unfinished / "run.json").write_text(json.dumps({**run, "status": "running"}))
    assert "holds a run that is not finished" in refused("8", "--teacher", str(unfinished))
    (unfinished / "run.json").write_text(json.dumps(run | {"replay_ratio": 1}))
    text = refused("8", "--teacher", str(unfinished))
    assert f"{unfinished} has replay ratio 1; 0.25 is wanted" in text
    (unfinished / "run.json").write_text(json.dumps(run))
    (unfinished / "config.gin").write_text((trained / "config.gin").read_text())
    text = refused("8", "--teacher", str(unfinished))
    assert "holds no checkpoint: the run's memory was not kept" in text
    out = str(tmp_path / "out.npz")
    assert export_replay.main(["--base_dir", str(unfinished), "--out", out]) == 2
    assert "holds no checkpoint" in capsys.readouterr().err and not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("name", ["config.gin", "metrics.csv"])
def test_a_finished_run_that_has_lost_a_file(name, trained, tmp_path, capsys):
    run, new = tmp_path / "run", tmp_path / "new"
    shutil.copytree(trained, run)
    (run / name).unlink()
    line = ["--budget", "laptop", "--base_dir", str(new), "--figure", "4", "--datasets"]
    assert reproduce.main([*line, f"{GAME}={run}"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.endswith(f"{run / name} is missing; put the file back as it was")
    assert not new.exists()


def test_what_figure_3_would_run(tmp_path):
    planned = plan_studies(["3"], "laptop", str(tmp_path), Sources())
    assert len(planned) == 6 and {each.state for each in planned} == {"new"}
    assert {each.arm.game for each in planned} == {"digits"} and not list(tmp_path.iterdir())
    archive = tmp_path / "archive"
    archive.touch()
    planned = plan_studies(["3"], "paper", str(tmp_path), Sources(cifar10=str(archive)))
    assert {each.arm.game for each in planned} == {"CIFAR-10"}
    assert {each.arm.settings["images"] for each in planned} == {10_000}
    assert {each.arm.settings["seeds"] for each in planned} == {3}


@pytest.mark.slow  # compiles six programs
def test_figure_3_in_one_command(tmp_path):
    line = ["--figure", "3", "--budget", "laptop", "--base_dir", str(tmp_path)]
    assert reproduce.main(line) == 0
    drawn = ours(tmp_path / "laptop" / "figures" / "figure_3_digits.csv")
    assert {row["panel"] for row in drawn} >= {"CIFAR-10", "tau 0, rate 0.05"}
    assert {float(row["x"]) for row in drawn} == {0, 1, 2, 3}
    report = (tmp_path / "laptop" / "report" / "report_3.md").read_text()
    assert "3 epochs; it speaks of 100 at least" in report
    assert reproduce.main(line) == 0  # finished before: drawn again
