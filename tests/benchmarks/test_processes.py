"""Processes of a benchmark: none outlives its starter, and what was carried to them arrives."""

import os
import signal
import subprocess
import sys
import time

import pytest
from jaxlib import xla_client

from dormant.benchmarks import processes
from dormant.benchmarks.session import Setup

SLEEPS = "import time; print('begun', flush=True); time.sleep(120)"


def ends(pid, seconds=20.0):
    """Whether the process is gone, or a zombie, within so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_children_end_with_the_process_that_started_them(signum):
    code = (
        "import subprocess, sys; from dormant.benchmarks import processes; "
        f"p = processes.start([sys.executable, '-c', {SLEEPS!r}], stdout=subprocess.PIPE); "
        "p.stdout.readline(); print(p.pid, flush=True); p.wait()"
    )
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, text=True, env=processes.environment()) as starter:
        child = int(starter.stdout.readline())
        assert not ends(child, 0.2)
        starter.send_signal(signum)
        starter.wait()
    assert ends(child)


def test_what_a_process_has_started_ends_at_its_limit():
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]); "
    code += "print(p.pid, flush=True); p.wait()"
    ended = processes.run([sys.executable, "-c", code], 3.0)
    assert ended.code is None and ended.reason().startswith("not finished after")
    assert ends(int(ended.lines[0]))


def test_a_process_that_saves_gets_the_time_to(tmp_path):
    saved = tmp_path / "saved"
    code = "import signal, sys, time\n"
    code += f"def save(*_): open({str(saved)!r}, 'w').write('all'); sys.exit(143)\n"
    code += "signal.signal(signal.SIGTERM, save); time.sleep(120)"
    ended = processes.run([sys.executable, "-c", code], 12.0, grace=10.0)
    assert ended.code == 143 and saved.read_text() == "all" and ended.seconds < 11


def test_carried_packages_stay_importable(tmp_path, monkeypatch):
    (tmp_path / "carried.py").write_text("WORD = 'carried'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir("/")
    code = "import carried, dormant.benchmarks; print(carried.WORD)"
    ended = processes.run([sys.executable, "-c", code], 20.0)
    assert (ended.code, ended.lines) == (0, ["carried"])
    monkeypatch.delenv("PYTHONPATH")
    assert os.pathsep not in processes.environment()["PYTHONPATH"]


def test_a_worker_that_fails_says_why_in_one_line():
    found = processes.ask("measure", Setup("dqn_rr1", game="Pnog")._asdict(), 60.0)
    assert "environment 'Pnog'" in found["error"] and "\n" not in found["error"]


def test_the_reason_is_the_error_and_not_what_jax_writes_below_it(tmp_path):
    code = "import jax; jax.jit(lambda: jax.numpy.ones((2**22, 2**22)))()"  # no memory is so large
    with open(tmp_path / "log", "a+") as log:
        ended = processes.run([sys.executable, "-c", code], 60.0, {"JAX_PLATFORMS": "cpu"}, log=log)
    assert "RESOURCE_EXHAUSTED" in ended.reason()
    assert "Traceback" in (tmp_path / "log").read_text()
    said = processes.Ended(1, 0.0, ["Traceback:", "XlaRuntimeError: no memory", "Peak:", "===="])
    assert said.reason() == "XlaRuntimeError: no memory"
    assert processes.Ended(2, 0.0, ["begun", "dormant: no"]).reason() == "dormant: no"


@pytest.mark.slow
def test_the_headline_is_there_before_the_row_is_complete():
    class Enough(Exception):
        pass

    def report(found):
        rows.append(found)
        raise Enough

    rows = []
    setup = Setup("sac_rr1", capacity=700, seconds=4.0, small=True)
    with pytest.raises(Enough):
        processes.ask("measure", setup._asdict(), 120.0, report)
    assert rows[0]["gradient_steps_per_second"] > 0 and "share_learning" not in rows[0]


@pytest.mark.parametrize("name", ["XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"])
def test_a_share_of_the_memory_that_was_asked_for_is_kept(name, monkeypatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    monkeypatch.setenv(name, "0.5")
    made = processes.environment()
    for each in ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.setenv(each, made.get(each, ""))
    options = xla_client.generate_pjrt_gpu_plugin_options()  # jax's own, for a GPU
    assert options["memory_fraction"] == 0.5
