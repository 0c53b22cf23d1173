"""Sweeps with real processes: what is finished is left alone, what is cut goes on, what crashes is
tried again.
"""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from dormant import results
from dormant.experiments import sweep as sweeps
from dormant.experiments.executors import Attempt, Local, gpu_limits
from dormant.experiments.grid import Job, Sweep
from dormant.types import DormantError
from tests.training.run_probe import BINDINGS, FILES

ROOT = pathlib.Path(__file__).parent.parent.parent
# 2 methods, 400 agent steps each; the checkpoint in the middle is that of iteration 1.
SHORT = [
    *BINDINGS,
    "Protocol.iterations=2",
    "Protocol.training_steps=200",
    "Protocol.evaluation_steps=0",
]
SWEEP = Sweep(FILES, SHORT, {"replay_ratio": [0.5, 1.0]}, games=["probe/see"])
NAMES = ("probe_see/replay_ratio=0.5", "probe_see/replay_ratio=1")


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The sweep carried out once, by the command, with two workers; (base_dir, what it printed)."""
    base_dir = tmp_path_factory.mktemp("undisturbed")
    done = command(base_dir, "--workers", "2")
    assert done.returncode == 0, done.stderr
    return base_dir, done.stderr


def command(base_dir, *more, grid="replay_ratio=[0.5,1.0]"):
    line = [sys.executable, "scripts/sweep.py", "--gin_files", *FILES, "--gin_bindings", *SHORT]
    line += ["--grid", grid, "--games", "probe/see", "--base_dir", str(base_dir), *more]
    return subprocess.run(
        line, cwd=ROOT, env={**os.environ, "XLA_FLAGS": ""}, capture_output=True, text=True
    )


def metrics(base_dir, name):
    return (base_dir / name / results.METRICS_FILE).read_bytes()


def test_a_sweep_and_the_same_command_again(undisturbed):
    base_dir, printed = undisturbed
    assert (
        "[2/2]" in printed and printed.count(": finished") == 2 and "\r" not in printed
    )  # plain lines: no terminal
    for name in NAMES:
        assert results.read_run(str(base_dir / name))["status"] == "finished"
    before = {name: os.stat(base_dir / name / results.RUN_FILE).st_mtime_ns for name in NAMES}
    again = command(base_dir)
    assert again.returncode == 0 and "all 2 runs" in again.stderr
    assert before == {
        name: os.stat(base_dir / name / results.RUN_FILE).st_mtime_ns for name in NAMES
    }


def test_dry_run_and_its_estimates(undisturbed, tmp_path):
    base_dir = undisturbed[0]
    checked = sweeps.check_here(
        [SWEEP._replace(games=["probe/see", "probe/two_step"])], str(base_dir)
    )
    assert [each.finished for each in checked] == [True, True, False, False]
    # Calls of the learner: 400 / 4, less those that start before step 101. Two members, 0.5 or 1
    # step an agent step.
    assert [each.gradient_steps for each in checked] == [2 * (100 - 26), 4 * (100 - 26)] * 2
    # Two members of 400 agent steps: one float32 (two_step: three), what followed it, and 16 bytes.
    assert [each.replay_bytes for each in checked] == [2 * 400 * (4 + 4 + 16)] * 2 + [
        2 * 400 * (12 + 12 + 16)
    ] * 2
    assert "time of training with 2 at once: unknown" in sweeps.table(checked, 2, {})
    given = sweeps.table(
        checked, 2, {}, rate=2.0
    )  # to do: 2 * (148 + 296) gradient steps, the longest alone 592
    assert "time of training with 2 at once: 0:04:56, from --steps_per_second" in given
    assert "2 finished" in given and "888 gradient steps" in given
    rates = sweeps.measured_rates(str(base_dir))
    assert list(rates) == [("DQN", "DQN", "mlp", 1.0, 32)] and rates[checked[0].kind] > 0
    assert "unknown" not in sweeps.table(checked, 2, rates)
    assert not list(tmp_path.iterdir())


def test_wrong_input_is_refused_before_anything_is_written(undisturbed, tmp_path):
    wrong = command(tmp_path, "--dry_run", grid="replay_ratio=[0.5,0.3]")
    assert wrong.returncode == 2 and not wrong.stdout and not list(tmp_path.iterdir())
    assert wrong.stderr.startswith("error: probe_see/replay_ratio=0.3: replay_ratio 0.3 ")
    assert wrong.stderr.count("\n") == 1
    with pytest.raises(DormantError, match="holds a run of another configuration"):
        sweeps.check_here([SWEEP._replace(seeds=2)], str(undisturbed[0]))
    with pytest.raises(DormantError, match="replay memories of 2 runs at once need"):
        huge = sweeps.check_here([SWEEP], str(tmp_path))[0]._replace(replay_bytes=10**15)
        sweeps.check_memory_together([huge, huge], 2)


def test_a_killed_run_is_tried_again_and_a_hopeless_one_is_not(undisturbed, tmp_path):
    """One run is killed in the middle, the other cannot write: the first ends with the numbers of
    the undisturbed.
    """
    (tmp_path / NAMES[1] / results.METRICS_FILE).mkdir(parents=True)

    def kill_when_it_has_a_checkpoint():
        folder = tmp_path / NAMES[0]
        while not list(folder.glob("checkpoints/*/commit_success.txt")):
            time.sleep(0.01)
        training(folder).send_signal(signal.SIGKILL)
        killed.append(sweeps.agent_steps_done(str(folder)))

    killed: list[int] = []
    thread = threading.Thread(target=kill_when_it_has_a_checkpoint)
    thread.start()
    executor = Local(2)
    outcomes = sweeps.run(
        sweeps.check_here([SWEEP], str(tmp_path)), str(tmp_path), executor, retries=1
    )
    executor.close()
    thread.join()
    assert killed and 200 <= killed[0] <= 400
    assert [(each.status, each.attempts) for each in outcomes] == [("finished", 2), ("failed", 1)]
    assert metrics(tmp_path, NAMES[0]) == metrics(undisturbed[0], NAMES[0])
    assert outcomes[1].reason.startswith("dormant: cannot write")
    report = sweeps.failures(outcomes)
    assert "1 runs failed" in report and NAMES[1] in report and NAMES[0] not in report


def training(folder):
    """The process that trains in a folder, started by this one."""
    return next(p for p in psutil.Process().children(recursive=True) if str(folder) in p.cmdline())


def test_ctrl_c_waits_until_the_runs_have_saved(tmp_path):
    line = [sys.executable, "scripts/sweep.py", "--gin_files", *FILES, "--gin_bindings", *SHORT]
    line += ["Protocol.iterations=500", "--grid", "replay_ratio=[0.5]", "--games", "probe/see"]
    with subprocess.Popen(
        [*line, "--base_dir", str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        while not (tmp_path / NAMES[0] / results.METRICS_FILE).exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert "the same command goes on" in process.stderr.read()
    assert results.read_run(str(tmp_path / NAMES[0]))["status"] == "running"
    assert list((tmp_path / NAMES[0]).glob("checkpoints/*/commit_success.txt"))
    assert "the same command goes on" in (tmp_path / NAMES[0] / "log.txt").read_text()


def checked(*names):
    return [sweeps.Checked(Job(name, (), ()), 1, 10, 10, 0, (), False, 0) for name in names]


class Scripted(Local):
    """Runs a given Python line in place of each training."""

    def __init__(self, lines, workers=2):
        super().__init__(workers)
        self._lines = lines

    def submit(self, attempt):
        name = os.path.basename(attempt.folder)
        return super().submit(attempt._replace(command=(sys.executable, "-c", self._lines[name])))


def test_retries_are_bounded_and_the_last_line_is_kept(tmp_path):
    lines = {
        "crashes": "import sys; print('a bar: 3 steps/s'); sys.exit('RuntimeError: out of luck')",
        "ends": "print('done')",
    }
    executor = Scripted(lines)
    outcomes = sweeps.run(checked("crashes", "ends"), str(tmp_path), executor, retries=2)
    executor.close()
    assert [(each.status, each.attempts) for each in outcomes] == [("failed", 3), ("finished", 1)]
    assert outcomes[0].reason == "exit code 1: RuntimeError: out of luck"
    assert (tmp_path / "crashes" / "log.txt").read_text().count(
        "RuntimeError"
    ) == 6  # 3 times, and in its command


def test_two_workers_are_two_runs_at_a_time(tmp_path):
    """Eight runs: never three at once, and the third to begin has waited for one of the first two
    only.
    """
    names = [str(i) for i in range(8)]
    line = "import time; start = time.time(); time.sleep(0.5); print('slept', start, time.time())"
    executor = Scripted(dict.fromkeys(names, line))
    sweeps.run(checked(*names), str(tmp_path), executor)
    executor.close()
    spans = sorted(
        tuple(map(float, (tmp_path / name / "log.txt").read_text().split()[-2:])) for name in names
    )
    running = [sum(start <= begun < end for start, end in spans) for begun, _ in spans]
    assert max(running) == 2
    ends = sorted(end for _, end in spans)
    assert all(ends[number] < begun < ends[-1] for number, (begun, _) in enumerate(spans[2:]))


def test_shares_of_gpus(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_limits(0, 3) == {}
    assert [gpu_limits(0.5, slot)["CUDA_VISIBLE_DEVICES"] for slot in range(4)] == [
        "0",
        "0",
        "1",
        "1",
    ]
    assert gpu_limits(0.25, None) == {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.225"}
    assert gpu_limits(2, 1) == {"CUDA_VISIBLE_DEVICES": "2,3"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert [gpu_limits(1, slot)["CUDA_VISIBLE_DEVICES"] for slot in range(2)] == ["4", "5"]


def test_a_run_ends_with_its_sweep(tmp_path):
    """The process that started it is killed: the run is asked to save and stop."""
    line = "import os, sys, time; from dormant.train import stop_with_parent; "
    line += "print(stop_with_parent(int(sys.argv[-1])), os.getpid(), flush=True); time.sleep(60)"
    attempt = Attempt(
        str(tmp_path), (sys.executable, "-c", line), {"PYTHONPATH": str(ROOT)}, str(tmp_path)
    )
    sweep = f"from dormant.experiments.executors import *; carry_out(Attempt(*{tuple(attempt)}))"
    parent = subprocess.Popen([sys.executable, "-c", sweep], cwd=ROOT)
    log, until = tmp_path / "log.txt", time.monotonic() + 20
    while not log.exists() or "True" not in log.read_text().splitlines()[-1]:
        assert time.monotonic() < until
        time.sleep(0.02)
    process = psutil.Process(int(log.read_text().split()[-1]))
    parent.kill()
    parent.wait()
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_request_to_stop_that_is_repeated_cuts_no_save_short(tmp_path):
    """As Ray does: interrupts keep coming while the run saves."""
    saves = "import signal, sys, time; save = lambda *_: (time.sleep(1), print('saved'), sys.exit(143)); "
    saves += "signal.signal(signal.SIGTERM, save); "
    saves += "print('ready', flush=True); time.sleep(60)"
    attempt = Attempt(str(tmp_path), (sys.executable, "-c", saves), {}, str(tmp_path))
    sweep = f"from dormant.experiments.executors import *; carry_out(Attempt(*{tuple(attempt)}))"
    with subprocess.Popen(
        [sys.executable, "-c", sweep], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as parent:
        log = tmp_path / "log.txt"
        while not log.exists() or "\nready" not in log.read_text():
            time.sleep(0.02)
        while parent.poll() is None:
            parent.send_signal(signal.SIGINT)
            time.sleep(0.1)
    assert log.read_text().endswith("saved\n")
