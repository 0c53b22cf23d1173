"""What a resume reads and is not what was written: one clear line, and nothing is changed."""

import os
import shutil

import jax
import numpy as np
import pytest

from dormant import results
from dormant.experiments.run import plan
from dormant.training.checkpoint import ACTIONS_FILE, FOLDER, Facts, Store
from dormant.training.loop import Loop
from dormant.types import DormantError
from tests.training.fate import Fate, run
from tests.training.run_probe import BINDINGS, FILES, start, train

ACTIONS = os.path.join(FOLDER, ACTIONS_FILE)


def flip(path, place=0.5):
    """Another value for one byte."""
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


def delete(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def delete_numbered(path):
    for each in path.iterdir():
        if each.name.isdigit():
            shutil.rmtree(each)


def flip_all(path):
    for each in [path for path in path.rglob("*") if path.is_file()]:
        flip(each)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def planned():
    return plan(FILES, BINDINGS)


@pytest.fixture(scope="module")
def stopped(planned, tmp_path_factory):
    """A run stopped in its second iteration; its tables reach exactly to its checkpoint."""
    folder = tmp_path_factory.mktemp("stopped")
    assert not run(planned, folder, Fate("stop", "step", 450))
    return folder


@pytest.mark.parametrize(
    "name, damage, message",
    [
        (FOLDER, delete, "holds measurements, and checkpoints/ no checkpoint"),
        (FOLDER, delete_numbered, "holds measurements, and checkpoints/ no checkpoint"),
        (results.METRICS_FILE, delete, "metrics.csv is missing"),
        (results.METRICS_FILE, shorten, "metrics.csv is shorter than its checkpoint says"),
        (results.METRICS_FILE, flip, "metrics.csv is not what its checkpoint says"),
        (results.TIMING_FILE, flip, "timing.csv is not what its checkpoint says"),
        (ACTIONS, delete, "actions.bin is missing"),
        (ACTIONS, shorten, "actions.bin is shorter than its checkpoint says"),
        (ACTIONS, flip, "actions.bin is not what its checkpoint says"),
    ],
)
def test_a_file_that_is_not_what_the_checkpoint_knew(
    planned, stopped, tmp_path, name, damage, message
):
    folder = tmp_path / "damaged"
    shutil.copytree(stopped, folder)
    damage(folder / name)
    before = contents(folder)
    with pytest.raises(DormantError, match=message) as error:
        run(planned, folder)
    assert "\n" not in str(error.value)
    assert contents(folder) == before


def test_a_damaged_checkpoint_is_passed_over_and_does_not_stay(planned, stopped, tmp_path, capfd):
    """One line, and of the two that are kept none is the damaged one."""
    folder = tmp_path / "damaged"
    shutil.copytree(stopped, folder)
    older, newer = sorted(
        int(each.name) for each in (folder / FOLDER).iterdir() if each.name.isdigit()
    )
    flip_all(folder / FOLDER / str(newer))
    loop = Loop(planned.population, planned.protocol, planned.make_env, str(folder))
    loop.start()
    loop.close()
    kept = [int(each.name) for each in (folder / FOLDER).iterdir() if each.name.isdigit()]
    assert kept == [older]
    lines = [
        each for each in capfd.readouterr().err.replace("\r", "\n").split("\n") if each.strip()
    ]
    told = [each for each in lines if "steps" not in each or "resumed" in each]
    assert len(told) == 2 and f"checkpoint {newer} is damaged and passed over" in told[0]
    assert "resumed at agent step" in told[1]


def test_the_command_ends_with_one_line_and_2(stopped, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(stopped, folder)
    planned = plan(FILES, BINDINGS)
    (folder / results.CONFIG_FILE).write_text(planned.config)
    results.write_run(str(folder), {**planned.facts, "status": "running"})
    for each in (folder / FOLDER).iterdir():
        if each.name.isdigit():
            flip_all(each)
    before = contents(folder)
    process = start(folder)
    lines = process.communicate(timeout=300)[0].strip().splitlines()
    assert process.returncode == 2
    assert len(lines) == 1 and "none of the 2 checkpoints" in lines[0]
    assert {**contents(folder), ".lock": b""} == {**before, ".lock": b""}


def test_a_run_killed_before_its_first_checkpoint_starts_again(planned, tmp_path):
    assert not run(planned, tmp_path, Fate("kill", "before a save", 1))
    assert (tmp_path / results.METRICS_FILE).read_text() == results.header()
    loop = Loop(planned.population, planned.protocol, planned.make_env, str(tmp_path))
    assert loop.start().agent_steps == 0
    loop.close()


TREE = {
    "weights": np.arange(2000, dtype=np.float32),
    "more": {"count": np.full(2, 3, np.int32), "key": np.ones((3, 4), np.uint32)},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    store = Store(str(folder))
    for number in (1, 2):
        store.save(
            jax.tree.map(lambda leaf, n=number: leaf + n, TREE), FACTS._replace(digests=[number])
        )
    store.close()
    return folder


FACTS = Facts(8, 4, 0, {}, [])


@pytest.mark.parametrize("place", [0.02, 0.5, 0.98])
def test_any_byte_of_a_checkpoint(saved, tmp_path, capfd, place):
    """Wherever a byte differs: what was saved, or the older checkpoint with one line, no other."""
    files = [path for path in (saved / FOLDER / "2").rglob("*") if path.is_file()]
    older = 0
    for index, path in enumerate(files):
        folder = tmp_path / str(index)
        shutil.copytree(saved, folder)
        flip(folder / path.relative_to(saved), place)
        store = Store(str(folder))
        found = store.restore(TREE)
        store.close()
        assert found.number == found.facts.digests[0] and len(found.passed_over) == 2 - found.number
        for leaf, wanted in zip(jax.tree.leaves(found.tree), jax.tree.leaves(TREE), strict=True):
            np.testing.assert_array_equal(leaf, wanted + found.number)
        older += found.number == 1
    assert older >= 2  # the arrays, the facts
    assert capfd.readouterr() == ("", "")


def test_a_checkpoint_whose_arrays_were_exchanged(saved, tmp_path):
    """Readable, and not what was saved."""
    folder = tmp_path / "mixed"
    shutil.copytree(saved, folder)
    shutil.rmtree(folder / FOLDER / "2" / "tree")
    shutil.copytree(folder / FOLDER / "1" / "tree", folder / FOLDER / "2" / "tree")
    store = Store(str(folder))
    found = store.restore(TREE)
    store.close()
    assert found.number == 1 and "arrays are not those that were saved" in found.passed_over[0]


def test_a_finished_run_needs_no_checkpoint(tmp_path):
    train(tmp_path, "Protocol.iterations=1", "Protocol.training_steps=120")
    shutil.rmtree(tmp_path / FOLDER)
    before = contents(tmp_path)
    train(tmp_path, "Protocol.iterations=1", "Protocol.training_steps=120")
    assert contents(tmp_path) == before
