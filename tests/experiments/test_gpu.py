"""The one command for an accelerator: its stages are commands that exist, and no failure takes the
others with it.
"""

import json
import sys

from dormant.experiments import benchmark_population, gpu
from dormant.experiments.configurables import AGENTS
from dormant.experiments.run import plan
from dormant.experiments.session import CASES, Setup, plan_of
from dormant.nets import PRECISIONS


def test_the_stages_cover_what_has_to_be_measured(tmp_path):
    stages = gpu.stages(gpu.Plan(str(tmp_path), minutes=30, seeds=3))
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names)
    benchmarks = [stage.command for stage in stages if stage.name.startswith("benchmark ")]
    for case in ("dqn_rr0.25", "dqn_rr1", "drq_eps_rr1", "sac_rr1"):
        assert any(
            case in command and all(name in command for name in PRECISIONS)
            for command in benchmarks
        )
    assert any("xla" in command for command in benchmarks) and any(
        "--compare" in command for command in benchmarks
    )
    assert {"profile before", "profile after", "tests", "run rr1", "run rr0.25"} <= set(names)
    assert [stage.seconds for stage in stages if stage.is_run] == [900, 900]
    assert max(stage.seconds for stage in stages) <= 5400


def test_every_run_of_the_command_can_be_planned(tmp_path, monkeypatch):
    monkeypatch.chdir(gpu.ROOT)
    for rehearse in (False, True):
        for stage in gpu.stages(gpu.Plan(str(tmp_path), seeds=1, rehearse=rehearse)):
            if stage.is_run:
                command = stage.command
                start, bindings = (
                    command.index("--gin_files") + 1,
                    command.index("--gin_bindings") + 1,
                )
                files = command[start : command.index("--game")]
                chosen = [
                    "Run.game='DemonAttack'",
                    "Run.methods=('none', 'redo')",
                    "DQN.replay_capacity=2000",
                    "DQN.min_replay_history=200",
                ]
                planned = plan(files, [*command[bindings:], *chosen])
                assert [member.method for member in planned.population.members] == ["none", "redo"]
                assert planned.population.agent.schedule.replay_ratio == float(
                    stage.name.removeprefix("run rr")
                )


def test_a_failing_stage_loses_nothing_and_a_good_one_is_not_repeated(tmp_path, monkeypatch):
    count = tmp_path / "count"
    good = f"open({str(count)!r}, 'a').write('x'); print('well')"
    code = lambda text: [sys.executable, "-c", text]
    listed = [
        gpu.Stage("bad", code("raise SystemExit('broken')"), 20),
        gpu.Stage("slow", code("import time; print('begun', flush=True); time.sleep(60)"), 1.5),
        gpu.Stage("good", code(good), 20),
    ]
    monkeypatch.setattr(gpu, "stages", lambda plan: listed)
    wanted = gpu.Plan(str(tmp_path / "out"))
    for _ in range(2):
        summary = gpu.run(wanted)
        found = {
            name: (ended["exit"], ended["last_lines"]) for name, ended in summary["stages"].items()
        }
        assert found["bad"][0] == 1 and found["bad"][1][-1] == "broken"
        assert found["slow"][0] is None and found["slow"][1][-1] == "begun"
        assert found["good"] == (0, ["well"])
        assert json.loads((tmp_path / "out/summary.json").read_text()) == json.loads(
            json.dumps(summary)
        )
    assert count.read_text() == "x"


def test_every_case_is_an_agent_with_recycling_at_the_papers_period():
    assert {case.record for case in CASES.values()} == {
        entry.config.__name__ for entry in AGENTS.values()
    }
    for name, case in CASES.items():
        planned = plan_of(Setup(name, members=3, capacity=700, small=True))
        schedule = planned.population.agent.schedule
        assert schedule.replay_ratio == case.replay_ratio and len(planned.population.members) == 3
        assert {member.intervention.when.period for member in planned.population.members} == {1000}


def test_wrong_names_are_one_line_and_nothing_is_started(capsys):
    for flags, text in (
        (["--agents", "dqn"], "unknown agent 'dqn'; did you mean 'dqn_rr1'?"),
        (["--precisions", "bf16"], "unknown precision 'bf16'; did you mean 'bfloat16'?"),
    ):
        assert benchmark_population.main(flags) == 2
        said = capsys.readouterr()
        assert said.err == f"benchmark: {text}\n" and not said.out


def test_a_population_that_fails_is_one_line_of_the_table(monkeypatch, capsys):
    answers = [
        {"gradient_steps_per_second": 12.3, "of_bare": 0.8},
        {"error": "RESOURCE_EXHAUSTED: out of memory"},
    ]
    monkeypatch.setattr(benchmark_population, "in_a_process", lambda *arguments: answers.pop(0))
    rows = benchmark_population.doublings(Setup("dqn_rr1"), 8, 10.0)
    assert [row["members"] for row in rows] == [1, 2]  # none after the failure
    lines = capsys.readouterr().out.splitlines()
    assert (
        len(lines) == 3
        and "80%" in lines[1]
        and lines[2].endswith("RESOURCE_EXHAUSTED: out of memory")
    )
