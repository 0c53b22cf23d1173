"""Who gives our command a name of Dopamine's is told ours."""

import re

import pytest

from dormant.experiments import configurables, dopamine_names
from dormant.experiments.gin_text import field_names
from dormant.types import DormantError


def test_every_name_in_the_table_is_a_setting_of_ours():
    targets = [*dopamine_names.SETTINGS.values()]
    for agent in ("DQN", "Rainbow", "SAC"):
        targets += [text.format(agent=agent) for text in dopamine_names.AGENT_SETTINGS.values()]
    for target in targets:
        found = re.match(r"(\w+)\.(\w+)", target)
        if found is None:
            assert target.startswith("nothing: "), target
        elif not (found[1] == "SAC" and found[2] == "target_update_period"):
            settings = field_names(found[1])
            assert found[2] in settings or found[2] == "num_hidden_units", target


@pytest.mark.parametrize(
    "binding, named",
    [
        ("JaxDQNAgent.gamma = 0.9", "here it is DQN.gamma"),
        ("dqn_agent.JaxDQNAgent.target_update_period = 8000", "DQN.target_update_period, in grad"),
        ("JaxDQNAgent.update_period = 8", "and it leaves DQN.replay_ratio as it is"),
        ("ContinuousRunner.clip_rewards = True", "nothing: SAC's rewards are never clipped"),
        ("JaxFullRainbowAgent.noisy = False", "Rainbow.noisy"),
        ("SACAgent.hidden_units = 64", "SAC.num_hidden_units"),
        ("SACAgent.target_update_period = 1", "nothing: SAC has no such setting"),
        ("JaxFullRainbowAgent.mse_loss = True", "nothing: Rainbow has no such setting"),
        ("ContinuousRunner.max_steps_per_episode = 9", "nothing: an episode has the environment's"),
        ("DataEfficientAtariRunner.max_noops = 0", "AtariProtocol.noop_max"),
        ("Runner.clip_rewards = False", "DQN.clip_rewards"),
        ("create_agent.agent_name = 'jax_dqn'", "Run.agent"),
        ("atari_lib.create_atari_environment.game_name = 'Pong'", "Run.game ('Pong')"),
        ("TrainRunner.num_iterations = 3", "Protocol.iterations"),
        ("BaseRecycler.reset_period = 1000", "ReDo.period"),
        ("import dopamine.jax.agents.dqn.dqn_agent", "python -m dormant.dopamine.train"),
    ],
)
def test_a_binding_of_dopamines_is_answered_with_ours(binding, named):
    with pytest.raises(DormantError, match=re.escape(named)) as found:
        configurables.read(["dqn.gin"], [binding])
    assert "\n" not in str(found.value)


def test_a_game_by_its_gymnasium_id():
    for name in ("ALE/Pong-v5", "PongNoFrameskip-v4"):
        assert dopamine_names.game(name) == "Pong"
    assert dopamine_names.game("HalfCheetah-v4") is None and dopamine_names.game("Pong") is None
    with pytest.raises(DormantError, match="here the game is 'Pong'"):
        configurables.read(["dqn.gin"], ["Run.game = 'ALE/Pong-v5'"])


def test_other_mistakes_keep_their_messages():
    with pytest.raises(DormantError, match="unknown gin name 'DQM'"):
        configurables.read(["dqn.gin"], ["DQM.gamma = 0.9"])
