"""Recycling versions of Dopamine's agents: their clock, what they do to the agent, checkpoints.

``pip install 'dormant[dopamine]'``, then ``pytest -m dopamine``.
"""

import os

import gin
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dormant.dopamine import CONFIGS, import_dopamine
from dormant.types import DormantError

pytestmark = [pytest.mark.dopamine, pytest.mark.filterwarnings("ignore")]

FRAME = (12, 12)  # small: the networks take any size
BINDINGS = """
ReplayBuffer.batch_size = 8
ReplayBuffer.max_capacity = 200
PrioritizedSamplingDistribution.max_capacity = 200
JaxDQNAgent.min_replay_history = 10
JaxDQNAgent.update_period = 1
JaxDQNAgent.target_update_period = 4
JaxDQNAgent.observation_shape = (12, 12)
JaxRainbowAgent.min_replay_history = 10
JaxRainbowAgent.update_period = 1
JaxRainbowAgent.target_update_period = 4
JaxRainbowAgent.observation_shape = (12, 12)
SACAgent.min_replay_history = 10
Recycling.batch_size = 8
"""
BOX = dict(
    action_shape=(2,),
    action_limits=(-np.ones(2, np.float32), np.ones(2, np.float32)),
    observation_shape=(5,),
)
# name: (recycling class, Dopamine's module and class, its arguments, its parameters)
KINDS = {
    "dqn": ("RecyclingDQNAgent", "dqn.dqn_agent.JaxDQNAgent"),
    "rainbow": ("RecyclingRainbowAgent", "rainbow.rainbow_agent.JaxRainbowAgent"),
    "full_rainbow": (
        "RecyclingFullRainbowAgent",
        "full_rainbow.full_rainbow_agent.JaxFullRainbowAgent",
    ),
    "sac": ("RecyclingSACAgent", "sac.sac_agent.SACAgent"),
}


def make(name, bindings="", plain=False):
    """An agent of Dopamine's, plain or recycling, on tiny observations."""
    from dormant.dopamine import agents

    gin.parse_config(BINDINGS + bindings)
    recycling, theirs = KINDS[name]
    module, _, kind = theirs.rpartition(".")
    kind = getattr(import_dopamine(f"jax.agents.{module}"), kind)
    made = (kind if plain else getattr(agents, recycling))(
        **(BOX if name == "sac" else {"num_actions": 3}), seed=0
    )
    made.begin_episode(observation(np.random.default_rng(0), name))
    return made


def observation(rng, name):
    if name == "sac":
        return rng.normal(size=5).astype(np.float32)
    return rng.integers(0, 255, (*FRAME, 1)).astype(np.uint8)


def advance(agent, name, steps, seed=1):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        agent.step(float(rng.normal()), observation(rng, name))


def params_of(agent, name):
    return agent.network_params if name == "sac" else agent.online_params


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("name", KINDS)
def test_an_agent_that_never_recycles_is_dopamines_bit_for_bit(name):
    """Also where dormant neurons are measured, here after every gradient step."""
    plain = make(name, plain=True)
    advance(plain, name, 16)
    gin.clear_config()
    ours = make(name, "Recycling.period = None\nRecycling.log_period = 1")
    advance(ours, name, 16)
    assert ours.gradient_steps == optax.tree_utils.tree_get(plain.optimizer_state, "count") > 3
    assert_equal(params_of(ours, name), params_of(plain, name))
    assert_equal(ours.optimizer_state, plain.optimizer_state)


