"""A real Ray cluster of three nodes on this machine, one of which dies in the middle of a run."""

import contextlib
import signal
import sys
import threading
import time

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from dormant import results
from dormant.experiments import sweep as sweeps
from dormant.experiments.executors import Attempt, Local, Ray
from dormant.experiments.grid import Sweep
from tests.training.run_probe import BINDINGS, FILES

# Ray starts its nodes by fork and exec; jax, which other tests have used in this process, warns of
# every fork.
pytestmark = pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning")
SHORT = [
    *BINDINGS,
    "Protocol.iterations=2",
    "Protocol.training_steps=200",
    "Protocol.evaluation_steps=0",
]
SWEEP = Sweep(FILES, SHORT, {"replay_ratio": [0.5, 1.0]}, games=["probe/see"])


@pytest.fixture(scope="module")
def cluster():
    """A head without cores, and two nodes with one core each."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        made.add_node(num_cpus=1)
    yield made
    ray.shutdown()
    made.shutdown()
    monkeypatch.undo()


def processes_of(node):
    """A node's own processes and everything below them."""
    started = [info.process for kind in node.all_processes.values() for info in kind]
    roots = [psutil.Process(process.pid) for process in started]
    return [each for root in roots for each in [root, *root.children(recursive=True)]]


def command_of(process):
    """Its command line, empty if it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_runs_are_asked_to_save_and_failures_come_back(cluster, tmp_path):
    saves = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(143))); "
    saves += "print('ready', flush=True); time.sleep(60)"
    executor = Ray(cluster.address, 1, 1, 0, {}, retries=2)
    attempts = {
        name: Attempt(str(tmp_path / name), (sys.executable, "-c", line), {}, str(tmp_path))
        for name, line in (("fails", "import sys; sys.exit(3)"), ("saves", saves))
    }
    futures = {name: executor.submit(attempt) for name, attempt in attempts.items()}
    assert futures["fails"].result(timeout=60) == 3
    log = tmp_path / "saves" / "log.txt"
    while not log.exists() or "\nready" not in log.read_text():
        time.sleep(0.05)
    executor.stop()
    assert log.read_text().endswith("saved\n")
    executor.close()


@pytest.mark.slow
def test_the_runs_of_a_node_that_dies_go_on_elsewhere_with_the_same_numbers(cluster, tmp_path):
    checked = sweeps.plan_here([SWEEP], str(tmp_path / "ray"))
    victim, killed = next(iter(cluster.worker_nodes)), []

    def kill_when_its_run_has_a_checkpoint():
        while True:
            for process in processes_of(victim):
                line = command_of(process)
                name = next(
                    (each.job.name for each in checked if f"{each.job.name} --gin_files" in line),
                    "",
                )
                if name and list(
                    (tmp_path / "ray" / name).glob("checkpoints/*/commit_success.txt")
                ):
                    for each in processes_of(victim):
                        with contextlib.suppress(psutil.Error):  # it has just ended with its parent
                            each.send_signal(signal.SIGKILL)
                    killed.append(name)
                    return
            time.sleep(0.02)

    thread = threading.Thread(target=kill_when_its_run_has_a_checkpoint, daemon=True)
    thread.start()
    executor = Ray(cluster.address, 1, 1, 0, {}, retries=2)
    outcomes = sweeps.execute_all(checked, str(tmp_path / "ray"), executor, retries=0)
    executor.close()
    thread.join(timeout=10)
    assert len(killed) == 1 and [each.status for each in outcomes] == ["finished"] * 2
    log = (tmp_path / "ray" / killed[0] / "log.txt").read_text()
    assert log.count("dormant.train") == 2 and "resumed at agent step" in log

    alone = Local(1, cpus_per_run=1)
    undisturbed = [each for each in checked if each.job.name == killed[0]]
    sweeps.execute_all(undisturbed, str(tmp_path / "local"), alone)
    alone.close()
    tables = [tmp_path / where / killed[0] / results.METRICS_FILE for where in ("ray", "local")]
    assert tables[0].read_bytes() == tables[1].read_bytes()
