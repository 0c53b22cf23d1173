"""The examples for users' own loops stay true, and short."""
import pathlib
import runpy

import pytest

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
