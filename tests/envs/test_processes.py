"""Environments in several processes: the numbers of one process, and no process is left behind."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dormant.envs import make_env
from dormant.envs.processes import ProcessVectorEnv, processes_for
from dormant.experiments.run import plan

GAME = "Hopper-v5"  # falls within some 20 steps of random actions


def play(env, steps):
    """Everything that an environment returns, over episodes that end."""
    random = np.random.default_rng(0)
    found = [env.reset(np.arange(env.num_envs))]
    for _ in range(steps):
        env.send(random.uniform(-1, 1, (env.num_envs, *env.spec.action_shape)).astype(np.float32))
        step = env.recv()
        found += [*step[:5], step.episode_end]
    return found, sum(int(done.sum()) for done in found[6::6])


def test_the_numbers_are_those_of_one_process():
    one, several = make_env(GAME, 5, num_workers=1), make_env(GAME, 5, num_workers=2)
    try:
        assert isinstance(several, ProcessVectorEnv)
        for _ in range(2):  # another reset of the same environments
            (expected, ended), (found, _) = play(one, 60), play(several, 60)
            assert ended > 5
            for left, right in zip(expected, found, strict=True):
                np.testing.assert_array_equal(left, right, strict=True)
        # An exception comes back with its message, and the processes end.
        with pytest.raises(RuntimeError, match="environments 0 to 2 failed .*Seed must be greater"):
            several.reset(np.array([-1, 0, 0, 0, 0]))
        with pytest.raises(AssertionError, match="closed"):
            several.reset(np.arange(5))
    finally:
        one.close()
        several.close()


def test_a_process_that_ends_is_named_and_signals_to_stop_are_ignored():
    bindings = [f"Run.game={GAME!r}", "Run.seeds=2", "Run.env_workers=2"]
    env = plan(["sac.gin"], bindings, fits=False).make_env(False)
    try:
        env.reset(np.arange(2))
        pids = [worker._process.pid for worker in env._workers]
        for number in (signal.SIGINT, signal.SIGTERM):
            for pid in pids:
                os.kill(pid, number)
        env.send(np.zeros((2, 3), np.float32))
        assert env.recv().reward.shape == (2,)
        os.kill(pids[1], signal.SIGKILL)
        with pytest.raises(RuntimeError, match="environments 1 to 1 has ended with exit code -9"):
            for _ in range(2):
                env.send(np.zeros((2, 3), np.float32))
                env.recv()
    finally:
        env.close()
    assert not any(map(running, pids))


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


PROGRAM = f"""
import numpy as np, sys, time
from dormant.envs import make_env
env = make_env({GAME!r}, 2, num_workers=2)
env.reset(np.arange(2))
print(*(worker._process.pid for worker in env._workers), flush=True)
time.sleep(600)
"""


def test_no_process_outlives_one_that_is_killed():
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(each) for each in process.stdout.readline().split()]
        assert len(pids) == 2 and all(map(running, pids))
        process.kill()
    deadline = time.monotonic() + 60
    while any(map(running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(running, pids))


@pytest.mark.parametrize(
    "num_envs, cores, expected", [(1, 16, 1), (7, 16, 1), (8, 16, 2), (64, 16, 8), (64, 2, 1)]
)
def test_how_many_processes_pay(num_envs, cores, expected):
    assert processes_for(num_envs, cores) == expected
