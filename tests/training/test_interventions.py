"""The options of ReDo that only comparisons use: selections, redrawing, what is recorded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.interface import Settings
from dormant.envs import env_spec
from dormant.training.interventions import ReDo, Reset, make_redo, make_reset
from dormant.types import DormantError, Transition

AGENT = make_dqn(DQN(network="mlp"), env_spec("probe/see"))
LAYERS = ("online/Dense_0", "online/Dense_1")


@pytest.fixture(scope="module")
def state():
    return AGENT.init(jax.random.key(0), AGENT.default_settings)


def applied(state, gradient_steps=1, tau=0.0, **options):
    """(state afterwards, {layer: neurons}) of ReDo on 16 observations."""
    observations = jnp.linspace(-1, 1, 16)[:, None]
    batch = Transition(
        observations, jnp.zeros(16, jnp.int32), jnp.zeros(16), jnp.zeros(16), observations
    )
    redo = make_redo(ReDo(**options), AGENT)
    settings = Settings(jnp.float32(1e-3), jnp.float32(0.0), jnp.float32(tau))
    state, counts = redo.apply(state, batch, jax.random.key(1), settings, jnp.int32(gradient_steps))
    return state, {name: int(value) for name, value in counts.items()}


@pytest.mark.parametrize("select", ["score", "random", "inverse", "utility"])
@pytest.mark.parametrize(
    "gradient_steps, share", [(0, 0.5), (50, 0.5 * np.cos(np.pi / 4)), (100, 0.0)]
)
def test_a_scheduled_share_whatever_tau_is(state, select, gradient_steps, share):
    counts = applied(state, gradient_steps, tau=5.0, select=select, share=0.5, end=100)[1]
    width = state.params["params"]["Dense_0"]["kernel"].shape[1]
    assert counts == {layer: round(share * width) for layer in LAYERS}


def test_size_matched_random_takes_as_many_but_others(state):
    (ours, counts), (theirs, same) = (
        applied(state, tau=0.6, select=select) for select in ("threshold", "size_matched_random")
    )
    assert counts == same and sum(counts.values()) > 4
    kernels = (each.params["params"]["Dense_1"]["kernel"] for each in (ours, theirs, state))
    first, second, before = (np.asarray(kernel) for kernel in kernels)
    assert (first != second).any() and (first != before).any()


def test_outgoing_weights_are_zero_or_random(state):
    dormant = state.replace(params=jax.tree.map(jnp.copy, state.params))
    dormant.params["params"]["Dense_0"]["bias"] = (
        dormant.params["params"]["Dense_0"]["bias"].at[3].set(-100.0)
    )
    for outgoing, zero in (("zero", True), ("random", False)):
        after, counts = applied(dormant, outgoing=outgoing)
        assert counts["online/Dense_0"] >= 1
        assert bool(jnp.all(after.params["params"]["Dense_1"]["kernel"][3] == 0)) is zero


def test_incoming_weights_can_be_rescaled_to_the_norm_of_the_others(state):
    before = state.params["params"]["Dense_1"]["kernel"]
    state, counts = applied(state, incoming="rescaled")
    after = state.params["params"]["Dense_1"]["kernel"]
    stays = np.asarray(jnp.all(after == before, axis=0))
    assert 0 < counts["online/Dense_1"] == (~stays).sum() < 64 and counts["online/Dense_0"] == 0
    norms = np.linalg.norm(after, axis=0)
    np.testing.assert_allclose(norms[~stays], norms[stays].mean(), rtol=1e-5)


def test_what_run_json_says_of_them():
    redo = make_redo(
        ReDo(batch_size=32, select="utility", end=10, outgoing="random", incoming="rescaled"), AGENT
    )
    wanted = {
        "score_batch_size": 32,
        "select": "utility",
        "outgoing": "random",
        "incoming": "rescaled",
        "count": "keep",
        "moments": "zero",
        "as_released": False,
    }
    assert redo.facts == wanted
    assert make_redo(ReDo(), AGENT).facts["incoming"] == "init"
    assert make_reset(Reset(layers=("penultimate",)), AGENT).facts == {
        "reset_layers": ["penultimate"]
    }


@pytest.mark.parametrize(
    "options, message",
    [
        ({"select": "utilty", "end": 5}, "did you mean 'utility'"),
        ({"select": "random"}, "needs ReDo.end"),
        ({"outgoing": "zeros"}, "did you mean 'zero'"),
        ({"incoming": "scaled"}, "did you mean 'rescaled'"),
        ({"count": "rset"}, "did you mean 'reset'"),
        ({"moments": "kep"}, "did you mean 'keep'"),
        ({"as_released": "tie"}, "unknown ReDo.as_released 'tie'; did you mean 'ties'"),
        ({"as_released": 1}, "ReDo.as_released is 1; expected True, False or one of"),
        ({"select": "size_matched"}, "did you mean 'size_matched_random'"),
        ({"share": 1.5}, "above 0 and at most 1"),
        ({"share": -0.5}, "above 0 and at most 1"),
    ],
)
def test_unknown_options(options, message):
    with pytest.raises(DormantError, match=message):
        make_redo(ReDo(**options), AGENT)
