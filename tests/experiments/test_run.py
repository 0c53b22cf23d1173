"""What a user can get wrong, and what a run leaves behind."""

import csv
import fcntl
import pathlib
import re

import pytest

from dormant import results
from dormant.experiments import CONFIGS as SHIPPED
from dormant.experiments.run import plan
from dormant.train import main
from dormant.types import DormantError
from tests.training.run_probe import BINDINGS, FILES, train

CONFIGS = sorted(pathlib.Path(SHIPPED).glob("*.gin"))

WRONG = {
    "Run.game='DemonAtack'": "did you mean 'DemonAttack'",
    "Run.agent='dqm'": "did you mean 'dqn'",
    "Run.methods=('reddo',)": "did you mean 'redo'",
    "Run.seeds=0": "at least one member",
    "Run.members=[{'sead': 1}]": "did you mean 'seed'",
    "ReDoo.tau=0.1": "did you mean 'ReDo'",
    "ReDo.tua=0.1": "did you mean 'tau'",
    "ReDo.tau=-0.1": "ReDo.tau is -0.1",
    "ReDo.tau='high'": "ReDo.tau is 'high'",
    "ReDo.period=0": "period",
    "ReDo.networks=('offline',)": "did you mean 'online'",
    "DQN.network='natur'": "unknown network 'natur'",
    "DQN.batch_size=0": "batch_size is 0",
    "DQN.learning_rate=-1": "DQN.learning_rate is -1",
    "replay_ratio=0.3": "positive whole number",
    "Protocol.training_steps=401": "multiple of the agent's update_period",
    "Protocol.iterations=-3": "Protocol.iterations is -3",
    "Protocol.iterations=2.5": "whole number",
    "Run.axis='vamp'": "did you mean 'vmap'",
    "this is not gin": "gin",
    # What would otherwise end in a traceback.
    "DQN.network='nature'": "network 'nature' takes images; probe/see observes vectors",
    "DQN.network='resnet'": "network 'resnet' takes images",
    "Run.game='Pong'": "network 'mlp' takes vectors; Pong observes images",
    "Run.members=[3]": "Run.members is [3]; it should be None, or a list of dictionaries",
    "Run.members={'seed': 1}": "Run.members is {'seed': 1}",
    "Run.members=[{'method': 'redo', 'tau': 'high'}]": "member 0: tau is 'high'",
    "Run.members=[{'seed': 0}, {'learning_rate': 'low'}]": "member 1: learning_rate is 'low'",
    "Run.members=[{'method': ['redo']}]": "member 0: method is ['redo']",
    "Run.members=[{'seed': 1.0}]": "member 0: seed is 1.0",
    "Run.members=[{'label': 3}]": "member 0: label is 3",
    "ReDo.select=threshold": "a text needs quotation marks (the binding ReDo.select=threshold)",
    "DQN.gamma=": "a value cannot be read; a text needs quotation marks (the binding DQN.gamma=)",
    "DQN.batch_size=32.0": "DQN.batch_size is 32.0; it should be a whole number from 1 on",
    "DQN.gamma=None": "DQN.gamma is None",
    "DQN.clip_rewards=1": "DQN.clip_rewards is 1; it should be True or False",
    "Run.seeds=None": "Run.seeds is None",
    "Run.seeds=3.0": "Run.seeds is 3.0",
    "Run.seeds=['one']": "Run.seeds is ['one']",
    "Run.methods=None": "Run.methods is None",
    "Run.methods='redo'": "Run.methods is 'redo'; it should be a list of texts",
    "Run.agent=['dqn']": "Run.agent is ['dqn']",
    "ReDo.networks='online'": "ReDo.networks is 'online'",
    "Protocol.iterations=%itterations": "unknown macro %itterations",
    "include 'redoo.gin'": "includes 'redoo.gin', and there is no such file",
    "import nothing_of_this_name": "nothing_of_this_name",
    # What would otherwise be accepted in silence.
    "tau=0.3": "nothing reads 'tau'; did you mean ReDo.tau or Prune.tau?",
    "replay_ration=2": "nothing reads 'replay_ration'; did you mean 'replay_ratio'",
    "small/DQN.gamma=0.9": "nothing reads the gin scope of 'small/DQN.gamma'",
    "DQN.gamma=1.5": "DQN.gamma is 1.5; it should be a finite number from 0 to 1",
    "DQN.epsilon_train=2": "DQN.epsilon_train is 2",
    "DQN.learning_rate=0": "DQN.learning_rate is 0",
    "DQN.adam_b1=1.5": "DQN.adam_b1 is 1.5",
    "DQN.adam_b2=1": "DQN.adam_b2 is 1",
    "DQN.target_update_period=0": "DQN.target_update_period is 0",
    "ReDo.tau=1e999": "ReDo.tau is inf; it should be a finite number",
    "Run.members=[{'learning_rate': -1e-3}]": "member 0: learning_rate is -0.001",
    "Run.members=[{'method': 'none', 'tau': 0.1}]": "a setting 'tau', which means nothing to",
    "DQN.min_replay_history=1200": "DQN.min_replay_history is 1200; the replay memory holds 600",
    "Protocol.training_steps=32": "the run has 96 agent steps, and would learn nothing",
    "DQN.update_period=400\nDQN.replay_capacity=400": "takes at most 399 at once",
    "DQN.batch_size=601": "DQN.batch_size is 601; the replay memory holds 600",
    "ReDo.batch_size=601": "its batch_size is 601; the replay memory holds 600",
    "ReDo.start=300\nReDo.end=200": "its start, 300, is not before its end, 200",
    "SAC.gamma=0.9": "SAC.gamma is set, but the agent that is run is DQN; did you mean DQN.gamma?",
    "include 'sac.gin'": "DQN.adam_epsilon is set, but the agent that is run is SAC",
    "include 'rainbow.gin'": "is set, but the agent that is run is Rainbow",
    "DQN.update_horizon=9\nDQN.min_replay_history=4": "no 9-step transition is complete",
}


