"""From a study's description to a study: what it learns from is read here. And its folder."""

import glob
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dormant import results
from dormant.agents.dqn import DQN
from dormant.command import Stopped, say
from dormant.envs import env_spec
from dormant.experiments import CONFIGS
from dormant.experiments.configurables import Configuration, read
from dormant.experiments.finished import Finished, load_finished
from dormant.experiments.run import locked, origin
from dormant.paper.budgets import plan_of
from dormant.paper.studies import DEFAULT, PRETRAINED, Arm
from dormant.replay.rows import Rows, check_rows
from dormant.results import RunRecord
from dormant.studies import Stopped as StudyStopped
from dormant.studies import Study, execute
from dormant.studies.datasets import read_dataset, read_dqn_replay
from dormant.studies.fitting import Fitting, Pupil, fitting
from dormant.studies.images import cifar, digits
from dormant.studies.offline import Data, offline
from dormant.studies.record import TAUS
from dormant.studies.supervised import supervised
from dormant.study import (
    DEFAULT_RATIO,
    HIGH_RATIO,
    Planned,
    Sources,
    check_game,
    source_name,
)
from dormant.types import DormantError, EnvSpec


class Builder:
    """Builds studies; a run or data set that several of them learn from is read once.

    Args:
      budget, base_dir: where the runs are that the figures have trained.
      sources: what the user brings instead.
    """

    def __init__(self, budget: str, base_dir: str, sources: Sources):
        self._budget, self._base_dir, self._sources = budget, base_dir, sources
        self._read: dict[str, Any] = {}

    def build(self, arm: Arm) -> Study:
        """The study of one arm.

        Raises:
          DormantError: what it learns from is missing, not finished, or of another shape.
        """
        makers = {
            "supervised": self._supervised,
            "offline": self._offline,
            "fitting": self._fitting,
        }
        return makers[arm.kind](arm)

    def _once(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._read:
            self._read[key] = make()
        return self._read[key]

    def _supervised(self, arm: Arm) -> Study:
        count, path = arm.settings["images"], self._sources.cifar10
        make = (lambda: cifar(path, count)) if arm.game == "CIFAR-10" else (lambda: digits(count))
        return supervised(self._once(arm.game, make), arm.arm, arm.settings, arm.name)

    def _offline(self, arm: Arm) -> Study:
        seeds = arm.settings["seeds"]
        data = self._once(f"data of {arm.game}", lambda: self._data(arm.game, seeds))
        return offline(data, arm.arm, arm.settings, arm.name)

    def _data(self, game: str, seeds: int) -> Data:
        """What Figure 4 learns from."""
        path = self._sources.datasets.get(game) or self._trained("4", game, DEFAULT_RATIO)
        memories: list[Rows]
        if os.path.exists(os.path.join(path, results.RUN_FILE)):
            run = load_finished(path)
            memories, config, spec = run.memories(), run.config, run.spec
        elif os.path.isdir(path):
            memories = [read_dqn_replay(path)]
            config, spec = _dqn(read([os.path.join(CONFIGS, "dqn.gin")], [f"Run.game={game!r}"]))
        else:
            stored = read_dataset(path)
            memories = stored.memories
            config, spec = _dqn(_configuration_of(stored.config))
        check_game(path, spec.name, game)
        check_rows(memories[0], spec, path)
        if len(memories) > 1:
            memories = [memories[seed % len(memories)] for seed in range(seeds)]
        return Data(game, _looped(config), spec, memories, source_name(path))

    def _trained(self, figure: str, game: str, ratio: float) -> str:
        """The folder of the run that a figure has trained."""
        for plan in plan_of(figure, self._budget):
            fits = f"replay_ratio={ratio:g}" in plan.bindings and "none" in plan.methods
            if fits and game in plan.games:
                path = os.path.join(self._base_dir, game.replace("/", "_"), plan.title)
                if not os.path.exists(os.path.join(path, results.RUN_FILE)):
                    raise DormantError(f"there is no run in {path}: {_why_missing(path)}")
                return path
        raise DormantError(f"budget {self._budget} trains no {game} for figure {figure}")

    def _fitting(self, arm: Arm) -> Study:
        path = self._sources.teacher or self._trained("8", arm.game, DEFAULT_RATIO)
        teacher = self._once(path, lambda: load_finished(path))
        check_game(path, teacher.game, arm.game)
        start: Finished | None = teacher if arm.arm == DEFAULT else None
        if start and len(start.members) == 1:
            raise DormantError(
                f"{path} holds one member of the method 'none', and it would be its own teacher; "
                "two are wanted"
            )
        if arm.arm == PRETRAINED:
            other = self._sources.pretrained or self._trained("8", arm.game, HIGH_RATIO)
            start = load_finished(other, rows=False)
            check_game(other, start.game, arm.game)
        pupils = [
            Pupil(start.member(seed).params if start else None, good.params, good.rows)
            for seed in range(arm.settings["seeds"])
            for good in [teacher.best(but=teacher.member(seed))]
        ]
        sources = {
            "teacher": source_name(teacher.base_dir),
            "pretrained": source_name(start.base_dir) if start else "",
        }
        data = Fitting(arm.game, _looped(teacher.config), teacher.spec, pupils, sources)
        return fitting(data, arm.arm, arm.settings, arm.name)


def _why_missing(path: str) -> str:
    parts = glob.glob(f"{glob.escape(path)},members=*")
    return (
        "its members were divided into several runs, and a study reads them from one; train them "
        "undivided in another base_dir (--memory_per_run)"
        if parts
        else "it has failed, or was deleted"
    )


def _looped(config: DQN) -> DQN:
    """The same network with convolutions that are fast inside a loop on every device."""
    return replace(config, formulation="matmul")


def _configuration_of(text: str) -> Configuration:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, results.CONFIG_FILE)
        with open(path, "w") as file:
            file.write(text)
        return read([path], [])


