"""The quickstart's image and its numbers."""

import matplotlib.image as images
import pandas as pd
import pytest

from dormant.analysis.load import load
from dormant.analysis.quickstart import draw_quickstart, quickstart_data
from dormant.types import DormantError

PANELS = {"pooled", "return"}
LAYERS = ("all", "online/Conv_0", "online/Dense_0")


def rows():
    for member in (0, 1):
        for iteration, steps in ((0, 100), (1, 200)):
            for tau in ("0", "0.1"):
                for i, layer in enumerate(LAYERS):
                    value = 0.1 * member + 0.01 * i + 0.001 * iteration
                    yield (
                        member,
                        iteration,
                        steps,
                        steps - 20,
                        f"dormant_fraction/tau={tau}/{layer}",
                        value,
                    )
            yield (
                member,
                iteration,
                steps,
                steps - 20,
                "train/average_return",
                10.0 * member + iteration,
            )


def test_data_is_at_the_recycling_threshold(write_run, two_members):
    data = quickstart_data(load(str(write_run("a", two_members, rows()))))
    assert set(data["panel"]) == {"pooled", "return", "online/Conv_0", "online/Dense_0"}
    assert set(data["metric"].astype(str).str.split("/").str[1]) == {"tau=0.1", "average_return"}
    pooled = data[(data["panel"] == "pooled") & (data["label"] == "DQN+ReDo")]
    assert pooled["value"].tolist() == pytest.approx([0.1, 0.101])
    assert pooled["frames"].tolist() == [400, 800]


def test_files_are_written_and_equal_when_drawn_again(write_run, two_members, tmp_path):
    folder = write_run("a", two_members, rows())
    first = draw_quickstart(str(folder), str(tmp_path / "one"))
    second = draw_quickstart(str(folder), str(tmp_path / "two"))
    assert [path.rsplit(".")[-1] for path in first] == ["png", "pdf", "csv"]
    for one, two in zip(first, second):
        with open(one, "rb") as a, open(two, "rb") as b:
            content = a.read()
            assert content == b.read() and len(content) > 500
    assert len(pd.read_csv(first[2])) == 2 * 2 * (3 + 1)


def test_runs_are_not_averaged(write_run, two_members, tmp_path):
    for name in ("a", "b"):
        write_run(name, two_members, rows())
    with pytest.raises(DormantError, match="holds 2 runs; the figure quickstart draws one: --runs"):
        draw_quickstart(str(tmp_path / "runs"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_run_whose_layers_were_not_kept_has_one_row_of_panels(write_run, two_members, tmp_path):
    whole = draw_quickstart(str(write_run("a", two_members, rows())), str(tmp_path / "whole"))
    kept = [row for row in rows() if "/online/" not in row[4]]
    pooled = draw_quickstart(str(write_run("b", two_members, kept)), str(tmp_path / "kept"))
    sizes = [images.imread(paths[0]).shape for paths in (whole, pooled)]
    assert sizes[1][0] < 0.7 * sizes[0][0] and set(pd.read_csv(pooled[2])["panel"]) == PANELS


def test_without_episodes_or_measurements(write_run, two_members, tmp_path):
    folder = write_run(
        "a", two_members, [row for row in rows() if row[4] != "train/average_return"]
    )
    assert draw_quickstart(str(folder), str(tmp_path / "out"))
    empty = write_run("b", two_members, [])
    with pytest.raises(DormantError, match="no rows of dormant_fraction yet"):
        draw_quickstart(str(empty))
