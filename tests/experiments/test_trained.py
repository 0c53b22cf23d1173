"""Agents that a run has trained: loaded, acted with, evaluated, trained further, shown."""

import os
import shutil
import sys

import imageio.v3 as imageio
import jax
import numpy as np
import pytest

import dormant
from dormant import play, results
from dormant.envs.atari import AtariProtocol
from dormant.envs.images import make_camera
from dormant.experiments.finished import load_finished
from dormant.experiments.run import plan
from dormant.training.checkpoint import Facts, Store
from dormant.training.driver import State
from dormant.training.resume import portable
from dormant.training.stage import host_stage
from dormant.types import DormantError, Transition
from tests.training import run_minatar, run_probe

SHORT = ["Protocol.iterations=1", "Protocol.training_steps=200", "Protocol.evaluation_steps=0"]


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory):
    """A short run: a DQN, and one with ReDo."""
    folder = tmp_path_factory.mktemp("probe")
    run_probe.train(folder, *SHORT)
    return str(folder)


@pytest.fixture(scope="module")
def minatar(tmp_path_factory):
    """A run on MinAtar whose only checkpoint holds its agents as they begin."""
    folder = tmp_path_factory.mktemp("minatar")
    planned = plan(run_minatar.FILES, [*run_minatar.BINDINGS, "Run.seeds=1"])
    states = planned.population.axis.unstack(planned.population.init()[0])
    (folder / results.CONFIG_FILE).write_text(planned.config)
    results.write_run(str(folder), {**planned.facts, "status": "running"})
    store = Store(str(folder))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    store.save({"states": stacked}, Facts(0, 0, 0, {}, []))
    store.close()
    return str(folder)


def test_the_loaded_agent_is_the_one_that_was_saved(base_dir):
    """As the store reads the whole checkpoint; nothing in the folder changes."""
    before = sorted(os.listdir(base_dir))
    population = plan(run_probe.FILES, [*run_probe.BINDINGS, *SHORT]).population
    state = State(*population.init(), population.init_memories(0))
    like = portable(population, state, rows=False)
    whole = Store(base_dir).restore(like)
    for member in (0, 1):
        agent = dormant.load_agent(base_dir, member)
        wanted = jax.tree.map(lambda leaf, i=member: leaf[i], whole.tree["states"])
        assert jax.tree.structure(agent.state) == jax.tree.structure(wanted)
        assert all(jax.tree.leaves(jax.tree.map(np.array_equal, agent.state, wanted)))
        assert agent.record["method"] == ("none", "redo")[member]
        assert (agent.agent_steps, agent.gradient_steps) == (200, whole.facts.gradient_steps)
    assert sorted(os.listdir(base_dir)) == before


def test_an_agent_among_others_that_carry_more_is_loaded(tmp_path):
    """Among members with masks or initial weights every member's state has a part more."""
    methods = "Run.methods=('none', 'prune', 'l2_init')"
    run_probe.train(tmp_path, *SHORT, methods, "Prune.period=50")
    agents = [dormant.load_agent(str(tmp_path), member) for member in range(3)]
    (member,) = load_finished(str(tmp_path), rows=False).members
    same = jax.tree.map(np.array_equal, member.params, networks(agents[0])["online"].params)
    assert all(jax.tree.leaves(same))


def networks(agent):
    return agent.agent.networks(agent.state)


def test_it_acts_and_is_evaluated_the_same_twice(base_dir):
    agent = dormant.load_agent(base_dir)
    first = agent.evaluate(episodes=5, seed=5)
    assert len(first) == 5 and set(first) <= {0.0, 1.0}
    assert first == agent.evaluate(episodes=5, seed=5)
    assert agent.act(np.ones(1, np.float32), jax.random.key(0)) in (0, 1)
    assert agent.act([1.0]) in (0, 1)
    for wrong in (np.ones((1, 1), np.float32), np.ones(1, complex)):
        with pytest.raises(DormantError, match=r"is float32 \(1,\) to this agent, not [cf]"):
            agent.act(wrong)