@pytest.mark.parametrize("name", KINDS)
def test_recycling_is_dormants_and_happens_at_its_gradient_steps_only(name):
    agent = make(name, "Recycling.period = 3\nRecycling.tau = 0.2")
    recycled = []
    act = agent._recycler.act

    def watched(params, opt_state, inputs, key):
        after = act(params, opt_state, inputs, key)
        recycled.append((agent.gradient_steps, params, after))
        return after

    agent._recycler.act = watched
    advance(agent, name, 20)
    steps = [step for step, _, _ in recycled]
    assert steps == list(range(3, agent.gradient_steps + 1, 3)) and len(steps) >= 2
    assert act._cache_size() == 1  # compiled once, however often it acts
    _, before, (after, opt_state, report) = recycled[0]
    counts = [int(value) for key, value in report.items() if key.startswith("RecycledNeurons")]
    assert sum(counts) > 0 and 0 < report["DormantFraction"] < 1
    moved = jax.tree.map(lambda a, b: np.asarray(a != b), after, before)
    mu, nu = (optax.tree_utils.tree_get(opt_state, moment) for moment in ("mu", "nu"))
    for there, first, second in zip(*map(jax.tree.leaves, (moved, mu, nu))):
        assert not np.any(np.asarray(first)[there]) and not np.any(np.asarray(second)[there])
    assert optax.tree_utils.tree_get(opt_state, "count") == 3


@pytest.mark.parametrize("name", ["dqn", "full_rainbow"])
def test_outputs_stay_where_only_silent_neurons_are_recycled(name):
    """Whatever the network: Dopamine's convolutions to dense layers and its noisy ones."""
    agent = make(name, "Recycling.tau = 0.0")
    params = jax.tree.map(jnp.copy, agent.online_params)
    for layer in ("Conv_1", "Conv_2"):  # a third of the maps silent
        bias = params["params"][layer]["bias"]
        params["params"][layer]["bias"] = bias.at[::3].set(-1e3)
    advance(agent, name, 12)
    inputs, key = agent._batch(), agent._key()
    after, _, report = agent._recycler.act(params, agent.optimizer_state, inputs, key)
    assert report["RecycledNeurons/Conv_2"] >= 22
    noise = jax.random.split(key)[0]
    outputs = [agent._forward(each, inputs, noise).q_values for each in (params, after)]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-6)
    assert np.std(outputs[0]) > 1e-3


def test_recycling_comes_before_the_target_network_is_synchronised():
    agent = make("dqn", "Recycling.period = 1\nRecycling.tau = 1e9")
    while agent.training_steps % 4 != 1 or not agent.gradient_steps:
        advance(agent, "dqn", 1)
    assert_equal(agent.target_network_params, agent.online_params)
    assert not np.any(agent.online_params["params"]["Dense_1"]["kernel"])
    advance(agent, "dqn", 1)
    moved = agent.online_params["params"]["Conv_0"]["kernel"]
    assert np.any(moved != agent.target_network_params["params"]["Conv_0"]["kernel"])


def test_the_agent_of_atari_100k_recycles_all_hidden_neurons():
    """DrQ(eps)'s network; Dopamine's runner drives this agent in another way than the others."""
    from dormant.dopamine import agents

    gin.parse_config(BINDINGS + "JaxFullRainbowAgent.noisy = False\nRecycling.period = 3\n")
    gin.parse_config("JaxFullRainbowAgent.distributional = False\nRecycling.tau = 1e9\n")
    gin.parse_config("JaxFullRainbowAgent.num_atoms = 1\n")
    gin.parse_config("JaxFullRainbowAgent.replay_scheme = 'uniform'\n")
    agent = agents.RecyclingAtari100kRainbowAgent(3, seed=0)
    rng = np.random.default_rng(0)
    frame = lambda: observation(rng, "atari_100k")[None]
    agent.reset_all(frame())
    while agent.gradient_steps < 3:
        actions = agent.step()
        agent.log_transition(frame(), actions, np.ones(1), np.zeros(1, bool), np.zeros(1, bool))
    for head in ("Dense_1", "Dense_2"):  # both read the last hidden layer
        assert not np.any(agent.online_params["params"][head]["kernel"])
    assert np.all(agent.online_params["params"]["Dense_0"]["bias"] == 0)


