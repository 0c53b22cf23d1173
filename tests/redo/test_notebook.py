"""The notebook: its cells run in order, and show what their text says."""

import json
import pathlib
import time

import matplotlib

NOTEBOOK = pathlib.Path(__file__).parent.parent.parent / "examples" / "recycling.ipynb"


def test_the_notebook_runs_on_a_cpu_in_two_minutes(capsys):
    matplotlib.use("agg")
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")
    names: dict = {}
    began = time.process_time()
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert time.process_time() - began < 120
    assert "Dense_0" in capsys.readouterr().out  # describe names the layers
    before, after = names["before"], names["after"]
    assert list(before) == ["Conv_0", "Conv_1", "Dense_0"]
    assert before["Dense_0"] > 0.2 and after["Dense_0"] < 0.7 * before["Dense_0"]
    same = names["network"].apply(names["silent"], names["images"]) - names["outputs"]
    assert abs(same).max() < 1e-4
    assert [text.get_text() for text in names["ax"].get_xticklabels()] == list(before)
    names["plt"].close("all")
