"""Any tree of runs (folders with run.json and metrics.csv) as one table. Schema:
``dormant.results``.

A run that cannot be read is one line in ``Table.problems`` and never fatal; a table that is still
growing is read up to its last complete line. Lines of metrics nobody asked for are dropped before
they are parsed, which is what makes a thousand runs a matter of seconds.
"""

import io
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dormant import results
from dormant.types import DormantError

# Facts of a member by which figures select, and what holds where run.json does not say. A fact is
# looked up in the member's own entry, then at the top of run.json, then in its protocol.
FACTS: dict[str, Any] = {
    "game": "",
    "agent": "",  # DQN, Rainbow, SAC
    # of the agent's setting: "DrQ(eps)" is one of Rainbow; else the label up to its method
    "title": "",
    "method": "none",  # none, redo, reset, weight_decay, ...
    "replay_ratio": np.nan,
    "update_horizon": 1,
    "network": "nature",  # nature, resnet
    "width": 1.0,  # factor on the number of neurons of every hidden layer
    "activation": "relu",  # relu, leaky_relu
    "batch_size": np.nan,
    "learning_rate": np.nan,
    "weight_decay": 0.0,
    "reset_layers": "",  # last, penultimate, all
    "tau": np.nan,  # recycling threshold
    "period": np.nan,  # recycling (or reset) period in gradient steps
    "score_batch_size": np.nan,  # transitions behind one score
    "outgoing": "zero",  # zero, random
    "incoming": "init",  # init, xavier, rescaled
    # threshold, size_matched_random, gradient, or what a scheduled fraction is taken by: score,
    # random, inverse, utility
    "select": "threshold",
    "count": "keep",  # Adam's step count: keep, reset
    "moments": "zero",  # the optimiser's statistics of recycled weights: zero, keep
    "as_released": False,  # with the faults of the authors' code; a str: with that one alone
    "metrics": "",  # that were asked for beside the usual ones, joined by +
    "l2_init": 0.0,  # coefficient of L2 towards the initial weights
    "origin": "",  # "dopamine": read from its logs (dormant.dopamine.logs)
    "iterations": 0,
    "training_steps": 0,  # agent steps of one iteration
    "evaluation_steps": 0,  # agent steps of one evaluation phase
    "evaluation_episodes": 0,  # or its episodes
    "frames_per_agent_step": 1,
    "min_replay_history": 0,  # agent steps before the first gradient step
    "max_episode_steps": np.nan,  # agent steps after which an episode is cut
}
# What a run's record may hold for each: numbers of either kind, but for bools.
KINDS: dict[str, tuple[type, ...]] = {
    **{
        name: (int, float) if type(usual) in (int, float) else (type(usual),)
        for name, usual in FACTS.items()
    },
    **{"member": (int,), "seed": (int,), "label": (str,), "as_released": (bool, str)},
}
ROW_FACTS = ("run", "member", "seed", "game", "agent", "method", "label", "replay_ratio")
_NUMBERS = {
    "member": "int32",
    "iteration": "int32",
    "agent_steps": "int64",
    "gradient_steps": "int64",
    "metric": "category",
    "value": "float64",
}


class Table(NamedTuple):
    """A tree of runs.

    rows      one measurement each: id, ROW_FACTS, iteration, agent_steps, frames, gradient_steps,
      metric, value
    members   one member of one run each, indexed by id: run, member, seed, label, status, FACTS and
      settings, a dictionary of what else decides numbers ("DQN.gamma"; older runs have recorded
      none)
    problems  one line for every run that was left out or is incomplete, and why
    left_out  as members, with a column problem: the members of runs whose run.json can be read and
      whose metrics cannot
    """

    rows: pd.DataFrame
    members: pd.DataFrame
    problems: tuple[str, ...]
    left_out: pd.DataFrame

    def metric(self, name: str) -> pd.DataFrame:
        """The rows of one metric."""
        return self.rows[self.rows["metric"] == name]


def load(base_dir: str, metrics: Sequence[str] = ()) -> Table:
    """Reads every run at or below base_dir.

    Args:
      base_dir: one run, or a tree of runs.
      metrics: beginnings of the metric names to keep, e.g. ("eval/", "dormant_fraction/tau=0/"); ()
        keeps all.
    Raises:
      DormantError: there is no run at all.
    """
    members: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    tables: list[pd.DataFrame] = []
    problems: list[str] = []
    for folder in results.find_runs(base_dir):
        name = os.path.relpath(folder, base_dir)
        name = os.path.basename(os.path.abspath(folder)) if name == "." else name
        facts: list[dict[str, Any]] = []
        try:
            facts = _members(dict(results.read_run(folder)), name)
            table = _read_metrics(os.path.join(folder, results.METRICS_FILE), metrics)
            ids = _match(table["member"].to_numpy(), facts, first=len(members))
        except DormantError as error:
            problems.append(f"{name}: left out: {error}")
            left_out += [{**entry, "problem": problems[-1]} for entry in facts]
            continue
        if facts[0]["status"] != "finished":
            problems.append(
                f"{name}: not finished (status {facts[0]['status']!r}); what it has so far is used"
            )
        members.extend(facts)
        tables.append(table.assign(id=ids))
    if not members:
        why = f"; {problems[0]}" if problems else ""
        raise DormantError(
            f"{base_dir} holds no run that can be read (a folder with {results.RUN_FILE}){why}"
        )
    frame = pd.DataFrame(members)
    lost = pd.DataFrame(left_out, columns=[*frame.columns, "problem"])
    return Table(_rows(tables, frame), frame, tuple(problems), lost)


