"""What Dopamine has logged, as runs that ``figures`` and ``report`` read beside ours.

  python -m dormant.dopamine.logs --game Pong --agent DQN --out runs/theirs --trust RUN_OF_DOPAMINE
  python -m dormant.dopamine.logs --out runs/published baselines/atari/data/pong.json

A source is a run's folder (its logs/log_N or metrics/pickle/pickle_N.pkl), one of these pickles, or
a JSON file of Dopamine's published baselines. Each run becomes a folder with run.json and
metrics.csv. Reading a pickle can execute code that its author put there: it takes --trust.
"""

import argparse
import collections
import json
import os
import pickle
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dormant import results
from dormant.command import DONE, Parser, a_path, finish, say, writing
from dormant.paper.games import GAMES_17, GAMES_26
from dormant.results import Measurement, RunRecord
from dormant.types import DormantError, nearest

# Names in Dopamine's logger and in its collectors -> ours. Lists of episodes come one by one.
METRICS = {
    "train_average_return": "train/average_return",
    "Train/AverageReturns": "train/average_return",
    "eval_average_return": "eval/average_return",
    "Eval/AverageReturns": "eval/average_return",
    "Train/NumEpisodes": "train/episodes",
    "Eval/NumEpisodes": "eval/episodes",
    "train_episode_returns": "episode/return",
    "train_episode_lengths": "episode/length",
}
# Agents of the published baselines -> (our agent, title). Others keep their name.
BASELINES = {
    "DQN": ("DQN", "DQN"),
    "DQN (Adam + MSE in JAX)": ("DQN", "DQN, MSE"),
    "C51": ("Rainbow", "C51"),
    "Rainbow": ("Rainbow", "Rainbow"),
    "SAC": ("SAC", "SAC"),
}


class Facts(NamedTuple):
    """What Dopamine's logs do not say of their run."""

    game: str
    agent: str = "DQN"  # DQN, Rainbow, SAC
    title: str = ""  # of the agent, for people; empty = agent
    method: str = "none"
    training_steps: int = 250_000  # agent steps an iteration
    frames_per_agent_step: int = 4
    replay_ratio: float = 0.25  # gradient steps per agent step
    min_replay_history: int = 20_000  # agent steps


def read_run(path: str, facts: Facts | None = None, *, trusted: bool = False) -> tuple:
    """(RunRecord, rows) of one run of Dopamine's.

    Agent and gradient steps at an iteration's end are counted from ``facts``, as the logs have none
    (an iteration's last episode may take it some steps further).

    Args:
      path: the run's folder, or one of its pickles. Of a folder everything logged is read.
      trusted: whether the pickle may be read, which can execute code.

    Raises:
      DormantError: not trusted; no such logs, or a file that is none.
    """
    facts = facts or Facts("")
    found = _logs(path) if os.path.isdir(path) else [path]
    if not trusted:
        raise DormantError(
            f"{found[-1]} is a pickle: reading it can execute code that its author put there; "
            "--trust reads it"
        )
    data = {name: each for log in found for name, each in _unpickled(log).items()}
    rows = _rows(data, facts)
    return record(facts, rows), rows


def read_baseline(path: str, facts: Facts | None = None) -> Iterable[tuple]:
    """(RunRecord, rows) of every agent in a JSON file of Dopamine's published baselines.

    Its values are average training returns, one for each iteration and seed; the seeds become
    members, in the file's order.

    Raises:
      DormantError: not such a file.
    """
    base = facts or Facts("")
    base = base._replace(game=base.game or _game_of(path))
    by_agent: dict[str, list[Measurement]] = {}
    seeds: collections.Counter = collections.Counter()
    for entry in _baseline_entries(path):
        name, iteration = str(entry["Agent"]), int(entry["Iteration"])
        steps, value = _steps(base, iteration), float(entry["Value"])
        row = Measurement(seeds[name, iteration], iteration, *steps, "train/average_return", value)
        by_agent.setdefault(name, []).append(row)
        seeds[name, iteration] += 1
    for name, rows in by_agent.items():
        agent, title = BASELINES.get(name, (name, name))
        yield record(base._replace(agent=agent, title=f"Dopamine's {title}"), rows), rows


