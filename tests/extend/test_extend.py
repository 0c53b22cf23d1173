"""The modules of examples/extend, brought in as a user brings in one's own."""

import pathlib
import shutil
import sys
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant import register, results
from dormant.agents.rainbow import Rainbow
from dormant.envs import env_spec, make_device_env, make_env
from dormant.experiments.budgets import sweeps_of
from dormant.experiments.consistency import check_registered
from dormant.experiments.gin_text import parse
from dormant.experiments.grid import Sweep, expand
from dormant.experiments.run import execute, plan
from dormant.paper import chosen
from dormant.redo import Periodic
from dormant.train import main
from dormant.training.interventions import Intervention
from dormant.types import DormantError
from tests.training.fate import Fate, run

FOLDER = pathlib.Path(__file__).parent.parent.parent / "examples" / "extend"
MODULES = sorted(path.stem for path in FOLDER.glob("*.py"))
SHORT = [
    "Protocol.iterations=2",
    "Protocol.training_steps=60",
    "Protocol.evaluation_steps=0",
    "Protocol.log_period=5",
    "Protocol.taus=(0.1,)",
]
OWN = [
    "Run.game='Corridor'",
    "Run.agent='double_dqn'",
    "Run.methods=('redo', 'shrink')",
    "DoubleDQN.network='layer_norm_mlp'",
    "DoubleDQN.width=0.125",
    "DoubleDQN.min_replay_history=20",
    "DoubleDQN.replay_capacity=100",
    "DoubleDQN.batch_size=4",
    "ReDo.select='at_most_a_quarter'",
    "ReDo.period=5",
    "ReDo.batch_size=4",
    "Shrink.period=5",
    *SHORT,
]


@pytest.fixture(autouse=True, scope="module")
def modules():
    """Imports them once, and leaves the tables as they were."""
    before = [(table, dict(table)) for table in vars(register).values() if type(table) is dict]
    sys.path.append(str(FOLDER))
    yield [register.import_module(name) for name in MODULES]
    sys.path.remove(str(FOLDER))
    for table, rows in before:
        table.clear()
        table.update(rows)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_short_and_complete(name):
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) < 60


def lines(folder):
    return results.read_measurements(str(folder / results.METRICS_FILE))


def test_one_run_has_them_all_and_resumes_exactly(tmp_path):
    """By lines of a gin file; the agent, the network, the environment, the rule, the intervention,
    the metric.
    """
    own = tmp_path / "own.gin"
    own.write_text("".join(f"import {name}  # mine\n" for name in MODULES) + "\n".join(OWN))
    planned = plan([str(own)], [])
    execute(planned, str(tmp_path / "whole"))
    rows = lines(tmp_path / "whole")
    assert {row.metric for row in rows} >= {"mean_activation/online/Dense_0", "learn/loss"}
    assert all(results.is_metric(row.metric) for row in rows)
    recycled = [row for row in rows if row.metric.startswith("recycled_neurons/")]
    assert {row.member for row in recycled} == {0} and max(row.value for row in recycled) <= 2
    assert [member["label"] for member in planned.facts["members"]] == [
        "Double DQN + ReDo",
        "Double DQN + Shrink",
    ]
    # Killed, and resumed by its resolved configuration alone.
    (tmp_path / "killed").mkdir()
    (tmp_path / "config.gin").write_text(planned.config)
    assert not run(planned, tmp_path / "killed", Fate("kill", "step", 70))
    again = plan([str(tmp_path / "config.gin")], [])
    assert again.config == planned.config and "Shrink.factor = 0.8" in again.config
    assert run(again, tmp_path / "killed")
    metrics = [(tmp_path / name / results.METRICS_FILE) for name in ("whole", "killed")]
    assert metrics[0].read_bytes() == metrics[1].read_bytes()
    table = results.load(str(tmp_path / "whole"), ["mean_activation/"])
    assert {"member", "agent_steps", "metric", "value"} <= set(table.columns) and len(table) > 8


def test_the_agents_gin_file_is_complete(tmp_path):
    """With a shipped file of a method after it, and with another network by a binding."""
    files = [str(FOLDER / "double_dqn.gin"), "redo.gin"]
    planned = plan(files, ["Run.methods=('none', 'redo')", "DoubleDQN.network='layer_norm_mlp'"])
    assert planned.facts["title"] == "DoubleDQN" and planned.facts["warnings"] == []
    assert planned.gradient_steps == 18_996