@pytest.mark.parametrize("binding", WRONG)
def test_wrong_input_is_one_line_exit_code_2_and_nothing_written(binding, tmp_path, capsys):
    base_dir = tmp_path / "run"
    arguments = [
        "--base_dir",
        str(base_dir),
        "--gin_files",
        *FILES,
        "--gin_bindings",
        *BINDINGS,
        binding,
    ]
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip()
    assert WRONG[binding] in message and "\n" not in message and message.startswith("dormant: ")
    assert "Traceback" not in message
    assert not base_dir.exists()


def test_a_missing_file_and_a_replay_memory_too_large_for_the_machine():
    with pytest.raises(DormantError, match="no gin file .*dqm.gin.*did you mean .*dqn.gin"):
        plan([FILES[0].replace("dqn.gin", "dqm.gin")], [])
    with pytest.raises(DormantError, match="no game given: add --game"):
        plan(FILES, [])
    huge = ["Run.game='Pong'", "Run.seeds=4000", "Run.methods=('none',)"]
    with pytest.raises(DormantError, match="replay memories need .* GB .*lower replay_capacity"):
        plan(FILES, huge)


WITHOUT_EFFECT = {
    "Reset.period=100": "Reset.period has no effect: no member's method is 'reset'",
    "AtariProtocol.noop_max=5": "AtariProtocol.noop_max has no effect: probe/see is no Atari game",
    "ReDo.share=0.2": "ReDo.share has no effect: ReDo.select is 'threshold'",
    "ReDo.period=5000": "member 1 (DQN + ReDo) never intervenes: its period is 5000 gradient steps",
    "Protocol.log_period=549": "no dormant fraction is recorded: Protocol.log_period is 549",
    "Run.members=[{'seed': 4}]": "Run.methods has no effect: Run.members lists the members",
}


@pytest.mark.parametrize("binding", WITHOUT_EFFECT)
def test_what_has_no_effect_is_a_warning_and_a_line_of_run_json(binding, tmp_path, capsys):
    arguments = ["--base_dir", str(tmp_path / "run"), "--gin_files", *FILES, "--dry_run"]
    assert main([*arguments, "--gin_bindings", *BINDINGS, binding]) == 0
    said = capsys.readouterr().err.splitlines()
    assert f"dormant: warning: {WITHOUT_EFFECT[binding]}" in "\n".join(said)
    warnings = plan(FILES, [*BINDINGS, binding]).facts["warnings"]
    assert [f"dormant: warning: {line}" for line in warnings] == said
    planned = plan(FILES, BINDINGS)
    assert planned.facts["warnings"] == []
    (tmp_path / "config.gin").write_text(planned.config)
    assert plan([str(tmp_path / "config.gin")], []).facts["warnings"] == []


