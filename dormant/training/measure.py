"""What is measured at every log: dormant fractions, the feature rank, and what else is asked for.

docs/metrics.md has every metric with its definition. What looks back to earlier logs is carried by
the members ("history"), so a resumed run continues it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dormant import register, results
from dormant.agents.interface import Agent, Settings
from dormant.redo import (
    Activations,
    effective_rank,
    feature_rank,
    gradient_scores,
    overlap_coefficient,
    scores,
    stable_rank,
)
from dormant.redo.paths import named_leaves
from dormant.redo.wiring import Leaf
from dormant.replay import Memory
from dormant.training.carried import Carried, Laden, wirings, with_load
from dormant.training.gradients import gradients, sample_gradients
from dormant.training.members import MEASURE, Axis, Collection, Member, reads_tau
from dormant.types import Key, Transition

HISTORY = "history"
SETS = ("first", "previous", "union")  # of dormant neurons, that the newest set is compared with


def all_taus(taus: Sequence[float], members: Sequence[Member]) -> list[float]:
    """These thresholds and every member's own, each once as a metric's name has it."""
    own = [float(member.settings.tau) for member in members if reads_tau(member)]
    return [*{f"{tau:g}": tau for tau in sorted([*taus, *own])}.values()]


class Seen(NamedTuple):
    """One member's measurement."""

    agent: Agent
    state: Any
    batch: Transition  # a fresh sample
    key: Key  # of the networks' noise
    settings: Settings
    taus: Sequence[float]
    observed: Mapping[str, Activations]

    @property
    def layers(self) -> dict[str, jax.Array]:
        """{"network/layer": activations (..., H)}."""
        return {
            f"{name}/{layer}": values
            for name, activations in self.observed.items()
            for layer, values in activations.items()
        }

    @property
    def scores(self) -> dict[str, jax.Array]:
        """{"network/layer": (H,)}, and "all" of them together."""
        return _with_all(
            {
                f"{name}/{layer}": each
                for name, activations in self.observed.items()
                for layer, each in scores(activations).items()
            }
        )


def _with_all(layers: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """{layer: (H,)} with "all", the layers one after the other, in the first place.

    A network may have no layer at all: the mean over "all" is then NaN.
    """
    every = jnp.concatenate([*layers.values()]) if layers else jnp.zeros(0)
    return {"all": every, **layers}


# What can be asked for
# ------------------------------------------------------------------------------------------------


def _weights(seen: Seen) -> dict[str, jax.Array]:
    """Norms of every layer's kernels, and of all parameters."""
    squares: dict[str, jax.Array] = {}
    total = jnp.float32(0)
    for name, network in seen.agent.networks(seen.state).items():
        if name not in seen.observed:
            continue
        leaves = named_leaves(network.params)
        total += sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in leaves.values())
        for leaf in seen.observed[name].wiring.leaves:
            if _is_kernel(leaf):
                layer = f"{name}/{leaf.path.rpartition('/')[0]}"
                square = jnp.sum(jnp.square(leaves[leaf.path].astype(jnp.float32)))
                squares[layer] = squares.get(layer, jnp.float32(0)) + square
    return {
        f"weight_norm/{layer}": jnp.sqrt(each) for layer, each in {"all": total, **squares}.items()
    }


def _is_kernel(leaf: Leaf) -> bool:
    """An ensemble's biases have two axes as well; they meet their neurons one by one."""
    return len(leaf.shape) > 1 and (leaf.fans is not None or leaf.met < 0)


def _ranks(seen: Seen) -> dict[str, jax.Array]:
    out = {}
    for layer, values in seen.layers.items():
        out[f"stable_rank/{layer}"] = stable_rank(values)
        out[f"effective_rank/{layer}"] = effective_rank(values)
    return out


