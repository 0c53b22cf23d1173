"""Where measurements go, by name: what each writer leaves behind, and what is refused."""

import json
import os
import struct
import sys

import pytest

from dormant import results
from dormant.experiments.gin_text import difference
from dormant.experiments.run import plan
from dormant.training.record import Recorder
from dormant.training.wandb_runs import WANDB_FILE, WandbRuns
from dormant.types import DormantError
from tests.training.fate import Fate, run
from tests.training.run_probe import BINDINGS, FILES

SHORT = [
    *BINDINGS,
    "Protocol.iterations=2",
    "Protocol.training_steps=200",
]
WITH_WANDB = 'Protocol.writers=("csv", "tensorboard", "wandb")'


def test_only_the_named_writers_write(tmp_path):
    for writers in (["csv"], ["csv", "tensorboard"]):
        folder = tmp_path / "+".join(writers)
        folder.mkdir()
        recorder = Recorder(str(folder), ["DQN, seed 0"], writers)
        recorder.open(None)
        recorder.write([results.Measurement(0, 0, 4, 2, "feature_rank", 1.0)])
        recorder.saved({name: table.sync() for name, table in recorder.tables.items()})
        recorder.close()
        there = set(os.listdir(folder))
        assert there == {"metrics.csv", "timing.csv", *set(writers) - {"csv"}}


@pytest.mark.parametrize(
    "value, message",
    [
        ('("csv", "tensorbord")', "did you mean 'tensorboard'"),
        ('("tensorboard",)', "it must name 'csv': figures, reports and resumed runs read it"),
        ('"csv"', 'it must be a list such as ("csv", "wandb")'),
        ('("csv", 3)', "Protocol.writers"),
    ],
)
def test_writers_that_cannot_be_meant(value, message):
    with pytest.raises(DormantError) as error:
        plan(FILES, [*SHORT, f"Protocol.writers={value}"])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_wandb_that_is_not_installed_or_knows_no_key_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(DormantError, match=r"pip install 'dormant\[wandb\]'"):
        plan(FILES, [*SHORT, WITH_WANDB])


def test_wandb_reads_whole_rows_after_a_checkpoint_was_passed_over(tmp_path, monkeypatch):
    """The tables end earlier then than what W&B has been sent, and grow again with other rows."""
    seen = []
    monkeypatch.setattr(WandbRuns, "_start", lambda *given: Seen(seen))
    results.write_run(str(tmp_path), {"members": [{}], "status": "running"})
    row = lambda value: results.Measurement(0, 0, 4, 2, "feature_rank", value)
    extents = lambda recorder: {name: table.sync() for name, table in recorder.tables.items()}
    checkpoint = None
    for values in ([1.0, 2.0], [3.125, 4.0]):
        recorder = Recorder(str(tmp_path), ["DQN, seed 0"], ["csv", "wandb"])
        recorder.open(checkpoint)
        checkpoint = checkpoint or extents(recorder)
        recorder.write([row(value) for value in values])
        recorder.saved(extents(recorder))
        recorder.close()
    assert seen == [2.0, 4.0]  # of one moment the later is kept


class Seen:
    """A run at W&B."""

    def __init__(self, values):
        self.values = values

    def log(self, row):
        self.values.append(row["feature_rank"])

    def finish(self):
        pass


def test_other_writers_are_no_other_configuration():
    """A run may be resumed with another writer, and one of before there was a choice."""
    old = "Protocol.taus = (0.1,)\nReDo.tau = 0.1\n"
    new = "Protocol.taus = (0.1,)\nProtocol.writers = \\\n    ('csv', 'wandb')\nReDo.tau = 0.1\n"
    one_line = "Protocol.taus = (0.1,)\nProtocol.writers = ('csv',)\nReDo.tau = 0.1\n"
    assert difference(old, new) == difference(new, one_line) == ""
    assert difference(old, new.replace("0.1,", "0.2,")).count("Protocol.taus") == 2
    assert difference("import mine\n" + old, old) == "-import mine"


