"""Trains a study in a folder: tables, checkpoints, exact resume. Host side."""

import time
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from dormant.results import METRICS_FILE, TIMING_FILE, Measurement
from dormant.studies.record import Study
from dormant.training.checkpoint import FOLDER, Facts, Store, has_checkpoint
from dormant.training.members import Axis, make_axis
from dormant.training.record import Recorder, has_rows
from dormant.training.signals import signals_noted
from dormant.types import DormantError

CHECKPOINT_MINUTES = 1.0
STEPS_PER_SECOND = "time/gradient_steps_per_second"


class Stopped(Exception):
    """The study was asked to stop, and has saved."""

    def __init__(self, signum: int):
        super().__init__()
        self.signum = signum


def execute(study: Study, base_dir: str, minutes: float = CHECKPOINT_MINUTES) -> None:
    """Trains to the end, from the newest checkpoint where there is one.

    A study killed at any moment and started again ends with the same numbers.

    Args:
      base_dir: an existing folder that no other process writes.
      minutes: between two checkpoints.

    Raises:
      Stopped: SIGTERM or SIGINT came; everything is saved.
      DormantError: the study cannot be resumed; nothing has been changed.
    """
    if has_rows(base_dir) and not has_checkpoint(base_dir):
        raise DormantError(
            f"{base_dir} holds measurements, and {FOLDER}/ no checkpoint that they continue: put "
            "it back, or start again in another base_dir"
        )
    run = _Run(study, base_dir)
    asked: list[int] = []
    try:
        states, done = run.start()
        saved = time.monotonic()
        with (
            signals_noted(asked.append),
            tqdm(total=study.chunks, initial=done, desc=study.name, unit=" chunks") as bar,
        ):
            while done < study.chunks:
                states = run.advance(states, done)
                done += 1
                bar.update()
                due = time.monotonic() - saved > 60 * minutes
                if asked or due or done == study.chunks:
                    run.save(states, done)
                    saved = time.monotonic()
                if asked:
                    raise Stopped(asked[0])
    finally:
        run.close()


class _Run:
    """The programs and files of one study."""

    def __init__(self, study: Study, base_dir: str):
        self._study = study
        self._axis = axis = make_axis("auto", len(study.seeds), whole=True)
        self._keys = axis.stack([jax.random.key(seed) for seed in study.seeds])
        self._own = axis.stack(list(study.own) or [np.zeros(())] * len(study.seeds))
        self._shared = jax.device_put(study.shared)
        places = (0, 0, 0, None, None)
        self._advance = axis.map(study.advance, places, (0, 0), (0,))
        self._measure = axis.map(study.measure, places)
        self._recorder = Recorder(base_dir, [f"{study.arm}, seed {seed}" for seed in study.seeds])
        self._store = Store(base_dir)

    def start(self) -> tuple[Any, int]:
        """The states of the newest checkpoint and the chunks they have had; or new ones."""
        states = self._axis.map(self._study.init, (0, 0))(self._keys, self._own)
        found = self._store.restore(_portable(self._axis, states))
        if found is None:
            self._recorder.open(None)
            self.save(states, 0)
            self._write(states, 0, {})
            return states, 0
        for name, extent in found.facts.extents.items():
            self._recorder.tables[name].check(extent)
        self._store.drop_newer(found.number)
        done = found.facts.evaluations
        self._recorder.open(found.facts.extents, found.facts.agent_steps)
        states = self._axis.stack(
            [
                jax.tree.map(lambda leaf, i=index: np.array(leaf[i]), found.tree)
                for index in range(len(self._study.seeds))
            ]
        )
        if not done:  # killed before the first chunk's end: the first rows lie behind
            self._write(states, 0, {})
        return states, done

    def advance(self, states: Any, done: int) -> Any:
        """One chunk, and its rows."""
        began = time.monotonic()
        states, learned = self._advance(states, self._keys, self._own, self._shared, np.int32(done))
        learned = self._columns(learned)
        rate = self._study.chunk_steps / (time.monotonic() - began)
        self._write(states, done + 1, learned)
        rows = {STEPS_PER_SECOND: np.full(len(self._study.seeds), rate)}
        self._recorder.write(self._rows(rows, done + 1), TIMING_FILE)
        return states

    def _write(self, states: Any, done: int, learned: dict[str, np.ndarray]) -> None:
        """What was learned in the last chunk, and what is measured after it."""
        measured = self._measure(states, self._keys, self._own, self._shared, np.int32(done - 1))
        rows = self._rows({**learned, **self._columns(measured)}, done)
        self._recorder.write(rows, METRICS_FILE)

    def _columns(self, collection: Any) -> dict[str, np.ndarray]:
        """{metric: (P,)}"""
        each = self._axis.unstack(collection)
        return {name: np.array([values[name] for values in each]) for name in each[0]}

    def _rows(self, columns: dict[str, np.ndarray], done: int) -> list[Measurement]:
        clocks = self._study.clocks(done)
        return [
            Measurement(member, *clocks, name, float(value))
            for member in range(len(self._study.seeds))
            for name, value in ((name, values[member]) for name, values in columns.items())
        ]

    def save(self, states: Any, done: int) -> None:
        """A checkpoint of these states, and of everything written so far."""
        extents = {name: table.sync() for name, table in self._recorder.tables.items()}
        self._recorder.flush()
        _, epochs, steps = self._study.clocks(done)
        facts = Facts(epochs, steps, done, extents, [])
        self._store.save(_portable(self._axis, states), facts)

    def close(self) -> None:
        self._recorder.close()
        self._store.close()


def _portable(axis: Axis, states: Any) -> Any:
    """Numpy arrays (P, ...), whichever way the axis is mapped."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *axis.unstack(states))
