"""Replay memories as data sets: out of one memory into another, our own file, Dopamine's logs."""

import gzip

import jax
import numpy as np
import pytest

from dormant.envs import env_spec
from dormant.replay.rows import Rows, check_rows, filled, in_order, memory_for
from dormant.replay.storage import CONTINUES, TERMINATED
from dormant.studies.datasets import (
    FORMAT,
    Exported,
    read_dataset,
    read_dqn_replay,
    write_dataset,
)
from dormant.types import DormantError, EnvSpec, Row

VECTORS = EnvSpec("vectors", (3,), np.float32, 4, (), 1, 1, 100)
FRAMES = EnvSpec("frames", (2, 2), np.uint8, 4, (), 4, 4, 100)


def some_rows(spec, count):
    rng = np.random.default_rng(1)
    draw = lambda: rng.integers(0, 99, (count, *spec.observation_shape)).astype(
        spec.observation_dtype
    )
    ends = rng.random(count)
    terminal, truncated = ends < 0.1, (ends > 0.9)
    return Row(
        draw(),
        rng.integers(0, 4, count).astype(np.int32),
        rng.normal(size=count).astype(np.float32),
        terminal,
        truncated,
        draw() if spec.stack_size == 1 else None,
    )


@pytest.mark.parametrize("spec", [VECTORS, FRAMES], ids=lambda spec: spec.name)
def test_the_rows_of_a_memory_make_the_same_transitions(spec):
    """Of a ring that has gone round: the copy holds what the memory holds, in order of time."""
    full, sizes = memory_for(spec, 24, 16, 2, 0.9), (2, 0.9)
    added = some_rows(spec, 40)
    state = full.init()
    for first in range(0, 40, 8):
        chunk = [None if each is None else each[first : first + 8] for each in added]
        state = full.add(state, Row(*chunk))
    storage = vars(jax.device_get(state.storage))
    rows = in_order(storage, int(state.position), 40)
    last = full.capacity
    np.testing.assert_array_equal(rows.reward, added.reward[-last:])
    np.testing.assert_array_equal(rows.action, added.action[-last:])
    check_rows(rows, spec, "rows")
    copy = memory_for(spec, last, 16, 2, 0.9)
    copied = filled(spec, rows, copy, *sizes)
    # The oldest frames of the ring are there for the stacks of younger ones; in the copy, which
    # has room, they start transitions as well.
    assert int(copy.size(copied)) >= int(full.size(state)) > 0
    batch = copy.sample(copied, jax.random.key(0))
    offset = 40 - last  # row of the first slot
    for place, slot in enumerate(np.asarray(batch.index)):
        observation = added.observation[slot + offset]
        newest = batch.s_tm1[place] if spec.stack_size == 1 else batch.s_tm1[place][..., -1]
        np.testing.assert_array_equal(newest, observation)
        assert batch.a_tm1[place] == added.action[slot + offset]


def test_a_data_set_of_another_shape():
    spec = env_spec("MinAtar/Breakout")
    memory = memory_for(VECTORS, 12, 1, 1, 0.9)
    state = memory.add(memory.init(), Row(*some_rows(VECTORS, 12)))
    rows = in_order(vars(jax.device_get(state.storage)), int(state.position), 12)
    with pytest.raises(DormantError, match=r"file: observation has shape \(12, 3\); MinAtar/B"):
        check_rows(rows, spec, "file")
    wrong = rows._replace(action=rows.action + 2)
    with pytest.raises(DormantError, match="actions lie in . to .; vectors has 4"):
        check_rows(wrong, VECTORS, "file")
    few = rows._make(None if each is None else each[:2] for each in rows)
    with pytest.raises(DormantError, match="2 rows; at least 3 are needed"):
        check_rows(few, VECTORS, "file")


def test_our_file(tmp_path):
    memory = memory_for(FRAMES, 12, 1, 1, 0.9)
    state = memory.add(memory.init(), Row(*some_rows(FRAMES, 12)))
    rows = in_order(vars(jax.device_get(state.storage)), int(state.position), 12)
    path = str(tmp_path / "data.npz")
    write_dataset(path, Exported("Run.game = 'x'\n", [4, 7], [rows, rows]))
    assert [each.name for each in tmp_path.iterdir()] == ["data.npz"]
    found = read_dataset(path)
    assert found.config == "Run.game = 'x'\n" and found.seeds == [4, 7]
    assert found.memories[1].next_observation is None
    for mine, theirs in zip(found.memories[1][:4], rows[:4]):
        np.testing.assert_array_equal(mine, theirs)
    other = tmp_path / "other.npz"
    np.savez(other, format="something else")
    with pytest.raises(DormantError, match="other.npz is no 'dormant replay memories 1' file"):
        read_dataset(str(other))
    other.write_bytes((tmp_path / "data.npz").read_bytes()[:200])
    with pytest.raises(DormantError, match="other.npz cannot be read .*export_replay has written"):
        read_dataset(str(other))


