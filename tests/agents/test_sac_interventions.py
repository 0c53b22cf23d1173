"""ReDo and Reset on SAC's networks: each on its own, target critics as asked, the temperature
never.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.agents.interface import Settings
from dormant.agents.sac import SAC, make_sac
from dormant.envs import env_spec
from dormant.training.gradients import gradients
from dormant.training.interventions import ReDo, Reset, make_redo, make_reset
from dormant.training.pruning import Prune, make_prune
from dormant.training.successors import (
    ContinualBackprop,
    ShrinkPerturb,
    make_continual_backprop,
    make_shrink_perturb,
)
from dormant.types import DormantError, Transition

AGENT = make_sac(SAC(num_hidden_units=8, width=0.75), env_spec("Hopper-v5"))  # 6 neurons a layer
SETTINGS = Settings(jnp.float32(3e-4), jnp.float32(0.0))
RNG = np.random.default_rng(0)
BATCH = Transition(
    *(
        jnp.asarray(RNG.normal(size=shape), jnp.float32)
        for shape in ((32, 11), (32, 3), (32,), (32,), (32, 11))
    )
)
DEAD = {"actor": ("Dense_0", 1), "critic_1": ("Dense_1", 2), "critic_2": ("Dense_0", 3)}


@pytest.fixture(scope="module")
def state():
    """One neuron of each network never fires and still has outgoing weights; targets lag, the
    temperature has moved.
    """
    start = jax.jit(AGENT.init)(jax.random.key(0), SETTINGS)
    start = start.replace(
        target_critics=jax.tree.map(lambda leaf: leaf + 0.01, start.target_critics),
        log_temperature=start.log_temperature._replace(params=jnp.float32(-0.3)),
    )
    networks = AGENT.networks(start)
    for name, (layer, neuron) in DEAD.items():
        params = jax.tree.map(lambda leaf: leaf, networks[name].params)
        bias = params["params"][layer]["bias"]
        params["params"][layer] = params["params"][layer] | {"bias": bias.at[neuron].set(-100.0)}
        networks[name] = networks[name]._replace(params=params)
    return AGENT.with_networks(start, networks)


def outputs(state):
    act = jax.vmap(lambda observation: AGENT.act(state, observation, jax.random.key(0), 0, True))
    return {"actor": act(BATCH.s_tm1), "features": AGENT.features(state, BATCH, jax.random.key(0))}


def changed_entries(before, after):
    """{layer/leaf: indices of changed entries}"""
    flat = zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True)
    found = {
        "/".join(str(k.key) for k in path[1:]): np.argwhere(np.asarray(a != b))
        for (path, a), b in flat
    }
    return {name: where for name, where in found.items() if len(where)}


def recycled(state, **options):
    redo = make_redo(ReDo(tau=0.0, batch_size=32, **options), AGENT)
    return jax.jit(redo.apply)(state, BATCH, jax.random.key(5), SETTINGS, jnp.int32(1))


def test_redo_recycles_the_dormant_neuron_of_each_network_and_leaves_the_outputs(state):
    after, counts = recycled(state)
    found = {name: int(count) for name, count in counts.items()}
    for name, (layer, neuron) in DEAD.items():
        assert found[f"{name}/{layer}"] == 1
        before_params, after_params = (
            AGENT.networks(state)[name].params,
            AGENT.networks(after)[name].params,
        )
        changed = changed_entries(before_params, after_params)
        following = {"Dense_0": "Dense_1", "Dense_1": "final_layer"}[layer]
        assert (
            set(changed[f"{layer}/kernel"][:, 1]) == set(changed[f"{layer}/bias"][:, 0]) == {neuron}
        )
        assert set(changed[f"{following}/kernel"][:, 0]) == {neuron}
        assert set(changed) == {f"{layer}/kernel", f"{layer}/bias", f"{following}/kernel"}
        np.testing.assert_array_equal(after_params["params"][following]["kernel"][neuron], 0.0)
    assert sum(found.values()) == 3
    np.testing.assert_allclose(outputs(after)["actor"], outputs(state)["actor"], atol=1e-6)
    kept, still = ((each.target_critics, each.log_temperature) for each in (state, after))
    for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(still), strict=True):
        np.testing.assert_array_equal(one, other)


def test_redo_of_some_networks_leaves_the_others(state):
    after, counts = recycled(state, networks=("critic_1", "critic_2"))
    assert {name.split("/")[0] for name in counts} == {"critic_1", "critic_2"}
    assert not changed_entries(state.actor.params, after.actor.params)
    assert changed_entries(state.critics[1].params, after.critics[1].params)


def test_gradients_are_at_the_networks_given(state):
    """The actor's loss reads the critics, which a step changes first."""
    small, large = (
        jax.jit(lambda own: gradients(AGENT, state, BATCH, jax.random.key(0), own))(
            SETTINGS._replace(learning_rate=jnp.float32(rate))
        )
        for rate in (1e-4, 1.0)
    )
    jax.tree.map(np.testing.assert_array_equal, small, large)