def test_training_goes_further_from_its_state(base_dir):
    agent = dormant.load_agent(base_dir)
    zeros = np.zeros(4, np.float32)
    batch = Transition(zeros[:, None], np.zeros(4, np.int32), zeros + 1, zeros, zeros[:, None])
    learn = jax.jit(agent.agent.learn)
    state, metrics, _ = learn(agent.state, batch, jax.random.key(0), agent.settings)
    assert np.isfinite(metrics["loss"])
    before, after = (agent.agent.networks(each)["online"].params for each in (agent.state, state))
    assert not all(jax.tree.leaves(jax.tree.map(np.array_equal, before, after)))


def test_a_video_shows_every_step_and_the_bars(minatar, tmp_path, capsys):
    out = tmp_path / "videos" / "one.gif"
    assert play.main(["--base_dir", minatar, "--out", str(out), "--max_steps", "30"]) == 0
    printed = capsys.readouterr().out
    assert "MinAtar/Breakout, DQN, seed 0: return " in printed and str(out) in printed
    frames = imageio.imread(out, index=None)
    assert 2 <= len(frames) <= 31 and frames.shape[1:] == (336, 336 + 320, 3)
    assert len({frame[:, :336].tobytes() for frame in frames}) > 1  # the game moves
    assert os.listdir(out.parent) == ["one.gif"]


def test_the_return_of_an_episode_that_was_cut_is_marked(minatar, tmp_path, capsys):
    flags = ["--base_dir", minatar, "--out", str(tmp_path / "one.gif")]
    assert play.main([*flags, "--max_steps", "3", "--episodes", "2"]) == 0
    assert capsys.readouterr().out.count(" (of the first 3 steps)") == 2
    assert play.main([*flags, "--max_steps", "100000"]) == 0
    assert "of the first" not in capsys.readouterr().out


def test_a_run_that_wrote_to_wandb_is_loaded_without_it(base_dir, tmp_path, monkeypatch):
    copy = shutil.copytree(base_dir, tmp_path / "copy")
    with open(copy / results.CONFIG_FILE, "a") as config:
        config.write("\nProtocol.writers = ('csv', 'wandb')\n")
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert dormant.load_agent(str(copy)).agent_steps == 200


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--member", "9"], "has no member 9; it has members 0 to 1"),
        (["--episodes", "0"], "--episodes is 0; it must be at least 1"),
        (["--out", "video.avi"], "it must end in .gif or .mp4"),
        (["--seed", "-1"], "--seed is -1"),
    ],
)
def test_wrong_flags_are_one_line(flags, message, base_dir, capsys):
    assert play.main(["--base_dir", base_dir, *flags]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not os.path.exists(os.path.join(base_dir, "play"))


def test_no_run_and_no_checkpoint_are_said(tmp_path):
    with pytest.raises(DormantError, match="holds no run"):
        dormant.load_agent(str(tmp_path))
    planned = plan(run_probe.FILES, [*run_probe.BINDINGS, *SHORT])
    (tmp_path / results.CONFIG_FILE).write_text(planned.config)
    results.write_run(str(tmp_path), {**planned.facts, "status": "running"})
    with pytest.raises(DormantError, match="holds no checkpoint"):
        dormant.load_agent(str(tmp_path))


def test_the_second_copy_shows_the_game_that_is_played():
    """The emulator in colour stays in step with the one the agent sees: same rewards."""
    from dormant.envs import env_spec, make_env

    protocol = AtariProtocol(noop_max=10)
    spec = env_spec("DemonAttack", protocol)
    stage, camera = host_stage(make_env("DemonAttack", 1, protocol)), make_camera(spec, protocol)
    moment = stage.reset(3)
    camera.reset(3, moment.newest)
    rng = np.random.default_rng(0)
    for _ in range(120):
        action = rng.integers(spec.num_actions)
        moment = stage.step(action)
        camera.step(action, moment.newest)
    image = camera.image()
    assert image.shape == (210, 160, 3)
    # Shrunk to the agent's 84x84 in grey, it is nearly what the agent sees.
    grey = image @ np.array([0.299, 0.587, 0.114])
    rows, columns = np.arange(84) * 210 // 84, np.arange(84) * 160 // 84
    small = np.stack([grey[rows + dr][:, columns + dc] for dr in (0, 1) for dc in (0, 1)]).mean(0)
    assert np.corrcoef(small.ravel(), moment.newest.ravel())[0, 1] > 0.9
    assert moment.observation.shape == (84, 84, 4)
    stage.close(), camera.close()