def test_a_network_of_the_rainbow_family_has_the_agents_atoms():
    """What it learns is traced with the plan; its values are those of its distributions."""
    rainbow = [each.replace("DoubleDQN", "Rainbow") for each in OWN if "layer_norm" not in each]
    rainbow += ["Run.agent='rainbow'", "Rainbow.network='layer_norm_c51'", "Rainbow.noisy=False"]
    rainbow += ["Rainbow.num_atoms=5", "Rainbow.vmax=2.0"]
    with pytest.raises(DormantError, match=r"logits of shape \(1, 2, 5\).* expected .*\(1, 2, 1\)"):
        plan([], [*rainbow, "Rainbow.distributional=False"])
    planned = plan([], rainbow)
    assert planned.facts["network"] == "layer_norm_c51" and planned.gradient_steps > 0
    module = register.RAINBOW_NETWORKS["layer_norm_c51"].make(
        Rainbow(num_atoms=5, vmax=2.0), env_spec("Corridor")
    )
    out, _ = module.init_with_output(jax.random.key(0), jnp.ones((3, 8)))
    atoms = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    chances = np.exp(out.logits) / np.exp(out.logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(out.q_values, chances @ atoms, atol=1e-5)


@pytest.mark.slow  # compiles the whole loop
def test_the_device_kind_learns_in_one_program(tmp_path):
    bindings = [
        "Run.game='Corridor/device'",
        "DQN.network='mlp'",
        "DQN.width=0.25",
        "DQN.min_replay_history=100",
        "DQN.replay_capacity=1000",
        "DQN.learning_rate=0.003",
        "DQN.epsilon_decay_period=100",
        "DQN.target_update_period=50",
        "DQN.replay_ratio=1",
        *SHORT,
        "Protocol.training_steps=1200",
        "Protocol.iterations=1",
        "Protocol.evaluation_episodes=5",
        "Protocol.log_period=500",
    ]
    execute(plan([], bindings), str(tmp_path))
    final = {row.metric: row.value for row in lines(tmp_path)}
    assert final["eval/average_return"] > 0.9  # right all the way: 1 minus at most 0.07


WRONG = {
    "Run.agent='double_dqm'": "did you mean 'double_dqn'",
    "DoubleDQN.gama=0.9": "DoubleDQN has no setting 'gama'; did you mean 'gamma'?",
    "DubleDQN.gamma=0.9": "did you mean 'DoubleDQN'",
    "DoubleDQN.gamma='high'": "DoubleDQN.gamma is 'high'; it should be a finite number",
    "DoubleDQN.network='layer_norm_mpl'": "did you mean 'layer_norm_mlp'",
    "ReDo.select='at_most_a_quater'": "did you mean 'at_most_a_quarter'",
    "Run.methods=('shrnk',)": "did you mean 'shrink'",
    "Shrink.factor=1.5": "Shrink.factor is 1.5; it should be from 0 to 1",
    "Run.members=[{'method': 'shrink', 'factor': 1.5}]": "Shrink.factor is 1.5; it should be from",
    "ReDo.select=@at_most_a_quarter": "name it as a text, in quotation marks and without @",
    "Run.game='Coridor'": "did you mean 'Corridor'",
    "DQN.gamma=0.9": "the agent that is run is DoubleDQN; did you mean DoubleDQN.gamma?",
    "import my_netwrk": "cannot import my_netwrk",
}


@pytest.mark.parametrize("binding", WRONG)
def test_wrong_names_get_the_nearest(binding, tmp_path, capsys):
    base_dir = tmp_path / "run"
    flags = ["--import", *MODULES, "--base_dir", str(base_dir)]
    assert main([*flags, "--gin_bindings", *OWN, binding]) == 2
    message = capsys.readouterr().err.strip()
    assert WRONG[binding] in message and "\n" not in message and not base_dir.exists()


def test_a_member_and_a_grid_name_own_settings():
    members = "Run.members=[{'method': 'shrink', 'factor': 0.5}, {'method': 'shrink', 'seed': 1}]"
    planned = plan([], [*OWN, members])
    assert [each["label"] for each in planned.facts["members"]][
        0
    ] == "Double DQN + Shrink, factor 0.5"
    with pytest.raises(DormantError, match="'factr'; did you mean 'factor'"):
        plan([], [*OWN, "Run.members=[{'method': 'shrink', 'factr': 0.5}]"])
    grid = {
        "factor": [0.5, 0.9],
        "DoubleDQN.network": ["mlp", "layer_norm_mlp"],
        "ReDo.tau": [0, 1],
    }
    jobs = expand(Sweep([], OWN, grid))
    assert len(jobs) == 4 and "DoubleDQN.network=mlp,Shrink.factor=0.5" in "".join(
        ",".join(sorted(job.name.split("/")[1].split(","))) for job in jobs
    )
    with pytest.raises(DormantError, match="Shrink.factor is 'much'"):
        expand(Sweep([], OWN, {"factor": ["much"]}))


@dataclass(frozen=True)
class Kick:
    """Settings of an intervention whose threshold members may differ in."""

    period: int = 5
    threshold: float = 0.1

    def __post_init__(self):
        if self.threshold > 1:
            raise ValueError(f"Kick.threshold is {self.threshold}; it should be 1 at most")


@pytest.fixture
def kick(monkeypatch):
    monkeypatch.setattr(register, "METHODS", dict(register.METHODS))
    apply = lambda state, batch, key, settings, gradient_steps: (state, {})
    register.intervention("kick", config=Kick, title="Kick", traced={"tau": "threshold"})(
        lambda config, agent: Intervention(
            "kick", config, Periodic(config.period, 0, float("inf")), 0, apply, {}
        )
    )


def test_a_traced_setting_goes_by_the_records_name(kick):
    described = [{"threshold": 0.3}, {"tau": 0.2}, {"seed": 1}]
    described = [{"method": "kick", **each} for each in described]
    members = plan([], [*OWN, f"Run.members={described}"]).population.members
    assert [member.settings.tau for member in members] == [0.3, 0.2, 0.1]
    assert members[0].label == "Double DQN + Kick, threshold 0.3"
    assert members[0].intervention is members[1].intervention is members[2].intervention


@pytest.mark.parametrize(
    "own, message",
    [
        ({"threshold": "high"}, "member 0: threshold is 'high'; it should be a finite number"),
        ({"threshold": 0.3, "tau": 0.2}, "has 'tau' and 'threshold', which are one setting"),
        ({"threshold": 1.5}, "Kick.threshold is 1.5; it should be 1 at most"),
        ({"tau": 1.5}, "Kick.threshold is 1.5; it should be 1 at most"),
    ],
)
def test_a_traced_setting_is_checked_by_either_name(own, message, kick):
    with pytest.raises(DormantError, match=message):
        plan([], [*OWN, f"Run.members={[{'method': 'kick', **own}]}"])


def test_the_figure_is_known(tmp_path):
    (entry,) = chosen(["cartpole"])
    (sweep,) = sweeps_of(["cartpole"], "smoke")
    assert sweep.games == ("CartPole-v1",) and sweep.methods == ("none", "redo")
    (job,) = expand(sweep)
    assert "CartPole-v1" in job.name and "cartpole.gin" in job.files
    assert entry.figure in [each.figure for each in chosen(None)]


def test_names_are_taken_once():
    with pytest.raises(DormantError, match="there is a network 'mlp' already"):
        register.network("mlp", axes=1)(lambda config, spec: None)
    with pytest.raises(DormantError, match="it should be a dataclass"):
        register.agent("mine", config=int)
    parse([], ["import my_network"])  # again: nothing is registered twice


class Late:
    """Its reward is not a number at its end."""

    def __init__(self):
        self.length = 0

    def reset(self, seed):
        return np.zeros(1, np.float32)

    def step(self, action):
        self.length += 1
        return np.zeros(1, np.float32), 0.0 if self.length < 90 else np.nan, False, False

    def close(self):
        pass


def test_what_comes_after_the_last_log_is_told(tmp_path, capfd):
    """A divergence there; and a metric of an intervention keeps its fraction."""
    register.environment("Late", observation_shape=(1,), num_actions=2, max_episode_steps=10)(
        lambda spec: Late()
    )

    @register.intervention("measured", config=Measured, title="Measured")
    def make(config, agent):
        def apply(state, batch, key, settings, gradient_steps):
            return state, {"feature_rank": jnp.float32(0.375)}

        when = Periodic(5, 0, float("inf"))
        return Intervention("measured", config, when, batch_size=0, apply=apply, facts={})

    bindings = [*OWN, "Run.game='Late'", "Run.methods=('measured',)", "Protocol.log_period=1000"]
    execute(plan([], bindings), str(tmp_path))
    rows = lines(tmp_path)
    assert {row.value for row in rows if row.metric == "feature_rank"} == {0.375}
    (diverged,) = [row for row in rows if row.metric == "diverged"]
    assert diverged.value < diverged.gradient_steps and diverged.agent_steps == 120
    assert "diverged: its loss was not finite" in capfd.readouterr().err


@dataclass(frozen=True)
class Measured:
    period: int = 5


@pytest.mark.parametrize("name", ["Pong", "HalfCheetah-v5", "MinAtar/Breakout"])
def test_an_environment_of_the_packages_keeps_its_name(name, monkeypatch):
    monkeypatch.setattr(register, "ENVIRONMENTS", dict(register.ENVIRONMENTS))
    register.environment(name, observation_shape=(1,), num_actions=2, max_episode_steps=10)(
        lambda spec: Drifting()
    )
    for asked in (env_spec, make_device_env, lambda name: make_env(name, 1)):
        with pytest.raises(DormantError, match=f"there is an environment '{name}' already"):
            asked(name)


TAKEN = ["feature_rank", "weight_norm/{layer}", "overlap/first/tau={tau}/{layer}"]


@pytest.mark.parametrize("name", [*TAKEN, "recycled_neurons/mine", "dormant_fraction/tau=0.1/all"])
def test_a_metric_of_the_packages_keeps_its_name(name, monkeypatch):
    check_registered()
    monkeypatch.setattr(register, "METRICS", dict(register.METRICS))
    register.metric(name, "mine")(lambda agent, state, batch, key: 0.0)
    with pytest.raises(DormantError, match="there is a metric .* already; choose another name"):
        check_registered()


@pytest.mark.parametrize("name", ["score", "inverse", "random", "utility"])
def test_an_order_keeps_its_name(name, monkeypatch):
    monkeypatch.setattr(register, "SELECTIONS", dict(register.SELECTIONS))
    register.selection(name)(lambda candidates: {})
    with pytest.raises(DormantError, match=f"there is a selection '{name}' already"):
        plan([], OWN)


class Drifting:
    """Random numbers that no seed decides: not to be resumed exactly."""

    streams = 0

    def reset(self, seed):
        Drifting.streams += 1
        return self.step(0)[0]

    def step(self, action):
        Drifting.streams += 1
        return np.full(1, Drifting.streams, np.float32), 0.0, False, False

    def close(self):
        pass


DRIFTING = [*OWN, "Run.game='Drifting'", "Run.methods=('none',)"]


def test_an_environment_that_its_seed_does_not_decide_is_found():
    made = register.environment(
        "Drifting", observation_shape=(1,), num_actions=2, max_episode_steps=10
    )(lambda spec: Drifting())
    assert made is not None and not env_spec("Drifting").deterministic
    assert env_spec("Corridor").deterministic and env_spec("CartPole-v1").deterministic
    planned = plan([], DRIFTING)
    assert any("not deterministic under its seed" in line for line in planned.facts["warnings"])
    register.environment("Wrong", observation_shape=(3,), num_actions=2, max_episode_steps=10)(
        lambda spec: Drifting()
    )
    with pytest.raises(DormantError, match=r"of shape \(1,\); it is registered with \(3,\)"):
        env_spec("Wrong")


@pytest.mark.slow  # compiles two runs
def test_a_run_that_cannot_be_repeated_resumes_from_its_checkpoint(tmp_path):
    register.environment("Drifting", observation_shape=(1,), num_actions=2, max_episode_steps=10)(
        lambda spec: Drifting()
    )
    assert not run(plan([], DRIFTING), tmp_path, Fate("kill", "step", 70))
    assert run(plan([], DRIFTING), tmp_path)
    assert max(row.agent_steps for row in lines(tmp_path)) == 120


def test_episodes_end_at_their_limit():
    env = make_env("Corridor", 2)
    env.reset(np.array([0, 1]))
    ends = []
    for _ in range(100):
        env.send(np.zeros(2, int))
        ends.append(env.recv().truncated.all())
    assert [index for index, end in enumerate(ends) if end] == [49, 99]


def test_the_modules_are_found_in_the_current_folder(tmp_path, monkeypatch):
    shutil.copy(FOLDER / "my_rule.py", tmp_path / "my_copied_rule.py")
    text = (tmp_path / "my_copied_rule.py").read_text()
    text = text.replace("at_most_a_quarter", "a_quarter").replace("mean_activation", "mean_value")
    (tmp_path / "my_copied_rule.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    register.import_module("my_copied_rule")
    assert "a_quarter" in register.SELECTIONS
