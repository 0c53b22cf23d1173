"""The table of rules covers every field of every record, and its rules bite."""

import dataclasses
import math

import pytest

from dormant.experiments.records import records
from dormant.experiments.validation import (
    MEMBER,
    NARROWER,
    check_record,
    member_rules,
    rules_of,
    whole,
)
from dormant.types import DormantError

NOTHING = object()  # what no setting can be
OWN = {name: each for name, each in records().items() if each.__module__.startswith("dormant.")}
FIELDS = [(name, field) for name in OWN for field in dataclasses.fields(OWN[name])]


def test_the_table_of_rules_names_fields_only():
    assert set(NARROWER) <= {field.name for _, field in FIELDS}


@dataclasses.dataclass(frozen=True)
class Mine:
    """A record from outside the package: its types decide, not what the package's fields mean."""

    gamma: float = 2.0
    depth: int = -1
    name: str = ""
    sizes: tuple[int, ...] = ()
    share: float | None = None
    anything: object = None


def test_an_own_record_is_checked_by_its_types():
    check_record("Mine", Mine())
    check_record("Mine", Mine(sizes=(1, 2), share=0.5, anything={}))
    for wrong in ({"depth": 1.5}, {"name": 3}, {"sizes": (1, "a")}, {"share": "much"}):
        with pytest.raises(DormantError, match=f"Mine.{[*wrong][0]} is .*; it should be "):
            check_record("Mine", Mine(**wrong))


@pytest.mark.parametrize("name, field", FIELDS, ids=lambda each: getattr(each, "name", each))
def test_a_rule_takes_the_default_and_nothing_of_another_kind(name, field):
    rule = rules_of(OWN[name])[field.name]
    assert rule.accepts(field.default)
    wrong = [NOTHING, math.nan, math.inf, -1, b"bytes", {"a": 1}, {1}, "", (3.5,)]
    if isinstance(field.default, bool):
        wrong += [0, 1, "True", None]
    elif isinstance(field.default, int):
        wrong += [True, float(field.default), str(field.default), None]
    elif isinstance(field.default, float):
        wrong += [True, str(field.default), None]
    elif isinstance(field.default, str):
        wrong = [NOTHING, None, 3, ["text"], b"bytes"]
    elif field.default == ():
        wrong += [None, "text"]
    elif isinstance(field.default, tuple):
        wrong += [field.default[0], None, *[()] * isinstance(field.default[0], str)]
        wrong = [value for value in wrong if value != (3.5,) or isinstance(field.default[0], str)]
    taken = [value for value in wrong if rule.accepts(value)]
    free = {"Rainbow.vmax": [-1], "Rainbow.vmin": [-1], "SAC.target_entropy": [-1]}
    assert taken == free.get(f"{name}.{field.name}", [])


def test_a_record_is_refused_by_its_first_wrong_field():
    record = dataclasses.replace(OWN["Protocol"](), log_period=0)
    with pytest.raises(DormantError, match="Protocol.log_period is 0; .* whole number from 1 on"):
        check_record("Protocol", record)


def test_what_a_member_may_say():
    every = {*MEMBER, "weight_decay", "l2_init"}
    assert set(member_rules("none")) == every
    assert set(member_rules("weight_decay")) == every | {"coefficient"}
    assert set(member_rules("redo")) == every | set(rules_of(OWN["ReDo"]))
    assert set(member_rules("reset")) == every | set(rules_of(OWN["Reset"]))
    assert whole(2).accepts(2) and not whole(2).accepts(1)
