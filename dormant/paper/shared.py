"""Measures, series and claims that several figures share. Settings: paper.md, 3.2 to 3.6."""

from typing import Any

from dormant.paper.records import Claim, Measure, Series, Term

RETURN = Measure("return", "average return")
HNS = Measure("return", "IQM human-normalised score", normalised="human", statistic="iqm")
POINTS = "percentage points"
REPLAY_RATIOS = (0.25, 0.5, 1, 2)
TO_10M = "10M frames, 5 seeds"


def dormant(tau: float, layers: str = "all") -> Measure:
    """Dormant neurons in percent at a threshold. layers "actor*": the mean over one network's
    layers.

    Where those are equally wide, as in SAC, that mean is the pooled fraction.
    """
    return Measure(
        f"dormant_fraction/tau={tau:g}/{layers}", f"dormant neurons (%), tau = {tau:g}", scale=100
    )


_METHODS: dict[str, tuple[str, dict[str, float]]] = {
    "none": ("", {}),
    "redo": (" + ReDo", {"tau": 0.1, "period": 1000, "score_batch_size": 64}),
    "reset": (" + Reset", {"period": 100_000}),
    "weight_decay": (" + WD", {"weight_decay": 1e-5}),
}
# Methods of the controls, which Figures 1, 13, 14 and 20 do not have.
_CONTROLS: dict[str, tuple[str, dict[str, float]]] = {
    "prune": (" + pruning", {"tau": 0.0, "period": 1000, "score_batch_size": 64}),
    "continual_backprop": (" + CBP", {"period": 100, "score_batch_size": 64}),
    "shrink_perturb": (" + S&P", {"period": 100_000}),
    "l2_init": (" + L2 Init", {"l2_init": 1e-4}),
}
PLAIN = {  # what ReDo is where a figure does not say otherwise
    **{"outgoing": "zero", "incoming": "init", "select": "threshold"},
    **{"count": "keep", "moments": "zero", "as_released": False},
}


def dqn(method: str = "none", name: str = "", prefer: Any = (), **where: Any) -> Series:
    """A DQN series: Nature CNN, one-step returns, ReLU, width 1 unless ``where`` says otherwise."""
    ending, settings = {**_METHODS, **_CONTROLS}[method]
    facts = {
        "agent": "DQN",
        "network": "nature",
        "width": 1,
        "update_horizon": 1,
        "activation": "relu",
    }
    facts |= PLAIN
    usual = {
        "learning_rate": 6.25e-5,
        "batch_size": 32,
        "max_episode_steps": 27_000,
        **settings,
        **dict(prefer),
    }
    return _series(name or "DQN" + ending, {**facts, "method": method, **where}, usual)


def drq(method: str = "none", name: str = "", **where: Any) -> Series:
    """A DrQ(eps) series."""
    ending, settings = _METHODS[method]
    usual = {"learning_rate": 1e-4, "max_episode_steps": 27_000, **settings}
    facts = {
        "agent": "Rainbow",
        "title": "DrQ(eps)",
        "network": "nature",
        "width": 1,
        "activation": "relu",
    }
    return _series(name or "DrQ(eps)" + ending, {**facts, "method": method, **where}, usual)


def sac(method: str = "none", name: str = "", **where: Any) -> Series:
    """A SAC series; the paper recycles at tau 0 every 200,000 gradient steps and resets everything
    as often.
    """
    ending, settings = {**_METHODS, **_CONTROLS}[method]
    own: dict[str, dict[str, float]] = {
        "redo": {"tau": 0.0, "period": 200_000, "score_batch_size": 256},
        "reset": {"period": 200_000},
        "prune": {"tau": 0.0, "period": 1000, "score_batch_size": 256},
    }
    usual = {"learning_rate": 3e-4, **own.get(method, settings)}
    facts = {"agent": "SAC", "width": 1, "activation": "relu"}
    return _series(name or "SAC" + ending, {**facts, "method": method, **where}, usual)


def _series(name: str, where: dict, prefer: dict) -> Series:
    """A fact the figure asks for is no preference."""
    return Series(name, where, {fact: value for fact, value in prefer.items() if fact not in where})


def method_series(make: Any, **where: Any) -> tuple[Series, ...]:
    """The four methods that Figures 1, 13, 14 and 20 compare."""
    return tuple(make(method, **where) for method in _METHODS)


def still_helps(length: str) -> list[Claim]:
    """The claims of the entry "longer"; panel "return"."""
    return [
        Claim(
            f"After {length} the return is higher with ReDo",
            "above",
            [Term("return", "DQN + ReDo"), Term("return", "DQN")],
            unit="return",
        ),
        Claim(
            "ReDo's return does not fall over the second half of training",
            "above",
            [Term("return", "DQN + ReDo", part="rise")],
            unit="return",
        ),
    ]
