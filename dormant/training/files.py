"""A run's files as one: its tables, its actions, its checkpoints. Host side.

What is on the disk always continues a checkpoint: one is saved before the first row is written, so
rows without a checkpoint mean that the checkpoints were deleted.
"""

import time
from collections.abc import Sequence

import numpy as np

from dormant.training import checkpoint
from dormant.training.append import AppendedFile, Extent
from dormant.training.checkpoint import ActionLog, Facts, Restored, Store
from dormant.training.members import Collection, Member, Tree
from dormant.training.protocol import Protocol
from dormant.training.record import Recorder, has_rows
from dormant.training.replay_log import ReplayLog
from dormant.types import DormantError, EnvSpec

ACTIONS = f"{checkpoint.FOLDER}/{checkpoint.ACTIONS_FILE}"
REPLAY_FOLDER = f"{checkpoint.FOLDER}/replay"


def action_dtype(spec: EnvSpec) -> np.dtype:
    """Of the log of actions: the smallest that holds them all."""
    return np.min_scalar_type(spec.num_actions - 1) if spec.num_actions else np.dtype(np.float32)


class RunFiles:
    """The files of one run.

    Args:
      base_dir: an existing folder that no other process writes.
      members, spec: whose labels and actions are written.
      replay: where the rows of the memories are kept; None = they are not.
      writers: of ``Protocol.writers``.

    Raises:
      DormantError: there are rows and no checkpoint that they continue.
    """

    def __init__(
        self,
        base_dir: str,
        members: Sequence[Member],
        spec: EnvSpec,
        replay: ReplayLog | None = None,
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
            action_dtype(spec),
        )
        self.digests: list[int] = []  # as in checkpoint.Facts
        self.saved_steps = 0  # agent step of the newest checkpoint
        self.has_replay = False  # whether the checkpoint that was opened has the memories' rows
        self._replay = replay
        self._saved = 0.0  # when
        self._store = Store(base_dir)

    def open(self, like: dict[str, Tree]) -> Restored | None:
        """Opens everything where the newest undamaged checkpoint left it, and returns that.

        Args:
          like: a tree as it is saved; what it holds is of no interest.

        Raises:
          DormantError: no checkpoint can be read, or a file is not what the checkpoint says;
            nothing has been changed.
        """
        found = self._store.restore(like)
        extents = dict(found.facts.extents) if found else {}
        rows = {name: extents.pop(name) for name in list(extents) if _is_replay(name)}
        for name, extent in extents.items():
            self._appended()[name].check(extent)
        if found and rows and self._replay:
            try:
                self._replay.check(rows, found.facts.agent_steps)
                self.has_replay = True
            except DormantError as error:
                why = str(error).partition(";")[0]
                line = f"the replay memory is filled by stepping the environments again ({why})"
                found = found._replace(passed_over=[*found.passed_over, line])
        if found:
            self._store.drop_newer(found.number)
            self.digests, self.saved_steps = list(found.facts.digests), found.facts.agent_steps
        self.recorder.open(extents or None, self.saved_steps)
        self.actions.file.open(extents.get(ACTIONS, Extent()))
        if self._replay:
            self._replay.open(rows if self.has_replay else {}, self.saved_steps)
        self._saved = time.monotonic()
        return found

    def save(
        self,
        tree: dict[str, Tree],
        memories: Collection,
        agent_steps: int,
        gradient_steps: int,
        evaluations: int,
    ) -> None:
        """A checkpoint of this tree, and of everything written so far.

        Args:
          memories: whose rows are kept, where any are.

        Raises:
          OSError: the disk is full or not writable; the earlier checkpoints are untouched.
        """
        extents = {name: file.sync() for name, file in self._appended().items()}
        if self._replay:
            self._replay.append(memories, agent_steps)
            extents |= self._replay.sync()
        self.recorder.flush()
        facts = Facts(agent_steps, gradient_steps, evaluations, extents, self.digests)
        self._store.save(tree, facts)
        if self._replay:
            self._replay.prune(self.saved_steps)  # the older of the two that are kept
        self.recorder.saved(extents)
        self._saved, self.saved_steps = time.monotonic(), agent_steps

    def minutes_since_save(self) -> float:
        return (time.monotonic() - self._saved) / 60

    def _appended(self) -> dict[str, AppendedFile]:
        return {**self.recorder.tables, ACTIONS: self.actions.file}

    def close(self) -> None:
        self.recorder.close()
        self.actions.file.close()
        if self._replay:
            self._replay.close()
        self._store.close()


def _is_replay(name: str) -> bool:
    return name.startswith(f"{REPLAY_FOLDER}/")
