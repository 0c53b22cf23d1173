"""The table of rules covers every field of every record, and its rules bite."""

import dataclasses
import math

import pytest

from dormant.experiments.configurables import _RECORDS
from dormant.experiments.validation import MEMBER, RULES, check_record, member_rules, whole
from dormant.types import DormantError

NOTHING = object()  # what no setting can be
FIELDS = [(name, field) for name in _RECORDS for field in dataclasses.fields(_RECORDS[name])]


def test_every_field_of_every_record_has_a_rule():
    assert set(RULES) == set(_RECORDS)
    for name, record in _RECORDS.items():
        assert {field.name for field in dataclasses.fields(record)} == set(RULES[name]), name


@pytest.mark.parametrize("name, field", FIELDS, ids=lambda each: getattr(each, "name", each))
def test_a_rule_takes_the_default_and_nothing_of_another_kind(name, field):
    rule = RULES[name][field.name]
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
    record = dataclasses.replace(_RECORDS["Protocol"](), log_period=0)
    with pytest.raises(DormantError, match="Protocol.log_period is 0; .* whole number from 1 on"):
        check_record("Protocol", record)


def test_what_a_member_may_say():
    assert set(member_rules("none")) == set(member_rules("weight_decay")) == set(MEMBER)
    assert set(member_rules("redo")) == set(MEMBER) | set(RULES["ReDo"])
    assert set(member_rules("reset")) == set(MEMBER) | set(RULES["Reset"])
    assert whole(2).accepts(2) and not whole(2).accepts(1)