def _dqn(configuration: Configuration) -> tuple[DQN, EnvSpec]:
    """The agent and environment of a configuration of DQN."""
    if not isinstance(configuration.agent, DQN):
        raise DormantError(f"agent {configuration.run.agent!r}; studies are of 'dqn'")
    game = configuration.run.game
    spec = env_spec(game, configuration.atari, configuration.minatar)
    return configuration.agent, spec


# A study's folder
# ------------------------------------------------------------------------------------------------


def execute_in(base_dir: str, study: Study) -> None:
    """Trains a study in its folder, from its newest checkpoint where it has one.

    Raises:
      DormantError: base_dir cannot be written, is in use, or holds another study.
      command.Stopped: a signal asked to stop; everything is saved.
    """
    facts = facts_of(study)
    try:
        os.makedirs(base_dir, exist_ok=True)
        with locked(base_dir):
            if os.path.exists(os.path.join(base_dir, results.RUN_FILE)):
                _check_same(base_dir, facts)
            else:
                results.write_run(base_dir, {**facts, "status": "running"})
            try:
                execute(study, base_dir)
            except StudyStopped as stopped:
                raise Stopped(stopped.signum) from None
            results.write_run(base_dir, {**facts, "status": "finished"})
    except OSError as error:
        raise DormantError(
            f"cannot write {error.filename or base_dir}: {error.strerror or error}"
        ) from error


def _check_same(base_dir: str, facts: RunRecord) -> None:
    stored, wanted = (
        results.read_run(base_dir).get("study", {}),
        json.loads(json.dumps(facts["study"])),
    )
    for name in {**stored, **wanted}:
        if stored.get(name) != wanted.get(name):
            raise DormantError(
                f"{base_dir} holds another study ({name} {stored.get(name)!r}, not "
                f"{wanted.get(name)!r}); use another base_dir"
            )


def facts_of(study: Study) -> RunRecord:
    """What run.json holds, but for its status. The clock "agent_steps" counts the study's unit."""
    settings = dict(study.settings)
    per_iteration = study.chunks_per_iteration * study.chunk_epochs
    members = [
        {
            "member": index,
            "seed": seed,
            "method": study.arm,
            "label": study.arm,
            "learning_rate": settings["learning_rate"],
        }
        for index, seed in enumerate(study.seeds)
    ]
    return RunRecord(
        game=study.game,
        agent=study.agent,
        title=study.agent,
        network=None,
        width=settings.get("width", 1.0),
        frames_per_agent_step=1,
        replay_ratio=study.chunk_steps / study.chunk_epochs,
        min_replay_history=0,
        protocol={
            "iterations": study.iterations,
            "training_steps": per_iteration,
            "taus": list(TAUS),
        },
        members=members,  # type: ignore[typeddict-item]
        study=settings,
        **origin(),
    )


def run_studies(
    planned: Sequence[Planned], budget: str, base_dir: str, sources: Sources, alone: bool
) -> bool:
    """Trains what is not finished; returns whether all could be.

    A study that cannot be trained (its source is missing, or not finished) is one line and does
    not stop the others.

    Args:
      alone: nothing else was trained: then it is an error if none of them could be.

    Raises:
      command.Stopped: a signal asked to stop; everything is saved.
      DormantError: see ``alone``; what stopped the first.
    """
    todo = [each.arm for each in planned if each.state != "finished"]
    builder, problems = Builder(budget, base_dir, sources), []
    for arm in todo:
        try:
            execute_in(os.path.join(base_dir, arm.name), builder.build(arm))
        except DormantError as error:
            problems.append(f"{arm.name}: {error}")
    if alone and problems and len(problems) == len(todo):
        raise DormantError(problems[0])
    for line in problems:
        say(line)
    return not problems
