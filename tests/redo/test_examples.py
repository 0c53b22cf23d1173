"""The examples for users' own loops stay true, and short."""

import pathlib
import runpy

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from dormant.nets import NatureCNN
from dormant.redo import capture, selected

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
PRINTED = {
    "linen_train_state.py": "step 200: dormant fraction 0.",
    "nnx_optimizer.py": "step 100: dormant fraction 0.",
    "scan_and_cond.py": "dormant fraction: [0.",
    "vmap_over_seeds.py": "step 100: dormant fractions [0.",
    "sharded.py": "neurons recycled on 8 devices; kernel sharded as P(None, 'devices')",
}


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs_and_prints(name, capsys):
    path = EXAMPLES / name
    assert len(path.read_text().splitlines()) <= 45
    assert sum(1 for line in path.read_text().splitlines() if line.strip()) < 40
    runpy.run_path(str(path))
    assert PRINTED[name] in capsys.readouterr().out


def test_the_five_lines_and_the_table_of_the_page():
    page = (EXAMPLES.parent / "docs" / "recycling.md").read_text()
    code, table, masks = (page.split("```")[k] for k in (1, 3, 5))
    network = NatureCNN(6, formulation="xla")
    batch = jnp.zeros((1, 84, 84, 4), jnp.uint8)
    params = jax.eval_shape(network.init, jax.random.key(0), batch)
    observe = capture(lambda params, x: network.apply(params, x).q_values)
    assert jax.eval_shape(observe, params, batch).describe() == table.strip()

    network, batch = nn.Sequential([nn.Dense(5), nn.relu, nn.Dense(2)]), jnp.ones((3, 4))
    params = network.init(jax.random.key(0), batch)
    names = {
        "network": network,
        "batch": batch,
        "params": params,
        "opt_state": optax.adam(1e-3).init(params),
    }
    names |= {"key": jax.random.key(1), "tau": 0.9, "selected": selected}
    exec(code.removeprefix("python"), names)
    exec(masks.removeprefix("python"), names)
    assert list(names["counts"]) == ["layers_0"]
