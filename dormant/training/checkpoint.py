"""Checkpoints: everything of a run that cannot be computed again, and nothing else.

A replay memory of one million frames is 7 GB a member, and wholly decided by the environments'
seeds and the actions taken. So a checkpoint holds the agents' states, the clocks and the place of
each row among the starting points; the actions go to an append-only log beside it. A resumed run
reads the rows of its memories where they are small enough to be kept (``replay_log.py``), and
otherwise fills its memories by stepping the environments once more through the logged actions
(``resume.py``), which digests of the rewards confirm. Checkpoints can therefore be taken at any
agent step, cost a second, and a killed run ends with the same numbers as one never killed.

A checkpoint carries checksums of its own arrays and facts, and of every file that belongs to it.
"""

import contextlib
import errno
import gc
import json
import logging
import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from numpy.typing import DTypeLike

from dormant.training.append import AppendedFile, Extent
from dormant.training.members import Tree
from dormant.types import DormantError

FOLDER, ACTIONS_FILE = "checkpoints", "actions.bin"
MARGIN = 2_000_000  # bytes free beside a checkpoint's arrays, for its descriptions and the tables
ABANDONED = 0.3  # seconds until reads beside a damaged one have ended
KEPT = 2  # checkpoints; the older is for the day the newer is damaged


class Facts(NamedTuple):
    """What a checkpoint knows beside its arrays."""

    agent_steps: int
    gradient_steps: int
    evaluations: int  # iterations whose evaluation is over
    extents: dict[str, Extent]  # of the files beside it, by their path in base_dir
    # CRC-32 of the rewards of each iteration, the unfinished one last (collect.Collector)
    digests: list[int]


class Restored(NamedTuple):
    """A checkpoint that has been read and found undamaged."""

    number: int
    tree: dict[str, Tree]
    facts: Facts
    passed_over: list[str]  # a line about everything that is damaged and not used


class Store:
    """The checkpoints of one run.

    Two are kept; saving is atomic (orbax writes beside, then renames).
    """

    def __init__(self, base_dir: str):
        logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports every save otherwise
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=False)
        with _quiet():
            self._manager = ocp.CheckpointManager(
                os.path.abspath(os.path.join(base_dir, FOLDER)), options=options
            )

    def save(self, tree: dict[str, Tree], facts: Facts) -> None:
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
        known = {"facts": facts._asdict(), "arrays": digest_of(tree)}
        sealed = {"known": known, "digest": _digest_of_json(known)}
        arguments = ocp.args.Composite(
            tree=ocp.args.StandardSave(tree), facts=ocp.args.JsonSave(sealed)
        )
        try:
            self._manager.save(step, args=arguments, force=True)
        except ValueError as error:
            # tensorstore has no other kind for what the operating system refuses
            if "os_error_code" not in str(error):
                raise
            reason = str(error).rpartition(": ")[2].partition(" [os_error_code")[0]
            raise OSError(errno.ENOSPC, reason, str(self._manager.directory)) from error

    def restore(self, like: dict[str, Tree]) -> Restored | None:
        """The newest undamaged checkpoint, or None where there is none; changes nothing.

        Args:
          like: a tree with the structure, shapes and dtypes that were saved.

        Raises:
          DormantError: there are checkpoints and none can be read.
        """
        passed_over: list[str] = []
        for number in sorted(self._manager.all_steps(), reverse=True):
            found = self._read(number, like)
            if isinstance(found, str):
                passed_over.append(f"checkpoint {number} is damaged and passed over ({found})")
            else:
                return Restored(number, *found, passed_over)
        if passed_over:
            raise DormantError(
                f"none of the {len(passed_over)} checkpoints in {self._manager.directory} can be "
                "read: put them back as they were, or start again in another base_dir"
            )
        return None

    def _read(self, number: int, like: dict[str, Tree]) -> tuple[dict[str, Tree], Facts] | str:
        """One checkpoint, or what is wrong with it."""
        arguments = ocp.args.Composite(
            tree=ocp.args.StandardRestore(like), facts=ocp.args.JsonRestore()
        )
        with _quiet():
            try:
                found = self._manager.restore(number, args=arguments)
                tree, sealed = jax.tree.map(np.asarray, found["tree"]), found["facts"]
                known = sealed["known"]
                if _digest_of_json(known) != sealed["digest"]:
                    return "its facts are not those that were saved"
                if digest_of(tree) != known["arrays"]:
                    return "its arrays are not those that were saved"
                facts = Facts(**known["facts"])
            except Exception as error:  # orbax and tensorstore raise many kinds for a damaged file
                lines = str(error).strip().splitlines() or [type(error).__name__]
                # Reads that were abandoned complain when they end, or when they are freed.
                error.__traceback__ = None
                time.sleep(ABANDONED)
                gc.collect()
                return lines[0][:200]
        extents = {name: Extent(*extent) for name, extent in facts.extents.items()}
        return tree, facts._replace(extents=extents)

    def drop_newer(self, number: int) -> None:
        """Deletes the checkpoints after this one: the run is resumed before them."""
        with _quiet():
            for newer in self._manager.all_steps():
                if newer > number:
                    self._manager.delete(newer)

    def close(self) -> None:
        self._manager.close()


def has_checkpoint(base_dir: str) -> bool:
    """Whether ``base_dir`` holds a checkpoint, damaged or not."""
    folder = os.path.join(base_dir, FOLDER)
    return os.path.isdir(folder) and any(name.isdigit() for name in os.listdir(folder))


def keep_newest(base_dir: str) -> None:
    """Deletes all checkpoints but the newest: of a run that is finished, if it has any left."""
    if not has_checkpoint(base_dir):
        return
    folder = os.path.join(base_dir, FOLDER)
    numbers = sorted(int(name) for name in os.listdir(folder) if name.isdigit())
    for number in numbers[:-1]:
        shutil.rmtree(os.path.join(folder, str(number)))


def digest_of(tree: Tree) -> int:
    """CRC-32 of a tree of numpy arrays: of their places, shapes, types and bytes."""
    crc = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        crc = zlib.crc32(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data, crc)
    return crc


def _digest_of_json(value: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing is printed: orbax, asyncio and tensorstore write dozens of lines about a bad file."""
    disabled, hook = logging.root.manager.disable, sys.unraisablehook
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    try:
        yield
    finally:
        logging.disable(disabled)
        sys.unraisablehook = hook


class ActionLog:
    """The actions of every agent step, appended to one file: rows of P actions."""

    def __init__(self, base_dir: str, shape: tuple[int, ...], dtype: DTypeLike):
        self.file = AppendedFile(os.path.join(base_dir, FOLDER, ACTIONS_FILE))
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._row = int(np.prod(shape)) * self._dtype.itemsize

    def append(self, actions: np.ndarray) -> None:
        self.file.append(np.ascontiguousarray(actions, self._dtype).tobytes())

    def read(self, start: int, stop: int) -> np.ndarray:
        """The actions (stop - start, P, *action) of these agent steps."""
        data = self.file.read(start * self._row, stop * self._row)
        return np.frombuffer(data, self._dtype).reshape(stop - start, *self._shape)