def test_members_with_interventions_of_their_own():
    """Settings of ReDo and Reset by member; equal ones share one intervention, whatever tau."""
    described = [
        {"method": "redo"},
        {"method": "redo", "tau": 0.3},
        {"method": "redo", "period": 50, "outgoing": "random", "select": "random", "end": 400},
        {"method": "reset", "period": 40, "layers": ["penultimate"]},
        {"method": "reset", "seed": 1},
    ]
    planned = plan(FILES, [*BINDINGS, f"Run.members={described}", "Reset.period=70"])
    members = planned.population.members
    interventions = [member.intervention for member in members]
    assert [each.when.period for each in interventions] == [100, 100, 50, 40, 70]
    assert interventions[0] is interventions[1]
    assert [member["tau"] for member in planned.facts["members"][:3]] == [0.1, 0.3, 0.1]
    assert [each.facts.get("outgoing") for each in interventions] == [
        "zero",
        "zero",
        "random",
        None,
        None,
    ]
    assert [each.facts.get("reset_layers") for each in interventions[3:]] == [
        ["penultimate"],
        ["last"],
    ]
    assert members[2].label == "DQN + ReDo, period 50, outgoing random, select random, end 400"
    assert members[3].label == "DQN + Reset, period 40, layers penultimate"


WRONG_MEMBERS = {
    "{'method': 'redo', 'period': 0}": "member 0: period is 0",
    "{'method': 'redo', 'outgoing': 'randon'}": "did you mean 'random'",
    "{'method': 'redo', 'layers': ('last',)}": "'layers', which means nothing to method 'redo'",
    "{'method': 'reset', 'layers': 'last'}": "member 0: layers is 'last'",
    "{'method': 'reset', 'tau': 0.1}": "'tau', which means nothing to method 'reset'",
    "{'method': 'redo', 'perod': 5}": "did you mean 'period'",
}


@pytest.mark.parametrize("member", WRONG_MEMBERS)
def test_wrong_settings_of_one_member(member):
    with pytest.raises(DormantError) as caught:
        plan(FILES, [*BINDINGS, f"Run.members=[{member}]"])
    assert WRONG_MEMBERS[member] in str(caught.value)


