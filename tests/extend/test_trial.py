"""What users have registered is tried out before a run: one line, and nothing is written."""

from dataclasses import dataclass, make_dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from dormant import register, results
from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.parts import action_values, adam
from dormant.experiments.run import execute, plan
from dormant.nets import RainbowOutput, make_q_network
from dormant.redo import Periodic
from dormant.training.interventions import Intervention
from dormant.types import DormantError

SHORT = [
    "Run.game='CartPole-v1'",
    "Protocol.iterations=1",
    "Protocol.training_steps=60",
    "Protocol.evaluation_steps=0",
    "Protocol.log_period=5",
    "Protocol.taus=(0.1,)",
]


def small(agent: str, record: str) -> list[str]:
    return [
        *SHORT,
        f"Run.agent='{agent}'",
        f"{record}.network='mlp'",
        f"{record}.width=0.125",
        f"{record}.min_replay_history=20",
        f"{record}.replay_capacity=100",
        f"{record}.batch_size=4",
    ]


DQN_RUN, RAINBOW_RUN = small("dqn", "DQN"), small("rainbow", "Rainbow")


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    """Leaves them as they were."""
    for name, table in vars(register).items():
        if type(table) is dict:
            monkeypatch.setattr(register, name, dict(table))


class Plain(nn.Module):
    """Layers without a hidden one, and what is made of their outputs."""

    outputs: int
    record: object = None

    @nn.compact
    def __call__(self, observation, key=None):
        q_values = nn.Dense(self.outputs)(observation)
        return self.record(q_values) if self.record else q_values


RAINBOW = lambda q: RainbowOutput(q, jnp.repeat(q[..., None], 5, -1), q)


@pytest.mark.parametrize(
    "head, made, message",
    [
        ("q", Plain(3), "Plain returns q_values of shape (1, 3) for a batch of one"),
        ("q", Plain(2, lambda q: {"values": q}), "Plain returns no q_values for a batch of one"),
        ("rainbow", Plain(2), "Plain returns no logits"),
        ("rainbow", Plain(2, RAINBOW), "logits of shape (1, 2, 5) for a batch of one; expected"),
    ],
)
def test_a_network_of_other_outputs(head, made, message):
    register.network("plain", axes=1, head=head)(lambda config, spec: made)
    bindings, record = (DQN_RUN, "DQN") if head == "q" else (RAINBOW_RUN, "Rainbow")
    with pytest.raises(DormantError) as caught:
        plan([], [*bindings, f"{record}.network='plain'"])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_network_that_needs_random_numbers():
    noisy = nn.Sequential([nn.Dense(2), nn.Dropout(0.5, deterministic=False)])
    register.network("noisy", axes=1)(lambda config, spec: noisy)
    with pytest.raises(DormantError) as caught:
        plan([], [*DQN_RUN, "DQN.network='noisy'"])
    assert 'Sequential: it raises InvalidRngError: layers_1 needs PRNG for "dropout"' in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


def test_a_network_without_a_hidden_layer_has_no_dormant_fraction(tmp_path):
    register.network("plain", axes=1)(lambda config, spec: Plain(spec.num_actions))
    redo = ["Run.methods=('redo',)", "ReDo.period=5", "ReDo.batch_size=4"]
    execute(plan([], [*DQN_RUN, *redo, "DQN.network='plain'"]), str(tmp_path))
    rows = results.read_measurements(str(tmp_path / results.METRICS_FILE))
    for metric in ("dormant_fraction/tau=0.1/all", "feature_rank"):
        values = [row.value for row in rows if row.metric == metric]
        assert values and all(value != value for value in values)
    assert all(row.value == row.value for row in rows if row.metric == "learn/loss")