def test_several_gradient_steps_in_an_update_period():
    agent = make(
        "dqn", "RecyclingDQNAgent.num_updates_per_train_step = 3\nJaxDQNAgent.update_period = 2"
    )
    before = agent.training_steps
    advance(agent, "dqn", 20)
    assert agent.training_steps == before + 20
    assert agent.gradient_steps == 3 * 5
    assert optax.tree_utils.tree_get(agent.optimizer_state, "count") == 15
    with pytest.raises(DormantError, match="num_updates_per_train_step is 0"):
        make("dqn", "RecyclingDQNAgent.num_updates_per_train_step = 0")


@pytest.mark.parametrize("name", ["dqn", "sac"])
def test_a_checkpoint_keeps_the_clock_and_the_optimiser(name, tmp_path):
    agent = make(name, "Recycling.period = 3\nRecycling.count = 'reset'")
    advance(agent, name, 18)
    bundle = agent.bundle_and_checkpoint(str(tmp_path), 0)
    gin.clear_config()
    again = make(name, "Recycling.period = 3\nRecycling.count = 'reset'")
    assert again.unbundle(str(tmp_path), 0, bundle)
    assert again.gradient_steps == agent.gradient_steps > 6
    assert_equal(again.optimizer_state, agent.optimizer_state)
    assert again.training_steps == agent.training_steps
    # a checkpoint of the plain agent: Adam's count is the number of gradient steps
    del bundle["gradient_steps"]
    assert again.unbundle(str(tmp_path), 0, bundle)
    assert again.gradient_steps == optax.tree_utils.tree_get(agent.optimizer_state, "count")


def test_a_checkpoint_resumes_with_an_annealed_learning_rate(tmp_path):
    """Its optimiser has two counts."""
    agent = make("dqn", "create_optimizer.anneal_learning_rate = True")
    agent.optimizer_state = optax.tree_utils.tree_set(agent.optimizer_state, count=9)
    agent.gradient_steps = 9
    bundle = agent.bundle_and_checkpoint(str(tmp_path), 0)
    for _ in range(2):  # of this agent, then as of the plain one
        agent.gradient_steps = 0
        assert agent.unbundle(str(tmp_path), 0, bundle) and agent.gradient_steps == 9
        bundle.pop("gradient_steps", None)
    del bundle["optimizer_state"]  # Dopamine makes it anew
    assert agent.unbundle(str(tmp_path), 0, bundle) and agent.gradient_steps == 0


def test_statistics_go_to_dopamines_collectors():
    class Collected(list):
        def write(self, statistics, collector_allowlist=()):
            self.extend((each.name, each.step, float(each.value)) for each in statistics)

    agent = make("dqn", "Recycling.period = None\nRecycling.log_period = 2")
    agent.set_collector_dispatcher(Collected())
    advance(agent, "dqn", 14)
    found = {name for name, _, _ in agent.collector_dispatcher}
    assert {"ReDo/DormantFraction", "ReDo/DormantFraction/Conv_2", "ReDo/GradientSteps"} <= found
    assert not any("RecycledNeurons" in name for name in found)
    clock = [value for name, _, value in agent.collector_dispatcher if name == "ReDo/GradientSteps"]
    assert clock == [2.0, 4.0][: len(clock)] and clock


@pytest.mark.parametrize(
    "setting, message",
    [
        ("tau = -0.1", "tau is -0.1"),
        ("tau = '0.1'", "Recycling.tau is '0.1'; expected a number"),
        ("period = 0", "Recycling.period is 0; expected a whole number, 1 or more, or None"),
        ("period = 'a'", "Recycling.period is 'a'"),
        ("start = None", "Recycling.start is None; expected a whole number, 0 or more$"),
        ("end = 1.5", "Recycling.end is 1.5"),
        ("batch_size = 0", "Recycling.batch_size is 0"),
        ("batch_size = 1.5", "Recycling.batch_size is 1.5"),
        ("as_released = 'no'", "unknown Recycling.as_released 'no'"),
        ("incoming = 'xavjer'", "unknown Recycling.incoming 'xavjer'; did you mean 'xavier'"),
    ],
)
def test_settings_out_of_range_are_one_line_and_leave_nothing(setting, message, tmp_path):
    from dormant.dopamine import runners

    runners.load_gin(["dqn.gin"], [f"Recycling.{setting}"])
    with pytest.raises(DormantError, match=f"^{message}") as found:
        runners.create_runner(str(tmp_path / "run"))
    assert "\n" not in str(found.value) and not list(tmp_path.iterdir())


