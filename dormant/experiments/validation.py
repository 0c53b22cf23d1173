"""What every setting may be: one rule a field of each record, from its type and from a table.

A rule is about one value. What has to fit together is in ``consistency``.
"""

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dormant import register
from dormant.types import DormantError, check_name

SEED_LIMIT = 2**31


class Rule(NamedTuple):
    """What a value should be, in words and as a test."""

    expected: str
    accepts: Callable[[Any], bool]


def whole(least: int | None = 0) -> Rule:
    """A whole number, ``least`` or more; 32.0 is none."""
    if least is None:
        return Rule("a whole number", _is_whole)
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


MOST_SEEDS = 10_000  # of a count; a larger number is a seed, meant to be one of a list


def _is_seeds(value: Any) -> bool:
    if _is_whole(value):
        return 0 <= value <= MOST_SEEDS
    return isinstance(value, (list, tuple)) and all(SEED.accepts(each) for each in value)


FLAG = Rule("True or False", lambda value: isinstance(value, bool))
FLAG_OR_NAME = Rule(
    "True, False or a name in quotation marks",
    lambda value: (
        isinstance(value, bool)
        or (isinstance(value, str) and value.isidentifier() and value not in ("True", "False"))
    ),
)
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
SEEDS = Rule(
    f"how many (at most {MOST_SEEDS}), or a list of seeds below {SEED_LIMIT} such as [20230213]",
    _is_seeds,
)
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
SHARE, BELOW_ONE = number(0, 1), number(0, 1, ends="[)")

WHOLE, REAL, ANY = whole(None), number(), Rule("any value", lambda value: True)

# What the types of the package's own records leave open, by the names of their fields. One's own
# records are checked by their types, and by what their ``__post_init__`` raises.
NARROWER: dict[str, Rule] = {
    # Run
    "methods": TEXTS,
    "seeds": SEEDS,
    "members": MEMBERS,
    "env_workers": whole(),
    # protocols
    **dict.fromkeys(("iterations", "training_steps", "log_period"), whole(1)),
    **dict.fromkeys(("evaluation_steps", "evaluation_episodes", "evaluation_noop_max"), whole()),
    "taus": TAUS,
    "metrics": METRICS,
    "writers": TEXTS,
    **dict.fromkeys(("checkpoint_minutes", "checkpoint_replay_gb"), NOT_NEGATIVE),
    "sticky_actions": BELOW_ONE,
    **dict.fromkeys(("max_episode_steps", "frame_skip"), whole(1)),
    "noop_max": whole(),
    # agents
    **dict.fromkeys(("width", "replay_ratio", "learning_rate", "adam_epsilon"), POSITIVE),
    **dict.fromkeys(("gamma", "epsilon_train", "epsilon_eval"), SHARE),
    **dict.fromkeys(("adam_b1", "adam_b2"), BELOW_ONE),
    **dict.fromkeys(("update_horizon", "update_period", "target_update_period"), whole(1)),
    **dict.fromkeys(("replay_capacity", "batch_size", "num_atoms"), whole(1)),
    **dict.fromkeys(("num_layers", "num_hidden_units"), whole(1)),
    **dict.fromkeys(("min_replay_history", "epsilon_decay_period"), whole()),
    "target_smoothing_coefficient": number(0, 1, ends="(]"),
    "reward_scale_factor": POSITIVE,
    # methods
    "period": whole(1),
    "start": whole(),
    "end": optional(whole(1)),
    "networks": optional(TEXTS),
    "layers": TEXTS,
    "share": number(0, 1, ends="(]"),
    "as_released": FLAG_OR_NAME,
    **dict.fromkeys(("tau", "coefficient", "noise"), NOT_NEGATIVE),
    **dict.fromkeys(("replacement_rate", "shrink"), SHARE),
    "maturity": whole(),
    "decay": BELOW_ONE,
}
MEMBER: dict[str, Rule] = {
    "seed": SEED,
    "method": TEXT,
    "label": TEXT,
    "learning_rate": POSITIVE,
}


def rules_of(record: Any) -> dict[str, Rule]:
    """{field: its rule} of a record that gin can set."""
    narrower = NARROWER if record.__module__.split(".")[0] == "dormant" else {}
    types = typing.get_type_hints(record)
    return {
        field.name: narrower.get(field.name) or _rule_of_type(types[field.name])
        for field in dataclasses.fields(record)
    }


def _rule_of_type(kind: Any) -> Rule:
    """What an annotation says of a value: plain types, lists of them, or None."""
    plain = {bool: FLAG, int: WHOLE, float: REAL, str: TEXT}
    if kind in plain:
        return plain[kind]
    parts = typing.get_args(kind)
    if type(None) in parts and len(parts) == 2:
        return optional(_rule_of_type(next(part for part in parts if part is not type(None))))
    if typing.get_origin(kind) in (tuple, list, Sequence) and parts:
        each = _rule_of_type(parts[0])
        return Rule(
            f"a list, each {each.expected}",
            lambda value: isinstance(value, (list, tuple)) and all(map(each.accepts, value)),
        )
    return ANY


def check_value(name: str, value: Any, rule: Rule) -> None:
    """Raises a DormantError if the value breaks the rule."""
    if not rule.accepts(value):
        raise DormantError(f"{name} is {value!r}; it should be {rule.expected}")


def check_record(name: str, record: Any) -> None:
    """Raises a DormantError for the first field of a record that breaks its rule."""
    for field, rule in rules_of(type(record)).items():
        check_value(f"{name}.{field}", getattr(record, field), rule)


def member_rules(method: str) -> dict[str, Rule]:
    """What a member's dictionary may say: the settings of every member, and of its intervention.

    A traced setting goes by either name: ``settings.tau`` is "tau", or what the record calls it.
    """
    shared = [_traced(entry) for entry in register.METHODS.values() if entry.make is None]
    rules = {**MEMBER, **{setting: rule for each in shared for setting, rule in each.items()}}
    entry = register.METHODS[method]
    own = rules_of(entry.config) if entry.config else {}
    return {**rules, **_traced(entry), **own}


def _traced(entry: register.MethodEntry) -> dict[str, Rule]:
    """The settings that a method's members may each have of their own in one program."""
    rules = rules_of(entry.config) if entry.config else {}
    return {setting: rules[field] for setting, field in entry.traced.items()}


def check_member(index: int, described: Mapping[str, Any]) -> None:
    """Raises a DormantError for what member ``index`` of Run.members cannot mean."""
    who = f"member {index}"
    method = described.get("method", "none")
    check_value(f"{who}: method", method, TEXT)
    check_name("method", method, register.METHODS)
    rules = member_rules(method)
    every = {name for each in register.METHODS for name in member_rules(each)}
    for name, value in described.items():
        check_name(f"setting of {who}:", name, every)
        if name not in rules:
            raise DormantError(
                f"{who} has a setting {name!r}, which means nothing to method {method!r}"
            )
        check_value(f"{who}: {name}", value, rules[name])
    for setting, field in register.METHODS[method].traced.items():
        if setting != field and setting in described and field in described:
            raise DormantError(f"{who} has {setting!r} and {field!r}, which are one setting")
