"""Eight SAC members in one program, one on each of eight devices."""

import jax
import numpy as np

from dormant.agents.interface import Settings
from dormant.agents.sac import SAC, make_sac
from dormant.envs import env_spec
from dormant.replay import make_uniform
from dormant.training.members import Member, vmap_axis
from dormant.training.population import make_population
from dormant.types import Row

SPEC = env_spec("Hopper-v5")
AGENT = make_sac(SAC(num_hidden_units=8, batch_size=16), SPEC)
MEMBERS = [Member(seed, "none", "SAC", Settings(1e-3, 0.0)) for seed in range(8)]


def rows(steps=40):
    """Random rows (P, T, ...) of continuous control, other ones for every member."""
    rng = np.random.default_rng(0)
    shape = (len(MEMBERS), steps)
    normal = lambda *more: rng.normal(size=(*shape, *more)).astype(np.float32)
    action = rng.uniform(-1, 1, (*shape, 3)).astype(np.float32)
    return Row(
        normal(11), action, normal(), rng.random(shape) < 0.1, np.zeros(shape, bool), normal(11)
    )


def test_eight_members_are_sharded_over_eight_devices():
    assert len(jax.devices()) == 8
    axis = vmap_axis(8)
    built = make_population(
        AGENT, MEMBERS, axis, lambda batch: make_uniform(SPEC, 50, batch, 1, 0.99)
    )
    states, metrics = built.init()
    memories = built.add(built.init_memories(0), rows())
    states, metrics, _ = built.learn(states, metrics, memories, 0, 1, True)
    for leaf in jax.tree.leaves(states):
        assert len(leaf.sharding.device_set) == 8 and leaf.addressable_shards[0].data.shape[0] == 1
    kernels = np.asarray(states.actor.params["params"]["Dense_0"]["kernel"])
    assert len({kernel.tobytes() for kernel in kernels}) == 8
    # each member has learned from its own rows: the gradient of none is another's
    norms = np.asarray(metrics.latest["gradient_norm"])
    assert len(set(norms.tolist())) == 8 and np.isfinite(norms).all()
