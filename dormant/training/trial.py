"""What users have registered, tried out before a run begins: it is traced as the training loop
will call it. Nothing is computed or written.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dormant import register, results
from dormant.agents.interface import Agent, Settings
from dormant.replay import Memory
from dormant.tracing import expect, traced
from dormant.training.carried import wirings
from dormant.training.interventions import Intervention
from dormant.training.members import Member
from dormant.training.population import SCORE_BATCH, Population, applied, scalars
from dormant.types import DormantError, nearest

LEARNED = ("learning_rate", "weight_decay", "l2_init")  # of Settings: what learn should read


def try_agent(name: str, agent: Agent, memory: Memory) -> None:
    """Tries out an agent that is not the package's.

    Args:
      memory: of the agent's batch size.

    Raises:
      DormantError: one of its functions raises, or returns something else than
        ``agents.interface.Agent`` says.
    """
    who, key, spec = f"agent {name!r}", jax.random.key(0), agent.spec
    settings = jax.eval_shape(lambda: scalars(agent.default_settings))
    state = traced(who, "init", agent.init, key, settings)
    batch = jax.eval_shape(lambda key: memory.sample(memory.init(), key), key)
    learned = traced(who, "learn", agent.learn, state, batch, key, settings)
    if not isinstance(learned, tuple) or len(learned) != 3:
        raise DormantError(f"{who}: learn should return the state, a dict of metrics, priorities")
    _same_state(who, "learn", learned[0], state)
    if not isinstance(learned[1], dict) or "loss" not in learned[1]:
        raise DormantError(f"{who}: learn should return a dict of metrics with the loss in it")
    for metric, value in learned[1].items():
        _check_number(who, metric, value)
    found = getattr(learned[2], "shape", None)
    wanted = (agent.schedule.batch_size,) if agent.schedule.prioritised else None
    if found != wanted:
        raise DormantError(f"{who}: learn's priorities have the shape {found}; expected {wanted}")
    single = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), batch)
    steps = jax.ShapeDtypeStruct((), jnp.int32)
    for evaluate in (False, True):
        action = traced(who, "act", partial(_act, agent, evaluate), state, single.s_tm1, key, steps)
        if getattr(action, "shape", None) != spec.action_shape:
            raise DormantError(
                f"{who}: act returns an action of shape {getattr(action, 'shape', None)}; expected "
                f"{spec.action_shape}"
            )
    observed = traced(who, "observe", agent.observe, state, batch, key)
    networks = traced(who, "networks", agent.networks, state)
    if not isinstance(observed, dict) or not set(observed) <= set(networks):
        raise DormantError(f"{who}: observe should return a dict by the names of its networks")
    features = traced(who, "features", agent.features, state, batch, key)
    if getattr(features, "ndim", 0) != 2:
        raise DormantError(f"{who}: features should return an array (B, H)")


def _act(agent: Agent, evaluate: bool, *given: Any) -> jax.Array:
    state, observation, key, agent_steps = given
    return agent.act(state, observation, key, agent_steps, evaluate)


def try_out(population: Population, make_memory: Callable[[int], Memory]) -> None:
    """Tries out the metrics, interventions and selections of a run that are not the package's.

    Args:
      make_memory: batch size -> the replay memory's functions.

    Raises:
      DormantError: one of them raises, or returns something else than docs/extending.md says.
    """
    agent = population.agent
    brought = {
        each.intervention: each
        for each in population.members
        if each.intervention and _own(each.method, each.intervention)
    }
    for intervention, member in brought.items():
        _try_intervention(agent, intervention, member, make_memory)
    if register.METRICS:
        state, batch = _shapes(agent, population.members[0].settings, make_memory(SCORE_BATCH))
        for name, entry in register.METRICS.items():
            who, key = f"metric {name!r}", jax.random.key(0)
            measure = lambda *given, entry=entry: entry.measure(agent, *given)
            _check_measurement(who, name, traced(who, "it", measure, state, batch, key))


def _own(method: str, intervention: Intervention) -> bool:
    """Whether an intervention, or the selection that it uses, comes from outside."""
    select = register.SELECTIONS.get(getattr(intervention.config, "select", ""))
    functions = (register.METHODS[method].make, select)
    return any(register.foreign(each) for each in functions if each is not None)


def _shapes(agent: Agent, settings: Settings, memory: Memory) -> tuple[Any, Any]:
    """A state and a batch of one member, as shapes and dtypes."""
    key = jax.random.key(0)
    state = jax.eval_shape(lambda key: agent.init(key, scalars(settings)), key)
    return state, jax.eval_shape(lambda key: memory.sample(memory.init(), key), key)


def _try_intervention(
    agent: Agent, intervention: Intervention, member: Member, make_memory: Callable[[int], Memory]
) -> None:
    who = f"method {member.method!r}"
    state, batch = _shapes(agent, member.settings, make_memory(max(intervention.batch_size, 1)))
    given = (
        batch if intervention.batch_size else None,
        jax.random.key(0),
        jax.eval_shape(lambda: scalars(member.settings)),
        jax.ShapeDtypeStruct((), jnp.int32),
    )
    apply = lambda *each: applied(intervention, *each)
    result = traced(who, "apply", apply, state, *given)
    if not isinstance(result, tuple) or len(result) != 2:
        raise DormantError(f"{who}: apply should return the state and a dict of counts")
    after, counts = result
    _same_state(who, "apply", after, state)
    if not isinstance(counts, dict):
        raise DormantError(f"{who}: apply's second result is a {type(counts).__name__}, not a dict")
    for name, value in counts.items():
        _check_number(who, name, value)
    unknown = [name for name in counts if not results.is_metric(str(name))]
    _check_layers(who, unknown, agent)


def _same_state(who: str, which: str, after: Any, state: Any) -> None:
    """Raises a DormantError where a function returns another kind of state than it was given."""
    before: Any = jax.tree.structure(state)
    if jax.tree.structure(after) != before:
        raise DormantError(f"{who}: {which} returns a state of another structure than it was given")
    expect(who, f"the state after {which}", after, state)


def _check_layers(who: str, names: Sequence[str], agent: Agent) -> None:
    """Raises a DormantError for a name that is none of the agent's scored layers."""
    if not names:
        return
    layers = {
        f"{network}/{layer.name}"
        for network, wiring in wirings(agent).items()
        for layer in wiring.scored
    }
    for name in names:
        if name not in layers:
            raise DormantError(
                f"{who}: {name!r} is no scored layer (a value of its own: 'intervention/{name}'); "
                f"{nearest(name, layers)}"
            )


