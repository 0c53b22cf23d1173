"""The on-disk schema of a run: what ``training`` writes and ``analysis`` reads. No jax here.

``base_dir/`` holds
  run.json      what was run (RunRecord); written once, and again as a whole when a run ends
  config.gin    the resolved gin configuration
  metrics.csv   long table, append-only, equal byte for byte whether or not the run was interrupted
  timing.csv    the same columns for measurements of time, which are never equal twice
  tensorboard/  event files, one folder per member
  checkpoints/  private to ``training``
  wandb/        what Weights & Biases writes, and wandb.json: which of its runs are the members'

A row of the tables is one measurement of one member: COLUMNS. Names of metrics are paths: METRICS.
"""

import csv
import functools
import io
import json
import math
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from dormant import register
from dormant.atomic import atomic
from dormant.types import DormantError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
RUN_FILE, CONFIG_FILE = "run.json", "config.gin"
METRICS_FILE, TIMING_FILE = "metrics.csv", "timing.csv"

COLUMNS = ("member", "iteration", "agent_steps", "gradient_steps", "metric", "value")

# Metric names. {tau} is written with %g. {layer} is a network's name and a layer's, e.g.
# "online/Conv_0", or "all": pooled over every scored neuron of the agent, as the paper reports it.
METRICS = {
    "episode/return": "undiscounted raw return of one finished training episode",
    "episode/length": "its length in agent steps",
    "train/average_return": "mean raw return of the training episodes finished in the iteration",
    "train/episodes": "how many there were",
    "eval/average_return": "mean raw return of the evaluation phase "
    "(paper: epsilon 0.001, 125,000 agent steps)",
    "eval/episodes": "how many episodes it had",
    "learn/loss": "mean over the gradient steps since the last row",
    "learn/accuracy": "supervised studies: fraction of the images classified as their targets say, "
    "over the epoch's gradient steps",
    "learn/mean_q": "mean action value of the states and actions learned from, likewise",
    "learn/gradient_norm": "global norm of the gradient of the gradient step that is logged",
    "learn/actor_loss": "SAC: the actor's loss, likewise",
    "learn/entropy": "SAC: minus the mean log density of the actor's actions, likewise",
    "learn/temperature": "SAC: likewise",
    "dormant_fraction/tau={tau}/{layer}": "fraction (0 to 1) of neurons with score <= tau, before "
    "recycling; NaN where the member has diverged",
    "recycled_neurons/{layer}": "number of neurons recycled at this gradient step",
    "pruned_neurons/{layer}": "number of neurons pruned at this gradient step",
    "remaining_neurons/{layer}": "number of the layer's neurons that are not pruned",
    "feature_rank": "srank (Kumar et al., 2021) of the penultimate features, delta 0.01; NaN where "
    "the member has diverged",
    "weight_norm/{layer}": "Frobenius norm of the layer's kernels; all: of every parameter",
    "stable_rank/{layer}": "sum of the squared singular values of the layer's activations over the "
    "largest one",
    "effective_rank/{layer}": "exponential of the entropy of their normalised singular values",
    "zero_gradient_fraction/{layer}": "fraction of the layer's weights whose gradient is exactly 0",
    "gradient_dormant_fraction/tau={tau}/{layer}": "fraction of neurons with gradient score <= tau",
    "activation_churn/{layer}": "fraction of activations that are positive now and were not at the "
    "log before, on the same inputs, or the other way round",
    "overlap/first/tau={tau}/{layer}": "overlap coefficient of the dormant neurons with those of "
    "the first log; NaN where one of the sets is empty",
    "overlap/previous/tau={tau}/{layer}": "likewise with those of the log before",
    "overlap/union/tau={tau}/{layer}": "likewise with those of all logs before",
    "intervention/{layer}": "a value that an intervention of your own reports, by its name",
    "diverged": "the first gradient step whose loss was not finite",
    "time/agent_steps_per_second": "per member, since the last row; evaluation left out",
    "time/gradient_steps_per_second": "per member, likewise",
    "time/evaluation_seconds": "of an evaluation phase, all members together",
    "time/refilled_steps_per_second": "per member: agent steps repeated to fill the replay memory "
    "of a resumed run",
}


