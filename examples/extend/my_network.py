"""A network: two dense layers with LayerNorm, for ``DQN.network = "layer_norm_mlp"``."""

import flax.linen as nn
import jax

from dormant import register


class LayerNormMLP(nn.Module):
    """Vectors (B, D) -> action values (B, num_actions)."""

    num_actions: int
    neurons: int = 64

    # Which layers Reset may re-initialise; without it, only Reset.layers = ("all",) is possible.
    reset_groups = {"penultimate": ("Dense_1", "LayerNorm_1"), "last": ("Dense_2",)}

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        x = observation
        for _ in range(2):
            x = nn.relu(nn.LayerNorm()(nn.Dense(self.neurons)(x)))
        return nn.Dense(self.num_actions)(x)


@register.network("layer_norm_mlp", axes=1)
def make(config, spec):
    """config: the agent's record, here DQN; spec: dormant.types.EnvSpec."""
    return LayerNormMLP(spec.num_actions, round(64 * config.width))
