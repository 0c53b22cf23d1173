"""What others have published: the paper's numbers (data/README.md)."""

import functools
from importlib import resources

import pandas as pd


@functools.cache
def published() -> pd.DataFrame:
    """Every published value: figure, panel, series, x, x_unit, value, low, high, value_unit,
    source, note.
    """
    tables = []
    for name in ("published_tables.csv", "published_curves.csv"):
        with (resources.files("dormant.paper.data") / name).open() as file:
            tables.append(pd.read_csv(file, dtype={"figure": str, "note": str}))
    return pd.concat(tables, ignore_index=True)


def published_series(figure: str, panel: str, series: str) -> pd.DataFrame:
    """Columns x, value, low, high of one published series, in order of x; empty where nothing was
    published.
    """
    table = published()
    found = table[
        (table["figure"] == figure) & (table["panel"] == panel) & (table["series"] == series)
    ]
    return found[["x", "value", "low", "high"]].sort_values("x").reset_index(drop=True)
