"""What every setting may be: one rule a field of each record, and one function that applies them.

A rule is about one value. What has to fit together is in ``consistency``.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dormant.types import DormantError, check_name

METHODS = (
    *("none", "redo", "reset", "weight_decay"),
    *("prune", "continual_backprop", "shrink_perturb", "l2_init"),
)
SEED_LIMIT = 2**31


class Rule(NamedTuple):
    """What a value should be, in words and as a test."""

    expected: str
    accepts: Callable[[Any], bool]


def whole(least: int = 0) -> Rule:
    """A whole number, ``least`` or more; 32.0 is none."""
    return Rule(
        f"a whole number from {least} on", lambda value: _is_whole(value) and value >= least
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def number(least: float = -math.inf, most: float = math.inf, ends: str = "[]") -> Rule:
    """A finite number; ``ends`` says whether least and most themselves are allowed: "(]", "[)"."""
    words = ["a finite number"]
    if least > -math.inf:
        words.append(f"{'above' if ends[0] == '(' else 'from'} {least:g}")
    if most < math.inf:
        words.append(f"{'below' if ends[1] == ')' else 'to'} {most:g}")

    def accepts(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if not math.isfinite(value):
            return False
        above = value > least if ends[0] == "(" else value >= least
        return above and (value < most if ends[1] == ")" else value <= most)

    return Rule(" ".join(words), accepts)


def optional(rule: Rule) -> Rule:
    """The rule's values, or None."""
    return Rule(f"{rule.expected}, or None", lambda value: value is None or rule.accepts(value))


def _is_texts(value: Any) -> bool:
    listed = isinstance(value, (list, tuple)) and len(value) > 0
    return listed and all(isinstance(each, str) for each in value)


def _is_seeds(value: Any) -> bool:
    if _is_whole(value):
        return 0 <= value <= SEED_LIMIT
    return isinstance(value, (list, tuple)) and all(SEED.accepts(each) for each in value)


FLAG = Rule("True or False", lambda value: isinstance(value, bool))
TEXT = Rule("a text in quotation marks", lambda value: isinstance(value, str))
TEXTS = Rule('a list of texts such as ("redo",)', _is_texts)
METRICS = Rule(
    'a list of texts such as ("weights", "overlap"), or ()',
    lambda value: isinstance(value, (list, tuple)) and all(isinstance(x, str) for x in value),
)
SEED = Rule(
    f"a whole number from 0 to {SEED_LIMIT - 1}",
    lambda value: _is_whole(value) and 0 <= value < SEED_LIMIT,
)
SEEDS = Rule(f"how many (a whole number), or a list of seeds below {SEED_LIMIT}", _is_seeds)
MEMBERS = Rule(
    'None, or a list of dictionaries such as {"method": "redo", "seed": 0}',
    lambda value: (
        value is None
        or (isinstance(value, (list, tuple)) and all(isinstance(each, Mapping) for each in value))
    ),
)
POSITIVE, NOT_NEGATIVE = number(0, ends="(]"), number(0)
TAUS = Rule(
    "a list of thresholds from 0 on, such as (0.0, 0.025, 0.1)",
    lambda value: (
        isinstance(value, (list, tuple)) and all(NOT_NEGATIVE.accepts(each) for each in value)
    ),
)
SHARE, DISCOUNT = number(0, 1), number(0, 1)
BELOW_ONE = number(0, 1, ends="[)")

