"""The Rainbow family learns on environments whose answers are known."""

import pathlib

import pytest

from dormant import results
from dormant.experiments.run import execute, plan
from dormant.training.loop import Loop

CONFIGS = pathlib.Path(__file__).parent.parent.parent / "dormant" / "configs"
LEARN = [
    "Rainbow.network='mlp'",
    "Rainbow.vmax=2.0",
    "Rainbow.learning_rate=3e-3",
    "Rainbow.min_replay_history=100",
    "Rainbow.replay_capacity=1000",
    "Rainbow.target_update_period=40",  # a multiple of the gradient steps of a call: one program
    "Rainbow.epsilon_decay_period=500",
    "Rainbow.update_period=4",
    "replay_ratio=1",
    "Protocol.iterations=2",
    "Protocol.training_steps=500",
    "Protocol.evaluation_steps=100",
    "Protocol.evaluation_episodes=0",
    "Protocol.log_period=200",
]
SHORT = [
    "Run.game='probe/see'",
    "Protocol.iterations=1",
    "Protocol.training_steps=108",
    "Protocol.evaluation_steps=0",
]


def last(folder, metric):
    rows = [
        row
        for row in results.read_measurements(str(folder / results.METRICS_FILE))
        if row.metric == metric
    ]
    return rows[-1].value


def train(folder, file, *bindings):
    execute(plan([str(CONFIGS / file)], [*LEARN, *bindings]), str(folder))


# In the fast suite the learning rules learn in agents/test_contract.py.
@pytest.mark.slow
@pytest.mark.parametrize(
    "file, probe",
    [
        # double, dueling, noisy, n-step, distributional, prioritised
        ("full_rainbow.gin", "probe/two_step"),
        ("full_rainbow.gin", "probe/see"),
        ("rainbow.gin", "probe/two_step"),
        ("c51.gin", "probe/two_step"),
        ("c51.gin", "probe/see"),
    ],
)
def test_the_best_action_is_found(file, probe, tmp_path):
    """Both probes pay 1 for the right action and 0 or chance for the wrong one."""
    train(tmp_path, file, f"Run.game='{probe}'")
    assert last(tmp_path, "eval/average_return") > 0.95


@pytest.mark.parametrize("file, uniform", [("full_rainbow.gin", False), ("rainbow.gin", True)])
def test_noisy_agents_act_themselves_from_the_first_step_on(file, uniform, tmp_path):
    """The others choose at random until they learn."""
    planned, chosen = plan([str(CONFIGS / file)], [*LEARN, *SHORT]), []
    parts = {
        name: lambda *args, name=name, do=getattr(planned.population, name): (
            chosen.append(name) or do(*args)
        )
        for name in ("act", "explore")
    }
    population = planned.population._replace(**parts)
    loop = Loop(population, planned.protocol, planned.make_env, str(tmp_path))
    state = loop.start()
    while state.agent_steps < 104:  # what follows is a gradient step
        state = loop.advance(state)
    loop.close()
    warm_up = ["explore" if uniform else "act"] * 100
    assert chosen == warm_up + ["act"] * 4


@pytest.mark.slow
def test_drq_eps_acts_on_images(tmp_path):
    """Augmented 84x84 images, one step an episode's credit: best return 4, random 2."""
    settings = [
        "Rainbow.network='nature'",
        "Rainbow.width=0.25",
        "Rainbow.learning_rate=5e-4",
        "Rainbow.gamma=0.5",
    ]
    settings += ["Rainbow.target_update_period=1", "Rainbow.update_horizon=1"]
    train(tmp_path, "drq_eps.gin", "Run.game='probe/see_image'", *settings)
    assert last(tmp_path, "eval/average_return") > 3.5