@pytest.mark.parametrize(
    "name, measure, message",
    [
        ("m", lambda *given: jnp.zeros(3), "metric 'm': 'm' is float32 of shape (3,); expected"),
        ("m", lambda *given: "high", "metric 'm': it raises TypeError"),
        ("m", lambda *given: {"a": jnp.zeros(())}, "metric 'm' returns a dict; its name asks for"),
        ("m/{layer}", lambda *given: jnp.zeros(()), "its name asks for a dict {layer: value}"),
        ("m/{layer}", lambda *given: {"a b": jnp.zeros(())}, "has the layer 'a b'; no space"),
        ("m", lambda agent: jnp.zeros(()), "metric 'm': it raises TypeError"),
        ("m", lambda agent, state, batch, key: 1 / 0, "it raises ZeroDivisionError: division by"),
    ],
)
def test_a_metric(name, measure, message):
    register.metric(name, "mine")(measure)
    with pytest.raises(DormantError) as caught:
        plan([], DQN_RUN)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@dataclass(frozen=True)
class Mine:
    period: int = 5


def test_a_record_is_frozen():
    thawed = make_dataclass("Thawed", [("period", int, 5)])
    with pytest.raises(DormantError, match=r"Thawed is not frozen: @dataclass\(frozen=True\)"):
        register.intervention("thawed", config=thawed)


def registered(apply, batch_size=0):
    when = Periodic(5, 0, float("inf"))
    make = lambda config, agent: Intervention("mine", config, when, batch_size, apply, {})
    register.intervention("mine", config=Mine)(make)
    return [*DQN_RUN, "Run.methods=('none', 'mine')"]


def counts(**found):
    return lambda state, batch, key, settings, gradient_steps: (state, found)


@pytest.mark.parametrize(
    "apply, message",
    [
        (lambda state, *given: state, "apply should return the state and a dict of counts"),
        (lambda state, *given: (state, []), "apply's second result is a list, not a dict"),
        (
            lambda state, *given: (state.params, {}),
            "apply returns a state of another structure",
        ),
        (lambda state, batch, *given: (batch.s_t, {}), "'mine': apply raises AttributeError"),
        (
            counts(lost=jnp.int32(1)),
            "'lost' is no scored layer (a value of its own: 'intervention/lost'",
        ),
        (lambda state, *given: (state, {"feature_rank": jnp.zeros(2)}), "is float32 of shape (2,)"),
    ],
)
def test_an_intervention(apply, message):
    with pytest.raises(DormantError) as caught:
        plan([], registered(apply))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_interventions_own_value_keeps_its_name(tmp_path):
    """It is not taken for a number of recycled neurons."""
    found = {"intervention/strength": jnp.float32(0.5), "online/Dense_0": jnp.int32(2)}
    bindings = registered(lambda state, *given: (state, found))
    execute(plan([], bindings), str(tmp_path))
    rows = results.read_measurements(str(tmp_path / results.METRICS_FILE))
    named = {row.metric: (row.member, row.value) for row in rows}
    assert named["intervention/strength"] == (1, 0.5)
    assert named["recycled_neurons/online/Dense_0"] == (1, 2)
    assert sum("strength" in name for name in named) == 1


@pytest.mark.parametrize(
    "select, message",
    [
        (lambda candidates: {}, "method 'redo': no mask of layer Dense_0"),
        (lambda candidates: candidates.scores, "the mask of Dense_0 is float32"),
        (lambda candidates: candidates.nothing, "method 'redo': apply raises AttributeError"),
    ],
)
def test_a_selection(select, message):
    register.selection("mine")(select)
    with pytest.raises(DormantError) as caught:
        plan([], [*DQN_RUN, "Run.methods=('redo',)", "ReDo.select='mine'"])
    assert message in str(caught.value) and "\n" not in str(caught.value)


# Agents
# ------------------------------------------------------------------------------------------------


def changed(**functions):
    """DQN with some of its functions replaced."""
    make = lambda config, spec: make_dqn(config, spec)._replace(**functions)
    register.agent("mine", config=Own, title="Mine")(make)
    return small("mine", "Own")


@dataclass(frozen=True)
class Own(DQN):
    pass


LOSS = {"loss": jnp.float32(0)}