def _gradients(seen: Seen) -> dict[str, jax.Array]:
    """Weights without a gradient, and neurons of a low gradient score."""
    given = (seen.agent, seen.state, seen.batch, seen.key, seen.settings)
    whole, single = gradients(*given), sample_gradients(*given)
    by_layer: dict[str, jax.Array] = {}
    zero: dict[str, list[jax.Array]] = {}
    for name, activations in seen.observed.items():
        found = gradient_scores(single[name], activations.wiring)
        by_layer |= {f"{name}/{layer}": each for layer, each in found.items()}
        leaves = named_leaves(whole[name])
        for leaf in activations.wiring.leaves:
            if _is_kernel(leaf):
                layer = f"{name}/{leaf.path.rpartition('/')[0]}"
                zero.setdefault(layer, []).append(leaves[leaf.path].ravel() == 0)
    every = {layer: jnp.concatenate(each) for layer, each in zero.items()}
    out = {
        f"zero_gradient_fraction/{layer}": jnp.mean(each, dtype=jnp.float32)
        for layer, each in _with_all(every).items()
    }
    for tau in seen.taus:
        for layer, each in _with_all(by_layer).items():
            name = results.dormant_fraction_name(tau, layer)
            out[f"gradient_{name}"] = jnp.mean(each <= tau, dtype=jnp.float32)
    return out


def _churn(seen: Seen) -> dict[str, jax.Array]:
    """How much of what was active at the log before, on the same inputs, is not, and vice versa."""
    networks = seen.agent.networks(seen.state)
    before = seen.state.carried[HISTORY]["params"]
    earlier = {name: networks[name]._replace(params=before[name]) for name in before}
    state = seen.agent.with_networks(seen.state, {**networks, **earlier})
    then = seen._replace(observed=seen.agent.observe(state, seen.batch, seen.key)).layers
    return {
        f"activation_churn/{layer}": jnp.mean((now > 0) != (then[layer] > 0), dtype=jnp.float32)
        for layer, now in seen.layers.items()
    }


def _overlap(seen: Seen) -> dict[str, jax.Array]:
    """Overlap coefficients (Figure 5) of the dormant neurons with each set of earlier ones.

    NaN where one of the two is empty, as before the second log.
    """
    history, found, out = seen.state.carried[HISTORY]["dormant"], seen.scores, {}
    for index, tau in enumerate(seen.taus):
        for layer, each in found.items():
            now = each <= tau
            for number, name in enumerate(SETS):
                then = history[layer][index, number]
                value = overlap_coefficient(now, then).astype(jnp.float32)
                known = jnp.any(now) & jnp.any(then)
                out[f"overlap/{name}/tau={tau:g}/{layer}"] = jnp.where(known, value, jnp.nan)
    return out


MEASURES: dict[str, Callable[[Seen], dict[str, jax.Array]]] = {
    "weights": _weights,
    "ranks": _ranks,
    "gradients": _gradients,
    "churn": _churn,
    "overlap": _overlap,
}


# History
# ------------------------------------------------------------------------------------------------


def history(agent: Agent, taus: Sequence[float], metrics: Sequence[str]) -> list[Carried]:
    """What these metrics need of earlier logs, if anything."""
    if not {"churn", "overlap"} & set(metrics):
        return []
    sizes = {
        f"{name}/{layer.name}": layer.size
        for name, wiring in wirings(agent).items()
        for layer in wiring.scored
    }
    sizes = {"all": sum(sizes.values()), **sizes}

    def init(state: Any) -> dict:
        kept: dict[str, Any] = {}
        if "churn" in metrics:
            networks = agent.networks(state)
            kept["params"] = {
                name: jax.tree.map(jnp.copy, network.params) for name, network in networks.items()
            }
        if "overlap" in metrics:
            kept["logs"] = jnp.int32(0)
            kept["dormant"] = {
                layer: jnp.zeros((len(taus), len(SETS), size), bool)
                for layer, size in sizes.items()
            }
        return kept

    return [Carried(HISTORY, init)]


