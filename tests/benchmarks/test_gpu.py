"""The one command for an accelerator: its stages can be executed, no failure costs another."""

import json
import sys
import tarfile

import jax
import pytest

from dormant.benchmarks import check, gpu
from dormant.benchmarks.command import main
from dormant.benchmarks.session import CASES, Setup, plan_of
from dormant.benchmarks.stages import CHECK, GRACE, LIMIT, Plan, Stage, choose, stages
from dormant.experiments import ROOT
from dormant.experiments.run import plan
from dormant.nets import PRECISIONS
from dormant.register import AGENTS
from dormant.types import DormantError

WORK = "/nowhere"


def code(text):
    return (sys.executable, "-c", text)


def test_the_stages_cover_what_has_to_be_measured():
    listed = stages(Plan(minutes=32, seeds=3), WORK)
    names = [stage.name for stage in listed]
    assert len(set(names)) == len(names) and names[0] == CHECK
    setups = [Setup(**stage.described) for stage in listed if stage.kind == "measure"]
    for case in ("dqn_rr0.25", "dqn_rr1", "drq_eps_rr1", "sac_rr1"):
        of_case = [setup for setup in setups if setup.case == case]
        assert {setup.precision for setup in of_case} == set(PRECISIONS)
        plain = [each.members for each in of_case if each.precision == "float32"]
        assert {2**power for power in range(13)} <= set(plain)
    assert {setup.formulation for setup in setups} >= {"auto", "xla", "patches", "shift"}
    kinds = [name.split("/")[0] for name in names]
    assert kinds.count("compare") == 3 and kinds.count("profile") == 3 and "tests" in kinds
    runs = [stage for stage in listed if stage.name.startswith("run/")]
    assert [run.name for run in runs] == [f"run/{r}/{n}" for r in ("rr1", "rr0.25") for n in (1, 2)]
    assert 32 * 60 == len(runs) * (LIMIT - GRACE) and LIMIT <= 9 * 60


def test_the_quick_stages_come_in_the_order_of_their_worth():
    listed = stages(Plan(quick=True), WORK)
    assert [stage.name for stage in listed[:6]] == [
        "check",
        "dqn_rr1/64/float32/matmul",
        "dqn_rr1/64/float32/xla",
        "dqn_rr1/64/tf32/matmul",
        "dqn_rr1/64/bfloat16/matmul",
        "sac_rr1/64/float32/auto",
    ]
    assert all(stage.described["members"] > 64 for stage in listed[6:]) and len(listed) > 6


def test_no_quick_row_costs_another(tmp_path, monkeypatch):
    rows = stages(Plan(quick=True), WORK)[1:]
    assert all(row.limit < gpu.QUICK_SECONDS / 3 for row in rows[1:]) and rows[0].limit == LIMIT
    names = [row.name for row in rows]
    assert names.index("dqn_rr1/256/float32/matmul") < names.index("dqn_rr1/128/float32/matmul")
    ended = {"exit": 1, "error": "no memory"}
    monkeypatch.setattr(gpu.Runner, "_ask", lambda *_: dict(ended))  # every row fails
    work = str(tmp_path / "work")
    assert gpu.Runner(Plan(quick=True), work, work).run(rows) == (names, [])  # each was tried
    monkeypatch.undo()
    monkeypatch.setattr(gpu, "LEAST_SECONDS", 0.0)
    hangs = Stage("hangs", command=code("import time; time.sleep(60)"), limit=2.0)
    runner = gpu.Runner(Plan(quick=True), work, work)
    assert runner.run([hangs, Stage("next", command=code("pass"))]) == (["hangs"], [])


def test_stages_are_named_and_wrong_names_refused():
    listed = stages(Plan(), WORK)
    chosen = choose(listed, ["sac_rr1/64/*", "tests/redo"])
    names = [stage.name for stage in chosen]
    assert names[0] == CHECK and names[-1] == "tests/redo"
    assert names[1:-1] == [f"sac_rr1/64/{precision}/auto" for precision in PRECISIONS]
    assert choose(listed, []) == listed
    with pytest.raises(DormantError, match="unknown stage 'test/redo'; did you mean 'tests/redo'"):
        choose(listed, ["test/redo"])


