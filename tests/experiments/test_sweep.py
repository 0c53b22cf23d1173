"""Sweeps with real processes.

Finished runs are left alone, interrupted ones resume, crashed ones are tried again.
"""

import csv
import fcntl
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

import jax
import psutil
import pytest

from dormant import results, train
from dormant.command import Stopped
from dormant.experiments import estimates, launch
from dormant.experiments import sweep as sweeps
from dormant.experiments.consistency import free_memory
from dormant.experiments.executors import Attempt, Local, gpu_slots
from dormant.experiments.grid import Job, Sweep
from dormant.experiments.launch import local_slots
from dormant.experiments.packing import packed
from dormant.experiments.run import plan
from dormant.experiments.summary import collect
from dormant.sweep import main as sweep_main
from dormant.types import DormantError
from tests.training.run_probe import BINDINGS, FILES

ROOT = pathlib.Path(__file__).parent.parent.parent
# 2 methods, 400 agent steps each; the checkpoint in the middle is that of iteration 1.
SHORT = [
    *BINDINGS,
    "Protocol.iterations=2",
    "Protocol.training_steps=200",
    "Protocol.evaluation_steps=0",
]
SWEEP = Sweep(FILES, SHORT, {"replay_ratio": [0.5, 1.0]}, games=["probe/see"])
NAMES = ("probe_see/replay_ratio=0.5", "probe_see/replay_ratio=1")


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The sweep executed once, by the command, with two workers; (base_dir, what it printed)."""
    base_dir = tmp_path_factory.mktemp("undisturbed") / "sweep"  # which is not there yet
    line = [sys.executable, "-m", "dormant.sweep", *flags(base_dir, "--workers", "2")]
    done = subprocess.run(
        line, cwd=ROOT, env={**os.environ, "XLA_FLAGS": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return base_dir, done.stderr


def flags(base_dir, *more, grid="replay_ratio=[0.5,1.0]"):
    line = ["--gin_files", *FILES, "--gin_bindings", *SHORT, "--grid", grid]
    return [*line, "--games", "probe/see", "--base_dir", str(base_dir), *more]


def metrics(base_dir, name):
    return (base_dir / name / results.METRICS_FILE).read_bytes()


def test_a_sweep_and_the_same_command_again(undisturbed, capsys):
    base_dir, printed = undisturbed
    assert (
        "[2/2]" in printed and printed.count(": finished") == 2 and "\r" not in printed
    )  # plain lines: no terminal
    assert "table of last numbers" not in printed
    for name in NAMES:
        assert results.read_run(str(base_dir / name))["status"] == "finished"
    before = {name: os.stat(base_dir / name / results.RUN_FILE).st_mtime_ns for name in NAMES}
    assert sweep_main(flags(base_dir)) == 0 and "all 2 runs" in capsys.readouterr().err
    assert before == {
        name: os.stat(base_dir / name / results.RUN_FILE).st_mtime_ns for name in NAMES
    }


def test_dry_run_and_its_estimates(undisturbed, tmp_path):
    base_dir = undisturbed[0]
    planned = sweeps.plan_here(
        [SWEEP._replace(games=["probe/see", "probe/two_step"])], str(base_dir)
    )
    assert [each.finished for each in planned] == [True, True, False, False]
    # Calls of the learner: 400 / 4, less those that start before step 101. Two members, 0.5 or 1
    # step an agent step.
    assert [each.gradient_steps for each in planned] == [2 * (100 - 26), 4 * (100 - 26)] * 2
    # Two members of 400 agent steps: one float32 (two_step: three), what followed it, and 16 bytes.
    assert [each.replay_bytes for each in planned] == [2 * 400 * (4 + 4 + 16)] * 2 + [
        2 * 400 * (12 + 12 + 16)
    ] * 2
    assert "time with 2 at once: unknown" in estimates.describe(planned, 2, {})
    given = estimates.describe(
        planned, 2, {}, rate=2.0
    )  # to do: 2 * (148 + 296) gradient steps, the longest alone 592
    assert "time with 2 at once: 0:04:56, from --steps_per_second" in given
    assert "2 finished" in given and "888 gradient steps" in given
    rates = estimates.measured_rates(results.find_runs(str(base_dir)))
    learner = ("DQN", "DQN", "mlp", 1.0, 32)
    assert {key for key in rates if key[:5] == learner} == set(rates)
    assert rates[planned[0].kind].gradient_steps > 0 and planned[2].kind not in rates
    assert "unknown" not in estimates.describe(planned, 2, rates)
    assert not list(tmp_path.iterdir())


def test_a_neighbour_with_a_damaged_table_tells_nothing_of_speed(tmp_path):
    for name, damage in (("whole", ""), ("damaged", "0,1,2\n")):
        (tmp_path / name).mkdir()
        results.write_run(str(tmp_path / name), {"status": "running", "members": [{}]})
        rows = [results.Measurement(0, 0, 1, 1, estimates.RATE, value) for value in (1.0, 5.0)]
        text = results.header() + results.format_rows(rows) + damage
        (tmp_path / name / results.TIMING_FILE).write_text(text)
    found = estimates.measured_rates([str(tmp_path / name) for name in ("damaged", "whole")])
    assert {rates.gradient_steps for rates in found.values()} == {5.0}
    assert not estimates.measured_rates([str(tmp_path / "damaged")])


def test_wrong_input_is_refused_before_anything_is_written(undisturbed, tmp_path, capsys):
    assert sweep_main(flags(tmp_path, "--dry_run", grid="replay_ratio=[0.5,0.3]")) == 2
    wrong = capsys.readouterr()
    assert not wrong.out and not list(tmp_path.iterdir())
    assert wrong.err.startswith("dormant: probe_see/replay_ratio=0.3: replay_ratio 0.3 ")
    assert wrong.err.count("\n") == 1
    with pytest.raises(DormantError, match="holds a run of another configuration"):
        sweeps.plan_here([SWEEP._replace(seeds=2)], str(undisturbed[0]))
    with pytest.raises(DormantError, match="replay memories of 2 runs at once need"):
        huge = sweeps.plan_here([SWEEP], str(tmp_path))[0]._replace(replay_bytes=10**15)
        estimates.check_memory_together([huge, huge], 2)


def test_a_killed_run_is_tried_again_and_a_hopeless_one_is_not(undisturbed, tmp_path):
    """One run is killed in the middle, the other cannot write: the first ends with the numbers of
    the undisturbed.
    """
    (tmp_path / NAMES[1] / results.METRICS_FILE).mkdir(parents=True)

    def kill_when_it_has_a_checkpoint():
        folder = tmp_path / NAMES[0]
        while not newest_checkpoint(folder) > 1:  # the first is of agent step 0
            time.sleep(0.01)
        training(folder).send_signal(signal.SIGKILL)
        killed.append(estimates.agent_steps_done(str(folder)))

    killed: list[int] = []
    thread = threading.Thread(target=kill_when_it_has_a_checkpoint)
    thread.start()
    executor = Local(2)
    outcomes = sweeps.execute_all(
        sweeps.plan_here([SWEEP], str(tmp_path)), str(tmp_path), executor, retries=1
    )
    executor.close()
    thread.join()
    assert killed and 200 <= killed[0] <= 400
    assert [(each.status, each.attempts) for each in outcomes] == [("finished", 2), ("failed", 1)]
    assert metrics(tmp_path, NAMES[0]) == metrics(undisturbed[0], NAMES[0])
    assert outcomes[1].reason.startswith("dormant: cannot write")
    report = sweeps.failures(outcomes)
    assert "1 runs failed" in report and NAMES[1] in report and NAMES[0] not in report


def newest_checkpoint(folder):
    """Its number; 0 = none."""
    saved = folder.glob("checkpoints/*/commit_success.txt")
    names = [path.parent.name for path in saved]  # orbax renames a folder when it is complete
    return max((int(name) for name in names if name.isdigit()), default=0)


def training(folder):
    """The process that trains in a folder, started by this one."""
    return next(p for p in psutil.Process().children(recursive=True) if str(folder) in p.cmdline())


def test_ctrl_c_waits_until_the_runs_have_saved(tmp_path):
    line = [sys.executable, "-m", "dormant.sweep", "--gin_files", *FILES, "--gin_bindings", *SHORT]
    line += ["Protocol.iterations=500", "--grid", "replay_ratio=[0.5]", "--games", "probe/see"]
    with subprocess.Popen(
        [*line, "--base_dir", str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        while not newest_checkpoint(tmp_path / NAMES[0]):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert "the same command resumes" in process.stderr.read()
    assert results.read_run(str(tmp_path / NAMES[0]))["status"] == "running"
    assert newest_checkpoint(tmp_path / NAMES[0]) > 1
    assert "the same command" in (tmp_path / NAMES[0] / "log.txt").read_text()


def test_last_numbers_of_finished_runs_are_in_one_table(undisturbed, tmp_path):
    base_dir, printed = undisturbed
    path = base_dir / "summary.csv"
    assert f"are in {path}" in printed
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["member"]) for row in rows] == [
        (name, member) for name in NAMES for member in "01"
    ]
    last = [r for r in results.read_measurements(str(base_dir / NAMES[1] / "metrics.csv"))]
    wanted = [r.value for r in last if r.member == 1 and r.metric == "train/average_return"][-1]
    assert float(rows[3]["train/average_return"]) == wanted
    assert float(rows[3]["dormant_fraction/tau=0.1/all"]) >= 0
    before = path.read_bytes()
    path.unlink()
    for name in reversed(NAMES):  # as runs of a job array may end
        collect(str(base_dir), [name])
    collect(str(base_dir), NAMES)
    assert path.read_bytes() == before
    # Runs that are gone, that were trained anew, or whose rows were damaged.
    for old, new in ((NAMES[0], "gone"), (f"{NAMES[1]},0", f"{NAMES[1]},9"), ("run,", "run_,")):
        path.write_text(before.decode().replace(old, new))
        collect(str(base_dir), NAMES)
        assert path.read_bytes() == before


def test_what_cannot_be_read_keeps_no_other_run_out_of_the_table(undisturbed, tmp_path):
    whole = (undisturbed[0] / NAMES[0] / results.METRICS_FILE).read_bytes()
    damages = {"short": whole + b"0,1,2\n", "none": b"a,b\n1,2\n", "bytes": b"\xff", "whole": whole}
    for name, table in damages.items():
        (tmp_path / name).mkdir()
        shutil.copy(undisturbed[0] / NAMES[0] / results.RUN_FILE, tmp_path / name)
        (tmp_path / name / results.METRICS_FILE).write_bytes(table)
    (tmp_path / "bare").mkdir()
    bare = {"status": "finished", "members": [{}]}
    results.write_run(str(tmp_path / "bare"), bare)
    told = []
    sweeps.collect_or_say(str(tmp_path), ["bare", *damages], told.append)
    assert [line.split(": ")[1] for line in told] == ["bare", "short", "none", "bytes"]
    with open(tmp_path / "summary.csv", newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["whole", "whole"]
    (tmp_path / "summary.csv").write_bytes(b"run,member\n\xff,0\n")
    sweeps.collect_or_say(str(tmp_path), ["whole"], told.append)
    assert "summary.csv cannot be read" in told[-1] and "delete it" in told[-1]


def test_sweeps_of_one_base_dir_take_turns_at_the_table(undisturbed):
    """The rows of one that read the table while another wrote it would be lost."""
    base_dir, other = str(undisturbed[0]), os.open(undisturbed[0], os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    waiting = threading.Thread(target=collect, args=(base_dir, NAMES))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    os.close(other)
    waiting.join(60)
    assert not waiting.is_alive()


def test_finished_runs_keep_one_checkpoint(undisturbed):
    for name in NAMES:
        kept = [
            each for each in os.listdir(undisturbed[0] / name / "checkpoints") if each.isdigit()
        ]
        assert len(kept) == 1


def test_one_line_of_shell_a_run(undisturbed, tmp_path, capsys, monkeypatch):
    """For a job array. Given again, a line resumes its run, or finds it finished."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    line = ["--gin_files", *FILES, "--gin_bindings", *SHORT, "--grid", "replay_ratio=[0.5,1.0]"]
    line += ["--games", "probe/see", "--base_dir", str(tmp_path / "o'ne grid")]
    assert sweep_main([*line, "--print_commands"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and not list(tmp_path.iterdir())
    seen = []
    for each in lines:
        words = shlex.split(each)
        assert words[:5] == ["cd", os.getcwd(), "&&", "exec", "env"]
        assert "WANDB_RUN_GROUP=o'ne grid" in words and "WANDB_MODE=offline" in words
        assert "secret" not in each
        seen.append(words[words.index("dormant.train") + 1 :])
    planned = [plan_of(words) for words in seen]
    there = [(undisturbed[0] / name / results.CONFIG_FILE).read_text() for name in NAMES]
    assert [each.config for each in planned] == there
    several = [*line, "--print_commands"]
    several[several.index(SHORT[0])] = f"{SHORT[0]}\nDQN.gamma=0.9"
    assert sweep_main(several) == 2
    said = capsys.readouterr()
    assert not said.out and "of several lines; one line a run cannot hold it" in said.err


def plan_of(words):
    """What the words of ``dormant.train`` would train."""
    arguments = train.parser().parse_args(words)
    return plan(arguments.gin_files, train.bindings_of(arguments))


@pytest.mark.slow  # four processes that train
def test_the_printed_lines_train_what_the_sweep_trains(undisturbed, tmp_path, capsys):
    line = ["--gin_files", *FILES, "--gin_bindings", *SHORT, "--grid", "replay_ratio=[0.5,1.0]"]
    line += ["--games", "probe/see", "--base_dir", str(tmp_path)]
    assert sweep_main([*line, "--print_commands"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for number, each in enumerate(lines):
        with subprocess.Popen(each, shell=True, executable="/bin/bash") as process:
            while not number and newest_checkpoint(tmp_path / NAMES[0]) < 2:
                time.sleep(0.01)
            if not number:
                process.send_signal(signal.SIGKILL)  # the shell has become the run
        again = subprocess.run(each, shell=True, executable="/bin/bash", check=True)
        assert again.returncode == 0
    assert [metrics(tmp_path, name) for name in NAMES] == [
        metrics(undisturbed[0], name) for name in NAMES
    ]


def test_members_are_divided_by_memory(tmp_path):
    """Two members take 2 x 9,600 bytes; a sweep that has begun keeps its division."""
    sweep = SWEEP._replace(seeds=5)  # ten members
    for memory, division in ((1e6, 0), (96_000, 0), (95_999, 5), (40_000, 4), (9_600, 1)):
        assert packed(sweep, str(tmp_path), memory).members_per_run == division
    with pytest.raises(DormantError, match="a member's replay memory needs"):
        packed(sweep, str(tmp_path), 9_599)
    assert packed(sweep, str(tmp_path), 0).members_per_run == 0
    assert packed(sweep, str(tmp_path), None).members_per_run == 0  # there is no GPU
    (tmp_path / "probe_see" / "replay_ratio=0.5,members=0-3").mkdir(parents=True)
    assert packed(sweep, str(tmp_path), 96_000).members_per_run == 4
    assert packed(sweep._replace(members_per_run=4), str(tmp_path)).members_per_run == 4
    with pytest.raises(DormantError, match="was begun with 4 members a run; --members_per_run 5"):
        packed(sweep._replace(members_per_run=5), str(tmp_path))
    (tmp_path / NAMES[0]).mkdir()
    assert packed(sweep, str(tmp_path), 9_600).members_per_run == 0
    with pytest.raises(DormantError, match="was begun with undivided runs"):
        packed(sweep._replace(members_per_run=5), str(tmp_path))
    assert packed(sweep._replace(members_per_run=10), str(tmp_path)).members_per_run == 0


def test_the_estimate_counts_evaluation_and_refilling():
    kind = ("DQN",)
    run = planned("a")[0]._replace(
        kind=kind,
        members=2,
        agent_steps=100,
        gradient_steps=50,
        done=50,
        iterations=10,
        refilled=50,
    )
    known = estimates.Rates(5.0, 3.0, 25.0)
    # Half of 50 gradient steps and of 10 evaluations, and 50 agent steps again; of two members.
    assert estimates.seconds_left(run, {kind: known}) == 2 * (25 / 5 + 5 * 3 + 50 / 25)
    assert estimates.uncounted([run], {kind: known}) == []
    told = estimates.describe([run], 1, {}, rate=5.0)
    assert "0:00:10, from --steps_per_second; evaluation and refilling not counted" in told


def test_a_time_is_of_the_runs_that_are_most_alike(tmp_path):
    """The same game and replay ratio, else any game at that ratio, else any run of that agent."""
    base = {"agent": "DQN", "status": "running", "members": [{}, {}]}
    for number, (ratio, game, value) in enumerate([(1.0, "a", 4.0), (1.0, "b", 8.0), (2, "a", 1)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        results.write_run(str(folder), {**base, "replay_ratio": ratio, "game": game})
        rows = [results.Measurement(0, 0, 1, 1, estimates.RATE, value) for _ in range(2)]
        (folder / results.TIMING_FILE).write_text(results.header() + results.format_rows(rows))
    rates = estimates.measured_rates(str(folder) for folder in tmp_path.iterdir())

    def seconds(**facts):
        own = estimates.kind({"agent": "DQN", **facts})
        return estimates.seconds_left(planned("a")[0]._replace(kind=own, gradient_steps=32), rates)

    # Two members together: 8 and 16 (the upper is any game's), and 2 at replay ratio 2.
    assert seconds(replay_ratio=1.0, game="a") == 32 / 8
    assert seconds(replay_ratio=1.0, game="new") == 32 / 16
    assert seconds(replay_ratio=2, game="new") == 32 / 2
    assert seconds(replay_ratio=0.5, game="a") == 32 / 8  # the median of 2, 8 and 16
    assert estimates.seconds_left(planned("a")[0], rates) is None


def test_whole_iterations_are_repeated_when_a_memory_is_filled_again():
    """As ``resume.refill`` repeats them: from the beginning of the one that the memory reaches
    back to.
    """
    less = ["DQN.replay_capacity=100", "Protocol.checkpoint_replay_gb=0"]
    made = plan(FILES, [*BINDINGS, *less])  # iterations of 400 agent steps
    done = (0, 90, 390, 450, 550, 1100)
    assert [sweeps.refilled_steps(made, each) for each in done] == [0, 90, 390, 450, 150, 300]


def test_one_run_a_gpu_by_default(tmp_path, monkeypatch, capsys):
    """As many runs at a time as there are GPUs, each of them seeing its own."""
    asked = {}

    def plan_sweeps(swept, base_dir, fits, gpus, memory):
        asked.update(gpus=gpus, memory=memory)
        return planned("a", "b"), ["0", "1", "2"]

    def execute(runs, base_dir, arguments, workers, slots):
        asked.update(workers=workers, slots=slots)
        return 0

    monkeypatch.setattr(sweeps, "plan_sweeps", plan_sweeps)
    monkeypatch.setattr(launch, "execute", execute)
    line = ["--gin_files", *FILES, "--base_dir", str(tmp_path)]
    assert sweep_main(line) == 0
    assert (asked["gpus"], asked["memory"], asked["workers"]) == (1, None, 3)
    assert [slot[VISIBLE] for slot in asked["slots"]] == ["0", "1", "2"]
    assert sweep_main([*line, "--gpus_per_run", "0.5", "--memory_per_run", "20"]) == 0
    assert (asked["workers"], asked["memory"], len(asked["slots"])) == (6, 2e10, 6)
    assert sweep_main([*line, "--gpus_per_run", "0"]) == 0
    assert (asked["workers"], asked["slots"]) == (1, [])


@pytest.mark.parametrize("backend, names", [("cpu", []), ("tpu", []), ("gpu", ["0", "1", "2"])])
def test_only_gpus_are_divided_among_runs(backend, names, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "devices", lambda: [None] * 3)
    monkeypatch.delenv(VISIBLE, raising=False)
    assert sweeps.devices_here() == names


def planned(*names):
    return [estimates.Planned(Job(name, (), ()), 1, 10, 10, 0, (), False, 0) for name in names]


class Scripted(Local):
    """Runs a given Python line in place of each training."""

    def __init__(self, lines, workers=2, gpus=()):
        super().__init__(workers, gpus=gpus)
        self._lines = lines

    def submit(self, attempt):
        name = os.path.basename(attempt.folder)
        return super().submit(attempt._replace(command=(sys.executable, "-c", self._lines[name])))


def test_retries_are_bounded_and_the_last_line_is_kept(tmp_path):
    lines = {
        "crashes": "import sys; print('a bar: 3 steps/s'); sys.exit('RuntimeError: out of luck')",
        "ends": "print('done')",
    }
    executor = Scripted(lines)
    outcomes = sweeps.execute_all(planned("crashes", "ends"), str(tmp_path), executor, retries=2)
    executor.close()
    assert [(each.status, each.attempts) for each in outcomes] == [("failed", 3), ("finished", 1)]
    assert outcomes[0].reason == "exit code 1: RuntimeError: out of luck"
    assert (tmp_path / "crashes" / "log.txt").read_text().count(
        "RuntimeError"
    ) == 6  # 3 times, and in its command


def test_two_workers_are_two_runs_at_a_time(tmp_path):
    """Eight runs: never three at once, and the third to begin has waited for one of the first two
    only.
    """
    names = [str(i) for i in range(8)]
    line = "import time; start = time.time(); time.sleep(0.5); print('slept', start, time.time())"
    executor = Scripted(dict.fromkeys(names, line))
    sweeps.execute_all(planned(*names), str(tmp_path), executor)
    executor.close()
    spans = sorted(
        tuple(map(float, (tmp_path / name / "log.txt").read_text().split()[-2:])) for name in names
    )
    running = [sum(start <= begun < end for start, end in spans) for begun, _ in spans]
    assert max(running) == 2
    ends = sorted(end for _, end in spans)
    assert all(ends[number] < begun < ends[-1] for number, (begun, _) in enumerate(spans[2:]))


VISIBLE, MEMORY = "CUDA_VISIBLE_DEVICES", "XLA_PYTHON_CLIENT_MEM_FRACTION"


@pytest.mark.parametrize(
    "share, devices, seen",
    [
        (0.5, "01", ["0", "0", "1", "1"]),
        (0.4, "01", ["0", "0", "1", "1"]),  # not three slots of 0.4
        (0.75, "01", ["0", "1"]),
        (1 / 3, "0", ["0", "0", "0"]),
        (1, "45", ["4", "5"]),
        (2, "0123", ["0,1", "2,3"]),
        (2, "012", ["0,1"]),
        (4, "012", []),
    ],
)
def test_the_runs_that_gpus_hold(share, devices, seen):
    slots = gpu_slots(share, devices)
    assert [slot[VISIBLE] for slot in slots] == seen
    for name in devices if share < 1 else ():
        held = [float(slot[MEMORY]) for slot in slots if slot[VISIBLE] == name]
        assert sum(held) <= 1 and all(part <= share for part in held)
    assert share < 1 or not any(MEMORY in slot for slot in slots)


def test_the_share_of_memory_has_the_name_that_the_user_has_set(monkeypatch):
    """With both of jax's names set, it starts no GPU."""
    monkeypatch.setenv("XLA_CLIENT_MEM_FRACTION", "0.8")
    assert gpu_slots(0.5, "0") == [{VISIBLE: "0", "XLA_CLIENT_MEM_FRACTION": "0.450"}] * 2


def test_workers_are_no_more_than_the_gpus_hold():
    assert [slot[VISIBLE] for slot in local_slots(3, 0.5, ["0", "1"])] == ["0", "0", "1"]
    assert local_slots(8, 0, []) == []
    for workers, share, devices, message in (
        (3, 0.4, ["0"], "the 1 GPUs of this machine hold 2 runs at once"),
        (2, 1, ["0"], "the 1 GPUs of this machine hold 1 runs at once"),
        (1, 1, [], "the 0 GPUs of this machine hold 0 runs at once"),
    ):
        with pytest.raises(DormantError, match=f"--workers is {workers}; .* {message}"):
            local_slots(workers, share, devices)


def test_each_worker_has_a_slot_of_its_own(tmp_path):
    """Four runs over two workers: at every moment the two that run see different GPUs."""
    line = "import os, time; a = time.time(); time.sleep(0.5); "
    line += f"print('saw', os.environ['{VISIBLE}'], a, time.time())"
    names = [str(index) for index in range(4)]
    executor = Scripted(dict.fromkeys(names, line), gpus=gpu_slots(1, ["6", "7"]))
    sweeps.execute_all(planned(*names), str(tmp_path), executor)
    executor.close()
    words = [(tmp_path / name / "log.txt").read_text().split()[-3:] for name in names]
    spans = [(gpu, float(begun), float(ended)) for gpu, begun, ended in words]
    assert sorted(gpu for gpu, _, _ in spans) == ["6", "6", "7", "7"]
    for gpu in "67":
        (_, ended), (begun, _) = sorted(span[1:] for span in spans if span[0] == gpu)
        assert ended <= begun


class Accelerator:
    """A device as JAX describes it, for its memory only."""

    def __init__(self, free):
        self._free = free

    def memory_stats(self):
        return {"bytes_limit": 10 + self._free, "bytes_in_use": 10}


def test_a_run_is_measured_against_the_devices_that_it_sees(monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    monkeypatch.setattr("jax.devices", lambda: [Accelerator(100)] * 4)
    assert free_memory(4, "vmap") == 400
    assert free_memory(4, "vmap", gpus=1) == 100
    assert free_memory(4, "vmap", gpus=0.5) == 50
    assert free_memory(3, "vmap", gpus=2) == 100  # three members are not spread over two
    assert free_memory(6, "vmap") == 300
    assert free_memory(4, "loop") == 100


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--members_per_run", "-1"], "--members_per_run: is -1; it must be above 0"),
        (["--workers", "0"], "--workers: is 0; it must be above 0"),
        (["--gpus_per_run", "1.5"], "above 1 it must be a whole number"),
        (["--gpus_per_run", "nan"], "--gpus_per_run is nan"),
        (["--steps_per_second", "inf"], "--steps_per_second: is inf"),
        (["--executor", "slurm"], "unknown executor 'slurm'"),
        (["--address", "auto"], "--address is for a Ray cluster; add --executor ray"),
        (["--grid", "ReDo.tau=[0]", "--grid", "ReDo.tau=[1]"], "the axis ReDo.tau twice"),
        (["--gpus_per_run", "1"], "the 0 GPUs of this machine hold 0 runs at once"),
        (["--retrie", "1"], "unrecognized arguments: --retrie 1"),  # no abbreviations
        (["--seeds", "-1"], "seeds is -1"),
        (["--gin_bindings", "ReDo.tau='x'"], "ReDo.tau is 'x'"),
    ],
)
def test_wrong_flags_are_one_line(flags, message, tmp_path, capsys):
    line = ["--gin_files", *FILES, "--gin_bindings", *SHORT, "--base_dir", str(tmp_path / "none")]
    try:
        code = sweep_main([*line, *flags])
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr().err
    assert code == 2 and message in said and said.startswith("dormant: ") and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_exit_code_2_alone_is_wrong_input(tmp_path):
    """Whatever the last line of its log begins with."""
    lines = {
        "wrong": "import sys; print('a line of a library'); sys.exit(2)",
        "crash": "import sys; print('dormant: a last word'); sys.exit(1)",
    }
    executor = Scripted(lines)
    outcomes = sweeps.execute_all(planned(*lines), str(tmp_path), executor, retries=1)
    executor.close()
    assert [(each.status, each.attempts) for each in outcomes] == [("failed", 1), ("failed", 2)]


class Asked(Scripted):
    """A second request comes while the runs are being stopped, as `timeout` sends it."""

    def stop(self):
        os.kill(os.getpid(), signal.SIGTERM)
        super().stop()


def test_a_second_signal_at_once_does_not_let_the_sweep_run_on(tmp_path):
    lines = {
        "first": "import os, time; os.kill(os.getppid(), 15); time.sleep(60)",
        "second": "print('it was started')",
    }
    executor = Asked(lines, workers=1)
    with pytest.raises(Stopped):
        sweeps.execute_all(planned(*lines), str(tmp_path), executor, retries=0)
    executor.close()
    assert not (tmp_path / "second").exists()


def test_what_no_run_reads_is_shown_once(tmp_path, capsys):
    """What one run of the sweep reads is none."""
    line = ["--gin_files", FILES[0], "--gin_bindings", *SHORT[:1], *SHORT[2:]]
    line = [each for each in line if not each.startswith("ReDo.")]
    line += ["--base_dir", str(tmp_path), "--dry_run", "--grid", "replay_ratio=[0.5,1]"]
    assert sweep_main([*line, "--gin_bindings", "Reset.period=100"]) == 0
    said = capsys.readouterr().err
    assert said == "dormant: warning: Reset.period has no effect: no member's method is 'reset'\n"


def test_a_run_ends_with_its_sweep(tmp_path):
    """The process that started it is killed: the run is asked to save and stop."""
    line = "import os, sys, time; from dormant.command import stop_with_parent; "
    line += "print(stop_with_parent(int(sys.argv[-1])), os.getpid(), flush=True); time.sleep(60)"
    attempt = Attempt(
        str(tmp_path), (sys.executable, "-c", line), {"PYTHONPATH": str(ROOT)}, str(tmp_path)
    )
    sweep = (
        f"from dormant.experiments.executors import *; execute_attempt(Attempt(*{tuple(attempt)}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", sweep], cwd=ROOT)
    log, until = tmp_path / "log.txt", time.monotonic() + 20
    while not log.exists() or "True" not in log.read_text().splitlines()[-1]:
        assert time.monotonic() < until
        time.sleep(0.02)
    process = psutil.Process(int(log.read_text().split()[-1]))
    parent.kill()
    parent.wait()
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_process_that_plans_ends_with_its_sweep():
    line = "import os, time; from dormant.experiments.sweep import planner\n"
    line += "if __name__ == '__main__':\n"
    line += "    pool = planner(); print(pool.submit(os.getpid).result(), flush=True)\n"
    line += "    pool.submit(time.sleep, 60)"
    parent = subprocess.Popen([sys.executable, "-c", line], cwd=ROOT, stdout=subprocess.PIPE)
    process = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 20
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_ctrl_c_while_a_sweep_plans_ends_it_in_one_line(tmp_path):
    """In a terminal it reaches all processes of the sweep."""
    many = [0.5 * number for number in range(1, 201)]  # still planning when it is interrupted
    given = flags(tmp_path, "--dry_run", grid=f"replay_ratio={many}")
    line = [sys.executable, "-m", "dormant.sweep", *given]
    parent = subprocess.Popen(
        line, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 60
    # The process that plans, and Python's own that tracks resources.
    while len(psutil.Process(parent.pid).children()) < 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    time.sleep(0.5)
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.communicate()[1] == "dormant: stopped; the same command resumes\n"
    assert parent.returncode == 130


def test_a_request_to_stop_that_is_repeated_cuts_no_save_short(tmp_path):
    """As Ray does: interrupts keep coming, the first before the start of the run has returned, the
    others while it saves.
    """
    saves = "import signal, sys, time; "
    saves += "save = lambda *_: (time.sleep(1), print('saved'), sys.exit(143)); "
    saves += "signal.signal(signal.SIGTERM, save); "
    saves += "print('ready', flush=True); time.sleep(60)"
    attempt = Attempt(str(tmp_path), (sys.executable, "-c", saves), {}, str(tmp_path))
    slow = "import subprocess, time; start = subprocess.Popen.__init__; "
    slow += "late = lambda *a, **k: (start(*a, **k), time.sleep(1))[0]; "
    slow += "subprocess.Popen.__init__ = late; "
    sweep = (
        f"from dormant.experiments.executors import *; execute_attempt(Attempt(*{tuple(attempt)}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", slow + sweep], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as parent:
        log = tmp_path / "log.txt"
        while not log.exists() or "\nready" not in log.read_text():
            time.sleep(0.02)
        while parent.poll() is None:
            parent.send_signal(signal.SIGINT)
            time.sleep(0.1)
    assert log.read_text().endswith("saved\n")
