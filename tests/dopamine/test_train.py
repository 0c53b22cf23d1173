"""``python -m dormant.dopamine.train``, as a process."""

import os
import pickle
import signal
import subprocess
import sys
import time

import pytest

from dormant.dopamine import train
from dormant.dopamine.logs import read_run

INSTALLED = pytest.mark.dopamine
GAME = "atari_lib.create_atari_environment.game_name = 'Pong'"
# Three iterations of 1,000 agent steps and more; 32 gradient steps in the first, 250 in the others.
SMALL = (
    "Runner.num_iterations = 3",
    "Runner.training_steps = 1000",
    "Runner.evaluation_steps = 10",
    "Runner.max_steps_per_episode = 200",
    "JaxDQNAgent.min_replay_history = 900",
    "JaxDQNAgent.epsilon_decay_period = 1000",
    "ReplayBuffer.max_capacity = 4000",
    "Recycling.period = 25",
)


def command(base_dir, *files):
    flags = [f"--gin_bindings={binding}" for binding in (GAME, *SMALL)]
    return [
        *(sys.executable, "-m", "dormant.dopamine.train", "--base_dir", str(base_dir)),
        *(f"--gin_files={name}" for name in files),
        *flags,
    ]


def test_without_dopamine_it_says_what_to_install(capsys, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] == "dopamine"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dopamine", None)  # as if it were not installed
    for name in ("agents", "runners"):
        monkeypatch.delitem(sys.modules, f"dormant.dopamine.{name}", raising=False)
    flags = ["--base_dir", str(tmp_path / "run"), "--gin_files", "dqn.gin"]
    assert train.main(flags) == 2
    said = capsys.readouterr().err.strip()
    assert said.endswith("pip install 'dormant[dopamine]'") and "\n" not in said
    assert not (tmp_path / "run").exists()


@INSTALLED
def test_importing_and_training_import_neither_tensorflow_nor_dopamine():
    """In a Python that has both."""
    code = (
        "import sys, dormant, dormant.train, dormant.sweep, dormant.figures, dormant.report;"
        "import dormant.experiments.run, dormant.training.loop, dormant.dopamine;"
        "dormant.recycle;"
        "print(*{name.split('.')[0] for name in sys.modules} & {'tensorflow', 'dopamine'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@INSTALLED
@pytest.mark.slow  # two processes, thousands of agent steps of Pong
def test_a_run_on_pong_that_is_killed_resumes_its_clock(tmp_path):
    base_dir = tmp_path / "pong"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    quiet = dict(env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen(
        command(base_dir, "dqn.gin"), **{**quiet, "stderr": subprocess.DEVNULL}
    )
    first = base_dir / "checkpoints" / "sentinel_checkpoint_complete.0"
    deadline = time.time() + 500
    while not first.exists():
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.5)
    time.sleep(3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with open(base_dir / "checkpoints" / "ckpt.0", "rb") as file:
        clock = pickle.load(file)["gradient_steps"]
    ended = subprocess.run(command(base_dir, "dqn.gin"), **quiet, timeout=500)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "Reloaded checkpoint and will start from iteration 1" in ended.stderr
    with open(base_dir / "checkpoints" / "ckpt.2", "rb") as file:
        last = pickle.load(file)
    assert clock > 20 and last["gradient_steps"] >= clock + 480
    assert int(last["optimizer_state"][0].count) == last["gradient_steps"]
    assert last["current_iteration"] == 2
    events = (base_dir / "metrics" / "tensorboard").iterdir()
    assert any(b"ReDo/RecycledNeurons/Dense_0" in path.read_bytes() for path in events)
    _, rows = read_run(str(base_dir), trusted=True)
    assert {row.iteration for row in rows} == {0, 1, 2}
