"""The settings that make the agents of the Rainbow family what they are, as the shipped files give
them.
"""

import dataclasses

import pytest

from dormant.experiments.configurables import configured, parse

SWITCHES = (
    "double_dqn",
    "dueling",
    "noisy",
    "distributional",
    "replay_scheme",
    "data_augmentation",
    "update_horizon",
)
TABLE = {  # in the order of SWITCHES, then learning rate, Adam's epsilon
    "c51": (False, False, False, True, "uniform", False, 1, 2.5e-4, 3.125e-4),
    "rainbow": (False, False, False, True, "prioritized", False, 3, 6.25e-5, 1.5e-4),
    "full_rainbow": (True, True, True, True, "prioritized", False, 3, 6.25e-5, 1.5e-4),
    "der": (True, True, True, True, "prioritized", False, 10, 1e-4, 1.5e-4),
    "drq_eps": (True, True, False, False, "uniform", True, 10, 1e-4, 1.5e-4),
}


@pytest.mark.parametrize("name", TABLE)
def test_switches(name):
    parse([f"{name}.gin"], [])
    rainbow = dataclasses.asdict(configured("Rainbow"))
    wanted = (
        *(rainbow[switch] for switch in SWITCHES),
        rainbow["learning_rate"],
        rainbow["adam_epsilon"],
    )
    assert wanted == TABLE[name]


@pytest.mark.parametrize("replay_ratio", [1, 2, 4, 8])
def test_the_protocol_of_drq_eps(replay_ratio):
    """400,000 agent steps at every replay ratio, no sticky actions, life loss terminal, 100
    episodes with no-ops.
    """
    files = ["drq_eps.gin"]
    if replay_ratio > 1:
        files.append(f"drq_eps_replay_ratio_{replay_ratio}.gin")
    parse(files, [])
    rainbow, protocol, atari = (
        configured(name) for name in ("Rainbow", "Protocol", "AtariProtocol")
    )
    assert (
        rainbow.replay_ratio == replay_ratio
        and rainbow.target_update_period == replay_ratio
        and rainbow.update_period == 1
    )
    assert (rainbow.min_replay_history, rainbow.epsilon_decay_period) == (1600, 5000)
    assert (rainbow.epsilon_train, rainbow.epsilon_eval, rainbow.batch_size) == (0.01, 0.001, 32)
    assert protocol.iterations * protocol.training_steps == 400_000
    assert (protocol.evaluation_steps, protocol.evaluation_episodes) == (0, 100)
    assert atari.noop_max == 30  # in training and evaluation
    assert atari.sticky_actions == 0 and atari.terminal_on_life_loss
