"""The order of what falls due at one gradient step, and what each member's clock does."""

import jax
import numpy as np
import pytest

from dormant import results
from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.interface import Settings
from dormant.envs import env_spec, make_env
from dormant.envs.atari import AtariProtocol
from dormant.replay import make_uniform
from dormant.training.interventions import ReDo, Reset, make_redo, make_reset
from dormant.training.loop import Loop
from dormant.training.members import AXES, Member, loop_axis
from dormant.training.population import make_population
from dormant.training.protocol import Protocol, check_first_learning
from dormant.types import DormantError, Row

GAME = "probe/endless"
SPEC = env_spec(GAME)
AGENT = make_dqn(
    DQN(
        network="mlp",
        batch_size=8,
        min_replay_history=16,
        replay_ratio=1.0,
        update_period=4,
        target_update_period=20,
        learning_rate=1e-2,
    ),
    SPEC,
)
NEVER = Protocol(
    iterations=1,
    training_steps=4000,
    evaluation_steps=0,
    log_period=20,
    checkpoint_minutes=1e6,
)


def loop_of(members, base_dir, axis=None):
    memory = lambda batch: make_uniform(SPEC, 200, batch, 1, 0.99)
    built = make_population(AGENT, members, axis or loop_axis(), memory, NEVER.taus)
    envs = lambda evaluation: make_env(GAME, len(members), AtariProtocol())
    return Loop(built, NEVER, envs, str(base_dir))


def until(loop, state, gradient_steps):
    while state.gradient_steps < gradient_steps:
        state = loop.advance(state)
    assert state.gradient_steps == gradient_steps
    return state


def member(intervention=None, method=None, seed=0, tau=0.0, label="DQN"):
    method = method or (intervention.kind if intervention else "none")
    return Member(seed, method, label, Settings(1e-2, 0.0, tau), intervention)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def equal(one, other):
    return all(map(np.array_equal, leaves(one), leaves(other)))


def test_learning_begins_after_more_agent_steps_than_the_warm_up_has(tmp_path):
    """16 of them, in calls of 4: the first gradient steps are those of the call after step 20."""
    loop = loop_of([member()], tmp_path)
    state, clocks = loop.start(), []
    while state.agent_steps < 28:
        state = loop.advance(state)
        clocks.append((state.agent_steps, state.gradient_steps))
    loop.close()
    assert clocks[3:] == [(16, 0), (20, 0), (24, 4), (28, 8)]


def test_a_target_synchronised_at_a_reset_is_the_reset_network(tmp_path):
    """Gradient, log, intervention, synchronisation: the network is not distilled back."""
    reset = make_reset(Reset(period=40, layers=("last",)), AGENT)
    loop = loop_of([member(reset), member()], tmp_path)
    state = until(loop, loop.start(), 40)
    after, plain = jax.device_get(state.states)
    loop.close()
    assert equal(after.params, after.target_params) and equal(plain.params, plain.target_params)
    layer = after.params["params"]["final_layer"]["kernel"]
    assert not np.array_equal(layer, plain.params["params"]["final_layer"]["kernel"])


@pytest.mark.parametrize(  # groups are of vmapped members
    "name", ["loop", "groups", pytest.param("vmap", marks=pytest.mark.slow)]
)
def test_two_interventions_of_one_kind_keep_their_own_clock_and_program(name, tmp_path):
    everything = 1e9  # every neuron is dormant at this threshold
    first = make_redo(ReDo(period=40, batch_size=8), AGENT)
    second = make_redo(ReDo(period=60, batch_size=8, outgoing="random"), AGENT)
    members = [
        member(first, tau=everything),
        member(second, tau=everything),
        member(make_redo(ReDo(period=40, batch_size=8, tau=0.5), AGENT), seed=1, tau=-1.0),
    ]
    loop = loop_of(members, tmp_path, AXES[name](3))
    state, zero = loop.start(), {}
    for steps in (40, 60):
        state = until(loop, state, steps)
        kernels = [
            np.asarray(each.params["params"]["final_layer"]["kernel"])
            for each in jax.device_get(loop._population.axis.unstack(state.states))
        ]
        zero[steps] = [bool((kernel == 0).all()) for kernel in kernels]
    loop.close()
    # the first zeroes all outgoing weights, and then learns no more; the second redraws them
    assert zero == {40: [True, False, False], 60: [True, False, False]}
    rows = results.read_measurements(str(tmp_path / results.METRICS_FILE))
    recycled = {
        index: sorted(
            {
                row.gradient_steps
                for row in rows
                if row.metric == "recycled_neurons/online/Dense_0" and row.member == index
            }
        )
        for index in range(3)
    }
    assert recycled == {0: [40], 1: [60], 2: [40]}


