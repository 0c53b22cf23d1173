"""Memories that are kept beside checkpoints: the same bytes come back, and no more are written."""

import contextlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.envs import env_spec
from dormant.experiments.run import plan
from dormant.replay import make_prioritised, make_uniform
from dormant.training.files import REPLAY_FOLDER
from dormant.training.loop import Loop
from dormant.training.members import loop_axis, vmap_axis
from dormant.training.replay_log import FILES, ReplayLog
from dormant.types import DormantError, Row
from tests.training.fate import Fate, run
from tests.training.run_probe import BINDINGS
from tests.training.run_probe import FILES as GIN_FILES

FRAMES = env_spec("probe/see_image")._replace(observation_shape=(3, 2))
VECTORS = env_spec("probe/see_continuous")
CAPACITY, MEMBERS, STEPS = 40, 2, 7  # agent steps between two additions


def rows_of(spec, start):
    """Another row for every agent step and member."""
    random = np.random.default_rng(start)
    shape = (MEMBERS, STEPS)
    observations = random.integers(0, 200, (2, *shape, *spec.observation_shape))
    observation, following = observations.astype(spec.observation_dtype)
    discrete = random.integers(0, 2, shape).astype(np.int32)
    actions = random.random((*shape, *spec.action_shape)).astype(np.float32)
    ends = random.random((2, *shape)) < 0.1
    return Row(
        observation,
        discrete if spec.num_actions else actions,
        random.random(shape).astype(np.float32),
        ends[0],
        ends[1] & ~ends[0],
        following if spec.stack_size == 1 else None,
    )


class Memories:
    """The memories of two members, and their log."""

    def __init__(self, base_dir, spec, make, axis):
        self.spec, self.axis = spec, axis
        self.memory = make(spec, CAPACITY, 4, 2, 0.99)
        self._add = axis.map(self.memory.add, (self.memory.axes, 0), self.memory.axes, (0,))
        self.states, self.steps = self.empty(), 0
        self.log = ReplayLog(str(base_dir), "replay", MEMBERS, axis, self.memory)
        self.log.open({}, 0)

    def empty(self, steps=0):
        init = lambda seed: self.memory.init().replace(position=jnp.int32(steps % CAPACITY))
        return self.axis.map(init, (0,), self.memory.axes)(
            self.axis.stack([jnp.int32(0)] * MEMBERS)
        )

    def add(self, times):
        for _ in range(times):
            self.states = self._add(
                self.states, self.axis.device_put(rows_of(self.spec, self.steps))
            )
            self.steps += STEPS

    def save(self):
        self.log.append(self.states, self.steps)
        return self.log.sync()

    def storage(self, states):
        own = self.axis.map(lambda state: state.storage, (self.memory.axes,))
        return self.axis.to_host(own(states))

    def close(self):
        self.log.close()


@pytest.fixture
def opened():
    """Closes what it was given."""
    with contextlib.ExitStack() as stack:
        yield lambda thing: stack.enter_context(contextlib.closing(thing))


def equal(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)


@pytest.mark.parametrize("make_axis", [loop_axis, lambda: vmap_axis(MEMBERS)], ids=["loop", "vmap"])
@pytest.mark.parametrize(
    "spec, make", [(FRAMES, make_uniform), (VECTORS, make_prioritised)], ids=["frames", "vectors"]
)
@pytest.mark.parametrize("times", [(1, 2), (1, 3, 4, 1, 9)], ids=["part", "around and with a gap"])
def test_the_rows_come_back_byte_for_byte(make_axis, spec, make, times, tmp_path, opened):
    memories = opened(Memories(tmp_path, spec, make, make_axis()))
    for count in times:
        memories.add(count)
        extents = memories.save()
    log = opened(ReplayLog(str(tmp_path), "replay", MEMBERS, memories.axis, memories.memory))
    log.check(extents, memories.steps)
    log.open(extents, memories.steps)
    filled = log.fill(memories.empty(memories.steps), memories.steps)
    assert equal(memories.storage(filled), memories.storage(memories.states))


def test_every_row_is_written_once_and_old_files_go(tmp_path, opened):
    memories = opened(Memories(tmp_path, VECTORS, make_uniform, loop_axis()))
    row, before, written, most = memories.log.most_bytes // CAPACITY, {}, 0, 0
    for _ in range(40):
        saved = memories.steps
        memories.add(1)
        extents = memories.save()
        sizes = {name: extent.size for name, extent in extents.items()}
        written += sum(size - before.get(name, 0) for name, size in sizes.items())
        memories.log.prune(saved)
        on_disk = {path.name: path.stat().st_size for path in (tmp_path / "replay").iterdir()}
        most = max(most, sum(on_disk.values()))
        before = {name: size for name, size in sizes.items()}
        # what the older checkpoint reaches back to is there
        memories.log.check(extents, memories.steps)
        assert min(int(name[:-4]) for name in on_disk) <= max(saved - CAPACITY, 0)
    assert written == memories.steps * row
    assert most <= (CAPACITY + -(-CAPACITY // FILES) + 2 * STEPS) * row


def test_rows_that_are_missing_are_noticed(tmp_path, opened):
    memories = opened(Memories(tmp_path, VECTORS, make_uniform, loop_axis()))
    for _ in range(8):
        memories.add(1)
        extents = memories.save()
    fresh = ReplayLog(str(tmp_path), "replay", MEMBERS, memories.axis, memories.memory)
    fresh.check(extents, memories.steps)
    without = dict(list(extents.items())[1:])
    with pytest.raises(DormantError, match="holds no row of agent step"):
        fresh.check({}, memories.steps)
    memories.add(1)
    with pytest.raises(DormantError, match="holds no row of agent step 56"):
        fresh.check(extents, memories.steps)
    with pytest.raises(DormantError, match="holds no row of agent step 16"):
        fresh.check(without, 8 * STEPS)


@pytest.fixture(scope="module")
def planned():
    """Memories of 300 rows that have gone around when the run is stopped."""
    return plan(GIN_FILES, [*BINDINGS, "DQN.replay_capacity=300", "DQN.update_horizon=2"])


@pytest.fixture(scope="module")
def stopped(planned, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    assert not run(planned, folder, Fate("stop", "step", 450))
    return folder


def resumed(planned, folder):
    """The state with which a stopped run is resumed."""
    loop = Loop(planned.population, planned.protocol, planned.make_env, str(folder))
    state = loop.start()
    loop.close()
    return state


def test_a_damaged_row_costs_time_and_nothing_else(planned, stopped, capfd):
    """Both ways back to the same memories; the rows of a byte that differs are made again."""
    kept = resumed(planned, stopped)
    assert "environments again" not in capfd.readouterr().err
    path = sorted((pathlib.Path(stopped) / REPLAY_FOLDER).iterdir())[-1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    made_again = resumed(planned, stopped)
    assert f"{path.name} is not what its checkpoint says" in capfd.readouterr().err
    assert kept.clocks == made_again.clocks and kept.agent_steps > 400
    for one, other in zip(kept.memories, made_again.memories):
        assert equal(one, other)
