"""Successors of ReDo as interventions: continual backprop, shrink and perturb.

Selection by gradient (ReGraMa) is ``ReDo.select = "gradient"``. L2 towards the initial weights acts
in every gradient step and is therefore a setting of the optimiser (``Settings.l2_init``).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from dormant import register
from dormant.agents.interface import Agent, Network, Settings
from dormant.redo import continual_backprop, new_units, shrink_and_perturb
from dormant.results import MemberRecord
from dormant.training.carried import Carried, wirings
from dormant.training.interventions import (
    NOISE,
    Intervention,
    check_ranges,
    hashable,
    networks_of,
    periodic,
)
from dormant.types import Key, Transition


@dataclass(frozen=True)
class ContinualBackprop:
    """Replacing the least useful mature neurons (Dohare et al., 2024; redo/continual_backprop.py).

    The paper updates utilities after every gradient step. With a longer period they are averaged
    over the scored batches, and neurons grow older and are replaced at the same rate as there.
    """

    replacement_rate: float = 1e-4  # share of the mature neurons of a layer, per gradient step
    maturity: int = 100  # gradient steps before a neuron can be replaced
    decay: float = 0.99  # of the running utility, per update of it
    period: int = 1  # gradient steps between two updates of the utilities
    start: int = 0  # gradient steps
    end: int | None = None  # gradient steps; None = never
    batch_size: int = 64  # transitions for the utilities, a sample of their own
    networks: tuple[str, ...] | None = None  # of the agent's networks; None = all


@dataclass(frozen=True)
class ShrinkPerturb:
    """Shrinking all weights and disturbing them (Ash and Adams, 2020; redo/regularise.py).

    Theirs acts when new data arrive, which a replay memory has no moment for; the period is ours:
    that of the Reset baseline.
    """

    shrink: float = 0.6  # factor on every weight
    noise: float = 0.01  # standard deviation of what is added
    period: int = 100_000  # gradient steps
    start: int = 0  # gradient steps
    end: int | None = None  # gradient steps; None = never
    networks: tuple[str, ...] | None = None  # of the agent's networks; None = all


@dataclass(frozen=True)
class L2Init:
    """L2 towards the initial weights, in the loss of every gradient step (Kumar et al., 2023)."""

    # of ||theta - theta_0||^2; one of the four that the paper chooses from for each problem
    coefficient: float = 1e-4


register.intervention("l2_init", config=L2Init, title="L2 Init", traced={"l2_init": "coefficient"})(
    None
)


@register.intervention("continual_backprop", config=ContinualBackprop, title="CBP")
def make_continual_backprop(config: ContinualBackprop, agent: Agent) -> Intervention:
    """Continual backprop for one agent.

    Raises:
      DormantError: a batch size or a network's name out of range.
    """
    check_ranges(config, agent)
    known = wirings(agent)

    def apply(
        state: Any,
        batch: Transition,
        key: Key,
        settings: Settings,
        gradient_steps: jax.Array,
        units: dict,
    ) -> tuple[Any, dict, dict]:
        del settings, gradient_steps
        now, counts = dict(units), dict[str, jax.Array]()
        changed = agent.networks(state)
        observed = agent.observe(state, batch, jax.random.fold_in(key, NOISE))
        for index, name in enumerate(sorted(networks_of(changed, config.networks))):
            network = changed[name]
            params, opt_state, now[name], masks = continual_backprop(
                network.params,
                network.opt_state,
                observed[name],
                units[name],
                jax.random.fold_in(key, index),
                steps=config.period,
                replacement_rate=config.replacement_rate,
                maturity=config.maturity,
                decay=config.decay,
            )
            changed = {**changed, name: Network(params, opt_state)}
            counts |= {f"{name}/{layer}": jnp.sum(mask) for layer, mask in masks.items()}
        return agent.with_networks(state, changed), counts, now

    carried = Carried(
        "continual_backprop",
        init=lambda state: {name: new_units(wiring) for name, wiring in known.items()},
    )
    facts = MemberRecord(score_batch_size=config.batch_size)
    when, content = periodic(config), hashable(config)
    return Intervention(
        "continual_backprop", content, when, config.batch_size, apply, facts, carried
    )


@register.intervention("shrink_perturb", config=ShrinkPerturb, title="S&P")
def make_shrink_perturb(config: ShrinkPerturb, agent: Agent) -> Intervention:
    """Shrink and perturb for one agent.

    Raises:
      DormantError: a network's name that the agent does not have.
    """
    check_ranges(config, agent)

    def apply(
        state: Any, batch: None, key: Key, settings: Settings, gradient_steps: jax.Array
    ) -> tuple[Any, dict]:
        del batch, settings, gradient_steps
        changed = agent.networks(state)
        for index, name in enumerate(sorted(networks_of(changed, config.networks))):
            own = jax.random.fold_in(key, index)
            new = shrink_and_perturb(*changed[name], own, config.shrink, config.noise)
            changed = {**changed, name: Network(*new)}
        return agent.with_networks(state, changed), {}

    return Intervention(
        "shrink_perturb", hashable(config), periodic(config), 0, apply, MemberRecord()
    )