def test_a_value_of_several_lines_is_named():
    """gin breaks long values: their lines alone would say nothing."""
    one, two = (
        "Run.members = [{'seed': 0}]\n",
        "Run.members = \\\n    [{'seed': 0},\n     {'seed': 1}]\n",
    )
    for old, new in ((one, two), (two, one), (two, two.replace("1", "2"))):
        assert difference(old, new) == "another value of Run.members"
        both = difference(old + "ReDo.tau = 0.1\n", new + "ReDo.tau = 0.2\n")
        assert both == "-ReDo.tau = 0.1, +ReDo.tau = 0.2, another value of Run.members"


BLOCK, FILE_HEADER, HEADER, LAST = 32768, 7, 7, (1, 4)  # of LevelDB's log format; LAST: types


def records(path):
    """The records of one of W&B's files, which is a log as LevelDB writes it."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = path.read_bytes(), FILE_HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # too little for a header: filled with zeros
            at += BLOCK - at % BLOCK
            continue
        size, kind = struct.unpack("<HB", data[at + 4 : at + HEADER])
        parts += data[at + HEADER : at + HEADER + size]
        at += HEADER + size
        if kind in LAST:
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def sent(folder):
    """{(run id, group): [{column: value}, ...]} of all offline runs of W&B in a folder."""
    found = {}
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        key = None
        for record in records(path):
            if record.HasField("run") and key is None:
                key = (record.run.run_id, record.run.run_group)
                found.setdefault(key, [])
            if record.HasField("history"):
                items = record.history.item
                names = ["/".join(item.nested_key) or item.key for item in items]
                values = [json.loads(item.value_json) for item in items]
                found[key].append(dict(zip(names, values)))
    return found


@pytest.mark.wandb
@pytest.mark.parametrize("how, moment, count", [("stop", "step", 330), ("kill", "row", 160)])
def test_a_resumed_run_is_the_same_run_at_wandb(how, moment, count, tmp_path, monkeypatch):
    """One run of W&B a member, in the sweep's group; every row of the tables once, and no other.

    A kill may take rows that W&B's process has received and not yet written: never those after.
    """
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_RUN_GROUP", "grid")
    planned = plan(FILES, [*SHORT, WITH_WANDB])
    results.write_run(str(tmp_path), {**planned.facts, "status": "running"})
    assert not run(planned, tmp_path, Fate(how, moment, count))
    record = json.loads((tmp_path / WANDB_FILE).read_text())
    ids, sent_before = record["ids"], record["sent"][results.METRICS_FILE]
    assert run(planned, tmp_path)
    found = sent(tmp_path)
    assert len(set(ids)) == 2 and set(found) == {(name, "grid") for name in ids}
    rows = results.read_measurements(str(tmp_path / results.METRICS_FILE))
    text = (tmp_path / results.METRICS_FILE).read_bytes()
    after = list(results.parse_rows(text[sent_before:].decode()))
    for member, name in enumerate(ids):
        there = found[name, "grid"]
        got = [
            (row["agent_steps"], metric, row[metric])
            for row in there
            for metric in row
            if results.is_metric(metric) and not metric.startswith("time/")
        ]
        wanted = {
            (each.agent_steps, each.metric): each.value for each in rows if each.member == member
        }
        there = {(steps, metric): value for steps, metric, value in got}
        assert len(got) == len(there) and there.items() <= wanted.items()
        late = {(each.agent_steps, each.metric) for each in after if each.member == member}
        assert late <= set(there) and (how == "kill" or there == wanted)
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 4  # two members, two processes


@pytest.mark.wandb
def test_wandb_without_a_key_is_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(DormantError, match="run 'wandb login', or set WANDB_MODE=offline"):
        plan(FILES, [*SHORT, WITH_WANDB])
