"""docs/how_wiring_is_found.md shows what the code prints, and its rule works."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.redo.derivation import rules
from dormant.redo.derivation.trace import EXAMPLE, example, trace
from tests.redo.silence import check_silent_units, observe

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "how_wiring_is_found.md").read_text()
BLOCKS = [block.strip("\n") for block in PAGE.split("```")[1::2]]


def test_the_printed_blocks():
    printed = trace(example, EXAMPLE, np.ones((4, 2), np.float32))
    for title, block in zip(("program", "tags", "ledger", "table"), BLOCKS, strict=False):
        assert block == printed[title]


def sorted_over(axis):
    return lambda p, x: jnp.sort(jax.nn.relu(x @ p["w"]), axis=axis)[:, 0] @ p["v"]


@pytest.fixture
def setting():
    random = np.random.default_rng(0)
    params = {"w": random.standard_normal((2, 6)), "v": random.standard_normal((6, 1))}
    params = {name: leaf.astype(np.float32) for name, leaf in params.items()}
    params["w"][:, :2] = -1
    return params, [random.random((2, 5, 2)).astype(np.float32) for _ in range(2)]


def test_the_worked_rule(setting, monkeypatch):
    params, batches = setting
    over_time, over_neurons = sorted_over(1), sorted_over(2)
    before = observe(over_time, params, batches[0]).wiring.layer
    with pytest.raises(ValueError, match="no scored layer"):
        before("w")
    table = dict(rules.RULES)
    monkeypatch.setattr(rules, "RULES", table)
    code = BLOCKS[4].removeprefix("python")
    exec(code, {"RULES": rules.RULES, "deny": rules.deny})
    monkeypatch.setattr("dormant.redo.derivation.derive.RULES", table)
    assert observe(over_time, params, batches[0]).wiring.layer("w").recyclable.all()
    assert check_silent_units(over_time, params, batches) >= 2
    assert not observe(over_neurons, params, batches[0]).wiring.scored
    assert "sort" in table
