"""What a run writes for its readers: tables, TensorBoard, run.json."""

import json
import math
import os
import resource
import struct
import subprocess
import threading

import numpy as np
import psutil
import pytest
from tensorboardX.proto import event_pb2

from dormant import results
from dormant.results import Measurement
from dormant.training import resume
from dormant.training.append import AppendedFile, Extent
from dormant.training.record import Recorder, has_rows
from dormant.types import DormantError
from tests.training.fate import Fate, run
from tests.training.run_probe import ROOT, train


def row(member=0, agent_steps=4, value=1.0, metric="feature_rank"):
    return Measurement(member, 0, agent_steps, 2, metric, value)


def events(folder):
    """All events of a member's folder, in the order of writing."""
    found = []
    for name in sorted(os.listdir(folder)):
        data = (folder / name).read_bytes()
        while data:
            length = struct.unpack("<Q", data[:8])[0]
            found.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def points(folder):
    """{agent step: value} as TensorBoard shows them: a restart at a step drops what it and later
    ones held.
    """
    shown = {}
    for event in events(folder):
        if event.HasField("session_log"):
            shown = {step: value for step, value in shown.items() if step < event.step}
        for value in event.summary.value:
            shown[event.step] = value.simple_value
    return shown


def test_tensorboard_keeps_the_points_at_the_checkpoints_step(tmp_path):
    recorder = Recorder(str(tmp_path), ["DQN, seed 0"])
    recorder.open(None)
    recorder.write([row(agent_steps=4, value=1.0), row(agent_steps=8, value=2.0)])
    extents = {name: table.sync() for name, table in recorder.tables.items()}
    recorder.write([row(agent_steps=12, value=3.0)])
    recorder.close()
    recorder = Recorder(str(tmp_path), ["DQN, seed 0"])
    recorder.open(extents, 8)
    recorder.write([row(agent_steps=16, value=4.0)])
    recorder.close()
    assert points(tmp_path / "tensorboard" / "00 DQN, seed 0") == {4: 1.0, 8: 2.0, 16: 4.0}
    rows = results.read_measurements(str(tmp_path / results.METRICS_FILE))
    assert [(each.agent_steps, each.value) for each in rows] == [(4, 1), (8, 2), (16, 4)]


def test_a_value_that_is_none_is_written_without_a_word(tmp_path, caplog):
    """Some metrics have none in many a log: the overlap of empty sets."""
    recorder = Recorder(str(tmp_path), ["DQN, seed 0"])
    recorder.open(None)
    recorder.write([row(value=float("nan"))])
    recorder.close()
    (value,) = points(tmp_path / "tensorboard" / "00 DQN, seed 0").values()
    assert math.isnan(value) and not caplog.records


@pytest.mark.parametrize("label", ["../../outside", "/outside", "..", "a/b\0c\n", "x" * 300, ""])
def test_a_label_stays_in_its_folder(label, tmp_path):
    base_dir = tmp_path / "run"
    base_dir.mkdir()
    recorder = Recorder(str(base_dir), [label])
    recorder.open(None)
    recorder.write([row()])
    recorder.close()
    assert os.listdir(tmp_path) == ["run"]
    assert set(os.listdir(base_dir)) == {"metrics.csv", "timing.csv", "tensorboard"}
    (folder,) = os.listdir(base_dir / "tensorboard")
    assert folder.startswith("00 ") and points(base_dir / "tensorboard" / folder) == {4: 1.0}


def test_512_members_take_no_descriptor_and_no_thread_each(tmp_path):
    before = psutil.Process().num_fds(), threading.active_count()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] + 8, limits[1]))
    try:
        recorder = Recorder(str(tmp_path), [f"DQN, seed {seed}" for seed in range(512)])
        recorder.open(None)
        recorder.write([row(member) for member in range(512)])
        recorder.flush()
        assert psutil.Process().num_fds() <= before[0] + 2  # the tables
        assert threading.active_count() == before[1]
        recorder.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(os.listdir(tmp_path / "tensorboard")) == 512
    assert points(tmp_path / "tensorboard" / "511 DQN, seed 511") == {4: 1.0}


def test_an_appended_file_knows_where_it_is(tmp_path):
    """Opened in the middle, it stands there and not at its old end."""
    path = tmp_path / "file"
    file = AppendedFile(str(path))
    file.open(Extent())
    file.append(b"one")
    first = file.sync()
    file.append(b" and much more")
    file.close()
    file = AppendedFile(str(path))
    file.check(first)
    file.open(first)
    assert file.sync() == first and path.read_bytes() == b"one"
    file.append(b", two")
    second = file.sync()
    assert file.read(3, 8) == b", two"
    file.close()
    assert path.read_bytes() == b"one, two" and second.size == 8
    AppendedFile(str(path)).check(second)
    with pytest.raises(DormantError, match="is not what its checkpoint says"):
        AppendedFile(str(path)).check(Extent(7, second.crc))


