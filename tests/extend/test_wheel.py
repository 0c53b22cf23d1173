"""The built wheel in a folder outside the checkout, with one's own modules beside it."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
pytestmark = pytest.mark.slow  # builds and installs the package: minutes, and a package index


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("build")
    for name in ("dormant", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, folder)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", "wheels", "."], cwd=folder, check=True)
    (built,) = (folder / "wheels").glob("dormant-*.whl")
    target = ["--target", str(folder / "installed")]
    subprocess.run([*pip, "install", "--no-deps", *target, str(built)], check=True)
    return built, folder / "installed"


def test_the_wheel_has_configs_and_data(wheel):
    names = set(zipfile.ZipFile(wheel[0]).namelist())
    shipped = {f"dormant/configs/{path.name}" for path in (ROOT / "dormant/configs").glob("*.gin")}
    data = {f"dormant/paper/data/{path.name}" for path in (ROOT / "dormant/paper/data").iterdir()}
    assert len(shipped) > 20 and shipped | data | {"dormant/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "examples/")) for name in names)


def command(wheel, folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "dormant", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(wheel[1]), "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SHORT = [
    "DoubleDQN.network='layer_norm_mlp'",
    "DoubleDQN.width=0.125",
    "DoubleDQN.min_replay_history=20",
    "DoubleDQN.replay_capacity=100",
    "DoubleDQN.batch_size=4",
    "Protocol.iterations=1",
    "Protocol.training_steps=80",
    "Protocol.evaluation_steps=0",
    "Protocol.log_period=5",
    "Run.agent='double_dqn'",
    "ReDo.select='at_most_a_quarter'",
]


def test_own_modules_from_outside(wheel, tmp_path):
    """Train, sweep, draw; the package is the installed one."""
    for path in (ROOT / "examples" / "extend").glob("*.py"):
        shutil.copy(path, tmp_path)
    modules = sorted(path.stem for path in tmp_path.glob("*.py"))
    own = ["--import", *modules, "--gin_files", "redo.gin", "--gin_bindings", *SHORT]
    where = "import dormant; print(dormant.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(wheel[1])}
    found = subprocess.check_output([sys.executable, "-c", where], env=environment, cwd=tmp_path)
    assert found.decode().startswith(str(wheel[1]))
    train = ["train", *own, "--game", "Corridor", "--methods", "none", "redo", "shrink"]
    assert "finished" in command(wheel, tmp_path, *train, "--base_dir", "run")
    assert "import my_agent" in (tmp_path / "run" / "config.gin").read_text()
    assert "finished" in command(wheel, tmp_path, *train, "--base_dir", "run")  # nothing to do
    grid = ["--games", "Corridor", "CartPole-v1", "--methods", "redo", "--grid", "gamma=[0.9,0.99]"]
    command(wheel, tmp_path, "sweep", *own, *grid, "--base_dir", "grid", "--workers", "1")
    assert len(list((tmp_path / "grid").glob("*/*/metrics.csv"))) == 4
    figure = ["--import", "my_figure", "--figure", "cartpole"]
    planned = command(wheel, tmp_path, "reproduce", *figure, "--dry_run")
    assert "CartPole-v1/cartpole,none+redo" in planned
    command(wheel, tmp_path, "figures", *figure, "--runs", "grid/CartPole-v1", "--out", "drawn")
    assert (tmp_path / "drawn" / "cartpole.png").exists()
    command(wheel, tmp_path, "report", *figure, "--runs", "grid/CartPole-v1", "--out", "report")
    assert (
        "ReDo ends with fewer dormant neurons"
        in (tmp_path / "report" / "report_cartpole.md").read_text()
    )
