"""How long a run is and what it records, and whether that fits the agent's schedule."""

from dataclasses import dataclass

from dormant.agents.interface import Schedule
from dormant.types import DormantError, check_name

WRITERS = ("csv", "tensorboard", "wandb")
METRICS = ("weights", "ranks", "gradients", "churn", "overlap")  # training/measure.py


@dataclass(frozen=True)
class Protocol:
    """How long a run is and what it records.

    Defaults: the paper's default setting on Atari (paper.md 3.2).
    """

    iterations: int = 40
    training_steps: int = 250_000  # agent steps of an iteration
    evaluation_steps: int = 125_000  # agent steps of its evaluation at least; 0 = by episodes
    evaluation_episodes: int = 0  # episodes of its evaluation; both 0 = no evaluation
    evaluation_noop_max: int = 0  # Atari: random no-ops at the start of its episodes; DrQ(eps): 30
    log_period: int = 20_000  # gradient steps between two measurements
    # at which the dormant fraction is recorded (the paper's figures'); every member's own is added
    taus: tuple[float, ...] = (0.0, 0.025, 0.1)
    # of METRICS, measured at every log beside the dormant fractions (docs/metrics.md)
    metrics: tuple[str, ...] = ()
    checkpoint_minutes: float = 10.0  # and one at each iteration's end
    writers: tuple[str, ...] = ("csv", "tensorboard")  # of WRITERS: where measurements go
    # Replay memories of up to so many gigabytes, all members' together, are kept beside the
    # checkpoints, each row written once. Larger ones are filled again by a resumed run, which steps
    # the environments through all actions that the memories reach back to. 0 = none is kept. On
    # the device (MinAtar) a checkpoint holds the memories in any case. The default keeps SAC's
    # (0.2 GB a million rows of HalfCheetah), which take MuJoCo minutes to hours to make again, and
    # not DQN's million frames (7 GB), of which a sweep would fill disks.
    checkpoint_replay_gb: float = 2.0

    def __post_init__(self) -> None:
        if not isinstance(self.taus, (list, tuple)) or not all(map(_is_tau, self.taus)):
            raise DormantError(
                f"Protocol.taus is {self.taus!r}; it must be a list of thresholds, 0 or larger"
            )
        object.__setattr__(self, "taus", tuple(map(float, self.taus)))
        if not isinstance(self.writers, (list, tuple)):
            raise DormantError(
                f'Protocol.writers is {self.writers!r}; it must be a list such as ("csv", "wandb")'
            )
        for name in self.writers:
            check_name("writer of Protocol.writers", name, WRITERS)
        if "csv" not in self.writers:
            raise DormantError(
                f"Protocol.writers is {self.writers!r}; it must name 'csv': figures, reports and "
                "resumed runs read it"
            )
        object.__setattr__(self, "writers", tuple(self.writers))
        if not isinstance(self.metrics, (list, tuple)):
            raise DormantError(f"Protocol.metrics is {self.metrics!r}; it must be a list of names")
        for name in self.metrics:
            check_name("metric in Protocol.metrics:", name, METRICS)
        object.__setattr__(self, "metrics", tuple(dict.fromkeys(self.metrics)))

    @property
    def evaluates(self) -> bool:
        """Whether an iteration ends with an evaluation."""
        return bool(self.evaluation_steps or self.evaluation_episodes)

    def evaluated(self, steps: int, episodes: int) -> bool:
        """Whether a member's evaluation is over, at the end of one of its episodes.

        As in Dopamine the episode in which the number of steps is reached is played to its end and
        counted.

        Args:
          steps: agent steps of the evaluation so far.
          episodes: finished ones.
        """
        return steps >= self.evaluation_steps and episodes >= self.evaluation_episodes


def _is_tau(value: object) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and 0 <= value < float("inf")
    )


def check_first_learning(schedule: Schedule, stack_size: int, protocol: Protocol) -> None:
    """Raises a DormantError where learning could begin before the memory has a starting point.

    A starting point needs ``update_horizon`` rows, and with stacked frames the one after them
    (``replay/storage.py``); an episode that terminates sooner may give one earlier, which cannot be
    counted on.
    """
    period, horizon = schedule.update_period, schedule.update_horizon
    first = (schedule.min_replay_history // period + 1) * period  # rows at the first learning
    needed = horizon + (stack_size > 1)
    if first < needed:
        raise DormantError(
            f"min_replay_history is {schedule.min_replay_history}: learning would begin after "
            f"{first} agent steps, when no {horizon}-step transition is complete; "
            f"it must be at least {needed - 1}"
        )
    if stack_size > 1 and protocol.training_steps < needed:
        raise DormantError(
            f"Protocol.training_steps is {protocol.training_steps}; an iteration must hold a whole "
            f"{horizon}-step transition: at least {needed}"
        )