@pytest.mark.parametrize(
    "make, config",
    [
        (make_redo, ReDo),
        (make_continual_backprop, lambda **own: ContinualBackprop(1.0, maturity=0, **own)),
        (make_shrink_perturb, lambda **own: ShrinkPerturb(shrink=0.0, **own)),
        (make_prune, Prune),
    ],
    ids=["redo", "continual backprop", "shrink and perturb", "prune"],
)
def test_the_named_networks_alone_and_no_two_drawn_alike(state, make, config):
    """Two critics of the same weights would be one."""
    intervention = make(config(networks=("critic_1", "critic_2")), AGENT)
    given = [BATCH, jax.random.key(5), SETTINGS._replace(tau=jnp.float32(1e9)), jnp.int32(1)]
    if intervention.carried:
        given.append(intervention.carried.init(state))
    after = jax.jit(intervention.apply)(state, *given)[0]
    for one, other in zip(jax.tree.leaves(state.actor), jax.tree.leaves(after.actor)):
        np.testing.assert_array_equal(one, other)
    kernels = []
    for before, now in zip(state.critics, after.critics):
        assert changed_entries(before.params, now.params)
        kernels.append(now.params["params"]["Dense_0"]["kernel"])
    assert make is make_prune or (kernels[0] != kernels[1]).any(axis=0).all()


def test_redo_of_target_critics_overwrites_the_same_entries(state):
    after = recycled(state, target_networks=True)[0]
    for index in range(2):
        changed = changed_entries(state.critics[index].params, after.critics[index].params)
        followed = changed_entries(state.target_critics[index], after.target_critics[index])
        assert set(followed) <= set(changed) and followed
        for name, where in followed.items():
            layer, leaf = name.split("/")
            entries = tuple(where.T)
            assert {tuple(entry) for entry in where} <= {tuple(entry) for entry in changed[name]}
            np.testing.assert_array_equal(
                after.target_critics[index]["params"][layer][leaf][entries],
                after.critics[index].params["params"][layer][leaf][entries],
            )


def test_reset_renews_all_networks_and_targets_but_not_the_temperature(state):
    reset = make_reset(Reset(layers=("all",), target_networks=True), AGENT)
    after = reset.apply(state, None, jax.random.key(7), SETTINGS, jnp.int32(1))[0]
    fresh = AGENT.init(jax.random.key(7), SETTINGS)
    for name, network in AGENT.networks(after).items():
        for one, other in zip(
            jax.tree.leaves(network), jax.tree.leaves(AGENT.networks(fresh)[name]), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    for critic, target in zip(after.critics, after.target_critics):
        kernels = [tree["params"]["Dense_0"]["kernel"] for tree in (critic.params, target)]
        np.testing.assert_array_equal(*kernels)
    np.testing.assert_array_equal(after.log_temperature.params, state.log_temperature.params)
    assert state.log_temperature.params != fresh.log_temperature.params


def test_reset_of_the_last_layer_only(state):
    reset = make_reset(Reset(layers=("last",), networks=("actor",)), AGENT)
    after = reset.apply(state, None, jax.random.key(7), SETTINGS, jnp.int32(1))[0]
    changed = changed_entries(state.actor.params, after.actor.params)
    assert set(changed) == {"final_layer/kernel"}  # its bias is 0 before and after
    assert not changed_entries(state.critics[0].params, after.critics[0].params)


def test_target_networks_is_refused_where_there_is_no_such_treatment():
    without = AGENT._replace(overwrite_targets=None, name="DQN")
    for make, config in (
        (make_redo, ReDo(target_networks=True)),
        (make_reset, Reset(target_networks=True)),
    ):
        with pytest.raises(
            DormantError,
            match="target_networks is True; DQN synchronises its target network itself",
        ):
            make(config, without)