def _members(run: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """One dictionary of facts for each member of a run."""
    entries = run.get("members")
    if not entries or not all(isinstance(entry, dict) and "member" in entry for entry in entries):
        raise DormantError(f"{results.RUN_FILE} lists no members")
    protocol, settings = run.get("protocol", {}), run.get("settings") or {}
    if not isinstance(protocol, dict) or not isinstance(settings, dict):
        raise DormantError(f"{results.RUN_FILE}: its protocol or its settings are no dictionary")

    def facts(entry: dict[str, Any]) -> dict[str, Any]:
        found = {
            fact: entry.get(fact, run.get(fact, protocol.get(fact, FACTS[fact]))) for fact in FACTS
        }
        found = {
            fact: _plain(FACTS[fact] if value is None else value) for fact, value in found.items()
        }
        if found["method"] == "none":  # it has neither, whatever its peers have
            found |= {"tau": np.nan, "period": np.nan}
        label = entry.get("label", found["method"])
        _check({"seed": 0, **entry, "label": label, **found})
        found["title"] = found["title"] or label.split(" + ")[0]
        return {
            "run": name,
            "member": entry["member"],
            "seed": entry.get("seed", 0),
            "label": label,
            "status": run.get("status", "unknown"),
            "settings": settings,
            **found,
        }

    return [facts(entry) for entry in entries]


def _check(facts: dict[str, Any]) -> None:
    """Raises a DormantError where one is of another kind than figures compare and count with."""
    for name, kinds in KINDS.items():
        if type(facts[name]) not in kinds:
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise DormantError(
                f"{results.RUN_FILE}: {name} of member {facts['member']} is {facts[name]!r}; "
                f"{wanted} is wanted"
            )


def _plain(value: Any) -> Any:
    """Lists as text, so that facts can be compared."""
    return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _read_metrics(path: str, metrics: Sequence[str]) -> pd.DataFrame:
    """The complete lines of one metrics.csv whose metric begins with one of ``metrics``."""
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        raise DormantError(f"{results.METRICS_FILE} cannot be read ({error.strerror})") from error
    text = text[: text.rfind(b"\n") + 1]
    head, _, body = text.partition(b"\n")
    if text and head + b"\n" != results.header().encode():
        raise DormantError(
            f"{results.METRICS_FILE} does not begin with '{results.header().strip()}'"
        )
    if metrics:
        names = b"|".join(re.escape(prefix).encode() for prefix in metrics)
        body = b"\n".join(
            re.findall(rb"\n([^,\n]*(?:,[^,\n]*){3},(?:" + names + rb")[^\n]*)", b"\n" + body)
        )
    try:
        table = pd.read_csv(io.BytesIO(body), names=list(results.COLUMNS), dtype=_NUMBERS)
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise DormantError(
            f"{results.METRICS_FILE} is damaged ({str(error).splitlines()[0]})"
        ) from error
    if table["metric"].isna().any():
        raise DormantError(f"{results.METRICS_FILE} is damaged (a line without a metric)")
    return table


def _match(member: np.ndarray, facts: list[dict[str, Any]], first: int) -> np.ndarray:
    """The id of each row's member; the run's members take the ids from ``first`` on."""
    lookup = {entry["member"]: first + i for i, entry in enumerate(facts)}
    unknown = set(np.unique(member)) - set(lookup)
    if unknown:
        raise DormantError(
            f"{results.METRICS_FILE} has member {min(unknown)}, "
            f"which {results.RUN_FILE} does not list"
        )
    table = np.zeros(max(lookup) + 1, dtype=np.int32)
    table[list(lookup)] = list(lookup.values())
    return table[member]


def _rows(tables: list[pd.DataFrame], members: pd.DataFrame) -> pd.DataFrame:
    """All measurements in one table; text is stored as categories (codes into few names)."""
    names: dict[str, int] = {}
    codes = []
    for table in tables:
        categories = table["metric"].cat.categories
        lookup = np.array(
            [names.setdefault(name, len(names)) for name in categories], dtype=np.int32
        )
        codes.append(
            lookup[table["metric"].cat.codes] if len(categories) else np.zeros(0, np.int32)
        )
    rows = pd.concat(
        [table.drop(columns=["metric", "member"]) for table in tables], ignore_index=True
    )
    rows["metric"] = pd.Categorical.from_codes(np.concatenate(codes), categories=list(names))
    ids = rows["id"].to_numpy()
    for fact in ROW_FACTS:
        column = members[fact]
        if column.dtype == object:
            fact_codes, values = pd.factorize(column)
            rows[fact] = pd.Categorical.from_codes(fact_codes[ids], categories=values)
        else:
            rows[fact] = column.to_numpy()[ids]
    rows["frames"] = rows["agent_steps"] * members["frames_per_agent_step"].to_numpy()[ids]
    order = [
        "id",
        *ROW_FACTS,
        "iteration",
        "agent_steps",
        "frames",
        "gradient_steps",
        "metric",
        "value",
    ]
    return rows[order]
