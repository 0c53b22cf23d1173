"""A run's files as one: its tables, its actions, its checkpoints. Host side.

What is on the disk always continues a checkpoint: one is saved before the first row is written, so
rows without a checkpoint mean that the checkpoints were deleted.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from dormant.training import checkpoint
from dormant.training.append import Extent
from dormant.training.checkpoint import ActionLog, Facts, Restored, Store
from dormant.training.members import Member
from dormant.training.protocol import Protocol
from dormant.training.record import Recorder, has_rows
from dormant.types import DormantError, EnvSpec

ACTIONS = f"{checkpoint.FOLDER}/{checkpoint.ACTIONS_FILE}"


class RunFiles:
    """The files of one run.

    Args:
      base_dir: an existing folder that no other process writes.
      members, spec: whose labels and actions are written.
      writers: of ``Protocol.writers``.

    Raises:
      DormantError: there are rows and no checkpoint that they continue.
    """

    def __init__(
        self,
        base_dir: str,
        members: Sequence[Member],
        spec: EnvSpec,
        writers: Sequence[str] = Protocol.writers,
    ):
        if has_rows(base_dir) and not checkpoint.has_checkpoint(base_dir):
            raise DormantError(
                f"{base_dir} holds measurements, and {checkpoint.FOLDER}/ no checkpoint that they "
                "continue: put it back, or start again in another base_dir"
            )
        labels = [f"{member.label}, seed {member.seed}" for member in members]
        self.recorder = Recorder(base_dir, labels, writers)
        self.actions = ActionLog(
            base_dir,
            (len(members), *spec.action_shape),
            np.uint8 if spec.num_actions else np.float32,
        )
        self.digests: list[int] = []  # as in checkpoint.Facts
        self.saved_steps = 0  # agent step of the newest checkpoint
        self._saved = 0.0  # when
        self._store = Store(base_dir)

    def open(self, like: Any) -> Restored | None:
        """Opens everything where the newest undamaged checkpoint left it, and returns that.

        Args:
          like: a tree as it is saved; what it holds is of no interest.

        Raises:
          DormantError: no checkpoint can be read, or a file is not what the checkpoint says;
            nothing has been changed.
        """
        found = self._store.restore(like)
        extents = found.facts.extents if found else {}
        for name, extent in extents.items():
            self._appended()[name].check(extent)
        if found:
            self._store.drop_newer(found.number)
            self.digests, self.saved_steps = list(found.facts.digests), found.facts.agent_steps
        self.recorder.open(extents or None, self.saved_steps)
        self.actions.file.open(extents.get(ACTIONS, Extent()))
        self._saved = time.monotonic()
        return found

    def save(self, tree: Any, agent_steps: int, gradient_steps: int, evaluations: int) -> None:
        """A checkpoint of this tree, and of everything written so far.

        Raises:
          OSError: the disk is full or not writable; the earlier checkpoints are untouched.
        """
        extents = {name: file.sync() for name, file in self._appended().items()}
        self.recorder.flush()
        facts = Facts(agent_steps, gradient_steps, evaluations, extents, self.digests)
        self._store.save(tree, facts)
        self.recorder.saved(extents)
        self._saved, self.saved_steps = time.monotonic(), agent_steps

    def minutes_since_save(self) -> float:
        return (time.monotonic() - self._saved) / 60

    def _appended(self) -> dict[str, Any]:
        return {**self.recorder.tables, ACTIONS: self.actions.file}

    def close(self) -> None:
        self.recorder.close()
        self.actions.file.close()
        self._store.close()