@pytest.mark.parametrize("rehearse", [False, True])
def test_every_run_of_the_command_can_be_planned(rehearse, monkeypatch):
    monkeypatch.chdir(ROOT)
    runs = [
        stage
        for stage in stages(Plan(seeds=1, minutes=1, rehearse=rehearse), WORK)
        if stage.name.startswith("run/")
    ]
    assert len(runs) == 2
    for stage in runs:
        command = list(stage.command)
        start, bindings = command.index("--gin_files") + 1, command.index("--gin_bindings") + 1
        chosen = ["Run.game='DemonAttack'", "Run.methods=('none', 'redo')"]
        chosen += ["DQN.replay_capacity=2000", "DQN.min_replay_history=200"]
        files = command[start : command.index("--game")]
        planned = plan(files, [*command[bindings:], *chosen])
        assert [member.method for member in planned.population.members] == ["none", "redo"]
        ratio = float(stage.name.split("/")[1].removeprefix("rr"))
        assert planned.population.agent.schedule.replay_ratio == ratio
        assert planned.protocol.checkpoint_minutes == 2


def test_the_tests_are_strict_about_arithmetic_and_not_about_warnings():
    for stage in stages(Plan(), WORK):
        if stage.name.startswith("tests/"):
            assert stage.environment["JAX_DEFAULT_MATMUL_PRECISION"] == "float32"
            assert stage.environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "0"
            assert "--xla_gpu_deterministic_ops=true" in stage.environment["XLA_FLAGS"]
            assert "filterwarnings=default" in stage.command


def test_a_failing_stage_loses_nothing_and_a_good_one_is_not_repeated(tmp_path):
    count, out = tmp_path / "count", tmp_path / "out"
    good = f"open({str(count)!r}, 'a').write('x'); print('well')"
    listed = [
        Stage("bad/1", command=code("raise SystemExit('broken')"), series="bad"),
        Stage("bad/2", command=code(good), series="bad"),
        Stage("good", command=code(good)),
    ]
    for _ in range(2):
        runner = gpu.Runner(Plan(), str(out), str(tmp_path / "work"))
        assert runner.run(listed) == (["bad/1"], [])
    found = json.loads((out / "gpu.json").read_text())["stages"]
    assert found["bad/1"]["exit"] == 1 and found["bad/1"]["error"] == "broken"
    assert found["good"]["exit"] == 0 and found["good"]["last_lines"] == ["well"]
    assert count.read_text() == "x" and "bad/2" not in found
    assert sorted(path.name for path in out.iterdir()) == ["gpu.json", "gpu.tar.gz", "gpu.txt"]
    table = (out / "gpu.txt").read_text()
    assert "bad/1: failed, broken" in table and "well" in table
    other = tmp_path / "other"  # where another call asks for its files
    gpu.Runner(Plan(), str(other), str(tmp_path / "work")).run(listed[2:])
    for name in ("gpu.json", "gpu.txt"):
        assert (other / name).read_text() == (out / name).read_text()
    for folder in (out, other):
        with tarfile.open(folder / "gpu.tar.gz") as archive:
            assert sorted(archive.getnames()) == ["logs/bad_1.log", "logs/good.log"]


def test_what_a_measuring_process_prints_is_archived(tmp_path):
    out = tmp_path / "out"
    listed = [Stage("rows/1", "measure", Setup("dqn_rr1", game="Pnog")._asdict())]
    assert gpu.Runner(Plan(), str(out), str(tmp_path / "work")).run(listed) == (["rows/1"], [])
    with tarfile.open(out / "gpu.tar.gz") as archive:
        assert "environment 'Pnog'" in archive.extractfile("logs/rows_1.log").read().decode()


def test_a_run_that_has_saved_has_ended_well_and_a_slow_stage_has_not(tmp_path, monkeypatch):
    saves = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); "
    saves += "print('begun', flush=True); time.sleep(60)"
    sleeps = "import time; print('begun', flush=True); time.sleep(60)"
    listed = [
        Stage("run", command=code(saves), grace=3.0, limit=5.0),
        Stage("slow", command=code(sleeps), limit=5.0),
    ]
    monkeypatch.setattr(gpu, "LEAST_SECONDS", 0.0)
    runner = gpu.Runner(Plan(), str(tmp_path / "out"), str(tmp_path / "work"))
    assert runner.run(listed) == (["slow"], [])
    found = json.loads((tmp_path / "out/gpu.json").read_text())["stages"]
    assert found["run"]["exit"] == 0 and found["run"]["last_lines"] == ["begun"]
    assert found["slow"]["exit"] is None and "not finished" in found["slow"]["error"]


def test_what_the_time_does_not_reach_waits_for_the_next_call(tmp_path, monkeypatch):
    slow = Stage("slow", command=code("import time; time.sleep(60)"))
    listed = [slow, Stage("next", command=code("pass"))]
    work = str(tmp_path / "work")
    monkeypatch.setattr(gpu, "LEAST_SECONDS", 1.0)
    monkeypatch.setattr(gpu, "QUICK_SECONDS", 3.0)
    assert gpu.Runner(Plan(quick=True), work, work).run(listed) == ([], ["slow", "next"])
    monkeypatch.setattr(gpu, "QUICK_SECONDS", 60.0)
    assert gpu.Runner(Plan(quick=True), work, work).run(listed[1:]) == ([], [])


