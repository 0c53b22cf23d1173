"""The loop on the device: the order of its work, its members, what it writes."""

import dataclasses
import pathlib
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.interface import Schedule, Settings
from dormant.agents.rainbow import Rainbow, make_rainbow
from dormant.envs import env_spec, make_device_env
from dormant.envs.device import DeviceEnv, DeviceStep
from dormant.experiments import CONFIGS as SHIPPED
from dormant.experiments.run import plan
from dormant.replay import make_packed, make_prioritised, make_uniform
from dormant.replay.storage import CONTINUES
from dormant.training.device import CHUNK, Calls, make_program, plan_calls
from dormant.training.device_loop import DeviceLoop
from dormant.training.members import Member, loop_axis, vmap_axis
from dormant.training.population import make_population
from dormant.types import DormantError
from tests.training.run_minatar import FILES

GAME = "MinAtar/Breakout"
SPEC, ENV = env_spec(GAME), make_device_env(GAME)
CONFIG = DQN(
    network="minatar",
    width=0.25,
    batch_size=8,
    min_replay_history=40,
    replay_ratio=1,
    replay_capacity=300,
    target_update_period=0,
)


# The order of the work
# ------------------------------------------------------------------------------------------------


def in_the_host_loops_order(schedule, training_steps, iterations):
    """Every "act" and "learn" of a run, and "end" of an iteration, one after the other."""
    for step in range(training_steps * iterations):
        if step % schedule.update_period == 0 and step > schedule.min_replay_history:
            yield from ["learn"] * schedule.updates_per_call
        yield "act"
        if (step + 1) % training_steps == 0:
            yield "end"


@pytest.mark.parametrize("seed", range(30))
def test_calls_do_the_host_loops_work_in_its_order_and_stop_at_every_event(seed):
    draw = random.Random(seed)
    period = draw.choice([1, 2, 4, 8])
    ratio = draw.choice([0.25, 0.5, 1, 2, 4])
    schedule = Schedule(8, 100, max(ratio, 1 / period), period, draw.randrange(90), 0, 1, 0.99)
    periods = [draw.randint(1, 60) for _ in range(draw.randint(1, 3))]
    training_steps, iterations = period * draw.randint(3, 300), 3
    agent_steps = gradient_steps = 0
    done = []
    while agent_steps < training_steps * iterations:
        calls = plan_calls(agent_steps, gradient_steps, schedule, periods, training_steps)
        assert min(calls) >= 0 and sum(calls) > 0 and calls.agent_steps(schedule) <= CHUNK
        work = ["learn"] * calls.first
        work += (["act"] * period + ["learn"] * schedule.updates_per_call) * calls.pairs
        done += work + ["act"] * period * calls.blocks
        before = gradient_steps
        agent_steps += calls.agent_steps(schedule)
        gradient_steps += calls.gradient_steps(schedule)
        assert gradient_steps == done.count("learn") and agent_steps == done.count("act")
        for each in periods:  # no event inside a call, and nothing after one
            assert gradient_steps // each - before // each <= 1
            if gradient_steps // each > before // each:
                assert gradient_steps % each == 0 and calls.blocks == 0
        if calls.agent_steps(schedule) and agent_steps % training_steps == 0:
            done.append("end")
    expected = list(in_the_host_loops_order(schedule, training_steps, iterations))
    assert done == expected


def test_gradient_steps_before_an_agent_step_of_a_call():
    schedule = Schedule(8, 100, 0.5, 4, 0, 0, 1, 0.99)
    calls = Calls(first=3, pairs=2, blocks=2)
    before = [calls.gradient_steps_before(step, schedule) for step in range(16)]
    assert before == [3] * 4 + [5] * 4 + [7] * 8 and calls.gradient_steps(schedule) == 7


# Members
# ------------------------------------------------------------------------------------------------


def population(agent, members, axis, make=make_uniform):
    return make_population(
        agent, members, axis, lambda batch: make_packed(make, SPEC, 300, batch, 1, 0.99)
    )


def member(seed, intervention=None, label="DQN"):
    method = "redo" if intervention else "none"
    return Member(seed, method, label, Settings(1e-3, 0.0, 0.1), intervention)


def trained(agent, seeds, axis, make=make_uniform, training_steps=400):
    """Each member's parameters, rewards stored and episodes after two calls."""
    built = population(agent, [member(seed) for seed in seeds], axis, make)
    program = make_program(built, ENV, training_steps)
    carried = (*built.init(), built.init_memories(0), program.init())
    *carried, before = program.advance(*carried, 0, 0, Calls(0, 0, 12))
    *carried, after = program.advance(*carried, 48, 0, Calls(4, 20, 0))
    states, metrics, memories, players = carried
    whole = axis.map(lambda memory: memory, (built.memory.axes,))(memories)
    return [
        {
            "params": jax.tree.leaves(state.params),
            "rewards": memory.storage.reward,
            "observations": memory.storage.observation,
            "loss": float(tally.sums["loss"]),
            "gradient_steps": int(tally.count),
            "lengths": np.concatenate([before.lengths[index], after.lengths[index]]),
            "episodes": int(player.episodes),
        }
        for index, (state, tally, memory, player) in enumerate(
            zip(*(axis.unstack(each) for each in (states, metrics, whole, players)))
        )
    ]