def test_our_file_with_damage(tmp_path):
    """Whatever a flipped byte ends in (zlib, zipfile, numpy), the line names the file."""
    rows = Rows(*(np.arange(60).reshape(3, 20) for _ in Rows._fields[:4]), None)
    path = tmp_path / "data.npz"
    write_dataset(str(path), Exported("Run.game = 'x'\n", [4, 7], [rows, rows]))
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_dataset(str(path))  # a flag or a date that nobody reads may be wrong
        except DormantError as error:
            refused += 1
            assert str(error).count(str(path)) == 1 and "\n" not in str(error)
    assert refused > len(whole) / 7 / 2
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DormantError, match=r"^\S*data.npz is no 'dormant replay memories 1' file"):
        read_dataset(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": np.array(4)}, "its seeds are 4"),
        ({"reward": np.zeros((3, 9))}, r"reward has shape \(3, 9\)"),
        ({"ending": np.zeros(2)}, r"ending has shape \(2,\)"),
        ({"action": None}, "holds no 'action'"),
    ],
)
def test_our_file_with_other_arrays(change, message, tmp_path):
    arrays = {name: np.zeros((2, 9)) for name in Rows._fields[:4]}
    whole = {"format": FORMAT, "config": "", "seeds": np.array([4, 7]), **arrays, **change}
    path = tmp_path / "data.npz"
    np.savez(path, **{name: array for name, array in whole.items() if array is not None})
    with pytest.raises(DormantError, match=f"data.npz.* {message}"):
        read_dataset(str(path))


def write_log(folder, number, frames, terminal, added, reward=None):
    arrays = {
        "$store$_observation": frames,
        "$store$_action": np.arange(len(frames), dtype=np.int32) % 6,
        "$store$_reward": np.zeros(len(frames), np.float32) if reward is None else reward,
        "$store$_terminal": terminal,
        "add_count": np.array(added),
    }
    for name, array in arrays.items():
        with gzip.open(folder / f"{name}_ckpt.{number}.gz", "wb") as file:
            np.save(file, array)


def test_the_dqn_replay_dataset(tmp_path):
    """A ring of twelve that has gone round: the oldest row lies at slot 2. Row numbers are in the
    frames; three empty rows follow an episode's end.
    """
    numbers = np.array([12, 13, 2, 3, 0, 0, 0, 7, 8, 9, 10, 11])  # by slot; 0 = empty
    frames = np.broadcast_to(numbers.astype(np.uint8)[:, None, None], (12, 84, 84)).copy()
    terminal = (numbers == 3).astype(np.uint8)
    write_log(tmp_path, 3, frames * 0, terminal * 0, 12)
    write_log(tmp_path, 10, frames, terminal, 14, reward=numbers.astype(np.float32))
    rows = read_dqn_replay(str(tmp_path))  # of the newest, 10 and not 3
    assert rows.observation[:, 0].tolist() == [2, 3, 7, 8, 9, 10, 11, 12, 13]
    assert rows.reward.tolist() == rows.observation[:, 0].tolist()
    assert rows.ending.tolist() == [CONTINUES, TERMINATED, *[CONTINUES] * 7]
    assert rows.observation.shape == (9, 84 * 84) and rows.next_observation is None
    check_rows(rows, env_spec("Asterix"), str(tmp_path))


def test_a_log_that_is_not_full(tmp_path):
    frames = np.zeros((8, 84, 84), np.uint8)
    frames[3:6] = 5  # three empty rows, three frames, two slots never written
    write_log(tmp_path, 0, frames, np.zeros(8, np.uint8), 6)
    assert len(read_dqn_replay(str(tmp_path)).reward) == 3


def test_the_last_log_of_a_run(tmp_path):
    """Its count begins anew with each time round; the ring holds the older rows all the same."""
    numbers = np.array([9, 10, 11, 4, 5, 6, 7, 8])  # by slot
    frames = np.broadcast_to(numbers.astype(np.uint8)[:, None, None], (8, 84, 84)).copy()
    write_log(tmp_path, 50, frames, np.zeros(8, np.uint8), 3)  # of 11
    assert read_dqn_replay(str(tmp_path)).observation[:, 0].tolist() == list(range(4, 12))


def test_what_is_no_log(tmp_path):
    with pytest.raises(DormantError, match="no folder .*missing: the replay_logs of"):
        read_dqn_replay(str(tmp_path / "missing"))
    with pytest.raises(DormantError, match=r"holds no \$store\$_observation_ckpt.N.gz"):
        read_dqn_replay(str(tmp_path))
    write_log(tmp_path, 0, np.ones((8, 10, 10), np.uint8), np.zeros(8, np.uint8), 8)
    with pytest.raises(DormantError, match=r"observation has shape \(8, 10, 10\); \(8, 84, 84\)"):
        read_dqn_replay(str(tmp_path))
    write_log(tmp_path, 0, np.ones((8, 84, 84), np.uint8), np.zeros(8, np.uint8), np.arange(8))
    with pytest.raises(DormantError, match=r"add_count_ckpt.0.gz .* shape \(8,\) .*one number"):
        read_dqn_replay(str(tmp_path))
    path = tmp_path / "$store$_observation_ckpt.0.gz"
    path.write_bytes(path.read_bytes()[:60] + b"\xff" * 60)
    with pytest.raises(DormantError, match=r"\$store\$_observation_ckpt.0.gz cannot be read"):
        read_dqn_replay(str(tmp_path))
    write_log(tmp_path, 0, np.ones((8, 84, 84), np.uint8), np.zeros(8, np.uint8), 8)
    (tmp_path / "$store$_reward_ckpt.0.gz").write_bytes(b"not gzip")
    with pytest.raises(DormantError, match=r"\$store\$_reward_ckpt.0.gz cannot be read"):
        read_dqn_replay(str(tmp_path))
