"""Runs on disk in the schema of dormant.results: fixtures for reading and drawing, never shown as results."""
import os

import pytest

from dormant import results


@pytest.fixture
def write_run(tmp_path):
    """write_run(name, members, rows, **keys of run.json) -> folder. A row has the fields of a Measurement."""

    def write(name, members, rows, **keys):
        folder = tmp_path / "runs" / name
        os.makedirs(folder)
        run = {
            "status": "finished",
            "game": "DemonAttack",
            "agent": "dqn",
            "frames_per_agent_step": 4,
            "replay_ratio": 1.0,
            "update_horizon": 1,
            "protocol": {"iterations": 2, "training_steps": 100, "evaluation_steps": 50},
            "versions": {},
            "machine": {},
        }
        results.write_run(str(folder), {**run, "members": members, **keys})
        text = results.header() + results.format_rows(results.Measurement(*row) for row in rows)
        (folder / results.METRICS_FILE).write_text(text)
        return folder

    return write


@pytest.fixture
def two_members():
    """DQN and DQN+ReDo, one seed."""
    return [
        {"member": 0, "seed": 1, "method": "none", "label": "DQN", "tau": None},
        {"member": 1, "seed": 1, "method": "redo", "label": "DQN+ReDo", "tau": 0.1, "period": 1000},
    ]
