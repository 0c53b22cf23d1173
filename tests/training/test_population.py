"""Members are independent, reproducible and the same however their axis is executed."""

import dataclasses

import jax
import numpy as np
import pytest

from dormant import results
from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.interface import Settings
from dormant.analysis.load import load
from dormant.envs import env_spec
from dormant.envs.vector import SequentialVectorEnv
from dormant.replay import make_uniform
from dormant.training.evaluate import evaluate
from dormant.training.interventions import ReDo, make_redo
from dormant.training.members import (
    AXES,
    EVALUATE,
    TRAIN,
    Member,
    check_members,
    environment_seeds,
    loop_axis,
    vmap_axis,
)
from dormant.training.population import make_population
from dormant.types import DormantError, Row

CONFIG = DQN(
    network="mlp", batch_size=8, min_replay_history=16, learning_rate=1e-2, target_update_period=10
)
SPEC = env_spec("probe/see")
GOLDEN = {
    "train": [1442621226, 1442621226, 1947045044],
    "evaluate": [908510981, 908510981, 1093916089],
    "explored": [
        [1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 0, 0],
        [1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 0, 0],
        [0, 1, 1, 0, 1, 0, 0, 0, 0, 1, 1, 0],
    ],
    "parameters": -8.762963,  # their sum
}


def members(agent, seeds=(0, 1), tau=0.0, intervention=None):
    method = intervention.kind if intervention else "none"
    settings = Settings(1e-2, 0.0, tau)
    return [Member(seed, method, "DQN", settings, intervention) for seed in seeds]


def population(chosen, agent, axis):
    return make_population(
        agent, chosen, axis, lambda batch: make_uniform(SPEC, 100, batch, 1, 0.99)
    )


def rows(count, steps=32, seed=0):
    """Random rows (P, T, ...), the same for every member."""
    random = np.random.default_rng(seed)
    shape = (1, steps, *SPEC.observation_shape)
    once = Row(
        observation=random.normal(size=shape).astype(SPEC.observation_dtype),
        action=random.integers(0, SPEC.num_actions, (1, steps)),
        reward=random.normal(size=(1, steps)).astype(np.float32),
        terminal=random.random((1, steps)) < 0.1,
        truncated=np.zeros((1, steps), bool),
        next_observation=random.normal(size=shape).astype(SPEC.observation_dtype),
    )
    return Row(*(np.repeat(part, count, axis=0) for part in once))


def learned(chosen, agent, axis, calls=5, count=2):
    """The parameters of each member after some calls of the learner."""
    built = population(chosen, agent, axis)
    states, metrics = built.init()
    memories = built.add(built.init_memories(0), rows(len(chosen)))
    for call in range(calls):
        states, metrics, memories = built.learn(states, metrics, memories, call * count, count)
    return [jax.device_get(state.params) for state in axis.unstack(states)]


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize("make_axis", [loop_axis, lambda: vmap_axis(2)], ids=["loop", "vmap"])
def test_members_differ_in_parameters_samples_and_exploration(make_axis):
    agent = make_dqn(CONFIG, SPEC)
    axis = make_axis()
    built = population(members(agent), agent, axis)
    first, second = (jax.device_get(state.params) for state in axis.unstack(built.init()[0]))
    assert np.abs(flat(first) - flat(second)).max() > 0.01
    actions = np.array([built.explore(step) for step in range(40)])
    assert (actions[:, 0] != actions[:, 1]).any() and set(actions.ravel()) == set(
        range(SPEC.num_actions)
    )
    one, two = learned(members(agent), agent, axis)
    assert np.abs(flat(one) - flat(two)).max() > 0.01


@pytest.mark.parametrize("name", AXES)
def test_a_collection_is_taken_apart_and_put_together(name):
    """Ten members, more than a group holds; some groups are taken whole, some in part."""
    axis, taken = AXES[name](10), (0, 1, 2, 5, 9)
    whole = axis.stack([{"a": np.full(3, float(index))} for index in range(10)])
    assert [tree["a"][0] for tree in axis.unstack(whole)] == list(range(10))
    add = axis.map(lambda tree, more: {"a": tree["a"] + more}, (0, None))
    part = add(axis.take(whole, taken), 100.0)
    assert axis.to_host(part)["a"][:, 0].tolist() == [100, 101, 102, 105, 109]
    found = axis.to_host(axis.put(whole, taken, part))["a"]
    assert found[:, 2].tolist() == [100, 101, 102, 3, 4, 105, 6, 7, 8, 109]
    again = axis.to_host(axis.device_put({"a": found}))
    np.testing.assert_array_equal(again["a"], found)