def test_interventions_are_compared_by_content():
    one, other = (make_redo(ReDo(period=40, networks=["online"]), AGENT) for _ in range(2))
    assert one == other and hash(one) == hash(other) and one is not other
    assert one == make_redo(ReDo(period=40, networks=("online",), tau=0.3), AGENT)  # a setting
    for different in (ReDo(period=41, networks=("online",)), ReDo(period=40)):
        assert one != make_redo(different, AGENT)
    assert make_reset(Reset(layers=["last"]), AGENT) != make_reset(Reset(layers=["all"]), AGENT)


def test_a_member_that_recycles_nothing_follows_the_plain_member_bit_for_bit(tmp_path):
    """Members of one seed share all their randomness, whatever their method."""
    redo = make_redo(ReDo(period=20, batch_size=8), AGENT)
    members = [
        member(label="DQN"),
        member(redo, tau=-1.0, label="no score is so low"),
        member(make_redo(ReDo(start=10**6), AGENT), tau=0.1, label="begins beyond the end"),
        member(redo, tau=1e9, label="recycles everything"),
    ]
    loop = loop_of(members, tmp_path)
    plain, nothing, never, everything = jax.device_get(until(loop, loop.start(), 60).states)
    loop.close()
    assert equal(plain, nothing) and equal(plain, never)
    assert not equal(plain.params, everything.params)
    rows = results.read_measurements(str(tmp_path / results.METRICS_FILE))
    measured = [
        [row[1:] for row in rows if row.member == index and "recycled" not in row.metric]
        for index in range(3)
    ]
    assert measured[0] and measured[0] == measured[1] == measured[2]


def test_the_thresholds_of_the_protocol_and_every_members_own_are_recorded(tmp_path):
    redo = make_redo(ReDo(period=20, batch_size=8), AGENT)
    loop = loop_of([member(), member(redo, tau=0.3), member(seed=1, tau=0.7)], tmp_path)
    until(loop, loop.start(), 20)
    loop.close()
    rows = results.read_measurements(str(tmp_path / results.METRICS_FILE))
    for index in range(3):
        names = {row.metric for row in rows if row.member == index and row.metric.endswith("/all")}
        assert names == {f"dormant_fraction/tau={tau}/all" for tau in ("0", "0.025", "0.1", "0.3")}


@pytest.mark.parametrize("taus", [0.1, (-0.1,), ("0.1",), (float("nan"),), (True,), None])
def test_thresholds_that_are_none(taus):
    with pytest.raises(DormantError, match="Protocol.taus is .* 0 or larger"):
        Protocol(taus=taus)


@pytest.mark.parametrize(
    "history, period, horizon, stack, steps, message",
    [
        (0, 4, 10, 1, 1000, "min_replay_history is 0: .*after 4 agent steps.* at least 9"),
        (0, 1, 2, 1, 1000, "at least 1"),
        (7, 4, 9, 1, 1000, "at least 8"),
        (3, 4, 4, 4, 1000, "at least 4"),
        (20, 4, 10, 4, 8, "Protocol.training_steps is 8.*at least 11"),
        (8, 4, 10, 1, 1000, None),
        (4, 4, 4, 4, 1000, None),
        (0, 1, 1, 1, 4, None),
        (20, 4, 10, 1, 4, None),
    ],
)
def test_learning_without_a_starting_point_is_refused(
    history, period, horizon, stack, steps, message
):
    schedule = AGENT.schedule._replace(
        min_replay_history=history, update_period=period, update_horizon=horizon
    )
    protocol = Protocol(training_steps=steps)
    if message is None:
        check_first_learning(schedule, stack, protocol)
        return
    with pytest.raises(DormantError, match=message):
        check_first_learning(schedule, stack, protocol)


@pytest.mark.parametrize("stack, extra", [(1, 0), (4, 1)])
def test_the_memory_agrees_when_its_first_starting_point_is_there(stack, extra):
    """What check_first_learning counts: rows until a memory without an episode's end has one."""
    spec = env_spec("probe/see_image" if stack == 4 else "probe/see")
    memory = make_uniform(spec, 100, 4, 10, 0.99)
    state = memory.init()
    seen = np.zeros((1, *spec.observation_shape), spec.observation_dtype)
    no = np.zeros(1, bool)
    row = Row(seen, np.zeros(1, np.int32), np.zeros(1, np.float32), no, no, seen)
    add, sizes = jax.jit(memory.add), []
    for _ in range(12):
        state = add(state, row)
        sizes.append(int(memory.size(state)))
    assert sizes.index(1) + 1 == 10 + extra
