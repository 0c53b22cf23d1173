"""Weights & Biases: one of its runs for each member, fed from the tables of a run.

Rows are sent once a checkpoint vouches for them, and how far each table has been sent is kept in
WANDB_FILE beside the runs' ids. So a resumed run continues the same runs of W&B without repeating a
row, and a run that is first given this writer in the middle sends what it has recorded before.

W&B's own environment variables apply: WANDB_PROJECT (here: "dormant" where it is not set),
WANDB_RUN_GROUP (set by a sweep; else the name of the run's folder), WANDB_MODE=offline.
"""

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from dormant import results
from dormant.atomic import atomic
from dormant.results import MemberRecord, RunRecord
from dormant.training.append import AppendedFile, Extent
from dormant.types import DormantError

WANDB_FILE = "wandb.json"
PROJECT = "dormant"
CLOCKS = ("iteration", "agent_steps", "gradient_steps")


def check_wandb() -> None:
    """Raises a DormantError where W&B is not installed, or would ask for a login."""
    try:
        import wandb
    except ImportError as error:
        raise DormantError(
            f"Protocol.writers has 'wandb', which cannot be imported ({error}): "
            "pip install 'dormant[wandb]'"
        ) from error
    mode = os.environ.get("WANDB_MODE") or "online"
    if mode == "online" and not wandb.api.api_key:
        raise DormantError(
            "Protocol.writers has 'wandb', and W&B knows no API key: run 'wandb login', or set "
            "WANDB_MODE=offline"
        )


class WandbRuns:
    """The members' runs at W&B.

    Args:
      base_dir: an existing folder; what W&B itself writes goes to ``wandb/`` in it.
      tables: by file name; their rows are sent.
    """

    def __init__(self, base_dir: str, tables: Mapping[str, AppendedFile]):
        self._base_dir, self._tables = base_dir, tables
        self._path = os.path.join(base_dir, WANDB_FILE)
        self._record: dict[str, Any] = {}
        self._runs: list[Any] = []  # of wandb, one a member

    def open(self, extents: Mapping[str, Extent]) -> None:
        """Starts or continues the members' runs; sends the rows up to a checkpoint.

        Args:
          extents: of the tables at that checkpoint.

        Raises:
          DormantError: W&B refuses.
        """
        facts = results.read_run(self._base_dir)
        self._record = self._read() or self._new(len(facts["members"]))
        # where a damaged checkpoint was passed over the tables are shorter, and are sent again
        header = len(results.header())
        self._record["sent"] = {
            name: max(header, min(sent, extents[name].size))
            for name, sent in self._record["sent"].items()
        }
        self._write()  # before W&B hears of them
        self._runs = [
            self._start(facts, member, name)
            for member, name in zip(facts["members"], self._record["ids"])
        ]
        self.send(extents)

    def _read(self) -> dict[str, Any] | None:
        if not os.path.exists(self._path):
            return None
        try:
            with open(self._path) as file:
                record = json.load(file)
            return {name: record[name] for name in ("group", "ids", "sent")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DormantError(
                f"{self._path} cannot be read ({error}): put it back, or delete it to begin new "
                "runs at W&B"
            ) from error

    def _new(self, members: int) -> dict[str, Any]:
        group = os.path.basename(os.path.abspath(self._base_dir))
        return {
            "group": os.environ.get("WANDB_RUN_GROUP") or group,
            "ids": [secrets.token_hex(5) for _ in range(members)],
            "sent": {name: len(results.header()) for name in self._tables},
        }

    def _write(self) -> None:
        with atomic(self._path) as file:
            json.dump(self._record, file, indent=2)

    def _start(self, facts: RunRecord, member: MemberRecord, name: str) -> Any:
        import wandb  # an extra; only this writer needs it

        shared = {key: value for key, value in facts.items() if key != "members"}
        quiet = wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True)
        try:
            run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or PROJECT,
                group=self._record["group"],
                id=name,
                name=f"{facts['game']} {member['label']}, seed {member['seed']}",
                job_type=member["method"],
                config={**shared, **member},
                dir=self._base_dir,
                resume="allow",
                reinit="create_new",  # several in one process
                settings=quiet,
            )
        except wandb.Error as error:
            raise DormantError(f"W&B: {str(error).splitlines()[0]}") from error
        run.define_metric("agent_steps")
        run.define_metric("*", step_metric="agent_steps")
        return run

    def send(self, extents: Mapping[str, Extent]) -> None:
        """The rows of the tables up to these extents that have not been sent yet."""
        rows: list[results.Measurement] = []
        for name, table in self._tables.items():
            start, stop = self._record["sent"][name], extents[name].size
            if stop > start:
                rows += results.parse_rows(table.read(start, stop).decode())
                self._record["sent"][name] = stop
        if not rows:
            return
        self._write()  # first: killed between the two, W&B lacks rows and repeats none
        for clocks, member, metrics in _grouped(rows):
            self._runs[member].log({**dict(zip(CLOCKS, clocks)), **metrics})

    def close(self) -> None:
        for run in self._runs:
            run.finish()


def _grouped(
    rows: Iterable[results.Measurement],
) -> Iterable[tuple[tuple[int, int, int], int, dict[str, float]]]:
    """(CLOCKS, member, {metric: value}) in the order of the clocks.

    Of a metric that is there twice at one moment, two episodes say, the later is kept.
    """
    found: dict[tuple, dict[str, float]] = {}
    for row in rows:
        clocks = (row.iteration, row.agent_steps, row.gradient_steps)
        found.setdefault((*clocks, row.member), {})[row.metric] = row.value
    for *moment, member in sorted(found):
        iteration, agent_steps, gradient_steps = moment
        yield (iteration, agent_steps, gradient_steps), member, found[(*moment, member)]