def _check_measurement(who: str, name: str, value: Any) -> None:
    """Raises a DormantError where a metric's value does not fit its name."""
    by_layer = "{layer}" in name
    if isinstance(value, dict) != by_layer:
        wanted = "a dict {layer: value}" if by_layer else "one value"
        raise DormantError(f"{who} returns a {type(value).__name__}; its name asks for {wanted}")
    for layer, each in (value if by_layer else {name: value}).items():
        _check_number(who, layer, each)
        if by_layer and not results.is_metric(name.replace("{layer}", str(layer))):
            raise DormantError(f"{who} has the layer {layer!r}; no space or comma may be in it")


def _check_number(who: str, name: Any, value: Any) -> None:
    real = hasattr(value, "dtype") and (
        jnp.issubdtype(value.dtype, jnp.number) or value.dtype == bool
    )
    if not real or value.shape or jnp.issubdtype(value.dtype, jnp.complexfloating):
        kind = f"{value.dtype} of shape {value.shape}" if hasattr(value, "dtype") else repr(value)
        raise DormantError(f"{who}: {name!r} is {kind}; expected one real number, of shape ()")


# Settings without effect
# ------------------------------------------------------------------------------------------------


def unread(agent: Agent, members: Sequence[Member], memory: Memory) -> dict[str, list[int]]:
    """{field of Settings: members}: what members set beside the agent's default and its ``learn``
    does not read.
    """
    chosen: dict[str, list[int]] = {}
    for index, member in enumerate(members):
        for name in LEARNED:
            value = getattr(member.settings, name)
            if value is not None and value != (getattr(agent.default_settings, name) or 0.0):
                chosen.setdefault(name, []).append(index)
    if not chosen:
        return {}
    settings = members[0].settings
    state, batch = _shapes(agent, settings, memory)
    shapes = jax.eval_shape(lambda: scalars(settings))

    def learn(given: Settings, state: Any, batch: Any) -> Any:
        return agent.learn(state, batch, jax.random.key(0), given)

    program = jax.make_jaxpr(learn)(shapes, state, batch).jaxpr
    names = [name for name in Settings._fields if getattr(settings, name) is not None]
    used = {id(each) for line in program.eqns for each in line.invars}
    idle = {name for name, var in zip(names, program.invars) if id(var) not in used}
    return {name: indices for name, indices in chosen.items() if name in idle}
