"""The runs of the paper's figures (``dormant.paper``) as sweeps."""

import os
from collections.abc import Sequence

from dormant.experiments import CONFIGS
from dormant.experiments.grid import Sweep
from dormant.paper import budgets
from dormant.paper.budgets import BUDGETS, Plan
from dormant.paper.games import MUJOCO_VERSION

__all__ = ["BUDGETS", "plan_of", "sweeps_of"]


def plan_of(figure: str, budget: str, mujoco: str = MUJOCO_VERSION) -> list[Sweep]:
    """The sweeps that train everything a figure needs. Arguments as of ``sweeps_of``."""
    return [_sweep(plan) for plan in budgets.plan_of(figure, budget, mujoco)]


def sweeps_of(figures: Sequence[str], budget: str, mujoco: str = MUJOCO_VERSION) -> list[Sweep]:
    """The sweeps of several figures, ["all"] of all; a run that several need is there once.

    Args:
      figures: as in ``dormant.paper``.
      budget: of BUDGETS.
      mujoco: version of the MuJoCo environments, "v4" (the nearest to the paper's) or "v5".
    Raises:
      DormantError: an unknown figure, budget or version.
    """
    return [_sweep(plan) for plan in budgets.plans_of(figures, budget, mujoco)]


def _sweep(plan: Plan) -> Sweep:
    return Sweep(
        files=[
            name if name.endswith(".gin") else os.path.join(CONFIGS, f"{name}.gin")
            for name in plan.files
        ],
        bindings=plan.bindings,
        grid=plan.grid,
        games=plan.games,
        seeds=plan.seeds,
        methods=plan.methods,
        title=plan.title,
    )