def _remembered(seen: Seen) -> Laden:
    """The state after a log: what was seen is history."""
    kept = dict(seen.state.carried[HISTORY])
    if "params" in kept:
        networks = seen.agent.networks(seen.state)
        kept["params"] = {name: networks[name].params for name in kept["params"]}
    if "dormant" in kept:
        kept["dormant"] = {
            layer: jnp.stack(
                [
                    jnp.stack(_sets(each <= tau, then, kept["logs"]))
                    for tau, then in zip(seen.taus, kept["dormant"][layer])
                ]
            )
            for layer, each in seen.scores.items()
        }
        kept["logs"] = kept["logs"] + 1
    return with_load(seen.state, HISTORY, kept)


def _sets(now: jax.Array, then: jax.Array, logs: jax.Array) -> list[jax.Array]:
    """The SETS with the newest set (H,) in them; then: (SETS, H)."""
    return [jnp.where(logs == 0, now, then[0]), now, then[2] | now]


# For a population
# ------------------------------------------------------------------------------------------------


class Measurer(NamedTuple):
    """measure(states, memories, gradient_steps) -> {metric: (P,) array}
    remember(states, memories, gradient_steps) -> states
        after ``measure`` at the same gradient step
    """

    measure: Callable[[Collection, Collection, int], dict[str, np.ndarray]]
    remember: Callable[[Collection, Collection, int], Collection]


def make_measurer(
    agent: Agent,
    asked: tuple[Sequence[float], Sequence[str]],
    axis: Axis,
    memory: Memory,
    keys: Collection,
    settings: Collection,
) -> Measurer:
    """The fractions are pooled over all layers, as the paper reports them, and of each layer. A
    member whose activations are not finite has none of the metrics: they are NaN.

    Args:
      asked: thresholds, and the names of MEASURES.
      memory: samples of its batch size are what is measured on.
    """
    taus, metrics = asked

    def look(state: Any, memory_state: Any, key: Key, setting: Settings, step: jax.Array) -> Seen:
        key = jax.random.fold_in(jax.random.fold_in(key, MEASURE), step)
        batch = memory.sample(memory_state, key)
        key_noise = jax.random.fold_in(key, 1)
        observed = agent.observe(state, batch, key_noise)
        return Seen(agent, state, batch, key_noise, setting, taus, observed)

    def measure(*given: Any) -> dict:
        seen = look(*given)
        features = agent.features(seen.state, seen.batch, seen.key)
        out = {"feature_rank": feature_rank(features) if features.shape[-1] else jnp.nan}
        found = seen.scores
        for tau in taus:
            for layer, each in found.items():
                name = results.dormant_fraction_name(tau, layer)
                out[name] = jnp.mean(each <= tau, dtype=jnp.float32)
        for name in metrics:
            out |= MEASURES[name](seen)
        for name, entry in register.METRICS.items():
            value = entry.measure(agent, seen.state, seen.batch, seen.key)
            layers = value if isinstance(value, dict) else {"": value}
            out |= {name.replace("{layer}", layer): each for layer, each in layers.items()}
        finite = jnp.all(jnp.isfinite(found["all"]))
        return {name: jnp.where(finite, value, jnp.nan) for name, value in out.items()}

    in_axes = (0, memory.axes, 0, 0, None)
    mapped = axis.map(measure, in_axes)
    mapped_remember = axis.map(lambda *given: _remembered(look(*given)), in_axes)
    looks_back = bool({"churn", "overlap"} & set(metrics))

    def run(states: Collection, memories: Collection, gradient_steps: int) -> dict[str, np.ndarray]:
        step = np.int32(gradient_steps)
        values = axis.unstack(mapped(states, memories, keys, settings, step))
        return {name: np.array([value[name] for value in values]) for name in values[0]}

    def remember(states: Collection, memories: Collection, gradient_steps: int) -> Collection:
        if not looks_back:
            return states
        return mapped_remember(states, memories, keys, settings, np.int32(gradient_steps))

    return Measurer(run, remember)
