"""A stopped run resumes with its priorities, its noise and (DrQ) without a target network."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dormant import results
from tests.training.run_probe import ROOT

BINDINGS = [
    "Run.game='probe/see'",
    "Run.methods=('none', 'redo')",
    "ReDo.period=100",
    "Rainbow.network='mlp'",
    "Rainbow.data_augmentation=False",
    "Rainbow.min_replay_history=100",
    "Rainbow.replay_capacity=600",
    "Rainbow.update_period=4",
    "replay_ratio=0.5",
    "Rainbow.target_update_period=1",
    "Protocol.iterations=3",
    "Protocol.training_steps=400",
    "Protocol.evaluation_steps=0",
    "Protocol.evaluation_episodes=10",
    "Protocol.log_period=50",
]


def start(folder, file):
    command = [sys.executable, "-m", "dormant.train", "--base_dir", str(folder), "--gin_files"]
    command += [file, "redo.gin", "--gin_bindings", *BINDINGS]
    environment = {**os.environ, "XLA_FLAGS": ""}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(folder, file):
    process = start(folder, file)
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output
    return output, (folder / results.METRICS_FILE).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("file", ["full_rainbow.gin", "drq_eps.gin"])
def test_a_stopped_run_ends_with_the_same_bytes(file, tmp_path):
    _, whole = finish(tmp_path / "whole", file)
    folder = tmp_path / "stopped"
    process = start(folder, file)
    table = folder / results.METRICS_FILE
    while process.poll() is None and not (table.exists() and 2 * table.stat().st_size > len(whole)):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 128 + signal.SIGTERM, output
    output, resumed = finish(folder, file)
    assert "resumed at agent step" in output
    assert resumed == whole
