"""Checkpoints: everything of a run that cannot be computed again, and nothing else.

A replay memory of one million frames is 7 GB a member, and wholly decided by the environments'
seeds and the actions taken. So a checkpoint holds the agents' states, the clocks and the place of
each row among the starting points; the actions go to an append-only log beside it; and a resumed
run fills its memories by stepping the environments once more through the logged actions
(``collect.py``), which digests of the rewards confirm. Checkpoints can therefore be taken at any
agent step, cost a second, and a killed run ends with the same numbers as one never killed.
"""

import errno
import logging
import os
import shutil
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from dormant.types import DormantError

FOLDER, ACTIONS_FILE = "checkpoints", "actions.bin"
MARGIN = 2_000_000  # bytes free beside a checkpoint's arrays, for its descriptions and the tables
KEPT = 2  # checkpoints; the older is for the day the newer is damaged


class Facts(NamedTuple):
    """What a checkpoint says beside its arrays."""

    agent_steps: int
    gradient_steps: int
    evaluations: int  # iterations whose evaluation is over
    sizes: dict[str, int]  # bytes of the tables at this moment (record.Recorder.sizes)
    digests: list[
        int
    ]  # CRC-32 of the rewards of each iteration, the unfinished one last (collect.Collector)


class Store:
    """The checkpoints of one run. Two are kept; saving is atomic (orbax writes beside, then
    renames).
    """

    def __init__(self, base_dir: str):
        logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports every save otherwise
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(
            os.path.abspath(os.path.join(base_dir, FOLDER)), options=options
        )

    def save(self, tree: Any, facts: Facts) -> None:
        """Saves a tree of numpy arrays.

        Raises:
          OSError: the disk is full or not writable; the earlier checkpoints are untouched.
        """
        wanted = sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + MARGIN
        if shutil.disk_usage(self._manager.directory).free < wanted:
            # Before orbax finds out: its threads would each print a traceback.
            reason = (
                f"{os.strerror(errno.ENOSPC)} ({wanted / 1e6:.0f} MB are needed for a checkpoint)"
            )
            raise OSError(errno.ENOSPC, reason, str(self._manager.directory))
        step = (self._manager.latest_step() or 0) + 1
        arguments = ocp.args.Composite(
            tree=ocp.args.StandardSave(tree), facts=ocp.args.JsonSave(facts._asdict())
        )
        try:
            self._manager.save(step, args=arguments, force=True)
        except (
            ValueError
        ) as error:  # tensorstore has no other kind for what the operating system refuses
            if "os_error_code" not in str(error):
                raise
            reason = str(error).rpartition(": ")[2].partition(" [os_error_code")[0]
            raise OSError(errno.ENOSPC, reason, str(self._manager.directory)) from error

    def restore(self, like: Any, say: Any) -> tuple[Any, Facts] | None:
        """The newest checkpoint that can be read, or None where there is none.

        Args:
          like: a tree with the structure, shapes and dtypes that were saved.
          say: called with a line about every damaged checkpoint that is passed over.

        Raises:
          DormantError: there are checkpoints and none can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                restore = ocp.args.Composite(
                    tree=ocp.args.StandardRestore(like), facts=ocp.args.JsonRestore()
                )
                found = self._manager.restore(step, args=restore)
                facts = Facts(**found["facts"])
                tree = jax.tree.map(np.asarray, found["tree"])
            except Exception as error:  # orbax and tensorstore raise many kinds for a damaged file
                reason = (
                    str(error).strip().splitlines()[0][:200]
                    if str(error).strip()
                    else type(error).__name__
                )
                say(f"checkpoint {step} is damaged and passed over ({reason})")
                continue
            for newer in steps[: steps.index(step)]:
                self._manager.delete(newer)
            return tree, facts
        if steps:
            raise DormantError(
                f"none of the {len(steps)} checkpoints in {self._manager.directory} can be read"
            )
        return None

    def close(self) -> None:
        self._manager.close()


class ActionLog:
    """The actions of every agent step, appended to one file: rows of P actions."""

    def __init__(self, base_dir: str, shape: tuple[int, ...], dtype: Any, agent_steps: int):
        self._path = os.path.join(base_dir, FOLDER, ACTIONS_FILE)
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._row = int(np.prod(shape)) * self._dtype.itemsize
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        self._file = open(self._path, "ab")
        if self._file.tell() < agent_steps * self._row:
            raise DormantError(
                f"{self._path} is shorter than the checkpoint it belongs to; the run cannot be resumed"
            )
        self._file.truncate(agent_steps * self._row)

    def append(self, actions: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(actions, self._dtype).tobytes())

    def sync(self) -> None:
        """Returns when all actions have reached the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def read(self, start: int, stop: int) -> np.ndarray:
        """The actions (stop - start, P, *action) of these agent steps."""
        self._file.flush()
        with open(self._path, "rb") as file:
            file.seek(start * self._row)
            data = file.read((stop - start) * self._row)
        return np.frombuffer(data, self._dtype).reshape(stop - start, *self._shape)

    def close(self) -> None:
        self._file.close()
