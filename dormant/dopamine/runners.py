"""Dopamine's own runners with recycling agents in them, chosen by Dopamine's own gin names.

``create_agent.agent_name`` and ``create_continuous_agent.agent_name`` keep their meaning: a gin
file of Dopamine's trains the agent that it names, recycling. Importing this module imports
Dopamine.
"""

import copy
import functools
import logging
import os
from collections.abc import Sequence
from typing import Any

import gin
import gymnasium.error

from dormant.dopamine import CONFIGS, agents, import_dopamine
from dormant.types import DormantError, check_name, nearest

_discrete = import_dopamine("discrete_domains.run_experiment")
import_dopamine("labs.atari_100k.eval_run_experiment")  # its gin files name MaxEpisodeEvalRunner

# create_agent.agent_name -> its recycling version; "atari_100k" is ours, Dopamine has a flag there
DISCRETE = {
    "jax_dqn": agents.RecyclingDQNAgent,
    "jax_rainbow": agents.RecyclingRainbowAgent,
    "full_rainbow": agents.RecyclingFullRainbowAgent,
    "atari_100k": agents.RecyclingAtari100kRainbowAgent,
}
CONTINUOUS = {"sac": agents.RecyclingSACAgent}  # create_continuous_agent.agent_name
SCHEDULES = ("continuous_train_and_eval", "continuous_train")


def load_gin(files: Sequence[str], bindings: Sequence[str]) -> None:
    """Reads gin files and bindings as Dopamine's commands do.

    A file is looked for from here, then among ours (``dqn.gin``, ...); so are those it includes.

    Raises:
      DormantError: a file that is not there, an unknown name, a syntax error.
    """
    gin.add_config_file_search_path(CONFIGS)
    ours = sorted(name for name in os.listdir(CONFIGS) if name.endswith(".gin"))
    for path in files:
        if not os.path.isfile(path) and path not in ours:
            raise DormantError(
                f"no gin file {path!r}; {nearest(os.path.basename(path), ours)} "
                "(dopamine-rl is installed without its gin files)"
            )
    logging.disable(logging.ERROR)  # gin reports each place where a file is not, before ours
    try:
        _discrete.load_gin_configs(files, bindings)
    except Exception as error:  # of gin's parser, of Python's, or an import in a file
        raise DormantError(f"gin: {_first_line(error)}") from error
    finally:
        logging.disable(logging.NOTSET)


def create_runner(base_dir: str, seed: int | None = None) -> Any:
    """Dopamine's runner for what gin says, with its agent recycling.

    Args:
      base_dir: folder of the run; a run that it holds resumes.
      seed: of an agent of Atari 100K, as Dopamine's command has it; None = what gin says.

    Raises:
      DormantError: no agent is named, or one that does not recycle; an environment or a setting
        that does not exist.
    """
    continuous = _bound("create_continuous_agent.agent_name")
    try:
        agents.Recycling()  # checks its settings; Dopamine's runner makes folders, then the agent
        if continuous is not None:
            check_name("create_continuous_agent.agent_name", continuous, CONTINUOUS)
            return _continuous_runner(base_dir)
        name = _bound("create_agent.agent_name")
        if name is None:
            raise DormantError(
                f"no agent: set create_agent.agent_name ({', '.join(DISCRETE)}) or "
                "create_continuous_agent.agent_name (sac), or give a gin file such as dqn.gin"
            )
        check_name("create_agent.agent_name", name, DISCRETE)
        return _discrete_runner(base_dir, name, seed)
    except (gymnasium.error.Error, ImportError) as error:
        raise DormantError(f"the environment cannot be made: {_first_line(error)}") from error
    except DormantError as error:  # gin adds lines of where it was raised
        raise DormantError(_first_line(error)) from error
    except (TypeError, ValueError) as error:  # gin's own: a setting of another type
        raise DormantError(f"gin: {_first_line(error)}") from error


def _discrete_runner(base_dir: str, name: str, seed: int | None) -> Any:
    create: Any = functools.partial(create_agent, name=name, seed=seed)
    if name == "atari_100k":
        runners = import_dopamine("labs.atari_100k.atari_100k_runner")
        return runners.DataEfficientAtariRunner(base_dir, create)
    train_only = _schedule("create_runner") == "continuous_train"
    return (_discrete.TrainRunner if train_only else _discrete.Runner)(base_dir, create)


def create_agent(
    sess: Any, environment: Any, summary_writer: Any = None, *, name: str, seed: int | None = None
) -> Any:
    """The recycling version of Dopamine's agent ``name``; sess is TensorFlow's, not used."""
    del sess
    options = {} if seed is None else {"seed": seed}
    if name != "atari_100k" and not _bound("create_agent.debug_mode"):
        summary_writer = None  # Dopamine's rule
    return DISCRETE[name](
        num_actions=environment.action_space.n, summary_writer=summary_writer, **options
    )


def _continuous_runner(base_dir: str) -> Any:
    train_only = _schedule("create_continuous_runner") == "continuous_train"
    runners = import_dopamine("continuous_domains.run_experiment")
    runner = runners.ContinuousTrainRunner if train_only else runners.ContinuousRunner
    return runner(base_dir, create_continuous_agent)


def create_continuous_agent(environment: Any, summary_writer: Any = None) -> Any:
    """The recycling version of Dopamine's SAC."""
    actions, observations = environment.action_space, environment.observation_space
    return agents.RecyclingSACAgent(
        action_shape=actions.shape,
        action_limits=(actions.low, actions.high),
        observation_shape=observations.shape,
        action_dtype=actions.dtype,
        observation_dtype=observations.dtype,
        summary_writer=summary_writer,
    )


def _schedule(function: str) -> str:
    found = _bound(f"{function}.schedule", SCHEDULES[0])
    check_name(f"{function}.schedule", found, SCHEDULES)
    return found


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _bound(name: str, default: Any = None) -> Any:
    """What gin has for a setting, the value of a macro in its place."""
    try:
        return copy.deepcopy(gin.query_parameter(name))  # gin's references become their values
    except ValueError:
        return default
