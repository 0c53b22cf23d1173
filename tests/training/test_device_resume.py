"""A run on the device: what it writes, and the same bytes after any kill or stop."""

import collections
import pathlib
import random
import signal
import time

import numpy as np
import pytest

from dormant import results
from dormant.experiments.run import plan
from tests.training.run_minatar import BINDINGS, FILES, start

OFTEN = "Protocol.checkpoint_minutes=0.0"  # after every call
TIMEOUT = 400


def metrics(folder):
    return (pathlib.Path(folder) / results.METRICS_FILE).read_bytes()


def measurements(folder):
    return results.read_measurements(str(folder / results.METRICS_FILE))


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


def test_rows_have_the_names_and_clocks_of_every_run(whole):
    planned, rows = plan(FILES, BINDINGS), measurements(whole)
    known = {name.split("{")[0].split("=")[0] for name in results.METRICS}
    assert {row.metric.split("=")[0] for row in rows} - known <= {
        "recycled_neurons/online/Conv_0",
        "recycled_neurons/online/Dense_0",
    }
    assert all(row.iteration == max(row.agent_steps - 1, 0) // 800 for row in rows)
    logged = sorted({row.gradient_steps for row in rows if row.metric == "learn/loss"})
    assert logged == list(range(50, planned.gradient_steps + 1, 50))
    recycled = {(row.member, row.gradient_steps) for row in rows if "recycled" in row.metric}
    assert recycled == {  # each ReDo member at its own period
        (member, step)
        for member, period in ((2, 100), (3, 150))
        for step in range(period, planned.gradient_steps + 1, period)
    }
    for row in rows:  # every row stands where both clocks agree
        due = 2 * max(0, row.agent_steps // 4 - 100 // 4)
        assert due - 2 <= row.gradient_steps <= due


def test_returns_of_an_iteration_are_those_of_its_episodes(whole):
    rows = measurements(whole)
    for index in range(4):
        for iteration in range(3):
            own = [row for row in rows if (row.member, row.iteration) == (index, iteration)]
            values = collections.defaultdict(list)
            for row in own:
                values[row.metric].append(row.value)
            assert values["train/episodes"] == [len(values["episode/return"])]
            assert values["train/average_return"][0] == pytest.approx(
                np.mean(values["episode/return"])
            )
            assert sum(values["episode/length"]) <= 800
            assert values["eval/episodes"][0] >= 1
    assert results.read_run(str(whole))["status"] == "finished"


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