class MemberRecord(TypedDict, total=False):
    """One member in run.json."""

    member: int  # its number in the tables
    seed: int
    method: str  # of experiments.validation.METHODS
    label: str  # for people
    learning_rate: float
    weight_decay: float
    tau: float | None  # of ReDo and pruning
    period: int | None  # gradient steps between two interventions
    score_batch_size: int  # this and the following: ReDo's options (training.interventions.ReDo)
    select: str
    incoming: str
    outgoing: str
    count: str
    moments: str
    as_released: bool | str
    l2_init: float  # coefficient of L2 towards the initial weights
    reset_layers: list[str]  # Reset's


class RunRecord(TypedDict, total=False):
    """What run.json holds."""

    schema: int
    status: str  # "running", "finished"
    origin: str  # "dopamine": read from its logs; absent = ours
    commit: str | None  # of git, where the package is a checkout
    game: str
    agent: str
    title: str  # of the agent, for people
    network: str | None
    width: float
    activation: str
    precision: str
    frames_per_agent_step: int
    replay_ratio: float
    update_horizon: int
    batch_size: int
    min_replay_history: int
    max_episode_steps: int
    # what else decides numbers, by its gin name ("DQN.gamma"): of the agent, and of how its games
    # are played
    settings: dict[str, Any]
    protocol: dict[str, Any]  # the fields of training.protocol.Protocol
    study: dict[str, Any]  # settings of a study (dormant.studies), which has no config.gin
    members: list[MemberRecord]
    warnings: list[str]  # a line each: settings without effect, own gin files with a shipped name
    versions: dict[str, str | None]  # of packages
    machine: dict[str, Any]


class Measurement(NamedTuple):
    """One row of metrics.csv."""

    member: int
    iteration: int  # 0-based
    # by the member since the start; frames = agent_steps * frames_per_agent_step of run.json
    agent_steps: int
    gradient_steps: int  # by the member since the start
    metric: str
    value: float


def dormant_fraction_name(tau: float, layer: str = "all") -> str:
    """The metric's name, e.g. ``dormant_fraction/tau=0.025/online/Conv_0``."""
    return f"dormant_fraction/tau={tau:g}/{layer}"


def recycled_name(layer: str) -> str:
    """The metric's name, e.g. ``recycled_neurons/online/Conv_0``."""
    return f"recycled_neurons/{layer}"


def pruned_name(layer: str) -> str:
    """The metric's name, e.g. ``pruned_neurons/online/Conv_0``."""
    return f"pruned_neurons/{layer}"


def remaining_name(layer: str) -> str:
    """The metric's name, e.g. ``remaining_neurons/online/Conv_0``."""
    return f"remaining_neurons/{layer}"


def is_metric(name: str) -> bool:
    """Whether METRICS or register.METRICS has this name, or a pattern that it follows."""
    return _known((*METRICS, *register.METRICS)).fullmatch(name) is not None


@functools.lru_cache(maxsize=1)
def _known(metrics: tuple[str, ...]) -> re.Pattern:
    patterns = {r"\{tau\}": r"[0-9.e+-]+", r"\{layer\}": r"[^,\s]+"}
    names = "|".join(map(re.escape, metrics))
    for hole, pattern in patterns.items():
        names = names.replace(hole, pattern)
    return re.compile(names)


