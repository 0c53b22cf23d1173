"""Dopamine's names and ours, as a table; what users of Dopamine write by habit is answered with it.

Plain data, the source of docs/coming_from_dopamine.md. Nothing is imported: Dopamine need not be
there.
"""

import re
from collections.abc import Callable, Collection

COMMAND = "Dopamine's own agents recycle with python -m dormant.dopamine.train"
DOCS = "docs/coming_from_dopamine.md"

# A record of Dopamine's -> the agents of ours that its settings belong to.
AGENTS = {
    "JaxDQNAgent": "DQN",
    "DQNAgent": "DQN",
    "RecycledDQNAgent": "DQN",
    "JaxRainbowAgent": "Rainbow",
    "RainbowAgent": "Rainbow",
    "JaxFullRainbowAgent": "Rainbow",
    "Atari100kRainbowAgent": "Rainbow",
    "SACAgent": "SAC",
}
# Settings of these whose name or unit is another here; the rest keep their names.
AGENT_SETTINGS = {
    "target_update_period": "{agent}.target_update_period, in gradient steps (Dopamine: in agent "
    "steps; 8000 at replay ratio 0.25 is 2000 here)",
    "num_updates_per_train_step": "{agent}.replay_ratio = num_updates_per_train_step / "
    "update_period, in gradient steps per agent step",
    "update_period": "{agent}.update_period, and it leaves {agent}.replay_ratio as it is "
    "(Dopamine's replay ratio is num_updates_per_train_step / update_period)",
    "hidden_units": "{agent}.num_hidden_units",
    "seed": "Run.seeds",
    "loss_type": "nothing: the loss is Huber's, as in the paper",
    "optimizer": "nothing: it is Adam",
    "epsilon_fn": "nothing: epsilon decays linearly",
    "summary_writing_frequency": "Protocol.log_period, in gradient steps",
    "reset_mode": "Run.methods ('redo', 'reset')",
    "batch_size_statistics": "ReDo.batch_size",
    "weight_decay": "WeightDecay.coefficient",
}
# Everything else, by the last two parts of the name.
SETTINGS = {
    "create_agent.agent_name": "Run.agent ('dqn', 'rainbow', 'sac')",
    "create_agent_recycled.agent_name": "Run.agent ('dqn', 'rainbow', 'sac')",
    "create_continuous_agent.agent_name": "Run.agent ('sac')",
    "create_agent.debug_mode": "nothing: losses are always logged",
    "create_runner.schedule": "Protocol.evaluation_steps (0 = train only)",
    "create_continuous_runner.schedule": "Protocol.evaluation_steps (0 = train only)",
    "create_atari_environment.game_name": "Run.game ('Pong'), or --game",
    "create_atari_environment.sticky_actions": "AtariProtocol.sticky_actions (a probability, 0.25)",
    "create_gym_environment.environment_name": "Run.game ('HalfCheetah-v4'), or --game",
    "create_gym_environment.version": "Run.game ('HalfCheetah-v4'), or --game",
    "AtariPreprocessing.terminal_on_life_loss": "AtariProtocol.terminal_on_life_loss",
    "AtariPreprocessing.frame_skip": "AtariProtocol.frame_skip",
    "create_optimizer.learning_rate": "DQN.learning_rate (Rainbow, SAC likewise)",
    "create_optimizer.eps": "DQN.adam_epsilon (Rainbow, SAC likewise)",
    "create_optimizer.beta1": "DQN.adam_b1 (Rainbow, SAC likewise)",
    "create_optimizer.beta2": "DQN.adam_b2 (Rainbow, SAC likewise)",
    "ReplayBuffer.max_capacity": "DQN.replay_capacity (Rainbow, SAC likewise)",
    "ReplayBuffer.batch_size": "DQN.batch_size (Rainbow, SAC likewise)",
    "PrioritizedSamplingDistribution.max_capacity": "Rainbow.replay_capacity",
    "Runner.num_iterations": "Protocol.iterations",
    "Runner.training_steps": "Protocol.training_steps",
    "Runner.evaluation_steps": "Protocol.evaluation_steps",
    "Runner.max_steps_per_episode": "AtariProtocol.max_episode_steps",
    "Runner.clip_rewards": "DQN.clip_rewards (Rainbow likewise)",
    "Runner.max_noops": "AtariProtocol.noop_max",
    "ContinuousRunner.clip_rewards": "nothing: SAC's rewards are never clipped",
    "ContinuousRunner.max_steps_per_episode": "nothing: an episode has the environment's own limit",
    "MaxEpisodeEvalRunner.max_noops": "AtariProtocol.noop_max",
    "MaxEpisodeEvalRunner.num_eval_episodes": "Protocol.evaluation_episodes",
    "DataEfficientAtariRunner.num_eval_episodes": "Protocol.evaluation_episodes",
    "BaseRecycler.dead_neurons_threshold": "ReDo.tau",
    "BaseRecycler.reset_period": "ReDo.period",
    "BaseRecycler.reset_start_step": "ReDo.start",
    "BaseRecycler.reset_end_step": "ReDo.end",
    "BaseRecycler.logging_period": "Protocol.log_period",
    "NeuronRecycler.init_method_outgoing": "ReDo.outgoing",
    "NeuronRecycler.weight_scaling": "ReDo.incoming = 'rescaled'",
    "NeuronRecyclerScheduled.score_type": "ReDo.select",
    "NeuronRecyclerScheduled.recycle_rate": "ReDo.share",
}
RUNNERS = ("TrainRunner", "ContinuousRunner", "ContinuousTrainRunner", "DataEfficientAtariRunner")
MODULE = r"import dopamine\b|No module named .dopamine"


def ours(name: str) -> str | None:
    """What a setting of Dopamine's is called here; None = it is none that is known.

    Args:
      name: "Record.setting", with modules before it or not.
    """
    record, _, setting = ".".join(name.split(".")[-2:]).partition(".")
    if record in AGENTS:
        agent = AGENTS[record]
        return AGENT_SETTINGS.get(setting, f"{agent}.{setting}").format(agent=agent)
    if record in RUNNERS and f"{record}.{setting}" not in SETTINGS:
        record = "Runner"
    return SETTINGS.get(f"{record}.{setting}")


def hint(message: str, settings: Callable[[str], Collection[str]]) -> str | None:
    """The error's line where gin's whole message has a name of Dopamine's in it; else None.

    Args:
      message: gin's.
      settings: a record of ours -> its settings.
    """
    if re.search(MODULE, message):
        return f"this is a gin file of Dopamine's; {COMMAND}, the names here are in {DOCS}"
    for name in re.findall(r"([\w.]+\.\w+)\s*=", message):
        known = ours(name)
        missing = re.match(r"(\w+)\.(\w+)", known or "")
        if missing and missing[2] not in settings(missing[1]):
            known = f"nothing: {missing[1]} has no such setting"
        if known:
            return f"{name} is Dopamine's name; here it is {known} ({DOCS})"
    return None


def game(name: str) -> str | None:
    """The game that a gymnasium id of Atari names, "ALE/Pong-v5" -> "Pong"; None for others."""
    found = re.fullmatch(r"(?:ALE/)?(\w+?)(?:NoFrameskip)?-v[045]", name)
    return found[1] if found and (name.startswith("ALE/") or "NoFrameskip" in name) else None
