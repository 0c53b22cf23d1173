"""Agents that a run has trained: loaded, acted with, evaluated, trained further in your own loop.

agent = dormant.load_agent("runs/space", member=1)
returns = agent.evaluate(episodes=10)
action = agent.act(observation)
params = agent.networks["online"].params
"""

import os
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from dormant import results
from dormant.agents.interface import Agent, Network, Settings
from dormant.agents.parts import empty_batch
from dormant.envs import make_device_env, make_env
from dormant.envs.atari import AtariProtocol
from dormant.experiments.configurables import Configuration, read
from dormant.experiments.run import build
from dormant.redo import scores
from dormant.results import MemberRecord
from dormant.training.restored import restore_agent
from dormant.training.stage import Stage, device_stage, host_stage
from dormant.types import DormantError, Key, Transition

ACTING = 1 << 31  # no number of a step, nor of a part that an environment splits its key into


def load_agent(base_dir: str, member: int = 0) -> "TrainedAgent":
    """One member's agent from the newest checkpoint of a run, finished or not; changes nothing.

    Args:
      base_dir: of a run that was trained with ``dormant.train`` or by a sweep.
      member: its number in run.json.

    Raises:
      DormantError: base_dir holds no run or no checkpoint that can be read, or no such member.
    """
    base_dir = os.path.expanduser(base_dir)
    records = results.read_run(base_dir)["members"]
    if not 0 <= member < len(records):
        raise DormantError(
            f"{base_dir} has no member {member}; it has members 0 to {len(records) - 1}"
        )
    path = os.path.join(base_dir, results.CONFIG_FILE)
    configuration = read([path], [])
    planned = build(configuration, fits=False)
    agent = planned.population.agent
    settings = planned.population.members[member].settings
    found = restore_agent(base_dir, agent, settings, len(records), member)
    return TrainedAgent(
        agent, found.state, settings, found.agent_steps, found.gradient_steps,
        records[member], configuration,
    )  # fmt: skip


def episode_key(seed: int) -> Key:
    """The root of what an agent draws in one episode; the environment draws from key(seed)."""
    return jax.random.fold_in(jax.random.key(seed), ACTING)


class TrainedAgent:
    """One agent, as a checkpoint has it. Made by ``load_agent``.

    Attributes:
      agent: its pure functions (``agents.interface.Agent``): act, learn, observe, ...
      state: its record: parameters, target parameters, optimiser state. To train further, call
        ``agent.learn(state, batch, key, settings)`` with batches of your own.
      settings: learning rate, weight decay and tau of this member.
      agent_steps, gradient_steps: made before the checkpoint.
      record: what run.json says of the member.
    """

    def __init__(
        self,
        agent: Agent,
        state: Any,
        settings: Settings,
        agent_steps: int,
        gradient_steps: int,
        record: MemberRecord,
        configuration: Configuration,
    ):
        self.agent, self.state, self.settings, self.record = agent, state, settings, record
        self.agent_steps, self.gradient_steps = agent_steps, gradient_steps
        self._configuration = configuration
        self._act = jax.jit(agent.act, static_argnums=4)
        self._fractions = jax.jit(self._dormant_fractions)
        self._like = jax.eval_shape(lambda: empty_batch(agent.spec)[0])  # an observation
        self._acted = 0

    @property
    def game(self) -> str:
        """The name of the environment it was trained in."""
        return self.agent.spec.name

    @property
    def networks(self) -> dict[str, Network]:
        """The trained networks by name: parameters and optimiser state of each."""
        return self.agent.networks(self.state)

    def act(self, observation: Any, key: Key | None = None) -> np.ndarray:
        """The action that the evaluation policy takes.

        Args:
          observation: (*observation,) of one environment; on Atari (84, 84, 4), the newest frame
            last.
          key: draws what is random in the policy; None = another one at every call.

        Returns:
          () int, or (action_dim,) in [-1, 1].

        Raises:
          DormantError: the observation is not like those it was trained on.
        """
        given, like = np.asarray(observation), self._like
        # Numbers of another kind are refused: frames in [0, 1] would all become 0 as bytes.
        if given.shape != like.shape or not np.can_cast(given, like.dtype, "same_kind"):
            raise DormantError(
                f"an observation of {self.game} is {like.dtype} {like.shape} to this agent, not "
                f"{given.dtype} {given.shape}"
            )
        observation = given.astype(like.dtype)
        if key is None:
            key, self._acted = jax.random.key(self._acted), self._acted + 1
        return np.asarray(self._act(self.state, observation, key, self.agent_steps, True))

    def evaluate(self, episodes: int = 10, seed: int = 0) -> list[float]:
        """Undiscounted raw returns of whole episodes, played as in the run's evaluation phases.

        Args:
          seed: of the first episode's environment; the next ones have the next seeds.

        Raises:
          DormantError: episodes is below 1, or the environment cannot be made.
        """
        if episodes < 1:
            raise DormantError(f"episodes is {episodes}; it must be at least 1")
        stage, found = self.stage(), []
        for episode in range(episodes):
            total, moment, step = 0.0, stage.reset(seed + episode), 0
            key = episode_key(seed + episode)
            while not moment.ended:
                moment = stage.step(self.act(moment.observation, jax.random.fold_in(key, step)))
                total, step = total + moment.reward, step + 1
            found.append(total)
        stage.close()
        return found

    def stage(self) -> Stage:
        """Its environment, with the settings of evaluation."""
        if self.agent.spec.on_device:
            return device_stage(make_device_env(self.game, self._configuration.minatar))
        return host_stage(make_env(self.game, 1, self.atari))

    @property
    def atari(self) -> AtariProtocol:
        """How Atari games are played in evaluation."""
        atari, protocol = self._configuration.atari, self._configuration.protocol
        return replace(atari, noop_max=max(atari.noop_max, protocol.evaluation_noop_max))

    @property
    def tau(self) -> float:
        """The threshold at which it recycles, or the middle one of those that were recorded."""
        own, taus = self.record.get("tau"), self._configuration.protocol.taus
        return float(own if own is not None else taus[len(taus) // 2] if taus else 0.0)

    def dormant_fractions(
        self, observations: Any, actions: Any, tau: float | None = None
    ) -> dict[str, float]:
        """Fraction (0 to 1) of neurons with score <= tau, by layer, "online/Conv_0" say.

        Args:
          observations: (B, *observation), the states that the scores are means over.
          actions: (B, *action) taken there, which critics see.
          tau: None = ``self.tau``.
        """
        threshold = self.tau if tau is None else tau
        found = self._fractions(self.state, observations, actions, threshold)
        return {layer: float(value) for layer, value in found.items()}

    def _dormant_fractions(self, state: Any, observations: Any, actions: Any, tau: Any) -> dict:
        zeros = jax.numpy.zeros(len(observations))
        batch = Transition(observations, actions, zeros, zeros, observations)
        return {
            f"{name}/{layer}": jax.numpy.mean(each <= tau)
            for name, activations in self.agent.observe(state, batch, jax.random.key(0)).items()
            for layer, each in scores(activations).items()
        }
