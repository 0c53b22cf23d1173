"""Data sets for offline learning: a memory that a finished run has written (one file), and the DQN
Replay Dataset as its authors publish it (a folder of gzipped arrays).
"""

import gzip
import os
import re
from typing import Any, NamedTuple

import numpy as np

from dormant.atomic import atomic
from dormant.replay.rows import Rows
from dormant.replay.storage import CONTINUES, TERMINATED
from dormant.types import DormantError

FORMAT = "dormant replay memories 1"
STACK = 4  # frames of Dopamine's agents: it writes STACK - 1 empty rows before every episode
# https://github.com/google-research/batch_rl: .../GAME/RUN/replay_logs/$store$_action_ckpt.0.gz
_LOG = re.compile(r"\$store\$_observation_ckpt\.(\d+)\.gz")
_FRAME = (84, 84)


class Exported(NamedTuple):
    """What a finished run has written."""

    config: str  # the run's gin configuration
    seeds: list[int]
    memories: list[Rows]  # of each seed


def write_dataset(path: str, exported: Exported) -> None:
    """Writes one file (.npz), whole or not at all.

    The memories are equally long: members of a run are at the same step.
    """
    memories = exported.memories
    arrays: dict[str, Any] = {
        name: np.stack(columns)
        for name, columns in zip(Rows._fields, zip(*memories))
        if columns[0] is not None
    }
    with atomic(path, "wb") as file:
        np.savez_compressed(
            file,
            format=np.array(FORMAT),
            config=np.array(exported.config),
            seeds=np.array(exported.seeds, np.int64),
            **arrays,
        )


def read_dataset(path: str) -> Exported:
    """What ``write_dataset`` has written.

    Raises:
      DormantError: no such file, or none of ours.
    """
    wanted = "a file that python -m dormant.export_replay has written"
    try:
        with open(path, "rb") as file:
            stored = np.load(file)
            names = stored.files if isinstance(stored, np.lib.npyio.NpzFile) else []
            if "format" not in names or str(stored["format"]) != FORMAT:
                raise DormantError(f"{path} is no {FORMAT!r} file; wanted: {wanted}")
            fields = [stored[name] if name in names else None for name in Rows._fields]
            seeds, config = stored["seeds"].tolist(), str(stored["config"])
    except DormantError:
        raise
    except Exception as error:  # damaged bytes: of zipfile, zlib, struct, numpy or its parser
        raise DormantError(f"{path} cannot be read ({_reason(error)}); wanted: {wanted}") from error
    _check_memories(path, seeds, fields)
    memories = [
        Rows._make(None if each is None else each[index] for each in fields)
        for index in range(len(seeds))
    ]
    return Exported(config, seeds, memories)


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check_memories(path: str, seeds: Any, fields: list[np.ndarray | None]) -> None:
    """Raises a DormantError unless every array has one part for each seed."""
    count = len(seeds) if isinstance(seeds, list) else 0
    if not count:
        raise DormantError(f"{path}: its seeds are {seeds}; a list of them is wanted")
    for name, array in zip(Rows._fields, fields):
        if array is None and name != "next_observation":
            raise DormantError(f"{path} holds no {name!r}")
        if array is not None and (array.ndim < 2 or len(array) != count):
            raise DormantError(
                f"{path}: {name} has shape {array.shape}; its first axis should be the {count} "
                "seeds, its second the rows"
            )


def read_dqn_replay(folder: str) -> Rows:
    """The newest checkpoint of one run of the DQN Replay Dataset, oldest row first.

    A million frames (7 GB) each; a run has about 50, of which one is read. The rows that Dopamine
    adds before an episode (no frame, no reward) are left out. Where an episode was cut at the time
    limit the data set has it as terminal, as Dopamine did then, and so have these rows.

    Args:
      folder: with $store$_observation_ckpt.N.gz, $store$_action_ckpt.N.gz and so on.

    Raises:
      DormantError: no such folder or files, or arrays of another shape.
    """
    if not os.path.isdir(folder):
        raise DormantError(f"no folder {folder}: the replay_logs of a DQN Replay Dataset run")
    numbers = [int(found[1]) for name in os.listdir(folder) if (found := _LOG.fullmatch(name))]
    if not numbers:
        raise DormantError(
            f"{folder} holds no $store$_observation_ckpt.N.gz: it is no replay_logs folder of the "
            "DQN Replay Dataset"
        )
    newest = max(numbers)
    frames, action, reward, terminal = (
        _read(folder, f"$store$_{name}", newest)
        for name in ("observation", "action", "reward", "terminal")
    )
    _check_shapes(
        folder, {"observation": frames, "action": action, "reward": reward, "terminal": terminal}
    )
    order = _oldest_first(_added(folder, newest), frames)
    order = order[~_padding(frames, terminal, order)]
    ending = np.where(terminal[order] != 0, TERMINATED, CONTINUES).astype(np.uint8)
    return Rows(
        observation=frames[order].reshape(len(order), -1),
        action=action[order].astype(np.int32),
        reward=reward[order].astype(np.float32),
        ending=ending,
        next_observation=None,
    )


def _read(folder: str, name: str, number: int) -> np.ndarray:
    path = os.path.join(folder, f"{name}_ckpt.{number}.gz")
    try:
        with gzip.open(path, "rb") as file:
            return np.load(file, allow_pickle=False)
    except Exception as error:  # damaged bytes: of gzip, zlib, numpy or its parser
        raise DormantError(f"{path} cannot be read ({_reason(error)})") from error


def _added(folder: str, number: int) -> int:
    """How many rows were ever added."""
    found = _read(folder, "add_count", number)
    if found.size != 1 or found.dtype.kind not in "iu" or found.item() < 0:
        raise DormantError(
            f"{os.path.join(folder, f'add_count_ckpt.{number}.gz')} holds an array of shape "
            f"{found.shape} and type {found.dtype}; one number, 0 or more, is wanted"
        )
    return found.item()


def _check_shapes(folder: str, arrays: dict[str, np.ndarray]) -> None:
    rows = len(arrays["action"]) if arrays["action"].ndim else 0
    for name, array in arrays.items():
        wanted = (rows, *_FRAME) if name == "observation" else (rows,)
        if array.shape != wanted:
            raise DormantError(
                f"{folder}: {name} has shape {array.shape}; {wanted} is wanted beside "
                f"{rows} actions"
            )


def _oldest_first(added: int, frames: np.ndarray) -> np.ndarray:
    """The slots of a ring after so many additions.

    A run's last checkpoint has only those of the last time round: where frames lie beyond them, the
    ring is full.
    """
    capacity = len(frames)
    if added < capacity and not frames[added:].any():
        return np.arange(added)
    return (added + np.arange(capacity)) % capacity


def _padding(frames: np.ndarray, terminal: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(R,) bool: empty rows among the STACK - 1 after an episode's end, or at the very start."""
    ends = np.concatenate([[True], terminal[order][:-1] != 0])  # a row that follows an end
    out = np.zeros(len(order), bool)
    for first in np.flatnonzero(ends).tolist():
        for row in range(first, min(first + STACK - 1, len(order))):
            if frames[order[row]].any():
                break
            out[row] = True
    return out