def test_a_member_does_not_depend_on_its_peers_or_its_place():
    agent = make_dqn(CONFIG, SPEC)
    alone = learned(members(agent, seeds=(7,)), agent, loop_axis())[0]
    among = learned(members(agent, seeds=(3, 7, 5)), agent, loop_axis())[1]
    np.testing.assert_array_equal(flat(alone), flat(among))


def test_the_member_axis_is_sharded_over_the_devices():
    agent = make_dqn(CONFIG, SPEC)
    built = population(members(agent, seeds=range(8)), agent, vmap_axis(8))
    states, metrics = built.init()
    memories = built.init_memories(0)
    leaf, frames = jax.tree.leaves(states.params)[0], memories.storage.observation
    assert len(leaf.sharding.device_set) == len(frames.sharding.device_set) == 8
    assert frames.addressable_shards[0].data.shape[0] == 1
    memories = built.add(memories, rows(8))
    states, _, _ = built.learn(states, metrics, memories, 0, 2)
    assert len(jax.tree.leaves(states.params)[0].sharding.device_set) == 8


@pytest.mark.parametrize("make_axis", [loop_axis, lambda: vmap_axis(3)], ids=["loop", "vmap"])
def test_an_intervention_touches_only_its_own_members(make_axis):
    agent = make_dqn(CONFIG, SPEC)
    redo = make_redo(ReDo(batch_size=16), agent)
    everything = 1e9  # every neuron is dormant at this threshold
    chosen = members(agent, seeds=(0, 1)) + members(
        agent, seeds=(1,), tau=everything, intervention=redo
    )
    axis = make_axis()
    built = population(chosen, agent, axis)
    states, _ = built.init()
    before = [jax.device_get(state.params) for state in axis.unstack(states)]
    memories = built.add(built.init_memories(0), rows(3))
    states, counts = built.intervene(redo, states, memories, 1000)
    after = [jax.device_get(state.params) for state in axis.unstack(states)]
    for index in (0, 1):
        np.testing.assert_array_equal(flat(before[index]), flat(after[index]))
    assert counts == {2: {"online/Dense_0": 64, "online/Dense_1": 64}}
    assert np.abs(after[2]["params"]["final_layer"]["kernel"]).max() == 0  # all outgoing weights
    assert (
        np.abs(
            after[2]["params"]["Dense_0"]["kernel"] - before[2]["params"]["Dense_0"]["kernel"]
        ).min()
        > 0
    )


def test_every_step_has_its_own_actions_and_its_own_batch():
    agent = make_dqn(CONFIG, SPEC)
    built = population(members(agent, seeds=(0,)), agent, loop_axis())
    seen = (np.zeros(SPEC.observation_shape, SPEC.observation_dtype),)
    states = built.init()[0]
    acted = {int(built.act(states, seen, step, False)[0]) for step in range(16)}  # epsilon is 1
    assert acted == set(range(SPEC.num_actions))
    memories, losses = built.add(built.init_memories(0), rows(1)), []
    for step, count in ((0, 1), (1, 1), (0, 2)):
        metrics = built.learn(*built.init(), memories, step, count)[1]
        losses.append(float(metrics[0].sums["loss"]))
    assert losses[0] != losses[1] and losses[2] != pytest.approx(2 * losses[0], rel=0.1)


class Counting:
    """Episodes of so many steps, each of reward 1."""

    def __init__(self, length):
        self.length, self.steps = length, 0
        self.seen = np.zeros(SPEC.observation_shape, SPEC.observation_dtype)

    def reset(self, seed):
        return self.seen

    def step(self, action):
        self.steps += 1
        return self.seen, 1.0, self.steps % self.length == 0, False


def test_an_evaluation_counts_every_episode_once_and_acts_by_a_clock_that_runs_on():
    agent = make_dqn(CONFIG, SPEC)
    built, clocks = population(members(agent), agent, loop_axis()), []

    def act(states, observations, agent_steps, evaluate):
        clocks.append((agent_steps, evaluate))
        return built.act(states, observations, agent_steps, evaluate)

    env = SequentialVectorEnv(SPEC, [Counting(2), Counting(3)])
    given = (built._replace(act=act), built.init()[0], env, np.zeros(2, np.int64))
    returns = evaluate(*given, lambda steps, episodes: episodes >= 2, 40, lambda count: None)
    assert returns == [[2, 2], [3, 3]]
    assert clocks == [(40 + step, True) for step in range(6)]


