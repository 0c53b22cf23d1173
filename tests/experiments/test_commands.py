"""The commands: one prefix for errors, one way of ending, help with examples."""

import configparser
import importlib
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from dormant import __main__ as console
from dormant import figures, report, reproduce, sweep, train
from dormant.command import Stopped, check_folder, finish, writing
from dormant.experiments.estimates import neighbours
from dormant.study import read_datasets
from dormant.types import DormantError

ROOT = pathlib.Path(__file__).parent.parent.parent
NAMES = ("train", "sweep", "reproduce", "figures", "report", "play")


def said(capsys, code):
    """The one line of an error."""
    assert code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.startswith("dormant: ")
    return line


def test_help_has_examples_and_needs_no_jax():
    """In a process of its own, where nothing else has imported jax."""
    lines = ["import sys; from dormant.__main__ import main", "for name in sys.argv[1:]:"]
    lines += [" try: main([name, '--help'])", " except SystemExit as end: assert not end.code"]
    lines += [" assert 'jax' not in sys.modules, name"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), *NAMES], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        assert f"usage: dormant {name} " in done.stdout
        assert f"python -m dormant.{name} " in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_flags_are_never_abbreviated(name, capsys):
    parser = importlib.import_module(f"dormant.{name}").parser()
    given = [each.option_strings[0] for each in parser._actions if each.option_strings]
    for flag in (each for each in given if len(each) > 4):
        with pytest.raises(SystemExit) as ended:
            parser.parse_args([flag[:-1], "1"])
        said(capsys, ended.value.code)


def test_the_console_command(capsys):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    entry = setup["options.entry_points"]["console_scripts"].strip()
    module, _, function = entry.removeprefix("dormant = ").partition(":")
    assert getattr(importlib.import_module(module), function) is console.main
    assert console.main(["--version"]) == 0
    assert capsys.readouterr().out == f"dormant {setup['metadata']['version']}\n"
    assert "did you mean 'sweep'" in said(capsys, console.main(["sweap"]))
    assert console.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in NAMES)
    assert console.main([]) == 2


def stops(error):
    raise error


def test_how_commands_end(capsys):
    assert finish(lambda: 1) == 1
    assert finish(lambda: stops(Stopped(signal.SIGTERM))) == 143
    assert finish(lambda: stops(KeyboardInterrupt())) == 130
    capsys.readouterr()
    assert "wrong" in said(capsys, finish(lambda: stops(DormantError("wrong"))))
    with pytest.raises(ZeroDivisionError):  # a fault of ours keeps its traceback
        finish(lambda: 1 // 0)


def test_a_reader_that_has_seen_enough_ends_a_command():
    """As head does."""
    code = "from dormant.command import finish; import sys; sys.exit(finish(lambda: print(9) or 0))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    "command, flag",
    [
        *((sweep, flag) for flag in ("games", "methods", "gin_files", "resources")),
        *((reproduce, flag) for flag in ("figure", "games", "datasets")),
        *((train, flag) for flag in ("methods", "gin_files", "gin_bindings")),
        *((module, "figure") for module in (figures, report)),
    ],
)
def test_a_list_may_be_given_in_parts(command, flag):
    needed = ["--runs", "r"] if command in (figures, report) else ["--base_dir", "r"]
    needed += ["--figure", "9"] if command is reproduce and flag != "figure" else []
    given = command.parser().parse_args([*needed, f"--{flag}", "a", "b", f"--{flag}", "c"])
    assert getattr(given, flag) == ["a", "b", "c"]


def test_unknown_figures_are_refused_beside_all(capsys, tmp_path):
    for main, where in ((figures.main, "--runs"), (report.main, "--runs")):
        line = said(capsys, main([where, str(tmp_path), "--figure", "all", "77"]))
        assert "unknown figure '77'" in line
    flags = ["--base_dir", str(tmp_path / "none"), "--figure", "all", "77"]
    assert "unknown figure '77'" in said(capsys, reproduce.main(flags))
    assert not list(tmp_path.iterdir())


