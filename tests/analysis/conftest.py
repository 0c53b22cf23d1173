"""Runs on disk in the schema of dormant.results: fixtures for reading and drawing, never shown as
results.
"""

import os

import pytest

from dormant import results

RUN = {
    "status": "finished",
    "game": "DemonAttack",
    "agent": "DQN",
    "frames_per_agent_step": 4,
    "replay_ratio": 1.0,
    "update_horizon": 1,
    "protocol": {"iterations": 2, "training_steps": 100, "evaluation_steps": 50},
    "versions": {},
    "machine": {},
}


@pytest.fixture
def write_run(tmp_path):
    """write_run(name, members, rows, **keys of run.json) -> folder. A row has the fields of a
    Measurement.
    """

    def write(name, members, rows, **keys):
        folder = tmp_path / "runs" / name
        os.makedirs(folder)
        results.write_run(str(folder), {**RUN, "members": members, **keys})
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


METHODS = {"none": {}, "redo": {"tau": 0.1, "period": 1000}, "reset": {"period": 100_000}}


@pytest.fixture
def write_returns(write_run):
    """write_returns(name, {method: [returns of one seed, ...]}, metric=..., facts={}, **keys of
    run.json) -> folder.

    The returns are those of the iterations, 100 agent steps each; ``facts`` are added to every
    member.
    """

    def write(name, returns, metric="eval/average_return", facts=(), first_seed=1, **keys):
        members, rows = [], []
        for method, seeds in returns.items():
            for i, values in enumerate(seeds):
                number = len(members)
                settings = {**METHODS[method], **dict(facts)}
                members.append(
                    {"member": number, "seed": first_seed + i, "method": method, **settings}
                )
                steps = [100 * (iteration + 1) for iteration in range(len(values))]
                rows += [
                    (number, i, n, n, metric, value)
                    for i, (n, value) in enumerate(zip(steps, values))
                ]
        iterations = max(len(values) for seeds in returns.values() for values in seeds)
        protocol = {"iterations": iterations, "training_steps": 100, "evaluation_steps": 50}
        return write_run(name, members, rows, **{"protocol": protocol, **keys})

    return write
