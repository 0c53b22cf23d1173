"""Real Ray clusters on this machine: one of three nodes, of which one dies in the middle of a run,
and those that ``ray start`` starts, with and without token authentication.
"""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from dormant import results
from dormant.experiments import sweep as sweeps
from dormant.experiments.executors import Attempt, Local, Ray
from dormant.experiments.grid import Sweep
from dormant.experiments.ray_connection import SECONDS, connection
from tests.training.run_probe import BINDINGS, FILES

ROOT = pathlib.Path(__file__).parent.parent.parent
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
    saves = "import signal, sys, time; save = lambda *_: (print('saved'), sys.exit(143)); "
    saves += "signal.signal(signal.SIGTERM, save); "
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


@contextlib.contextmanager
def head(home):
    """A cluster as ``ray start --head`` starts it; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray_command = os.path.join(os.path.dirname(sys.executable), "ray")
    line = [ray_command, "start", "--head", "--block", f"--port={port}", "--num-cpus=1"]
    line += ["--include-dashboard=false", "--disable-usage-stats"]
    line += ["--object-store-memory=100000000"]
    with tempfile.TemporaryDirectory() as folder:  # a short path: sockets lie in it
        process = subprocess.Popen(
            [*line, f"--temp-dir={folder}"],
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            said = next((each for each in process.stdout if "runtime started" in each), "")
            assert said, "Ray has not started"
            yield f"127.0.0.1:{port}"
        finally:
            children = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(timeout=60)
            psutil.wait_procs(children, timeout=30)
            process.stdout.close()


def environment(home):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "HOME": str(home), "XLA_FLAGS": "", "RAY_USAGE_STATS_ENABLED": "0"}


def sweep_by_command(home, base_dir, address):
    line = [sys.executable, "-m", "dormant.sweep", "--gin_files", *FILES]
    line += ["--gin_bindings", *SHORT, "Protocol.iterations=1", "--base_dir", str(base_dir)]
    return subprocess.run(
        [*line, "--executor", "ray", "--address", address, "--methods", "none"],
        cwd=ROOT,
        env=environment(home),
        capture_output=True,
        text=True,
    )


# With a token the cluster takes half a minute to come up.
@pytest.mark.parametrize("token", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_cluster_that_was_started_by_hand(token, tmp_path):
    """Ray enables token authentication where it finds a token, in ``ray start`` only."""
    home, stranger = tmp_path / "home", tmp_path / "stranger"
    (home / ".ray").mkdir(parents=True)
    stranger.mkdir()
    if token:
        (home / ".ray" / "auth_token").write_text("0123456789abcdef" * 2)
    with head(home) as address:
        done = sweep_by_command(home, tmp_path / "runs", address)
        assert done.returncode == 0, done.stderr
        run = results.read_run(str(tmp_path / "runs" / "probe_see" / "run"))
        assert run["status"] == "finished"
        if token:
            refused = sweep_by_command(stranger, tmp_path / "none", address)
            assert refused.returncode == 2 and refused.stderr.count("\n") == 1
            assert "it wants an authentication token" in refused.stderr
            assert not (tmp_path / "none").exists()


def test_no_cluster_at_the_address_is_said_within_seconds(tmp_path):
    with socket.socket() as silent:  # listens and never answers
        silent.bind(("127.0.0.1", 0))
        started = time.monotonic()
        done = sweep_by_command(tmp_path, tmp_path / "none", "127.0.0.1:1")
        assert time.monotonic() - started < 20
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert "no Ray cluster at '127.0.0.1:1': nothing answers there" in done.stderr
        silent.listen()
        started = time.monotonic()
        with pytest.raises(ConnectionError, match="no answer within 3 seconds"):
            connection(f"127.0.0.1:{silent.getsockname()[1]}", seconds=3)
        assert time.monotonic() - started < 10
    assert SECONDS < 20 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("cpus_per_run", [0.5, 1.5])
def test_a_cluster_started_here_has_as_many_runs_at_a_time_as_workers(cpus_per_run, monkeypatch):
    """Whatever their cores are: Ray would leave one that asks for more than there are waiting."""
    asked, begun = {}, {}
    fake = types.SimpleNamespace(
        is_initialized=lambda: False,
        init=lambda address, **options: begun.update(options, address=address),
        cluster_resources=lambda: {"CPU": begun["num_cpus"]},
        cloudpickle=types.SimpleNamespace(register_pickle_by_value=lambda module: None),
        remote=lambda function: types.SimpleNamespace(options=lambda **kinds: asked.update(kinds)),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    Ray("", 1, cpus_per_run, 0, {}, retries=0)
    assert begun["address"] == "local" and begun["num_cpus"] == asked["num_cpus"] == 1
    Ray("auto", 1, cpus_per_run, 0, {}, retries=0)
    assert begun["num_cpus"] is None and asked["num_cpus"] == cpus_per_run


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