WHERE = [(train, "--base_dir"), (sweep, "--base_dir"), (reproduce, "--base_dir")]
WHERE += [(figures, "--runs"), (report, "--runs"), (report, "--out"), (train, "--gin_files")]


@pytest.mark.parametrize("command, flag", WHERE)
def test_a_path_is_one_of_this_machine(command, flag, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = {"": "is empty", "gs://bucket/run": "gs://bucket/run is no path of this machine"}
    for path, message in wrong.items():
        with pytest.raises(SystemExit) as ended:
            command.main([flag, path])
        assert message in said(capsys, ended.value.code)
    assert not list(tmp_path.iterdir())


def test_home_is_found_where_the_shell_has_not_written_it_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert train.parser().parse_args(["--base_dir=~/a b"]).base_dir == "/home/me/a b"
    found = reproduce.parser().parse_args(["--figure", "8", "--teacher=~/run"])
    assert found.teacher == "/home/me/run"
    assert read_datasets(["Pong=~/data"]) == {"Pong": "/home/me/data"}


def test_a_file_is_no_folder_of_runs(capsys):
    for command in (figures, report):
        with pytest.raises(SystemExit) as ended:
            command.main(["--runs", __file__])
        assert f"{__file__} is a file; a folder is wanted" in said(capsys, ended.value.code)
    line = ["--runs", str(ROOT / "results" / "minatar" / "runs"), "--evidence", str(ROOT)]
    assert f"{ROOT} is a folder; name the file" in said(capsys, report.main(line))


def test_a_table_of_evidence_comes_instead_of_the_report(capsys, tmp_path):
    line = ["--runs", str(ROOT / "results" / "quickstart"), "--evidence", str(tmp_path / "page.md")]
    assert "--out is for the report" in said(
        capsys, report.main([*line, "--out", str(tmp_path / "report")])
    )
    assert not list(tmp_path.iterdir())


def test_a_sweep_does_not_go_into_a_run(capsys, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    line = ["--base_dir", str(tmp_path), "--gin_files", "minatar.gin", "--games", "MinAtar/Asterix"]
    assert "is the folder of a run; choose another" in said(capsys, sweep.main(line))
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_folders_that_cannot_be_written(capsys, tmp_path):
    runs, file = str(ROOT / "results" / "quickstart"), tmp_path / "file"
    file.write_text("")
    for out in (file, file / "below"):
        flags = ["--runs", runs, "--out", str(out)]
        assert "is a file, not a folder" in said(capsys, figures.main(flags))
        assert "is a file, not a folder" in said(capsys, report.main(flags))
    nowhere = "/proc/figures"  # read-only for everybody, root included
    with pytest.raises(DormantError, match=f"cannot write {nowhere}"), writing(nowhere):
        os.makedirs(nowhere)
    check_folder(str(tmp_path / "new" / "folders"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_listed_is_no_error_of_the_estimate(tmp_path, monkeypatch):
    """A home below a /home of mode 711; root, whom the tests may be run by, can list everything."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    assert neighbours(str(run)) == neighbours(str(tmp_path / "new")) == [str(run)]
    assert neighbours(str(tmp_path / "new" / "run")) == []

    def closed(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", closed)
    assert neighbours(str(run)) == [str(run)] and neighbours(str(tmp_path / "new")) == []


@pytest.mark.parametrize(
    "line",
    [
        ["reproduce", "--figure", "28", "--budget", "smoke"],
        ["sweep", "--gin_files", "drq_eps.gin", "redo.gin", "--games", "Pong"],
    ],
)
def test_files_that_include_others_from_another_folder(line, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert console.main([*line, "--base_dir", "runs", "--dry_run"]) == 0
    assert "gradient steps" in capsys.readouterr().out and not list(tmp_path.iterdir())
