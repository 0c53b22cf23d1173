"""Unbatched reinforcement learning mathematics. Batching is the caller's ``jax.vmap``.

Time indices as in rlax: ``_tm1`` is what was known before the action, ``_t`` after it;
``discount_t`` holds the end of the episode (0 where it terminated). Every function checks the ranks
of its arguments first.
"""

from dormant.ops.augmentation import augment, random_intensity, random_shift
from dormant.ops.continuous import (
    sac_actor_loss,
    sac_td_errors,
    sac_temperature_loss,
    tanh_gaussian_mode,
    tanh_gaussian_sample,
)
from dormant.ops.distributional import categorical_projection, categorical_q_learning, cross_entropy
from dormant.ops.exploration import epsilon_greedy, linearly_decaying_epsilon
from dormant.ops.value_learning import (
    clip_reward,
    double_q_learning_td_error,
    huber,
    q_learning_td_error,
)

__all__ = [
    "augment",
    "categorical_projection",
    "categorical_q_learning",
    "clip_reward",
    "cross_entropy",
    "double_q_learning_td_error",
    "epsilon_greedy",
    "huber",
    "linearly_decaying_epsilon",
    "q_learning_td_error",
    "random_intensity",
    "random_shift",
    "sac_actor_loss",
    "sac_td_errors",
    "sac_temperature_loss",
    "tanh_gaussian_mode",
    "tanh_gaussian_sample",
]