def format_rows(rows: Iterable[Measurement]) -> str:
    """Rows as CSV lines. float32 values keep all their digits (9 significant ones)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in rows:
        writer.writerow([*row[:5], format(float(row.value), ".9g")])
    return out.getvalue()


def header() -> str:
    return ",".join(COLUMNS) + "\n"


def read_measurements(path: str) -> list[Measurement]:
    """The complete rows of a table that may be growing: a last line without its newline is left
    out.

    Raises:
      DormantError: the file is not such a table.
    """
    try:
        with open(path, newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise DormantError(f"{path} is not a table of measurements: {error}") from error
    lines = text[: text.rfind("\n") + 1].splitlines()
    if not lines:
        return []
    if lines[0] != header().strip():
        raise DormantError(
            f"{path} is not a table of measurements: its first line should read "
            f"'{header().strip()}'"
        )
    return _parsed(lines[1:], path, 2)


def parse_rows(text: str) -> list[Measurement]:
    """The rows of whole lines of a table, its header left out.

    Raises:
      DormantError: a line is no row.
    """
    return _parsed(text.splitlines(), "the table", 1)


def _parsed(lines: Sequence[str], where: str, first: int) -> list[Measurement]:
    """The rows of lines that begin with the line ``first`` of the file ``where``."""
    reader = csv.reader(lines)
    try:
        return [
            Measurement(int(m), int(i), int(a), int(g), name, float(value))
            for m, i, a, g, name, value in reader
        ]
    except (ValueError, csv.Error) as error:
        number = max(reader.line_num, 1) - 1
        raise DormantError(
            f"{where}: line {number + first} is no measurement: {lines[number][:80]!r}; expected "
            f"{header().strip()}"
        ) from error


def load(base_dir: str, metrics: Sequence[str] = ()) -> "pd.DataFrame":
    """The measurements of every run at or below base_dir as one tidy table, a measurement a row:

        rows = dormant.results.load("runs/demon", ["eval/", "dormant_fraction/tau=0.1/all"])
        rows.groupby(["metric", "method", "agent_steps"], observed=True)["value"].mean()

    Columns: run, member, seed, game, agent, method, label, replay_ratio, iteration, agent_steps,
    frames, gradient_steps, metric, value, width, learning_rate, tau, period. What could not be read
    is in ``rows.attrs["problems"]``, a line each. Where runs differ in something else, group by
    run.

    Args:
      metrics: beginnings of the metrics' names to keep; () keeps all.

    Raises:
      DormantError: there is no run that can be read, or none with such metrics.
    """
    from dormant.analysis.load import load as load_table  # pandas, on use only

    table = load_table(os.path.expanduser(base_dir), metrics)
    if metrics and table.rows.empty:
        raise DormantError(f"no run in {base_dir} has a metric that begins with {metrics[0]!r}")
    facts = ["width", "learning_rate", "tau", "period"]
    rows = table.rows.join(table.members[facts], on="id").drop(columns="id")
    rows.attrs["problems"] = list(table.problems)
    return rows


def write_run(base_dir: str, run: RunRecord) -> None:
    """Writes run.json whole or not at all. It is JSON as everybody reads it: not finite is null."""
    path = os.path.join(base_dir, RUN_FILE)
    with atomic(path) as file:
        json.dump(
            _finite({"schema": SCHEMA, **run}), file, indent=2, sort_keys=True, allow_nan=False
        )
        file.write("\n")


def _finite(value: Any) -> Any:
    """The same with None for every number that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_run(base_dir: str) -> RunRecord:
    """run.json of a run.

    Raises:
      DormantError: base_dir holds no run, or one of another schema.
    """
    path = os.path.join(base_dir, RUN_FILE)
    try:
        with open(path) as file:
            run = json.load(file)
    except FileNotFoundError as error:
        raise DormantError(f"{base_dir} holds no run{_runs_below(base_dir)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DormantError(
            f"{base_dir} holds no run that can be read ({RUN_FILE}: {reason})"
        ) from error
    if not isinstance(run, dict):
        raise DormantError(f"{path} is no record of a run: it holds a {type(run).__name__}")
    if run.get("schema") != SCHEMA:
        raise DormantError(
            f"{path} has schema {run.get('schema')}; this version of dormant reads schema {SCHEMA}"
        )
    if not run.get("members") or not isinstance(run["members"], list):
        raise DormantError(f"{path} lists no members")
    if not isinstance(run.get("status"), str):
        raise DormantError(f'{path} lacks its status, "running" or "finished"')
    return RunRecord(**run)  # type: ignore[typeddict-item]


def _runs_below(base_dir: str) -> str:
    """Which runs the user may have meant."""
    if not os.path.isdir(base_dir):
        return ": there is no such folder"
    below = [folder for _, folder in zip(range(3), find_runs(base_dir))]
    return f" (a folder with {RUN_FILE})" + (f"; below it are {', '.join(below)}" if below else "")


def git_commit() -> str | None:
    """The commit of the checkout that this package lies in; None where it is installed."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not os.path.exists(os.path.join(root, ".git")):
        return None
    command = ["git", "-C", root, "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def find_runs(base_dir: str) -> Iterator[str]:
    """Folders at or below base_dir that hold a run.json, in sorted order; a run's own folders are
    not searched.
    """
    for folder, subfolders, files in os.walk(base_dir):
        subfolders.sort()
        if RUN_FILE in files:
            subfolders.clear()
            yield folder