_AGENT = {
    "width": POSITIVE,
    "activation": TEXT,
    "precision": TEXT,
    "gamma": DISCOUNT,
    "update_horizon": whole(1),
    "replay_ratio": POSITIVE,
    "update_period": whole(1),
    "min_replay_history": whole(),
    "replay_capacity": whole(1),
    "batch_size": whole(1),
    "learning_rate": POSITIVE,
    "adam_epsilon": POSITIVE,
    "adam_b1": BELOW_ONE,
    "adam_b2": BELOW_ONE,
}
_DISCRETE = {
    "network": TEXT,
    "formulation": TEXT,
    "target_update_period": whole(1),
    "epsilon_train": SHARE,
    "epsilon_eval": SHARE,
    "epsilon_decay_period": whole(),
    "clip_rewards": FLAG,
}
_CLOCK = {
    "period": whole(1),
    "start": whole(),
    "end": optional(whole(1)),
    "networks": optional(TEXTS),
}
_INTERVENTION = {**_CLOCK, "target_networks": FLAG}
RULES: dict[str, dict[str, Rule]] = {
    "Run": {
        "game": TEXT,
        "agent": TEXT,
        "methods": TEXTS,
        "seeds": SEEDS,
        "members": MEMBERS,
        "axis": TEXT,
        "env_workers": whole(),
    },
    "Protocol": {
        "iterations": whole(1),
        "training_steps": whole(1),
        "evaluation_steps": whole(),
        "evaluation_episodes": whole(),
        "evaluation_noop_max": whole(),
        "log_period": whole(1),
        "taus": TAUS,
        "metrics": METRICS,
        "checkpoint_minutes": NOT_NEGATIVE,
        "checkpoint_replay_gb": NOT_NEGATIVE,
    },
    "MinAtarProtocol": {
        "sticky_actions": BELOW_ONE,
        "difficulty_ramping": FLAG,
        "max_episode_steps": whole(1),
    },
    "AtariProtocol": {
        "sticky_actions": BELOW_ONE,
        "terminal_on_life_loss": FLAG,
        "noop_max": whole(),
        "max_episode_steps": whole(1),
        "frame_skip": whole(1),
    },
    "ReDo": {
        **_INTERVENTION,
        "tau": NOT_NEGATIVE,
        "batch_size": whole(1),
        "select": TEXT,
        "share": number(0, 1, ends="(]"),
        "incoming": TEXT,
        "outgoing": TEXT,
        "count": TEXT,
        "moments": TEXT,
        "as_released": FLAG,
    },
    "Reset": {**_INTERVENTION, "layers": TEXTS},
    "WeightDecay": {"coefficient": NOT_NEGATIVE},
    "Prune": {**_CLOCK, "tau": NOT_NEGATIVE, "batch_size": whole(1)},
    "ContinualBackprop": {
        **_CLOCK,
        "replacement_rate": SHARE,
        "maturity": whole(),
        "decay": BELOW_ONE,
        "batch_size": whole(1),
    },
    "ShrinkPerturb": {**_CLOCK, "shrink": SHARE, "noise": NOT_NEGATIVE},
    "L2Init": {"coefficient": NOT_NEGATIVE},
    "DQN": {**_AGENT, **_DISCRETE},
    "Rainbow": {
        **_AGENT,
        **_DISCRETE,
        "title": TEXT,
        "double_dqn": FLAG,
        "dueling": FLAG,
        "noisy": FLAG,
        "distributional": FLAG,
        "num_atoms": whole(1),
        "vmax": number(),
        "vmin": optional(number()),
        "replay_scheme": TEXT,
        "data_augmentation": FLAG,
    },
    "SAC": {
        **_AGENT,
        "num_layers": whole(1),
        "num_hidden_units": whole(1),
        "target_smoothing_coefficient": number(0, 1, ends="(]"),
        "target_entropy": optional(number()),
        "reward_scale_factor": POSITIVE,
    },
}
MEMBER: dict[str, Rule] = {
    "seed": SEED,
    "method": TEXT,
    "label": TEXT,
    "learning_rate": POSITIVE,
    "weight_decay": NOT_NEGATIVE,
    "l2_init": NOT_NEGATIVE,
}
# whose settings a member may have of its own
RECORD_OF_METHOD = {
    "redo": "ReDo",
    "reset": "Reset",
    "prune": "Prune",
    "continual_backprop": "ContinualBackprop",
    "shrink_perturb": "ShrinkPerturb",
}


def check_value(name: str, value: Any, rule: Rule) -> None:
    """Raises a DormantError if the value breaks the rule."""
    if not rule.accepts(value):
        raise DormantError(f"{name} is {value!r}; it should be {rule.expected}")


def check_record(name: str, record: Any) -> None:
    """Raises a DormantError for the first field of a record that breaks its rule."""
    for field in dataclasses.fields(record):
        check_value(f"{name}.{field.name}", getattr(record, field.name), RULES[name][field.name])


def member_rules(method: str) -> dict[str, Rule]:
    """What a member's dictionary may say: the settings of every member, and of its intervention."""
    return {**MEMBER, **RULES.get(RECORD_OF_METHOD.get(method, ""), {})}


def check_member(index: int, described: Mapping[str, Any]) -> None:
    """Raises a DormantError for what member ``index`` of Run.members cannot mean."""
    who = f"member {index}"
    method = described.get("method", "none")
    check_value(f"{who}: method", method, TEXT)
    check_name("method", method, METHODS)
    rules = member_rules(method)
    every = {name for each in METHODS for name in member_rules(each)}
    for name, value in described.items():
        check_name(f"setting of {who}:", name, every)
        if name not in rules:
            raise DormantError(
                f"{who} has a setting {name!r}, which means nothing to method {method!r}"
            )
        check_value(f"{who}: {name}", value, rules[name])
