"""Dopamine's own agents beside ours (the extra ``dopamine``).

The training path never imports this package, and no other knows Dopamine.
"""

import importlib
import sys
import types
from typing import Any

from dormant.types import DormantError


def import_dopamine(module: str) -> Any:
    """A module of dopamine-rl 4.1.2, made importable.

    Its agents import ``baselines``, which it does not declare, and through tensorflow-probability a
    name that jax 0.7 removed. Both are put in place here, in this process only.

    Raises:
      DormantError: dopamine-rl is not installed.
    """
    import jax

    for name in ("baselines", "baselines.common", "baselines.common.atari_wrappers"):
        sys.modules.setdefault(name, types.ModuleType(name))
    if not hasattr(jax.interpreters.xla, "pytype_aval_mappings"):
        setattr(jax.interpreters.xla, "pytype_aval_mappings", jax.core.pytype_aval_mappings)  # noqa: B010 (unknown to mypy)
    try:
        return importlib.import_module(f"dopamine.{module}")
    except ImportError as error:
        raise DormantError(
            f"dopamine-rl cannot be imported ({error}): pip install 'dormant[dopamine]'"
        ) from error