def test_learning_is_compiled_once_and_counts_and_notes_divergence():
    agent = make_dqn(dataclasses.replace(CONFIG, learning_rate=1e-3), SPEC)
    built = population(members(agent, seeds=(0,)), agent, loop_axis())
    states, metrics = built.init()
    bad = rows(1)._replace(reward=np.full((1, 32), np.inf, np.float32))
    memories = built.add(built.init_memories(0), bad)
    with jax.log_compiles(False):
        states, metrics, memories = built.learn(states, metrics, memories, 0, 1)
        states, metrics, memories = built.learn(states, metrics, memories, 1, 1)
    assert int(metrics[0].count) == 2 and int(metrics[0].diverged) == 0
    cleared = built.clear(metrics)
    assert int(cleared[0].count) == 0 and int(cleared[0].diverged) == 0


@pytest.mark.parametrize("make_axis", [loop_axis, lambda: vmap_axis(2)], ids=["loop", "vmap"])
def test_a_diverged_member_has_no_dormant_fraction(make_axis, tmp_path):
    agent, axis = make_dqn(CONFIG, SPEC), make_axis()
    built = population(members(agent), agent, axis)
    states = axis.unstack(built.init()[0])
    for bad, place in ((np.nan, ("Dense_0", "kernel")), (np.inf, ("Dense_1", "bias"))):
        broken = jax.tree.map(np.array, states[0])
        broken.params["params"][place[0]][place[1]][0] = bad
        memories = built.add(built.init_memories(0), rows(2))
        measured = built.measure(axis.stack([broken, states[1]]), memories, 1)
        assert {f"dormant_fraction/tau={tau}/all" for tau in ("0", "0.025", "0.1")} < set(measured)
        for name, values in measured.items():
            assert np.isnan(values[0]) and np.isfinite(values[1]), name
    rates = [results.Measurement(0, 0, 4, 2, name, each[0]) for name, each in measured.items()]
    path = tmp_path / results.METRICS_FILE
    path.write_text(results.header() + results.format_rows(rates))
    assert path.read_text().count(",nan\n") == len(rates)
    assert all(np.isnan(row.value) for row in results.read_measurements(str(path)))
    facts = {"status": "finished", "members": [{"member": 0}]}
    results.write_run(str(tmp_path), facts)
    assert load(str(tmp_path)).rows["value"].isna().all()


def test_a_silent_neuron_is_measured_as_dormant_at_tau_0():
    agent = make_dqn(CONFIG, SPEC)
    built = population(members(agent, seeds=(0,)), agent, loop_axis())
    state = jax.tree.map(np.array, built.init()[0][0])
    state.params["params"]["Dense_0"]["bias"][:3] = -100
    memories = built.add(built.init_memories(0), rows(1))
    measured = built.measure((state,), memories, 1)
    assert measured["dormant_fraction/tau=0/online/Dense_0"].tolist() == [3 / 64]


def test_equal_members_are_refused():
    agent = make_dqn(CONFIG, SPEC)
    with pytest.raises(DormantError, match="members 0 and 1 are the same: DQN, seed 4"):
        check_members(members(agent, seeds=(4, 4)))
    with pytest.raises(DormantError, match="members 0 and 1 are the same"):
        check_members(members(agent, (4,), tau=0.1) + members(agent, (4,), tau=0.2))  # unread
    with pytest.raises(DormantError, match="at least one member"):
        check_members([])
    one, other = (make_redo(ReDo(period=period), agent) for period in (10, 20))
    differ = [members(agent, (4,), tau, each)[0] for tau in (0.1, 0.2) for each in (one, other)]
    check_members([*differ, *members(agent, (4,))])
    with pytest.raises(DormantError, match="members 0 and 4 are the same"):
        equal = make_redo(ReDo(period=10), agent)
        check_members([*differ, *members(agent, (4,), 0.1, equal)])


def test_a_members_randomness_is_its_seeds_alone():
    """Golden values: nothing else that is written or set may deal the members anew."""
    agent = make_dqn(CONFIG, SPEC)
    redo = make_redo(ReDo(batch_size=16), agent)
    chosen = members(agent, (3,)) + members(agent, (3,), 0.1, redo) + members(agent, (4,))
    assert environment_seeds(chosen, TRAIN, 2).tolist() == GOLDEN["train"]
    assert environment_seeds(chosen, EVALUATE, 2).tolist() == GOLDEN["evaluate"]
    built = population(chosen, agent, loop_axis())
    explored = np.array([built.axis.to_host(built.explore(step)) for step in range(12)]).T.tolist()
    assert explored == GOLDEN["explored"]
    first, second, other = (flat(state.params) for state in loop_axis().unstack(built.init()[0]))
    np.testing.assert_array_equal(first, second)
    assert float(first.sum()) == pytest.approx(GOLDEN["parameters"], rel=1e-5)
    assert np.abs(first - other).max() > 0.01
