"""A run on the device that is killed or stopped at any moment ends with the same bytes."""

import pathlib
import random
import signal
import time

import pytest

from dormant import results
from tests.training.run_minatar import start

OFTEN = "Protocol.checkpoint_minutes=0.0"  # after every call
TIMEOUT = 400


def metrics(folder):
    return (pathlib.Path(folder) / results.METRICS_FILE).read_bytes()


def rows_of(folder):
    path = pathlib.Path(folder) / results.METRICS_FILE
    return path.read_bytes().count(b"\n") if path.exists() else 0


def finish(folder, *bindings):
    process = start(folder, *bindings)
    output = process.communicate(timeout=TIMEOUT)[0]
    assert process.returncode == 0, output
    return output


def end_after(folder, rows, sign, *bindings):
    """Starts the run and sends a signal once its table has so many rows."""
    process = start(folder, *bindings)
    deadline = time.monotonic() + TIMEOUT
    while rows_of(folder) < rows and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(sign)
    output = process.communicate(timeout=TIMEOUT)[0]
    return process.returncode, output


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run, never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    finish(folder)
    return folder


def test_a_kill_in_the_middle_then_a_stop_then_the_same_bytes(whole, tmp_path):
    code, _ = end_after(tmp_path, 0.5 * rows_of(whole), signal.SIGKILL, OFTEN)
    assert code == -signal.SIGKILL and rows_of(tmp_path) < rows_of(whole)
    code, output = end_after(tmp_path, 0.8 * rows_of(whole), signal.SIGTERM, OFTEN)
    assert code == 128 + signal.SIGTERM and "saved at agent step" in output, output
    assert "resumed at agent step" in output and rows_of(tmp_path) < rows_of(whole)
    assert "resumed at agent step" in finish(tmp_path, OFTEN)
    assert metrics(tmp_path) == metrics(whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_kills_at_random_moments(whole, tmp_path, seed):
    draw = random.Random(seed)
    for fraction in sorted(draw.random() for _ in range(3)):
        end_after(tmp_path, fraction * rows_of(whole), signal.SIGKILL, OFTEN)
    finish(tmp_path, OFTEN)
    assert metrics(tmp_path) == metrics(whole)