def test_prioritised_memories_and_noisy_networks_learn_on_the_device():
    config = Rainbow(
        network="minatar",
        width=0.25,
        batch_size=8,
        min_replay_history=40,
        replay_ratio=1,
        num_atoms=5,
        update_horizon=1,
        target_update_period=50,
    )
    one, other = trained(
        make_rainbow(config, SPEC), [0, 1], vmap_axis(2, jax.devices()[:1]), make_prioritised
    )
    assert one["gradient_steps"] == 84 and np.isfinite([one["loss"], other["loss"]]).all()
    assert one["loss"] != other["loss"]


@pytest.mark.parametrize("uniformly", [True, False])
def test_what_is_stored_of_an_agent_step(uniformly):
    """Random actions of the warm-up, rewards as learned from, a cut at the end of an iteration."""
    agent = make_dqn(CONFIG, SPEC)._replace(
        act=lambda state, observation, key, agent_steps, evaluate: jnp.int32(1),
        transform_reward=lambda reward: reward - 0.5,
        explores_uniformly=uniformly,
    )
    built = population(agent, [member(0)], loop_axis())
    program = make_program(built, ENV, 20)
    given = (*built.init(), built.init_memories(0), program.init())
    (memory,) = program.advance(*given, 0, 0, Calls(0, 0, 15))[2]
    action, reward, ending = (
        np.asarray(getattr(memory.storage, name))[:60] for name in ("action", "reward", "ending")
    )
    assert (len(set(action[:40])) > 1) is uniformly and (action[40:] == 1).all()
    assert set(reward) <= {-0.5, 0.5}
    assert (ending[19::20] != CONTINUES).all() and (ending == CONTINUES).sum() > 40


def test_episodes_of_their_own_and_an_evaluation_whose_clock_runs_on():
    """An environment that is its own record: the key it began with, the actions since."""
    begin = lambda key: (jax.random.key_data(key), jnp.zeros(CHUNK, jnp.int32), jnp.int32(0))
    nothing = (jnp.float32(0), jnp.bool_(0), jnp.bool_(0), ENV.observe(ENV.init(jax.random.key(0))))

    def step(state, action, key):
        begun, actions, count = state
        after = begun, actions.at[count].set(action), count + 1
        return after, DeviceStep(*nothing, jnp.float32(0), count + 1)

    env = DeviceEnv(SPEC, begin, lambda state, key: begin(key), step, lambda state: nothing[3])
    clock = lambda state, observation, key, agent_steps, evaluate: agent_steps
    agent = make_dqn(CONFIG, SPEC)._replace(act=clock)
    program = make_program(population(agent, [member(0)], loop_axis()), env, 20)
    training = program.restart(program.init(), 1), program.restart(program.init(), 2)
    evaluations = program.begin_evaluation(1), program.begin_evaluation(2)
    begun = [player.env[0] for (player,) in training] + [state[0] for (state,) in evaluations]
    assert len({tuple(np.asarray(key)) for key in begun}) == 4
    ((_, actions, _),) = program.evaluate(((),), evaluations[0], 40, 1, 0)[0]
    assert actions.tolist() == list(range(40, 40 + CHUNK))


# Runs
# ------------------------------------------------------------------------------------------------


def test_a_reset_is_not_undone_by_the_target_of_the_same_step(tmp_path):
    """Intervene, then synchronise: both networks are the reset one."""
    planned = plan(
        FILES,
        ["Run.game='MinAtar/Breakout'", "Run.methods=('reset',)", "Run.seeds=1", "DQN.width=0.25"]
        + ["Reset.period=20", "DQN.target_update_period=20", "DQN.min_replay_history=16"]
        + ["DQN.batch_size=4", "DQN.replay_capacity=400", "Protocol.log_period=20"]
        + ["Protocol.training_steps=400", "Protocol.iterations=1"],
    )
    loop = DeviceLoop(planned.population, planned.protocol, ENV, str(tmp_path))
    state = loop.start()
    while state.gradient_steps < 20:
        state = loop.advance(state)
    found = planned.population.axis.unstack(state.states)[0]
    jax.tree.map(np.testing.assert_array_equal, found.params, found.target_params)
    loop.close()


def test_more_steps_between_learning_than_a_call_makes_are_refused():
    agent = make_dqn(dataclasses.replace(CONFIG, update_period=CHUNK + 1), SPEC)
    with pytest.raises(DormantError, match=f"update_period is {CHUNK + 1}; it can be {CHUNK}"):
        make_program(population(agent, [member(0)], loop_axis()), ENV, 1000)


def test_the_replay_ratio_files_follow_the_games_file():
    configs = pathlib.Path(SHIPPED)
    found = sorted(configs.glob("minatar_replay_ratio_*.gin"))
    assert len(found) == 4
    for path in found:
        bindings = ["Run.game='MinAtar/Seaquest'", "Run.seeds=1"]
        planned = plan([FILES[0], str(path), FILES[1]], bindings, fits=False)
        schedule = planned.population.agent.schedule
        assert f"_{schedule.replay_ratio:g}.gin" in path.name
        assert (planned.protocol.iterations, planned.protocol.training_steps) == (10, 100_000)