def test_a_dry_run_shows_the_plan_and_looks_at_base_dir(tmp_path, capsys):
    flags = ["--gin_files", *FILES, "--gin_bindings", *BINDINGS]

    def dry_run(base_dir, *more):
        code = main(["--base_dir", str(base_dir), *flags, *more, "--dry_run"])
        return code, *capsys.readouterr()

    code, out, err = dry_run(tmp_path / "run")
    assert code == 0 and not err and not list(tmp_path.iterdir())
    for line in ("(a new run)", "members         2, loop axis", "1,200 of each member", "0.00 GB"):
        assert line in out
    assert "gradient steps  548 of each member" in out and "training time   unknown" in out
    train(tmp_path / "run")
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    code, out, err = dry_run(tmp_path / "run")
    assert code == 0 and "finished before; nothing is left to do" in out
    code, out, err = dry_run(tmp_path / "other")
    assert code == 0 and "0:0" in out.splitlines()[-1]  # by the rate of the run beside it
    code, out, err = dry_run(tmp_path / "run", "DQN.gamma=0.9")
    assert code == 2 and "another configuration" in err and "+DQN.gamma = 0.9" in err
    assert err.count("\n") == 1 and not out
    with open(tmp_path / "run" / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, out, err = dry_run(tmp_path / "run")
    assert code == 2 and "another process is writing" in err
    with open(tmp_path / "run" / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # another dry run
        assert dry_run(tmp_path / "run")[0] == 0
    (tmp_path / "file").write_text("")
    code, out, err = dry_run(tmp_path / "file")
    assert code == 2 and "is a file, not a folder" in err
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}


@pytest.mark.parametrize("text", ["[]", '{"schema": 1, "members": [{}]}', '{"schema": 1', "3"])
def test_a_run_json_that_is_none_is_one_line(text, tmp_path, capsys):
    planned = plan(FILES, BINDINGS)
    (tmp_path / results.CONFIG_FILE).write_text(planned.config)
    (tmp_path / results.RUN_FILE).write_text(text)
    arguments = ["--base_dir", str(tmp_path), "--gin_files", *FILES, "--gin_bindings", *BINDINGS]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert results.RUN_FILE in said and said.count("\n") == 1 and said.startswith("dormant: ")
    assert {path.name for path in tmp_path.iterdir()} <= {"run.json", "config.gin", ".lock"}


def test_a_run_without_its_configuration_is_one_line(tmp_path, capsys):
    results.write_run(str(tmp_path), {**plan(FILES, BINDINGS).facts, "status": "running"})
    arguments = ["--base_dir", str(tmp_path), "--gin_files", *FILES, "--gin_bindings", *BINDINGS]
    assert main(arguments) == 2 and main([*arguments, "--dry_run"]) == 2
    said = capsys.readouterr().err
    assert said.count("whose configuration is lost") == 2 and said.count("\n") == 2


def test_what_a_lost_run_json_has_left_is_not_taken_for_another_run(tmp_path, capsys):
    short = ["Protocol.iterations=1", "Protocol.evaluation_steps=0"]
    train(tmp_path, *short)
    (tmp_path / results.RUN_FILE).unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    arguments = ["--base_dir", str(tmp_path), "--gin_files", *FILES, "--gin_bindings", *BINDINGS]
    arguments += [*short, "DQN.gamma=0.5"]
    capsys.readouterr()
    assert main(arguments) == 2 and main([*arguments, "--dry_run"]) == 2
    said = capsys.readouterr().err
    assert said.count("whose run.json is lost") == 2 and said.count("\n") == 2
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_run_does_not_go_into_a_folder_of_runs_or_of_a_run(tmp_path, capsys):
    (tmp_path / "below").mkdir()
    results.write_run(str(tmp_path / "below"), {"status": "running", "members": [{}]})
    arguments = ["--base_dir", str(tmp_path), "--gin_files", *FILES, "--gin_bindings", *BINDINGS]
    assert main([*arguments, "--dry_run"]) == 2 and main(arguments) == 2
    assert capsys.readouterr().err.count("/below), which one of its own would hide") == 2
    assert list(results.find_runs(str(tmp_path))) == [str(tmp_path / "below")]
    assert [path.name for path in tmp_path.iterdir()] == ["below"]
    arguments[1] = str(tmp_path / "below" / "deep" / "run")
    assert main([*arguments, "--dry_run"]) == 2 and main(arguments) == 2
    assert capsys.readouterr().err.count(f"lies in the folder of a run ({tmp_path}/below)") == 2
    assert [path.name for path in (tmp_path / "below").iterdir()] == [results.RUN_FILE]


def test_abbreviated_flags_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--base", str(tmp_path / "run"), "--gin_files", *FILES])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and said.startswith("dormant: ")


def test_shipped_files_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    """One that includes others, where the current folder has a file of an included one's name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rainbow.gin").write_text("Rainbow.gamma = 0.5\n")
    (tmp_path / "mine.gin").write_text("include 'drq_eps.gin'\ninclude 'folder/more.gin'\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "more.gin").write_text("include 'beside.gin'\n")
    (tmp_path / "folder" / "beside.gin").write_text("Rainbow.replay_capacity = 2000\n")
    for files in (["mine.gin"], ["drq_eps.gin", "folder/more.gin"]):
        planned = plan(files, ["Run.game='Pong'"])
        assert "Rainbow.gamma = 0.99" in planned.config and not planned.facts["warnings"]
        assert "Rainbow.replay_capacity = 2000" in planned.config


def test_an_own_file_comes_before_a_shipped_one_and_a_warning_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "redo.gin").write_text("ReDo.tau = 0.3\nRun.methods = ('redo',)\n")
    planned = plan(FILES, BINDINGS + ["Run.members=None"])
    assert "ReDo.tau = 0.3" in planned.config
    (warning,) = planned.facts["warnings"]
    assert warning.startswith("redo.gin is the file of the current folder")


def test_networks_that_take_other_images_are_named():
    with pytest.raises(DormantError, match="images of bool; use 'minatar' or 'minatar_layer_norm'"):
        plan(["minatar.gin"], ["Run.game='MinAtar/Breakout'", "DQN.network='nature'"])


@pytest.mark.parametrize("again", ["a.gin", "./a.gin"])
def test_files_that_include_each_other_are_one_line(again, tmp_path):
    (tmp_path / "a.gin").write_text("include 'b.gin'\n")
    (tmp_path / "b.gin").write_text(f"include '{again}'\n")
    with pytest.raises(DormantError, match="includes itself, by way of"):
        plan([str(tmp_path / "a.gin")], [])


def test_what_is_wrong_in_a_gin_file_names_the_file_and_its_line(tmp_path):
    """Also below an include, where the file is read in pieces."""
    beside, mine = tmp_path / "beside.gin", tmp_path / "mine.gin"
    beside.write_text("DQN.gamma = 0.9\n")
    mine.write_text("# mine\ninclude 'beside.gin'\n\nDQN.gamma = 0.9 +\n")
    with pytest.raises(DormantError) as found:
        plan([str(mine)], [])
    assert "line 4" in str(found.value) and str(found.value).endswith(f" (in {mine})")
    mine.write_text("include 'beside.gin'\n")
    beside.write_text("DQN.gama = 0.9\n")
    with pytest.raises(DormantError, match="has no setting 'gama'") as found:
        plan([str(mine)], [])
    assert str(found.value).endswith(f" (in {beside})")


def test_what_a_run_leaves_behind(tmp_path):
    train(tmp_path / "run")
    run = results.read_run(str(tmp_path / "run"))
    assert run["status"] == "finished" and run["replay_ratio"] == 0.5
    assert [member["method"] for member in run["members"]] == ["none", "redo"]
    rows = results.read_measurements(str(tmp_path / "run" / results.METRICS_FILE))
    names = {row.metric for row in rows}
    for expected in (
        "learn/loss",
        "learn/mean_q",
        "learn/gradient_norm",
        "feature_rank",
        "train/average_return",
    ):
        assert expected in names
    assert {
        "dormant_fraction/tau=0/all",
        "dormant_fraction/tau=0.025/online/Dense_0",
        "eval/average_return",
    } <= names
    assert {row.member for row in rows if row.metric.startswith("recycled_neurons/")} == {1}
    # 3 iterations of 400 agent steps, 2 gradient steps every 4 from the first call after 100 agent
    # steps on.
    last = max(rows, key=lambda row: row.agent_steps)
    assert last.agent_steps == 1200 and last.gradient_steps == 2 * (1200 - 104) // 4
    lengths = [row.value for row in rows if row.metric == "episode/length" and row.member == 0]
    assert sum(lengths) <= 1200
    with open(tmp_path / "run" / results.TIMING_FILE) as file:
        assert {row["metric"] for row in csv.DictReader(file)} == {
            "time/agent_steps_per_second",
            "time/gradient_steps_per_second",
            "time/evaluation_seconds",
        }
    assert list((tmp_path / "run" / "tensorboard").rglob("events.*"))


def test_the_stored_configuration_runs_the_same_again(tmp_path):
    planned = train(tmp_path / "first")
    again = plan([str(tmp_path / "first" / results.CONFIG_FILE)], [])
    assert again.config == planned.config
    assert again.facts["members"] == planned.facts["members"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_file_parses_and_builds(path, monkeypatch):
    monkeypatch.chdir("/")
    agents = {"sac": "sac", "drq_eps": "drq_eps", "small_rainbow": "rainbow"}
    agents["minatar"] = "minatar"
    agent = next((agents[name] for name in agents if path.name.startswith(name)), "dqn")
    own = re.search(r"Run.agent|^include .*(rainbow|der)", path.read_text(), re.MULTILINE)
    base = [] if own else [f"{agent}.gin"]
    games = {"sac": "Hopper-v5", "minatar": "MinAtar/Breakout", "cartpole": "CartPole-v1"}
    game = games.get(re.split("[_.]", path.name)[0], "Pong")
    planned = plan([*base, path.name], [f"Run.game='{game}'"], fits=False)
    assert planned.facts["game"] == game and planned.population.members


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--gin_bindings" in capsys.readouterr().out