def _game_of(path: str) -> str:
    """The game that a baseline's file is named after, in the paper's spelling where it has it."""
    name = re.sub(r"(_CNN|_Impala)?(\.vg)?\.json$", "", os.path.basename(path))
    spelled = {game.lower(): game for game in (*GAMES_17, *GAMES_26)}
    return spelled.get(name, name)


def _baseline_entries(path: str) -> list[Mapping[str, Any]]:
    """The file's list, each entry with Iteration, Value and Agent."""
    try:
        with open(path) as file:
            entries = json.load(file)
    except (OSError, ValueError) as error:
        raise DormantError(f"{path} cannot be read as JSON: {error}") from error
    if isinstance(entries, dict):  # a Vega plot (.vg.json) holds its own copy
        entries = entries.get("data", {}).get("values") if "data" in entries else None
    keys = {"Iteration", "Value", "Agent"}
    if not isinstance(entries, list) or not entries:
        raise DormantError(f"{path} is no baseline of Dopamine's: it is no list of entries")
    for entry in entries:
        if not isinstance(entry, dict) or not keys <= set(entry):
            raise DormantError(
                f"{path} is no baseline of Dopamine's: an entry lacks {', '.join(sorted(keys))}"
            )
    return entries


def record(facts: Facts, rows: Sequence[Measurement]) -> RunRecord:
    """run.json of these rows, one member a seed."""
    seeds = 1 + max(row.member for row in rows)
    iterations = 1 + max(row.iteration for row in rows)
    title = facts.title or facts.agent
    label = title if facts.method == "none" else f"{title} + {facts.method}"
    return RunRecord(
        status="finished",
        origin="dopamine",
        game=facts.game,
        agent=facts.agent,
        title=title,
        frames_per_agent_step=facts.frames_per_agent_step,
        replay_ratio=facts.replay_ratio,
        min_replay_history=facts.min_replay_history,
        protocol={"training_steps": facts.training_steps, "iterations": iterations},
        members=[
            {"member": seed, "seed": seed, "method": facts.method, "label": label}
            for seed in range(seeds)
        ],
        warnings=["read from Dopamine's logs; steps are counted from the iterations"],
    )


def write(base_dir: str, run: RunRecord, rows: Iterable[Measurement]) -> None:
    """A folder with run.json and metrics.csv; the table comes first, so that a run is whole."""
    os.makedirs(base_dir, exist_ok=True)
    with open(os.path.join(base_dir, results.METRICS_FILE), "w") as file:
        file.write(results.header() + results.format_rows(rows))
    results.write_run(base_dir, run)


def _logs(folder: str) -> list[str]:
    """The log with the highest number, as it holds everything before it. A collector's pickles hold
    what one process has logged, numbered from 0 by each process: all of them, oldest first.
    """
    places = [
        ("logs", r"log_(\d+)$"),
        (os.path.join("metrics", "pickle"), r"pickle_(\d+)\.pkl$"),
        ("", r"log_(\d+)$"),
    ]
    for part, pattern in places:
        there = os.path.join(folder, part)
        names = os.listdir(there) if os.path.isdir(there) else []
        numbered = {int(m[1]): name for name in names if (m := re.match(pattern, name))}
        files = [os.path.join(there, numbered[number]) for number in sorted(numbered)]
        if files:
            return sorted(files, key=os.path.getmtime) if "pickle" in pattern else files[-1:]
    raise DormantError(f"{folder} holds no logs of Dopamine's (logs/log_N, metrics/pickle)")