def test_has_rows(tmp_path):
    assert not has_rows(str(tmp_path))
    (tmp_path / results.TIMING_FILE).write_text(results.header())
    assert not has_rows(str(tmp_path))
    (tmp_path / results.TIMING_FILE).write_text(results.header() + "0")
    assert has_rows(str(tmp_path))


def test_run_json_is_json_whatever_it_holds(tmp_path):
    numbers = [float("inf"), np.float64("nan"), -np.inf, 1.5]
    run_record = results.RunRecord(
        status="running", protocol={"log_period": numbers, "end": np.inf}
    )
    results.write_run(str(tmp_path), run_record)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / results.RUN_FILE).read_text()
    found = json.loads(text, parse_constant=refuse)
    assert found["protocol"] == {"log_period": [None, None, None, 1.5], "end": None}


@pytest.mark.parametrize(
    "text, message",
    [
        ("[]", "it holds a list"),
        ("3", "it holds a int"),
        ('{"schema": 1, "status": "running"}', "lists no members"),
        ('{"schema": 1, "status": "running", "members": 3}', "lists no members"),
        ('{"schema": 1, "members": [{}]}', "lacks its status"),
        ('{"schema": 1, "members": [{}], "status": 3}', "lacks its status"),
        ('{"schema": 2, "status": "running"}', "has schema 2"),
        ("{", "holds no run that can be read"),
    ],
)
def test_run_json_that_is_none(text, message, tmp_path):
    (tmp_path / results.RUN_FILE).write_text(text)
    with pytest.raises(DormantError, match=message) as error:
        results.read_run(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("line", ["0,1,2,3,learn/loss,x", "0,1,2", "", "0,1,2,3,\xfc,1"])
def test_a_table_with_a_damaged_line(line, tmp_path):
    path = tmp_path / "metrics.csv"
    text = results.header() + results.format_rows([row()]) + line + "\n"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DormantError, match="^\\S*metrics.csv(: line 3 is no| is not a table)"):
        results.read_measurements(str(path))


def test_metric_names():
    known = ["dormant_fraction/tau=0.025/online/Conv_0", "dormant_fraction/tau=1e-05/all"]
    known += ["recycled_neurons/critic_1/Dense_0", "feature_rank", "learn/loss"]
    assert all(map(results.is_metric, known))
    unknown = [
        "learn/los",
        "dormant_fraction/tau=x/all",
        "feature_rank/all",
        "recycled_neurons/",
        "",
    ]
    assert not any(map(results.is_metric, unknown))
    assert results.is_metric(results.dormant_fraction_name(0.3, "actor/Dense_1"))
    assert results.is_metric(results.recycled_name("actor/Dense_1"))


def test_a_run_is_recorded_by_the_schema_and_refills_with_a_total(tmp_path, monkeypatch):
    """run.json has the schema's keys and the commit; every row a known name."""
    short = ["Protocol.iterations=2", "Protocol.training_steps=200", "ReDo.period=20"]
    short += ["Protocol.checkpoint_replay_gb=0"]  # the memory is filled again
    planned = train(tmp_path / "run", *short)
    found = results.read_run(str(tmp_path / "run"))
    assert set(found) == set(results.RunRecord.__annotations__) - {"study", "origin"}
    assert found["settings"]["DQN.gamma"] == 0.99 and "DQN.network" not in found["settings"]
    for member in found["members"]:
        assert set(member) <= set(results.MemberRecord.__annotations__)
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True)
    assert found["commit"] == (head.stdout.strip() or None)
    assert [member["tau"] for member in found["members"]] == [None, 0.1]
    assert [member["period"] for member in found["members"]] == [None, 20]
    for table in (results.METRICS_FILE, results.TIMING_FILE):
        rows = results.read_measurements(str(tmp_path / "run" / table))
        assert (
            rows and {each.metric for each in rows if not results.is_metric(each.metric)} == set()
        )

    bars = []

    class Bar(resume.tqdm):
        def close(self):
            bars.append((self.n, self.total))
            super().close()

    (tmp_path / "stopped").mkdir()
    assert not run(planned, tmp_path / "stopped", Fate("stop", "step", 330))
    monkeypatch.setattr(resume, "tqdm", Bar)
    assert run(planned, tmp_path / "stopped")
    assert bars[0] == (332, 332)
