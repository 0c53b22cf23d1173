"""Records and errors that cross package boundaries.

Shape letters used in the whole project: P members of a population, N environments, B batch,
T agent steps collected between two calls of the learner, H neurons of a layer.
"""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:  # ``dormant.analysis`` reads this module without jax
    import jax
    from jax.typing import DTypeLike as DType  # jnp.float32, "bool", np.dtype(...)

    Array = jax.Array | np.ndarray  # on the device, or on the host
    Key = jax.Array  # () a jax PRNG key
    Scalar = jax.Array | float  # () a number, may be traced
    Scalars = dict[str, jax.Array]  # name -> () float32
else:
    Array = DType = Key = Scalar = Scalars = Any
Params = Any  # a pytree of float arrays
OptState = Any  # a pytree made by optax


class DormantError(ValueError):
    """Something the user can put right; the message is one line that names the thing and what was
    expected.
    """


class Transition(NamedTuple):
    """A batch sampled from a replay memory.

    Time indices as in rlax: ``_tm1`` before the action, ``_t`` after it.
    """

    # (B, *observation) the observation (stacked frames on Atari) that the action was taken in
    s_tm1: "jax.Array"
    a_tm1: "jax.Array"  # (B,) int32, or (B, action_dim) float32
    r_t: "jax.Array"  # (B,) float32, n-step discounted sum of (clipped) rewards
    # (B,) float32, gamma**k, k = steps summed; 0 where the episode terminated (not where truncated)
    discount_t: "jax.Array"
    s_t: "jax.Array"  # (B, *observation) the observation k steps later
    # (B,) int32, rows of the replay memory (for priorities); Any, because tuples have an "index"
    index: Any = None
    # (B,) float32 importance weights; None under uniform sampling
    weight: "jax.Array | None" = None


class Row(NamedTuple):
    """What one agent step adds to a replay memory (one member, one environment)."""

    # (*single,) the newest single frame (uint8) or observation (float32) the action was taken in;
    # None while the loop moves frames apart from their rows
    observation: Any
    action: Array  # () int32, or (action_dim,) float32
    reward: Array  # () float32, as the agent learns from it (clipped on Atari)
    terminal: Array  # () bool, the environment ended the episode: no bootstrapping beyond
    # () bool, time limit or end of an iteration: the next row starts another episode, value unknown
    truncated: Array
    # (*single,) what the action led to, before any reset; None for frame memories
    next_observation: Any = None


class EnvSpec(NamedTuple):
    """Static description of an environment."""

    name: str  # in the paper's spelling, e.g. "DemonAttack", "HalfCheetah-v5"
    observation_shape: tuple[int, ...]  # of one single observation: (84, 84) on Atari
    observation_dtype: DType  # np.uint8 on Atari
    num_actions: int  # 0 for continuous control
    action_shape: tuple[int, ...]  # () for discrete actions; continuous actions lie in [-1, 1]
    stack_size: int  # single observations stacked along a new last axis; 1 = used as they are
    frames_per_agent_step: int  # 4 on Atari
    max_episode_steps: int  # in agent steps; longer episodes are truncated
    # whether it is a pure function that runs in the agents' program (envs/device.py), or a
    # VectorEnv on the host
    on_device: bool = False
    deterministic: bool = True  # whether its stream depends on the seed and the actions only


class EnvStep(NamedTuple):
    """What a vector environment returns for one agent step of each of its N environments."""

    # (N, *single) to act on next; the first of the new episode where the old one has ended
    observation: np.ndarray
    reward: np.ndarray  # (N,) float32, raw (never clipped)
    terminal: np.ndarray  # (N,) bool
    truncated: np.ndarray  # (N,) bool, never true together with terminal
    # (N, *single) what the action led to; differs from observation at an episode's end
    next_observation: np.ndarray
    # (N,) bool, see episode_end; None = wherever terminal or truncated
    game_over: np.ndarray | None = None

    @property
    def episode_end(self) -> np.ndarray:
        """(N,) bool: the environment has been reset, so a return is to be recorded.

        Not the same as "terminal or truncated" on Atari: a lost life can be terminal to the
        learner while the game continues.
        """
        return self.terminal | self.truncated if self.game_over is None else self.game_over


class VectorEnv(Protocol):
    """N environments stepped together.

    Same-step reset: when an episode ends, the next one begins in the same call.

    Deterministic: after ``reset(seeds)`` the stream depends on the seeds and the actions only,
    whatever the environment did before. That is why a run can be restored by replaying its actions.
    """

    spec: EnvSpec
    num_envs: int

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Starts N new episodes from N seeds; returns the observations (N, *single)."""

    def send(self, actions: np.ndarray) -> None:
        """Starts one agent step of every environment; may finish it before it returns."""

    def recv(self) -> EnvStep:
        """The step that ``send`` has started; waits for it."""

    def close(self) -> None:
        """Frees threads and memory."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """The end of an error message: the nearest valid name, or all of them."""
    valid = sorted(set(valid))  # a name may be known to two tables
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(valid[:20])}"


def check_name(what: str, name: str, valid: Iterable[str]) -> None:
    """Raises a DormantError, with the nearest name, where ``name`` is none of the valid ones."""
    if name not in valid:
        raise DormantError(f"unknown {what} {name!r}; {nearest(name, valid)}")
