"""A run that is killed or stopped ends with the numbers of one that was not."""

import os
import pathlib
import random
import signal
import time

import pytest

from dormant import results
from dormant.training import checkpoint
from dormant.types import DormantError
from tests.training.run_probe import start, train

OFTEN = "Protocol.checkpoint_minutes=0.0"  # after every call of the learner
TIMEOUT = 300


def metrics(folder):
    return (pathlib.Path(folder) / results.METRICS_FILE).read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same run, never interrupted, as a process: XLA's threads are those of the killed ones."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder)
    output = process.communicate(timeout=TIMEOUT)[0]
    assert process.returncode == 0, output
    return folder


def rows_of(folder):
    path = pathlib.Path(folder) / results.METRICS_FILE
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_after(folder, rows, sign, *bindings):
    """Starts the run and sends a signal when its table has grown to so many rows; returns exit code
    and output.
    """
    process = start(folder, *bindings)
    deadline = time.monotonic() + TIMEOUT
    while rows_of(folder) < rows and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(sign)
    output = process.communicate(timeout=TIMEOUT)[0]
    return process.returncode, output


def finish(folder, *bindings):
    process = start(folder, *bindings)
    output = process.communicate(timeout=TIMEOUT)[0]
    assert process.returncode == 0, output
    return output


def test_sigkill_then_resume_ends_with_the_same_bytes(whole, tmp_path):
    code, _ = kill_after(tmp_path, 0.6 * rows_of(whole), signal.SIGKILL)
    assert code == -signal.SIGKILL and rows_of(tmp_path) < rows_of(whole)
    assert "resumed at agent step" in finish(tmp_path)
    assert metrics(tmp_path) == metrics(whole)


def test_sigterm_saves_and_a_damaged_checkpoint_is_passed_over(whole, tmp_path):
    code, output = kill_after(tmp_path, 0.5 * rows_of(whole), signal.SIGTERM)
    assert code == 128 + signal.SIGTERM and "saved at agent step" in output
    steps = sorted(int(name) for name in os.listdir(tmp_path / checkpoint.FOLDER) if name.isdigit())
    assert len(steps) == 2
    for path in (tmp_path / checkpoint.FOLDER / str(steps[-1])).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    output = finish(tmp_path)
    assert f"checkpoint {steps[-1]} is damaged" in output and "resumed at agent step" in output
    assert metrics(tmp_path) == metrics(whole)


@pytest.mark.slow
def test_five_kills_at_random_moments_checkpoints_included(whole, tmp_path):
    random.seed(0)
    for fraction in sorted(random.random() for _ in range(4)):
        kill_after(tmp_path, fraction * rows_of(whole), signal.SIGKILL, OFTEN)
    code, _ = kill_after(tmp_path, 0, signal.SIGKILL, OFTEN)  # while it starts
    assert code == -signal.SIGKILL
    finish(tmp_path, OFTEN)
    assert metrics(tmp_path) == metrics(whole)


def test_a_base_dir_is_protected(tmp_path):
    run = tmp_path / "run"
    train(run)
    before = metrics(run)
    train(run)  # finished: nothing to do
    train(run, OFTEN, "Protocol.checkpoint_replay_gb=0.0", "Run.env_workers=2")  # the same run
    with pytest.raises(DormantError, match="another configuration") as error:
        train(run, "ReDo.period=200")
    assert "-ReDo.period = 100" in str(error.value) and "+ReDo.period = 200" in str(error.value)
    assert metrics(run) == before
    process = start(tmp_path / "other", "Protocol.iterations=50")
    try:
        while not (tmp_path / "other" / results.RUN_FILE).exists() and process.poll() is None:
            time.sleep(0.01)
        with pytest.raises(DormantError, match="another process is writing"):
            train(tmp_path / "other", "Protocol.iterations=50")
    finally:
        process.kill()
        process.communicate()
    with pytest.raises(DormantError, match="cannot write"):
        train("/proc/nowhere")


def test_a_full_disk_is_one_line_and_destroys_nothing(tmp_path, monkeypatch, capfd):
    full = "RESOURCE_EXHAUSTED: Error writing: Failed to write 8900 bytes: "
    full += "No space left on device [os_error_code='28']"
    save, saves = checkpoint.ocp.CheckpointManager.save, []

    def save_until_full(self, step, **arguments):
        saves.append(step)
        if len(saves) == 3:
            raise ValueError(full)
        return save(self, step, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.ocp.CheckpointManager, "save", save_until_full)
        with pytest.raises(
            DormantError, match="cannot write .*checkpoints: No space left on device$"
        ):
            train(tmp_path)
    train(tmp_path)  # with room again
    assert "resumed at agent step 400" in capfd.readouterr().err
    assert results.read_run(str(tmp_path))["status"] == "finished"


def test_no_save_is_begun_on_a_disk_without_room(tmp_path, monkeypatch):
    train(tmp_path, "Protocol.iterations=1")
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    usage = checkpoint.shutil.disk_usage(tmp_path)
    store = checkpoint.Store(str(tmp_path))
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"No space left on device \(2 MB are needed"):
        store.save({"weights": checkpoint.np.zeros(8)}, checkpoint.Facts(0, 0, 0, {}, []))
    store.close()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == kept
