"""A network of the Rainbow family: LayerNorm under distributions of action values, for
``Rainbow.network = "layer_norm_c51"`` with ``Rainbow.noisy = False``.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dormant import register
from dormant.nets import RainbowOutput


class LayerNormC51(nn.Module):
    """Vectors (B, D) -> logits of the atoms of every action's return (Bellemare et al., 2017)."""

    num_actions: int
    atoms: tuple[float, ...]  # their values
    neurons: int = 64

    reset_groups = {"penultimate": ("Dense_1", "LayerNorm_1"), "last": ("Dense_2",)}

    @nn.compact
    def __call__(self, observation: jax.Array, key: jax.Array | None = None) -> RainbowOutput:
        """key: of a noisy network's noise; None = without. This one has none."""
        del key
        x = observation
        for _ in range(2):
            x = nn.relu(nn.LayerNorm()(nn.Dense(self.neurons)(x)))
        logits = nn.Dense(self.num_actions * len(self.atoms))(x)
        logits = logits.reshape(-1, self.num_actions, len(self.atoms))
        q_values = nn.softmax(logits) @ jnp.array(self.atoms)
        return RainbowOutput(q_values, logits, features=x)


@register.network("layer_norm_c51", axes=1, head="rainbow")
def make(config, spec):
    """config: dormant.agents.rainbow.Rainbow, or a record like it; spec: dormant.types.EnvSpec."""
    vmin = -config.vmax if config.vmin is None else config.vmin
    atoms = jnp.linspace(vmin, config.vmax, config.num_atoms).tolist()
    return LayerNormC51(spec.num_actions, tuple(atoms), round(64 * config.width))