FILES = sorted({name for name in os.listdir(CONFIGS)} - {"atari.gin", "recycling.gin"})


@pytest.mark.parametrize("file", FILES)
def test_a_shipped_file_parses_names_an_agent_and_turns_recycling_on(file):
    from dormant.dopamine import agents, runners

    runners.load_gin([file], [])
    recycling = agents.Recycling()
    sac = file == "sac.gin"
    assert recycling.periodic().due(200_000 if sac else 1000)
    assert recycling.tau == {"dqn.gin": 0.025, "sac.gin": 0.0}.get(file, 0.1)
    assert recycling.batch_size == (256 if sac else 64)
    named = "create_continuous_agent" if sac else "create_agent"
    known = runners.CONTINUOUS if sac else runners.DISCRETE
    assert gin.query_parameter(f"{named}.agent_name") in known


def test_names_in_dopamines_files_of_atari_100k_are_known(tmp_path):
    """Its files import less than they name; its command imports the rest."""
    from dormant.dopamine import runners

    file = tmp_path / "DrQ_eps.gin"
    file.write_text("MaxEpisodeEvalRunner.num_eval_episodes = 100\n")
    runners.load_gin([str(file)], [])


def test_a_network_without_hidden_neurons_is_refused_in_one_line():
    """As Dopamine's FourierDQNNetwork."""
    import flax.linen as nn

    from dormant.dopamine import agents
    from dormant.redo import capture

    net, inputs = nn.Dense(2), (jnp.ones((4, 3)),)
    forward = lambda params, inputs, key: net.apply(params, inputs[0])
    initialise = lambda key: net.init(key, inputs[0])
    recycler = agents.Recycler(capture(forward, init=initialise), agents.Recycling())
    key = jax.random.PRNGKey(0)
    with pytest.raises(DormantError, match="no hidden neurons"):
        recycler.measure(initialise(key), inputs, key)


def test_an_agent_may_be_named_by_a_macro(tmp_path):
    from dormant.dopamine import runners

    runners.load_gin(["dqn.gin"], ["name = 'jax_dqm'", "create_agent.agent_name = %name"])
    with pytest.raises(DormantError, match="agent_name 'jax_dqm'; did you mean 'jax_dqn'"):
        runners.create_runner(str(tmp_path))


@pytest.mark.parametrize(
    "files, bindings, message",
    [
        ([], [], "no agent: set create_agent.agent_name"),
        (["dqm.gin"], [], "no gin file 'dqm.gin'; did you mean 'dqn.gin'"),
        (["dqn.gin"], ["JaxDQNAgent.gama = 0.9"], "gin: .*gama"),
        (["dqn.gin"], ["create_agent.agent_name = 'dqn'"], "agent_name 'dqn'.*jax_dqn"),
        (["dqn.gin"], ["create_agent.agent_name = 'jax_quantile'"], "'jax_quantile'"),
        (
            ["dqn.gin"],
            ["atari_lib.create_atari_environment.game_name = 'Pongg'"],
            "the environment cannot be made: ",
        ),
        (["sac.gin"], ["create_gym_environment.version = 'v2'"], "cannot be made: The mujoco v2"),
        (["dqn.gin"], ["create_runner.schedule = 'train'"], "create_runner.schedule 'train'"),
    ],
)
def test_wrong_input_is_one_line(files, bindings, message, tmp_path):
    from dormant.dopamine import runners

    with pytest.raises(DormantError, match=message) as found:
        runners.load_gin(files, bindings)
        runners.create_runner(str(tmp_path))
    assert "\n" not in str(found.value)
