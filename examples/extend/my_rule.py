"""A selection rule: ReDo's dormant neurons, but never more than a quarter of a layer at once, for
``ReDo.select = "at_most_a_quarter"``; and a metric beside it.
"""

import jax
import jax.numpy as jnp

from dormant import register


@register.selection("at_most_a_quarter")
def at_most_a_quarter(candidates) -> dict[str, jax.Array]:
    """candidates: dormant.redo.select.Candidates. Returns {layer: (H,) bool}, True = recycle.

    Neurons that cannot be recycled are taken out afterwards. It runs inside jit: tau is traced.
    """
    masks = {}
    for name, score in candidates.scores.items():  # (H,) float32, 1 on average over the layer
        rank = jnp.argsort(jnp.argsort(score))  # 0 = the most dormant; ties by index
        masks[name] = (score <= candidates.tau) & (rank < score.size // 4)
    return masks


@register.metric("mean_activation/{layer}", "mean over a sample of the layer's activations")
def mean_activation(agent, state, batch, key) -> dict[str, jax.Array]:
    """One value a layer, at every log; each becomes a row of metrics.csv."""
    return {
        f"{network}/{layer}": jnp.mean(values, dtype=jnp.float32)
        for network, activations in agent.observe(state, batch, key).items()
        for layer, values in activations.items()
    }