def test_a_second_try_that_gets_less_far_leaves_the_figures_of_the_first(tmp_path, monkeypatch):
    tries = [{"case": "sac_rr1", "of_bare": 0.9, "error": "cut"}, {"error": "no memory"}]
    monkeypatch.setattr(gpu.processes, "ask", lambda *_: tries.pop(0))
    work = str(tmp_path / "work")
    for _ in range(2):
        assert gpu.Runner(Plan(), work, work).run([Stage("row", "measure")]) == (["row"], [])
    ended = json.loads((tmp_path / "work/gpu.json").read_text())["stages"]["row"]
    assert ended["found"]["of_bare"] == 0.9 and ended["error"] == "no memory"


def test_a_later_call_checks_its_own_machine(tmp_path, monkeypatch):
    machine = {"backend": "gpu", "device": "NVIDIA H200"}

    def ask(kind, described, seconds, report=lambda found: None, *_):
        report(machine)
        return dict(machine) if kind == "check" else {"error": "cut"}

    monkeypatch.setattr(gpu.processes, "ask", ask)
    monkeypatch.setattr(gpu, "_driver", lambda: "")
    work, listed = str(tmp_path / "work"), [Stage(CHECK, "check"), Stage("row", "measure")]
    gpu.Runner(Plan(), work, work).run(listed)
    machine.update(backend="cpu", device="cpu")
    with pytest.raises(DormantError, match="jax finds no accelerator"):
        gpu.Runner(Plan(), work, work).run(listed)
    machine.update(backend="gpu", device="NVIDIA L4")
    with pytest.raises(DormantError, match="holds figures of NVIDIA H200; name another --work"):
        gpu.Runner(Plan(), work, work).run(listed)
    monkeypatch.setattr(gpu.Runner, "_done", lambda *_: True)  # nothing is left to be measured
    assert gpu.Runner(Plan(), work, work).run(listed) == ([], [])


def test_stages_of_another_plan_are_not_mixed(tmp_path):
    out, work = str(tmp_path / "out"), str(tmp_path / "work")
    gpu.Runner(Plan(rehearse=True), out, work).run([Stage("one", command=code("pass"))])
    with pytest.raises(DormantError, match="holds stages of another plan"):
        gpu.Runner(Plan(), out, work)


def test_without_an_accelerator_nothing_is_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.chdir(tmp_path)
    assert main(["gpu", "--quick", "--out", "out"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("dormant: jax finds no accelerator, only the CPU")
    assert captured.err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_driver_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\nexec sleep 30\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(gpu, "DRIVER_SECONDS", 0.2)
    assert gpu._driver().startswith("nvidia-smi does not answer")


def test_the_check_tells_float32_from_tf32(monkeypatch):
    assert check._product() < check.TOLERANCE

    def tf32(function, precision):
        rounded = lambda x: jax.lax.reduce_precision(x, 8, 10)
        return lambda *operands: function(*(rounded(each) for each in operands))

    monkeypatch.setattr(check, "with_products", tf32)
    assert check._product() > 2 * check.TOLERANCE


def test_every_case_is_an_agent_with_recycling_at_the_papers_period():
    configurations = {entry.record for entry in AGENTS.values()}
    assert {case.record for case in CASES.values()} == configurations
    for name, case in CASES.items():
        planned = plan_of(Setup(name, members=3, capacity=700, small=True))
        schedule = planned.population.agent.schedule
        assert schedule.replay_ratio == case.replay_ratio and len(planned.population.members) == 3
        assert {member.intervention.when.period for member in planned.population.members} == {1000}


@pytest.mark.slow
def test_the_rehearsal_measures_and_resumes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    command = ["gpu", "--quick", "--rehearse", "--out", str(tmp_path / "out")]
    command += ["--work", str(tmp_path / "work"), "--stages", "sac_rr1/*"]
    assert main(command) == 0 and main(command) == 0
    assert "sac_rr1/2/float32/auto: done before" in capsys.readouterr().out
    found = json.loads((tmp_path / "out/gpu.json").read_text())["stages"]
    assert found["check"]["found"]["largest difference"]["recycling at tau 0"] < 1e-4
    row = found["sac_rr1/2/float32/auto"]["found"]
    assert 0 < row["gradient_steps_per_second"] and 0 < row["share_learning"] < 1
    assert row["of_roofline"] > 0