def _unpickled(path: str) -> Mapping[str, Mapping[str, Any]]:
    try:
        with open(path, "rb") as file:
            data = pickle.load(file)
    except OSError as error:
        raise DormantError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle raises whatever it meets
        raise DormantError(f"{path} is no pickle that can be read: {error}") from error
    iterations = {} if not isinstance(data, Mapping) else data
    if not any(str(name).startswith("iteration_") for name in iterations):
        raise DormantError(f"{path} is no log of Dopamine's: it has no iteration_0")
    return iterations


def _rows(data: Mapping[str, Mapping[str, Any]], facts: Facts) -> list[Measurement]:
    rows = []
    numbered = [(int(str(name).split("_")[-1]), name) for name in data if "iteration_" in str(name)]
    for iteration, name in sorted(numbered):
        for theirs, metric in METRICS.items():
            values = data[name].get(theirs, ())
            for value in values if isinstance(values, Sequence) else (values,):
                steps = _steps(facts, iteration)
                rows.append(Measurement(0, iteration, *steps, metric, float(value)))
    if not rows:
        raise DormantError(f"the log has none of the statistics {', '.join(METRICS)}")
    return rows


def _steps(facts: Facts, iteration: int) -> tuple[int, int]:
    """Agent and gradient steps at the end of an iteration."""
    agent_steps = (iteration + 1) * facts.training_steps
    learned = max(0, agent_steps - facts.min_replay_history)
    return agent_steps, int(learned * facts.replay_ratio)


def parser() -> Parser:
    """The flags."""
    made = Parser(prog="python -m dormant.dopamine.logs", description=__doc__)
    made.add_argument("sources", nargs="+", help="runs of Dopamine's, pickles, baseline files")
    made.add_argument("--out", required=True, type=a_path, help="folder of the runs written")
    made.add_argument("--trust", action="store_true", help="read pickles, which can execute code")
    made.add_argument("--game", default="", help="that was played (a baseline's is its file name)")
    made.add_argument("--agent", default="DQN", help="DQN, Rainbow or SAC")
    made.add_argument("--title", default="", help="of the agent in figures")
    made.add_argument("--method", default="none", help="none, redo, reset, weight_decay")
    defaults = Facts._field_defaults
    for name in ("training_steps", "frames_per_agent_step", "min_replay_history", "replay_ratio"):
        kind, default = type(defaults[name]), defaults[name]
        made.add_argument(f"--{name}", type=kind, default=default, help=f"(default {default:,})")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code (``command``)."""
    arguments = parser().parse_args(argv)
    return finish(lambda: convert(arguments))


def convert(arguments: argparse.Namespace) -> int:
    """Reads every source, then writes; returns the exit code."""
    facts = Facts(**{name: getattr(arguments, name) for name in Facts._fields})
    if facts.agent not in ("DQN", "Rainbow", "SAC"):
        raise DormantError(
            f"unknown agent {facts.agent!r}; {nearest(facts.agent, ('DQN', 'Rainbow', 'SAC'))}"
        )
    found = [run for source in arguments.sources for run in _read(source, facts, arguments.trust)]
    folders = [
        os.path.join(arguments.out, f"{run['game']}_{number}")
        for number, (run, _) in enumerate(found)
    ]
    for folder in folders:
        if os.path.exists(folder):
            raise DormantError(f"{folder} is there already; choose another --out")
    with writing(arguments.out):
        for number, (folder, (run, rows)) in enumerate(zip(folders, found)):
            if len(run["members"]) == 1:  # a run by itself: the sources are the seeds
                run["members"][0]["seed"] = number
            write(folder, run, rows)
            print(folder)
    return DONE


def _read(source: str, facts: Facts, trusted: bool) -> list[tuple]:
    """(RunRecord, rows) of everything in a source."""
    if not os.path.exists(source):
        raise DormantError(f"there is no {source}")
    if source.endswith(".json"):
        return list(read_baseline(source, facts))
    if not facts.game:
        raise DormantError(f"--game is missing: {source} does not say what was played")
    if trusted:
        say(f"warning: {source} holds a pickle; reading it can execute code")
    return [read_run(source, facts, trusted=trusted)]


if __name__ == "__main__":
    sys.exit(main())