@pytest.mark.parametrize(
    "functions, message",
    [
        ({"learn": lambda state, *given: state}, "learn should return the state, a dict of"),
        ({"learn": lambda state, *given: (state, {}, None)}, "a dict of metrics with the loss"),
        ({"learn": lambda state, *given: (state.params, LOSS, None)}, "of another structure"),
        ({"learn": lambda state, *given: (state, {"loss": jnp.zeros(4)}, None)}, "of shape (4,)"),
        ({"learn": lambda state, *given: (state, LOSS, jnp.zeros(4))}, "learn's priorities have"),
        ({"learn": lambda state, batch, *given: batch.nothing}, "AttributeError: 'Transition'"),
        ({"act": lambda *given: jnp.zeros(2)}, "an action of shape (2,); expected ()"),
        ({"observe": lambda *given: {"actor": 0}}, "a dict by the names of its networks"),
        ({"features": lambda *given: jnp.zeros(4)}, "features should return an array (B, H)"),
        ({"init": lambda key: None}, "agent 'mine': init raises TypeError"),
    ],
)
def test_an_agent(functions, message):
    with pytest.raises(DormantError) as caught:
        plan([], changed(**functions))
    line = str(caught.value)
    assert line.startswith("agent 'mine': ") and message in line and "\n" not in line


def test_what_cannot_be_made_says_where():
    register.agent("mine", config=Own)(lambda config, spec: config)
    with pytest.raises(DormantError, match="'mine' is made as a Own; expected agents.interface"):
        plan([], small("mine", "Own"))
    register.intervention("mine", config=Mine)(lambda config, agent: agent.nothing)
    with pytest.raises(DormantError, match=r"method 'mine': it raises .* \(test_trial.py, line"):
        plan([], [*DQN_RUN, "Run.methods=('mine',)"])
    register.intervention("ours", config=Mine)(lambda config, agent: agent)
    with pytest.raises(DormantError, match="'ours' is made as a Agent; expected training.interv"):
        plan([], [*DQN_RUN, "Run.methods=('ours',)"])
    register.network("plain", axes=1)(lambda config, spec: spec.nothing)
    with pytest.raises(DormantError, match=r"'plain': it raises .* \(test_trial.py, line \d+\)"):
        plan([], [*DQN_RUN, "DQN.network='plain'"])
    register.network("torn", axes=1)(lambda config, spec: Plain(2, lambda q: q.nothing))
    with pytest.raises(DormantError, match=r"network Plain: it .* \(test_trial.py, line \d+\)"):
        plan([], [*DQN_RUN, "DQN.network='torn'"])


# Settings that an agent of one's own does not read
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deaf(DQN):
    hears: bool = False


def make_deaf(config, spec):
    """Adam by the agent's own numbers, whatever the members have."""
    network = make_q_network(config, spec)
    agent = make_dqn(config, spec, network)
    own, q_values = agent.default_settings, action_values(network)

    def learn(state, batch, key, settings):
        loss = lambda params: jnp.mean(q_values(params, batch.s_tm1) ** 2)
        value, gradient = jax.value_and_grad(loss)(state.params)
        step = adam(config, own._replace(learning_rate=settings.learning_rate))
        updates, opt_state = step.update(gradient, state.opt_state, state.params)
        params = jax.tree.map(jnp.add, state.params, updates)
        return state.replace(params=params, opt_state=opt_state), {"loss": value}, None

    return agent if config.hears else agent._replace(learn=learn)


@pytest.mark.parametrize("hears", [False, True])
def test_a_setting_that_learning_does_not_read(hears):
    register.agent("deaf", config=Deaf, title="Deaf")(make_deaf)
    members = [{"seed": 0}, {"method": "weight_decay"}, {"seed": 1, "learning_rate": 0.5}]
    members = [{"method": "none", **each} for each in members]
    own = [f"Deaf.hears={hears}", f"Run.members={members}"]
    warnings = plan([], [*small("deaf", "Deaf"), *own]).facts["warnings"]
    found = [line for line in warnings if "does not read" in line]
    expected = (
        "weight_decay has no effect on member 1 (Deaf + WD): the learning of DQN does not read "
        "settings.weight_decay"
    )
    assert found == ([] if hears else [expected])
