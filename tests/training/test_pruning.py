"""Pruned neurons stay silent: through optimiser steps, in target networks, across a resume. So do
utilities, initial weights and the history of metrics.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dormant import results
from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.interface import Settings
from dormant.agents.sac import SAC, make_sac
from dormant.envs import env_spec
from dormant.experiments.run import execute, make_loop, plan
from dormant.redo import silenced
from dormant.training.carried import laden, wirings
from dormant.training.pruning import Prune, make_prune
from dormant.types import DormantError, Transition
from tests.training import run_minatar, run_probe

RATE, GAMMA = 3e-3, 0.9


def settings(tau):
    return Settings(jnp.float32(RATE), jnp.float32(0.0), jnp.float32(tau))


def batch_of(spec, key, size=16):
    """Random transitions."""
    keys = jax.random.split(jax.random.key(key), 4)
    shape = (size, *spec.observation_shape)
    if np.dtype(spec.observation_dtype) == bool:
        s_tm1, s_t = (jax.random.bernoulli(k, 0.3, shape) for k in keys[:2])
    else:
        s_tm1, s_t = (jax.random.normal(k, shape) for k in keys[:2])
    if spec.num_actions:
        action = jax.random.randint(keys[2], (size,), 0, spec.num_actions)
    else:
        action = jax.random.uniform(keys[2], (size, *spec.action_shape), minval=-1)
    reward = jax.random.normal(keys[3], (size,))
    return Transition(s_tm1, action, reward, jnp.full(size, GAMMA), s_t)


def pruned_agent(agent, tau, key=0):
    """(agent that carries masks, its state with some neurons pruned)."""
    prune = make_prune(Prune(batch_size=16), agent)
    agent = laden(agent, [prune.carried])
    state = agent.init(jax.random.key(key), settings(tau))
    given = (batch_of(agent.spec, 9), jax.random.key(1), settings(tau), jnp.int32(1000))
    inner, counts, masks = jax.jit(prune.apply)(state.state, *given, state.carried["pruned"])
    return agent, state.replace(state=inner, carried={"pruned": masks}), counts


def trained(agent, state, steps, sync=0):
    learn = jax.jit(agent.learn)
    for step in range(steps):
        state = learn(state, batch_of(agent.spec, step), jax.random.key(step), settings(0.0))[0]
        if sync and (step + 1) % sync == 0:
            state = agent.sync_target(state)
    return state


def mlp(params, x):
    for name in ("Dense_0", "Dense_1"):
        x = jax.nn.relu(x @ params[name]["kernel"] + params[name]["bias"][None])
    return x @ params["final_layer"]["kernel"] + params["final_layer"]["bias"][None]


def removed(params, keep):
    """The parameters of a smaller network: the neurons that are not kept do not exist."""
    first, second = keep["Dense_0"], keep["Dense_1"]
    return {
        "Dense_0": {
            "kernel": params["Dense_0"]["kernel"][:, first],
            "bias": params["Dense_0"]["bias"][first],
        },
        "Dense_1": {
            "kernel": params["Dense_1"]["kernel"][first][:, second],
            "bias": params["Dense_1"]["bias"][second],
        },
        "final_layer": {
            "kernel": params["final_layer"]["kernel"][second],
            "bias": params["final_layer"]["bias"],
        },
    }


def test_a_pruned_network_trains_like_one_without_those_neurons():
    config = DQN(network="mlp", learning_rate=RATE)
    spec = env_spec("probe/see")
    agent, state, counts = pruned_agent(make_dqn(config, spec), tau=0.5)
    assert (
        counts["pruned_neurons/online/Dense_0"] + counts["remaining_neurons/online/Dense_0"] == 64
    )
    masks = state.carried["pruned"]["online"]
    keep = {layer: ~np.asarray(mask) for layer, mask in masks.items()}
    assert all(0 < each.sum() < 64 for each in keep.values())
    small = removed(state.state.params["params"], keep)
    target = removed(state.state.target_params["params"], keep)
    adam = optax.adam(RATE, config.adam_b1, config.adam_b2, config.adam_epsilon)
    moments = adam.init(small)

    @jax.jit
    def step(small, moments, target, batch):
        def loss(small):
            q = jnp.take_along_axis(mlp(small, batch.s_tm1), batch.a_tm1[:, None], 1)[:, 0]
            best = jnp.max(mlp(target, batch.s_t), axis=1)
            return jnp.mean(optax.huber_loss(batch.r_t + batch.discount_t * best - q))

        updates, moments = adam.update(jax.grad(loss)(small), moments)
        return optax.apply_updates(small, updates), moments

    for number in range(60):
        small, moments = step(small, moments, target, batch_of(spec, number))
        if (number + 1) % 20 == 0:
            target = small
    state = trained(agent, state, 60, sync=20)
    x = jax.random.normal(jax.random.key(5), (32, *spec.observation_shape))
    for ours, theirs in ((state.state.params, small), (state.state.target_params, target)):
        np.testing.assert_allclose(mlp(ours["params"], x), mlp(theirs, x), rtol=1e-4, atol=1e-5)


def test_a_neuron_that_stays_pruned_is_counted_once():
    agent = make_dqn(DQN(network="mlp"), env_spec("probe/see"))
    _, state, first = pruned_agent(agent, tau=0.5)
    given = (batch_of(agent.spec, 9), jax.random.key(1), settings(0.5), jnp.int32(2000))
    prune = make_prune(Prune(batch_size=16), agent)
    second = jax.jit(prune.apply)(state.state, *given, state.carried["pruned"])[1]
    for layer in ("online/Dense_0", "online/Dense_1"):
        pruned = [int(each[f"pruned_neurons/{layer}"]) for each in (first, second)]
        assert pruned[0] > 0 and sum(pruned) == 64 - second[f"remaining_neurons/{layer}"]


@pytest.mark.parametrize("name", ["layer norm", "sac"])
def test_no_weight_of_a_pruned_neuron_moves(name):
    """With a normalisation, gradients reach silenced weights; a target critic is an average."""
    if name == "sac":
        agent = make_sac(SAC(num_hidden_units=16), env_spec("probe/see_continuous"))
    else:
        config = DQN(network="minatar_layer_norm", width=0.25)
        agent = make_dqn(config, env_spec("MinAtar/Breakout"))
    known = wirings(agent)
    agent, state, counts = pruned_agent(agent, tau=0.6)
    assert sum(int(n) for name, n in counts.items() if name.startswith("pruned")) > 3
    masks = state.carried["pruned"]
    state = trained(agent, state, 5)
    everything = {name: network.params for name, network in agent.networks(state).items()}
    for found in (everything, agent.targets(state)):
        assert found
        for network, params in found.items():
            silent = silenced(params, known[network], masks[network])
            jax.tree.map(np.testing.assert_array_equal, params, silent)
    if name == "layer norm":  # the masks are what keeps them
        plain = jax.jit(agent.learn)(
            state.replace(carried={"pruned": jax.tree.map(jnp.zeros_like, masks)}),
            batch_of(agent.spec, 7),
            jax.random.key(7),
            settings(0.0),
        )[0]
        silent = silenced(plain.state.params, known["online"], masks["online"])
        assert any(
            (a != b).any()
            for a, b in zip(jax.tree.leaves(plain.state.params), jax.tree.leaves(silent))
        )


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(run_probe, id="host"),
        pytest.param(run_minatar, id="device"),
    ],
)
@pytest.mark.slow  # every intervention is a program of its own: half a minute to compile
def test_what_members_carry_outlives_a_resume_and_a_lost_layer_is_reported_once(
    runs, tmp_path, capfd
):
    members = [{"method": "prune", "seed": 0, "tau": tau} for tau in (0.3, 1e9)]
    members += [{"method": method, "seed": 0} for method in ("none", "l2_init")]
    members += [{"method": "shrink_perturb", "seed": 0, "period": 50}]
    often = {"period": 10, "replacement_rate": 0.05, "maturity": 5}
    members += [{"method": "continual_backprop", "seed": 0, **often}]
    bindings = [
        *(each for each in runs.BINDINGS if "Run.methods" not in each and "seeds" not in each),
        f"Run.members={members!r}",
        "Prune.period=40",
        "Prune.batch_size=16",
        "Protocol.iterations=1",
        "Protocol.metrics=('churn', 'overlap')",
    ]
    planned = plan(runs.FILES[:1], bindings)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    execute(planned, str(whole))
    lines = [line for line in capfd.readouterr().err.splitlines() if "whole layer" in line]
    assert len(lines) == len(set(lines)) == 2 and all("member 1" in line for line in lines)

    parts.mkdir()
    often = dataclasses.replace(planned.protocol, checkpoint_minutes=0.0)
    loop = make_loop(planned._replace(protocol=often), str(parts))
    state = loop.start()
    while state.gradient_steps < 60:  # killed here, after the first pruning
        state = loop.advance(state)
    loop.close()
    results.write_run(str(parts), {**planned.facts, "status": "running"})
    (parts / results.CONFIG_FILE).write_text(planned.config)
    execute(planned, str(parts))
    metrics = (whole / results.METRICS_FILE).read_bytes()
    assert (parts / results.METRICS_FILE).read_bytes() == metrics
    again = [line for line in capfd.readouterr().err.splitlines() if "whole layer" in line]
    assert sorted(again) == sorted(lines)
    rows = results.read_measurements(str(whole / results.METRICS_FILE))
    names = {row.metric for row in rows if row.member == 0}
    assert all(map(results.is_metric, names)) and "activation_churn/online/Dense_0" in names
    assert {"pruned_neurons/online/Dense_0", "remaining_neurons/online/Dense_0"} <= names
    labels = ["pruning, tau 0.3", "pruning, tau 1000000000.0", "L2 Init"]
    labels += ["S&P, period 50", "CBP, period 10, replacement_rate 0.05, maturity 5"]
    found = [member["label"] for member in results.read_run(str(whole))["members"]]
    assert found == ["DQN + " + label for label in labels[:2]] + ["DQN"] + [
        "DQN + " + label for label in labels[2:]
    ]
    assert sum(row.value for row in rows if row.member == 5 and "recycled" in row.metric) > 0
    losses = [
        [row.value for row in rows if row.member == index and row.metric == "learn/loss"]
        for index in range(6)
    ]
    assert len({tuple(each) for each in losses}) == 6
    remaining = [
        row.value for row in rows if row.member == 1 and row.metric.startswith("remaining")
    ]
    assert remaining and not any(remaining)


def test_bad_settings():
    agent = make_dqn(DQN(network="mlp"), env_spec("probe/see"))
    for options, message in (
        ({"tau": -0.1}, "Prune.tau is -0.1"),
        ({"batch_size": 0}, "Prune.batch_size is 0"),
        ({"networks": ("onlin",)}, "did you mean 'online'"),
    ):
        with pytest.raises(DormantError, match=message):
            make_prune(Prune(**options), agent)
